//! Calls, lanes and callers against a model of them.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::slots::{MAX_CALLS, PING_RESERVE, parts};
use super::*;
use crate::endpoint::frame::{Decoded, FrameDecoder};
use crate::endpoint::request::ProtocolId;
use crate::{Refusal, SendStream, StreamError};

/// What may happen, in any order.
#[derive(Debug, Clone)]
enum Operation {
    Begin,
    GiveUp(prop::sample::Index),
    /// A lane writes what it was asked to.
    Write(prop::sample::Index),
    /// The peer answers what was sent, or what nobody asked.
    Answer(prop::sample::Index),
    AnswerStray(u64),
    Poll(prop::sample::Index),
    Block(prop::sample::Index, bool),
    EndLane(prop::sample::Index),
}

fn operation() -> impl Strategy<Value = Operation> {
    let any_one = any::<prop::sample::Index>;
    prop_oneof![
        4 => Just(Operation::Begin),
        2 => any_one().prop_map(Operation::GiveUp),
        4 => any_one().prop_map(Operation::Write),
        4 => any_one().prop_map(Operation::Answer),
        1 => (0u64..1 << 34).prop_map(Operation::AnswerStray),
        3 => any_one().prop_map(Operation::Poll),
        1 => (any_one(), any::<bool>()).prop_map(|(lane, on)| Operation::Block(lane, on)),
        1 => any_one().prop_map(Operation::EndLane),
    ]
}

/// How a call stands that its caller still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Queued,
    Sent,
    Answered,
    Failed { was_sent: bool },
}

#[derive(Default)]
struct Model {
    lanes: Vec<Arc<Lane>>,
    waiting: BTreeMap<CallId, (usize, Stands)>,
    /// Sent, with nobody waiting any more.
    given_up: Vec<CallId>,
}

const FAR: Duration = Duration::from_millis(20);

const LOST: StreamError = StreamError::Closed;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn request() -> Outgoing {
    Outgoing {
        protocol: ProtocolId::RPC,
        deadline: Instant::now() + Duration::from_secs(5),
        body: Bytes::from_static(b"body"),
    }
}

fn begin(calls: &Calls, request: Outgoing) -> Option<Begun> {
    calls.try_begin(request, None, Waker::noop().clone()).ok()
}

impl Model {
    fn apply(&mut self, calls: &Calls, operation: &Operation) {
        match operation {
            Operation::Begin => self.begin(calls),
            Operation::GiveUp(which) => self.give_up(calls, which),
            Operation::Write(which) => self.write(calls, which),
            Operation::Answer(which) => self.answer(calls, which),
            Operation::AnswerStray(id) => self.answer_stray(calls, CallId(*id)),
            Operation::Poll(which) => self.poll(calls, which),
            Operation::Block(which, on) if !self.lanes.is_empty() => {
                let lane: &Arc<Lane> = which.get(&self.lanes);
                calls.lane_blocked(lane, *on);
            }
            Operation::EndLane(which) => self.end_lane(calls, which),
            Operation::Block(..) => {}
        }
    }

    fn begin(&mut self, calls: &Calls) {
        let Begun { call, new_lane, .. } = begin(calls, request()).expect("there is room");
        if let Some(lane) = new_lane {
            calls.lane_opened(&lane);
            self.lanes.push(lane);
        }
        let taken = Arc::clone(calls.state().slots.get_mut(call).unwrap().lane());
        let lane = self.lanes.iter().position(|lane| lane.is(&taken));
        let before = self.waiting.insert(call, (lane.unwrap(), Stands::Queued));
        assert_eq!(before, None, "ids are unique");
    }

    fn pick(&self, which: &prop::sample::Index) -> Option<CallId> {
        let ids: Vec<_> = self.waiting.keys().copied().collect();
        (!ids.is_empty()).then(|| *which.get(&ids))
    }

    fn give_up(&mut self, calls: &Calls, which: &prop::sample::Index) {
        let Some(call) = self.pick(which) else { return };
        let (_, stands) = self.waiting.remove(&call).unwrap();
        let has_left = matches!(
            stands,
            Stands::Sent | Stands::Answered | Stands::Failed { was_sent: true }
        );
        assert_eq!(calls.give_up(call), has_left, "{stands:?}");
        if stands == Stands::Sent {
            self.given_up.push(call);
        }
    }

    fn write(&mut self, calls: &Calls, which: &prop::sample::Index) {
        if self.lanes.is_empty() {
            return;
        }
        let lane: &Arc<Lane> = which.get(&self.lanes);
        let (mut asks, mut replies) = (Asks::new(), Vec::new());
        lane.poll_take(&mut context(), &mut asks, &mut replies);
        let mut burst = Burst::default();
        calls.write(lane, FAR, &mut burst, &mut asks);
        for (kind, call) in written(&mut burst) {
            match kind {
                Kind::Request => {
                    let (_, stands) = self.waiting.get_mut(&call).expect("only what is wanted");
                    assert_eq!(std::mem::replace(stands, Stands::Sent), Stands::Queued);
                }
                Kind::Cancel => {
                    let at = self.given_up.iter().position(|given_up| *given_up == call);
                    self.given_up.remove(at.expect("one cancel for each"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(&mut self, calls: &Calls, which: &prop::sample::Index) {
        let Some(call) = self.pick(which) else { return };
        let (_, stands) = self.waiting.get_mut(&call).unwrap();
        let is_late = *stands != Stands::Sent;
        let mut answers = vec![(call, Answer::Reply(Bytes::new()))];
        let late = calls.answered(&mut answers, &mut Vec::new());
        assert_eq!(late, u64::from(is_late), "{stands:?}");
        if !is_late {
            *stands = Stands::Answered;
        }
    }

    fn answer_stray(&mut self, calls: &Calls, call: CallId) {
        if !self.waiting.contains_key(&call) {
            let mut answers = vec![(call, Answer::Reply(Bytes::new()))];
            assert_eq!(calls.answered(&mut answers, &mut Vec::new()), 1);
        }
    }

    fn poll(&mut self, calls: &Calls, which: &prop::sample::Index) {
        let Some(call) = self.pick(which) else { return };
        let expected = match self.waiting[&call].1 {
            Stands::Queued | Stands::Sent => Poll::Pending,
            Stands::Answered => Poll::Ready(Answer::Reply(Bytes::new())),
            Stands::Failed { was_sent: true } => Poll::Ready(Answer::Lost(LOST)),
            Stands::Failed { was_sent: false } => Poll::Ready(Answer::Unsent(LOST)),
        };
        let answered = calls.poll_answer(call, &mut context());
        assert_eq!(answered.map(|it| it.answer), expected);
        if expected.is_ready() {
            self.waiting.remove(&call);
        }
    }

    fn end_lane(&mut self, calls: &Calls, which: &prop::sample::Index) {
        if self.lanes.is_empty() {
            return;
        }
        let ended = which.index(self.lanes.len());
        calls.lane_ended(&self.lanes[ended], &Answer::Lost(LOST), LOST);
        // What was given up on it is told to nobody any more.
        self.given_up
            .retain(|call| calls.state().slots.get_mut(*call).is_some());
        for (lane, stands) in self.waiting.values_mut() {
            match stands {
                Stands::Queued | Stands::Sent if *lane == ended => {
                    let was_sent = *stands == Stands::Sent;
                    *stands = Stands::Failed { was_sent };
                }
                _ => {}
            }
            // Those of an ended lane need it no more.
            *lane = match (*lane).cmp(&ended) {
                std::cmp::Ordering::Less => *lane,
                std::cmp::Ordering::Equal => usize::MAX,
                std::cmp::Ordering::Greater => *lane - 1,
            };
        }
        self.lanes.remove(ended);
    }

    fn check(&self, calls: &Calls) {
        let state = calls.state();
        state.slots.check_invariants();
        let is_awaited = |stands| matches!(stands, Stands::Queued | Stands::Sent);
        let awaited = self.waiting.values().filter(|(_, it)| is_awaited(*it));
        assert_eq!(state.answers.awaited(), awaited.count());
        assert!(state.lanes.in_flight() >= state.answers.awaited());
    }
}

/// The frames of a burst.
fn written(burst: &mut Burst) -> Vec<(Kind, CallId)> {
    struct Wire(Vec<u8>);
    impl SendStream for Wire {
        fn poll_send(
            &mut self,
            _cx: &mut Context<'_>,
            chunk: &mut Bytes,
        ) -> Poll<Result<(), StreamError>> {
            self.0.extend_from_slice(&chunk.split_off(0));
            Poll::Ready(Ok(()))
        }

        fn finish(&mut self) -> Result<(), StreamError> {
            Ok(())
        }

        fn reset(&mut self, _code: CloseCode) {}
    }
    let mut wire = Wire(Vec::new());
    assert!(burst.poll_send(&mut context(), &mut wire).is_ready());
    let mut bytes = Bytes::from(wire.0);
    let mut decoder = FrameDecoder::new(1000);
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = decoder.next(Instant::now(), &mut bytes, |_, _| true) {
        let Decoded::Frame(header, ..) = frame else {
            panic!("{frame:?}");
        };
        frames.push((header.kind, header.call));
    }
    frames
}

proptest! {
    #[test]
    fn calls_do_what_the_model_does(operations in prop::collection::vec(operation(), 0..200)) {
        let calls = Calls::new(MAX_LANES);
        let mut model = Model::default();
        for operation in &operations {
            model.apply(&calls, operation);
            model.check(&calls);
        }
        // All is let go of in the end.
        for call in std::mem::take(&mut model.waiting).into_keys() {
            calls.give_up(call);
        }
        for lane in &model.lanes {
            calls.lane_ended(lane, &Answer::Lost(LOST), LOST);
        }
        let state = calls.state();
        prop_assert_eq!((state.slots.len(), state.answers.awaited(), state.lanes.in_flight()), (0, 0, 0));
    }
}

#[test]
fn what_comes_together_shares_a_lane_and_what_comes_later_takes_another() {
    let calls = Calls::new(MAX_LANES);
    let lane_of = |call| Arc::clone(calls.state().slots.get_mut(call).unwrap().lane());
    let begin = || {
        let begun = begin(&calls, request()).unwrap();
        if let Some(lane) = begun.new_lane {
            calls.lane_opened(&lane);
        }
        lane_of(begun.call)
    };
    let (first, second) = (begin(), begin());
    assert!(first.is(&second));
    let (mut asks, mut replies) = (Asks::new(), Vec::new());
    first.poll_take(&mut context(), &mut asks, &mut replies);
    calls.write(&first, FAR, &mut Burst::default(), &mut asks);
    // The second lane is wanted now, and used once it is open.
    let third = begin();
    first.poll_take(&mut context(), &mut asks, &mut replies);
    calls.write(&first, FAR, &mut Burst::default(), &mut asks);
    let fourth = begin();
    assert!(third.is(&first) && !fourth.is(&first));
}

#[test]
fn no_lane_takes_everything_while_it_is_held_back() {
    let mut lanes = Lanes::new(MAX_LANES);
    let mut open = |_| {
        let (filled, new_lane) = lanes.choose();
        lanes.written(&filled, FAR);
        new_lane.inspect(|lane| lanes.opened(lane))
    };
    let opened: Vec<_> = (0..50).filter_map(&mut open).collect();
    assert_eq!(opened.len(), MAX_LANES);
    lanes.blocked(&opened[0], true);
    for _ in 0..1000 {
        let (chosen, _) = lanes.choose();
        assert!(!chosen.is(&opened[0]));
    }
}

#[test]
fn near_nodes_share_fewer_lanes() {
    let mut lanes = Lanes::new(MAX_LANES);
    let near = Duration::from_micros(100);
    let mut used = Vec::new();
    for _ in 0..50 {
        let (chosen, new_lane) = lanes.choose();
        new_lane.inspect(|lane| lanes.opened(lane));
        lanes.written(&chosen, near);
        if !used.iter().any(|lane: &Arc<Lane>| lane.is(&chosen)) {
            used.push(chosen);
        }
    }
    assert_eq!(used.len(), 2);
}

#[test]
fn what_was_refused_was_not_carried_out_even_if_nobody_took_the_refusal() {
    let calls = Calls::new(MAX_LANES);
    let begun = begin(&calls, request()).unwrap();
    let lane = begun.new_lane.unwrap();
    let (mut asks, mut replies) = (Asks::new(), Vec::new());
    lane.poll_take(&mut context(), &mut asks, &mut replies);
    calls.write(&lane, FAR, &mut Burst::default(), &mut asks);
    let mut answers = vec![(begun.call, Answer::Refused(Refusal::Overloaded))];
    calls.answered(&mut answers, &mut Vec::new());
    assert!(!calls.give_up(begun.call));
}

#[test]
fn at_the_limit_pings_alone_find_a_place_and_these_are_few() {
    let calls = Calls::new(MAX_LANES);
    let begun = || begin(&calls, request()).is_some();
    assert_eq!(
        (0..2 * MAX_CALLS).take_while(|_| begun()).count(),
        MAX_CALLS
    );
    let begun = || begin(&calls, Outgoing::ping(FAR)).is_some();
    let pings = (0..2 * PING_RESERVE).take_while(|_| begun()).count();
    assert_eq!(pings, PING_RESERVE);
    assert_eq!(calls.in_flight(), MAX_CALLS + PING_RESERVE);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_is_counted_and_has_the_next_that_is_free() {
    let (calls, counters) = (Calls::new(MAX_LANES), Counters::default());
    let first = begin(&calls, request()).unwrap();
    (1..MAX_CALLS).for_each(|_| assert!(begin(&calls, request()).is_some()));
    let mut waiting = std::pin::pin!(calls.begin(request(), None, &counters));
    let waits = || {
        let stats = counters.snapshot();
        (stats.requests_waiting, stats.requests_delayed)
    };
    assert!(waiting.as_mut().poll(&mut context()).is_pending());
    assert!(waiting.as_mut().poll(&mut context()).is_pending());
    assert_eq!(waits(), (1, 1));

    // Given up before it was sent, it makes room when its lane comes to it.
    calls.give_up(first.call);
    let lane = first.new_lane.unwrap();
    let (mut asks, mut replies) = (Asks::new(), Vec::new());
    lane.poll_take(&mut context(), &mut asks, &mut replies);
    calls.write(&lane, FAR, &mut Burst::default(), &mut asks);
    let Poll::Ready(Ok(begun)) = waiting.as_mut().poll(&mut context()) else {
        panic!("there is a place");
    };
    assert_eq!(parts(begun.call).0, parts(first.call).0);
    assert_eq!(waits(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_watch_wakes_whose_time_is_over_and_nobody_else() {
    let calls = Calls::new(MAX_LANES);
    let (sooner, later) = (Duration::from_millis(30), Duration::from_millis(50));
    let ask = |timeout| {
        let woken = Arc::new(Woken::default());
        let request = Outgoing {
            deadline: Instant::now() + timeout,
            ..request()
        };
        let waker = Waker::from(Arc::clone(&woken));
        assert!(calls.try_begin(request, None, waker).is_ok());
        woken
    };
    let start = Instant::now();
    let watching = async {
        let late = ask(later);
        let soon = ask(sooner);
        soon.wait().await;
        assert_eq!(start.elapsed(), sooner);
        assert!(!late.is_woken());
        late.wait().await;
        assert_eq!(start.elapsed(), later);
    };
    tokio::select! {
        () = calls.watch_deadlines() => {}
        () = watching => {}
    }
}

/// A caller that notes that it was woken.
#[derive(Default)]
struct Woken {
    is_woken: AtomicBool,
    told: Notify,
}

impl Woken {
    async fn wait(&self) {
        self.told.notified().await;
    }

    fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed)
    }
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }
}
