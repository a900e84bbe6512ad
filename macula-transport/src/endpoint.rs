//! What the layers above use: one per node, over any [`Transport`].
#![expect(
    clippy::todo,
    clippy::missing_errors_doc,
    unused_variables,
    dead_code,
    reason = "being filled in"
)]
#![allow(
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::unused_async,
    reason = "being filled in"
)]

use std::sync::Arc;

use bytes::Bytes;
use macula_core::{Addresses, Contact, DialTarget, NodeId, Realm};
use tokio::sync::broadcast;

use crate::{DialError, NodeRuntime, RequestError, Transport};

mod config;
mod peer;
mod request;
mod stats;

pub use config::{EndpointConfig, EndpointConfigError};
pub use peer::{Peer, PeerEvent, Role};
pub use request::{InboundRequest, ProtocolId, ProtocolTaken, Request, RequestHandler};
pub use stats::EndpointStats;

/// A node's connections to its peers, and the requests on them.
#[derive(Clone)]
pub struct Endpoint {
    runtime: NodeRuntime,
}

impl Endpoint {
    pub fn start(
        runtime: NodeRuntime,
        transport: Arc<dyn Transport>,
        config: EndpointConfig,
    ) -> Result<Self, EndpointConfigError> {
        todo!()
    }
    pub fn node_id(&self) -> NodeId {
        todo!()
    }
    pub fn realm(&self) -> &Realm {
        todo!()
    }
    pub fn role(&self) -> Role {
        todo!()
    }
    pub fn runtime(&self) -> &NodeRuntime {
        &self.runtime
    }
    pub fn addresses(&self) -> Addresses {
        todo!()
    }
    pub async fn reachable(&self) -> Addresses {
        todo!()
    }
    pub fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn RequestHandler>,
    ) -> Result<(), ProtocolTaken> {
        todo!()
    }
    pub async fn connect(&self, target: &DialTarget) -> Result<Peer, DialError> {
        todo!()
    }
    pub async fn request(&self, to: &Contact, request: Request) -> Result<Bytes, RequestError> {
        todo!()
    }
    pub fn peers(&self) -> Vec<Peer> {
        todo!()
    }
    pub fn peer(&self, node_id: &NodeId) -> Option<Peer> {
        todo!()
    }
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        todo!()
    }
    pub fn stats(&self) -> EndpointStats {
        todo!()
    }
    pub async fn drain(&self) {
        todo!()
    }
    pub async fn shutdown(&self) {
        todo!()
    }
}
