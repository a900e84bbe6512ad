//! What an endpoint tells of itself, kept to be looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::fixture::eventually;

/// Keeps the endpoint's events, and the spans that it opens.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<(&'static str, Fields)>>>);

pub(super) type Fields = BTreeMap<&'static str, String>;

/// Subscribers that hear nothing, for ever. Were the one of a test alone in the process, `tracing`
/// would ask the first thread that comes by an event whether anybody wants it, and take its answer
/// for everybody's: a test that listens to nothing, on another thread, would silence it.
static DEAF: LazyLock<[Dispatch; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| tracing_subscriber::registry().with(LevelFilter::OFF).into())
});

impl Log {
    /// Listens on the thread of the test.
    pub(super) fn listen() -> (Self, DefaultGuard) {
        LazyLock::force(&DEAF);
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The first event of a name with some values.
    pub(super) fn first(&self, name: &str, values: &[(&'static str, &str)]) -> Fields {
        let log = self.0.lock().unwrap();
        let has = |fields: &Fields| {
            values
                .iter()
                .all(|(key, value)| fields.get(key).is_some_and(|it| it == value))
        };
        let found = log.iter().find(|(n, fields)| *n == name && has(fields));
        found
            .unwrap_or_else(|| panic!("no {name} in {log:?}"))
            .1
            .clone()
    }

    /// Waits for such an event, and for it to have those fields and no others.
    pub(super) async fn told(&self, name: &str, value: (&'static str, &str), fields: &[&str]) {
        let has = |told: &Fields| told.get(value.0).is_some_and(|it| it == value.1);
        let is_told = || {
            let log = self.0.lock().unwrap();
            log.iter().any(|(n, told)| *n == name && has(told))
        };
        eventually(is_told).await;
        let mut told = self.first(name, &[value]);
        told.remove("message");
        let mut expected = fields.to_vec();
        expected.sort_unstable();
        assert_eq!(told.into_keys().collect::<Vec<_>>(), expected, "{name}");
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

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = span.metadata();
        if metadata.target() == "macula_transport::endpoint" {
            let mut values = Values::default();
            span.record(&mut values);
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
