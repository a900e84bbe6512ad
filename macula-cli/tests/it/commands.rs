//! Each command does what it says.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::program::{run, run_json, serve, up};

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
    let provider = crate::program::Running::start(&listen);
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
    let mut call = Command::new(env!("CARGO_BIN_EXE_macula"))
        .args(["call", "demo.echo", "-", "--bootstrap", first.contact()])
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
fn an_identity_file_keeps_the_node_id_and_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let path = path.to_str().unwrap();
    let start = ["up", "--listen", "127.0.0.1:0", "--identity", path];
    let node = crate::program::Running::start(&start);
    let node_id = node.node().to_owned();

    let (code, failure) = run_json(&start);
    assert_eq!((code, &failure["error"]), (2, &json!("usage")));
    assert_eq!(node.interrupt(), Some(0));
    assert_eq!(crate::program::Running::start(&start).node(), node_id);
}

#[test]
fn help_documents_the_exit_codes() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "130"] {
        assert!(
            text.lines()
                .any(|line| line.trim_start().starts_with(&format!("{code}  ")))
        );
    }
}
