//! One dial: several addresses tried side by side, each a little after the one before.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use macula_core::HostPort;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::resolve;
use crate::DialError;

/// How long an address is tried alone before the next one is tried beside it (RFC 8305 §5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// Dials every address of the hosts with `dial` until one succeeds. The attempts run on `runtime`
/// and are given up with the future.
pub(super) async fn race<T, D, F>(
    hosts: &[HostPort],
    handshake_timeout: Duration,
    runtime: &Handle,
    dial: D,
) -> Result<T, DialError>
where
    T: Send + 'static,
    D: Fn(SocketAddr) -> F,
    F: Future<Output = Result<T, DialError>> + Send + 'static,
{
    let mut race = Race {
        runtime,
        dial,
        steps: JoinSet::new(),
        queue: VecDeque::new(),
        tried: Vec::new(),
        next_at: Instant::now(),
        failure: DialError::NoAddress,
    };
    race.enter(hosts, handshake_timeout);
    race.run().await
}

struct Race<'a, T, D> {
    runtime: &'a Handle,
    dial: D,
    steps: JoinSet<Step<T>>,
    /// Addresses that wait for their turn.
    queue: VecDeque<SocketAddr>,
    /// All addresses that were ever queued; a name may resolve to a literal that is there already.
    tried: Vec<SocketAddr>,
    next_at: Instant,
    /// The most telling failure so far.
    failure: DialError,
}

enum Step<T> {
    Resolved(Result<Vec<SocketAddr>, DialError>),
    Dialled(Result<T, DialError>),
}

impl<T, D, F> Race<'_, T, D>
where
    T: Send + 'static,
    D: Fn(SocketAddr) -> F,
    F: Future<Output = Result<T, DialError>> + Send + 'static,
{
    /// Literal addresses are dialled while names are being resolved.
    fn enter(&mut self, hosts: &[HostPort], handshake_timeout: Duration) {
        for host in hosts {
            if let Some(address) = resolve::literal(host) {
                self.enqueue([address]);
            } else {
                let host = host.clone();
                let resolution =
                    async move { Step::Resolved(resolve::resolve(&host, handshake_timeout).await) };
                self.steps.spawn_on(resolution, self.runtime);
            }
        }
    }

    async fn run(mut self) -> Result<T, DialError> {
        loop {
            tokio::select! {
                biased;
                Some(step) = self.steps.join_next() => match step {
                    Ok(Step::Dialled(Ok(connection))) => return Ok(connection),
                    Ok(Step::Dialled(Err(failure))) => {
                        self.fail(failure);
                        self.next_at = Instant::now();
                    }
                    Ok(Step::Resolved(Ok(addresses))) => self.enqueue(addresses),
                    Ok(Step::Resolved(Err(failure))) => self.fail(failure),
                    // The runtime is shutting down.
                    Err(_) => self.fail(DialError::Closed),
                },
                () = sleep_until(self.next_at), if !self.queue.is_empty() => self.dial_next(),
                else => return Err(self.failure),
            }
        }
    }

    fn enqueue(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        for address in addresses {
            if !self.tried.contains(&address) {
                self.tried.push(address);
                self.queue.push_back(address);
            }
        }
    }

    fn dial_next(&mut self) {
        if let Some(address) = self.queue.pop_front() {
            let attempt = (self.dial)(address);
            self.steps
                .spawn_on(async move { Step::Dialled(attempt.await) }, self.runtime);
            self.next_at = Instant::now() + STAGGER;
        }
    }

    fn fail(&mut self, failure: DialError) {
        if tells(&failure) >= tells(&self.failure) {
            self.failure = failure;
        }
    }
}

/// How much a failure tells of the peer: among several, the caller learns the one that tells most.
fn tells(failure: &DialError) -> u8 {
    match failure {
        DialError::NoAddress => 0,
        DialError::Unresolvable { .. } => 1,
        DialError::Unreachable => 2,
        DialError::Timeout(_) => 3,
        DialError::Malformed => 4,
        DialError::WrongIdentity { .. } => 5,
        DialError::Refused(_) => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests;
