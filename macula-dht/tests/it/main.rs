//! The DHT from outside: what upper layers and third parties see.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy takes for production code"
)]

mod contract;
mod kademlia;
mod memory_dht;
mod virtual_network;
