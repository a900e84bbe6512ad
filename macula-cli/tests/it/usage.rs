//! Wrong input and failures: a clear message, and the exit code of their class.

use std::time::Duration;

use macula_client::{Client, HandlerError, SecretKey};
use serde_json::json;

use crate::program::{run, run_json, up};

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
