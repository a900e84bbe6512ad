//! `cargo xtask ci`: every check of the project, timed and summed up.

mod step;

use std::time::Duration;

use anyhow::bail;

use self::step::Step;
use crate::cargo::Cargo;
use crate::stopwatch::Stopwatch;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be given several times
    #[arg(long = "step", value_name = "NAME")]
    steps: Vec<Step>,
}

/// Runs the steps, all of them even if one fails, and says at the end how each went.
pub(crate) fn run(cargo: &Cargo, arguments: &Arguments) -> anyhow::Result<()> {
    let started = Stopwatch::start();
    let steps: &[Step] = if arguments.steps.is_empty() {
        Step::ALL
    } else {
        &arguments.steps
    };
    let done: Vec<Done> = steps.iter().map(|&step| Done::of(cargo, step)).collect();
    sum_up(&done, started.elapsed())
}

/// A step that was run.
struct Done {
    step: Step,
    took: Duration,
    passed: bool,
}

impl Done {
    fn of(cargo: &Cargo, step: Step) -> Self {
        println!("\n== {step}: {}", step.claim());
        let started = Stopwatch::start();
        let outcome = step.run(cargo);
        if let Err(error) = &outcome {
            println!("{step} failed: {error:#}");
        }
        Self {
            step,
            took: started.elapsed(),
            passed: outcome.is_ok(),
        }
    }
}

fn sum_up(done: &[Done], took: Duration) -> anyhow::Result<()> {
    println!("\n== summary");
    for Done { step, took, passed } in done {
        let verdict = if *passed { "ok" } else { "FAILED" };
        println!("{step:<10}{:>8.1} s  {verdict}", took.as_secs_f64());
    }
    println!("{:<10}{:>8.1} s", "all", took.as_secs_f64());
    let failed = done.iter().filter(|done| !done.passed).count();
    if failed > 0 {
        bail!("{failed} of {} steps failed", done.len());
    }
    Ok(())
}
