//! The DHT from outside: what upper layers and third parties see.

mod contract;
mod memory_dht;
