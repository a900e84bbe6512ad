//! The endpoint over every transport in the tree, with both executors.

/// Turns claims, async functions of a [`fixture::Fixture`], into tests on every wire.
macro_rules! on_every_wire {
    ($($claim:ident),* $(,)?) => {
        mod on_memory {
            use crate::endpoint::fixture::Fixture;
            $(#[tokio::test(start_paused = true)]
            async fn $claim() {
                super::$claim(Fixture::memory(macula_transport::Executor::Current)).await;
            })*
        }
        mod on_memory_with_a_runtime_of_its_own {
            use crate::endpoint::fixture::Fixture;
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(Fixture::memory(macula_transport::Executor::Own)).await;
            })*
        }
        #[cfg(feature = "quic")]
        mod on_quic {
            use crate::endpoint::fixture::Fixture;
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(Fixture::quic(macula_transport::Executor::Current)).await;
            })*
        }
        #[cfg(feature = "quic")]
        mod on_quic_with_a_runtime_of_its_own {
            use crate::endpoint::fixture::Fixture;
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(Fixture::quic(macula_transport::Executor::Own)).await;
            })*
        }
        #[cfg(feature = "simulation")]
        mod on_a_simulated_network {
            use crate::endpoint::fixture::Fixture;
            use crate::simulated::{Links, on_some_seeds};
            $(#[test]
            fn $claim() {
                on_some_seeds(Links::GOOD, |network| {
                    super::$claim(Fixture::simulated(network))
                });
            })*
        }
    };
}

/// The same in virtual time only, for what takes long.
macro_rules! in_virtual_time {
    ($($claim:ident),* $(,)?) => {
        mod on_memory_in_virtual_time {
            use crate::endpoint::fixture::Fixture;
            $(#[tokio::test(start_paused = true)]
            async fn $claim() {
                super::$claim(Fixture::memory(macula_transport::Executor::Current)).await;
            })*
        }
        #[cfg(feature = "simulation")]
        mod on_a_simulated_network_in_virtual_time {
            use crate::endpoint::fixture::Fixture;
            use crate::simulated::{Links, on_some_seeds};
            $(#[test]
            fn $claim() {
                on_some_seeds(Links::GOOD, |network| {
                    super::$claim(Fixture::simulated(network))
                });
            })*
        }
    };
}

/// Claims that hold where the endpoints have a thread of their own, on every wire that has one.
macro_rules! on_a_thread_of_its_own {
    ($($(#[$runtime:meta])* $claim:ident),* $(,)?) => {
        mod on_memory_and_its_own_thread {
            use crate::endpoint::fixture::Fixture;
            $($(#[$runtime])*
            async fn $claim() {
                super::$claim(Fixture::memory(macula_transport::Executor::Own)).await;
            })*
        }
        #[cfg(feature = "quic")]
        mod on_quic_and_its_own_thread {
            use crate::endpoint::fixture::Fixture;
            $($(#[$runtime])*
            async fn $claim() {
                super::$claim(Fixture::quic(macula_transport::Executor::Own)).await;
            })*
        }
    };
}

mod counted;
pub(crate) mod fixture;
mod log;
mod raw;
mod runtimes;

mod address;
#[cfg(all(feature = "quic", target_os = "linux"))]
mod attack;
mod bodies;
mod cancel;
mod counters;
mod deadline;
mod dial;
mod early;
mod events;
mod frame;
mod garbage;
mod gone;
mod goodbye;
mod handler;
mod hanging;
mod hello;
mod leisure;
mod lifetime;
mod liveness;
mod long;
#[cfg(feature = "quic")]
mod narrow;
mod observe;
mod overload;
mod pool;
mod request;
mod reset;
mod shutdown;
mod slow;
mod soak;
mod together;
