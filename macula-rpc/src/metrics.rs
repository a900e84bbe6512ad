//! What the calls of a service come to, on the side that makes them and on the side that answers.
//!
//! [`Called`] and [`Served`] are what is counted into while calls run: relaxed atomics, no lock, no
//! allocation. Whoever has a place for each service looks its meter up once, in a [`Meters`], and
//! keeps it there.

mod called;
mod class;
mod latency;
mod meters;
mod served;
mod tally;

pub use called::CalledStats;
pub use class::FailureClass;
pub use latency::{Bucket, Latency};
pub use meters::{MAX_METERED_SERVICES, PerService, ServiceStats};
pub use served::ServedStats;

pub(crate) use called::Called;
pub(crate) use meters::Meters;
pub(crate) use served::Served;
