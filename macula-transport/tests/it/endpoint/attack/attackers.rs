//! Those who attack: each with an identity of its own, all at the same time.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{
    Connection, EndpointConfig, QuicConfig, QuicTransport, Stream, Transport as _,
};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{ANSWER_BYTES, AT_LENGTH, quic};
use crate::endpoint::fixture::{ECHO, soon};
use crate::endpoint::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;

/// What an attack holds on to.
pub(super) type Held = Box<dyn Any + Send>;

/// What all of them would have the victim hold.
pub(super) const OFFERED_BYTES: u64 = UNREAD_BYTES + BEGUN_BYTES;

/// Begins all attacks; each is done when all of it has reached the victim, or as much as it lets in.
/// Handshakes are begun until there are `enough`.
pub(super) fn start(attacks: &mut JoinSet<Held>, victim: &Contact, enough: watch::Receiver<bool>) {
    attacks.spawn(unread(victim.clone()));
    attacks.spawn(begun(victim.clone()));
    attacks.spawn(silent(victim.clone()));
    attacks.spawn(half_open(victim.clone(), enough));
}

/// The lanes of one who asks and reads no answer: far more than anybody needs.
const LANES: usize = 400;

/// How often it asks on each. It does so in its own time: all at once would be refused.
const REQUESTS: usize = 60;

const PAUSE: Duration = Duration::from_millis(30);

const UNREAD_BYTES: u64 = (LANES * REQUESTS * ANSWER_BYTES) as u64;

/// Asks for long answers and takes none of them.
async fn unread(victim: Contact) -> Held {
    let deaf = QuicConfig {
        connection_window_bytes: 64 * 1024,
        stream_window_bytes: 16 * 1024,
        ..QuicConfig::default()
    };
    let transport = quic(3, deaf).await;
    let connection = greeted(&transport, &victim).await;
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let connection = Arc::clone(&connection);
        lanes.spawn(async move {
            let mut stream = soon(connection.open()).await.unwrap();
            for call in 0..REQUESTS as u64 {
                let ask = raw::header_of(call, [1, REQUEST, AT_LENGTH.0], 0);
                // A lane that the victim has given up is as good.
                let _ = stream.send.send(ask.into()).await;
                sleep(PAUSE).await;
            }
            stream
        });
    }
    let lanes = lanes.join_all().await;
    Box::new((lanes, connection, transport))
}

/// The streams of one who begins long requests and does not go on.
const STREAMS: usize = 48;

/// How much of each it sends: several times the share of a peer, all together.
const PIECE_BYTES: usize = 2 * 1024 * 1024;

const BEGUN_BYTES: u64 = (STREAMS * PIECE_BYTES) as u64;

/// Begins what it does not finish.
async fn begun(victim: Contact) -> Held {
    let transport = quic(4, QuicConfig::default()).await;
    let connection = greeted(&transport, &victim).await;
    let longest = EndpointConfig::DEFAULT_MAX_MESSAGE_BYTES.get() as u32;
    let piece = Bytes::from(vec![7; PIECE_BYTES]);
    let mut streams = JoinSet::new();
    for call in 0..STREAMS as u64 {
        let (connection, piece) = (Arc::clone(&connection), piece.clone());
        streams.spawn(async move {
            let head = raw::header_of(call, [1, REQUEST, ECHO.0], longest);
            let mut stream = begin(&*connection, head).await;
            // What is beyond the share of a peer is read and skipped.
            let _ = stream.send.send(piece).await;
            stream
        });
    }
    // Some heads are whole and some are not.
    for len in 0..200 {
        let head = raw::header_of(1000, [1, REQUEST, ECHO.0], longest);
        let connection = Arc::clone(&connection);
        streams
            .spawn(async move { begin(&*connection, head[..1 + len % HEADER_LEN].to_vec()).await });
    }
    let streams = streams.join_all().await;
    Box::new((streams, connection, transport))
}

async fn begin(connection: &dyn Connection, bytes: Vec<u8>) -> Stream {
    let mut stream = soon(connection.open()).await.unwrap();
    soon(stream.send.send(bytes.into())).await.unwrap();
    stream
}

/// How many do so at a time; what fits is less of a matter of memory.
const SILENT: usize = 100;

/// Connects and says nothing.
async fn silent(victim: Contact) -> Held {
    let transport = quic(5, QuicConfig::default()).await;
    let target = DialTarget::from(&victim);
    let mut connections = Vec::new();
    for _ in 0..SILENT {
        // So many others shake hands that one may fail.
        connections.extend(soon(transport.dial(&target)).await.ok());
    }
    Box::new((connections, transport))
}

/// Begins handshakes and finishes none.
async fn half_open(victim: Contact, mut enough: watch::Receiver<bool>) -> Held {
    let transport = quic(6, QuicConfig::default()).await;
    let (front, passing) = one_way(victim.addresses[0]).await;
    let target = DialTarget::from(Contact::new(victim.node_id, [front]));
    let mut dials = JoinSet::new();
    while !*enough.borrow_and_update() {
        for _ in 0..20 {
            let (transport, target) = (Arc::clone(&transport), target.clone());
            dials.spawn(async move { transport.dial(&target).await.is_ok() });
        }
        sleep(PAUSE).await;
    }
    Box::new((dials, passing, transport))
}

/// Passes the packets of dials on, and nothing back.
async fn one_way(to: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(to).await.unwrap();
    let address = front.local_addr().unwrap();
    let mut passing = JoinSet::new();
    passing.spawn(async move {
        let mut packet = [0; 2048];
        while let Ok((len, _)) = front.recv_from(&mut packet).await {
            let _ = back.send(&packet[..len]).await;
        }
    });
    (address, passing)
}

/// Connects and says hello.
async fn greeted(transport: &QuicTransport, victim: &Contact) -> Arc<dyn Connection> {
    let connection = soon(transport.dial(&victim.into())).await.unwrap();
    let answer = raw::exchange(&*connection, &raw::hello(1, "open")).await;
    assert!(answer.is_some_and(|answer| !answer.is_empty()));
    connection
}
