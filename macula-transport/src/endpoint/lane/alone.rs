//! A long reply to a request that came on a shared lane.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::Reply;
use super::patience::Patience;
use crate::endpoint::frame::Burst;
use crate::endpoint::link::Link;
use crate::{SendStream, StreamError};

/// Sends a reply on a stream of its own. Dropping the future resets it.
pub(in crate::endpoint) async fn reply_alone(link: &Link, mut reply: Reply) {
    reply.header.alone = true;
    if let Err(error) = send(link, reply).await {
        tracing::debug!(peer = %link.node_id().short(), %error, "long reply was not sent");
    }
}

async fn send(link: &Link, reply: Reply) -> Result<(), StreamError> {
    let _turn = link.turns.reply().await;
    let mut stream = link.connection.open().await?;
    let mut burst = Burst::default();
    burst.push(&reply.header, &reply.body);
    let mut patience = Patience::default();
    poll_fn(|cx| poll_send(cx, &mut burst, &mut *stream.send, &mut patience)).await?;
    stream.send.finish()
}

/// Sends as long as the peer takes something.
fn poll_send(
    cx: &mut Context<'_>,
    burst: &mut Burst,
    stream: &mut dyn SendStream,
    patience: &mut Patience,
) -> Poll<Result<(), StreamError>> {
    let before = burst.len_bytes();
    let sent = burst.poll_send(cx, stream);
    if sent.is_ready() {
        return sent;
    }
    patience.went_on(Instant::now(), before - burst.len_bytes());
    match patience.poll(cx) {
        Poll::Ready(()) => Poll::Ready(Err(StreamError::Closed)),
        Poll::Pending => Poll::Pending,
    }
}
