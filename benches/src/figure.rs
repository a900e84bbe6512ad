//! A figure: what was measured, what it should be, and whether it is.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::statistics::{Estimate, Goal, Verdict};

/// A part of the system that has figures of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Area {
    /// The vocabulary: signatures and encodings.
    Core,
    /// Requests between two nodes.
    Transport,
    /// Lookups in a network of nodes.
    Dht,
    /// The discovery cache.
    Registry,
    /// Calls through everything.
    Rpc,
}

impl Area {
    /// All of them, from the bottom up.
    pub const ALL: &[Self] = &[
        Self::Core,
        Self::Transport,
        Self::Dht,
        Self::Registry,
        Self::Rpc,
    ];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Transport => "transport",
            Self::Dht => "dht",
            Self::Registry => "registry",
            Self::Rpc => "rpc",
        }
    }
}

/// In what a figure is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A ratio of two measurements of the same run.
    Ratio,
    /// A share of all trials, from none to all.
    Share,
    /// A number of things.
    Count,
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Bytes.
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Ratio => "x",
            Self::Share => "share",
            Self::Count => "count",
            Self::Nanos => "ns",
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::Bytes => "B",
        }
    }
}

/// One measured figure with its goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Where it belongs.
    pub area: Area,
    /// What it is, in words.
    pub name: &'static str,
    /// What was measured.
    pub estimate: Estimate,
    /// In what.
    pub unit: Unit,
    /// What it should be.
    pub goal: Goal,
}

impl Figure {
    /// Whether the goal is reached.
    pub fn verdict(&self) -> Verdict {
        self.goal.judge(self.estimate)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut figure = serializer.serialize_struct("Figure", 8)?;
        figure.serialize_field("area", self.area.name())?;
        figure.serialize_field("name", self.name)?;
        figure.serialize_field("value", &self.estimate.value)?;
        figure.serialize_field("low", &self.estimate.low)?;
        figure.serialize_field("high", &self.estimate.high)?;
        figure.serialize_field("unit", self.unit.name())?;
        figure.serialize_field("goal", &self.goal.to_string())?;
        figure.serialize_field("verdict", &self.verdict().to_string())?;
        figure.end()
    }
}

/// One row of the table: area, measured with its interval, goal, verdict, name.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { value, low, high } = self.estimate;
        let unit = self.unit.name();
        let measured = format!("{value:.3} ({low:.3} .. {high:.3}) {unit}");
        write!(
            f,
            "{:<10}{measured:<34}{:<10}{:<11}{}",
            self.area.name(),
            self.goal.to_string(),
            self.verdict().to_string(),
            self.name,
        )
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(f, ">= {goal}"),
            Self::AtMost(goal) => write!(f, "<= {goal}"),
            Self::None => f.write_str("-"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Undecided => "undecided",
            Self::Reported => "reported",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, Figure, Unit};
    use crate::statistics::{Estimate, Goal};

    fn figure() -> Figure {
        Figure {
            area: Area::Transport,
            name: "requests a second",
            estimate: Estimate {
                value: 3.5,
                low: 3.25,
                high: 4.0,
            },
            unit: Unit::Ratio,
            goal: Goal::AtLeast(3.0),
        }
    }

    #[test]
    fn json_has_every_field_under_its_name() {
        let expected = serde_json::json!({
            "area": "transport",
            "name": "requests a second",
            "value": 3.5,
            "low": 3.25,
            "high": 4.0,
            "unit": "x",
            "goal": ">= 3",
            "verdict": "met",
        });
        assert_eq!(serde_json::to_value(figure()).unwrap(), expected);
    }

    #[test]
    fn row_shows_measured_goal_and_verdict() {
        let row = figure().to_string();
        for part in ["transport", "3.500 (3.250 .. 4.000) x", ">= 3", "met"] {
            assert!(row.contains(part), "{row}");
        }
    }

    #[test]
    fn areas_are_called_on_the_command_line_what_json_calls_them() {
        use clap::ValueEnum;
        for area in Area::ALL {
            let value = area.to_possible_value().unwrap();
            assert_eq!(value.get_name(), area.name());
        }
        assert_eq!(Area::ALL.len(), Area::value_variants().len());
    }
}
