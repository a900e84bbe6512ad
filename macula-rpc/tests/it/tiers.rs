//! Services that call services that call services, and the last of them is out.

use std::sync::Arc;
use std::time::Duration;

use macula_registry::Advertisement;
use macula_rpc::{
    Call, CallError, CallOptions, Caller, Codec, Handler, LeastLatency, RetryBudget, ServerConfig,
    typed, typed_with_context,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::mesh::{Counter, Mesh, Node, answers, hangs, name, within};

const NAMES: [&str; 3] = ["app.first", "app.second", "app.third"];
const NODES: u8 = 3;
const CALLS: u64 = 1_500;
const SECONDS: u64 = 5;

/// What is the matter with every node of the last tier.
#[derive(Debug, Clone, Copy)]
enum Outage {
    Hangs,
    Overloaded,
    Refuses,
    BlackHole,
}

/// Three nodes of each tier, and one that calls the first.
struct Tiers {
    client: Node,
    tiers: Vec<Vec<Node>>,
    _advertisements: Vec<Advertisement>,
}

fn node(mesh: &Mesh, seed: u8) -> Node {
    let selector = Arc::new(LeastLatency::new(seed.into()));
    mesh.node_with(seed, selector, ServerConfig::default())
}

/// Calls the next service with the default options, and passes on what it says.
fn forwards(caller: &Caller, to: &'static str) -> Arc<dyn Handler> {
    let caller = caller.clone();
    typed(move |(): ()| {
        let caller = caller.clone();
        async move {
            let body = Codec::Postcard.encode(&())?;
            let call = Call::new(name(to), Codec::Postcard, body);
            let reply = caller.call(call).await?;
            Ok(reply.codec.decode::<u32>(&reply.body)?)
        }
    })
}

async fn start(mesh: &Mesh, outage: Outage) -> Tiers {
    let (mut tiers, mut advertisements) = (Vec::new(), Vec::new());
    for (tier, service) in (0_u8..).zip(NAMES) {
        let nodes: Vec<_> = (1..=NODES).map(|i| node(mesh, tier * 10 + i)).collect();
        for node in &nodes {
            let (begun, ended) = Default::default();
            let handler = match (NAMES.get(usize::from(tier) + 1), outage) {
                (Some(next), _) => forwards(&node.caller, next),
                (None, Outage::Hangs | Outage::Overloaded) => hangs(&begun, &ended),
                (None, _) => answers(3),
            };
            let room = match (service, outage) {
                ("app.third", Outage::Overloaded) => 1,
                _ => 1024,
            };
            advertisements.push(node.serve_limited(service, handler, room).await);
        }
        tiers.push(nodes);
    }
    for last in &tiers[2] {
        match outage {
            Outage::Hangs | Outage::Overloaded => {}
            Outage::Refuses => mesh.network.refuse(last.id),
            Outage::BlackHole => tiers[1].iter().for_each(|it| mesh.cut(it, last)),
        }
    }
    Tiers {
        client: node(mesh, 100),
        tiers,
        _advertisements: advertisements,
    }
}

impl Tiers {
    /// Calls at random moments; answers how each call ended.
    async fn load(&self) -> Vec<CallError> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            let micros = rng.random_range(0..2 * SECONDS * 1_000_000 / CALLS);
            sleep(Duration::from_micros(micros)).await;
            let caller = self.client.caller.clone();
            calls.spawn(async move {
                let body = Codec::Postcard.encode(&()).unwrap();
                let call = Call::new(name(NAMES[0]), Codec::Postcard, body);
                caller.call(call).await.unwrap_err()
            });
        }
        within(calls.join_all()).await
    }

    /// How many attempts were made at each tier, and by how many nodes.
    fn attempts(&self) -> [(u64, u64); 3] {
        let of = |nodes: &[Node]| {
            let attempts = nodes.iter().map(|node| node.caller.stats().attempts);
            (attempts.sum(), nodes.len() as u64)
        };
        let client = self.client.caller.stats().attempts;
        [(client, 1), of(&self.tiers[0]), of(&self.tiers[1])]
    }
}

async fn check(outage: Outage) {
    let mesh = Mesh::new();
    let started = Instant::now();
    let tiers = start(&mesh, outage).await;
    let errors = tiers.load().await;
    for error in errors {
        let answered = matches!(error, CallError::Handler { .. });
        assert!(answered, "the outage is told, not waited for: {error}");
    }
    let seconds = started.elapsed().as_secs() + 1;
    let budget = RetryBudget::default();
    let floor = u64::from(budget.per_second) * (seconds + RetryBudget::WINDOW.as_secs());
    for (attempts, nodes) in tiers.attempts() {
        let most = CALLS * 12 / 10 + floor * nodes;
        let told = format!("{outage:?}: {:?}, at most {most}", tiers.attempts());
        assert!((CALLS..=most).contains(&attempts), "{told}");
    }
    let [(first, _), (second, _), _] = tiers.attempts();
    assert_eq!((first, second), (CALLS, CALLS), "what is answered is final");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_not_asked_more_for_being_deep_down() {
    check(Outage::Hangs).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_overloaded_is_not_asked_more_for_being_deep_down() {
    check(Outage::Overloaded).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_gone_is_not_asked_more_for_being_deep_down() {
    check(Outage::Refuses).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_in_a_black_hole_is_not_asked_more_for_being_deep_down() {
    check(Outage::BlackHole).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_answers_a_further_attempt_repeats_nothing_that_may_have_run() {
    let mesh = Mesh::new();
    let (silent, middle, client) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let last = [mesh.node(3), mesh.node(4)];
    for node in &last {
        // Kept by forgetting it: the service stays advertised.
        std::mem::forget(node.serve(NAMES[1], hangs(&begun, &ended)).await);
    }
    let _silent = silent.serve(NAMES[0], hangs(&begun, &ended)).await;
    let _middle = middle
        .serve(NAMES[0], forwards(&middle.caller, NAMES[1]))
        .await;
    let error = client.call::<u32>(NAMES[0], &()).await.unwrap_err();
    assert!(matches!(error, CallError::Handler { .. }), "{error}");
    assert_eq!(error.attempts().len(), 2);
    assert_eq!(middle.caller.stats().attempts, 1);

    mesh.network.refuse(last[0].id);
    mesh.network.kill(last[0].id);
    let pinned = CallOptions {
        provider: Some(middle.id),
        ..CallOptions::default()
    };
    let call = client.call_with(NAMES[0], &(), pinned);
    assert!(call.await.is_err());
    assert_eq!(
        middle.caller.stats().attempts,
        1 + 2,
        "a first attempt goes on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_time_left_to_say_what_became_of_its_calls() {
    let mesh = Mesh::new();
    let (middle, last, client) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let caller = middle.caller.clone();
    let tells = typed_with_context(move |context, (): ()| {
        let caller = caller.clone();
        async move {
            let body = Codec::Postcard.encode(&())?;
            let mut call = Call::new(name(NAMES[1]), Codec::Postcard, body);
            call.options.timeout = Duration::from_secs(60 * 60);
            let error = caller.call(call).await.unwrap_err();
            assert!(matches!(error, CallError::Timeout { .. }), "{error}");
            Ok(context.remaining())
        }
    });
    let (begun, ended) = (Counter::default(), Counter::default());
    let _middle = middle.serve(NAMES[0], tells).await;
    let _last = last.serve(NAMES[1], hangs(&begun, &ended)).await;
    for (timeout, reserved) in [(1_000, 100), (5_000, 500), (60_000, 500)] {
        let options = CallOptions {
            timeout: Duration::from_millis(timeout),
            ..CallOptions::default()
        };
        let reply = client.call_with(NAMES[0], &(), options).await.unwrap();
        let left: Duration = reply.codec.decode(&reply.body).unwrap();
        let reserved = Duration::from_millis(reserved);
        assert!(left <= reserved && left > reserved * 9 / 10, "{left:?}");
    }
}
