//! A node that is attacked takes no more memory than its limits allow, and serves others meanwhile.
//!
//! It is a process of its own, so that its memory alone counts: this program, started once more for
//! the one test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, SecretKey};
use macula_transport::{
    Endpoint, EndpointConfig, Executor, ProtocolId, QuicConfig, QuicTransport, Role,
};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::fixture::{ECHO, request, soon};

mod attackers;
mod victim;

use victim::Victim;

/// A short request that has a long answer.
const AT_LENGTH: ProtocolId = ProtocolId(103);

/// How long that is; short enough for a lane.
const ANSWER_BYTES: usize = 32 * 1024;

/// What the victim has counted.
const COUNTED: ProtocolId = ProtocolId(104);

/// What the victim's memory may grow by under all attacks together. By the limits one attacker may have
/// 32 MiB of answers untaken and a thousand others wait, another 32 MiB of bodies begun, and some
/// hundred connections and handshakes are not finished.
const MAX_GROWTH_KIB: u64 = 160 * 1024;

/// What they would have it take, at least, if nothing were limited.
const OFFERED_KIB: u64 = attackers::OFFERED_BYTES / 1024;

const _: () = assert!(OFFERED_KIB > 5 * MAX_GROWTH_KIB);

#[test]
fn a_node_under_attack_takes_bounded_memory_and_serves_others() {
    if victim::is_this_process() {
        return victim::play();
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(attack());
}

#[expect(
    clippy::print_stderr,
    reason = "the figures show how much room is left"
)]
async fn attack() {
    let victim = Victim::start().await;
    let honest = honest().await;
    for _ in 0..100 {
        call(&honest, &victim.contact).await;
    }
    let before = victim.resident_kib();
    let mut attacks = JoinSet::new();
    let enough = watch::Sender::new(false);
    attackers::start(&mut attacks, &victim.contact, enough.subscribe());

    let mut seen = Seen::default();
    let mut held = Vec::new();
    let mut rounds_left = 20;
    while rounds_left > 0 {
        call(&honest, &victim.contact).await;
        seen.look(&honest, &victim).await;
        // From here on whoever shakes hands has to prove where it is.
        enough.send_replace(seen.retried > 0);
        while let Some(done) = attacks.try_join_next() {
            held.push(done.unwrap());
        }
        // All is there then, for a while.
        rounds_left -= usize::from(attacks.is_empty());
        sleep(Duration::from_millis(50)).await;
    }
    let grown = seen.resident_kib - before;
    let summary = format!("{grown} KiB on {before}, of {OFFERED_KIB} offered; {seen:?}");
    eprintln!("{summary}");
    assert!(grown <= MAX_GROWTH_KIB, "{summary}");
    // Each attack came as far as its limit.
    assert!(seen.body_bytes > 16 * 1024 * 1024, "{summary}");
    assert!(seen.delayed > 0 && seen.hellos_awaited > 0, "{summary}");
}

/// The most that was seen of the victim.
#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    resident_kib: u64,
    hellos_awaited: u64,
    body_bytes: u64,
    delayed: u64,
    retried: u64,
}

impl Seen {
    async fn look(&mut self, honest: &Endpoint, victim: &Victim) {
        let counts = victim::counts(honest, &victim.contact).await;
        self.looks += 1;
        self.resident_kib = self.resident_kib.max(victim.resident_kib());
        self.hellos_awaited = self.hellos_awaited.max(counts.hellos_awaited);
        self.body_bytes = self.body_bytes.max(counts.body_bytes);
        self.delayed = counts.delayed;
        self.retried = counts.retried;
    }
}

/// Asks something that is answered whatever goes on.
async fn call(honest: &Endpoint, victim: &Contact) {
    let answer = soon(honest.request(victim, request(ECHO, b"honest"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"honest")));
}

async fn honest() -> Endpoint {
    let config = EndpointConfig {
        role: Role::Client,
        ..EndpointConfig::default()
    };
    let transport = quic(1, QuicConfig::default()).await;
    Endpoint::start(Executor::Current.start().unwrap(), transport, config).unwrap()
}

async fn quic(seed: u8, config: QuicConfig) -> Arc<QuicTransport> {
    let key = SecretKey::from_bytes(&[seed; 32]);
    QuicTransport::bind(&key, config).await.unwrap()
}
