//! From the opening of a lane's stream to its end.

use std::future::poll_fn;
use std::sync::Arc;

use super::Lane;
use super::run::{End, LaneTask};
use crate::endpoint::calls::Answer;
use crate::endpoint::inbound::Inbound;
use crate::endpoint::turns::Turn;
use crate::{CloseCode, Stream, StreamError};

/// Opens a stream and runs a lane of our own on it, until it or its connection ends.
pub(in crate::endpoint) fn opened(
    lane: Arc<Lane>,
    inbound: Arc<Inbound>,
    turn: Option<Turn>,
) -> impl Future<Output = ()> {
    // Before the first poll, to which a runtime that has ended does not come.
    let ending = Ending {
        lane: Arc::clone(&lane),
        inbound: Arc::clone(&inbound),
        is_accepted: false,
    };
    async move {
        let link = Arc::clone(&inbound.link);
        let opening = tokio::select! {
            biased;
            () = lane.given_up() => return,
            opening = link.connection.open() => opening,
        };
        match opening {
            Ok(stream) => {
                link.calls.lane_opened(&lane);
                ending
                    .run(LaneTask::opened(stream, lane, inbound, turn))
                    .await;
            }
            Err(error) => ending.broken(error.into()),
        }
    }
}

/// Runs a lane on a stream that the peer has opened.
pub(in crate::endpoint) async fn accepted(stream: Stream, inbound: Arc<Inbound>) {
    let lane = Lane::shared();
    let ending = Ending {
        lane: Arc::clone(&lane),
        inbound: Arc::clone(&inbound),
        is_accepted: true,
    };
    ending.run(LaneTask::accepted(stream, lane, inbound)).await;
}

/// Lets go of a lane however its task ends.
struct Ending {
    lane: Arc<Lane>,
    inbound: Arc<Inbound>,
    is_accepted: bool,
}

impl Ending {
    async fn run(&self, mut task: LaneTask) {
        match poll_fn(|cx| task.poll(cx)).await {
            End::Finished => {
                let _ = task.stream.send.finish();
                poll_fn(|cx| task.poll_taken(cx)).await;
            }
            End::Cancelled => task.stream.send.reset(CloseCode::Cancelled),
            End::Goaway(code) => {
                let calls = &self.inbound.link.calls;
                calls.stop(code);
                calls.settled().await;
                let _ = task.stream.send.finish();
            }
            End::Stalled => {
                self.inbound.counters.streams_stalled.add();
                self.refuse(&mut task.stream);
            }
            End::Malformed => {
                self.inbound.counters.streams_malformed.add();
                self.refuse(&mut task.stream);
            }
            End::Broken(error) => self.broken(error),
        }
    }

    fn refuse(&self, stream: &mut Stream) {
        stream.send.reset(CloseCode::Malformed);
        stream.receive.stop(CloseCode::Malformed);
        self.close(&Answer::Malformed, StreamError::Closed);
    }

    fn broken(&self, error: StreamError) {
        self.close(&Answer::Lost(error), error);
    }

    fn close(&self, answer: &Answer, error: StreamError) {
        let link = &self.inbound.link;
        self.lane.close();
        link.running.abort_lane(&self.lane);
        // None of our own calls takes a lane of the peer's.
        if !self.is_accepted {
            link.calls.lane_ended(&self.lane, answer, error);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // What is still waited for was left by a peer that ended its stream, or by our own end.
        self.close(&Answer::Malformed, StreamError::Closed);
    }
}
