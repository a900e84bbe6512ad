//! A line between two hosts that carries only so much.

use std::collections::VecDeque;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use turmoil::net::UdpSocket;

use super::Network;

/// What goes through in a second, and what becomes of what comes faster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) bytes_per_second: u32,
    /// Who would have to wait for longer is dropped.
    pub(crate) longest_wait: Duration,
}

impl Line {
    /// How long so many bytes take.
    pub(crate) fn takes(self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second))
    }
}

impl Network {
    /// A line to a listener, with an end of its own on a host that does nothing else: where to
    /// dial. It is for one dialler.
    pub(crate) async fn line(&self, host: u8, to: SocketAddr, line: Line) -> SocketAddr {
        let runtime = self.runtime(host).await;
        let binding = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let socket = runtime.spawn(binding).await.unwrap().unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(runtime.spawn(carry(socket, to, line)));
        (self.ip(host), port).into()
    }
}

async fn carry(socket: UdpSocket, to: SocketAddr, line: Line) {
    let [mut there, mut back] = [(); 2].map(|()| Direction::new(line));
    let mut dialler = None;
    let mut buffer = vec![0; 2048];
    loop {
        let due = [there.next_due(), back.next_due()];
        let due = due.into_iter().flatten().min();
        tokio::select! {
            biased;
            () = at(due) => {}
            received = socket.recv_from(&mut buffer) => {
                let (len, from) = received.unwrap();
                let datagram = Bytes::copy_from_slice(&buffer[..len]);
                match from == to {
                    true => back.take(datagram),
                    false => {
                        dialler = Some(from);
                        there.take(datagram);
                    }
                }
            }
        }
        for (direction, target) in [(&mut there, Some(to)), (&mut back, dialler)] {
            while let (Some(datagram), Some(target)) = (direction.next(), target) {
                // One to a host that is gone is lost like any other.
                let _ = socket.send_to(&datagram, target).await;
            }
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// What waits to be carried one way.
struct Direction {
    line: Line,
    waiting: VecDeque<(Instant, Bytes)>,
    free_at: Instant,
}

impl Direction {
    fn new(line: Line) -> Self {
        Self {
            line,
            waiting: VecDeque::new(),
            free_at: Instant::now(),
        }
    }

    fn take(&mut self, datagram: Bytes) {
        let now = Instant::now();
        let turn = self.free_at.max(now);
        if turn <= now + self.line.longest_wait {
            self.free_at = turn + self.line.takes(datagram.len());
            self.waiting.push_back((self.free_at, datagram));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }

    fn next(&mut self) -> Option<Bytes> {
        let is_due = self.next_due().is_some_and(|due| due <= Instant::now());
        let next = is_due.then(|| self.waiting.pop_front()).flatten();
        next.map(|(_, datagram)| datagram)
    }
}
