//! Providers that leave in order, or have fallen silent: nobody else shall find out by calling them.

use std::sync::{Arc, Weak};

use macula_registry::Registry;
use macula_transport::{Endpoint, PeerEvent};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::Service;

/// Takes peers that say goodbye, or that are taken for dead, out of the registry's cache, until the
/// endpoint or the registry ends.
pub(super) fn watch(endpoint: &Endpoint, registry: &Arc<Registry<Service>>) {
    let departures = repair(endpoint.events(), Arc::downgrade(registry));
    endpoint.runtime().spawn(departures);
}

async fn repair(mut events: Receiver<PeerEvent>, registry: Weak<Registry<Service>>) {
    loop {
        let event = events.recv().await;
        let Some(registry) = registry.upgrade() else {
            return;
        };
        match event {
            Ok(PeerEvent::Departed(node_id) | PeerEvent::Lost(node_id)) => {
                registry.forget_provider(&node_id);
            }
            // What was missed shows when it is called.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
