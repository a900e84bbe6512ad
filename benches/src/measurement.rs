//! A figure that can be measured.

use crate::figure::{Area, Figure, Unit};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// How a figure is measured, and what it should be.
#[derive(Debug, Clone, Copy)]
pub struct Measurement {
    /// What it is, in words.
    pub name: &'static str,
    /// In what it is given.
    pub unit: Unit,
    /// What it should be.
    pub goal: Goal,
    /// Whose time it is measured in.
    pub clock: Clock,
    /// Measures it.
    pub run: fn(&Session) -> anyhow::Result<Estimate>,
}

/// Which clock a measurement goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    /// The real one.
    Real,
    /// A paused one. Once tokio's clock was paused, reading it costs more for the rest of the
    /// process: these run last.
    Virtual,
}

impl Measurement {
    /// A ratio of two measurements in real time.
    pub(crate) const fn ratio(
        name: &'static str,
        goal: Goal,
        run: fn(&Session) -> anyhow::Result<Estimate>,
    ) -> Self {
        Self {
            name,
            unit: Unit::Ratio,
            goal,
            clock: Clock::Real,
            run,
        }
    }

    /// Measures the figure now.
    ///
    /// # Errors
    /// Whatever kept it from being measured.
    pub fn measure(&self, area: Area, session: &Session) -> anyhow::Result<Figure> {
        Ok(Figure {
            area,
            name: self.name,
            estimate: (self.run)(session)?,
            unit: self.unit,
            goal: self.goal,
        })
    }
}
