//! Each command does what it says.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{Running, command, run, run_json, serve, up};

#[test]
fn a_call_through_the_first_node_only_is_answered() {
    let first = up();
    let _provider = serve("demo.echo", &["--echo"], first.contact());
    let (code, reply) = run_json(&[
        "call",
        "demo.echo",
        r#"{"hello": [1, 2]}"#,
        "--bootstrap",
        first.contact(),
    ]);
    assert_eq!((code, reply), (0, json!({"hello": [1, 2]})));
}

#[test]
fn a_bootstrap_address_without_a_node_id_is_enough() {
    let first = up();
    let (_, address) = first.contact().split_once('@').unwrap();
    let _provider = serve("demo.fixed", &["--reply", r#"{"ok":true}"#], address);
    let (code, reply) = run_json(&["call", "demo.fixed", "--bootstrap", address]);
    assert_eq!((code, reply), (0, json!({"ok": true})));
}

#[test]
fn a_node_behind_every_interface_learns_its_address_from_the_first_one() {
    let first = up();
    let listen = [
        "serve",
        "demo.any",
        "--echo",
        "--bootstrap",
        first.contact(),
    ];
    let provider = Running::start(&listen);
    assert!(
        provider.contact().contains("@127.0.0.1:"),
        "{}",
        provider.contact()
    );
    let (code, reply) = run_json(&["call", "demo.any", "7", "--bootstrap", first.contact()]);
    assert_eq!((code, reply), (0, json!(7)));
}

#[test]
fn arguments_are_read_from_standard_input() {
    let first = up();
    let _provider = serve("demo.echo", &["--echo"], first.contact());
    let mut call = command(&["call", "demo.echo", "-", "--bootstrap", first.contact()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    call.stdin
        .take()
        .unwrap()
        .write_all(b"\"from stdin\"")
        .unwrap();
    let output = call.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\"from stdin\"\n"
    );
}

#[test]
fn a_call_goes_to_none_but_those_that_are_named_or_say_what_is_asked() {
    let first = up();
    let serve = |version: &str| {
        let said = format!("version={version}");
        let args = ["--reply", version, "--metadata", &said];
        serve("demo.who", &args, first.contact())
    };
    let (one, two) = (serve("1"), serve("2"));
    let call = |args: &[&str]| {
        let call = ["call", "demo.who", "--bootstrap", first.contact()];
        run_json(&[&call, args].concat())
    };
    for _ in 0..3 {
        assert_eq!(call(&["--only", one.node()]), (0, json!(1)));
        assert_eq!(call(&["--only", two.node()]), (0, json!(2)));
        assert_eq!(call(&["--where", "version=1"]), (0, json!(1)));
        assert_eq!(call(&["--where", "version=2"]), (0, json!(2)));
    }
    let either = ["--only", one.node(), "--only", two.node()];
    assert_eq!(call(&either).0, 0);
    let both = [&either[..], &["--where", "version=2"]].concat();
    assert_eq!(call(&both), (0, json!(2)));
    for nobody in [
        &["--only", first.node()][..],
        &["--where", "version=3"],
        &["--where", "version=1", "--where", "region=eu"],
        &["--provider", one.node(), "--where", "version=2"],
    ] {
        let (code, failure) = call(nobody);
        assert_eq!((code, &failure["error"]), (3, &json!("not_found")));
    }
}

#[test]
fn a_running_node_tells_about_itself() {
    let first = up();
    let provider = serve("demo.echo", &["--echo"], first.contact());
    for (node, serves) in [(&first, json!([])), (&provider, json!(["demo.echo"]))] {
        let call = ["call", "_sys.info", "--provider", node.node()];
        let (code, info) = run_json(&[&call[..], &["--bootstrap", node.contact()]].concat());
        assert_eq!(code, 0, "{info}");
        assert_eq!(info["node_id"], json!(node.node()));
        assert_eq!(info["services"], serves);
        let (_, address) = node.contact().split_once('@').unwrap();
        assert_eq!(info["addresses"], json!([address]));
        assert_eq!(info["serves"], json!(true));
    }
}

#[test]
fn a_node_is_asked_by_its_id_through_any_other_or_by_its_contact_alone() {
    let first = up();
    let provider = serve("demo.echo", &["--echo"], first.contact());
    let (code, reply) = run_json(&["call", "demo.echo", "7", "--bootstrap", first.contact()]);
    assert_eq!((code, reply), (0, json!(7)));
    let through_another = [provider.node(), "--bootstrap", first.contact()];
    for node in [&through_another[..], &[provider.contact()]] {
        let ask = |question| {
            let (code, answer) = run_json(&[&[question], node].concat());
            assert_eq!(code, 0, "{question}: {answer}");
            answer
        };
        let pinged = ask("ping");
        assert_eq!(pinged["node"], json!(provider.node()));
        assert!(pinged["took_ms"].as_f64().unwrap() > 0.0);
        let info = ask("info");
        assert_eq!(info["node_id"], json!(provider.node()));
        assert_eq!(info["services"], json!(["demo.echo"]));
        assert_eq!(ask("health")["status"], json!("ok"));
        let stats = ask("stats");
        let echoed = &stats["served"]["services"]["demo.echo"];
        assert_eq!(
            (&echoed["calls"], &echoed["running"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(echoed["duration"]["count"], json!(1));
        for layer in ["endpoint", "dht", "registry", "server", "caller", "called"] {
            assert!(stats[layer].is_object(), "{layer}: {stats}");
        }
    }
    let call = ["call", "_sys.ping", "--provider", provider.contact()];
    let (code, pong) = run_json(&call);
    assert_eq!((code, &pong["node_id"]), (0, &json!(provider.node())));
}

#[test]
fn what_a_node_tells_is_shown_in_words_too() {
    let first = up();
    let shown = |question| {
        let output = run(&[question, first.contact()]);
        assert!(output.status.success(), "{question}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(shown("ping").starts_with(&format!("{} answered in", first.node())));
    let info = shown("info");
    assert!(
        info.contains(first.node()) && info.contains("role       server"),
        "{info}"
    );
    assert!(shown("health").starts_with("status     ok\n"));
    let stats = shown("stats");
    assert!(
        ["transport ", "calls made", "calls answered"]
            .iter()
            .all(|part| stats.contains(part)),
        "{stats}"
    );
}

#[test]
fn find_shows_every_provider_with_its_metadata() {
    let first = up();
    let one = serve(
        "demo.echo",
        &["--echo", "--metadata", "version=1"],
        first.contact(),
    );
    let two = serve(
        "demo.echo",
        &["--echo", "--metadata", "version=2"],
        first.contact(),
    );
    let (code, found) = run_json(&["find", "demo.echo", "--bootstrap", first.contact()]);
    assert_eq!(code, 0);
    let mut nodes: Vec<_> = found["providers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|provider| {
            (
                provider["node"].as_str().unwrap(),
                &provider["metadata"]["version"],
            )
        })
        .collect();
    nodes.sort_by_key(|(_, version)| version.to_string());
    assert_eq!(
        nodes,
        [(one.node(), &json!("1")), (two.node(), &json!("2"))]
    );
}

#[test]
fn find_traces_every_request_whether_anybody_is_found_or_not() {
    let first = up();
    let provider = serve("demo.echo", &["--echo"], first.contact());
    let traced = |name| {
        let find = ["find", name, "--trace", "--bootstrap", first.contact()];
        run_json(&find)
    };
    let (code, found) = traced("demo.echo");
    assert_eq!(
        (code, &found["providers"][0]["node"]),
        (0, &json!(provider.node()))
    );
    let asked = found["trace"].as_array().unwrap();
    let is_first = |request: &&Value| request["node"] == json!(first.node());
    let request = asked.iter().find(is_first).unwrap();
    assert_eq!(
        (&request["outcome"], &request["depth"]),
        (&json!("answered"), &json!(1))
    );
    assert!(request["ended_ms"].as_f64() >= request["sent_ms"].as_f64());

    let find = [
        "find",
        "demo.nobody",
        "--trace",
        "--bootstrap",
        first.contact(),
    ];
    let in_vain = run(&find);
    assert_eq!(in_vain.status.code(), Some(3));
    let text = String::from_utf8(in_vain.stdout).unwrap();
    assert!(
        text.contains(first.node()) && text.contains("answered after"),
        "{text}"
    );
    let (_, found) = run_json(&["find", "demo.echo", "--bootstrap", first.contact()]);
    assert_eq!(found.get("trace"), None);
}

#[test]
fn an_identity_file_keeps_the_node_id_and_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let path = path.to_str().unwrap();
    let start = ["up", "--listen", "127.0.0.1:0", "--identity", path];
    let node = Running::start(&start);
    let node_id = node.node().to_owned();

    let (code, failure) = run_json(&start);
    assert_eq!((code, &failure["error"]), (2, &json!("usage")));
    assert_eq!(node.interrupt(), Some(0));
    assert_eq!(Running::start(&start).node(), node_id);
}

#[test]
fn the_help_of_every_command_documents_the_exit_codes() {
    for command in [
        "", "demo", "up", "serve", "call", "find", "ping", "info", "health", "stats", "sim",
    ] {
        let args = [command, "--help"];
        let output = run(if command.is_empty() {
            &args[1..]
        } else {
            &args
        });
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for code in ["0", "1", "2", "3", "4", "5", "6", "7", "130"] {
            let is_about_it = |line: &str| line.trim_start().starts_with(&format!("{code}  "));
            assert!(text.lines().any(is_about_it), "{command}: {code}");
        }
    }
}

#[test]
fn a_simulation_tells_by_its_exit_code_whether_lookups_hold() {
    let network = ["sim", "--nodes", "20", "--duration", "10s"];
    let sim = [&network[..], &["--records", "5", "--finds", "400"]].concat();
    let (code, answer) = run_json(&sim);
    assert_eq!((code, &answer["verdict"]), (0, &json!("hold")));
    let (code, failure) = run_json(&[&sim[..], &["--loss", "0.9"]].concat());
    assert_eq!((code, &failure["error"]), (4, &json!("network")));
    let (code, failure) = run_json(&[&sim[..], &["--churn", "often"]].concat());
    assert_eq!((code, &failure["error"]), (2, &json!("usage")));
}

#[test]
fn a_simulation_with_the_same_seed_prints_the_same_to_the_byte() {
    let printed = |seed| {
        let network = ["sim", "--json", "--seed", seed, "--nodes", "40"];
        let short = ["--duration", "30s", "--records", "10", "--finds", "50"];
        let output = run(&[&network[..], &short, &["--goal", "0"]].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = printed("3");
    assert_eq!(first, printed("3"));
    let [first, other]: [Value; 2] =
        [first, printed("4")].map(|text| serde_json::from_str(&text).unwrap());
    let trace_hash = first["trace_hash"].as_str().unwrap();
    assert_eq!(trace_hash.len(), 16, "{first}");
    assert!(u64::from_str_radix(trace_hash, 16).is_ok(), "{first}");
    assert!(!first["shortened"].as_array().unwrap().is_empty());
    assert_eq!((&first["seed"], &other["seed"]), (&json!(3), &json!(4)));
    assert_ne!(trace_hash, other["trace_hash"]);
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    for args in [
        &["sim", "--nodes", "10", "--records", "2"][..],
        &["sim", "--nodes", "10", "--records", "2", "--json"],
        &["demo", "--nodes", "5", "--calls", "10"],
    ] {
        let mut child = command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), told.contains("panicked")),
            (Some(0), false),
            "{told}"
        );
    }
}

#[test]
fn publishing_discovery_and_failures_are_told_on_standard_error() {
    let first = up();
    let args = [
        "-v",
        "serve",
        "demo.told",
        "--echo",
        "--listen",
        "127.0.0.1:0",
    ];
    let bootstrap = ["--bootstrap", first.contact()];
    let (provider, told) = Running::start_telling(&[&args[..], &bootstrap].concat());
    let call = run(&[&["-v", "call", "demo.told", "1"][..], &bootstrap].concat());
    assert!(call.status.success());
    let caller_told = String::from_utf8(call.stderr).unwrap();
    for event in ["INFO macula_dht", "joined", "discovered service=demo.told"] {
        assert!(caller_told.contains(event), "{event}: {caller_told}");
    }
    // Dead, but found until its record expires.
    provider.kill();
    let call = run(&[&["-vv", "call", "demo.told", "1"][..], &bootstrap].concat());
    assert!(!call.status.success());
    let caller_told = String::from_utf8(call.stderr).unwrap();
    assert!(caller_told.contains("WARN macula_rpc"), "{caller_told}");
    assert!(
        caller_told.contains("attempt failed service=demo.told"),
        "{caller_told}"
    );

    let provider_told = told.join().unwrap();
    assert!(
        provider_told.contains("published service=demo.told"),
        "{provider_told}"
    );
}

#[test]
fn leaving_in_order_withdraws_and_tells_so() {
    let first = up();
    let args = [
        "-v",
        "serve",
        "demo.told",
        "--echo",
        "--listen",
        "127.0.0.1:0",
    ];
    let bootstrap = ["--bootstrap", first.contact()];
    let (provider, told) = Running::start_telling(&[&args[..], &bootstrap].concat());
    assert_eq!(provider.interrupt(), Some(0));
    let told = told.join().unwrap();
    assert!(told.contains("withdrawn"), "{told}");
    assert!(!told.contains("WARN"), "{told}");
}
