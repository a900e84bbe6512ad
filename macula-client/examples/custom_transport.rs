//! A transport of one's own: QUIC, with every dial announced.
//!
//! `cargo run --example custom_transport`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use macula_client::transport::{
    CloseCode, Connection, DialError, QuicConfig, QuicTransport, Transport, TransportStats,
};
use macula_client::{Client, DialTarget, NodeId, SecretKey};

/// Says whom it dials, and leaves the rest to another transport.
struct Talkative {
    name: &'static str,
    inner: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for Talkative {
    fn node_id(&self) -> NodeId {
        self.inner.node_id()
    }

    async fn dial(&self, target: &DialTarget) -> Result<Arc<dyn Connection>, DialError> {
        println!("{} dials {target}", self.name);
        self.inner.dial(target).await
    }

    async fn accept(&self) -> Option<Arc<dyn Connection>> {
        self.inner.accept().await
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        self.inner.local_addresses()
    }

    fn stats(&self) -> Option<TransportStats> {
        self.inner.stats()
    }

    async fn close(&self, code: CloseCode) {
        self.inner.close(code).await;
    }
}

/// The transport and the records speak for the same identity.
async fn node(
    name: &'static str,
    secret_key: SecretKey,
) -> Result<macula_client::ClientBuilder, Box<dyn std::error::Error>> {
    let config = QuicConfig {
        listen: vec!["127.0.0.1:0".parse()?],
        ..QuicConfig::default()
    };
    let inner = QuicTransport::bind(&secret_key, config).await?;
    let transport = Arc::new(Talkative { name, inner });
    Ok(Client::builder()
        .secret_key(secret_key)
        .transport(transport))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = node("provider", SecretKey::generate()?)
        .await?
        .connect()
        .await?;
    let _ping = provider
        .advertise("demo.ping", |()| async move { Ok("pong".to_owned()) })
        .await?;

    let caller = node("caller", SecretKey::generate()?).await?;
    let caller = caller.bootstrap([provider.contact()]).connect().await?;
    let pong: String = caller.call("demo.ping", &()).await?;
    println!("{pong}");

    caller.shutdown().await;
    provider.shutdown().await;
    Ok(())
}
