//! A long reply to a request that came on a shared lane.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout};

use super::Reply;
use super::patience::{FRAME_PATIENCE, Patience};
use super::run::End;
use crate::endpoint::frame::Burst;
use crate::endpoint::inbound::Inbound;
use crate::endpoint::link::Link;
use crate::endpoint::trace;
use crate::endpoint::turns::Turn;
use crate::{SendStream, Stream};

/// A long reply that is out, but perhaps not read.
pub(in crate::endpoint) struct Unread {
    stream: Stream,
    _turn: Option<Turn>,
}

impl Unread {
    /// Until the peer, or the connection, has ended the stream.
    pub(in crate::endpoint) async fn read(mut self) {
        // A peer has nothing to say on it.
        while let Ok(Some(_)) = self.stream.receive.receive().await {}
    }
}

/// Sends a reply on a stream of its own, if the peer takes it. Dropping the future resets the stream.
pub(in crate::endpoint) async fn reply_alone(
    inbound: &Inbound,
    mut reply: Reply,
) -> Option<Unread> {
    reply.header.alone = true;
    match send(&inbound.link, reply).await {
        Ok(unread) => {
            inbound.counters.frames_sent.add();
            return Some(unread);
        }
        Err(End::Stalled) => {
            inbound.counters.streams_stalled.add();
            trace::reply_stalled(&inbound.link);
        }
        Err(End::Broken(error)) => trace::reply_broken(&inbound.link, error),
        Err(_) => {}
    }
    None
}

async fn send(link: &Link, reply: Reply) -> Result<Unread, End> {
    // The peer says how many streams there may be.
    let opening = timeout(FRAME_PATIENCE, link.connection.open()).await;
    let opened = opening.map_err(|_| End::Stalled)?;
    let mut stream = opened.map_err(|error| End::Broken(error.into()))?;
    let mut burst = Burst::default();
    burst.push(&reply.header, &reply.body);
    let mut patience = Patience::default();
    poll_fn(|cx| poll_send(cx, &mut burst, &mut *stream.send, &mut patience)).await?;
    stream.send.finish().map_err(End::Broken)?;
    Ok(Unread {
        stream,
        _turn: reply.turn,
    })
}

/// Sends as long as the peer takes something.
fn poll_send(
    cx: &mut Context<'_>,
    burst: &mut Burst,
    stream: &mut dyn SendStream,
    patience: &mut Patience,
) -> Poll<Result<(), End>> {
    let before = burst.len_bytes();
    if let Poll::Ready(sent) = burst.poll_send(cx, stream) {
        return Poll::Ready(sent.map_err(End::Broken));
    }
    patience.went_on(Instant::now(), before - burst.len_bytes());
    patience.poll(cx).map(|()| Err(End::Stalled))
}
