//! A bad network on loopback, for testing transports over UDP: a relay that delays, loses,
//! duplicates and reorders datagrams as a seed decides, and stalls or black-holes on command.
//!
//! Diallers send to the address of the [`ImpairedPath`] instead of the listener's. The listener sees
//! each of them at an address of its own, as through a NAT.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

mod front;
mod line;
mod relay;

use front::Front;

/// What a path does to datagrams, in each direction on its own.
///
/// The default does nothing to them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    /// How long each datagram takes. tokio's timer rounds it up to the next millisecond.
    pub one_way_delay: Duration,
    /// Up to how much longer, evenly distributed. Datagrams overtake each other within it.
    pub jitter: Duration,
    /// The share of datagrams that get lost, from 0 to 1.
    pub loss: f64,
    /// The share of the others that arrive twice, from 0 to 1.
    pub duplication: f64,
    /// How many bytes go through in a second, where that is limited. What comes faster waits in a
    /// queue of [`ImpairedPath::LONGEST_WAIT`]; more is dropped and counted as overflowed.
    pub bytes_per_second: Option<u32>,
}

/// What a path does with datagrams now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathMode {
    /// Lets them through, impaired.
    #[default]
    Open,
    /// Keeps them until it is open again.
    Stalled,
    /// Swallows them, those on their way included.
    BlackHoled,
}

/// A relay between diallers and one listener on the same host.
///
/// It works on the runtime it was opened in, in tasks that end when it is dropped.
#[derive(Debug)]
pub struct ImpairedPath {
    address: SocketAddr,
    mode: watch::Sender<PathMode>,
    counters: Arc<Counters>,
    _task: JoinSet<()>,
}

/// What became of datagrams on a path, both directions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// Handed on, duplicates included.
    pub forwarded: u64,
    /// Lost as asked for.
    pub lost: u64,
    /// Sent twice as asked for.
    pub duplicated: u64,
    /// Swallowed by a black hole.
    pub black_holed: u64,
    /// Dropped because a queue of the path was full, or because there were too many diallers.
    pub overflowed: u64,
    /// Not taken by the operating system.
    pub undeliverable: u64,
}

impl ImpairedPath {
    /// Datagrams that may be on their way in one direction of one dialler; more are dropped and
    /// counted as overflowed.
    pub const MAX_ON_THE_WAY: usize = 16 * 1024;

    /// How long a datagram may wait for its turn on a path that is limited in its rate.
    pub const LONGEST_WAIT: Duration = Duration::from_millis(500);

    /// Diallers that are told apart; what others send is dropped and counted as overflowed.
    pub const MAX_DIALLERS: usize = 1024;

    /// Opens a path to a listener. Equal seeds do the same to the n-th datagram of the n-th dialler,
    /// in each direction.
    ///
    /// # Errors
    /// What the operating system says when there is no socket.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing.
    pub async fn open(to: SocketAddr, impairment: Impairment, seed: u64) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(loopback_of(to)).await?);
        let address = socket.local_addr()?;
        let mode = watch::Sender::new(PathMode::Open);
        let counters = Arc::new(Counters::default());
        let front = Front {
            socket,
            to,
            impairment,
            seed,
            mode: mode.subscribe(),
            counters: Arc::clone(&counters),
        };
        let mut task = JoinSet::new();
        task.spawn(front.run());
        Ok(Self {
            address,
            mode,
            counters,
            _task: task,
        })
    }

    /// Where to dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does with datagrams from now on.
    pub fn set_mode(&self, mode: PathMode) {
        self.mode.send_replace(mode);
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> PathStats {
        self.counters.snapshot()
    }
}

#[derive(Debug, Default)]
struct Counters {
    forwarded: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    black_holed: AtomicU64,
    overflowed: AtomicU64,
    undeliverable: AtomicU64,
}

impl Counters {
    fn snapshot(&self) -> PathStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PathStats {
            forwarded: value(&self.forwarded),
            lost: value(&self.lost),
            duplicated: value(&self.duplicated),
            black_holed: value(&self.black_holed),
            overflowed: value(&self.overflowed),
            undeliverable: value(&self.undeliverable),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Any port on loopback of the address's family.
fn loopback_of(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    }
}
