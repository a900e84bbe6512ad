//! Real nodes to measure on: what the figures and the criterion benches share.

mod clock;
mod echo;
mod node;
mod path;
mod processor;

mod bulk;
mod candidates;
mod client;
mod counted;
mod directory;
mod flood;
mod local_service;
mod machine;
mod mesh;
mod requests;
mod service;
mod service_mesh;
mod simulated_mesh;
mod standby;

pub use bulk::PairBesideBulk;
pub use candidates::{candidates, providers};
pub use client::ClientPair;
pub use clock::{virtual_clock, wall_clock};
pub use counted::OneEnd;
pub use directory::Directory;
pub use flood::Flooder;
pub use local_service::LocalService;
pub use machine::FullTable;
pub use mesh::{Mesh, Wire};
pub(crate) use node::{crowd_key, crowd_node, holding_node};
pub use path::Path;
pub(crate) use processor::{give_way, take_first};
pub(crate) use requests::echoed;
pub use requests::{EndpointPair, Ends};
pub use service::ServicePair;
pub use service_mesh::{MeshSettings, ServiceMesh, ServiceNode, Strategy};
pub use simulated_mesh::{NetworkSearch, SimulatedDht, SimulatedMesh, Supply};
pub use standby::{Begins, Standby};

use std::sync::Arc;

use macula_core::{Addresses, Realm, SecretKey, UnsavedSequence, WallClock};
use macula_registry::Identity;

/// The key of the n-th node of a fixture: different nodes, the same ones in every run.
fn key_of(node: u16) -> SecretKey {
    let mut bytes = [0x6d; SecretKey::LEN_BYTES];
    bytes[..2].copy_from_slice(&node.to_be_bytes());
    SecretKey::from_bytes(&bytes)
}

/// Who a node with these is to its registry.
pub(crate) fn identity(secret_key: SecretKey, addresses: Addresses, clock: WallClock) -> Identity {
    Identity {
        secret_key,
        realm: Realm::default(),
        addresses: Arc::new(move || addresses.clone()),
        clock,
        sequences: Arc::new(UnsavedSequence),
    }
}
