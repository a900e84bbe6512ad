//! Memory for the bodies of requests: a peer has its share of it, and no more.

use bytes::Bytes;
use macula_transport::{Connection, EndpointConfig, Executor, Stream};

use super::fixture::{ECHO, Fixture, contact, echoing, eventually, known, request, soon};
use super::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const REFUSAL: u8 = 3;
const OVERLOADED: u8 = 1;

const FLAGS: usize = 3;
const ALONE: u8 = 1;

/// What the bodies of one peer may take.
const SHARE_BYTES: usize = 32 * 1024 * 1024;

/// Goes on a lane.
const SHORT: &[u8] = b"more than a few bytes";

/// Travels alone, and is more than a peer that holds all it can has left.
const LONG: &[u8] = &[7; 64 * 1024 + 1];

/// Begins requests whose bodies are almost there, until there is no room for one more.
async fn hold_all_memory(connection: &dyn Connection) -> Vec<Stream> {
    let longest = EndpointConfig::DEFAULT_MAX_MESSAGE_BYTES.get();
    let piece = Bytes::from(vec![7; 1024 * 1024]);
    let mut held = Vec::new();
    for call in 0..SHARE_BYTES / longest {
        let mut stream = soon(connection.open()).await.unwrap();
        let len = u32::try_from(longest).unwrap();
        let head = raw::header_of(call as u64, [1, REQUEST, ECHO.0], len);
        soon(stream.send.send(head.into())).await.unwrap();
        let mut left = longest - 1;
        while left > 0 {
            let piece = piece.slice(..left.min(piece.len()));
            left -= piece.len();
            soon(stream.send.send(piece)).await.unwrap();
        }
        held.push(stream);
    }
    held
}

/// Asks something until the answer is of a kind.
async fn ask_until(connection: &dyn Connection, body: &[u8], [kind, code]: [u8; 2]) {
    let mut head = raw::header_of(100, [1, REQUEST, ECHO.0], body.len() as u32);
    head[FLAGS] = u8::from(body == LONG) * ALONE;
    let whole = [&head, body].concat();
    soon(async {
        loop {
            let answer = raw::exchange(connection, &whole).await.unwrap();
            if answer[1..3] == [kind, code] {
                return assert!(kind == REFUSAL || answer[HEADER_LEN..] == *body);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn peers_that_hold_all_memory_together_are_refused_more_until_one_lets_go() {
    const SHARES: u8 = 4;
    let fixture = Fixture::memory(Executor::Current);
    let b = echoing(fixture.server(100).await);
    let mut holders = Vec::new();
    for seed in 1..=SHARES {
        let raw = fixture.raw(seed).await;
        let connection = raw::greeted(&*raw, &b).await;
        let held = hold_all_memory(&*connection).await;
        holders.push((held, connection, raw));
    }
    assert_eq!(b.stats().overloaded_bodies, 0, "all of it is their due");
    let raw = fixture.raw(50).await;
    let newcomer = raw::greeted(&*raw, &b).await;
    ask_until(&*newcomer, LONG, [REFUSAL, OVERLOADED]).await;
    assert_eq!(b.stats().overloaded_bodies, 1);
    ask_until(&*newcomer, SHORT, [REPLY, 0]).await;
    holders.pop();
    ask_until(&*newcomer, LONG, [REPLY, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn who_holds_all_memory_of_a_peer_is_refused_more_until_it_lets_go() {
    let fixture = Fixture::memory(Executor::Current);
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let other = fixture.server(3).await;
    soon(other.connect(&contact(&b).into())).await.unwrap();
    let connection = raw::greeted(&*raw, &b).await;

    let held = hold_all_memory(&*connection).await;
    assert_eq!(b.stats().overloaded_bodies, 0, "all of it is its due");
    // But for a little that is still under way.
    eventually(|| b.stats().inbound_body_bytes > SHARE_BYTES - SHORT.len()).await;
    ask_until(&*connection, LONG, [REFUSAL, OVERLOADED]).await;
    let stats = b.stats();
    assert_eq!((stats.overloaded_bodies, stats.requests_overloaded), (1, 1));
    let beside = soon(other.request(&known(&b), request(ECHO, SHORT))).await;
    assert_eq!(beside, Ok(Bytes::from_static(SHORT)));
    // What takes a lane has precedence over long bodies.
    ask_until(&*connection, SHORT, [REPLY, 0]).await;
    drop(held);
    ask_until(&*connection, LONG, [REPLY, 0]).await;
    eventually(|| b.stats().inbound_body_bytes == 0).await;

    // What another connection held, and all of it again.
    let held = hold_all_memory(&*connection).await;
    ask_until(&*connection, LONG, [REFUSAL, OVERLOADED]).await;
    drop((held, connection));
    let again = raw::greeted(&*raw, &b).await;
    ask_until(&*again, LONG, [REPLY, 0]).await;
    let _held = hold_all_memory(&*again).await;
    ask_until(&*again, LONG, [REFUSAL, OVERLOADED]).await;
    assert_eq!(b.stats().connections, 2);
}
