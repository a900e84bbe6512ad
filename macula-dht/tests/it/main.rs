//! The DHT from outside: what upper layers and third parties see.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy takes for production code"
)]

mod contract;
mod finds;
mod flood;
mod footprint;
mod holders;
mod kademlia;
mod kademlia_dht;
mod liveness;
mod locate;
mod machine;
mod maintenance;
mod memory_dht;
mod neighbours;
mod node;
mod virtual_network;
mod wire;
