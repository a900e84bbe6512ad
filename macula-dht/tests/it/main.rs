//! The DHT from outside: what upper layers and third parties see.

mod contract;
mod kademlia;
mod memory_dht;
mod virtual_network;
