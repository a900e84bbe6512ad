//! The two halves of a QUIC stream.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use s2n_quic::stream;

use super::error::{self, application_error};
use super::link::Link;
use crate::{CloseCode, ReceiveStream, SendStream, Stream, StreamError};

pub(super) fn split(stream: stream::BidirectionalStream, link: &Arc<Link>) -> Stream {
    let (receive, send) = stream.split();
    Stream {
        send: Box::new(QuicSendStream {
            inner: send,
            link: Arc::clone(link),
            state: SendState::Open,
        }),
        receive: Box::new(QuicReceiveStream {
            inner: receive,
            link: Arc::clone(link),
            state: ReceiveState::Open,
        }),
    }
}

struct QuicSendStream {
    inner: stream::SendStream,
    link: Arc<Link>,
    state: SendState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendState {
    /// Dropped now, it would look complete to the peer unless it is reset.
    Open,
    Finished,
    Reset,
}

impl SendStream for QuicSendStream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamError>> {
        if self.state != SendState::Open {
            return Poll::Ready(Err(StreamError::Closed));
        }
        self.inner
            .poll_send(chunk, cx)
            .map_err(|error| self.link.stream_error(error::stream_error(error)))
    }

    fn finish(&mut self) -> Result<(), StreamError> {
        match self.state {
            SendState::Reset => Err(StreamError::Closed),
            SendState::Finished => Ok(()),
            SendState::Open => {
                self.inner
                    .finish()
                    .map_err(|error| self.link.stream_error(error::stream_error(error)))?;
                self.state = SendState::Finished;
                Ok(())
            }
        }
    }

    fn reset(&mut self, code: CloseCode) {
        if self.state != SendState::Reset {
            self.state = SendState::Reset;
            // An error means that the stream or its connection has ended already.
            let _ = self.inner.reset(application_error(code));
        }
    }
}

impl Drop for QuicSendStream {
    fn drop(&mut self) {
        if self.state == SendState::Open {
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
