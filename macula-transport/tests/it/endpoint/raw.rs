//! Speaks to endpoints by hand, to say what they never would.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use macula_core::{Contact, DialTarget};
use macula_transport::{
    Connection, Endpoint, ProtocolId, ReceiveStream, Stream, StreamError, Transport,
};

use super::fixture::soon;

/// A hello of a version and a realm, as a client says it.
pub(super) fn hello(version: u16, realm: &str) -> Vec<u8> {
    let [high, low] = version.to_be_bytes();
    let mut bytes = vec![1, 0, 4, high, low, high, low];
    bytes.extend([2, 0, u8::try_from(realm.len()).unwrap()]);
    bytes.extend(realm.as_bytes());
    bytes.extend([3, 0, 1, 1]);
    bytes
}

/// The same with an address at which it claims to have dialled.
pub(super) fn hello_claiming(address: SocketAddr) -> Vec<u8> {
    let mut bytes = hello(1, "open");
    let SocketAddr::V4(address) = address else {
        unreachable!("tests use IPv4");
    };
    bytes.extend([6, 0, 7, 4]);
    bytes.extend(address.ip().octets());
    bytes.extend(address.port().to_be_bytes());
    bytes
}

/// A hello of a server that says where it listens.
pub(super) fn hello_listening(address: SocketAddr) -> Vec<u8> {
    const SERVER: u8 = 0;
    let SocketAddr::V4(address) = address else {
        unreachable!("tests use IPv4");
    };
    let mut bytes = hello(1, "open");
    if let Some(role) = bytes.last_mut() {
        *role = SERVER;
    }
    bytes.extend([4, 0, 7, 4]);
    bytes.extend(address.ip().octets());
    bytes.extend(address.port().to_be_bytes());
    bytes
}

/// Length of the head of a frame.
pub(super) const HEADER_LEN: usize = 22;

/// The call that a frame is about.
pub(super) fn call_of(frame: &[u8]) -> u64 {
    u64::from_be_bytes(frame[4..12].try_into().unwrap())
}

/// The head of a frame, of a call by whatever id.
pub(super) fn header(version: u8, kind: u8, code: u8, body_len: u32) -> Vec<u8> {
    header_of(1, [version, kind, code], body_len)
}

/// The head of a frame of a call.
pub(super) fn header_of(call: u64, [version, kind, code]: [u8; 3], body_len: u32) -> Vec<u8> {
    let mut bytes = vec![version, kind, code, 0];
    bytes.extend(call.to_be_bytes());
    bytes.extend(30_000_u32.to_be_bytes());
    bytes.extend(body_len.to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A request without a body that has so much time.
pub(super) fn request_with(protocol: ProtocolId, remaining: Duration) -> Vec<u8> {
    let remaining_ms = u32::try_from(remaining.as_millis()).unwrap();
    let mut bytes = header(1, 1, protocol.0, 0);
    bytes[REMAINING].copy_from_slice(&remaining_ms.to_be_bytes());
    bytes
}

/// How much time a request has by its frame.
pub(super) fn remaining_of(frame: &[u8]) -> Duration {
    let remaining_ms = u32::from_be_bytes(frame[REMAINING].try_into().unwrap());
    Duration::from_millis(remaining_ms.into())
}

/// Where a frame says how long its sender waits.
const REMAINING: Range<usize> = 12..16;

pub(super) async fn dial(from: &dyn Transport, to: &Endpoint) -> Arc<dyn Connection> {
    let addresses = to.addresses();
    let target = DialTarget::from(Contact::new(to.node_id(), addresses.iter().copied()));
    soon(from.dial(&target)).await.unwrap()
}

/// Dials an endpoint and exchanges hellos.
pub(super) async fn greeted(from: &dyn Transport, to: &Endpoint) -> Arc<dyn Connection> {
    let connection = dial(from, to).await;
    let answer = exchange(&*connection, &hello(1, "open")).await;
    assert!(answer.is_some_and(|answer| !answer.is_empty()));
    connection
}

/// Sends a request without a body and leaves its stream open.
pub(super) async fn ask(connection: &dyn Connection, protocol: ProtocolId) -> Stream {
    let mut stream = soon(connection.open()).await.unwrap();
    let request = Bytes::from(header(1, 1, protocol.0, 0));
    soon(stream.send.send(request)).await.unwrap();
    stream
}

/// Sends bytes on a stream of their own, ends it, and reads the whole answer; none if there is none.
pub(super) async fn exchange(connection: &dyn Connection, bytes: &[u8]) -> Option<Bytes> {
    let mut stream = soon(connection.open()).await.ok()?;
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = soon(stream.send.send(bytes)).await;
    let _ = stream.send.finish();
    soon(read_all(&mut *stream.receive)).await
}

pub(super) async fn read_all(receive: &mut dyn ReceiveStream) -> Option<Bytes> {
    whole(receive).await.ok()
}

/// The same, with the reason if the stream breaks off.
pub(super) async fn whole(receive: &mut dyn ReceiveStream) -> Result<Bytes, StreamError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = receive.receive().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// Reads so many bytes.
pub(super) async fn read_exactly(receive: &mut dyn ReceiveStream, len: usize) -> Bytes {
    let mut all = BytesMut::new();
    while all.len() < len {
        let chunk = soon(receive.receive()).await.unwrap();
        all.extend_from_slice(&chunk.expect("more bytes"));
    }
    assert_eq!(all.len(), len, "{all:?}");
    all.freeze()
}

/// Reads the beginning of a long body: a stream of QUIC that is reset before anything was read of it
/// takes the connection with it.
pub(super) async fn read_some(receive: &mut dyn ReceiveStream) -> Bytes {
    let mut all = BytesMut::new();
    while all.len() < 40_000 {
        let chunk = soon(receive.receive()).await.unwrap();
        all.extend_from_slice(&chunk.expect("more bytes"));
    }
    all.freeze()
}

/// A peer that an endpoint dials: takes the connection and exchanges hellos.
pub(super) async fn welcome(transport: &dyn Transport) -> Arc<dyn Connection> {
    let connection = soon(transport.accept()).await.unwrap();
    let mut stream = soon(connection.accept()).await.unwrap();
    soon(whole(&mut *stream.receive)).await.unwrap();
    let own = Bytes::from(hello(1, "open"));
    soon(stream.send.send(own)).await.unwrap();
    stream.send.finish().unwrap();
    connection
}

/// The same, told to dial; where the peer is, and the connection.
pub(super) async fn dialled(
    transport: &dyn Transport,
    by: &Endpoint,
) -> (Contact, Arc<dyn Connection>) {
    let to = Contact::new(transport.node_id(), transport.local_addresses());
    let target = DialTarget::from(&to);
    let dialling = async { tokio::join!(by.connect(&target), welcome(transport)) };
    let (connected, connection) = soon(dialling).await;
    assert!(connected.is_ok());
    (to, connection)
}

/// A whole frame.
pub(super) struct Frame {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// Takes the frames of a stream apart.
#[derive(Default)]
pub(super) struct Frames(BytesMut);

impl Frames {
    pub(super) fn extend(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    /// Whether a frame begins whose body is too long for a shared lane.
    pub(super) fn begin_long(&self) -> bool {
        const ALONE: u8 = 1;
        self.0.get(3).is_some_and(|flags| flags & ALONE != 0)
    }

    pub(super) fn next(&mut self) -> Option<Frame> {
        let len: [u8; 4] = self.0.get(16..20)?.try_into().unwrap();
        let len = HEADER_LEN + u32::from_be_bytes(len) as usize;
        if self.0.len() < len {
            return None;
        }
        let mut head = self.0.split_to(len).freeze();
        let body = head.split_off(HEADER_LEN);
        Some(Frame { head, body })
    }
}
