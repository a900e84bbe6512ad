//! The virtual time of a simulated host, as s2n-quic reads it.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use s2n_quic_core::time::clock::{self, ClockWithTimer, NoopClock};
use s2n_quic_core::time::{Clock, Timestamp};
use tokio::time::{Instant, Sleep, sleep_until};

/// Tokio's clock, which stands still while its host is not running.
#[derive(Clone)]
pub(super) struct VirtualClock {
    start: Instant,
}

impl VirtualClock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

/// What s2n-quic calls `start`: its times can be made from others only.
fn zero() -> Timestamp {
    NoopClock.get_time()
}

impl Clock for VirtualClock {
    fn get_time(&self) -> Timestamp {
        zero() + self.start.elapsed()
    }
}

impl ClockWithTimer for VirtualClock {
    type Timer = VirtualTimer;

    fn timer(&self) -> VirtualTimer {
        VirtualTimer {
            start: self.start,
            sleep: Box::pin(sleep_until(self.start)),
            is_set: false,
        }
    }
}

/// A timer that rings once each time it is set.
pub(super) struct VirtualTimer {
    start: Instant,
    sleep: Pin<Box<Sleep>>,
    is_set: bool,
}

impl clock::Timer for VirtualTimer {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_set || self.sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.is_set = false;
        Poll::Ready(())
    }

    fn update(&mut self, timestamp: Timestamp) {
        let deadline = self.start + timestamp.saturating_duration_since(zero());
        if !self.is_set || self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
            self.is_set = true;
        }
    }
}
