//! Counting what comes of operations.

use std::time::Duration;

use macula_dht::{FindOutcome, Found};

use super::service::Verdict;
use crate::report::{Success, millis};
use crate::{AnnounceFigures, FindFigures, Spread, WithdrawFigures};

#[derive(Debug, Default)]
pub(super) struct AnnounceTally {
    begun: usize,
    holders: Vec<u64>,
    millis: Vec<u64>,
}

/// The finds of one phase.
#[derive(Debug, Default)]
pub(super) struct FindTally {
    counts: FindFigures,
    requests: Vec<u64>,
    hops: Vec<u64>,
    millis: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct WithdrawTally {
    /// How many finds follow each withdrawal.
    pub(super) looks: usize,
    acknowledged: usize,
    millis: Vec<u64>,
    /// Finds that are over.
    finds: usize,
    still_found: usize,
    failed: usize,
}

impl AnnounceTally {
    pub(super) fn begin(&mut self) {
        self.begun += 1;
    }

    pub(super) fn succeed(&mut self, holders: usize, took: Duration) {
        self.holders.push(holders as u64);
        self.millis.push(millis(took));
    }

    pub(super) fn figures(&self) -> AnnounceFigures {
        AnnounceFigures {
            records: self.begun,
            announced: self.millis.len(),
            holders: Spread::of(self.holders.clone()),
            millis: Spread::of(self.millis.clone()),
        }
    }
}

impl FindTally {
    pub(super) fn new(phase: &'static str) -> Self {
        Self {
            counts: FindFigures {
                phase,
                ..FindFigures::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn add(
        &mut self,
        is_absent: bool,
        verdict: Verdict,
        took: Duration,
        found: Option<&Found>,
    ) {
        if verdict == Verdict::Void {
            self.counts.void += 1;
            return;
        }
        self.counts.finds += 1;
        self.millis.push(millis(took));
        self.requests
            .extend(found.map(|found| found.requests as u64));
        let outcome = found.map(|found| found.outcome);
        let is_right = if is_absent {
            outcome == Some(FindOutcome::Absent)
        } else {
            verdict == Verdict::Found
        };
        self.counts.right += usize::from(is_right);
        let counter = match (verdict, outcome) {
            (Verdict::Invented, _) => &mut self.counts.invented,
            (Verdict::Found, _) => &mut self.counts.found,
            (_, Some(FindOutcome::Absent)) => &mut self.counts.absent,
            (_, Some(FindOutcome::Found)) => &mut self.counts.outdated,
            (_, Some(FindOutcome::Inconclusive)) => &mut self.counts.inconclusive,
            (_, None) => &mut self.counts.failed,
        };
        *counter += 1;
        let has_depth = verdict == Verdict::Found || is_absent;
        self.hops
            .extend(found.filter(|_| has_depth).map(|found| found.hops as u64));
    }

    pub(super) fn figures(&self, unfinished: usize) -> FindFigures {
        let finds = self.counts.finds + unfinished;
        FindFigures {
            finds,
            unfinished,
            success: Success::of(self.counts.right, finds),
            requests: Spread::of(self.requests.clone()),
            hops: Spread::of(self.hops.clone()),
            millis: Spread::of(self.millis.clone()),
            ..self.counts.clone()
        }
    }
}

impl WithdrawTally {
    pub(super) fn end(&mut self, acknowledged: usize, took: Duration) {
        self.acknowledged += acknowledged;
        self.millis.push(millis(took));
    }

    /// Counts a find of what was withdrawn; without an outcome when it failed.
    pub(super) fn look(&mut self, verdict: Verdict, outcome: Option<FindOutcome>) {
        self.finds += 1;
        // Whoever could not tell has not seen that the provider is gone.
        let could_tell = matches!(outcome, Some(FindOutcome::Found | FindOutcome::Absent));
        self.failed += usize::from(!could_tell);
        self.still_found += usize::from(verdict == Verdict::Resurrected);
    }

    pub(super) fn figures(&self, unfinished: usize) -> WithdrawFigures {
        let failed = self.failed + unfinished;
        let finds = self.finds + unfinished;
        let told = finds - failed;
        WithdrawFigures {
            withdrawn: self.millis.len(),
            acknowledged: self.acknowledged,
            millis: Spread::of(self.millis.clone()),
            finds,
            failed,
            still_found: self.still_found,
            unseen: Success::of(told - self.still_found, told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finds_that_could_tell_prove_that_a_withdrawal_is_seen() {
        let mut tally = WithdrawTally::default();
        assert_eq!(tally.figures(0).unseen, Success::default());
        for outcome in [None, Some(FindOutcome::Inconclusive)] {
            tally.look(Verdict::Void, outcome);
            tally.look(Verdict::Missed, outcome);
        }
        let figures = tally.figures(3);
        assert_eq!((figures.finds, figures.failed), (7, 7));
        assert_eq!(figures.unseen, Success::default());

        for _ in 0..3 {
            tally.look(Verdict::Missed, Some(FindOutcome::Absent));
        }
        // It found another provider, one that has left without a word.
        tally.look(Verdict::Missed, Some(FindOutcome::Found));
        tally.look(Verdict::Resurrected, Some(FindOutcome::Found));
        let figures = tally.figures(0);
        assert_eq!((figures.finds, figures.failed), (9, 4));
        assert_eq!(figures.still_found, 1);
        assert_eq!(figures.unseen, Success::of(4, 5));
    }
}
