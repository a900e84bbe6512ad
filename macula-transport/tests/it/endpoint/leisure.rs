//! Lanes that nobody uses.

use std::time::Duration;

use bytes::Bytes;
use macula_transport::EndpointConfig;

use super::fixture::{ECHO, Fixture, request, soon};
use super::raw::{self, HEADER_LEN};

const REPLY: u8 = 2;

/// A peer by hand answers no pings.
fn patient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_secs(3600);
}

async fn a_lane_that_nobody_uses_ends_and_the_next_request_has_another(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let (to, connection) = raw::dialled(&*raw, &a).await;
    for _ in 0..2 {
        let (asker, to) = (a.clone(), to.clone());
        let asking = tokio::spawn(async move { asker.request(&to, request(ECHO, b"")).await });
        let mut lane = soon(connection.accept()).await.unwrap();
        let asked = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        let reply = raw::header_of(raw::call_of(&asked), [1, REPLY, 0], 0);
        soon(lane.send.send(reply.into())).await.unwrap();
        assert_eq!(soon(asking).await.unwrap(), Ok(Bytes::new()));

        assert_eq!(soon(lane.receive.receive()).await, Ok(None));
        lane.send.finish().unwrap();
    }
    let stats = a.stats();
    assert_eq!((stats.connections, stats.dials, stats.ended), (1, 1, 0));
}

on_every_wire!(a_lane_that_nobody_uses_ends_and_the_next_request_has_another);
