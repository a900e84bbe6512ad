//! Measures the figures of the project and prints them: `cargo xtask figures`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;
use benches::part::Part;
use benches::{Area, Figure, Measurement, Session};
use clap::Parser;

/// Measures the figures, each beside what it is compared with.
///
/// Values are medians of paired runs, or counts of seeded ones; their intervals are of 90 %, from
/// order statistics for medians and after Wilson for shares. A verdict is `met` or `missed` only
/// if the whole interval is on one side of the goal.
#[derive(Debug, Parser)]
#[command(name = "figures")]
struct Arguments {
    /// Only the figures of this area
    area: Option<Area>,
    /// Only the figures whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print one JSON list instead of a table
    #[arg(long)]
    json: bool,
    /// Take the long measurements too, and more pairs of each
    #[arg(long)]
    full: bool,
    /// Play a part in what another process of this program measures
    #[arg(long, hide = true)]
    part: Option<Part>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is gone as well.
            let _ = note(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(part) = arguments.part {
        return part.play(io::stdin().lock(), io::stdout().lock());
    }
    let session = Session::new(arguments.full)?;
    let mut figures = Vec::new();
    let mut failed = 0_usize;
    let only = arguments.only.as_deref().unwrap_or_default();
    let measurements = in_order(arguments.area, arguments.full);
    let wanted = measurements
        .into_iter()
        .filter(|(_, measurement)| measurement.name.contains(only));
    for (area, measurement) in wanted {
        note(&format!("measuring {}: {}", area.name(), measurement.name))?;
        match measurement.measure(area, &session) {
            Ok(figure) => {
                note(&figure.to_string())?;
                figures.push(figure);
            }
            Err(error) => {
                failed += 1;
                note(&format!("could not be measured: {error:#}"))?;
            }
        }
    }
    figures.sort_by_key(|figure| Area::ALL.iter().position(|area| *area == figure.area));
    print(&figures, arguments.json)?;
    if failed > 0 {
        bail!("{failed} figures could not be measured");
    }
    Ok(())
}

/// What to measure, those in virtual time last.
fn in_order(area: Option<Area>, full: bool) -> Vec<(Area, &'static Measurement)> {
    let areas = Area::ALL
        .iter()
        .filter(|one| area.is_none_or(|wanted| wanted == **one));
    let mut measurements: Vec<_> = areas
        .flat_map(|area| area.measurements(full).map(move |one| (*area, one)))
        .collect();
    measurements.sort_by_key(|(_, measurement)| measurement.clock);
    measurements
}

fn print(figures: &[Figure], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, figures)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<10}{:<34}{:<10}{:<11}figure",
        "area", "measured (90 % interval)", "goal", "verdict"
    )?;
    for figure in figures {
        writeln!(out, "{figure}")?;
    }
    Ok(())
}

/// Tells whoever waits what goes on, beside the figures.
fn note(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
}
