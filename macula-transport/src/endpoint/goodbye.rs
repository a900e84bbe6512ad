//! How a connection is taken leave of, so that nothing that was answered is lost.
//!
//! Closing a connection kills what is under way on it, replies that have been sent included. So the
//! side that wants to leave says goodbye first: from then on it refuses requests. The other side sends
//! no more of them, and ends the stream of the goodbye once it has the replies that it waits for.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::frame::{CallId, Header, Kind};
use super::link::Link;
use crate::{CloseCode, StreamError};

/// Says goodbye, waits until the peer has all that it waits for, or for long enough, and closes.
pub(super) async fn leave(link: Arc<Link>, code: CloseCode) {
    let _ = timeout(LINGER, exchange(&link, code)).await;
    link.close(code);
}

/// Says goodbye and waits until the peer has all that it waits for. Once there is nothing left to
/// answer, `answered`, it is waited for only as long as anything comes from it.
pub(super) async fn say(link: &Link, code: CloseCode, answered: impl Future<Output = ()>) {
    let mut exchange = pin!(exchange(link, code));
    tokio::select! {
        biased;
        // That the connection ends meanwhile is as good.
        _ = exchange.as_mut() => return,
        () = answered => {}
    }
    loop {
        let before = heard_bytes(link);
        let is_over = timeout(LINGER, exchange.as_mut()).await.is_ok();
        // Acknowledgements are enough: the replies are long, or the way is bad.
        if is_over || heard_bytes(link) == before {
            return;
        }
    }
}

/// How much has come from the peer; none if the transport does not count.
fn heard_bytes(link: &Link) -> Option<u64> {
    let traffic = link.connection.traffic();
    traffic.map(|traffic| traffic.bytes_received)
}

async fn exchange(link: &Link, code: CloseCode) -> Result<(), StreamError> {
    let mut stream = link.connection.open().await?;
    let mut header = Header::new(Kind::Goaway, CallId(0), 0);
    header.code = u8::try_from(code.to_wire()).unwrap_or_default();
    let frame = Bytes::copy_from_slice(&header.encode());
    stream.send.send(frame).await?;
    stream.send.finish()?;
    stream.receive.receive().await?;
    Ok(())
}

/// How long a peer may be silent while it gets the replies that have been sent.
pub(super) const LINGER: Duration = Duration::from_secs(1);
