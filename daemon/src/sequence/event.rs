//! What happened: past tense, from operators, nodes, and time.
//!
//! Must not: say what to do about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::image::{Image, Lost};
use super::record::Reset;
use super::state::{AttemptId, Exit, JobState, Logs, Output};
use crate::bundle::{ExecutionId, NodeName};
use crate::plan::Plan;
use crate::reason::{Name, Reason};

/// Nodes whose Podman does not answer, and why: what a budget that ran out was spent on.
pub type Away = BTreeMap<NodeName, String>;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A planned bundle was handed over.
    Submitted {
        /// What it is to do.
        plan: Arc<Plan>,
        /// Whether it waits for `release`.
        held: bool,
    },
    /// An operator asked for something.
    Asked {
        /// Of which execution.
        execution: ExecutionId,
        /// Of which part.
        target: Target,
        /// For what.
        verb: Verb,
    },
    /// Something is known of an attempt.
    Reported(AttemptId, Report),
    /// A step that runs no pods is done; what it found out is on the medium.
    ErrandEnded {
        /// The execution.
        execution: ExecutionId,
        /// Index of the step.
        step: usize,
        /// How it went.
        result: Result<Option<Output>, Reason>,
        /// The image that it made, if it made one.
        made: Option<Image>,
    },
    /// The outputs that decide about a step were read, by the steps they come from.
    OutputRead {
        /// The execution.
        execution: ExecutionId,
        /// Index of the step that they decide about.
        step: usize,
        /// What each said, or why it cannot be used.
        outputs: BTreeMap<usize, Result<String, Reason>>,
    },
    /// The report was put into the outbox.
    Filed(ExecutionId),
    /// A deadline may have passed.
    TimePassed(Away),
    /// The daemon begins anew after a reset.
    Reset {
        /// Of what.
        cause: Reset,
        /// What was running at so many resets in a row goes into quarantine; 0: nothing ever does.
        limit: u32,
    },
}

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Its container is initialised.
    Prepared {
        /// Podman's id of it.
        container: String,
        /// The image that it was made from.
        image: Image,
    },
    /// Its container could not be made; nothing of it is left.
    NotPrepared(Reason),
    /// The same before its turn, where it counts for nothing.
    NotMadeAhead(Reason),
    /// Nor could this one, because its image is not what it was.
    ImageLost(Box<Lost>),
    /// Its process lives, or has lived.
    Started,
    /// Its process never lived.
    NotStarted(Reason),
    /// Its processes are frozen, or could not be thawed.
    Paused,
    /// They could not be frozen.
    NotPaused(Reason),
    /// They are thawed.
    Resumed,
    /// Its process has ended.
    Exited(Exit),
    /// Podman says that its container is not there.
    Lost,
    /// Its console output is kept and its container gone.
    Cleared(Logs),
}

/// The part of an execution that an operator means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All of it.
    Execution,
    /// The steps of a merge group, by its number.
    Group(u32),
    /// One step.
    Step(usize),
    /// One unit of a step: a member of an array, a gang.
    Unit(usize, usize),
    /// One job of a step.
    Job(usize, usize),
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Do not start it.
    Hold,
    /// Lift the hold.
    Release,
    /// Freeze it.
    Pause,
    /// Let it go on.
    Resume,
    /// End it: SIGTERM first.
    Stop,
    /// End it: SIGKILL.
    StopNow,
    /// Forget it: record, console output and what is left of it on its nodes.
    Purge,
}

impl Verb {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop | Self::StopNow => "stop",
            Self::Purge => "purge",
        }
    }
}

/// What a verb came to for one member of what it was asked of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// The execution, step or job.
    pub id: String,
    /// Why it was refused; absent when it was taken.
    pub refused: Option<String>,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The execution is aboard already.
    #[error("execution {0} is already known")]
    AlreadyKnown(ExecutionId),
    /// There is no such execution, step or job.
    #[error("there is no {0}")]
    NotFound(String),
    /// The verb is not legal in this state.
    #[error("{verb} is not legal: {what} is {state}")]
    InvalidState {
        /// What was asked.
        verb: &'static str,
        /// Of what.
        what: String,
        /// Its state.
        state: String,
    },
    /// A limit is reached.
    #[error("{what}: the limit of {limit} is reached; wait until one has ended")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
    /// The attempt has moved on since.
    #[error("a late report of {attempt:?}: {report:?} while {state:?}")]
    Stale {
        /// The attempt.
        attempt: AttemptId,
        /// What was reported.
        report: Report,
        /// Where the job is.
        state: Option<Box<JobState>>,
    },
    /// The step or execution has moved on since.
    #[error("a late report of {0}")]
    Late(String),
    /// The records did not fit the state: a fault of ours.
    #[error("internal fault: {0}")]
    Fault(#[from] super::apply::Illegal),
}

impl Refusal {
    /// As a coded reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let name = match self {
            Self::AlreadyKnown(_) | Self::InvalidState { .. } => Name::InvalidState,
            Self::NotFound(_) => Name::Invalid,
            Self::Limit { .. } => Name::Limit,
            Self::Stale { .. } | Self::Late(_) | Self::Fault(_) => Name::Internal,
        };
        Reason::new(name, self.to_string())
    }
}
