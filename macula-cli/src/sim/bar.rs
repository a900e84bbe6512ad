//! How far the simulation is, for whoever watches the terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use macula_sim::Progress;

/// A bar on standard error, or nothing when that is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg:8} {wide_bar} {percent:>3} %") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, Progress { step, done }: Progress) {
        if self.0.message() != step {
            self.0.set_message(step);
        }
        self.0.set_position((done * STEPS as f64) as u64);
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Finer than any terminal is wide.
const STEPS: u64 = 1_000;
