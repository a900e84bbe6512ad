//! Frames on their way out, joined into as few chunks as is worth it.

use std::collections::VecDeque;
use std::mem;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::Header;
use crate::{SendStream, StreamError};

/// Frames that go out together.
#[derive(Debug, Default)]
pub(in crate::endpoint) struct Burst {
    /// Small frames one after the other.
    joined: BytesMut,
    /// What goes before `joined`.
    chunks: VecDeque<Bytes>,
    len_bytes: usize,
    /// Frames that were appended and not counted yet.
    frames: u64,
}

impl Burst {
    /// Appends a frame.
    pub(in crate::endpoint) fn push(&mut self, header: &Header, body: &Bytes) {
        self.frames += 1;
        self.len_bytes += Header::LEN_BYTES + body.len();
        self.joined.extend_from_slice(&header.encode());
        if body.len() <= MAX_JOINED_BYTES {
            self.joined.extend_from_slice(body);
            return;
        }
        self.close_joined();
        let mut rest = body.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MAX_CHUNK_BYTES));
            self.chunks.push_back(piece);
        }
    }

    /// How many frames were appended since it was last asked.
    pub(in crate::endpoint) fn take_frames(&mut self) -> u64 {
        mem::take(&mut self.frames)
    }

    /// How many bytes wait.
    pub(in crate::endpoint) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Sends everything, in turns of `MAX_TURN_BYTES`.
    pub(in crate::endpoint) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn SendStream,
    ) -> Poll<Result<(), StreamError>> {
        self.close_joined();
        let rest = self.len_bytes.saturating_sub(MAX_TURN_BYTES);
        while let Some(chunk) = self.chunks.front_mut() {
            if self.len_bytes <= rest && rest > 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = chunk.len();
            let sent = stream.poll_send(cx, chunk);
            self.len_bytes -= before - chunk.len();
            ready!(sent)?;
            self.chunks.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            self.chunks.push_back(self.joined.split().freeze());
        }
    }
}

/// What goes out in one turn, even to a peer that takes it as fast as it comes: others shall have
/// theirs, and the call may have been given up since.
const MAX_TURN_BYTES: usize = 1024 * 1024;

/// Bodies up to this are copied behind their header: one chunk instead of two.
const MAX_JOINED_BYTES: usize = 8 * 1024;

/// Longer ones go out in pieces of this size, so that flow control holds back all but a few.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::{CallId, Kind};
    use super::*;

    /// Takes a few bytes at a time and then wants to be asked again.
    struct Narrow(Vec<u8>);

    impl SendStream for Narrow {
        fn poll_send(
            &mut self,
            _cx: &mut Context<'_>,
            chunk: &mut Bytes,
        ) -> Poll<Result<(), StreamError>> {
            let taken = chunk.split_to(chunk.len().min(1000));
            self.0.extend_from_slice(&taken);
            match chunk.is_empty() {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        }

        fn finish(&mut self) -> Result<(), StreamError> {
            Ok(())
        }

        fn reset(&mut self, _code: crate::CloseCode) {}
    }

    /// Takes all at once.
    struct Wide(usize);

    impl SendStream for Wide {
        fn poll_send(
            &mut self,
            _cx: &mut Context<'_>,
            chunk: &mut Bytes,
        ) -> Poll<Result<(), StreamError>> {
            self.0 += chunk.split_to(chunk.len()).len();
            Poll::Ready(Ok(()))
        }

        fn finish(&mut self) -> Result<(), StreamError> {
            Ok(())
        }

        fn reset(&mut self, _code: crate::CloseCode) {}
    }

    #[test]
    fn a_peer_that_takes_all_at_once_has_one_turn_at_a_time() {
        let body = Bytes::from(vec![0; MAX_TURN_BYTES * 3]);
        let header = Header::new(Kind::Reply, CallId(1), u32::try_from(body.len()).unwrap());
        let (mut burst, mut stream, mut turns) = (Burst::default(), Wide(0), 0);
        burst.push(&header, &body);
        let all = burst.len_bytes();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let before = stream.0;
            let sent = burst.poll_send(&mut cx, &mut stream);
            turns += 1;
            assert!(stream.0 - before <= MAX_TURN_BYTES + MAX_CHUNK_BYTES);
            if sent.is_ready() {
                break;
            }
        }
        assert_eq!((stream.0, turns), (all, 3));
    }

    #[test]
    fn small_and_large_bodies_go_out_in_order() {
        let bodies = [10, MAX_JOINED_BYTES + 1, 20, MAX_CHUNK_BYTES * 2 + 5];
        let (mut burst, mut expected) = (Burst::default(), Vec::new());
        for (call, len) in (0..).zip(bodies) {
            let body = Bytes::from(vec![call as u8; len]);
            let header = Header::new(Kind::Reply, CallId(call), u32::try_from(len).unwrap());
            burst.push(&header, &body);
            expected.extend(header.encode());
            expected.extend(body);
        }
        assert_eq!(burst.len_bytes(), expected.len());
        let mut stream = Narrow(Vec::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while burst.poll_send(&mut cx, &mut stream).is_pending() {}
        assert_eq!((burst.len_bytes(), stream.0), (0, expected));
    }

    #[test]
    fn small_frames_are_one_chunk() {
        let mut burst = Burst::default();
        for call in 0..30 {
            let header = Header::new(Kind::Reply, CallId(call), 2);
            burst.push(&header, &Bytes::from_static(b"hi"));
        }
        burst.close_joined();
        assert_eq!(burst.chunks.len(), 1);
    }
}
