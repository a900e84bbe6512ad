//! Advertising and calling.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use macula_client::testnet::Testnet;
use macula_client::{
    AdvertiseError, AdvertisementState, CallError, Executed, HandlerError, Source,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_call_is_found_in_the_dht_then_in_the_cache_and_at_home_without_either() {
    let net = Testnet::start(4).await.unwrap();
    let advertisement = net
        .node(1)
        .advertise("math.double", |x: u64| async move { Ok(2 * x) })
        .await
        .unwrap();
    assert!(matches!(
        advertisement.state(),
        AdvertisementState::Published { holders: 1.., .. }
    ));

    for (caller, source) in [(3, Source::Dht), (3, Source::Fresh), (1, Source::Local)] {
        let call = net.node(caller).call::<_, _, u64>("math.double", &21_u64);
        let reply = call.detailed().await.unwrap();
        assert_eq!(reply.source, source);
        assert_eq!(reply.provider, net.node(1).node_id());
        assert_eq!(reply.codec.decode::<u64>(&reply.body).unwrap(), 42);
    }
    net.shutdown().await;
}

#[tokio::test]
async fn a_service_error_reaches_the_caller_verbatim_local_or_remote() {
    let net = Testnet::start(2).await.unwrap();
    let _failing = net
        .node(0)
        .advertise("demo.fails", |()| async move {
            Err::<(), _>(HandlerError::new("no luck"))
        })
        .await
        .unwrap();
    for caller in net.nodes() {
        let error = caller
            .call::<_, _, ()>("demo.fails", &())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, CallError::Handler { error, .. } if error.to_string() == "no luck")
        );
        assert_eq!(error.executed(), Executed::Yes);
    }
    net.shutdown().await;
}

#[tokio::test]
async fn a_result_of_another_type_is_an_error_that_lists_who_answered() {
    let net = Testnet::start(2).await.unwrap();
    let text = |()| async move { Ok("no number".to_owned()) };
    let _text = net.node(0).advertise("demo.text", text).await.unwrap();
    for caller in net.nodes() {
        let error = caller
            .call::<_, _, String>("demo.text", &(1_u64, 2_u64))
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Codec { .. }), "{error}");
        assert_eq!(error.executed(), Executed::No, "bad arguments");
        let error = caller
            .call::<_, _, Vec<String>>("demo.text", &())
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Codec { .. }), "{error}");
        assert_eq!(error.executed(), Executed::Yes);
        let tried: Vec<_> = error.attempts().iter().map(|it| it.provider).collect();
        assert_eq!(tried, [net.node(0).node_id()]);
    }
    net.shutdown().await;
}

#[tokio::test]
async fn one_handler_serves_postcard_and_json_callers() {
    let net = Testnet::start(2).await.unwrap();
    let _sum = net
        .node(0)
        .advertise("math.sum", |numbers: Vec<i64>| async move {
            Ok(numbers.iter().sum::<i64>())
        })
        .await
        .unwrap();
    for caller in net.nodes() {
        let from_postcard: i64 = caller.call("math.sum", &vec![1_i64, 2, 3]).await.unwrap();
        let from_json: Value = caller
            .call_json("math.sum", &json!([1, 2, 3]))
            .await
            .unwrap();
        assert_eq!((from_postcard, from_json), (6, json!(6)));
    }
    net.shutdown().await;
}

#[tokio::test]
async fn raw_bytes_arrive_as_they_are() {
    let net = Testnet::start(2).await.unwrap();
    let _echo = net
        .node(0)
        .advertise_raw("raw.echo", |bytes| async move { Ok(bytes) })
        .await
        .unwrap();
    let large = Bytes::from(vec![7; 1024 * 1024]);
    for body in [Bytes::new(), Bytes::from_static(b"\0\xff"), large] {
        assert_eq!(
            net.node(1)
                .call_raw("raw.echo", body.clone())
                .await
                .unwrap(),
            body
        );
    }
    net.shutdown().await;
}

#[tokio::test]
async fn a_withdrawn_service_is_gone_and_a_new_advertisement_brings_it_back() {
    let net = Testnet::start(3).await.unwrap();
    let answer = |()| async move { Ok(1_u8) };
    let first = net.node(1).advertise("demo.one", answer).await.unwrap();
    let _: u8 = net.node(2).call("demo.one", &()).await.unwrap();

    first.withdraw().await.unwrap();
    let gone = net
        .node(2)
        .call::<_, _, u8>("demo.one", &())
        .force_refresh()
        .await;
    assert!(gone.is_err());
    assert!(!net.node(1).unadvertise("demo.one").await.unwrap());

    let _second = net.node(1).advertise("demo.one", answer).await.unwrap();
    let again: u8 = net
        .node(2)
        .call("demo.one", &())
        .force_refresh()
        .await
        .unwrap();
    assert_eq!(again, 1);
    net.shutdown().await;
}

#[tokio::test]
async fn a_killed_provider_fails_no_call() {
    let net = Testnet::start(5).await.unwrap();
    let mut advertisements = Vec::new();
    for provider in [1, 2, 3] {
        let answer = move |()| async move { Ok(provider) };
        advertisements.push(
            net.node(provider)
                .advertise("demo.who", answer)
                .await
                .unwrap(),
        );
    }
    let mut answers = [0; 4];
    for number in 0..90 {
        if number == 30 {
            net.kill(2).await;
        }
        let who: usize = net.node(4).call("demo.who", &()).await.unwrap();
        answers[who] += 1;
    }
    assert_eq!(answers.iter().sum::<i32>(), 90);
    assert!(answers[1..].iter().all(|count| *count > 0), "{answers:?}");
    net.shutdown().await;
}

#[tokio::test]
async fn bad_names_metadata_and_lifetimes_are_refused_before_anything_happens() {
    let net = Testnet::start(1).await.unwrap();
    let node = net.node(0);
    let advertise = |name: &str| node.advertise(name, |()| async move { Ok(()) });
    assert!(matches!(
        advertise("no name").await,
        Err(AdvertiseError::Name(_))
    ));
    let oversized = advertise("a.b").metadata("key", "x".repeat(2000)).await;
    assert!(matches!(oversized, Err(AdvertiseError::Metadata(_))));
    let fleeting = advertise("a.b").ttl(Duration::from_secs(1)).await;
    assert!(matches!(fleeting, Err(AdvertiseError::Refused(_))));
    assert!(matches!(
        advertise("_sys.mine").await,
        Err(AdvertiseError::Refused(_))
    ));
    assert_eq!(node.advertised(), []);

    let bad_name = node.call::<_, _, ()>("no name", &()).await.unwrap_err();
    assert!(matches!(bad_name, CallError::Name(_)));
    assert_eq!(bad_name.executed(), Executed::No);
    net.shutdown().await;
}

#[tokio::test]
async fn more_calls_than_a_service_admits_are_overload() {
    let net = Testnet::start(2).await.unwrap();
    let _slow = net
        .node(0)
        .advertise("demo.slow", |()| async move {
            std::future::pending::<()>().await;
            Ok(())
        })
        .concurrency(NonZeroUsize::MIN)
        .await
        .unwrap();
    let first = net.node(1).call::<_, _, ()>("demo.slow", &());
    let second = net.node(1).call::<_, _, ()>("demo.slow", &());
    let (first, second) = tokio::join!(
        first.timeout(Duration::from_secs(2)).into_future(),
        second.timeout(Duration::from_secs(2)).into_future(),
    );
    let errors = [first.unwrap_err(), second.unwrap_err()];
    assert!(
        errors
            .iter()
            .any(|error| matches!(error, CallError::Timeout { .. })),
        "{errors:?}"
    );
    assert!(
        errors
            .iter()
            .any(|error| matches!(error, CallError::Overloaded { .. })),
        "{errors:?}"
    );
    net.shutdown().await;
}
