//! A network of real nodes in one process, for tests and demonstrations.
//!
//! ```
//! use macula_client::testnet::Testnet;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let net = Testnet::start(3).await?;
//! let _ad = net.node(0).advertise("math.double", |x: u64| async move { Ok(2 * x) }).await?;
//! let doubled: u64 = net.node(2).call("math.double", &21_u64).await?;
//! assert_eq!(doubled, 42);
//! net.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use macula_core::NodeId;
use macula_transport::{Executor, NodeRuntime};

use crate::{Client, ClientBuilder, ConnectError};

/// Nodes that talk QUIC over loopback and know each other through the first of them.
///
/// All share one thread for their own work; handlers run on the runtime that started the network.
pub struct Testnet {
    runtime: NodeRuntime,
    nodes: Vec<Client>,
    /// One for each node: the dead withdraw nothing when the network is shut down.
    killed: Vec<AtomicBool>,
}

impl Testnet {
    /// Starts `count` nodes, at least one, one after the other, each joining through the first.
    ///
    /// # Errors
    /// [`ConnectError`] of the first node that does not start.
    ///
    /// # Cancel safety
    /// Dropping the future ends the nodes that were started.
    pub async fn start(count: usize) -> Result<Self, ConnectError> {
        let runtime = Executor::Own.start().map_err(ConnectError::Thread)?;
        let mut net = Self {
            runtime,
            nodes: Vec::new(),
            killed: Vec::new(),
        };
        for _ in 0..count.max(1) {
            let node = net.builder().connect().await?;
            net.nodes.push(node);
            net.killed.push(AtomicBool::new(false));
        }
        Ok(net)
    }

    /// Composes another node of the network; it joins with
    /// [`connect`](ClientBuilder::connect) and is not one of [`nodes`](Self::nodes).
    pub fn builder(&self) -> ClientBuilder {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Client::builder()
            .runtime(self.runtime.clone())
            .listen(loopback)
            .bootstrap(self.nodes.first().map(Client::contact))
    }

    /// A node by its number, in the order of their start.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&self, index: usize) -> &Client {
        &self.nodes[index]
    }

    /// All nodes, killed ones included.
    pub fn nodes(&self) -> &[Client] {
        &self.nodes
    }

    /// Ends a node as a crash would: in the middle of everything, withdrawing nothing. Says which
    /// node it was.
    ///
    /// # Panics
    /// When there is no such node.
    pub async fn kill(&self, index: usize) -> NodeId {
        let node = self.node(index);
        self.killed[index].store(true, Ordering::Relaxed);
        node.crash().await;
        node.node_id()
    }

    /// Shuts all nodes down that were not killed, the first one last.
    pub async fn shutdown(self) {
        for (node, killed) in self.nodes.iter().zip(&self.killed).rev() {
            if !killed.load(Ordering::Relaxed) {
                node.shutdown().await;
            }
        }
    }
}
