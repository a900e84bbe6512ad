//! Nodes without sockets, which live on the clock of the test.

use std::sync::Arc;

use macula_client::dht::MemoryDht;
use macula_client::transport::MemoryNetwork;
use macula_client::{Client, ClientBuilder, Executor, SecretKey, system_clock};

/// A network and a DHT that all nodes share.
pub(crate) struct InMemory {
    network: Arc<MemoryNetwork>,
    pub(crate) dht: Arc<MemoryDht>,
}

impl InMemory {
    pub(crate) fn new() -> Self {
        Self {
            network: MemoryNetwork::new(7),
            dht: MemoryDht::new(system_clock()),
        }
    }

    /// Starts a node.
    pub(crate) async fn node(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// Composes a node.
    pub(crate) fn builder(&self) -> ClientBuilder {
        let secret_key = SecretKey::generate().unwrap();
        let transport = self.network.transport(&secret_key);
        Client::builder()
            .executor(Executor::Current)
            .secret_key(secret_key)
            .transport(transport)
            .dht(self.dht.clone())
    }
}
