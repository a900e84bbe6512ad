//! The bad network that transports are tested with.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget, SecretKey};
use macula_transport::contract::impairment::{ImpairedPath, Impairment, PathMode, PathStats};
use macula_transport::{Connection, QuicConfig, QuicTransport, Transport};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Datagrams at a time: as many as fit into a socket's buffer several times over.
const BATCH: u16 = 50;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("hangs")
}

async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// A listener, and a path to it.
async fn path(impairment: Impairment, seed: u64) -> (UdpSocket, ImpairedPath) {
    let listener = socket().await;
    let to = listener.local_addr().unwrap();
    (
        listener,
        ImpairedPath::open(to, impairment, seed).await.unwrap(),
    )
}

async fn dialler(path: &ImpairedPath) -> UdpSocket {
    let dialler = socket().await;
    dialler.connect(path.address()).await.unwrap();
    dialler
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len_bytes, from) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    (buffer[..len_bytes].to_vec(), from)
}

/// Waits until the counters of a path are as they should be.
async fn eventually(path: &ImpairedPath, holds: impl Fn(PathStats) -> bool) -> PathStats {
    soon(async {
        while !holds(path.stats()) {
            tokio::task::yield_now().await;
        }
        path.stats()
    })
    .await
}

/// Sends so many numbered datagrams through a path with this seed and says which arrived.
async fn survivors(loss: f64, seed: u64, batches: u16) -> Vec<u16> {
    let impairment = Impairment {
        loss,
        ..Impairment::default()
    };
    let (listener, path) = path(impairment, seed).await;
    let dialler = dialler(&path).await;
    let mut arrived = Vec::new();
    for batch in 0..batches {
        for number in batch * BATCH..(batch + 1) * BATCH {
            dialler.send(&number.to_be_bytes()).await.unwrap();
        }
        let sent = u64::from((batch + 1) * BATCH);
        let stats = eventually(&path, |stats| stats.forwarded + stats.lost == sent).await;
        while (arrived.len() as u64) < stats.forwarded {
            let (bytes, _) = receive(&listener).await;
            arrived.push(u16::from_be_bytes(bytes.try_into().unwrap()));
        }
    }
    arrived
}

#[tokio::test]
async fn as_many_datagrams_are_lost_as_was_asked_for() {
    let arrived = survivors(0.1, 1, 40).await;
    assert!((1720..1880).contains(&arrived.len()), "{}", arrived.len());
}

#[tokio::test]
async fn equal_seeds_lose_the_same_datagrams() {
    let one = survivors(0.1, 7, 10).await;
    assert_eq!(one, survivors(0.1, 7, 10).await);
    assert_ne!(one, survivors(0.1, 8, 10).await);
}

#[tokio::test]
async fn each_direction_takes_the_delay() {
    let one_way_delay = Duration::from_millis(40);
    let impairment = Impairment {
        one_way_delay,
        ..Impairment::default()
    };
    let (listener, path) = path(impairment, 1).await;
    let dialler = dialler(&path).await;
    let sent = Instant::now();
    dialler.send(b"ping").await.unwrap();
    let (_, from) = receive(&listener).await;
    assert!(sent.elapsed() >= one_way_delay);
    listener.send_to(b"pong", from).await.unwrap();
    assert_eq!(receive(&dialler).await.0, b"pong");
    assert!(sent.elapsed() >= 2 * one_way_delay);
}

#[tokio::test]
async fn diallers_are_kept_apart() {
    let (listener, path) = path(Impairment::default(), 1).await;
    let diallers = [dialler(&path).await, dialler(&path).await];
    let mut seen = Vec::new();
    for (name, dialler) in [b"a", b"b"].into_iter().zip(&diallers) {
        dialler.send(name).await.unwrap();
        let (said, from) = receive(&listener).await;
        assert_eq!(said, name);
        seen.push((said, from));
    }
    assert_ne!(seen[0].1, seen[1].1);
    for (name, from) in &seen {
        listener.send_to(name, from).await.unwrap();
    }
    assert_eq!(receive(&diallers[0]).await.0, b"a");
    assert_eq!(receive(&diallers[1]).await.0, b"b");
}

#[tokio::test]
async fn a_stalled_path_keeps_datagrams_until_it_is_open_again() {
    let (listener, path) = path(Impairment::default(), 1).await;
    let dialler = dialler(&path).await;
    dialler.send(b"first").await.unwrap();
    assert_eq!(receive(&listener).await.0, b"first");
    path.set_mode(PathMode::Stalled);
    dialler.send(b"second").await.unwrap();
    let early = timeout(Duration::from_millis(50), receive(&listener)).await;
    assert!(early.is_err(), "it came through");
    path.set_mode(PathMode::Open);
    assert_eq!(receive(&listener).await.0, b"second");
}

#[tokio::test]
async fn a_black_hole_swallows_and_counts() {
    let (listener, path) = path(Impairment::default(), 1).await;
    let dialler = dialler(&path).await;
    path.set_mode(PathMode::BlackHoled);
    for _ in 0..3 {
        dialler.send(b"lost").await.unwrap();
    }
    eventually(&path, |stats| stats.black_holed == 3).await;
    path.set_mode(PathMode::Open);
    dialler.send(b"through").await.unwrap();
    assert_eq!(receive(&listener).await.0, b"through");
}

#[tokio::test]
async fn dropping_a_path_frees_its_port() {
    let (_listener, path) = path(Impairment::default(), 1).await;
    let address = path.address();
    drop(path);
    soon(async {
        while UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn quic_delivers_everything_over_a_bad_path() {
    let listener = quic(1, vec![(Ipv4Addr::LOCALHOST, 0).into()]).await;
    let impairment = Impairment {
        one_way_delay: Duration::from_millis(2),
        jitter: Duration::from_millis(4),
        loss: 0.03,
        duplication: 0.03,
        bytes_per_second: None,
    };
    let to = listener.local_addresses()[0];
    let path = ImpairedPath::open(to, impairment, 3).await.unwrap();
    let dialler = quic(2, Vec::new()).await;
    let target = DialTarget::from(Contact::new(listener.node_id(), [path.address()]));
    let (near, far) = soon(async { tokio::join!(dialler.dial(&target), listener.accept()) }).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let (sent, received) = soon(async { tokio::join!(upload(&*near), download(&*far)) }).await;
    assert_eq!(sent, received);
    let stats = path.stats();
    assert!(stats.lost > 0 && stats.duplicated > 0, "{stats:?}");
}

async fn quic(seed: u8, listen: Vec<SocketAddr>) -> Arc<QuicTransport> {
    let config = QuicConfig {
        listen,
        ..QuicConfig::default()
    };
    let secret_key = SecretKey::from_bytes(&[seed; 32]);
    QuicTransport::bind(&secret_key, config).await.unwrap()
}

async fn upload(connection: &dyn Connection) -> Vec<u8> {
    let body: Vec<u8> = (0..2_000_000_u32).map(|at| at.to_be_bytes()[3]).collect();
    let mut stream = connection.open().await.unwrap();
    stream.send.send(Bytes::from(body.clone())).await.unwrap();
    stream.send.finish().unwrap();
    // The peer ends its half when it has everything.
    while let Ok(Some(_)) = stream.receive.receive().await {}
    body
}

async fn download(connection: &dyn Connection) -> Vec<u8> {
    let mut stream = connection.accept().await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = stream.receive.receive().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    stream.send.finish().unwrap();
    body
}
