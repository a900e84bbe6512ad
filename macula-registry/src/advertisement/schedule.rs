//! When to publish next: sums over times, and one sweep over the key space.

use std::time::Duration;

use macula_core::Key;
use macula_dht::message::MAX_CLAIMS;
use tokio::time::Instant;

/// When services are refreshed, and tried again.
///
/// After a success the next attempt is due within max([`MIN_REFRESH`], ttl − [`REFRESH_MARGIN`])
/// after the start of the one that succeeded. For the shortest time to live that a record may
/// have, 15 s, that is two thirds of it, so every record is refreshed before it expires.
///
/// When exactly is where a hand stands that sweeps the key space once in a period a little
/// shorter than that interval, and passes over services that share a slot of it together. So the
/// services of a node spread over the interval by themselves however they came to be published,
/// neighbours in key space are refreshed together, and nodes that started together do not refresh
/// together: each begins its sweep at a phase of its own. The fewer the services, the wider the
/// slots: what fits into one batch is in one slot.
///
/// While a node has no more than a batch of services, none is refreshed earlier than [`EARLY`] of
/// its interval: it comes nearer to its place in the sweep with each refresh. One of many services
/// goes there at once, however soon the hand passes.
///
/// After a failure the wait doubles up to a maximum, never beyond the refresh interval, less up
/// to half of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) epoch: Instant,
    /// Where in the key space the sweep begins.
    pub(super) phase: u32,
    pub(super) retry_first: Duration,
    pub(super) retry_max: Duration,
}

/// A part of a whole, drawn at random: what is due together has one draw, so that it stays
/// together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw(pub(super) u32);

impl Draw {
    fn of(self, whole: Duration) -> Duration {
        scaled(whole, self.0)
    }
}

/// Which service, among how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refresh<'a> {
    pub(super) key: &'a Key,
    pub(super) interval: Duration,
    pub(super) population: usize,
}

impl Schedule {
    /// When the record that was signed at `started_at` is refreshed.
    pub(super) fn refresh(&self, started_at: Instant, refresh: Refresh<'_>, draw: Draw) -> Instant {
        let Refresh {
            key,
            interval,
            population,
        } = refresh;
        let period = interval - interval / SLACK;
        let slot_bits = slot_bits(population);
        let jitter = draw.of((period / (4 << slot_bits)).min(interval / SLACK / 2));
        let latest = started_at + interval;
        let pass = self.last_pass(latest, slot(key, slot_bits), period);
        let earliest = started_at + interval / 100 * EARLY;
        let missed_by = pass + period - latest;
        if pass >= earliest {
            (pass - jitter).max(earliest)
        } else if population > MAX_CLAIMS {
            pass - jitter
        } else if missed_by > earliest - pass {
            earliest + draw.of(interval / SLACK)
        } else {
            latest - draw.of(interval / SLACK)
        }
    }

    /// From when on a service that is due then may be refreshed with others.
    ///
    /// Of many services only those that are next, so that none strays from its place in the sweep;
    /// few become one batch in the end.
    pub(super) fn ripe(&self, started_at: Instant, due: Instant, refresh: Refresh<'_>) -> Instant {
        let Refresh {
            interval,
            population,
            ..
        } = refresh;
        let early = started_at + interval / 100 * EARLY;
        if population > MAX_CLAIMS {
            due - interval / SLACK / 2
        } else {
            early.min(due)
        }
    }

    /// When to try again after so many earlier failures.
    pub(super) fn retry(&self, ended_at: Instant, retry: Retry, draw: Draw) -> Instant {
        let max = self.retry_max.min(retry.interval);
        let wait = back_off(self.retry_first, max, retry.failures);
        ended_at + wait - draw.of(wait / 2)
    }

    /// The last time up to `limit` at which the hand is at that point of the key space.
    fn last_pass(&self, limit: Instant, point: u32, period: Duration) -> Instant {
        let offset = scaled(period, point.wrapping_add(self.phase));
        let since_first = limit.saturating_duration_since(self.epoch + offset);
        let rest = since_first.as_nanos() % period.as_nanos().max(1);
        limit - Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
    }
}

/// Which service failed, and how often before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub(super) interval: Duration,
    pub(super) failures: u32,
}

/// The longest time from one publishing to the next.
pub(super) fn refresh_interval(ttl: Duration) -> Duration {
    ttl.saturating_sub(REFRESH_MARGIN).max(MIN_REFRESH)
}

/// The wait after so many earlier failures: doubles from `first`, up to `max`.
pub(super) fn back_off(first: Duration, max: Duration, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(max)
}

/// Into how many slots, as a power of two, the key space is cut: one batch or two are in each.
fn slot_bits(population: usize) -> u32 {
    let batches = population / MAX_CLAIMS;
    batches.checked_ilog2().unwrap_or(0).min(MAX_SLOT_BITS)
}

/// Where the slot of a key begins.
fn slot(key: &Key, slot_bits: u32) -> u32 {
    let [a, b, c, d, ..] = *key.as_bytes();
    let below = u32::MAX.checked_shr(slot_bits).unwrap_or(0);
    u32::from_be_bytes([a, b, c, d]) & !below
}

fn scaled(whole: Duration, part: u32) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(part)) >> u32::BITS;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How long before its record expires a refresh is due at the latest, if the record lives so long.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// The shortest interval between refreshes, jitter aside.
const MIN_REFRESH: Duration = Duration::from_secs(10);

/// After so many hundredths of its interval a service may be refreshed.
const EARLY: u32 = 90;

/// The sweep is shorter than the interval by one part in so many of it: half of that is for jitter,
/// half for coming along with a neighbour, so that who does both is not late for the next pass.
const SLACK: u32 = 20;

/// The most slots there are, as a power of two.
const MAX_SLOT_BITS: u32 = 16;

#[cfg(test)]
mod tests;
