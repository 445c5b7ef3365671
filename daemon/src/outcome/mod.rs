//! Core: what an end means. From exit codes, losses and budgets to verdicts; from jobs to steps to the execution.
//!
//! The rule that matters: our own record decides. A pod that was told to end failed, whatever its exit code.
//! Must not: ask Podman; facts come as arguments.

use crate::reason::{Name, Reason};
use crate::sequence::state::{Execution, Exit, Halt, Job, JobState, Phase, Step, StepState, StopCause, Verdict};

/// The state of an execution, step or job as everybody outside sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; something must happen first.
    Waiting,
    /// Waiting, and told not to start.
    Held,
    /// Its container is being made.
    Starting,
    /// Its process lives.
    Running,
    /// Frozen.
    Paused,
    /// An attempt failed, the next is due.
    Requeued,
    /// Requeued, and told not to start.
    RequeuedHeld,
    /// Ended as wanted.
    Succeeded,
    /// Ended otherwise.
    Failed,
    /// Never started.
    Skipped,
    /// Cannot be known.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Waiting,
        Self::Held,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Requeued,
        Self::RequeuedHeld,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Unknown,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Requeued => "requeued",
            Self::RequeuedHeld => "requeued_held",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Unknown)
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|state| state.as_str()).collect();
            format!("`{text}` is no state, expected one of: {}", names.join(", "))
        })
    }
}

/// The state that a verdict is.
#[must_use]
pub fn of_verdict(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Succeeded => State::Succeeded,
        Verdict::Failed(_) => State::Failed,
        Verdict::Skipped(_) => State::Skipped,
        Verdict::Unknown(_) => State::Unknown,
    }
}

/// The state of a job.
#[must_use]
pub fn job_state(job: &Job) -> State {
    match &job.state {
        JobState::Waiting => State::Waiting,
        JobState::Preparing | JobState::Prepared { .. } | JobState::Launching { .. } => State::Starting,
        JobState::Running { .. } | JobState::Stopping { .. } => State::Running,
        JobState::Ended { verdict, .. } => of_verdict(verdict),
    }
}

/// The state of a step: that of its jobs until it ends.
#[must_use]
pub fn step_state(step: &Step) -> State {
    match &step.state {
        StepState::Waiting => State::Waiting,
        StepState::Ended { verdict, .. } => of_verdict(verdict),
        StepState::Active { .. } => {
            let starting = |job: &Job| matches!(job_state(job), State::Waiting | State::Starting);
            if !step.jobs.is_empty() && step.jobs.iter().all(starting) { State::Starting } else { State::Running }
        }
    }
}

/// The state of an execution.
#[must_use]
pub fn execution_state(execution: &Execution) -> State {
    match &execution.phase {
        Phase::Held => State::Held,
        Phase::Ended { verdict, .. } => of_verdict(verdict),
        Phase::Settled { .. } => State::Running,
        Phase::Open => {
            if execution.steps.iter().all(|step| step.state == StepState::Waiting) {
                State::Waiting
            } else {
                State::Running
            }
        }
    }
}

/// What the end of a process means.
#[must_use]
pub fn of_exit(exit: &Exit, told: Option<StopCause>) -> Verdict {
    let how = exit_text(exit);
    match told {
        Some(StopCause::Timeout) => Verdict::Failed(Reason::new(Name::Timeout, format!("max_duration ran out; {how}"))),
        Some(StopCause::Operator) => {
            Verdict::Failed(Reason::new(Name::Stopped, format!("stopped by an operator; {how}")))
        }
        None if exit.oom => Verdict::Failed(Reason::new(Name::Oom, format!("killed for its memory; {how}"))),
        None if exit.code == 0 => Verdict::Succeeded,
        None => Verdict::Failed(Reason::new(Name::Exit, how)),
    }
}

fn exit_text(exit: &Exit) -> String {
    match exit.code {
        code @ 129..=192 => format!("exit code {code} (128 + signal {})", code - 128),
        code => format!("exit code {code}"),
    }
}

/// What it means that Podman no longer has a container that was started.
#[must_use]
pub fn of_loss(told: Option<StopCause>) -> Verdict {
    let after = match told {
        Some(StopCause::Timeout) => " after max_duration ran out",
        Some(StopCause::Operator) => " after an operator stopped it",
        None => "",
    };
    let message = format!("its container was removed by somebody else{after}; how it ended cannot be known");
    Verdict::Failed(Reason::new(Name::Lost, message))
}

/// What it means for a job that its step's budget ran out: what cannot have run failed, the rest is unknown.
#[must_use]
pub fn of_budget(state: &JobState, seconds: u32) -> Option<Verdict> {
    match state {
        JobState::Waiting | JobState::Preparing | JobState::Prepared { .. } => {
            let message = format!("the budget of {seconds} s ran out before its process started");
            Some(Verdict::Failed(Reason::new(Name::Timeout, message)))
        }
        JobState::Launching { .. } | JobState::Running { .. } | JobState::Stopping { .. } => {
            let message = format!("the budget of {seconds} s ran out and Podman has not said how its process ended");
            Some(Verdict::Unknown(Reason::new(Name::EngineUnreachable, message)))
        }
        JobState::Ended { .. } => None,
    }
}

/// What the ends of its jobs mean for a step: the first failure, else the first unknown, else the first skip.
#[must_use]
pub fn of_jobs(jobs: &[Job]) -> Verdict {
    worst(jobs.iter().filter_map(|job| match &job.state {
        JobState::Ended { verdict, .. } => Some(verdict),
        JobState::Waiting
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. }
        | JobState::Running { .. }
        | JobState::Stopping { .. } => None,
    }))
}

/// What the ends of its steps mean for an execution. Any step that did not succeed is named.
#[must_use]
pub fn of_execution(execution: &Execution) -> Verdict {
    if execution.halt == Some(Halt::Operator) {
        return Verdict::Failed(Reason::new(Name::Stopped, "stopped by an operator"));
    }
    let named = execution.plan.steps.iter().zip(&execution.steps).filter_map(|(planned, step)| {
        let with_step = |reason: &Reason| Reason::new(reason.name, format!("step {}: {}", planned.id, reason.message));
        Some(match step.state.verdict()? {
            Verdict::Succeeded => Verdict::Succeeded,
            Verdict::Failed(reason) => Verdict::Failed(with_step(reason)),
            Verdict::Skipped(reason) => Verdict::Skipped(with_step(reason)),
            Verdict::Unknown(reason) => Verdict::Unknown(with_step(reason)),
        })
    });
    match worst(named.collect::<Vec<_>>().iter()) {
        // Something did not run that should have: the execution did not do what it was sent for.
        Verdict::Skipped(reason) => Verdict::Failed(reason),
        verdict @ (Verdict::Succeeded | Verdict::Failed(_) | Verdict::Unknown(_)) => verdict,
    }
}

fn worst<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Failed(_) => 0,
        Verdict::Unknown(_) => 1,
        Verdict::Skipped(_) => 2,
        Verdict::Succeeded => 3,
    };
    verdicts.min_by_key(|verdict| rank(verdict)).cloned().unwrap_or(Verdict::Succeeded)
}
