//! QUIC passes the suite of every transport on a simulated network.

use std::sync::Arc;

use macula_transport::{Transport, contract};

use super::{Links, Network, on_some_seeds};

async fn the_contract(network: Network) {
    contract::run(|| async {
        let (a, b) = (network.server(1).await, network.server(2).await);
        (a as Arc<dyn Transport>, b as Arc<dyn Transport>)
    })
    .await;
}

#[test]
fn quic_keeps_the_contract_on_good_links() {
    on_some_seeds(Links::GOOD, the_contract);
}

#[test]
fn quic_keeps_the_contract_on_bad_links() {
    on_some_seeds(Links::BAD, the_contract);
}
