//! The diallers' end of a path: tells them apart and hands their datagrams to their relays.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::line::Line;
use super::relay::Relay;
use super::{Counters, ImpairedPath, Impairment, PathMode, count, loopback_of};

/// The longest datagram that UDP can carry.
pub(super) const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Datagrams of one dialler that may wait for its relay to be scheduled.
const HANDOVER: usize = 1024;

pub(super) struct Front {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) to: SocketAddr,
    pub(super) impairment: Impairment,
    pub(super) seed: u64,
    pub(super) mode: watch::Receiver<PathMode>,
    pub(super) counters: Arc<Counters>,
}

impl Front {
    /// Goes on until it is dropped, and the relays with it.
    pub(super) async fn run(self) {
        let mut relays = JoinSet::new();
        let mut diallers: BTreeMap<SocketAddr, mpsc::Sender<Bytes>> = BTreeMap::new();
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            // An error is about a datagram that was sent earlier to somebody who is gone.
            let Ok((len_bytes, dialler)) = self.socket.recv_from(&mut buffer).await else {
                continue;
            };
            if !diallers.contains_key(&dialler)
                && let Some((relay, handover)) = self.relay(dialler, diallers.len()).await
            {
                relays.spawn(relay.run());
                diallers.insert(dialler, handover);
            }
            let datagram = Bytes::copy_from_slice(&buffer[..len_bytes]);
            let handed = diallers
                .get(&dialler)
                .is_some_and(|handover| handover.try_send(datagram).is_ok());
            if !handed {
                count(&self.counters.overflowed);
            }
        }
    }

    /// A relay for one more dialler, unless there are too many.
    async fn relay(
        &self,
        dialler: SocketAddr,
        ordinal: usize,
    ) -> Option<(Relay, mpsc::Sender<Bytes>)> {
        if ordinal == ImpairedPath::MAX_DIALLERS {
            return None;
        }
        let upstream = self.upstream().await.ok()?;
        let (handover, outbound) = mpsc::channel(HANDOVER);
        let [there, back] = [0, 1].map(|direction| self.line(ordinal, direction));
        let relay = Relay {
            dialler,
            front: Arc::clone(&self.socket),
            upstream,
            outbound,
            there,
            back,
            mode: self.mode.clone(),
            counters: Arc::clone(&self.counters),
        };
        Some((relay, handover))
    }

    /// One direction of a dialler, its fates independent of every other's.
    fn line(&self, ordinal: usize, direction: u64) -> Line {
        // Fewer diallers than 2^32, so no two lines of a path have the same seed.
        let number = (ordinal as u64) << 1 | direction;
        let seed = self.seed.wrapping_add(number << 32);
        Line::new(self.impairment, seed, Arc::clone(&self.counters))
    }

    async fn upstream(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(loopback_of(self.to)).await?;
        socket.connect(self.to).await?;
        Ok(socket)
    }
}
