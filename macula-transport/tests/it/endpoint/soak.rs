//! Everything at once, for a while, and what each call says of itself is true.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Endpoint, EndpointConfig, Executed, InboundRequest, Refusal, Request, RequestError,
    RequestHandler,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::fixture::{ECHO, Fixture, GATE, contact, eventually, soon};

/// How often each call was begun, by its number.
#[derive(Default)]
struct Begun(Mutex<BTreeMap<u32, usize>>);

impl Begun {
    fn times(&self, call: u32) -> usize {
        self.0.lock().unwrap().get(&call).copied().unwrap_or(0)
    }
}

/// Notes what it begins, takes its time, and answers with the body.
struct Counts {
    begun: Arc<Begun>,
    waits: bool,
}

#[async_trait]
impl RequestHandler for Counts {
    async fn handle(&self, asked: InboundRequest) -> Result<Bytes, Refusal> {
        let call = number(&asked.body);
        *self.begun.0.lock().unwrap().entry(call).or_default() += 1;
        if self.waits {
            sleep(Duration::from_millis(u64::from(call % 20))).await;
        }
        Ok(asked.body)
    }
}

fn number(body: &Bytes) -> u32 {
    u32::from_be_bytes(body[..4].try_into().unwrap())
}

/// Few connections, which grow idle at once, and not many requests at a time.
fn tight(config: &mut EndpointConfig) {
    config.max_connections = 4.try_into().unwrap();
    config.idle_timeout = Duration::from_millis(15);
    config.max_inbound_requests_per_peer = 20.try_into().unwrap();
}

const CALLS: u32 = 1500;

async fn what_a_call_says_of_its_execution_is_true(fixture: Fixture) {
    let begun = Arc::new(Begun::default());
    let mut nodes = Vec::new();
    for seed in 1..=5 {
        nodes.push(serving(fixture.server_with(seed, tight).await, &begun));
    }
    let mut rng = StdRng::seed_from_u64(5);
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let from = rng.random_range(0..nodes.len());
        let to = (from + rng.random_range(1..nodes.len())) % nodes.len();
        let patience = match rng.random_range(0..10) {
            0 => Some(Duration::from_millis(rng.random_range(0..15))),
            _ => None,
        };
        let asked = asked(&mut rng, call);
        let (from, to) = (nodes[from].clone(), contact(&nodes[to]));
        calls.spawn(async move { (call, make(&from, &to, asked, patience).await) });
        if call % 100 == 99 {
            sleep(Duration::from_millis(rng.random_range(0..40))).await;
        }
        if call == CALLS / 2 {
            let leaving = nodes.pop().unwrap();
            calls.spawn(async move {
                leaving.shutdown().await;
                (u32::MAX, None)
            });
        }
    }
    let outcomes = soon(calls.join_all()).await;
    for node in &nodes {
        eventually(|| node.stats().inbound_in_flight == 0).await;
    }
    check(&begun, &outcomes);
}

fn serving(endpoint: Endpoint, begun: &Arc<Begun>) -> Endpoint {
    let counts = |waits| {
        let begun = Arc::clone(begun);
        Arc::new(Counts { begun, waits })
    };
    endpoint.register(GATE, counts(true)).unwrap();
    endpoint.register_inline(ECHO, counts(false)).unwrap();
    endpoint
}

fn asked(rng: &mut StdRng, call: u32) -> Request {
    let len = match rng.random_range(0..10) {
        0 => 150_000,
        _ => rng.random_range(4..2000),
    };
    let mut body = vec![7; len];
    body[..4].copy_from_slice(&call.to_be_bytes());
    Request {
        protocol: if rng.random() { ECHO } else { GATE },
        timeout: match rng.random_range(0..10) {
            0 => Duration::from_millis(rng.random_range(1..15)),
            _ => Duration::from_secs(20),
        },
        body: body.into(),
    }
}

/// Makes a call; `None` if it was given up.
async fn make(
    from: &Endpoint,
    to: &Contact,
    asked: Request,
    patience: Option<Duration>,
) -> Option<Result<(), RequestError>> {
    let body = asked.body.clone();
    let answer = match patience {
        Some(patience) => timeout(patience, from.request(to, asked)).await.ok()?,
        None => from.request(to, asked).await,
    };
    Some(answer.map(|answer| assert_eq!(answer, body)))
}

fn check(begun: &Begun, outcomes: &[(u32, Option<Result<(), RequestError>>)]) {
    let mut answered = 0;
    for (call, outcome) in outcomes {
        let times = begun.times(*call);
        assert!(
            times <= 1,
            "call {call} was begun {times} times: {outcome:?}"
        );
        match outcome {
            Some(Ok(())) => {
                assert_eq!(times, 1);
                answered += 1;
            }
            Some(Err(error)) if error.executed == Executed::No => {
                assert_eq!(times, 0, "call {call}: {error:?}");
            }
            _ => {}
        }
    }
    assert!(answered > CALLS / 20, "{answered}");
}

on_every_wire!(what_a_call_says_of_its_execution_is_true);
