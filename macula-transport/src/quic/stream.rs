//! The two halves of a QUIC stream.

use std::sync::Arc;

use async_trait::async_trait;
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

#[async_trait]
impl SendStream for QuicSendStream {
    async fn send(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        if self.state != SendState::Open {
            return Err(StreamError::Closed);
        }
        self.inner
            .send(chunk)
            .await
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

#[async_trait]
impl ReceiveStream for QuicReceiveStream {
    async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        match self.state {
            ReceiveState::Open => {}
            ReceiveState::Finished => return Ok(None),
            ReceiveState::Stopped => return Err(StreamError::Closed),
            ReceiveState::Broken(error) => return Err(error),
        }
        match self.inner.receive().await {
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
        }
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
