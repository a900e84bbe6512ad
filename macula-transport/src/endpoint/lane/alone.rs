//! A long reply to a request that came on a shared lane.

use std::future::poll_fn;
use std::sync::Arc;

use super::{Lane, Reply};
use crate::StreamError;
use crate::endpoint::frame::Burst;
use crate::endpoint::link::Link;

/// Sends a reply on a stream of its own. Dropping the future resets it.
pub(in crate::endpoint) async fn reply_alone(link: Arc<Link>, lane: Arc<Lane>, reply: Reply) {
    let call = reply.header.call;
    if let Err(error) = send(&link, reply).await {
        tracing::debug!(peer = %link.node_id().short(), %error, "long reply was not sent");
    }
    // The lane may have waited for this to end.
    link.running.end(call, || lane.wake());
}

async fn send(link: &Link, mut reply: Reply) -> Result<(), StreamError> {
    let _turn = link.turn_alone().await;
    let mut stream = link.connection.open().await?;
    reply.header.alone = true;
    let mut burst = Burst::default();
    burst.push(&reply.header, &reply.body);
    poll_fn(|cx| burst.poll_send(cx, &mut *stream.send)).await?;
    stream.send.finish()
}
