//! A node that dies without a word.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use macula_core::DialTarget;
use macula_transport::{ConnectionError, StreamError, Transport};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::{client, contact, loopback, server_at, within};

/// A node on a runtime of its own, so that it can be cut off in the middle of everything.
pub(super) struct Lonely {
    pub(super) contact: DialTarget,
    pub(super) address: SocketAddr,
    kill: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Lonely {
    pub(super) async fn start(seed: u8) -> Self {
        let (ready, started) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            // A port of the configuration: one that the system chose would not survive a restart.
            let address = free_address();
            let node = runtime.block_on(server_at(seed, address));
            ready.send((contact(&node), address)).unwrap();
            serve_until(&*node, runtime, killed);
        });
        let (contact, address) = within(started).await.unwrap();
        Self {
            contact,
            address,
            kill,
            thread,
        }
    }

    /// Returns when the node is gone, without having told anybody.
    pub(super) fn kill(self) {
        drop(self.kill);
        self.thread.join().unwrap();
    }
}

/// The same for one that dials, and says nothing.
pub(super) struct Dialler {
    kill: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Dialler {
    pub(super) fn start(seed: u8, to: DialTarget) -> Self {
        let (kill, killed) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let held = runtime.block_on(async {
                let node = client(seed).await;
                let connection = within(node.dial(&to)).await.unwrap();
                let _ = killed.await;
                (node, connection)
            });
            // First the runtime, so that nobody is left to send a farewell.
            drop(runtime);
            drop(held);
        });
        Self { kill, thread }
    }

    /// Returns when the node is gone, without having told anybody.
    pub(super) fn kill(self) {
        drop(self.kill);
        self.thread.join().unwrap();
    }
}

fn serve_until(node: &dyn Transport, runtime: Runtime, killed: oneshot::Receiver<()>) {
    let mut held = Vec::new();
    runtime.block_on(async {
        let echoing = async {
            let connection = node.accept().await.unwrap();
            held.push(Arc::clone(&connection));
            while let Ok(mut stream) = connection.accept().await {
                while let Ok(Some(chunk)) = stream.receive.receive().await {
                    stream.send.send(chunk).await.unwrap();
                }
            }
        };
        tokio::select! {
            () = echoing => {}
            _ = killed => {}
        }
    });
    // First the runtime, so that nobody is left to send a farewell.
    drop(runtime);
    drop(held);
}

fn free_address() -> SocketAddr {
    UdpSocket::bind(loopback()).unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_restarted_node_makes_pending_requests_fail_at_once() {
    let a = client(1).await;
    let b = Lonely::start(2).await;
    let address = b.address;
    let dialled = within(a.dial(&b.contact)).await.unwrap();
    let mut stream = within(dialled.open()).await.unwrap();
    // The tokens arrive right after the handshake: a few round trips later they are there.
    for _ in 0..3 {
        let chunk = Bytes::from_static(b"ping");
        within(stream.send.send(chunk.clone())).await.unwrap();
        let echo = within(stream.receive.receive()).await.unwrap();
        assert_eq!(echo, Some(chunk));
    }
    b.kill();
    let _restarted = server_at(2, address).await;
    // Larger than a reset, which is never larger than what it answers.
    within(stream.send.send(Bytes::from(vec![0; 500])))
        .await
        .unwrap();
    let soon = tokio::time::timeout(std::time::Duration::from_secs(5), stream.receive.receive());
    let outcome = soon.await.expect("before any timeout");
    assert_eq!(outcome, Err(StreamError::Connection(ConnectionError::Lost)));
    assert_eq!(within(dialled.closed()).await, ConnectionError::Lost);
}
