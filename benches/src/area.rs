//! What is measured in each area.

mod core;
mod dht;
pub mod registry;
mod rpc;
mod transport;

use crate::figure::Area;
use crate::measurement::Measurement;

impl Area {
    /// Everything that is measured there.
    pub fn measurements(self) -> &'static [Measurement] {
        match self {
            Self::Core => core::MEASUREMENTS,
            Self::Transport => transport::MEASUREMENTS,
            Self::Dht => dht::MEASUREMENTS,
            Self::Registry => registry::MEASUREMENTS,
            Self::Rpc => rpc::MEASUREMENTS,
        }
    }
}
