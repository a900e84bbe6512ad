//! What is between one dialler and the listener: a line there, a line back, and their sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::front::MAX_DATAGRAM_BYTES;
use super::line::Line;
use super::{Counters, PathMode, count};

pub(super) struct Relay {
    pub(super) dialler: SocketAddr,
    pub(super) front: Arc<UdpSocket>,
    /// Connected to the listener.
    pub(super) upstream: UdpSocket,
    pub(super) outbound: mpsc::Receiver<Bytes>,
    pub(super) there: Line,
    pub(super) back: Line,
    pub(super) mode: watch::Receiver<PathMode>,
    pub(super) counters: Arc<Counters>,
}

impl Relay {
    /// Goes on until the path is dropped.
    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let due = self.next_due();
            // In no fixed order, so that neither direction can starve the other. What happens to a
            // datagram does not depend on it: each direction draws from a generator of its own.
            tokio::select! {
                changed = self.mode.changed() => if changed.is_err() { return },
                datagram = self.outbound.recv() => match datagram {
                    Some(datagram) => self.there.take(Instant::now(), datagram),
                    None => return,
                },
                received = self.upstream.recv(&mut buffer) => {
                    // An error says that nobody listens there now; somebody may again.
                    if let Ok(len_bytes) = received {
                        let datagram = Bytes::copy_from_slice(&buffer[..len_bytes]);
                        self.back.take(Instant::now(), datagram);
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.hand_on().await;
        }
    }

    /// When there is something to hand on; never while the path is not open.
    fn next_due(&self) -> Option<Instant> {
        if *self.mode.borrow() != PathMode::Open {
            return None;
        }
        let due = [self.there.next_due(), self.back.next_due()];
        due.into_iter().flatten().min()
    }

    async fn hand_on(&mut self) {
        let mode = *self.mode.borrow();
        match mode {
            PathMode::Open => {}
            PathMode::Stalled => return,
            PathMode::BlackHoled => {
                self.there.swallow();
                self.back.swallow();
            }
        }
        let now = Instant::now();
        while let Some(datagram) = self.there.next(now) {
            let sent = self.upstream.send(&datagram).await;
            self.account(sent.is_ok());
        }
        while let Some(datagram) = self.back.next(now) {
            let sent = self.front.send_to(&datagram, self.dialler).await;
            self.account(sent.is_ok());
        }
    }

    fn account(&self, is_sent: bool) {
        count(match is_sent {
            true => &self.counters.forwarded,
            false => &self.counters.undeliverable,
        });
    }
}
