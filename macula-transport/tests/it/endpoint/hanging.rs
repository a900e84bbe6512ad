//! More long requests than a peer has streams for, none of which it answers.

use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{Endpoint, Executed, Refusal, Request, RequestError, RequestFailure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::fixture::{ECHO, Fixture, GATE, contact, echoing, eventually, gated, request, soon};

/// Longer than what shares a lane.
static LONG: [u8; 70_000] = [7; 70_000];

/// More than there are streams, by more than wait for their turn.
const HANGING: usize = 150;

const STREAMS: usize = 100;

/// How long callers wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// Frames have whole milliseconds, rounded down.
const ROUNDED: Duration = Duration::from_millis(1);

/// What becomes of long requests to a gate that stays shut, and after how long.
async fn hanging(from: &Endpoint, to: &Contact) -> Vec<(RequestError, Duration)> {
    let mut calls = JoinSet::new();
    for _ in 0..HANGING {
        let (from, to) = (from.clone(), to.clone());
        let asked = Request {
            timeout: PATIENCE,
            ..request(GATE, &LONG)
        };
        calls.spawn(async move {
            let begun = Instant::now();
            let error = from.request(&to, asked).await.unwrap_err();
            (error, begun.elapsed())
        });
    }
    calls.join_all().await
}

/// Asks little things, one after the other, for as long as it is polled.
async fn little_things(from: &Endpoint, to: &Contact) {
    loop {
        let answer = soon(from.request(to, request(ECHO, b"little"))).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"little")));
        sleep(Duration::from_millis(5)).await;
    }
}

async fn long_requests_that_hang_end_in_time_and_hold_up_no_short_one(fixture: Fixture) {
    let fixture = fixture.with_a_hundred_streams();
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let (gate, to) = (gated(&b), contact(&b));
    soon(a.connect(&(&to).into())).await.unwrap();
    let outcomes = tokio::select! {
        biased;
        outcomes = soon(hanging(&a, &to)) => outcomes,
        _ = async { tokio::join!(little_things(&a, &to), little_things(&a, &to)) } => {
            unreachable!("they go on for ever")
        }
    };
    let bound = PATIENCE + fixture.round_trip();
    let mut unsent = 0;
    for (error, took) in &outcomes {
        assert!((PATIENCE - ROUNDED..bound).contains(took), "{took:?}");
        match (&error.failure, error.executed) {
            (RequestFailure::Timeout(PATIENCE), Executed::No) => unsent += 1,
            (RequestFailure::Timeout(PATIENCE), Executed::Unknown) => {}
            // It was sent in its last millisecond, and came too late.
            (RequestFailure::Refused(Refusal::DeadlineExceeded), Executed::No) => {}
            _ => panic!("{error:?}"),
        }
    }
    // Some may have taken the streams of others that were given up before them.
    assert!(unsent > 0);
    let stats = a.stats();
    assert_eq!(stats.requests_unsent, unsent);
    assert_eq!((stats.requests_waiting, stats.unresponsive_closed), (0, 0));

    // The streams come back, and the turns of those that waited for one.
    gate.holds(0).await;
    eventually(|| b.stats().inbound_in_flight == 0).await;
    let mut calls = JoinSet::new();
    for _ in 0..HANGING {
        let (a, to) = (a.clone(), to.clone());
        calls.spawn(async move { a.request(&to, request(ECHO, &LONG)).await.is_ok() });
    }
    let answered = soon(calls.join_all()).await;
    assert_eq!(answered.iter().filter(|is_ok| **is_ok).count(), HANGING);
    assert_eq!((a.stats().dials, b.stats().connections), (1, 1));
}

async fn long_requests_that_wait_are_counted_until_they_are_given_up(fixture: Fixture) {
    let fixture = fixture.with_a_hundred_streams();
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let (gate, to) = (gated(&b), contact(&b));
    let mut calls = JoinSet::new();
    for _ in 0..HANGING {
        let (a, to) = (a.clone(), to.clone());
        calls.spawn(async move { a.request(&to, request(GATE, &LONG)).await });
    }
    let on_their_way = || a.stats().outbound_in_flight;
    eventually(|| b.stats().inbound_in_flight >= 90 && on_their_way() < HANGING).await;
    let waiting = a.stats().requests_waiting;
    assert!(waiting >= HANGING - STREAMS - MAX_ALONE, "{waiting}");
    calls.shutdown().await;
    assert_eq!(a.stats().requests_waiting, 0);
    gate.holds(0).await;
    eventually(|| (on_their_way(), b.stats().inbound_in_flight) == (0, 0)).await;
    assert_eq!(a.stats().requests_unsent, 0, "nobody's time was over");
}

/// How many long requests are sent at a time, or wait for a stream to be sent on.
const MAX_ALONE: usize = 8;

on_every_wire!(
    long_requests_that_hang_end_in_time_and_hold_up_no_short_one,
    long_requests_that_wait_are_counted_until_they_are_given_up,
);
