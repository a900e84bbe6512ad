//! What travels with a call besides its arguments: headers and the trace it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use macula_core::Metadata;
use macula_registry::Advertisement;
use macula_rpc::{Call, CallContext, CallOptions, Codec, TraceContext, typed_with_context};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::mesh::{Counter, Mesh, Node, answers, hangs, name};

/// The contexts that handlers have seen, in order.
type Seen = Arc<Mutex<Vec<CallContext>>>;

/// Serves a name by calling another one, if there is one.
async fn serve(node: &Node, service: &str, then: Option<&str>, seen: &Seen) -> Advertisement {
    let (caller, seen) = (node.caller.clone(), seen.clone());
    let then = then.map(name);
    let handler = typed_with_context(move |context, (): ()| {
        tracing::info!("handled");
        seen.lock().unwrap().push(context);
        let (caller, then) = (caller.clone(), then.clone());
        async move {
            if let Some(then) = then {
                let body = Codec::Postcard.encode(&()).unwrap();
                let call = Call::new(then, Codec::Postcard, body);
                caller.call(call).await.unwrap();
            }
            Ok(())
        }
    });
    node.serve(service, handler).await
}

#[tokio::test(start_paused = true)]
async fn calls_within_a_handler_belong_to_its_trace() {
    let mesh = Mesh::new();
    let (one, two, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let seen = Seen::default();
    let _first = serve(&one, "app.first", Some("app.second"), &seen).await;
    let _second = serve(&two, "app.second", Some("app.third"), &seen).await;
    // The third is provided where it is called from.
    let _third = serve(&two, "app.third", None, &seen).await;
    caller.call::<()>("app.first", &()).await.unwrap();
    caller.call::<()>("app.third", &()).await.unwrap();
    let seen = seen.lock().unwrap();
    let traces: Vec<TraceContext> = seen.iter().map(|context| context.trace).collect();
    let trace_id = traces[0].trace_id();
    assert_eq!(trace_id, seen[0].call_id.as_u128(), "named after the call");
    assert!(traces[..3].iter().all(|trace| trace.trace_id() == trace_id));
    assert_ne!(
        traces[3].trace_id(),
        trace_id,
        "another call, another trace"
    );
    let mut spans: Vec<u64> = seen
        .iter()
        .flat_map(|context| [context.cause.span_id(), context.trace.span_id()])
        .collect();
    spans.sort_unstable();
    spans.dedup();
    assert_eq!(spans.len(), 8, "each call has a span on either side");
}

#[tokio::test(start_paused = true)]
async fn the_callers_trace_and_headers_reach_the_handler() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let seen = Seen::default();
    let _ad = serve(&provider, "app.f", None, &seen).await;
    let mut headers = Metadata::new();
    headers.insert("tenant", "blue").unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let options = CallOptions {
        headers: headers.clone(),
        trace: Some(trace.parse().unwrap()),
        ..CallOptions::default()
    };
    for node in [&caller, &provider] {
        node.call_with("app.f", &(), options.clone()).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    for context in seen.iter() {
        assert_eq!(context.headers, headers);
        assert_eq!(context.realm, *provider.endpoint.realm());
        assert_eq!(
            context.trace.trace_id(),
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736
        );
        assert!(context.trace.is_sampled());
    }
    assert_eq!(seen.len(), 2);
}

/// A span of this crate, as a subscriber sees it.
#[derive(Debug, Clone, Default)]
struct Span {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

impl Span {
    fn is(&self, name: &str, service: &str) -> bool {
        self.name == name && self.field("service") == service
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// The spans of this crate in the order of their beginnings, and the names of those in which
/// handlers told something.
#[derive(Clone, Default)]
struct Spans {
    begun: Arc<Mutex<Vec<Span>>>,
    told_in: Arc<Mutex<Vec<&'static str>>>,
}

/// Subscribers that hear nothing, for ever. Were the one of a test alone in the process, `tracing`
/// would ask the first thread that comes by a span whether anybody wants it, and take its answer
/// for everybody's: a test that listens to nothing, on another thread, would silence it.
static DEAF: LazyLock<[Dispatch; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| tracing_subscriber::registry().with(LevelFilter::OFF).into())
});

impl Spans {
    /// Listens on the thread of the test, where all of a mesh runs.
    fn listen() -> (Self, DefaultGuard) {
        LazyLock::force(&DEAF);
        let spans = Self::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        (spans, tracing::subscriber::set_default(subscriber))
    }

    fn begun(&self) -> Vec<Span> {
        self.begun.lock().unwrap().clone()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.target().starts_with("macula_rpc") {
            let mut span = Span {
                name: metadata.name(),
                ..Span::default()
            };
            attributes.record(&mut span);
            self.begun.lock().unwrap().push(span);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target().starts_with("it::") {
            let within = context.lookup_current().map_or("", |span| span.name());
            self.told_in.lock().unwrap().push(within);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_across_nodes_and_the_calls_within_it_are_one_trace_for_a_subscriber() {
    let (spans, _listens) = Spans::listen();
    let mesh = Mesh::new();
    let (one, two, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let seen = Seen::default();
    let _first = serve(&one, "app.first", Some("app.second"), &seen).await;
    let _second = serve(&two, "app.second", Some("app.third"), &seen).await;
    // Provided where it is called from.
    let _third = serve(&two, "app.third", None, &seen).await;
    caller.call::<()>("app.first", &()).await.unwrap();

    let begun = spans.begun();
    let expected = ["app.first", "app.second", "app.third"]
        .into_iter()
        .flat_map(|service| [("call", service), ("handle", service)]);
    assert_eq!(begun.len(), 6);
    for (span, (name, service)) in begun.iter().zip(expected) {
        assert!(span.is(name, service), "{span:?}");
    }
    let trace_ids: BTreeSet<_> = begun.iter().map(|span| span.field("trace_id")).collect();
    assert_eq!(trace_ids.len(), 1, "{trace_ids:?}");
    assert_eq!(begun[0].field("parent_id"), "", "it begins the trace");
    for pair in begun.windows(2) {
        assert_eq!(pair[1].field("parent_id"), pair[0].field("span_id"));
    }
    let span_ids: BTreeSet<_> = begun.iter().map(|span| span.field("span_id")).collect();
    assert_eq!(span_ids.len(), 6, "{span_ids:?}");
    assert_eq!(*spans.told_in.lock().unwrap(), ["handle"; 3]);
    let told = format!("{:032x}", seen.lock().unwrap()[2].trace.trace_id());
    assert_eq!(
        trace_ids.first(),
        Some(&told.as_str()),
        "what the handler is told"
    );
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_handled_in_a_span_of_its_own_below_that_of_the_call() {
    let (spans, _listens) = Spans::listen();
    let mesh = Mesh::new();
    let (one, two, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _slow = one.serve("app.f", hangs(&begun, &ended)).await;
    let _good = two.serve("app.f", answers(2)).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let options = CallOptions {
        trace: Some(trace.parse().unwrap()),
        ..CallOptions::default()
    };
    caller.call_with("app.f", &(), options).await.unwrap();

    let begun = spans.begun();
    let [call, first, second] = &begun[..] else {
        panic!("{begun:?}");
    };
    assert!(call.is("call", "app.f") && call.field("parent_id") == "00f067aa0ba902b7");
    for attempt in [first, second] {
        assert!(attempt.is("handle", "app.f"), "{attempt:?}");
        assert_eq!(attempt.field("parent_id"), call.field("span_id"));
        assert_eq!(
            attempt.field("trace_id"),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
    }
    assert_ne!(first.field("span_id"), second.field("span_id"));
}
