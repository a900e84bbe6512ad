//! The two halves of a QUIC stream.

use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use s2n_quic::{application, stream};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::error::{self, application_error};
use super::link::Link;
use crate::{CloseCode, ReceiveStream, SendStream, Stream, StreamError};

pub(super) fn split(stream: stream::BidirectionalStream, link: &Arc<Link>) -> Stream {
    let (receive, send) = stream.split();
    Stream {
        send: Box::new(QuicSendStream {
            inner: Some(send),
            link: Arc::clone(link),
            is_finished: false,
        }),
        receive: Box::new(QuicReceiveStream {
            inner: receive,
            link: Arc::clone(link),
            state: ReceiveState::Open,
        }),
    }
}

struct QuicSendStream {
    /// `None` once it was reset.
    inner: Option<stream::SendStream>,
    link: Arc<Link>,
    is_finished: bool,
}

impl SendStream for QuicSendStream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamError>> {
        let open = self.inner.as_mut().filter(|_| !self.is_finished);
        let Some(inner) = open else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        inner
            .poll_send(chunk, cx)
            .map_err(|error| self.link.stream_error(error::stream_error(error)))
    }

    fn unacknowledged(&mut self, cx: &mut Context<'_>) -> usize {
        let all = self.link.send_buffer_bytes();
        let Some(inner) = &mut self.inner else {
            return 0;
        };
        if self.is_finished {
            // It says only whether there is any left.
            return if inner.poll_flush(cx).is_ready() {
                0
            } else {
                all
            };
        }
        match inner.poll_send_ready(cx) {
            Poll::Pending => all,
            Poll::Ready(Ok(room)) => all.saturating_sub(room),
            Poll::Ready(Err(_)) => 0,
        }
    }

    fn finish(&mut self) -> Result<(), StreamError> {
        let inner = self.inner.as_mut().ok_or(StreamError::Closed)?;
        if !self.is_finished {
            inner
                .finish()
                .map_err(|error| self.link.stream_error(error::stream_error(error)))?;
            self.is_finished = true;
        }
        Ok(())
    }

    fn reset(&mut self, code: CloseCode) {
        if let Some(inner) = self.inner.take() {
            reset(inner, application_error(code), &self.link);
        }
    }
}

/// Resets a stream once the peer has what was sent on it.
///
/// While something waits for room at the peer, s2n-quic would name a final size beyond what the peer
/// has allowed, which ends the connection with all its calls (`FLOW_CONTROL_ERROR`, RFC 9000 §4.5).
fn reset(mut inner: stream::SendStream, code: application::Error, link: &Link) {
    let is_out = inner
        .poll_flush(&mut Context::from_waker(Waker::noop()))
        .is_ready();
    let turn = link.late_reset().filter(|_| !is_out);
    match (turn, Handle::try_current()) {
        (Some(turn), Ok(runtime)) => drop(runtime.spawn(reset_late(inner, code, turn))),
        // Without a runtime there is no connection either, and a peer that takes nothing of so
        // many streams has itself to blame.
        _ => drop(inner.reset(code)),
    }
}

/// An error means that the stream or its connection has ended already.
async fn reset_late(
    mut inner: stream::SendStream,
    code: application::Error,
    _turn: OwnedSemaphorePermit,
) {
    if inner.flush().await.is_ok() {
        let _ = inner.reset(code);
    }
}

impl Drop for QuicSendStream {
    fn drop(&mut self) {
        // Unfinished, it would look complete to the peer.
        if !self.is_finished {
            self.reset(CloseCode::Cancelled);
        }
    }
}

struct QuicReceiveStream {
    inner: stream::ReceiveStream,
    link: Arc<Link>,
    state: ReceiveState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceiveState {
    Open,
    /// The peer finished, and everything was read.
    Finished,
    /// We told the peer to stop.
    Stopped,
    /// The peer or the connection broke it off.
    Broken(StreamError),
}

impl ReceiveStream for QuicReceiveStream {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        Poll::Ready(match self.state {
            ReceiveState::Open => match ready!(self.inner.poll_receive(cx)) {
                Ok(Some(chunk)) => Ok(Some(chunk)),
                Ok(None) => {
                    self.state = ReceiveState::Finished;
                    Ok(None)
                }
                Err(error) => {
                    let error = self.link.stream_error(error::stream_error(error));
                    self.state = ReceiveState::Broken(error);
                    Err(error)
                }
            },
            ReceiveState::Finished => Ok(None),
            ReceiveState::Stopped => Err(StreamError::Closed),
            ReceiveState::Broken(error) => Err(error),
        })
    }

    fn stop(&mut self, code: CloseCode) {
        if self.state == ReceiveState::Open {
            self.state = ReceiveState::Stopped;
            // An error means that the stream or its connection has ended already.
            let _ = self.inner.stop_sending(application_error(code));
        }
    }
}

impl Drop for QuicReceiveStream {
    fn drop(&mut self) {
        self.stop(CloseCode::Cancelled);
    }
}
