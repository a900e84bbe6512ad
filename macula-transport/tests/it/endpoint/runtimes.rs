//! Runtimes of nodes, whose tasks are counted.

use std::time::Duration;

use macula_transport::NodeRuntime;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::fixture::{Fixture, eventually, settled};

/// Runtimes for nodes, and how many tasks there were before these.
pub(super) struct Runtimes {
    pub(super) of_nodes: Vec<NodeRuntime>,
    at_start: Vec<usize>,
    here: usize,
}

impl Runtimes {
    pub(super) async fn of(fixture: &Fixture, seeds: &[u8]) -> Self {
        let here = tasks(&Handle::current());
        let mut of_nodes = Vec::new();
        for seed in seeds {
            let runtime = fixture.runtime(*seed).await;
            // Tasks of the runtime's own are there once it has run anything.
            runtime.spawn(async {}).await.unwrap();
            of_nodes.push(runtime);
        }
        settled(|| counts(&of_nodes)).await;
        Self {
            at_start: counts(&of_nodes),
            of_nodes,
            here,
        }
    }

    /// Waits until no task is left of the nodes.
    pub(super) async fn are_as_before(&self) {
        let are_gone = || counts(&self.of_nodes) == self.at_start;
        let left = timeout(Duration::from_secs(20), eventually(are_gone)).await;
        let (now, at_start) = (counts(&self.of_nodes), &self.at_start);
        assert!(
            left.is_ok(),
            "{now:?} tasks are left, {at_start:?} at the start"
        );
    }

    /// The same, and none where the test runs.
    pub(super) async fn leave_nothing(self) {
        self.are_as_before().await;
        let here = Handle::current();
        eventually(|| tasks(&here) == self.here).await;
    }
}

fn counts(runtimes: &[NodeRuntime]) -> Vec<usize> {
    let handles = runtimes.iter().map(NodeRuntime::handle);
    handles.map(tasks).collect()
}

fn tasks(runtime: &Handle) -> usize {
    runtime.metrics().num_alive_tasks()
}
