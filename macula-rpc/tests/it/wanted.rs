//! Calls that may go to some of the providers only.

use std::sync::Arc;
use std::time::Duration;

use macula_core::{Metadata, NodeId};
use macula_registry::{AdvertiseOptions, Advertisement};
use macula_rpc::{CallError, CallOptions, Reply, Service, Source, Wanted};

use crate::mesh::{Mesh, Node, answers, name};

const SERVICE: &str = "app.f";

fn version(value: &str) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("version", value).unwrap();
    metadata
}

async fn serve(node: &Node, number: u32, metadata: Metadata) -> Advertisement {
    let options = AdvertiseOptions {
        metadata,
        ..AdvertiseOptions::default()
    };
    let service = Service::new(answers(number));
    let advertised = node.registry.advertise(name(SERVICE), service, options);
    advertised.await.unwrap()
}

async fn call(caller: &Node, wanted: Wanted) -> Result<Reply, CallError> {
    let options = CallOptions {
        wanted,
        ..CallOptions::default()
    };
    caller.call_with(SERVICE, &(), options).await
}

fn only(nodes: &[NodeId]) -> Wanted {
    Wanted {
        nodes: Some(Arc::new(nodes.iter().copied().collect())),
        ..Wanted::default()
    }
}

fn saying(metadata: Metadata) -> Wanted {
    Wanted {
        metadata,
        ..Wanted::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_none_but_the_nodes_that_are_named() {
    let mesh = Mesh::new();
    let (one, two, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _one = serve(&one, 1, Metadata::new()).await;
    let _two = serve(&two, 2, Metadata::new()).await;
    for _ in 0..5 {
        let reply = call(&caller, only(&[two.id])).await.unwrap();
        assert_eq!(reply.provider, two.id);
    }
    let stranger = call(&caller, only(&[caller.id])).await.unwrap_err();
    assert_eq!(stranger, CallError::ServiceNotFound);
    mesh.network.refuse(two.id);
    mesh.network.kill(two.id);
    let failed = call(&caller, only(&[two.id])).await.unwrap_err();
    let tried: Vec<_> = failed.attempts().iter().map(|a| a.provider).collect();
    assert_eq!(tried, [two.id], "not even when it fails");
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_none_but_those_that_say_what_is_wanted() {
    let mesh = Mesh::new();
    let (old, new, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _old = serve(&old, 1, version("1")).await;
    let _new = serve(&new, 2, version("2")).await;
    for (wanted, provider) in [("1", old.id), ("2", new.id)] {
        let reply = call(&caller, saying(version(wanted))).await.unwrap();
        assert_eq!(reply.provider, provider);
    }
    let none = call(&caller, saying(version("3"))).await.unwrap_err();
    assert_eq!(none, CallError::ServiceNotFound);
}

#[tokio::test(start_paused = true)]
async fn calls_that_want_nobody_who_is_known_look_again_once_a_second() {
    let mesh = Mesh::new();
    let (old, new, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _old = serve(&old, 1, version("1")).await;
    let lookups = || caller.registry.stats().cache.lookups;
    let none = || call(&caller, saying(version("2")));
    assert_eq!(none().await.unwrap_err(), CallError::ServiceNotFound);
    assert_eq!(lookups(), 2, "and once more for the rest of many");
    for second in 0..3 {
        for _ in 0..100 {
            assert_eq!(none().await.unwrap_err(), CallError::ServiceNotFound);
        }
        assert_eq!(lookups(), 2 + second);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let _new = serve(&new, 2, version("2")).await;
    assert_eq!(
        none().await.unwrap().provider,
        new.id,
        "and finds who joins"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_want_somebody_unknown_wait_for_the_same_lookup() {
    let mesh = Mesh::new();
    let (old, new, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _old = serve(&old, 1, version("1")).await;
    call(&caller, saying(version("1"))).await.unwrap();
    let _new = serve(&new, 2, version("2")).await;
    mesh.dht.set_latency(Duration::from_millis(100));
    let lookups = || caller.registry.stats().cache.lookups;
    let before = lookups();
    let wanted = || call(&caller, saying(version("2")));
    let (one, two, three) = tokio::join!(wanted(), wanted(), wanted());
    for reply in [one, two, three] {
        assert_eq!(reply.unwrap().provider, new.id);
    }
    assert_eq!(lookups(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_in_vain_keeps_nobody_from_looking_again() {
    let mesh = Mesh::new();
    let (old, new, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _old = serve(&old, 1, version("1")).await;
    call(&caller, saying(version("1"))).await.unwrap();
    let _new = serve(&new, 2, version("2")).await;
    mesh.dht.set_reachable(false);
    call(&caller, saying(version("2"))).await.unwrap_err();
    mesh.dht.set_reachable(true);
    let reply = call(&caller, saying(version("2"))).await.unwrap();
    assert_eq!(reply.provider, new.id);
}

#[tokio::test(start_paused = true)]
async fn who_is_wanted_is_found_among_any_number() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let (mut nodes, mut advertisements) = (Vec::new(), Vec::new());
    for seed in 1..=50 {
        let node = mesh.node(seed);
        advertisements.push(serve(&node, u32::from(seed), version(&seed.to_string())).await);
        nodes.push(node.id);
        std::mem::forget(node);
    }
    for (node_id, seed) in nodes.iter().zip(1..) {
        let options = CallOptions {
            provider: Some(*node_id),
            ..CallOptions::default()
        };
        let pinned = caller.call_with(SERVICE, &(), options).await.unwrap();
        let named = call(&caller, only(&[*node_id])).await.unwrap();
        let said = call(&caller, saying(version(&format!("{seed}"))))
            .await
            .unwrap();
        for reply in [pinned, named, said] {
            assert_eq!(reply.provider, *node_id);
        }
    }
    let lookups = caller.registry.stats().cache.lookups;
    assert_eq!(lookups, 2, "one for some, and one for all");
}

#[tokio::test(start_paused = true)]
async fn a_nodes_own_service_counts_only_if_it_is_wanted() {
    let mesh = Mesh::new();
    let (other, own) = (mesh.node(1), mesh.node(2));
    let _other = serve(&other, 1, version("1")).await;
    let _own = serve(&own, 2, version("2")).await;
    let elsewhere = call(&own, saying(version("1"))).await.unwrap();
    assert_eq!(elsewhere.provider, other.id);
    let here = call(&own, saying(version("2"))).await.unwrap();
    assert_eq!(here.provider, own.id);
    let named = call(&own, only(&[other.id])).await.unwrap();
    assert_eq!(named.provider, other.id);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_node_that_is_connected_counts_only_if_it_is_wanted() {
    let mesh = Mesh::new();
    let (one, two, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _one = serve(&one, 1, version("1")).await;
    let _two = serve(&two, 2, version("2")).await;
    call(&caller, only(&[one.id])).await.unwrap();
    caller.registry.clear_cache();
    let pinned = async |wanted: Wanted| {
        let options = CallOptions {
            provider: Some(one.id),
            wanted,
            ..CallOptions::default()
        };
        let reply = caller.call_with(SERVICE, &(), options).await?;
        Ok::<_, CallError>((reply.provider, reply.source))
    };
    let none = Err(CallError::ServiceNotFound);
    assert_eq!(pinned(only(&[two.id])).await, none);
    assert_eq!(pinned(saying(version("2"))).await, none);
    assert_eq!(one.server.stats().calls, 1, "it was not asked again");
    caller.registry.clear_cache();
    let itself = pinned(only(&[one.id])).await;
    assert_eq!(itself, Ok((one.id, Source::Direct)));
    caller.registry.clear_cache();
    let by_its_record = pinned(saying(version("1"))).await;
    assert_eq!(by_its_record, Ok((one.id, Source::Dht)));
}
