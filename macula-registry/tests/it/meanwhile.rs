//! What happens to a name while its first lookup runs, and for how long that may be.

use std::time::Duration;

use macula_core::{NodeId, ProviderRecord};
use macula_registry::{RegistryConfig, ResolveOptions, Source};

use crate::cache::{found, record};
use crate::node::{Node, TestClock, address, in_time, name, nodes_of, pass, settle};
use crate::scripted::{Answer, Script, ScriptedDht};

fn slow(network: Answer) -> Script {
    Script {
        latency: Duration::from_secs(1),
        network,
        ..Script::default()
    }
}

/// What the first lookup of a name answers and the cache has then.
async fn first_looked_up_while(
    node: &Node,
    happens: impl Future<Output = ()>,
) -> (Vec<NodeId>, Vec<NodeId>) {
    let meanwhile = async {
        settle().await;
        happens.await;
    };
    let options = ResolveOptions {
        skip_local: true,
        ..ResolveOptions::default()
    };
    let resolving = node.resolve_with("app.echo", options.clone());
    let (resolved, ()) = tokio::join!(resolving, meanwhile);
    let cached = node.registry.resolve_now(&name("app.echo"), &options);
    let cached = cached.and_then(Result::ok);
    let cached = cached.as_ref().map(nodes_of).unwrap_or_default();
    (nodes_of(&resolved.unwrap()), cached)
}

#[tokio::test(start_paused = true)]
async fn provider_that_says_goodbye_during_the_first_lookup_is_not_cached() {
    let node = Node::new(9, ScriptedDht::new(slow(found(&[(1, 300), (2, 300)]))));
    let (dead, left) = (record(1).provider(), record(2).provider());
    let departs = async { node.registry.forget_provider(&dead) };
    let looked_up = first_looked_up_while(&node, departs).await;
    assert_eq!(looked_up, (vec![left], vec![left]));
}

#[tokio::test(start_paused = true)]
async fn provider_that_proves_dead_during_the_first_lookup_is_not_cached() {
    let node = Node::new(9, ScriptedDht::new(slow(found(&[(1, 300), (2, 300)]))));
    let (dead, left) = (record(1).provider(), record(2).provider());
    let dies = async { node.registry.remove_provider(&name("app.echo"), &dead) };
    let looked_up = first_looked_up_while(&node, dies).await;
    assert_eq!(looked_up, (vec![left], vec![left]));
}

#[tokio::test(start_paused = true)]
async fn own_record_unadvertised_during_a_lookup_of_others_is_not_cached() {
    let dht = ScriptedDht::new(Script::default());
    let clock = TestClock::new();
    let config = RegistryConfig::default();
    let node = Node::at(9, dht.clone(), clock, config, || address(9));
    node.advertise("app.echo").await.detach();
    let (_, own): (_, ProviderRecord) = dht.announces().remove(0);
    let left = record(2).provider();
    let life = Duration::from_secs(300);
    dht.set(slow(Answer::Found(vec![(own, life), (record(2), life)])));
    let unadvertise = async {
        assert!(node.unadvertise("app.echo").await);
    };
    let looked_up = first_looked_up_while(&node, unadvertise).await;
    assert_eq!(looked_up, (vec![left], vec![left]));
}

#[tokio::test(start_paused = true)]
async fn however_patient_a_caller_nobody_else_is_bound_to_a_dht_that_hangs_for_long() {
    let dht = ScriptedDht::new(Script {
        latency: Duration::from_secs(86_400),
        ..Script::default()
    });
    let node = Node::new(9, dht.clone());
    let patient = ResolveOptions {
        timeout: Duration::MAX,
        ..ResolveOptions::default()
    };
    let registry = node.registry.clone();
    let waiting = tokio::spawn(async move {
        let resolved = registry.resolve(&name("app.echo"), &patient).await;
        resolved.map(drop)
    });
    pass(35).await;
    dht.set(slow(found(&[(1, 300)])));
    let resolved = node.resolve("app.echo").await.unwrap();
    assert_eq!(resolved.source(), Source::Dht);
    assert!(in_time(waiting).await.unwrap().is_err());
}
