//! Long bodies on a path that is slow.

use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::contract::impairment::{ImpairedPath, Impairment};
use macula_transport::{EndpointConfig, Executor, Request};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{ECHO, Fixture, echoing, request, soon};

const NARROW: Impairment = Impairment {
    one_way_delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    loss: 0.01,
    duplication: 0.0,
    bytes_per_second: Some(1 << 20),
};

async fn a_peer_behind_a_slow_upload_is_not_taken_for_dead(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let path = ImpairedPath::open(b.addresses()[0], NARROW, 5)
        .await
        .unwrap();
    let to = Contact::new(b.node_id(), [path.address()]);
    let body = Bytes::from(vec![7; 700 << 10]);
    let begun = Instant::now();
    let mut uploads = JoinSet::new();
    // As many as travel at a time, which all end together.
    for _ in 0..8 {
        let (a, to, body) = (a.clone(), to.clone(), body.clone());
        let upload = Request {
            body: body.clone(),
            timeout: Duration::from_secs(60),
            ..request(ECHO, b"")
        };
        uploads.spawn(async move { a.request(&to, upload).await.map(|answer| answer == body) });
    }
    let answers = soon(uploads.join_all()).await;
    assert!(
        answers.iter().all(|answer| *answer == Ok(true)),
        "{answers:?}"
    );
    assert_eq!((a.stats().unresponsive_closed, a.stats().dials), (0, 1));
    // Otherwise it says nothing.
    assert!(begun.elapsed() > EndpointConfig::default().liveness_bound());
}

#[tokio::test]
async fn a_slow_upload_is_no_silence() {
    a_peer_behind_a_slow_upload_is_not_taken_for_dead(Fixture::quic(Executor::Current)).await;
}

#[tokio::test]
async fn a_slow_upload_is_no_silence_on_a_runtime_of_its_own() {
    a_peer_behind_a_slow_upload_is_not_taken_for_dead(Fixture::quic(Executor::Own)).await;
}
