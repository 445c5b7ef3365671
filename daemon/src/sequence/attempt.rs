//! One attempt of a job: who it is, how its process ran and is told to end, what is left of it; a container that is made
//! before the turn of its job; and what a step has put out.
//!
//! Must not: change by itself; only `apply` changes it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bundle::ExecutionId;
use crate::time::Timestamp;

/// The run of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Podman's id of its container.
    pub container: String,
    /// When it started.
    pub started: Timestamp,
    /// How it ended, where Podman could say.
    pub exit: Option<Exit>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its code; 128 + n when signal n ended it.
    pub code: i64,
    /// Whether the kernel killed it for its memory.
    pub oom: bool,
    /// Milliseconds of processor time that it used, where that could be read.
    #[serde(default)]
    pub cpu_ms: Option<u64>,
}

/// What is left of an attempt on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remains {
    /// It never had a container.
    Nothing,
    /// Its console output is to be kept and its container to be removed.
    Owed,
    /// Both are done.
    Cleared(Logs),
}

/// The container of a job that waits, when it is made before the turn of the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ahead {
    /// There is none.
    #[default]
    Not,
    /// It is being made and initialised, for the next attempt.
    Making,
    /// It is initialised, for the next attempt.
    Made {
        /// Podman's id of it.
        container: String,
        /// Podman's id of the image that it was made from.
        image: Arc<str>,
    },
    /// It was withdrawn and is to be removed; its attempt never started and counts for nothing.
    Owed,
    /// It was withdrawn and is gone; the next is made when it is the job's turn.
    Spent,
}

impl Ahead {
    /// Whether there never was one.
    #[must_use]
    pub fn is_not(&self) -> bool {
        *self == Self::Not
    }

    /// Whether it is there to be used, or will be.
    #[must_use]
    pub fn stands(&self) -> bool {
        matches!(self, Self::Making | Self::Made { .. })
    }

    /// Whether there may be a container.
    #[must_use]
    pub fn occupies(&self) -> bool {
        self.stands() || *self == Self::Owed
    }
}

/// What was kept of the console output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Bytes of standard output kept.
    pub stdout_bytes: u64,
    /// Bytes of standard error kept.
    pub stderr_bytes: u64,
    /// Whether older output was dropped for the limit.
    pub truncated: bool,
}

/// The output document of a step, which lies beside the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its size.
    pub bytes: u64,
    /// Whether it is cut short at a limit.
    pub truncated: bool,
}

/// One attempt of one job, everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The execution.
    pub execution: ExecutionId,
    /// Index of the step.
    pub step: usize,
    /// Index of the job.
    pub job: usize,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

/// Why a pod must end before it wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// `max_duration` ran out.
    Timeout,
    /// An operator asked for it.
    Operator,
    /// Its gang is over, or cannot be.
    Gang,
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGTERM: please end.
    Term,
    /// SIGKILL.
    Kill,
}
