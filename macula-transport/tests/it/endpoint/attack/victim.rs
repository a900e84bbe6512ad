//! The node that is attacked, in a process of its own.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Endpoint, EndpointConfig, Executor, InboundRequest, QuicConfig, Refusal, RequestHandler,
};
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

use super::{ANSWER_BYTES, AT_LENGTH, COUNTED, quic};
use crate::endpoint::fixture::{contact, echoing, request, soon};

/// Set where this program plays the victim.
const VICTIM: &str = "MACULA_TEST_VICTIM";

const TEST: &str = "endpoint::attack::a_node_under_attack_takes_bounded_memory_and_serves_others";

/// What precedes the contact in what it prints, among what the test harness does.
const LISTENS: &str = "listens: ";

pub(super) fn is_this_process() -> bool {
    env::var_os(VICTIM).is_some()
}

/// Runs the node until the input ends.
#[expect(clippy::print_stdout, reason = "it tells where it listens")]
pub(super) fn play() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = start().await;
        let contact = contact(&node);
        println!("\n{LISTENS}{contact}");
        let ended = || io::stdin().read_to_end(&mut Vec::new());
        spawn_blocking(ended).await.unwrap().unwrap();
    });
}

async fn start() -> Endpoint {
    let runtime = Executor::Own.start().unwrap();
    let listening = QuicConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        ..QuicConfig::default()
    };
    let binding = runtime.spawn(async move { quic(2, listening).await });
    let transport = binding.await.unwrap();
    let node = Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap();
    node.register_inline(AT_LENGTH, Arc::new(AtLength)).unwrap();
    let counted = Arc::new(Counted(node.clone()));
    node.register(COUNTED, counted).unwrap();
    echoing(node)
}

/// Answers at length.
struct AtLength;

#[async_trait]
impl RequestHandler for AtLength {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(vec![7; ANSWER_BYTES].into())
    }
}

/// Answers with what its node has counted.
struct Counted(Endpoint);

#[async_trait]
impl RequestHandler for Counted {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        let stats = self.0.stats();
        let counts = [
            stats.hellos_awaited as u64,
            stats.inbound_body_bytes as u64,
            stats.replies_delayed,
            stats.transport.unwrap().handshakes_retried,
        ];
        Ok(counts.iter().flat_map(|it| it.to_be_bytes()).collect())
    }
}

/// What it has counted, and holds.
pub(super) struct Counts {
    pub(super) hellos_awaited: u64,
    pub(super) body_bytes: u64,
    pub(super) delayed: u64,
    pub(super) retried: u64,
}

pub(super) async fn counts(by: &Endpoint, victim: &Contact) -> Counts {
    let told = soon(by.request(victim, request(COUNTED, b"")))
        .await
        .unwrap();
    let counts = told.chunks_exact(8).map(|it| it.try_into().unwrap());
    let counts: Vec<_> = counts.map(u64::from_be_bytes).collect();
    let [hellos_awaited, body_bytes, delayed, retried] = counts[..] else {
        panic!("{counts:?}");
    };
    Counts {
        hellos_awaited,
        body_bytes,
        delayed,
        retried,
    }
}

/// The process, which ends when this is dropped.
pub(super) struct Victim {
    process: Child,
    pub(super) contact: Contact,
}

impl Victim {
    pub(super) async fn start() -> Self {
        spawn_blocking(Self::spawn).await.unwrap()
    }

    fn spawn() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(VICTIM, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = said.map(Result::unwrap);
        let listens = said.find_map(|line| line.strip_prefix(LISTENS).map(str::to_owned));
        Self {
            contact: listens.expect("a contact").parse().unwrap(),
            process,
        }
    }

    pub(super) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1);
        kib.unwrap().parse().unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
