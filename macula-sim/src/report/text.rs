//! The report in words.

use std::fmt;

use super::{AnnounceFigures, FindFigures, HolderFigures, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            nodes, seed, alive, ..
        } = self;
        let seconds = self.virtual_millis / 1000;
        writeln!(
            f,
            "{nodes} nodes, seed {seed}, {seconds} s of virtual time; {} left, {} killed, \
             {alive} alive in the end",
            self.departed, self.killed
        )?;
        let traffic = &self.traffic;
        writeln!(
            f,
            "{} events, {} requests ({} pings), {} answers, {} lost, {} to the dead",
            self.events,
            traffic.requests,
            traffic.pings,
            traffic.responses,
            traffic.lost,
            traffic.to_the_dead
        )?;
        let join = &self.join;
        writeln!(
            f,
            "join       contacts {}, {} alone",
            join.contacts, join.alone
        )?;
        writeln!(f, "announce   {}", self.announce)?;
        if self.refresh.records > 0 {
            writeln!(f, "refresh    {}", self.refresh)?;
        }
        self.finds.iter().try_for_each(|finds| finds.fmt(f))?;
        self.holders.iter().try_for_each(|holders| holders.fmt(f))?;
        self.fmt_end(f)
    }
}

impl Report {
    fn fmt_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let withdraw = &self.withdraw;
        if withdraw.withdrawn > 0 {
            writeln!(
                f,
                "withdraw   {} records, {} acknowledgements, ms {}; {} of {} finds still see \
                 the provider, {} failed",
                withdraw.withdrawn,
                withdraw.acknowledged,
                withdraw.millis,
                withdraw.still_found,
                withdraw.finds,
                withdraw.failed
            )?;
        }
        for words in &self.shortened {
            writeln!(f, "shortened  {words}")?;
        }
        if self.missed_deadlines > 0 {
            writeln!(f, "late       {} operations", self.missed_deadlines)?;
        }
        write!(f, "trace      {}", self.trace_hash)
    }
}

impl fmt::Display for AnnounceFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} records, holders {}, ms {}",
            self.announced, self.records, self.holders, self.millis
        )
    }
}

impl fmt::Display for HolderFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, holders) = (self.at_secs, &self.holders);
        writeln!(f, "holders    {holders}, min {} after {at} s", holders.min)
    }
}

impl fmt::Display for FindFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "find       {}: {} of {} right, {}",
            self.phase, self.right, self.finds, self.success
        )?;
        let kinds = [
            ("found", self.found),
            ("absent", self.absent),
            ("inconclusive", self.inconclusive),
            ("outdated", self.outdated),
            ("failed", self.failed),
            ("invented", self.invented),
            ("unfinished", self.unfinished),
            ("void", self.void),
        ];
        let counted = kinds.iter().filter(|(_, count)| *count > 0);
        let counts: Vec<String> = counted
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(f, "           {}", counts.join(", "))?;
        writeln!(
            f,
            "           requests {}, hops {}, ms {}",
            self.requests, self.hops, self.millis
        )
    }
}
