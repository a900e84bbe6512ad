//! What a caller sees: the same values and errors from here and from afar, in either codec.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use macula_core::Delivery;
use macula_rpc::{
    Access, CallContext, CallError, CallOptions, Caller, Codec, Executed, Handler, HandlerError,
    Part, RoundRobin, ServerConfig, Service, ServiceOptions, Source, raw, typed,
    typed_with_context,
};
use macula_transport::Executor;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::mesh::{Counter, Mesh, Node, answers, bare, name, within};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Query {
    id: u64,
    tags: Vec<String>,
    limit: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Answer {
    Found {
        id: u64,
        sum: f64,
        tags: Vec<String>,
    },
    Nothing,
}

fn query(id: u64) -> Query {
    Query {
        id,
        tags: vec!["ä".to_owned(), "b".to_owned()],
        limit: Some(0.5),
    }
}

/// Answers, fails, panics, or answers what no codec can write, by the id that is asked for.
fn every_outcome() -> Arc<dyn Handler> {
    typed(|query: Query| async move {
        match query.id {
            0 => Ok(Odd::Answer(Answer::Nothing)),
            404 => Err(HandlerError::new("no such user").with_code(404)),
            500 => panic!("by request"),
            666 => Ok(Odd::Unwritable),
            id => Ok(Odd::Answer(Answer::Found {
                id,
                sum: query.limit.unwrap_or(0.0) + 1.0,
                tags: query.tags,
            })),
        }
    })
}

/// Written as the answer it holds, or not at all.
enum Odd {
    Answer(Answer),
    Unwritable,
}

impl Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Answer(answer) => answer.serialize(serializer),
            Self::Unwritable => Err(serde::ser::Error::custom("unwritable")),
        }
    }
}

async fn ask(from: &Node, codec: Codec, id: u64) -> Result<Answer, CallError> {
    let body = codec.encode(&query(id)).unwrap();
    let options = CallOptions::default();
    let reply = from.send("app.ask", codec, body, options).await;
    let reply = reply.map_err(|error| {
        assert_eq!(error.attempts().len(), 1, "{error}");
        // Who calls from afar waits longer.
        bare(error)
    })?;
    assert_eq!(reply.codec, codec);
    Ok(codec.decode(&reply.body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn local_and_remote_callers_of_either_codec_get_the_same() {
    let mesh = Mesh::new();
    let (provider, remote) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve("app.ask", every_outcome()).await;
    for codec in [Codec::Postcard, Codec::Json] {
        for id in [0, 7, 404, 500, 666] {
            let near = ask(&provider, codec, id).await;
            let far = ask(&remote, codec, id).await;
            assert_eq!(near, far, "{codec:?} {id}");
            match id {
                0 => assert_eq!(far, Ok(Answer::Nothing)),
                7 => assert!(matches!(far, Ok(Answer::Found { id: 7, .. }))),
                404 => {
                    let expected = HandlerError::new("no such user").with_code(404);
                    let is_it = |error: &HandlerError| *error == expected;
                    assert!(matches!(&far, Err(CallError::Handler { error, .. }) if is_it(error)));
                }
                500 => assert!(matches!(far, Err(CallError::HandlerPanicked { .. }))),
                _ => assert!(matches!(
                    far,
                    Err(CallError::Codec {
                        part: Part::Result,
                        ..
                    })
                )),
            }
        }
    }
    assert_eq!(
        provider.caller.stats().attempts,
        0,
        "local calls stay local"
    );
}

#[tokio::test(start_paused = true)]
async fn undecodable_arguments_are_the_same_error_here_and_there() {
    let mesh = Mesh::new();
    let (provider, remote) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve("app.ask", every_outcome()).await;
    for (codec, body) in [
        (Codec::Postcard, &b"\xff"[..]),
        (Codec::Json, b"{\"id\":\"seven\"}"),
        (Codec::Json, b"{"),
        (Codec::Raw, b"anything"),
    ] {
        let body = Bytes::from_static(body);
        let options = CallOptions::default();
        let near = provider.send("app.ask", codec, body.clone(), options.clone());
        let near = near.await.unwrap_err();
        let far = remote.send("app.ask", codec, body, options).await;
        let far = far.unwrap_err();
        assert_eq!(far.executed(), Executed::No);
        assert_eq!(bare(near), bare(far.clone()));
        assert!(
            matches!(
                far,
                CallError::Codec {
                    part: Part::Arguments,
                    ..
                }
            ),
            "{far}"
        );
    }
    assert!(ask(&remote, Codec::Json, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn json_callers_get_json_that_any_language_reads() {
    let mesh = Mesh::new();
    let (provider, remote) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve("app.ask", every_outcome()).await;
    let body = Bytes::from_static(br#"{"id":3,"tags":["x"],"limit":null}"#);
    let options = CallOptions::default();
    let reply = remote.send("app.ask", Codec::Json, body, options);
    let reply = reply.await.unwrap();
    assert_eq!(
        reply.body,
        Bytes::from_static(br#"{"Found":{"id":3,"sum":1.0,"tags":["x"]}}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn raw_bytes_pass_unread_in_every_codec() {
    let mesh = Mesh::new();
    let (provider, remote) = (mesh.node(1), mesh.node(100));
    let echo = raw(|bytes| async move { Ok(bytes) });
    let _ad = provider.serve("app.echo", echo).await;
    for codec in [Codec::Raw, Codec::Json, Codec::Postcard] {
        for len in [0, 1, 100_000] {
            let body = Bytes::from(vec![0xa5; len]);
            for node in [&provider, &remote] {
                let options = CallOptions::default();
                let reply = node.send("app.echo", codec, body.clone(), options);
                let reply = reply.await.unwrap();
                assert_eq!((reply.codec, reply.body), (codec, body.clone()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_service_is_called_without_network_and_dht() {
    let mesh = Mesh::new();
    let node = mesh.node(1);
    let _ad = node.serve("app.f", answers(5)).await;
    mesh.dht.set_reachable(false);
    let options = CallOptions::default();
    let reply = node.call_with("app.f", &(), options).await.unwrap();
    assert_eq!(reply.source, Source::Local);
    assert_eq!(reply.provider, node.id);
    assert_eq!(node.caller.stats().local, 1);
    assert_eq!(node.registry.stats().cache.lookups, 0);
}

#[tokio::test(start_paused = true)]
async fn the_handler_learns_who_calls_and_which_attempt_it_is() {
    let mesh = Mesh::new();
    let (dead, provider, remote) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _dead = dead.serve("app.who", answers(0)).await;
    mesh.network.refuse(dead.id);
    let seen = Arc::new(Mutex::new(Vec::<CallContext>::new()));
    let sink = seen.clone();
    let who = typed_with_context(move |context, (): ()| {
        sink.lock().unwrap().push(context.clone());
        async move { Ok(context.remaining() <= Duration::from_secs(5)) }
    });
    let _ad = provider.serve("app.who", who).await;
    assert_eq!(remote.call("app.who", &()).await, Ok(true));
    assert_eq!(provider.call("app.who", &()).await, Ok(true));
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].caller, seen[0].attempt), (remote.id, 2));
    assert_eq!((seen[1].caller, seen[1].attempt), (provider.id, 1));
    assert_ne!(seen[0].call_id, seen[1].call_id);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_of_a_call_carries_its_id() {
    let mesh = Mesh::new();
    let (silent, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let seen = Arc::new(Mutex::new(Vec::<CallContext>::new()));
    for (node, answers) in [(&silent, false), (&good, true)] {
        let sink = seen.clone();
        let handler = typed_with_context(move |context, (): ()| {
            sink.lock().unwrap().push(context);
            async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        });
        // Kept by forgetting it: the service stays advertised.
        std::mem::forget(node.serve("app.f", handler).await);
    }
    assert_eq!(caller.call("app.f", &()).await, Ok(()));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].call_id, seen[1].call_id);
    assert_eq!((seen[0].attempt, seen[1].attempt), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn too_large_arguments_are_sent_nowhere() {
    let mesh = Mesh::new();
    let (provider, remote) = (mesh.node(1), mesh.node(100));
    let _ad = provider
        .serve("app.echo", raw(|bytes| async move { Ok(bytes) }))
        .await;
    let body = Bytes::from(vec![0; 16 * 1024 * 1024]);
    for node in [&provider, &remote] {
        let call = node.send("app.echo", Codec::Raw, body.clone(), CallOptions::default());
        let error = call.await.unwrap_err();
        assert!(
            matches!(
                error,
                CallError::TooLarge {
                    part: Part::Arguments,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.executed(), Executed::No);
    }
    assert_eq!(provider.server.stats().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_too_large_result_is_an_error_to_its_caller_only() {
    let mesh = Mesh::new();
    let config = ServerConfig {
        max_body_bytes: std::num::NonZeroUsize::new(10).unwrap(),
        ..ServerConfig::default()
    };
    let provider = mesh.node_with(1, Arc::new(macula_rpc::First), config);
    let remote = mesh.node(100);
    let repeat = raw(|bytes: Bytes| async move { Ok(Bytes::from(bytes.repeat(2))) });
    let _ad = provider.serve("app.repeat", repeat).await;
    for node in [&provider, &remote] {
        let send = |len| {
            let body = Bytes::from(vec![0; len]);
            node.send("app.repeat", Codec::Raw, body, CallOptions::default())
        };
        let error = send(6).await.unwrap_err();
        let expected = CallError::TooLarge {
            part: Part::Result,
            limit_bytes: 10,
            attempts: Vec::new(),
        };
        assert_eq!(error.executed(), Executed::Yes);
        assert_eq!(bare(error), expected);
        assert_eq!(send(5).await.unwrap().body.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn nine_calls_over_three_providers_are_shared_evenly() {
    let mesh = Mesh::new();
    let config = ServerConfig::default();
    let caller = mesh.node_with(100, Arc::new(RoundRobin::new()), config);
    let nodes = [mesh.node(1), mesh.node(2), mesh.node(3)];
    for node in &nodes {
        // Kept by forgetting it: the service stays advertised.
        std::mem::forget(node.serve("app.f", answers(1)).await);
    }
    for _ in 0..9 {
        assert_eq!(caller.call::<u32>("app.f", &()).await, Ok(1));
    }
    assert_eq!(nodes.map(|node| node.server.stats().calls), [3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn nine_calls_begin_evenly_while_one_of_three_providers_fails_over() {
    let mesh = Mesh::new();
    let config = ServerConfig::default();
    let caller = mesh.node_with(100, Arc::new(RoundRobin::new()), config);
    let denying = ServiceOptions {
        access: Access::only([]),
        ..ServiceOptions::default()
    };
    let nodes = [mesh.node(1), mesh.node(2), mesh.node(3)];
    for (node, options) in nodes.iter().zip([
        denying,
        ServiceOptions::default(),
        ServiceOptions::default(),
    ]) {
        let service = Service::with_options(answers(1), options);
        // Kept by forgetting it: the service stays advertised.
        std::mem::forget(node.serve_as("app.f", service, Delivery::AtLeastOnce).await);
    }
    let mut begun = nodes
        .iter()
        .map(|node| (node.id, 0))
        .collect::<BTreeMap<_, _>>();
    for _ in 0..9 {
        let reply = caller.call_with("app.f", &(), CallOptions::default()).await;
        *begun.get_mut(&reply.unwrap().attempts[0].provider).unwrap() += 1;
    }
    assert!(begun.values().all(|first| *first == 3), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_a_runtime_of_their_own_are_called_from_any_other() {
    let mesh = Mesh::new();
    let node = |seed| {
        let selector = Arc::new(RoundRobin::new());
        mesh.node_on(Executor::Own, seed, selector, ServerConfig::default())
    };
    let (provider, caller) = (node(1), node(100));
    let double = typed(|n: u32| async move { Ok(n * 2) });
    let _ad = provider.serve("app.double", double).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200_u32 {
        let caller = caller.caller.clone();
        calls.spawn(async move {
            let body = Codec::Json.encode(&n).unwrap();
            let call = macula_rpc::Call::new(name("app.double"), Codec::Json, body);
            let reply = caller.call(call).await.unwrap();
            assert_eq!(reply.codec.decode::<u32>(&reply.body), Ok(n * 2));
        });
    }
    within(calls.join_all()).await;
    assert_eq!(provider.server.stats().succeeded, 200);
    assert_eq!(caller.endpoint.stats().dials, 1);
}

/// Calls a service of another node from within a handler.
fn forwards(caller: &Caller, to: &'static str, timeout: Duration) -> Arc<dyn Handler> {
    let caller = caller.clone();
    typed(move |depth: u32| {
        let caller = caller.clone();
        async move {
            let Some(next) = depth.checked_sub(1) else {
                return Ok(0_u32);
            };
            let body = Codec::Postcard.encode(&next)?;
            let mut call = macula_rpc::Call::new(name(to), Codec::Postcard, body);
            call.options.timeout = timeout;
            let reply = caller.call(call).await?;
            Ok(reply.codec.decode::<u32>(&reply.body)? + 1)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn nested_and_recursive_calls_between_services_end() {
    let mesh = Mesh::new();
    let (ping, pong, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let timeout = Duration::from_secs(5);
    let to_pong = forwards(&ping.caller, "app.pong", timeout);
    let to_ping = forwards(&pong.caller, "app.ping", timeout);
    let itself = forwards(&pong.caller, "app.itself", timeout);
    let _ping = ping.serve("app.ping", to_pong).await;
    let _pong = pong.serve("app.pong", to_ping).await;
    let _itself = pong.serve("app.itself", itself).await;
    let many = (0..20).map(|_| async {
        assert_eq!(caller.call::<u32>("app.ping", &20_u32).await, Ok(20));
        assert_eq!(caller.call::<u32>("app.itself", &20_u32).await, Ok(20));
    });
    for call in many {
        within(call).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_inherits_the_time_that_is_left() {
    let mesh = Mesh::new();
    let (middle, last, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let ended = Counter::default();
    let hour = Duration::from_secs(3600);
    let forward = forwards(&middle.caller, "app.hangs", hour);
    let _middle = middle.serve("app.middle", forward).await;
    let (counter, granted) = (ended.clone(), Arc::new(Mutex::new(None)));
    let sink = granted.clone();
    let hanging = typed_with_context(move |context, _: u32| {
        *sink.lock().unwrap() = Some(context.remaining());
        let ended = counter.on_drop();
        async move {
            std::future::pending::<()>().await;
            drop(ended);
            Ok(0_u32)
        }
    });
    let _last = last.serve("app.hangs", hanging).await;
    let started = Instant::now();
    let error = caller.call::<u32>("app.middle", &1_u32).await.unwrap_err();
    assert!(matches!(error, CallError::Handler { .. }), "{error}");
    let granted = granted.lock().unwrap().take();
    assert!(granted.is_some_and(|granted| granted <= Duration::from_secs(5)));
    ended.reaches(1).await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "an hour was asked for"
    );
    assert_eq!(last.server.stats().running, 0);
    assert_eq!(middle.server.stats().running, 0);
}
