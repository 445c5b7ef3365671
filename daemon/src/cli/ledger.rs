//! Looks at a ledger itself, without its daemon: is it whole, what does it say.
//!
//! Must not: change it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failed};
use super::watch::print_event;
use super::table::{print, print_json, print_line};
use super::{Format, Output};
use crate::bundle::ExecutionId;
use crate::ledger::check::{self, CheckError, Report};
use crate::ledger::{Frame, JournalError};
use crate::sequence::Record;
use crate::view::{self, Names};

const STATE_DIR: &str = "/var/lib/perigee";

#[derive(Debug, Args)]
pub(super) struct LedgerAction {
    #[command(subcommand)]
    action: Ledger,
}

#[derive(Debug, Subcommand)]
enum Ledger {
    /// Look whether it is whole: every frame, the order of the records, whether it replays, whether the index agrees.
    Check {
        /// The state directory of the daemon.
        #[arg(default_value = STATE_DIR)]
        dir: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Print its records, as `events` does.
    Show {
        /// The state directory of the daemon.
        #[arg(default_value = STATE_DIR)]
        dir: PathBuf,
        /// Only those after this cursor.
        #[arg(long, value_name = "CURSOR")]
        since: Option<u64>,
        #[command(flatten)]
        format: Format,
    },
}

pub(super) fn ledger(action: &LedgerAction, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    match &action.action {
        Ledger::Check { dir, format } => {
            let json = json || format.output == Some(Output::Json);
            let report = check::check(dir).map_err(|error| failed(&error))?;
            if json {
                print_json(out, &report)?
            } else {
                print_report(&report, out)?
            }
            verdict(&report)
        }
        Ledger::Show { dir, since, format } => show(dir, *since, json || format.output == Some(Output::Json), out),
    }
}

fn failed(error: &CheckError) -> Failed {
    let exit = match error {
        CheckError::Absent(_) | CheckError::Journal(JournalError::Gone { .. }) => Exit::NotFound,
        CheckError::Journal(JournalError::Version { .. }) => Exit::Refused,
        CheckError::Journal(JournalError::Damaged { .. }) => Exit::Otherwise,
        CheckError::Journal(JournalError::File { .. } | JournalError::Large { .. } | JournalError::Poisoned) => {
            Exit::Fault
        }
    };
    Failed::because(exit, crate::run::chain(error), error)
}

fn verdict(report: &Report) -> Result<(), Failed> {
    let Some(first) = report.damages.first() else { return Ok(()) };
    let further = match report.damages.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} more"),
    };
    let way_out = match report.damages.iter().all(|damage| damage.mends) {
        true => "nothing is lost: the daemon puts it right at its next start",
        false => "keep the state directory and report it",
    };
    let message = format!("damaged: {} at byte {}: {}{further}; {way_out}", first.file, first.offset, first.what);
    Err(Failed::new(Exit::Otherwise, message))
}

fn print_report(report: &Report, out: &mut dyn Write) -> Result<(), Failed> {
    let rows = report.segments.iter().map(|segment| {
        let kind = if segment.compacted { "compacted" } else { "" };
        vec![
            segment.name.clone(),
            segment.version.to_string(),
            segment.bytes.to_string(),
            segment.frames.to_string(),
            segment.records.to_string(),
            kind.to_owned(),
        ]
    });
    print(out, &["SEGMENT", "VERSION", "BYTES", "FRAMES", "RECORDS", "KIND"], rows.collect())?;
    let daemon = match report.daemon {
        Some(true) => "at work",
        Some(false) => "none",
        None => "not known",
    };
    print_line(out, &format!("records:     {} to {}", report.oldest, report.cursor))?;
    let counts = format!("{} live, {} ended, {} forgotten", report.live, report.kept, report.forgotten);
    print_line(out, &format!("executions:  {counts}"))?;
    print_line(out, &format!("index:       {}", report.index))?;
    print_line(out, &format!("daemon:      {daemon}"))?;
    for note in &report.notes {
        print_line(out, &format!("note:        {note}"))?;
    }
    for damage in &report.damages {
        let mends = if damage.mends { " (mends by itself)" } else { "" };
        print_line(out, &format!("damage:      {} at byte {}: {}{mends}", damage.file, damage.offset, damage.what))?;
    }
    Ok(())
}

fn show(dir: &std::path::Path, since: Option<u64>, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let mut frames = check::records(dir, since).map_err(|error| failed(&error))?;
    let mut names: BTreeMap<ExecutionId, Names> = BTreeMap::new();
    while let Some((_, frame)) = frames.next_frame().map_err(|error| failed(&error.into()))? {
        let Frame::Decided { first, records } = frame else { continue };
        for (cursor, recorded) in (first..).zip(&records) {
            if let Record::Accepted { plan, .. } = &recorded.record {
                names.insert(recorded.execution, Names::of_plan(plan));
            }
            if cursor > since.unwrap_or(0) {
                let known = names.entry(recorded.execution).or_default();
                print_event(&view::event_line(cursor, recorded, known), json, out)?;
            }
        }
    }
    Ok(())
}
