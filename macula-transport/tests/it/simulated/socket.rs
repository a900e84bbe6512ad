//! The sockets of simulated hosts are bound, taken and given back like any.

use macula_transport::{CloseCode, QuicConfig, QuicError, Transport};

use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::soon;

async fn at_one_port(network: &Network) -> QuicConfig {
    let _started = network.runtime(1).await;
    QuicConfig {
        listen: vec![(network.ip(1), 4433).into()],
        ..QuicConfig::default()
    }
}

async fn a_taken_port_is_refused(network: Network) {
    let config = at_one_port(&network).await;
    let first = network.bind(1, config.clone()).await;
    assert_eq!(first.local_addresses(), config.listen);
    let second = network.try_bind(1, config).await;
    assert!(matches!(second, Err(QuicError::Socket(_))));
}

#[test]
fn a_port_is_bound_once() {
    on_some_seeds(Links::GOOD, a_taken_port_is_refused);
}

async fn after_a_close_the_port_is_free(network: Network) {
    let config = at_one_port(&network).await;
    for _ in 0..3 {
        let transport = network.bind(1, config.clone()).await;
        soon(transport.close(CloseCode::Done)).await;
    }
}

#[test]
fn a_closed_transport_has_freed_its_port() {
    on_some_seeds(Links::GOOD, after_a_close_the_port_is_free);
}

async fn after_a_drop_the_port_is_soon_free(network: Network) {
    let config = at_one_port(&network).await;
    // Dropped on another host than it was bound on.
    drop(network.bind(1, config.clone()).await);
    soon(async {
        while network.try_bind(1, config.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn a_dropped_transport_frees_its_port() {
    on_some_seeds(Links::GOOD, after_a_drop_the_port_is_soon_free);
}

async fn ipv6_is_refused(network: Network) {
    let config = QuicConfig {
        listen: vec![([0; 16], 0).into()],
        ..QuicConfig::default()
    };
    let refused = network.try_bind(1, config).await;
    assert!(matches!(refused, Err(QuicError::Config(_))));
}

#[test]
fn an_address_that_no_simulated_host_has_is_refused() {
    on_some_seeds(Links::GOOD, ipv6_is_refused);
}
