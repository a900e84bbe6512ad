//! Where a name is looked for: this node, the cache, the network, the connected peers.

use macula_dht::{DhtError, Scope};
use macula_registry::{AdvertiseOptions, RegistryStats, ResolveError, ResolveOptions, Source};

use crate::cache::{caller, found, network, record};
use crate::node::{Node, Resolved, nodes_of, pass, settle};
use crate::scripted::{Answer, Script, ScriptedDht};

/// In the order in which they are asked.
const SOURCES: [Source; 5] = [
    Source::Local,
    Source::Fresh,
    Source::Stale,
    Source::Dht,
    Source::Direct,
];

/// How often each source answered, in the same order.
fn answers(stats: &RegistryStats) -> [u64; 5] {
    let cache = &stats.cache;
    [
        stats.local_answers,
        cache.hits,
        cache.stale_hits,
        cache.dht_answers,
        cache.direct_answers,
    ]
}

#[tokio::test(start_paused = true)]
async fn name_is_answered_by_node_then_cache_then_network_then_peers() {
    let elsewhere = || ResolveOptions {
        skip_local: true,
        ..ResolveOptions::default()
    };
    let unlisted = AdvertiseOptions {
        listed: false,
        ..AdvertiseOptions::default()
    };
    let gone = || network(Answer::Fails(DhtError::Unreachable));
    // Another node, and a record of this one from before.
    let (dht, node) = caller(network(found(&[(1, 1000), (9, 1000)])));
    node.resolve("app.echo").await.unwrap();
    let _own = node.advertise_with("app.echo", unlisted).await;
    let (before, finds) = (answers(&node.registry.stats()), dht.finds().len());

    let local = node.resolve("app.echo").await.unwrap();
    let fresh = node.resolve_with("app.echo", elsewhere()).await.unwrap();
    assert_eq!(dht.finds().len(), finds);
    assert!(node.unadvertise("app.echo").await);
    pass(60).await;
    dht.set(gone());
    let stale = node.resolve("app.echo").await.unwrap();
    settle().await;
    dht.set(network(found(&[(2, 1000)])));
    node.registry.clear_cache();
    let asked = node.resolve("app.echo").await.unwrap();
    node.registry.clear_cache();
    dht.set(Script {
        connected: found(&[(3, 1000)]),
        ..gone()
    });
    let direct = node.resolve("app.echo").await.unwrap();

    let all = [&local, &fresh, &stale, &asked, &direct];
    let sources = all.map(Resolved::source);
    assert_eq!(sources, SOURCES);
    let [one, two, three] = [1, 2, 3].map(|index| record(index).provider());
    assert_eq!(
        all.map(nodes_of),
        [
            vec![],
            vec![one, node.node_id],
            // Without the service that this node no longer has.
            vec![one],
            vec![two],
            vec![three],
        ]
    );
    let after = answers(&node.registry.stats());
    assert_eq!(after, before.map(|count| count + 1));
}

#[tokio::test(start_paused = true)]
async fn connected_peers_are_asked_when_the_network_gives_no_answer() {
    for network in [Answer::Fails(DhtError::Unreachable), Answer::Inconclusive] {
        let dht = ScriptedDht::new(Script {
            network,
            connected: found(&[(1, 300)]),
            ..Script::default()
        });
        let node = Node::new(9, dht.clone());
        let resolved = node.resolve("app.echo").await.unwrap();
        assert_eq!(resolved.source(), Source::Direct);
        assert_eq!(nodes_of(&resolved), [record(1).provider()]);
        let scopes: Vec<Scope> = dht.finds().iter().map(|find| find.scope).collect();
        assert_eq!(scopes, [Scope::Network, Scope::Connected]);
    }
}

#[tokio::test(start_paused = true)]
async fn connected_peers_are_not_asked_when_absence_is_proved() {
    let dht = ScriptedDht::new(Script {
        connected: found(&[(1, 300)]),
        ..Script::default()
    });
    let node = Node::new(9, dht.clone());
    assert_eq!(node.resolve("app.echo").await, Err(ResolveError::NotFound));
    assert_eq!(dht.finds().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_network_and_peers_the_cause_is_told_and_nothing_is_remembered() {
    let cases = [
        (
            Answer::Fails(DhtError::Unreachable),
            ResolveError::Dht(DhtError::Unreachable),
        ),
        (Answer::Inconclusive, ResolveError::Inconclusive),
    ];
    for (network, error) in cases {
        let dht = ScriptedDht::new(Script {
            network,
            ..Script::default()
        });
        let node = Node::new(9, dht.clone());
        assert_eq!(node.resolve("app.echo").await, Err(error));
        dht.set(Script {
            network: found(&[(1, 300)]),
            ..Script::default()
        });
        assert!(node.resolve("app.echo").await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn partial_answer_of_peers_does_not_replace_a_stale_one_of_the_network() {
    let dht = ScriptedDht::new(Script {
        network: found(&[(1, 300), (2, 300)]),
        ..Script::default()
    });
    let node = Node::new(9, dht.clone());
    node.resolve("app.echo").await.unwrap();
    pass(60).await;
    dht.set(Script {
        network: Answer::Fails(DhtError::Unreachable),
        connected: found(&[(1, 300)]),
        ..Script::default()
    });
    for _ in 0..5 {
        let stale = node.resolve("app.echo").await.unwrap();
        assert_eq!(
            (stale.source(), stale.providers().len()),
            (Source::Stale, 2)
        );
        pass(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn direct_answer_is_looked_up_again_soon() {
    let dht = ScriptedDht::new(Script {
        network: Answer::Fails(DhtError::Unreachable),
        connected: found(&[(1, 300)]),
        ..Script::default()
    });
    let node = Node::new(9, dht.clone());
    node.resolve("app.echo").await.unwrap();
    dht.set(Script {
        network: found(&[(1, 300), (2, 300)]),
        ..Script::default()
    });
    pass(5).await;
    assert_eq!(
        node.resolve("app.echo").await.unwrap().source(),
        Source::Stale
    );
    settle().await;
    assert_eq!(node.resolve("app.echo").await.unwrap().providers().len(), 2);
}
