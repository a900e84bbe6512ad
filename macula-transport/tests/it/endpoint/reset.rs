//! Lanes that the peer breaks off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, Endpoint, EndpointConfig, Executed, RequestError, RequestFailure,
    SendStream, Stream, StreamError,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::fixture::{ECHO, Fixture, GATE, echoing, eventually, gated, request, soon};
use super::raw::{self, Frame, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// A peer by hand is silent for longer than endpoints put up with.
fn patient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_secs(3600);
}

/// What a peer by hand hears on the lanes of an endpoint.
enum Heard {
    Lane(usize, Box<dyn SendStream>),
    Asked { lane: usize, call: u64 },
}

/// Reads all lanes.
async fn listen(connection: Arc<dyn Connection>, heard: mpsc::Sender<Heard>) {
    let mut lanes = JoinSet::new();
    while let Ok(stream) = connection.accept().await {
        let (number, heard) = (lanes.len(), heard.clone());
        let lane = Heard::Lane(number, stream.send);
        let mut receive = stream.receive;
        lanes.spawn(async move {
            heard.send(lane).await.ok()?;
            let mut frames = raw::Frames::default();
            while let Some(chunk) = receive.receive().await.ok()? {
                frames.extend(&chunk);
                while let Some(Frame { head, .. }) = frames.next() {
                    let (lane, call) = (number, raw::call_of(&head));
                    heard.send(Heard::Asked { lane, call }).await.ok()?;
                }
            }
            Some(())
        });
    }
}

type Call = JoinHandle<Result<Bytes, RequestError>>;

/// A peer by hand, and the calls that it leaves unanswered.
struct Peer {
    heard: mpsc::Receiver<Heard>,
    lanes: BTreeMap<usize, Box<dyn SendStream>>,
    /// By the lane they came on, with their ids.
    asked: BTreeMap<usize, Vec<(u64, Call)>>,
}

impl Peer {
    /// Hears of the next request.
    async fn next(&mut self) -> (usize, u64) {
        loop {
            match soon(self.heard.recv()).await.unwrap() {
                Heard::Lane(number, send) => {
                    self.lanes.insert(number, send);
                }
                Heard::Asked { lane, call } => return (lane, call),
            }
        }
    }

    /// Lets an endpoint ask something, and hears it.
    async fn hear(&mut self, a: &Endpoint, to: &Contact) {
        let (a, to) = (a.clone(), to.clone());
        let asking = tokio::spawn(async move { a.request(&to, request(ECHO, b"")).await });
        let (lane, call) = self.next().await;
        self.asked.entry(lane).or_default().push((call, asking));
    }

    async fn answer(&mut self, lane: usize, call: u64) {
        let reply = raw::header_of(call, [1, REPLY, 0], 0);
        let send = self.lanes.get_mut(&lane).unwrap();
        soon(send.send(reply.into())).await.unwrap();
    }
}

async fn a_lane_that_is_reset_takes_no_call_of_another_with_it(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let (to, connection) = raw::dialled(&*raw, &a).await;
    let (telling, heard) = mpsc::channel(16);
    let listening = tokio::spawn(listen(connection, telling));
    let mut peer = Peer {
        heard,
        lanes: BTreeMap::new(),
        asked: BTreeMap::new(),
    };
    // A lane is used once it is open, which may take longer than some requests.
    for asked in 1..=1000 {
        peer.hear(&a, &to).await;
        if asked >= 12 && peer.asked.len() > 1 {
            break;
        }
    }
    assert!(peer.asked.len() > 1, "they take several lanes");

    let (broken, its_calls) = peer.asked.pop_first().unwrap();
    let mut its_lane = peer.lanes.remove(&broken).unwrap();
    its_lane.reset(CloseCode::Overloaded);
    let reset = StreamError::Reset(CloseCode::Overloaded);
    for (_, call) in its_calls {
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(error.failure, RequestFailure::Interrupted(reset));
        assert_eq!(error.executed, Executed::Unknown);
    }
    for (lane, calls) in std::mem::take(&mut peer.asked) {
        for (id, call) in calls {
            assert!(!call.is_finished(), "it was on lane {lane}");
            peer.answer(lane, id).await;
            assert_eq!(soon(call).await.unwrap(), Ok(Bytes::new()));
        }
    }
    for _ in 0..12 {
        peer.hear(&a, &to).await;
        let (lane, mut calls) = peer.asked.pop_first().unwrap();
        let (id, call) = calls.pop().unwrap();
        assert_ne!(lane, broken);
        peer.answer(lane, id).await;
        assert_eq!(soon(call).await.unwrap(), Ok(Bytes::new()));
    }
    assert_eq!((a.stats().dials, a.stats().ended), (1, 0));
    listening.abort();
}

async fn a_lane_that_its_caller_resets_aborts_no_handler_of_another(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let gate = gated(&b);
    let connection = raw::greeted(&*raw, &b).await;
    let mut lanes = Vec::new();
    for lane in 0..4 {
        let mut stream = soon(connection.open()).await.unwrap();
        let asks = (0..5).flat_map(|call| raw::header_of(lane * 5 + call, [1, REQUEST, GATE.0], 0));
        soon(stream.send.send(asks.collect())).await.unwrap();
        lanes.push(stream);
    }
    gate.holds(20).await;
    lanes[0].send.reset(CloseCode::Cancelled);
    gate.holds(15).await;
    let ask = raw::header_of(100, [1, REQUEST, ECHO.0], 0);
    soon(lanes[1].send.send(ask.into())).await.unwrap();
    let answer = raw::read_exactly(&mut *lanes[1].receive, HEADER_LEN).await;
    assert_eq!((raw::call_of(&answer), answer[1]), (100, REPLY));
    gate.let_through(15);
    for stream in &mut lanes[1..] {
        let answers = raw::read_exactly(&mut *stream.receive, 5 * HEADER_LEN).await;
        assert!(answers.chunks(HEADER_LEN).all(|answer| answer[1] == REPLY));
    }
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert_eq!(b.stats().requests_cancelled, 5);
    assert_eq!(b.stats().connections, 1);
}

/// Answers whatever comes on further lanes.
async fn answer_all(connection: Arc<dyn Connection>) {
    let mut lanes = JoinSet::new();
    while let Ok(Stream {
        mut send,
        mut receive,
    }) = connection.accept().await
    {
        lanes.spawn(async move {
            let mut frames = raw::Frames::default();
            while let Some(chunk) = receive.receive().await.ok()? {
                frames.extend(&chunk);
                while let Some(Frame { head, .. }) = frames.next() {
                    let reply = raw::header_of(raw::call_of(&head), [1, REPLY, 0], 0);
                    send.send(reply.into()).await.ok()?;
                }
            }
            Some(())
        });
    }
}

async fn what_a_broken_lane_had_not_sent_goes_by_another(fixture: Fixture) {
    // Far more than all lanes together take that nobody reads.
    const BODY: &[u8] = &[0; 60_000];
    const REQUESTS: usize = 300;
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let (to, connection) = raw::dialled(&*raw, &a).await;
    let mut asked = JoinSet::new();
    for _ in 0..REQUESTS {
        let (a, to) = (a.clone(), to.clone());
        asked.spawn(async move { a.request(&to, request(ECHO, BODY)).await });
    }
    let mut broken = soon(connection.accept()).await.unwrap();
    raw::read_some(&mut *broken.receive).await;
    broken.receive.stop(CloseCode::Overloaded);
    let answering = tokio::spawn(answer_all(connection));

    let mut lost = 0;
    while let Some(outcome) = soon(asked.join_next()).await {
        if let Err(error) = outcome.unwrap() {
            assert_eq!(error.executed, Executed::Unknown, "{error}");
            lost += 1;
        }
    }
    assert!((1..REQUESTS).contains(&lost), "{lost}");
    assert_eq!((a.stats().dials, a.stats().ended), (1, 0));
    answering.abort();
}

on_every_wire!(
    a_lane_that_is_reset_takes_no_call_of_another_with_it,
    a_lane_that_its_caller_resets_aborts_no_handler_of_another,
    what_a_broken_lane_had_not_sent_goes_by_another,
);
