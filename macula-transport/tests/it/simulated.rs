//! QUIC over a network that is simulated: delay, loss, partitions and crashes, in virtual time.

mod line;
mod network;

mod contract;
mod dial;
mod fault;
mod lanes;
mod load;
mod precedence;
mod socket;
mod trace;

pub(crate) use network::{Links, Network, on_some_seeds, simulate};
