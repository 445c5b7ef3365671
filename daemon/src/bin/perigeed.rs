//! The flight daemon: parse, run, exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use perigee::daemon::{self, Grade};
use perigee::journald::Journald;
use perigee::run::chain;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// On-board flight daemon: runs uplinked bundles as containers through the Podman socket.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; replaces /etc/perigee/perigee.yaml and all drop-ins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Validate the configuration and its surroundings, print one line each, start nothing.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.check {
        return check(arguments.config);
    }
    start_logging();
    match daemon::run(arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "perigeed: {}", chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn check(config: Option<PathBuf>) -> ExitCode {
    let mut out = std::io::stdout();
    match daemon::check(config.as_deref()) {
        Ok(diagnostics) => {
            for diagnostic in &diagnostics {
                let word = match diagnostic.grade {
                    Grade::Good => "ok  ",
                    Grade::Note => "note",
                    Grade::Bad => "FAIL",
                };
                let _ = writeln!(out, "{word} {}", diagnostic.line);
            }
            let bad = diagnostics.iter().any(|diagnostic| diagnostic.grade == Grade::Bad);
            if bad { ExitCode::from(3) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "perigeed: {}", chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// To journald where systemd connects stderr to it, else to stderr. `PERIGEE_LOG` filters, as in `info` or `perigee=debug`.
fn start_logging() {
    let asked = std::env::var("PERIGEE_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let registry = tracing_subscriber::registry().with(filter);
    match Journald::of_this_service() {
        Some(journald) => registry.with(journald).init(),
        None => registry.with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr)).init(),
    }
}
