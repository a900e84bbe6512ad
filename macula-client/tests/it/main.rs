//! The client over real QUIC on loopback: what a user of the crate can rely on.

mod calls;
mod network;
mod parts;
