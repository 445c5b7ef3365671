//! The benchmark: Perigee beside what a user would pick instead, in the same run, on real Podman.
//!
//! `cargo bench --locked --bench bench -- FILTER…` runs the measurements whose names hold one of the words; without a
//! word all run, which takes some ten minutes. `--list` names them. The table that it ends with is Markdown. How it
//! measures: `docs/performance.md`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program that prints; what it needs it expects"
)]

mod bulk;
mod chain;
mod figures;
mod idle;
mod launch;
mod ledger;
mod machine;
mod rig;
#[path = "../support/script.rs"]
mod script;
#[path = "../support/mod.rs"]
mod support;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use figures::Row;
use rig::Image;

/// What one measurement found.
#[derive(Default)]
pub struct Found {
    /// Lines of the table.
    pub rows: Vec<Row>,
    /// What belongs below it.
    pub notes: Vec<String>,
}

type Measurement = fn(&Image) -> Found;

const ALL: [(&str, Measurement); 14] = [
    ("turnaround", launch::turnaround),
    ("chain", chain::chain),
    ("group", launch::group),
    ("submit", launch::submit),
    ("commit", ledger::commit),
    ("ready", ledger::ready),
    ("idle", idle::idle),
    ("status", ledger::status),
    ("verify", bulk::verify),
    ("load", bulk::load),
    ("size", idle::size),
    ("growth-group", launch::group_growth),
    ("growth-bundle", ledger::bundles),
    ("growth-decision", ledger::decisions),
];

/// Names of some pods.
pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// One measurement, on a machine that is as quiet as it becomes. Nothing when it failed.
fn measure(name: &str, measurement: Measurement, image: &Image) -> Option<Found> {
    let busy = machine::settle();
    let state = busy.map_or_else(|| "quiet".to_owned(), |busy| format!("LOADED, {busy:.1} cores busy"));
    println!("\n== {name} (load average {}; {state})", machine::load());
    let start = machine::now();
    let mut found = panic::catch_unwind(AssertUnwindSafe(|| measurement(image))).ok()?;
    // Who came meanwhile may still be there; what the measurement itself left is soon over.
    let busy = busy.or_else(machine::settle);
    found.rows.iter_mut().for_each(|row| row.loaded(busy));
    found.rows.iter().for_each(|row| println!("{}", row.markdown()));
    found.notes.iter().for_each(|note| println!("  {note}"));
    println!("   took {:.0} s", machine::since(start) / 1000.0);
    Some(found)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        ALL.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    // cargo adds `--bench`.
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let chosen: Vec<_> = ALL.iter().filter(|(name, _)| wanted(name)).collect();
    if chosen.is_empty() {
        println!("no measurement has that name; `--list` shows all");
        return ExitCode::from(2);
    }
    let start = machine::now();
    machine::described().iter().for_each(|line| println!("{line}"));
    let image = Image::make();
    let (mut rows, mut notes, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (name, measurement) in chosen {
        match measure(name, *measurement, &image) {
            Some(found) => {
                rows.extend(found.rows);
                notes.extend(found.notes);
            }
            None => failed.push(*name),
        }
    }
    println!("\n{}\n", figures::table(&rows));
    notes.iter().for_each(|note| println!("- {note}"));
    println!("\n{} measured in {:.0} s", rows.len(), machine::since(start) / 1000.0);
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("FAILED: {}", failed.join(", "));
    ExitCode::FAILURE
}
