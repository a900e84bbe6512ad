//! What travels with a call besides its arguments: headers and the trace it belongs to.

use std::sync::{Arc, Mutex};

use macula_core::Metadata;
use macula_registry::Advertisement;
use macula_rpc::{Call, CallContext, CallOptions, Codec, TraceContext, typed_with_context};

use crate::mesh::{Mesh, Node, name};

/// The contexts that handlers have seen, in order.
type Seen = Arc<Mutex<Vec<CallContext>>>;

/// Serves a name by calling another one, if there is one.
async fn serve(node: &Node, service: &str, then: Option<&str>, seen: &Seen) -> Advertisement {
    let (caller, seen) = (node.caller.clone(), seen.clone());
    let then = then.map(name);
    let handler = typed_with_context(move |context, (): ()| {
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
