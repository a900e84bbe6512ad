//! Many nodes in one process.
#![expect(clippy::todo, unused_variables, reason = "being filled in")]
#![allow(
    missing_docs,
    clippy::needless_pass_by_value,
    reason = "being filled in"
)]

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{DialTarget, NodeId, SecretKey};

use crate::{CloseCode, Connection, DialError, Transport};

/// A network inside one process.
#[derive(Debug)]
pub struct MemoryNetwork;
/// A node's place in a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport;

impl MemoryNetwork {
    pub fn new(seed: u64) -> Arc<Self> {
        todo!()
    }
    pub fn transport(self: &Arc<Self>, secret_key: &SecretKey) -> Arc<MemoryTransport> {
        todo!()
    }
    pub fn transport_at_any(self: &Arc<Self>, secret_key: &SecretKey) -> Arc<MemoryTransport> {
        todo!()
    }
    pub fn dial_only(self: &Arc<Self>, secret_key: &SecretKey) -> Arc<MemoryTransport> {
        todo!()
    }
    pub fn set_latency(&self, one_way: RangeInclusive<Duration>) {
        todo!()
    }
    pub fn partition(&self, a: &[NodeId], b: &[NodeId]) {
        todo!()
    }
    pub fn heal(&self) {
        todo!()
    }
    pub fn refuse(&self, node: NodeId) {
        todo!()
    }
    pub fn admit(&self, node: NodeId) {
        todo!()
    }
    pub fn kill(&self, node: NodeId) {
        todo!()
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn node_id(&self) -> NodeId {
        todo!()
    }
    async fn dial(&self, target: &DialTarget) -> Result<Arc<dyn Connection>, DialError> {
        todo!()
    }
    async fn accept(&self) -> Option<Arc<dyn Connection>> {
        todo!()
    }
    fn local_addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }
    async fn close(&self, code: CloseCode) {
        todo!()
    }
}
