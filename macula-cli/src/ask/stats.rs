//! What a node has counted, in words.

use std::time::Duration;

use macula_client::rpc::{CalledStats, Latency, PerService, ServedStats};
use macula_client::system::NodeStats;

use super::NOTHING;
use crate::output::Took;

/// What is shown to people; programs get all of it.
pub(super) fn in_words(stats: &NodeStats) -> String {
    let endpoint = &stats.endpoint;
    let mut lines = vec![
        format!(
            "connections  {}, dials {}, of them failed {}",
            endpoint.connections, endpoint.dials, endpoint.dial_failures
        ),
        format!(
            "requests     sent {}, handled {}, refused as overload {}",
            endpoint.requests_sent, endpoint.requests_handled, endpoint.requests_overloaded
        ),
    ];
    if let Some(transport) = &endpoint.transport {
        lines.push(format!(
            "transport    connections {}, closed as too many {}, handshakes refused {}, retried {}",
            transport.connections,
            transport.overflowed,
            transport.handshakes_refused,
            transport.handshakes_retried
        ));
    }
    lines.extend(table("calls made", &rows(&stats.called)));
    lines.extend(table("calls answered", &rows(&stats.served)));
    lines.join("\n")
}

/// What is shown of a service.
struct Row<'a> {
    name: &'a str,
    calls: u64,
    running: u64,
    retries: Option<u64>,
    failed: u64,
    took: &'a Latency,
}

trait Shown {
    fn row<'a>(&'a self, name: &'a str) -> Row<'a>;
}

impl Shown for CalledStats {
    fn row<'a>(&'a self, name: &'a str) -> Row<'a> {
        Row {
            name,
            calls: self.calls,
            running: self.running,
            retries: Some(self.retries),
            failed: self.failures.values().sum(),
            took: &self.latency,
        }
    }
}

impl Shown for ServedStats {
    fn row<'a>(&'a self, name: &'a str) -> Row<'a> {
        Row {
            name,
            calls: self.calls,
            running: self.running,
            retries: None,
            failed: self.failures.values().sum(),
            took: &self.duration,
        }
    }
}

/// Services by their names, then all others together if any was called.
fn rows<S: Shown>(all: &PerService<S>) -> Vec<Row<'_>> {
    let services = all.services.iter();
    let mut rows: Vec<_> = services
        .map(|(name, stats)| stats.row(name.as_str()))
        .collect();
    let other = all.other.row("(others)");
    if other.calls > 0 {
        rows.push(other);
    }
    rows
}

fn table(heading: &str, rows: &[Row<'_>]) -> Vec<String> {
    let names = rows.iter().map(|row| row.name.len());
    let width = names.chain([heading.len()]).max().unwrap_or_default();
    let mut lines = vec![
        String::new(),
        format!(
            "{heading:<width$}  {:>9}  {:>7}  {:>7}  {:>7}  {:>8}  {:>8}",
            "calls", "running", "retries", "failed", "p50", "p99"
        ),
    ];
    lines.extend(rows.iter().map(|row| row.line(width)));
    lines
}

impl Row<'_> {
    fn line(&self, width: usize) -> String {
        let Self {
            name,
            calls,
            running,
            failed,
            took,
            ..
        } = self;
        let retries = self.retries.map(|retries| retries.to_string());
        let retries = retries.unwrap_or_else(|| NOTHING.to_owned());
        let (p50, p99) = match took.count {
            0 => (NOTHING.to_owned(), NOTHING.to_owned()),
            _ => (shown(took.p50_nanos), shown(took.p99_nanos)),
        };
        format!(
            "{name:<width$}  {calls:>9}  {running:>7}  {retries:>7}  {failed:>7}  {p50:>8}  {p99:>8}"
        )
    }
}

fn shown(nanos: u64) -> String {
    Took(Duration::from_nanos(nanos)).to_string()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn words_of<T: Default + DeserializeOwned + Shown>(all: serde_json::Value) -> Vec<Vec<String>> {
        let all: PerService<T> = serde_json::from_value(all).unwrap();
        let lines = table("calls", &rows(&all)).into_iter();
        lines
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect()
    }

    fn took(count: u64) -> serde_json::Value {
        json!({
            "count": count, "sum_nanos": 9_000, "max_nanos": 4_000,
            "p50_nanos": 3_000, "p90_nanos": 4_000, "p99_nanos": 4_000, "buckets": [],
        })
    }

    #[test]
    fn every_service_that_was_called_has_its_row() {
        let called = |calls| {
            json!({
                "calls": calls, "running": 0, "local": 0, "attempts": 4, "retries": 1,
                "failures": {"timeout": 1}, "attempt_failures": {}, "latency": took(3),
            })
        };
        let rows = words_of::<CalledStats>(json!({
            "services": {"app.f": called(4)}, "other": called(0),
        }));
        let row = ["app.f", "4", "0", "1", "1", "3", "µs", "4", "µs"];
        assert_eq!((rows.len(), &rows[2][..]), (3, &row.map(str::to_owned)[..]));
    }

    #[test]
    fn what_never_happened_took_no_time_that_could_be_told() {
        let served = json!({"calls": 2, "running": 2, "failures": {}, "duration": took(0)});
        let rows = words_of::<ServedStats>(json!({"services": {}, "other": served}));
        let row = ["(others)", "2", "2", "-", "0", "-", "-"];
        assert_eq!((rows.len(), &rows[2][..]), (3, &row.map(str::to_owned)[..]));
    }
}
