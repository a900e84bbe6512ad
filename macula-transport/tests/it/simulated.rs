//! QUIC over a network that is simulated: delay, loss, partitions and crashes, in virtual time.

mod network;

mod contract;
mod dial;
mod fault;
mod load;
mod socket;
mod trace;

pub(crate) use network::{Links, Network, on_some_seeds, simulate};
