//! One direction of a stream: chunks that are due at an instant.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::CloseCode;

/// What is under way in one direction.
// Invariant: `queued_bytes` is the sum of the chunks' lengths; due instants never decrease.
#[derive(Debug)]
pub(super) struct Pipe {
    state: Mutex<State>,
    /// Something came for the receiver.
    pub(super) readable: Notify,
    /// Room came for the sender, or the receiver gave up.
    pub(super) writable: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<(Instant, Bytes)>,
    queued_bytes: usize,
    last_due: Option<Instant>,
    end: Option<(Instant, End)>,
    stopped: Option<CloseCode>,
}

/// How the sender ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Reset(CloseCode),
}

/// What became of a chunk that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    Full(Bytes),
    Stopped(CloseCode),
    Ended,
}

/// What the receiver finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pulled {
    Chunk(Bytes),
    End(End),
    Due(Instant),
    Nothing,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            readable: Notify::new(),
            writable: Notify::new(),
        }
    }

    pub(super) fn push(&self, chunk: Bytes, due: Instant) -> Pushed {
        let mut state = self.state();
        if let Some(code) = state.stopped {
            return Pushed::Stopped(code);
        }
        if state.end.is_some() {
            return Pushed::Ended;
        }
        if state.queued_bytes >= WINDOW_BYTES {
            return Pushed::Full(chunk);
        }
        let due = state.in_order(due);
        state.queued_bytes += chunk.len();
        state.chunks.push_back((due, chunk));
        drop(state);
        self.readable.notify_one();
        Pushed::Queued
    }

    /// Ends the direction; `false` when it has ended already.
    pub(super) fn end(&self, end: End, due: Instant) -> bool {
        let mut state = self.state();
        if state.end.is_some() {
            return false;
        }
        if end != End::Finished {
            state.discard();
        }
        let due = state.in_order(due);
        state.end = Some((due, end));
        drop(state);
        self.readable.notify_one();
        true
    }

    /// Takes what is due by `now`.
    pub(super) fn pull(&self, now: Instant) -> Pulled {
        let mut state = self.state();
        let next = state.chunks.front().map(|(due, _)| *due);
        match (next, state.end) {
            (Some(due), _) | (None, Some((due, _))) if due > now => Pulled::Due(due),
            (Some(_), _) => {
                let Some((_, chunk)) = state.chunks.pop_front() else {
                    return Pulled::Nothing;
                };
                state.queued_bytes -= chunk.len();
                drop(state);
                self.writable.notify_one();
                Pulled::Chunk(chunk)
            }
            (None, Some((_, end))) => Pulled::End(end),
            (None, None) => Pulled::Nothing,
        }
    }

    /// The receiver wants nothing more.
    pub(super) fn stop(&self, code: CloseCode) {
        let mut state = self.state();
        if state.stopped.is_none() {
            state.stopped = Some(code);
            state.discard();
        }
        drop(state);
        self.writable.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn in_order(&mut self, due: Instant) -> Instant {
        let due = self.last_due.map_or(due, |last| last.max(due));
        self.last_due = Some(due);
        due
    }

    fn discard(&mut self) {
        self.chunks.clear();
        self.queued_bytes = 0;
    }
}

/// How much may be under way before the sender waits; one more chunk still fits.
pub(super) const WINDOW_BYTES: usize = 64 * 1024;

/// The longest chunk that travels in one piece.
pub(super) const MAX_CHUNK_BYTES: usize = 16 * 1024;
