//! What came of a scenario, for programs and for people.

use std::time::Duration;

use serde::Serialize;

mod spread;
mod success;
mod text;

pub use spread::Spread;
pub use success::Success;

use crate::{Join, Scenario, Traffic};

/// What came of a [`Scenario`]. Equal scenarios give equal reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where all randomness came from.
    pub seed: u64,
    /// Nodes in the beginning.
    pub nodes: usize,
    /// Nodes in the end.
    pub alive: usize,
    /// Nodes killed at one instant.
    pub killed: usize,
    /// Nodes that left when their session was over.
    pub departed: usize,
    /// Virtual time that passed, in milliseconds.
    pub virtual_millis: u64,
    /// Events played.
    pub events: u64,
    /// A hash over all of them, in hexadecimal.
    pub trace_hash: String,
    /// Operations that were not over by their deadline: none, unless a machine hangs.
    pub missed_deadlines: u64,
    /// What was not played as in a real network.
    pub shortened: Vec<String>,
    /// Messages.
    pub traffic: Traffic,
    /// How the network came together.
    pub join: JoinFigures,
    /// How the first announcements went.
    pub announce: AnnounceFigures,
    /// How the later ones went that kept the records alive.
    pub refresh: AnnounceFigures,
    /// How many finds came to the right end, over all phases.
    pub success: Success,
    /// How the finds went, phase by phase.
    pub finds: Vec<FindFigures>,
    /// Who held the records, time by time.
    pub holders: Vec<HolderFigures>,
    /// How the withdrawals went.
    pub withdraw: WithdrawFigures,
}

/// How a network came together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct JoinFigures {
    /// Contacts per node.
    pub contacts: Spread,
    /// Nodes without any contact.
    pub alone: usize,
}

/// How announcements went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AnnounceFigures {
    /// Announcements begun, one record each.
    pub records: usize,
    /// Those that succeeded.
    pub announced: usize,
    /// Acknowledgements per record when its announcement returned.
    pub holders: Spread,
    /// Milliseconds until it did.
    pub millis: Spread,
}

/// How the finds of one phase went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FindFigures {
    /// When they were started, or under which name.
    pub phase: &'static str,
    /// Finds started, but for those that are void.
    pub finds: usize,
    /// Those that came to the right end: they found a provider, or that there is none.
    pub right: usize,
    /// Those that found a provider.
    pub found: usize,
    /// Those that said there is none.
    pub absent: usize,
    /// Those that could not tell.
    pub inconclusive: usize,
    /// Those that found nobody but providers that have left.
    pub outdated: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that found somebody who never announced it: none, unless signatures can be forged.
    pub invented: usize,
    /// Those that did not end by their deadline: none, unless a lookup hangs.
    pub unfinished: usize,
    /// Those that say nothing, because the last provider left meanwhile. They count nowhere else.
    pub void: usize,
    /// The share that came to the right end.
    pub success: Success,
    /// Requests per find.
    pub requests: Spread,
    /// Hops, of those that found a provider or looked for none.
    pub hops: Spread,
    /// Milliseconds per find.
    pub millis: Spread,
}

/// Who held the records at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HolderFigures {
    /// Seconds since the beginning.
    pub at_secs: u64,
    /// Records that were looked at.
    pub records: usize,
    /// Live nodes that held each, its provider aside.
    pub holders: Spread,
}

/// How withdrawals went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct WithdrawFigures {
    /// Records withdrawn.
    pub withdrawn: usize,
    /// Acknowledgements.
    pub acknowledged: usize,
    /// Milliseconds until the withdrawal returned.
    pub millis: Spread,
    /// Finds that began two seconds after that or later.
    pub finds: usize,
    /// Those that failed, could not tell, or did not end by their deadline.
    pub failed: usize,
    /// Those that still found the provider.
    pub still_found: usize,
    /// The share that did not, of those that did not fail.
    pub unseen: Success,
}

/// What a scenario leaves out of what a real network does, in words.
pub(crate) fn shortened(scenario: &Scenario) -> Vec<String> {
    let mut words = vec![
        "messages are not encoded, signatures not verified, rates not limited".to_owned(),
        "a node that is dialled knows at once whether it can reach who dials".to_owned(),
    ];
    if scenario.join == Join::Synthetic {
        words.push(
            "the first routing tables are filled at once, as full as they can be, and nobody \
             has looked itself up"
                .to_owned(),
        );
    }
    if scenario.connections.round_trips == 0 {
        words.push("handshakes take no time: all are connected to all".to_owned());
    }
    let usual = macula_dht::kad::KadConfig::default().refresh_interval;
    if scenario.kad.refresh_interval != usual {
        words.push(format!(
            "tables are refreshed every {:?} instead of {usual:?}",
            scenario.kad.refresh_interval
        ));
    }
    words
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
