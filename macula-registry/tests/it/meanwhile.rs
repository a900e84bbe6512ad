//! For how long a lookup may run.

use std::time::Duration;

use macula_registry::{ResolveOptions, Source};

use crate::cache::found;
use crate::node::{Node, in_time, name, pass};
use crate::scripted::{Answer, Script, ScriptedDht};

fn slow(network: Answer) -> Script {
    Script {
        latency: Duration::from_secs(1),
        network,
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn however_patient_a_caller_nobody_else_is_bound_to_a_dht_that_hangs_for_long() {
    let dht = ScriptedDht::new(Script {
        latency: Duration::from_secs(86_400),
        ..Script::default()
    });
    let node = Node::new(9, dht.clone());
    let patient = ResolveOptions {
        timeout: Duration::MAX,
        ..ResolveOptions::default()
    };
    let registry = node.registry.clone();
    let waiting = tokio::spawn(async move {
        let resolved = registry.resolve(&name("app.echo"), &patient).await;
        resolved.map(drop)
    });
    pass(35).await;
    dht.set(slow(found(&[(1, 300)])));
    let resolved = node.resolve("app.echo").await.unwrap();
    assert_eq!(resolved.source(), Source::Dht);
    assert!(in_time(waiting).await.unwrap().is_err());
}
