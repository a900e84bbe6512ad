//! A connection, as one end of it sees it.

use std::collections::VecDeque;
use std::future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use macula_core::NodeId;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::MemoryNetwork;
use super::pipe::Pipe;
use super::stream::{Credit, stream};
use crate::{CloseCode, Connection, ConnectionError, Stream};

/// One end of a connection. Its streams hold it too; with the last of them the connection is lost
/// to the peer.
#[derive(Debug)]
pub(super) struct End {
    network: Arc<MemoryNetwork>,
    local: NodeId,
    remote: NodeId,
    remote_address: SocketAddr,
    other: OnceLock<Weak<End>>,
    ending: watch::Sender<Option<Ending>>,
    incoming: Mutex<VecDeque<(Instant, Opened)>>,
    arrived: Notify,
    /// Streams that this end may still open.
    credit: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy)]
struct Ending {
    /// When the news gets here, for what the other end did.
    due: Option<Instant>,
    error: ConnectionError,
}

/// A stream that the opener has begun to use.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) from_opener: Arc<Pipe>,
    pub(super) to_opener: Arc<Pipe>,
    pub(super) credit: Credit,
}

impl End {
    /// Both ends of a new connection: the first of `dialler`, the second of `listener`.
    pub(super) fn pair(
        network: &Arc<MemoryNetwork>,
        dialler: (NodeId, SocketAddr),
        listener: (NodeId, SocketAddr),
    ) -> (Arc<Self>, Arc<Self>) {
        let near = Self::new(network, dialler.0, listener);
        let far = Self::new(network, listener.0, dialler);
        let _ = near.other.set(Arc::downgrade(&far));
        let _ = far.other.set(Arc::downgrade(&near));
        (near, far)
    }

    fn new(
        network: &Arc<MemoryNetwork>,
        local: NodeId,
        (remote, remote_address): (NodeId, SocketAddr),
    ) -> Arc<Self> {
        Arc::new(Self {
            network: Arc::clone(network),
            local,
            remote,
            remote_address,
            other: OnceLock::new(),
            ending: watch::Sender::new(None),
            incoming: Mutex::default(),
            arrived: Notify::new(),
            credit: Arc::new(Semaphore::new(MAX_STREAMS)),
        })
    }

    /// When something sent now arrives.
    pub(super) fn due(&self) -> Instant {
        Instant::now() + self.network.draw_latency()
    }

    /// Whether a partition holds everything up.
    pub(super) fn is_cut(&self) -> bool {
        self.network.cut_since(self.local, self.remote).is_some()
    }

    /// Fails once the connection has ended and this end has heard of it.
    pub(super) fn check(&self) -> Result<(), ConnectionError> {
        match *self.ending.borrow() {
            Some(Ending { due: None, error }) => Err(error),
            Some(Ending {
                due: Some(due),
                error,
            }) if due <= Instant::now() && !self.is_cut() => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until what is due at an instant gets through; for ever when nothing is.
    pub(super) async fn delivery(&self, due: Option<Instant>) {
        let Some(due) = due else {
            return future::pending().await;
        };
        sleep_until(due).await;
        let mut topology = self.network.topology();
        while self.is_cut() && topology.changed().await.is_ok() {}
    }

    /// Waits until this end knows that the connection has ended.
    pub(super) async fn ended(&self) -> ConnectionError {
        let mut ending = self.ending.subscribe();
        let mut topology = self.network.topology();
        loop {
            let known = *ending.borrow_and_update();
            if let Some(Ending { due: None, error }) = known {
                return error;
            }
            let due = known.and_then(|ending| ending.due);
            let cut = self.network.cut_since(self.local, self.remote);
            tokio::select! {
                biased;
                () = self.delivery(due) => if let Some(Ending { error, .. }) = known {
                    return error;
                },
                () = silence(cut) => self.end(None, ConnectionError::TimedOut),
                _ = ending.changed() => {}
                _ = topology.changed() => {}
            }
        }
    }

    /// Ends this end only. What this end does itself (`due` absent) overrides news under way, but
    /// not news that have arrived.
    fn end(&self, due: Option<Instant>, error: ConnectionError) {
        if self.check().is_err() {
            return;
        }
        self.ending.send_if_modified(|ending| {
            let is_new = ending.is_none() || due.is_none();
            if is_new {
                *ending = Some(Ending { due, error });
            }
            is_new
        });
    }

    /// Ends both ends, the other as soon as the news gets there.
    pub(super) fn end_both(&self, here: ConnectionError, there: ConnectionError) {
        // The other first: once this one has ended its streams are dropped, and their resets would
        // say less.
        if let Some(other) = self.other.get().and_then(Weak::upgrade) {
            other.end(Some(self.due()), there);
        }
        self.end(None, here);
    }

    /// Tells the other end about a stream.
    pub(super) fn announce(&self, opened: Opened) {
        if let Some(other) = self.other.get().and_then(Weak::upgrade) {
            let due = self.due();
            // Bounded by the opener's credit.
            other.incoming().push_back((due, opened));
            other.arrived.notify_one();
        }
    }

    fn next_incoming(&self) -> Result<Opened, Option<Instant>> {
        let mut incoming = self.incoming();
        let due = incoming.front().map(|(due, _)| *due).ok_or(None)?;
        if due > Instant::now() || self.is_cut() {
            return Err(Some(due));
        }
        let opened = incoming.pop_front().map(|(_, opened)| opened).ok_or(None)?;
        if !incoming.is_empty() {
            // Several may wait, and a notification that nobody awaits is remembered only once.
            self.arrived.notify_one();
        }
        Ok(opened)
    }

    fn incoming(&self) -> MutexGuard<'_, VecDeque<(Instant, Opened)>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(other) = self.other.get().and_then(Weak::upgrade) {
            other.end(Some(self.due()), ConnectionError::Lost);
        }
    }
}

async fn silence(cut_since: Option<Instant>) {
    match cut_since {
        Some(since) => sleep_until(since + MemoryNetwork::SILENCE_LIMIT).await,
        None => future::pending().await,
    }
}

/// The handle of one end.
pub(super) struct MemoryConnection(pub(super) Arc<End>);

#[async_trait]
impl Connection for MemoryConnection {
    fn peer(&self) -> NodeId {
        self.0.remote
    }

    fn remote_address(&self) -> SocketAddr {
        self.0.remote_address
    }

    fn rtt(&self) -> Duration {
        self.0.network.mean_rtt()
    }

    async fn open(&self) -> Result<Stream, ConnectionError> {
        let end = &self.0;
        end.check()?;
        let credit = tokio::select! {
            biased;
            error = end.ended() => return Err(error),
            credit = Arc::clone(&end.credit).acquire_owned() => credit,
        };
        // The semaphore is never closed.
        let credit = Arc::new(credit.map_err(|_| ConnectionError::Lost)?);
        let opened = Opened {
            from_opener: Arc::new(Pipe::new()),
            to_opener: Arc::new(Pipe::new()),
            credit: Arc::clone(&credit),
        };
        let (outbound, inbound) = (
            Arc::clone(&opened.from_opener),
            Arc::clone(&opened.to_opener),
        );
        Ok(stream(end, outbound, inbound, credit, Some(opened)))
    }

    async fn accept(&self) -> Result<Stream, ConnectionError> {
        let end = &self.0;
        loop {
            end.check()?;
            let due = match end.next_incoming() {
                Ok(opened) => {
                    let Opened {
                        from_opener,
                        to_opener,
                        credit,
                    } = opened;
                    return Ok(stream(end, to_opener, from_opener, credit, None));
                }
                Err(due) => due,
            };
            tokio::select! {
                () = end.arrived.notified() => {}
                () = end.delivery(due) => {}
                error = end.ended() => return Err(error),
            }
        }
    }

    async fn closed(&self) -> ConnectionError {
        self.0.ended().await
    }

    fn close(&self, code: CloseCode) {
        self.0.end_both(
            ConnectionError::Closed(code),
            ConnectionError::ClosedByPeer(code),
        );
    }
}

/// The most streams that one end has open at a time.
const MAX_STREAMS: usize = 100;
