//! Providers that fail again and again, and outages of all of them.

use macula_rpc::{AttemptOutcome, CallError, CallOptions, Executed};

use crate::mesh::{Counter, Mesh, Node, answers, hangs};

const SERVICE: &str = "app.f";

/// Serves with a handler that never ends and room for one call, which is taken.
async fn overloaded(mesh: &Mesh, seed: u8, caller: &Node) -> (Node, impl Drop + use<>) {
    let node = mesh.node(seed);
    let (begun, ended) = (Counter::default(), Counter::default());
    let service = node.serve_limited(SERVICE, hangs(&begun, &ended), 1).await;
    let options = CallOptions {
        provider: Some(node.id),
        timeout: std::time::Duration::from_secs(24 * 60 * 60),
        ..CallOptions::default()
    };
    let (held, name) = (caller.caller.clone(), service.name().clone());
    let call = macula_rpc::Call {
        options,
        ..macula_rpc::Call::new(
            name,
            macula_rpc::Codec::Postcard,
            macula_rpc::Codec::Postcard.encode(&()).unwrap(),
        )
    };
    let holding = tokio::spawn(async move { held.call(call).await });
    begun.reaches(1).await;
    (node, Held(holding.abort_handle(), service))
}

struct Held(
    tokio::task::AbortHandle,
    #[expect(dead_code, reason = "kept")] macula_registry::Advertisement,
);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_again_and_again_is_left_alone() {
    let mesh = Mesh::new();
    let (good, caller) = (mesh.node(2), mesh.node(100));
    let _good = good.serve(SERVICE, answers(2)).await;
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    let mut tried_bad = 0;
    for _ in 0..50 {
        let reply = caller
            .call_with(SERVICE, &(), CallOptions::default())
            .await
            .unwrap();
        assert_eq!(reply.provider, good.id);
        tried_bad += usize::from(reply.attempts[0].provider == bad.id);
    }
    assert_eq!(tried_bad, 5, "its breaker opens after five");
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_one_is_tried_all_the_same_and_the_error_says_so() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    for call in 0..20 {
        let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
        let CallError::Overloaded { attempts } = &error else {
            panic!("{error}");
        };
        assert_eq!(attempts[0].provider, bad.id);
        assert_eq!(attempts[0].outcome, AttemptOutcome::Overloaded);
        assert_eq!(attempts[0].forced, call >= 5, "call {call}");
        assert_eq!(error.executed(), Executed::No);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_amplified() {
    const CALLS: u64 = 2_000;
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let mut all = Vec::new();
    for seed in 1..=3 {
        all.push(overloaded(&mesh, seed, &caller).await);
    }
    let before = caller.caller.stats();
    let mut out_of_budget = 0;
    for _ in 0..CALLS {
        match caller.call::<u32>(SERVICE, &()).await.unwrap_err() {
            CallError::RetryBudgetExhausted { attempts } => {
                assert!(!attempts.is_empty(), "the first attempt is always made");
                out_of_budget += 1;
            }
            CallError::Overloaded { attempts } => assert!(attempts.len() <= 3),
            other => panic!("{other}"),
        }
    }
    let stats = caller.caller.stats();
    let attempts = stats.attempts - before.attempts;
    let seconds = CALLS * 6 / 1000 + 1;
    let most = CALLS * 12 / 10 + 100 + 10 * seconds;
    assert!(attempts <= most, "{attempts} attempts, at most {most}");
    assert!(out_of_budget > CALLS / 2, "{out_of_budget}");
    assert_eq!(stats.out_of_budget, out_of_budget);
}
