//! The grammar of commands that ask the daemon about parts, and how parts are named.

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::client::Client;
use super::exit::{Exit, Failed};
use crate::bundle::{ExecutionId, Tenant};
use crate::podman::console::Stream;
use crate::wire::encoded;

/// Executions that one batch may have: more would not fit one request.
const BATCH_MAX: usize = 10_000;

/// Which parts are meant.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// An execution (or 6 of its first characters), EXECUTION.STEP, EXECUTION.STEP.INDEX, EXECUTION.STEP.launcher,
    /// EXECUTION.STEP.worker-0, or EXECUTION.group:N.
    #[arg(required_unless_present = "batch")]
    pub(super) ids: Vec<String>,
    /// All executions whose operation has this label `batch`.
    #[arg(long, value_name = "LABEL")]
    pub(super) batch: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    pub(super) which: Which,
    /// SIGKILL at once.
    #[arg(long)]
    pub(super) now: bool,
}

#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    pub(super) which: Which,
    /// Stop what has not ended, and wait for its end, first.
    #[arg(long)]
    pub(super) stop: bool,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    #[command(flatten)]
    pub(super) which: Which,
    /// Only this stream.
    #[arg(long, value_enum)]
    pub(super) stream: Option<StreamName>,
    /// Go on until the jobs have ended.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Of this attempt, from 1 [default: the last].
    #[arg(long, value_name = "N")]
    pub(super) attempt: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<StreamName> for Stream {
    fn from(name: StreamName) -> Self {
        match name {
            StreamName::Stdout => Self::Stdout,
            StreamName::Stderr => Self::Stderr,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    #[command(flatten)]
    pub(super) which: Which,
    /// States to wait for, comma-separated; `started` is whatever comes after the start of a process
    /// [default: any ended state].
    #[arg(long = "for", value_name = "S,…")]
    pub(super) wanted: Option<String>,
    /// Return at the first of them.
    #[arg(long)]
    pub(super) any: bool,
    /// Give up after this long (90s, 5m, 1h30m); 0 looks once [default: never].
    #[arg(long, value_name = "DURATION")]
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// An execution (or 6 of its first characters), EXECUTION.STEP, EXECUTION.STEP.INDEX, EXECUTION.STEP.launcher,
    /// EXECUTION.STEP.worker-0, or EXECUTION.group:N [default: the daemon].
    pub(super) ids: Vec<String>,
    /// All executions whose operation has this label `batch`.
    #[arg(long, value_name = "LABEL")]
    pub(super) batch: Option<String>,
    /// Jobs by phase: Pending, Running, Succeeded, Failed, Unknown.
    #[arg(long)]
    pub(super) group: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these states, comma-separated.
    #[arg(long, value_name = "S,…")]
    pub(super) state: Option<String>,
    /// Only this tenant.
    #[arg(long)]
    pub(super) tenant: Option<Tenant>,
    /// Only those received since: RFC 3339, or a duration ago such as 2h.
    #[arg(long, value_name = "T")]
    pub(super) since: Option<String>,
    /// Only those that have this step.
    #[arg(long)]
    pub(super) step: Option<String>,
    /// Only runs of this operation.
    #[arg(long)]
    pub(super) operation: Option<String>,
    /// Only those whose operation has this label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(super) labels: Vec<String>,
    /// Short for --label batch=LABEL.
    #[arg(long, value_name = "LABEL")]
    pub(super) batch: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub(super) limit: usize,
}

/// The ids that are meant: those given, then the executions of the batch, oldest first.
pub(super) fn named(client: &Client, which: &Which) -> Result<Vec<String>, Failed> {
    let mut ids = which.ids.clone();
    if let Some(batch) = &which.batch {
        ids.extend(members(client, batch)?);
    }
    Ok(ids)
}

/// The executions of a batch, oldest first.
pub(super) fn members(client: &Client, batch: &str) -> Result<Vec<String>, Failed> {
    #[derive(Deserialize)]
    struct Listing {
        executions: Vec<Member>,
        more: bool,
    }
    #[derive(Deserialize)]
    struct Member {
        execution: ExecutionId,
    }
    let label = encoded(&format!("batch={batch}"));
    let found: Listing = client.get(&format!("/v1/executions?limit={BATCH_MAX}&label={label}"))?;
    if found.executions.is_empty() {
        return Err(Failed::new(Exit::NotFound, format!("there is no execution of batch `{batch}`")));
    }
    if found.more {
        let message = format!("batch `{batch}` has more than {BATCH_MAX} executions; name them in parts");
        return Err(Failed::new(Exit::Bad, message));
    }
    Ok(found.executions.iter().rev().map(|member| member.execution.to_string()).collect())
}

/// Ids as one query value.
pub(super) fn joined(ids: &[String]) -> String {
    ids.iter().map(|id| encoded(id)).collect::<Vec<_>>().join(",")
}
