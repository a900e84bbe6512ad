//! The crate as its users see it.

#[cfg(feature = "quic")]
mod quic;
