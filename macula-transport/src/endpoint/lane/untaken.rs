//! Answers that are written and that the peer does not take.
//!
//! A transport holds what it has accepted until the peer acknowledges it, for each stream up to some
//! limit of its own. A peer that opens many streams and reads none of them could have all memory of
//! this node held in that way, so the answers to one peer have a limit together.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::SendStream;
use crate::endpoint::quota::Share;

/// What one stream takes of that limit.
// A little is free, so that streams with short answers need not look at how much is taken.
pub(super) struct Untaken {
    share: Share,
    /// No more is untaken.
    at_most: usize,
    is_waiting: bool,
    /// When to look again, while it waits or holds a share.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Untaken {
    /// None yet.
    pub(super) fn new(share: Share) -> Self {
        Self {
            share,
            at_most: 0,
            is_waiting: false,
            timer: None,
        }
    }

    /// Whether so much more may be written now. If not, this looks again in a while.
    pub(super) fn has_room(
        &mut self,
        cx: &mut Context<'_>,
        len_bytes: usize,
        stream: &mut dyn SendStream,
    ) -> bool {
        if self.at_most + len_bytes > FREE_BYTES && self.share.held() < MAX_STREAM_BYTES {
            self.at_most = stream.unacknowledged(cx);
        }
        let wanted = self.at_most + len_bytes;
        self.is_waiting = match wanted <= FREE_BYTES {
            true => false,
            false => !self.share.grow_to(wanted.min(MAX_STREAM_BYTES)),
        };
        if self.is_waiting || self.share.held() > 0 {
            self.look_later(cx);
        }
        !self.is_waiting
    }

    /// So much was written.
    pub(super) fn wrote(&mut self, len_bytes: usize) {
        self.at_most = self.at_most.saturating_add(len_bytes);
    }

    /// Whether something waits for the peer to take more.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Gives back what has been taken since. Ready when what waits should be tried again.
    pub(super) fn poll_look(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn SendStream,
    ) -> Poll<()> {
        let is_due = |timer: &mut Pin<Box<Sleep>>| timer.as_mut().poll(cx).is_ready();
        if !self.timer.as_mut().is_some_and(is_due) {
            return Poll::Pending;
        }
        self.at_most = stream.unacknowledged(cx);
        match self.at_most <= FREE_BYTES {
            true => self.share.shrink_to(0),
            false => self.share.shrink_to(self.at_most),
        }
        self.timer = None;
        if self.is_waiting {
            return Poll::Ready(());
        }
        if self.share.held() > 0 {
            self.look_later(cx);
        }
        Poll::Pending
    }

    /// Ready once the peer has all that is to be waited for.
    pub(super) fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn SendStream,
    ) -> Poll<()> {
        if self.share.held() == 0 || stream.unacknowledged(cx) == 0 {
            self.share.shrink_to(0);
            return Poll::Ready(());
        }
        self.is_waiting = false;
        self.poll_look(cx, stream)
    }

    fn look_later(&mut self, cx: &mut Context<'_>) {
        let at = || Box::pin(sleep_until(Instant::now() + LOOK_AGAIN));
        let timer = self.timer.get_or_insert_with(at);
        // So that it wakes us.
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

/// So much of each stream counts for nothing.
const FREE_BYTES: usize = 16 * 1024;

/// More than a transport takes of a stream that the peer does not read.
const MAX_STREAM_BYTES: usize = 1024 * 1024;

/// How soon it is noticed that the peer has taken something.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Waker;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;
    use crate::endpoint::quota::Quota;
    use crate::{CloseCode, StreamError};

    /// A stream of which the peer has taken all but so much.
    struct Held(usize);

    impl SendStream for Held {
        fn poll_send(
            &mut self,
            _cx: &mut Context<'_>,
            _chunk: &mut Bytes,
        ) -> Poll<Result<(), StreamError>> {
            Poll::Pending
        }

        fn unacknowledged(&mut self, _cx: &mut Context<'_>) -> usize {
            self.0
        }

        fn finish(&mut self) -> Result<(), StreamError> {
            Ok(())
        }

        fn reset(&mut self, _code: CloseCode) {}
    }

    const ROOM: usize = 3 * FREE_BYTES;

    fn write(untaken: &mut Untaken, len_bytes: usize, stream: &mut Held) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let has_room = untaken.has_room(&mut cx, len_bytes, stream);
        if has_room {
            untaken.wrote(len_bytes);
            stream.0 += len_bytes;
        }
        has_room
    }

    async fn look(untaken: &mut Untaken, stream: &mut Held) -> bool {
        let look = poll_fn(|cx| untaken.poll_look(cx, stream));
        timeout(2 * LOOK_AGAIN, look).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_little_is_untaken_counts_for_nothing() {
        let room = Quota::new(0);
        let (mut untaken, mut stream) = (Untaken::new(room.share()), Held(0));
        for _ in 0..100 {
            assert!(write(&mut untaken, FREE_BYTES / 2, &mut stream));
            stream.0 = 0;
        }
        assert_eq!(room.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_has_no_more_written_than_there_is_room_for() {
        let room = Quota::new(ROOM);
        let (mut untaken, mut stream) = (Untaken::new(room.share()), Held(0));
        let writes = (0..100).take_while(|_| write(&mut untaken, FREE_BYTES, &mut stream));
        assert_eq!(writes.count(), ROOM / FREE_BYTES);
        assert!(untaken.is_waiting() && look(&mut untaken, &mut stream).await);
        assert!(!write(&mut untaken, FREE_BYTES, &mut stream), "as before");

        stream.0 = FREE_BYTES;
        assert!(look(&mut untaken, &mut stream).await);
        assert_eq!(room.used(), 0);
        assert!(write(&mut untaken, FREE_BYTES, &mut stream));
        assert!(!untaken.is_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_while_nothing_is_written_is_given_back() {
        let room = Quota::new(ROOM);
        let (mut untaken, mut stream) = (Untaken::new(room.share()), Held(0));
        assert!(write(&mut untaken, ROOM, &mut stream));
        assert_eq!(room.used(), ROOM);
        stream.0 = ROOM / 2;
        assert!(!look(&mut untaken, &mut stream).await, "nothing waits");
        assert_eq!(room.used(), ROOM / 2);
        stream.0 = 0;
        poll_fn(|cx| untaken.poll_taken(cx, &mut stream)).await;
        assert_eq!(room.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_stream_never_counts_for_more_than_a_transport_takes_of_it() {
        let room = Arc::clone(&Quota::new(usize::MAX));
        let (mut untaken, mut stream) = (Untaken::new(room.share()), Held(0));
        assert!(write(&mut untaken, 100 * MAX_STREAM_BYTES, &mut stream));
        assert!(write(&mut untaken, 1, &mut stream));
        assert_eq!(room.used(), MAX_STREAM_BYTES);
    }
}
