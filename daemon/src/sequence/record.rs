//! What was decided, in order: past tense, journalled, replayed.
//!
//! The serialised form is the journal's; a change to it is a new journal format version.
//! Must not: hold what can be derived from the records before it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::state::{Exit, Halt, Logs, Output, Signal, StopCause, Verdict};
use crate::bundle::{ExecutionId, NodeName};
use crate::plan::Plan;
use crate::reason::Reason;
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
    /// The hold or the quarantine was lifted.
    Released,
    /// It was running when there was a reset.
    Interrupted {
        /// Which.
        cause: Reset,
    },
    /// It was running at too many resets in a row: nothing of it starts before `release`. Errands and readings that were
    /// under way are to be done anew then.
    Quarantined,
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
    /// A step without jobs is not to start.
    StepHeld {
        /// Index of the step.
        step: usize,
    },
    /// It may.
    StepReleased {
        /// Index of the step.
        step: usize,
    },
    /// The outputs that decide about a step are to be read.
    StepReading {
        /// Index of the step.
        step: usize,
    },
    /// They let it run; where its jobs come from an output, with these pieces.
    StepTaken {
        /// Index of the step.
        step: usize,
        /// The pieces, one for each job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pieces: Option<Vec<String>>,
    },
    /// A job is not to start.
    JobHeld {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// It may.
    JobReleased {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// A process is to be frozen.
    JobPausing {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// It is frozen.
    JobPaused {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// It is to be thawed.
    JobResuming {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// It goes on; with a reason when it could not be frozen.
    JobResumed {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// Why it could not be frozen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Reason>,
    },
    /// From now on a name means this image on a node: it was found or made.
    ImageKnown {
        /// The node.
        node: NodeName,
        /// Its name and id.
        image: Image,
    },
    /// The node has lost an image that came with the bundle: it is to be loaded once more for a job.
    ImageReloading {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// Its full name.
        name: String,
    },
    /// Another attempt of a unit is due.
    UnitRequeued {
        /// Index of the step.
        step: usize,
        /// Position of the unit.
        unit: usize,
        /// Why.
        cause: Repeat,
        /// Milliseconds until then.
        pause_ms: u64,
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
        /// Podman's id of the image that it was made from. Journals of versions 1 to 3 do not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<Arc<str>>,
    },
    /// A container is to be made before the turn of its job.
    JobPreparingAhead {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// It is initialised.
    JobPreparedAhead {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// Podman's id of it.
        container: String,
        /// Podman's id of the image that it was made from.
        image: Arc<str>,
    },
    /// It is not wanted any more.
    JobWithdrawn {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
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
    /// An operator let it be forgotten.
    Purged,
}

/// Why a unit is attempted once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// It failed, and its step has `retries`.
    Retry,
    /// Power was lost, and its step says `on_power_loss: rerun`.
    PowerLoss,
    /// Its execution went into quarantine, which ended what was alive of it.
    Quarantine,
}

/// What makes the daemon begin anew without having left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// The board booted.
    Boot,
    /// The daemon died: killed or by a fault, in the same boot.
    Crash,
}
