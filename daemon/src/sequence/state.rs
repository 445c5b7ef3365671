//! What is known of every live execution. States are conditions; data lives in the variant that needs it.
//!
//! Must not: change by itself; only `apply` changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use super::attempt::{Ahead, AttemptId, Exit, Logs, Output, Remains, Run, Signal, StopCause};
use super::image::Images;
use crate::bundle::{ExecutionId, StepId};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::time::Timestamp;

/// Everything the engine knows. A copy shares what has not changed, so that views cost little.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// Executions that have not ended.
    pub live: BTreeMap<ExecutionId, Arc<Execution>>,
    /// Identities of those that have.
    pub ended: Arc<BTreeSet<ExecutionId>>,
}

/// One live execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// What it is to do.
    pub plan: Arc<Plan>,
    /// When its bundle was accepted.
    pub received: Timestamp,
    /// Where it is.
    pub phase: Phase,
    /// Why nothing of it starts any more, when that is so.
    pub halt: Option<Halt>,
    /// Resets in a row at which it was running: since the first of them nothing of it was seen to end.
    #[serde(default)]
    pub resets: u32,
    /// The images that it has met.
    #[serde(default)]
    pub images: Images,
    /// One for each planned step.
    pub steps: Vec<Step>,
}

/// Where an execution is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for `release`.
    Held,
    /// Its steps wait, run or end.
    Open,
    /// It was running at too many resets in a row: it waits for `release`.
    Quarantined,
    /// Every step has ended and nothing of it is left on the nodes; its report is due.
    Settled {
        /// How it ended.
        verdict: Verdict,
        /// When.
        at: Timestamp,
    },
    /// Its report is in the outbox.
    Ended {
        /// How it ended.
        verdict: Verdict,
        /// When.
        at: Timestamp,
    },
}

/// Why nothing of an execution starts any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// A step with `on_failure: stop` did not succeed.
    Failure(StepId),
    /// An operator stopped it.
    Operator,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As wanted.
    Succeeded,
    /// Not as wanted.
    Failed(Reason),
    /// It never started.
    Skipped(Reason),
    /// It cannot be known.
    Unknown(Reason),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Where it is.
    pub state: StepState,
    /// What is known of the output that decides about it.
    pub input: Input,
    /// One for each planned job.
    pub jobs: Vec<Job>,
}

/// What is known of the output that decides about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Nothing has been asked for; most steps need nothing.
    Unread,
    /// It is being read.
    Reading,
    /// It was read and lets the step run.
    Taken,
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not its turn.
    Waiting,
    /// Not its turn, and told not to start; only steps without jobs are held themselves.
    Held,
    /// Its budget runs.
    Active {
        /// Since when.
        since: Timestamp,
    },
    /// Over.
    Ended {
        /// When it started, if it did.
        since: Option<Timestamp>,
        /// When it ended.
        at: Timestamp,
        /// How.
        verdict: Verdict,
        /// What it has put out, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Output>,
    },
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Number of the current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts that were repeated because power was lost.
    pub reruns: u32,
    /// When the budget of the current attempt began.
    pub began: Option<Timestamp>,
    /// Milliseconds that the current attempt was frozen, as far as it has been thawed.
    pub paused_ms: u64,
    /// Podman's id of the image that its latest container was made from.
    #[serde(default)]
    pub image: Option<Arc<str>>,
    /// A container that was made before its turn.
    #[serde(default, skip_serializing_if = "Ahead::is_not")]
    pub ahead: Ahead,
    /// Where it is.
    pub state: JobState,
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Not its turn.
    Waiting,
    /// Not its turn, and told not to start.
    Held,
    /// Its container is being made and initialised; its process does not exist.
    Preparing,
    /// Its container is initialised; it waits for the others of its group.
    Prepared {
        /// Podman's id of it.
        container: String,
    },
    /// Told to start; whether it has is not yet known.
    Launching {
        /// Podman's id of its container.
        container: String,
        /// Set when it must be stopped as soon as it has started: why, and what it is then told.
        stop: Option<(StopCause, Signal)>,
    },
    /// Its process lives.
    Running {
        /// Podman's id of its container.
        container: String,
        /// Since when.
        started: Timestamp,
    },
    /// Frozen, or on the way there or back.
    Paused {
        /// Podman's id of its container.
        container: String,
        /// Since when its process lives.
        started: Timestamp,
        /// Since when it is frozen.
        since: Timestamp,
        /// How far it is.
        freeze: Freeze,
    },
    /// Told to end.
    Stopping {
        /// Podman's id of its container.
        container: String,
        /// Since when its process lives.
        started: Timestamp,
        /// Why it must end.
        cause: StopCause,
        /// What it was last told.
        signal: Signal,
        /// When.
        told: Timestamp,
    },
    /// Over.
    Ended {
        /// How.
        verdict: Verdict,
        /// When.
        at: Timestamp,
        /// Its run, if its process ever lived.
        run: Option<Run>,
        /// What is left of it on its node.
        remains: Remains,
    },
    /// The attempt is over and did not succeed; another is due.
    Requeued {
        /// When.
        due: Timestamp,
        /// What became of the attempt.
        reason: Reason,
        /// Its run, if its process ever lived.
        run: Option<Run>,
        /// What is left of it on its node.
        remains: Remains,
        /// Whether it may start then.
        hold: Hold,
    },
}

/// How far a freeze is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Podman was asked to freeze it.
    Asked,
    /// It is frozen.
    Frozen,
    /// Podman was asked to thaw it.
    Thawing,
}

/// Whether something that is due may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// It may.
    Free,
    /// An operator told it not to.
    Held,
}

impl Execution {
    /// A freshly accepted execution.
    #[must_use]
    pub fn new(plan: Arc<Plan>, held: bool, received: Timestamp) -> Self {
        let step =
            |jobs: usize| Step { state: StepState::Waiting, input: Input::Unread, jobs: vec![Job::waiting(); jobs] };
        let steps = plan.steps.iter().map(|planned| step(planned.jobs().len())).collect();
        let phase = if held { Phase::Held } else { Phase::Open };
        Self { plan, received, phase, halt: None, resets: 0, images: Images::default(), steps }
    }

    /// The job of an attempt, if that attempt is its current one.
    #[must_use]
    pub fn job(&self, id: &AttemptId) -> Option<&Job> {
        self.steps.get(id.step)?.jobs.get(id.job).filter(|job| job.attempt == id.attempt)
    }

    /// When its first step started.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        let since = |step: &Step| match &step.state {
            StepState::Waiting | StepState::Held => None,
            StepState::Active { since } => Some(*since),
            StepState::Ended { since, .. } => *since,
        };
        self.steps.iter().filter_map(since).min_by_key(|since| since.wall)
    }
}

impl Board {
    /// The job of an attempt, if the execution is live and the attempt current.
    #[must_use]
    pub fn job(&self, id: &AttemptId) -> Option<&Job> {
        self.live.get(&id.execution)?.job(id)
    }
}

impl StepState {
    /// How it ended, if it has.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Ended { verdict, .. } => Some(verdict),
            Self::Waiting | Self::Held | Self::Active { .. } => None,
        }
    }
}

impl Job {
    /// One that nothing has happened to.
    #[must_use]
    pub fn waiting() -> Self {
        let (image, ahead) = (None, Ahead::Not);
        Self { attempt: 0, reruns: 0, began: None, paused_ms: 0, image, ahead, state: JobState::Waiting }
    }

    /// Whether a container of it may exist.
    #[must_use]
    pub fn occupies(&self) -> bool {
        match &self.state {
            JobState::Waiting | JobState::Held => self.ahead.occupies(),
            JobState::Preparing
            | JobState::Prepared { .. }
            | JobState::Launching { .. }
            | JobState::Running { .. }
            | JobState::Paused { .. }
            | JobState::Stopping { .. } => true,
            JobState::Ended { remains, .. } | JobState::Requeued { remains, .. } => *remains == Remains::Owed,
        }
    }

    /// Whether it holds a slot: from the making of its container to the end of its process.
    #[must_use]
    pub fn alive(&self) -> bool {
        match &self.state {
            JobState::Preparing
            | JobState::Prepared { .. }
            | JobState::Launching { .. }
            | JobState::Running { .. }
            | JobState::Paused { .. }
            | JobState::Stopping { .. } => true,
            JobState::Waiting | JobState::Held | JobState::Ended { .. } | JobState::Requeued { .. } => false,
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        let JobState::Ended { verdict, .. } = &self.state else { return None };
        Some(verdict)
    }

    /// Whether it is over.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.state, JobState::Ended { .. })
    }
}

impl Verdict {
    /// The reason, for every verdict but success.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Succeeded => None,
            Self::Failed(reason) | Self::Skipped(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}
