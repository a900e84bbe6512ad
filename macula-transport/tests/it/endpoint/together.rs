//! Handlers on runtimes of their own, whose requests come in together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use macula_transport::{InboundRequest, ProtocolId, Refusal, RequestHandler};
use tokio::runtime::{Builder, Runtime};

use super::fixture::{ECHO, Echo, Fixture, eventually, soon};
use super::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ABORTED: u8 = 6;

const ONE: ProtocolId = ProtocolId(110);
const OTHER: ProtocolId = ProtocolId(111);

/// Notes the names of the threads that it runs on.
#[derive(Default)]
struct Threads(Mutex<BTreeSet<Option<String>>>);

#[async_trait]
impl RequestHandler for Threads {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        let here = thread::current();
        let name = here.name().map(str::to_owned);
        self.0.lock().unwrap().insert(name);
        Ok(Bytes::new())
    }
}

/// A runtime of one thread of this name.
fn runtime(name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(name).enable_time();
    builder.build().unwrap()
}

/// Requests of these protocols in one chunk, under the numbers of their places.
fn together(protocols: &[ProtocolId]) -> Bytes {
    let frames = (0..).zip(protocols);
    let frames = frames.flat_map(|(call, to)| raw::header_of(call, [1, REQUEST, to.0], 0));
    frames.collect()
}

async fn what_comes_in_together_for_several_runtimes_runs_on_each(fixture: Fixture) {
    const EACH: usize = 20;
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let handlers = [ONE, OTHER].map(|protocol| {
        let name = format!("of protocol {}", protocol.0);
        let runtime = runtime(&name);
        let threads = Arc::new(Threads::default());
        let _here = runtime.enter();
        b.register(protocol, Arc::clone(&threads) as Arc<_>)
            .unwrap();
        drop(_here);
        (name, runtime, threads)
    });
    b.register_inline(ECHO, Arc::new(Echo)).unwrap();
    let connection = raw::greeted(&*raw, &b).await;
    let asked = [ONE, OTHER, OTHER, ECHO, ONE].repeat(EACH);
    let mut stream = soon(connection.open()).await.unwrap();
    soon(stream.send.send(together(&asked))).await.unwrap();
    let answers = raw::read_exactly(&mut *stream.receive, asked.len() * HEADER_LEN).await;
    let answers = answers.chunks(HEADER_LEN);
    let replied: BTreeSet<_> = answers
        .map(|answer| (raw::call_of(answer), answer[1]))
        .collect();
    let all = (0..).zip(&asked).map(|(call, _)| (call, REPLY));
    assert!(replied.into_iter().eq(all), "each has its reply");
    for (name, runtime, threads) in handlers {
        let ran_on = std::mem::take(&mut *threads.0.lock().unwrap());
        assert_eq!(ran_on, BTreeSet::from([Some(name)]));
        runtime.shutdown_background();
    }
}

async fn handlers_whose_runtime_has_ended_fail_their_requests_and_no_others(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let [ended, running] = ["ended", "running"].map(runtime);
    for (protocol, runtime) in [(ONE, &ended), (OTHER, &running)] {
        let _here = runtime.enter();
        b.register(protocol, Arc::new(Echo)).unwrap();
    }
    b.register_inline(ECHO, Arc::new(Echo)).unwrap();
    ended.shutdown_background();
    let connection = raw::greeted(&*raw, &b).await;
    for asked in [&[ONE][..], &[ONE, OTHER, ONE, ECHO, ONE, OTHER, ONE]] {
        let mut stream = soon(connection.open()).await.unwrap();
        soon(stream.send.send(together(asked))).await.unwrap();
        let answers = raw::read_exactly(&mut *stream.receive, asked.len() * HEADER_LEN).await;
        for answer in answers.chunks(HEADER_LEN) {
            let place = usize::try_from(raw::call_of(answer)).unwrap();
            let expected = if asked[place] == ONE { ABORTED } else { REPLY };
            assert_eq!(answer[1], expected, "the answer to {place} of {asked:?}");
        }
    }
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert_eq!((b.stats().connections, b.stats().requests_handled), (1, 8));
    running.shutdown_background();
}

on_a_thread_of_its_own!(
    #[tokio::test]
    what_comes_in_together_for_several_runtimes_runs_on_each,
    #[tokio::test]
    handlers_whose_runtime_has_ended_fail_their_requests_and_no_others,
);
