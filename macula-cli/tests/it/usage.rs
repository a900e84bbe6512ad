//! Wrong input and failures: a clear message, and the exit code of their class.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_client::rpc::Access;
use macula_client::{Client, HandlerError, SecretKey};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::program::{command, run, run_json, serve, up};

/// Nobody listens at this port of loopback: it is reserved (RFC 6335, tcpmux).
const NOBODY: &str = "127.0.0.1:1";

fn assert_usage_error(args: &[&str]) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert!(!output.stderr.is_empty(), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    let (code, failure) = run_json(args);
    assert_eq!((code, &failure["error"]), (2, &json!("usage")), "{args:?}");
    assert!(!failure["message"].as_str().unwrap().is_empty(), "{args:?}");
}

#[test]
fn wrong_input_is_a_usage_error() {
    assert_usage_error(&["frobnicate"]);
    assert_usage_error(&["call"]);
    assert_usage_error(&["call", "not a name", "--bootstrap", NOBODY]);
    assert_usage_error(&["call", ".dot", "--bootstrap", NOBODY]);
    assert_usage_error(&["call", "a.b", "{not json", "--bootstrap", NOBODY]);
    assert_usage_error(&["call", "a.b", "--bootstrap", "nonsense"]);
    assert_usage_error(&["call", "a.b", "--bootstrap", "127.0.0.1:0"]);
    assert_usage_error(&["call", "a.b", "--bootstrap", NOBODY, "--timeout", "0"]);
    assert_usage_error(&["call", "a.b"]);
    let call = |args: &[&str]| {
        assert_usage_error(&[&["call", "a.b", "--bootstrap", NOBODY], args].concat());
    };
    call(&["--only", "nobody"]);
    let node = SecretKey::from_bytes(&[1; SecretKey::LEN_BYTES]).node_id();
    let node = node.to_string();
    call(&["--only", &node, "--provider", &node]);
    call(&["--where", "novalue"]);
    call(&["--where", "=nokey"]);
    call(&["--where", "version=1", "--where", "version=2"]);
    call(&["--where", &format!("key={}", "x".repeat(2000))]);
    assert_usage_error(&["find", "a..b", "--bootstrap", NOBODY]);
    assert_usage_error(&["serve", "a.b"]);
    assert_usage_error(&["serve", "a.b", "--echo", "--reply", "1"]);
    assert_usage_error(&["serve", "a.b", "--reply", "{"]);
    assert_usage_error(&["serve", "a.b", "--echo", "--metadata", "novalue"]);
    assert_usage_error(&[
        "serve",
        "a.b",
        "--echo",
        "--listen",
        "127.0.0.1:0",
        "--ttl",
        "1",
    ]);
    assert_usage_error(&["up", "--listen", "nowhere"]);
    assert_usage_error(&["up", "--realm", "no realm"]);
    assert_usage_error(&["demo", "--calls", "0"]);
    assert_usage_error(&["demo", "--nodes", "4"]);
    assert_usage_error(&["sim", "--nodes", "1"]);
    assert_usage_error(&["sim", "--loss", "2"]);
    assert_usage_error(&["sim", "--goal", "2"]);
    call(&["--provider", "nobody"]);
    call(&["--provider", NOBODY]);
    for question in ["ping", "info", "health", "stats"] {
        assert_usage_error(&[question]);
        assert_usage_error(&[question, NOBODY]);
        assert_usage_error(&[question, "nobody@127.0.0.1:1"]);
        // An id alone says nothing of where to begin.
        assert_usage_error(&[question, &node]);
        assert_usage_error(&[question, &node, "--bootstrap", NOBODY, "--timeout", "0"]);
    }
}

#[test]
fn an_identity_file_that_is_none_is_a_usage_error_and_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    std::fs::write(&path, "no key").unwrap();
    let file = path.to_str().unwrap();
    assert_usage_error(&["up", "--listen", "127.0.0.1:0", "--identity", file]);
    assert_eq!(std::fs::read(&path).unwrap(), b"no key");
    let nowhere = dir.path().join("nowhere").join("identity");
    let nowhere = nowhere.to_str().unwrap();
    assert_usage_error(&["up", "--listen", "127.0.0.1:0", "--identity", nowhere]);
}

#[test]
fn an_unknown_service_has_its_own_exit_code() {
    let first = up();
    for command in ["call", "find"] {
        let (code, failure) = run_json(&[command, "nobody.there", "--bootstrap", first.contact()]);
        assert_eq!((code, &failure["error"]), (3, &json!("not_found")));
    }
}

#[test]
fn an_unreachable_network_has_its_own_exit_code() {
    let (code, failure) = run_json(&["call", "a.b", "--bootstrap", NOBODY]);
    assert_eq!((code, &failure["error"]), (4, &json!("network")));
}

#[test]
fn an_address_that_is_taken_or_unknown_has_the_exit_code_of_the_network() {
    let first = up();
    let (_, address) = first.contact().split_once('@').unwrap();
    let (code, failure) = run_json(&["up", "--listen", address]);
    assert_eq!(
        (code, &failure["error"]),
        (4, &json!("network")),
        "{failure}"
    );
    // Behind every interface, with nobody to tell the address.
    let (code, failure) = run_json(&["serve", "demo.nowhere", "--echo"]);
    assert_eq!(
        (code, &failure["error"]),
        (4, &json!("network")),
        "{failure}"
    );
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("--advertise-address"), "{message}");
}

#[cfg(target_os = "linux")] // Where /dev/full is.
#[test]
fn an_output_that_takes_nothing_is_something_unexpected() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut sim = command(&["sim", "--nodes", "10", "--records", "2"]);
    let ended = sim.stdout(full.unwrap()).output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
}

#[test]
fn a_node_that_nobody_knows_is_not_found_and_one_that_is_gone_not_reached() {
    let first = up();
    let nobody = SecretKey::from_bytes(&[1; SecretKey::LEN_BYTES]).node_id();
    let bootstrap = ["--bootstrap", first.contact()];
    let nobody = nobody.to_string();
    let (code, failure) = run_json(&[&["ping", &nobody][..], &bootstrap].concat());
    assert_eq!(
        (code, &failure["error"]),
        (3, &json!("not_found")),
        "{failure}"
    );

    let gone = serve("demo.echo", &["--echo"], first.contact());
    let (node, contact) = (gone.node().to_owned(), gone.contact().to_owned());
    gone.kill();
    let (code, failure) = run_json(&["ping", &contact]);
    assert_eq!(
        (code, &failure["error"]),
        (4, &json!("network")),
        "{failure}"
    );
    let (code, failure) = run_json(&[&["ping", &node][..], &bootstrap].concat());
    // Who is asked where it is may have noticed, and know of nobody any more.
    assert!([3, 4, 5].contains(&code), "{failure}");
}

#[test]
fn another_realm_is_another_network() {
    let first = up();
    let (code, failure) = run_json(&[
        "call",
        "a.b",
        "--realm",
        "elsewhere",
        "--bootstrap",
        first.contact(),
    ]);
    assert_eq!((code, &failure["error"]), (4, &json!("network")));
    assert!(
        failure["message"].as_str().unwrap().contains("wrong realm"),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_function_and_timeouts_have_their_own_exit_codes() {
    let provider = Client::builder()
        .listen("127.0.0.1:0".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let _failing = provider
        .advertise("demo.fails", |()| async move {
            Err::<(), _>(HandlerError::new("no luck"))
        })
        .await
        .unwrap();
    let _hanging = provider
        .advertise("demo.hangs", |()| async move {
            std::future::pending::<()>().await;
            Ok(())
        })
        .await
        .unwrap();
    let contact = provider.contact().to_string();

    let fails = contact.clone();
    let outcome = tokio::task::spawn_blocking(move || {
        run_json(&["call", "demo.fails", "--bootstrap", &fails])
    });
    let (code, failure) = outcome.await.unwrap();
    assert_eq!((code, &failure["error"]), (6, &json!("handler")));
    assert!(failure["message"].as_str().unwrap().contains("no luck"));

    let outcome = tokio::task::spawn_blocking(move || {
        run_json(&[
            "call",
            "demo.hangs",
            "--timeout",
            "0.5",
            "--bootstrap",
            &contact,
        ])
    });
    let (code, failure) = tokio::time::timeout(Duration::from_secs(30), outcome)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((code, &failure["error"]), (5, &json!("timeout")));
    provider.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn being_refused_has_its_own_exit_code() {
    let provider = Client::builder()
        .listen("127.0.0.1:0".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let _private = provider
        .advertise("demo.private", |()| async move { Ok(()) })
        .access(Access::only([]))
        .await
        .unwrap();
    let occupied = Arc::new(Notify::new());
    let occupies = occupied.clone();
    let narrow = move |()| {
        occupies.notify_one();
        std::future::pending::<Result<(), HandlerError>>()
    };
    let _narrow = provider
        .advertise("demo.narrow", narrow)
        .concurrency(NonZeroUsize::MIN)
        .await
        .unwrap();

    let occupies = provider.call::<_, _, Value>("demo.narrow", &());
    tokio::spawn(occupies.timeout(Duration::from_secs(60)).into_future());
    occupied.notified().await;
    let contact = provider.contact().to_string();
    let refused = tokio::task::spawn_blocking(move || {
        ["demo.private", "demo.narrow"]
            .map(|service| run_json(&["call", service, "--bootstrap", &contact]))
    });
    for (code, failure) in refused.await.unwrap() {
        assert_eq!(
            (code, &failure["error"]),
            (7, &json!("refused")),
            "{failure}"
        );
    }
    provider.shutdown().await;
}
