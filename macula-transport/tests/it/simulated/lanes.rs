//! What a lost packet holds up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{Endpoint, RequestError};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::{
    ECHO, Fixture, GATE, Gate, contact, echoing, eventually, gated, request, soon,
};

const CALLER: u8 = 1;
const PEER: u8 = 2;

/// Two nodes, and what loses packets between them.
struct Two {
    network: Network,
    caller: Endpoint,
    peer: Endpoint,
    gate: Arc<Gate>,
    round_trip: Duration,
}

type Call = JoinHandle<Result<Bytes, RequestError>>;

impl Two {
    async fn start(network: Network) -> Self {
        let fixture = Fixture::simulated(network.clone());
        let caller = fixture.server(CALLER).await;
        let peer = echoing(fixture.server(PEER).await);
        let gate = gated(&peer);
        Self {
            network,
            caller,
            peer,
            gate,
            round_trip: fixture.round_trip(),
        }
    }

    fn to(&self) -> Contact {
        contact(&self.peer)
    }

    /// Lets there be two lanes with nothing under way: the second request finds the first lane
    /// taken and opens another, which the third takes.
    async fn open_two_lanes(&self) {
        let mut calls = JoinSet::new();
        for count in 1..=3 {
            let (caller, to) = (self.caller.clone(), self.to());
            calls.spawn(async move { caller.request(&to, request(GATE, b"")).await.is_ok() });
            self.gate.holds(count).await;
        }
        self.gate.let_through(3);
        assert_eq!(soon(calls.join_all()).await, [true; 3]);
    }

    fn sent_bytes(&self) -> u64 {
        self.caller
            .stats()
            .traffic
            .map_or(0, |sent| sent.bytes_sent)
    }

    /// Asks something, and loses the packet that carries it, and no other.
    async fn ask_in_vain(&self) -> Call {
        self.network.mute(CALLER, PEER);
        let before = self.sent_bytes();
        let call = self.ask();
        eventually(|| self.sent_bytes() > before).await;
        self.network.unmute(CALLER, PEER);
        call
    }

    fn ask(&self) -> Call {
        let (caller, to) = (self.caller.clone(), self.to());
        tokio::spawn(async move { caller.request(&to, request(ECHO, b"here?")).await })
    }
}

async fn a_lost_packet_holds_up_its_lane(network: Network) {
    const ROUNDS: u32 = 10;
    let two = Two::start(network).await;
    two.open_two_lanes().await;
    for round in 0..ROUNDS {
        let lost = two.ask_in_vain().await;
        let asked = Instant::now();
        let mut others = 0;
        while !lost.is_finished() {
            // The lane with the fewest under way is the other one.
            assert!(soon(two.ask()).await.unwrap().is_ok());
            if others == 0 {
                let took = asked.elapsed();
                assert!(took <= two.round_trip, "round {round}: {took:?}");
                assert!(!lost.is_finished(), "round {round}: nothing was lost");
            }
            others += 1;
        }
        // What is lost is missed when something behind it has come back, and then sent again.
        let took = asked.elapsed();
        assert!(took >= Links::GOOD.latency.0 * 4, "round {round}: {took:?}");
        assert!(soon(lost).await.unwrap().is_ok());
    }
    assert_eq!(two.caller.stats().dials, 1);
}

#[test]
fn a_lost_packet_holds_up_no_other_lane() {
    on_some_seeds(Links::GOOD, a_lost_packet_holds_up_its_lane);
}
