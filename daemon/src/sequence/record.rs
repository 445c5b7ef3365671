//! What was decided, in order: past tense, journalled, replayed.
//!
//! The serialised form is the journal's; a change to it is a new journal format version.
//! Must not: hold what can be derived from the records before it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::{Exit, Halt, Logs, Output, Signal, StopCause, Verdict};
use crate::bundle::ExecutionId;
use crate::plan::Plan;
use crate::time::Timestamp;

/// A record, whose it is and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The execution it is about.
    pub execution: ExecutionId,
    /// When it was decided.
    pub at: Timestamp,
    /// What was decided.
    pub record: Record,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The bundle was accepted.
    Accepted {
        /// What it is to do.
        plan: Arc<Plan>,
        /// Whether it waits for `release`.
        held: bool,
    },
    /// The hold was lifted.
    Released,
    /// Nothing of it starts any more.
    Halted {
        /// Why.
        halt: Halt,
    },
    /// A step's budget began.
    StepStarted {
        /// Index of the step.
        step: usize,
    },
    /// A step is over.
    StepEnded {
        /// Index of the step.
        step: usize,
        /// How it ended.
        verdict: Verdict,
        /// What it has put out, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Output>,
    },
    /// A container is to be made.
    JobPreparing {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// Number of the attempt.
        attempt: u32,
    },
    /// A container is initialised.
    JobPrepared {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// Podman's id of it.
        container: String,
    },
    /// A container is to be started.
    JobLaunching {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// A process lives.
    JobStarted {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// A process is to be told to end.
    JobStopping {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// Why.
        cause: StopCause,
        /// What it is told.
        signal: Signal,
    },
    /// A job is over.
    JobEnded {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// How it ended.
        verdict: Verdict,
        /// How its process ended, where known.
        exit: Option<Exit>,
    },
    /// Nothing is left of a job on its node.
    JobCleared {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// What was kept of its console output.
        logs: Logs,
    },
    /// All steps have ended and all remains are cleared.
    Settled {
        /// How it ended.
        verdict: Verdict,
    },
    /// Its report is in the outbox: the execution is over.
    Ended,
}
