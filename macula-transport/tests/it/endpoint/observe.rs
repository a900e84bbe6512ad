//! What an operator sees.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use macula_transport::{Executor, Traffic};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::fixture::{ECHO, Fixture, contact, echoing, eventually, request, soon};

async fn every_connection_is_listed_with_its_direction(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    soon(a.request(&contact(&b), request(ECHO, b"x")))
        .await
        .unwrap();
    let (at_a, at_b) = (a.connections(), b.connections());
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
    assert_eq!((at_a[0].node_id, at_a[0].outbound), (b.node_id(), true));
    assert_eq!((at_b[0].node_id, at_b[0].outbound), (a.node_id(), false));
    assert_eq!(at_a[0].address, b.addresses()[0]);
    let (a, b) = (a.stats(), b.stats());
    assert_eq!((a.connections_outbound, a.connections_inbound), (1, 0));
    assert_eq!((b.connections_outbound, b.connections_inbound), (0, 1));
}

on_every_wire!(every_connection_is_listed_with_its_direction);

#[cfg(feature = "quic")]
#[tokio::test]
async fn over_quic_bytes_are_counted_and_stay_counted() {
    let fixture = Fixture::quic(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let body = &[7; 100_000];
    soon(a.request(&contact(&b), request(ECHO, body)))
        .await
        .unwrap();
    let traffic = a.connections()[0].traffic.unwrap();
    assert!(traffic.bytes_sent > 100_000 && traffic.bytes_sent < 1_000_000);
    assert!(traffic.bytes_received > 100_000 && traffic.bytes_received < 1_000_000);
    soon(b.shutdown()).await;
    eventually(|| a.stats().connections == 0).await;
    let past = a.stats().traffic.unwrap();
    assert!(past.bytes_sent >= traffic.bytes_sent && past.bytes_received >= traffic.bytes_received);
    assert_eq!(a.stats().ended, 1);
    assert!(b.stats().traffic.unwrap().bytes_received > 100_000);
}

#[tokio::test(start_paused = true)]
async fn what_a_transport_does_not_count_is_not_reported_as_nothing() {
    let fixture = Fixture::memory(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    a.request(&contact(&b), request(ECHO, b"x")).await.unwrap();
    let none: Option<Traffic> = None;
    assert_eq!(
        (a.connections()[0].traffic, a.stats().traffic),
        (none, none)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_be_followed_by_its_number() {
    let (log, _listens) = Log::listen();
    let fixture = Fixture::memory(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    a.request(&contact(&b), request(ECHO, b"x")).await.unwrap();
    let number = a.connections()[0].number.to_string();
    a.shutdown().await;
    eventually(|| b.stats().connections == 0).await;
    let dial = log.first("dial.begun", &[])["dial"].clone();
    let dialled = log.first("dial.succeeded", &[("dial", &dial)]);
    assert_eq!(dialled["connection"], number);
    let opened = log.first("connection.opened", &[("outbound", "true")]);
    assert_eq!(opened["connection"], number);
    let closed = log.first("connection.closed", &[("reason", "shutdown")]);
    assert_eq!(closed["connection"], number);
    let ended = log.first("connection.ended", &[]);
    assert_eq!(ended["peer"], a.node_id().short().to_string());
    assert_eq!(ended["error"], "closed by peer: shutting down");
}

/// Keeps the endpoint's events.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(&'static str, Fields)>>>);

type Fields = BTreeMap<&'static str, String>;

/// Subscribers that hear nothing, for ever. Were the one of a test alone in the process, `tracing`
/// would ask the first thread that comes by an event whether anybody wants it, and take its answer
/// for everybody's: a test that listens to nothing, on another thread, would silence it.
static DEAF: LazyLock<[Dispatch; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| tracing_subscriber::registry().with(LevelFilter::OFF).into())
});

impl Log {
    /// Listens on the thread of the test.
    fn listen() -> (Self, DefaultGuard) {
        LazyLock::force(&DEAF);
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The first event of a name with some values.
    fn first(&self, name: &str, values: &[(&'static str, &str)]) -> Fields {
        let log = self.0.lock().unwrap();
        let has = |fields: &Fields| values.iter().all(|(key, value)| fields[key] == *value);
        let found = log.iter().find(|(n, fields)| *n == name && has(fields));
        found
            .unwrap_or_else(|| panic!("no {name} in {log:?}"))
            .1
            .clone()
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() == "macula_transport::endpoint" {
            let mut values = Values::default();
            event.record(&mut values);
            self.0.lock().unwrap().push((metadata.name(), values.0));
        }
    }
}

#[derive(Default)]
struct Values(Fields);

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
