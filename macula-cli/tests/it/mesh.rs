//! Several processes: providers come, die and leave while others call.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use macula_client::{CallError, Client, Executed, HandlerError, ProvidersError, SecretKey};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};

use crate::program::{Running, command, interrupt, run_json, serve, up};

async fn caller(bootstrap: &str) -> Client {
    Client::builder()
        .client_role()
        .bootstrap([bootstrap])
        .connect()
        .await
        .unwrap()
}

async fn call(client: &Client) -> Result<Value, CallError> {
    client.call_json("demo.who", &()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_provider_in_mid_load_fails_no_call() {
    let first = up();
    let one = serve("demo.who", &["--reply", "1"], first.contact());
    let client = caller(first.contact()).await;
    assert_eq!(call(&client).await.unwrap(), json!(1));
    let _two = serve("demo.who", &["--reply", "2"], first.contact());
    client
        .call_json::<_, _, Value>("demo.who", &())
        .force_refresh()
        .await
        .unwrap();

    let mut one = Some(one);
    let mut answers = [0_u32; 3];
    for number in 0..600 {
        if number == 300 {
            one.take().unwrap().kill();
        }
        let answer = call(&client)
            .await
            .unwrap_or_else(|error| panic!("call {number}: {error}"));
        answers[usize::try_from(answer.as_u64().unwrap()).unwrap()] += 1;
    }
    assert!(
        answers[1] > 1,
        "the first provider took part until it died: {answers:?}"
    );
    assert!(answers[2] > 300, "the second one took over: {answers:?}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_only_provider_that_the_consumer_knows_fails_no_call_under_load() {
    const CALLERS: usize = 32;
    const CALLS: usize = 100;
    let first = up();
    let one = serve("demo.who", &["--reply", "1"], first.contact());
    let client = caller(first.contact()).await;
    assert_eq!(call(&client).await.unwrap(), json!(1));
    // The consumer's cache does not know of it, and has no reason to look.
    let _two = serve("demo.who", &["--reply", "2"], first.contact());

    let (answered, mut answers) = mpsc::channel(CALLERS);
    for _ in 0..CALLERS {
        let (client, answered) = (client.clone(), answered.clone());
        tokio::spawn(async move {
            for _ in 0..CALLS {
                answered.send(call(&client).await).await.unwrap();
            }
        });
    }
    drop(answered);
    let mut one = Some(one);
    let mut counts = [0_usize; 3];
    while let Some(answer) = answers.recv().await {
        let answer = answer.unwrap_or_else(|error| panic!("after {counts:?}: {error}"));
        counts[usize::try_from(answer.as_u64().unwrap()).unwrap()] += 1;
        if counts[1] == CALLERS * CALLS / 4
            && let Some(one) = one.take()
        {
            one.kill();
        }
    }
    assert_eq!(counts[1] + counts[2], CALLERS * CALLS);
    assert!(counts[2] > 0, "{counts:?}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_process_is_gone_is_forgotten_after_its_ttl() {
    const TTL: Duration = Duration::from_secs(15);
    let first = up();
    let provider = serve(
        "demo.who",
        &["--reply", "1", "--ttl", "15"],
        first.contact(),
    );
    let seeker = caller(first.contact()).await;
    let found = seeker.providers("demo.who").await.unwrap();
    assert_eq!(found.providers().len(), 1);
    seeker.shutdown().await;

    provider.kill();
    let death = Instant::now();
    let mut every = interval(Duration::from_millis(500));
    let last_found = timeout(TTL * 2, async {
        let mut last_found = Duration::ZERO;
        loop {
            every.tick().await;
            let started = death.elapsed();
            // A new node each time: it has nothing in its cache.
            let seeker = caller(first.contact()).await;
            let found = seeker.providers("demo.who").await;
            seeker.shutdown().await;
            match found {
                Ok(_) => last_found = started,
                Err(ProvidersError::Resolve(_)) => return last_found,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let last_found = last_found.await.unwrap();
    assert!(
        last_found <= TTL,
        "a lookup found it {last_found:?} after its death"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_leaves_is_found_by_no_later_lookup() {
    let first = up();
    let provider = serve("demo.who", &["--reply", "1"], first.contact());
    let seeker = caller(first.contact()).await;
    let found = seeker.providers("demo.who").await.unwrap();
    assert_eq!(found.providers().len(), 1);

    assert_eq!(provider.interrupt(), Some(0));
    // Its own end came after the withdrawal, so no allowance is needed.
    let late = caller(first.contact()).await;
    assert!(late.providers("demo.who").await.is_err());
    // The one that has it in its cache is told, and says so.
    assert!(call(&seeker).await.is_err());
    late.shutdown().await;
    seeker.shutdown().await;
}

/// A provider that keeps its identity from run to run, at another port each time.
fn serve_as(identity: &Path, reply: &str, bootstrap: &str) -> Running {
    let identity = identity.to_str().unwrap();
    serve(
        "demo.who",
        &["--reply", reply, "--identity", identity],
        bootstrap,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_restarts_at_a_new_port_answers_the_next_call() {
    let (first, dir) = (up(), tempfile::tempdir().unwrap());
    let identity = dir.path().join("identity");
    let before = serve_as(&identity, "1", first.contact());
    let client = caller(first.contact()).await;
    assert_eq!(call(&client).await.unwrap(), json!(1));

    let node_id = before.node().to_owned();
    assert_eq!(before.interrupt(), Some(0));
    let after = serve_as(&identity, "2", first.contact());
    assert_eq!(after.node(), node_id);
    assert_eq!(call(&client).await.unwrap(), json!(2));
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_provider_that_is_back_is_called_again_once_its_silence_was_noticed() {
    let (first, dir) = (up(), tempfile::tempdir().unwrap());
    let identity = dir.path().join("identity");
    let before = serve_as(&identity, "1", first.contact());
    let client = caller(first.contact()).await;
    assert_eq!(call(&client).await.unwrap(), json!(1));

    before.kill();
    let _after = serve_as(&identity, "2", first.contact());
    // Nobody can tell whether the old process had carried this one out, so it is not repeated.
    let lost = client
        .call_json::<_, _, Value>("demo.who", &())
        .timeout(Duration::from_secs(20));
    let error = lost.await.unwrap_err();
    assert_eq!(error.executed(), Executed::Unknown, "{error}");
    assert_eq!(call(&client).await.unwrap(), json!(2));
    client.shutdown().await;
}

#[test]
fn ctrl_c_ends_a_node_with_success_and_leaves_its_place_free() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let path = path.to_str().unwrap();
    let node = Running::start(&["up", "--listen", "127.0.0.1:0", "--identity", path]);
    let (_, address) = node.contact().split_once('@').unwrap();
    let again = ["up", "--listen", address, "--identity", path];
    let again = again.map(str::to_owned);
    assert_eq!(node.interrupt(), Some(0));
    let again = Running::start(&again.each_ref().map(String::as_str));
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn ctrl_c_on_the_way_into_the_network_ends_every_command() {
    // It takes what is sent to it and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let node = SecretKey::from_bytes(&[1; SecretKey::LEN_BYTES]).node_id();
    let contact = format!("{node}@{address}");
    for args in [
        &["up", "--listen", "127.0.0.1:0"][..],
        &["serve", "demo.f", "--echo", "--listen", "127.0.0.1:0"],
        &["call", "demo.f"],
        &["find", "demo.f"],
        &["find", "demo.f", "--trace"],
        &["ping", &contact],
        &["info", &contact],
        &["health", &contact],
        &["stats", &contact],
    ] {
        let args = [args, &["--json", "--bootstrap", &contact]].concat();
        let mut command = command(&args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let (_, from) = silent.recv_from(&mut [0; 2048]).unwrap();
        interrupt(&child);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{args:?}");
        assert!(ended.stdout.is_empty(), "{args:?}");
        let failure: Value = serde_json::from_slice(&ended.stderr).unwrap();
        assert_eq!(failure["error"], json!("interrupted"), "{args:?}");
        // Its sockets are gone with it; what it still had sent is not taken for the next one's.
        drop(UdpSocket::bind(from).unwrap());
        silent.set_nonblocking(true).unwrap();
        while silent.recv_from(&mut [0; 2048]).is_ok() {}
        silent.set_nonblocking(false).unwrap();
    }
}

/// Tells when it is dropped.
struct Dropped(mpsc::Sender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.try_send("dropped").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_during_a_call_ends_its_handler_at_once() {
    let provider = Client::builder()
        .listen("127.0.0.1:0".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let (tell, mut told) = mpsc::channel(2);
    let hang = move |()| {
        let tell = tell.clone();
        async move {
            let _dropped = Dropped(tell.clone());
            tell.try_send("begun").unwrap();
            std::future::pending::<Result<(), HandlerError>>().await
        }
    };
    let _ad = provider.advertise("demo.hangs", hang).await.unwrap();
    let contact = provider.contact().to_string();
    let call = ["call", "demo.hangs", "--timeout", "3600", "--bootstrap"];
    let mut call = command(&[&call[..], &[&contact]].concat()).spawn().unwrap();
    let mut next = async || timeout(Duration::from_secs(30), told.recv()).await.unwrap();
    assert_eq!(next().await, Some("begun"));
    interrupt(&call);
    assert_eq!(next().await, Some("dropped"));
    let ended = tokio::task::spawn_blocking(move || call.wait().unwrap().code());
    assert_eq!(ended.await.unwrap(), Some(130));
    provider.shutdown().await;
}

#[test]
fn calls_from_the_shell_go_on_when_the_first_provider_is_killed() {
    let first = up();
    let one = serve("demo.who", &["--reply", "1"], first.contact());
    let call = || {
        let call = ["call", "demo.who", "--bootstrap", first.contact()];
        let (code, answer) = run_json(&call);
        assert_eq!(code, 0, "{answer}");
        answer
    };
    assert_eq!(call(), json!(1));
    let _two = serve("demo.who", &["--reply", "2"], first.contact());
    one.kill();
    for _ in 0..6 {
        assert_eq!(call(), json!(2));
    }
}
