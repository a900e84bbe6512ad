//! The floor: s2n-quic with one bidirectional stream per request and nothing on top.
//!
//! Written as a user of s2n-quic would write it, on the caller's runtime, and on purpose without
//! anything of macula-transport, which it is compared with. What ours does for loopback in QUIC
//! itself is no merit of its requests: the floor has datagrams as long from the beginning.

mod tls;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use s2n_quic::client::Connect;
use s2n_quic::connection::Handle;
use s2n_quic::provider::congestion_controller::{self, Bbr, Cubic};
use s2n_quic::provider::io::tokio::Provider as Io;
use s2n_quic::provider::limits::Limits;
use s2n_quic::stream::BidirectionalStream;
use s2n_quic::{Client, Connection, Server};

/// Streams a peer may have open: more than any load here has in flight.
const MAX_OPEN_STREAMS: u64 = 1024;

/// The longest datagrams, with their IP headers: as many bytes as macula-transport gives loopback.
const MTU_BYTES: u16 = 9000;

/// What decides how much is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Congestion {
    /// What s2n-quic takes when nobody chooses.
    Cubic,
    /// What copes with loss.
    Bbr,
}

/// A server that echoes every stream.
pub struct RawServer {
    address: SocketAddr,
}

/// A connection to a server that echoes every stream.
pub struct RawQuic {
    connection: Handle,
    /// Kept, because the connection ends with its endpoint.
    _client: Client,
}

impl RawServer {
    /// Starts it on the current runtime, which it lives as long as.
    ///
    /// # Errors
    /// When sockets or keys cannot be had.
    pub fn start(congestion: Congestion) -> anyhow::Result<Self> {
        let server = match congestion {
            Congestion::Cubic => server(Cubic::default()),
            Congestion::Bbr => server(Bbr::default()),
        }?;
        let address = server.local_addr()?;
        tokio::spawn(serve(server));
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl RawQuic {
    /// Starts a server and connects to it, both on the current runtime.
    ///
    /// # Errors
    /// When sockets or keys cannot be had.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing that anybody waits for.
    pub async fn start() -> anyhow::Result<Self> {
        let server = RawServer::start(Congestion::Cubic)?;
        Self::connect(server.address(), Congestion::Cubic).await
    }

    /// Connects to a server, on the current runtime.
    ///
    /// # Errors
    /// When it is not reached.
    ///
    /// # Cancel safety
    /// Dropping the future gives it up.
    pub async fn connect(to: SocketAddr, congestion: Congestion) -> anyhow::Result<Self> {
        let client = match congestion {
            Congestion::Cubic => client(Cubic::default()),
            Congestion::Bbr => client(Bbr::default()),
        }?;
        let connection = connect(&client, to).await?;
        Ok(Self {
            connection: connection.handle(),
            _client: client,
        })
    }

    /// One request on a stream of its own.
    ///
    /// # Errors
    /// When the connection ended, or something else than the body came back.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up.
    pub async fn request(&self, body: Bytes) -> anyhow::Result<()> {
        request(self.connection.clone(), body).await
    }
}

/// A socket that accepts.
fn server(congestion: impl congestion_controller::Provider) -> anyhow::Result<Server> {
    Ok(Server::builder()
        .with_tls(tls::EchoKey::new()?.server()?)?
        .with_io(socket()?)?
        .with_limits(limits()?)?
        .with_congestion_controller(congestion)
        .map_err(|error| anyhow!("{error}"))?
        .start()?)
}

/// A socket to dial from.
pub(crate) fn client(congestion: impl congestion_controller::Provider) -> anyhow::Result<Client> {
    Ok(Client::builder()
        .with_tls(tls::EchoKey::new()?.client()?)?
        .with_io(socket()?)?
        .with_limits(limits()?)?
        .with_congestion_controller(congestion)
        .map_err(|error| anyhow!("{error}"))?
        .start()?)
}

/// A connection that stays.
pub(crate) async fn connect(client: &Client, to: SocketAddr) -> anyhow::Result<Connection> {
    let target = Connect::new(to).with_server_name(tls::SERVER_NAME);
    let mut connection = client.connect(target).await?;
    connection.keep_alive(true)?;
    Ok(connection)
}

/// One request on a stream of its own.
pub(crate) async fn request(mut connection: Handle, body: Bytes) -> anyhow::Result<()> {
    let mut stream = connection.open_bidirectional_stream().await?;
    stream.send(body.clone()).await?;
    stream.finish()?;
    let echo = whole(&mut stream).await?;
    ensure!(echo == body, "the echo differs");
    Ok(())
}

async fn serve(mut server: Server) {
    while let Some(connection) = server.accept().await {
        tokio::spawn(serve_connection(connection));
    }
}

async fn serve_connection(mut connection: Connection) {
    while let Ok(Some(stream)) = connection.accept_bidirectional_stream().await {
        tokio::spawn(echo(stream));
    }
}

async fn echo(mut stream: BidirectionalStream) -> anyhow::Result<()> {
    let body = whole(&mut stream).await?;
    stream.send(body).await?;
    stream.finish()?;
    Ok(())
}

/// All that the other end sends before it finishes; mostly one chunk, which is not copied.
async fn whole(stream: &mut BidirectionalStream) -> anyhow::Result<Bytes> {
    let first = stream.receive().await?.context("an empty stream")?;
    let Some(second) = stream.receive().await? else {
        return Ok(first);
    };
    let mut body = BytesMut::from(&first[..]);
    body.extend_from_slice(&second);
    while let Some(chunk) = stream.receive().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn socket() -> anyhow::Result<Io> {
    Ok(Io::builder()
        .with_receive_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?
        .with_max_mtu(MTU_BYTES)?
        .with_initial_mtu(MTU_BYTES)?
        .build()?)
}

fn limits() -> anyhow::Result<Limits> {
    Ok(Limits::new()
        .with_max_open_local_bidirectional_streams(MAX_OPEN_STREAMS)?
        .with_max_open_remote_bidirectional_streams(MAX_OPEN_STREAMS)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::RawQuic;

    #[tokio::test]
    async fn body_comes_back() {
        let exchange = async {
            let raw = RawQuic::start().await.unwrap();
            raw.request(Bytes::from_static(&[7; 64])).await.unwrap();
            raw.request(Bytes::from(vec![7; 100_000])).await.unwrap();
        };
        timeout(Duration::from_secs(20), exchange).await.unwrap();
    }
}
