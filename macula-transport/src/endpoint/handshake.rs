//! Exchanges hellos: on the first stream, which the dialler opens.

use bytes::BytesMut;

use super::hello::{Hello, MAX_HELLO_BYTES};
use super::reject::Rejection;
use crate::{
    CloseCode, Connection, ConnectionError, DialError, ReceiveStream, SendStream, Stream,
    StreamError,
};

/// Says hello on a connection that we dialled, and hears the answer.
pub(super) async fn greet(connection: &dyn Connection, own: &Hello) -> Result<Hello, DialError> {
    let mut stream = connection.open().await.map_err(connection_failure)?;
    stream
        .send
        .send(own.encode())
        .await
        .map_err(stream_failure)?;
    stream.send.finish().map_err(stream_failure)?;
    let theirs = read(&mut *stream.receive)
        .await
        .map_err(|failure| match failure {
            ReadFailure::Stream(error) => stream_failure(error),
            ReadFailure::Malformed => {
                connection.close(CloseCode::Malformed);
                DialError::Malformed
            }
        })?;
    own.check(&theirs).map_err(|code| {
        connection.close(code);
        DialError::Refused(code)
    })?;
    Ok(theirs)
}

/// A hello that came in and is not answered yet.
pub(super) struct Greeting {
    pub(super) theirs: Hello,
    answer: Box<dyn SendStream>,
}

impl Greeting {
    /// Hears the hello of whoever dialled us.
    pub(super) async fn hear(connection: &dyn Connection) -> Result<Self, Unheard> {
        let Ok(mut stream) = connection.accept().await else {
            return Err(Unheard::new(Rejection::Left));
        };
        match read(&mut *stream.receive).await {
            Ok(theirs) => Ok(Self {
                theirs,
                answer: stream.send,
            }),
            Err(failure) => Err(Unheard {
                why: failure.into(),
                _stream: Some(stream),
            }),
        }
    }

    /// Accepts it.
    pub(super) async fn answer(mut self, own: &Hello) -> Result<Hello, StreamError> {
        self.answer.send(own.encode()).await?;
        self.answer.finish()?;
        Ok(self.theirs)
    }
}

/// No hello came in.
pub(super) struct Unheard {
    pub(super) why: Rejection,
    /// Kept until the connection is closed, as its reset would say less.
    _stream: Option<Stream>,
}

impl Unheard {
    pub(super) fn new(why: Rejection) -> Self {
        Self { why, _stream: None }
    }
}

enum ReadFailure {
    Stream(StreamError),
    Malformed,
}

impl From<ReadFailure> for Rejection {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Stream(_) => Self::Left,
            ReadFailure::Malformed => Self::Malformed,
        }
    }
}

async fn read(stream: &mut dyn ReceiveStream) -> Result<Hello, ReadFailure> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.receive().await.map_err(ReadFailure::Stream)? {
        if bytes.len() + chunk.len() > MAX_HELLO_BYTES {
            return Err(ReadFailure::Malformed);
        }
        bytes.extend_from_slice(&chunk);
    }
    Hello::decode(&bytes).map_err(|_| ReadFailure::Malformed)
}

fn stream_failure(error: StreamError) -> DialError {
    match error {
        StreamError::Reset(code) => DialError::Refused(code),
        StreamError::Connection(error) => connection_failure(error),
        StreamError::Closed => DialError::Closed,
    }
}

fn connection_failure(error: ConnectionError) -> DialError {
    match error {
        ConnectionError::ClosedByPeer(code) => DialError::Refused(code),
        ConnectionError::Closed(_) => DialError::Closed,
        ConnectionError::TimedOut | ConnectionError::Lost => DialError::Unreachable,
    }
}
