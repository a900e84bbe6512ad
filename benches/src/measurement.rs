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
    /// Measures it.
    pub run: fn(&Session) -> anyhow::Result<Estimate>,
}

impl Measurement {
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
