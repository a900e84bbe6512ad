//! What is measured in each area.

mod core;

use crate::figure::Area;
use crate::measurement::Measurement;

impl Area {
    /// Everything that is measured there.
    pub fn measurements(self) -> &'static [Measurement] {
        match self {
            Self::Core => core::MEASUREMENTS,
            Self::Transport | Self::Dht | Self::Registry | Self::Rpc => &[],
        }
    }
}
