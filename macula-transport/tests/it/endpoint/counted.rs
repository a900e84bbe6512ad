//! A transport that counts the streams that its owner holds at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{DialTarget, NodeId};
use macula_transport::{
    CloseCode, Connection, ConnectionError, DialError, ReceiveStream, SendStream, Stream,
    StreamError, Transport,
};

/// How many streams are held, and the most that ever were at a time.
#[derive(Default)]
pub(super) struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Held {
    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A stream of which a half is held.
struct Hold(Arc<Held>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A transport, and what is counted of it.
pub(super) struct Counted {
    inner: Arc<dyn Transport>,
    held: Arc<Held>,
}

impl Counted {
    pub(super) fn new(inner: Arc<dyn Transport>) -> (Arc<Self>, Arc<Held>) {
        let held = Arc::<Held>::default();
        let counted = Self {
            inner,
            held: Arc::clone(&held),
        };
        (Arc::new(counted), held)
    }

    fn connection(&self, inner: Arc<dyn Connection>) -> Arc<dyn Connection> {
        let held = Arc::clone(&self.held);
        Arc::new(CountedConnection { inner, held })
    }
}

#[async_trait]
impl Transport for Counted {
    fn node_id(&self) -> NodeId {
        self.inner.node_id()
    }

    async fn dial(&self, target: &DialTarget) -> Result<Arc<dyn Connection>, DialError> {
        let dialled = self.inner.dial(target).await?;
        Ok(self.connection(dialled))
    }

    async fn accept(&self) -> Option<Arc<dyn Connection>> {
        let accepted = self.inner.accept().await?;
        Some(self.connection(accepted))
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        self.inner.local_addresses()
    }

    async fn close(&self, code: CloseCode) {
        self.inner.close(code).await;
    }
}

struct CountedConnection {
    inner: Arc<dyn Connection>,
    held: Arc<Held>,
}

impl CountedConnection {
    fn stream(&self, stream: Stream) -> Stream {
        let now = self.held.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.held.most.fetch_max(now, Ordering::SeqCst);
        let hold = Arc::new(Hold(Arc::clone(&self.held)));
        Stream {
            send: Box::new(CountedSend {
                inner: stream.send,
                _hold: Arc::clone(&hold),
            }),
            receive: Box::new(CountedReceive {
                inner: stream.receive,
                _hold: hold,
            }),
        }
    }
}

#[async_trait]
impl Connection for CountedConnection {
    fn peer(&self) -> NodeId {
        self.inner.peer()
    }

    fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    fn rtt(&self) -> Duration {
        self.inner.rtt()
    }

    async fn open(&self) -> Result<Stream, ConnectionError> {
        self.inner.open().await.map(|stream| self.stream(stream))
    }

    async fn accept(&self) -> Result<Stream, ConnectionError> {
        self.inner.accept().await.map(|stream| self.stream(stream))
    }

    async fn closed(&self) -> ConnectionError {
        self.inner.closed().await
    }

    fn close(&self, code: CloseCode) {
        self.inner.close(code);
    }
}

struct CountedSend {
    inner: Box<dyn SendStream>,
    _hold: Arc<Hold>,
}

impl SendStream for CountedSend {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamError>> {
        self.inner.poll_send(cx, chunk)
    }

    fn finish(&mut self) -> Result<(), StreamError> {
        self.inner.finish()
    }

    fn reset(&mut self, code: CloseCode) {
        self.inner.reset(code);
    }
}

struct CountedReceive {
    inner: Box<dyn ReceiveStream>,
    _hold: Arc<Hold>,
}

impl ReceiveStream for CountedReceive {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.inner.poll_receive(cx)
    }

    fn stop(&mut self, code: CloseCode) {
        self.inner.stop(code);
    }
}
