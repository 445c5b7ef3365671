//! When the engine must wake, and why. Counted in boot time.
//!
//! Must not: sleep; the loop does.

use std::time::Duration;

use super::state::{Board, Execution, JobState, Signal, StepState};
use crate::time::{BootTime, Timestamp};

/// Kept between SIGKILL and the end of a step's budget, for the exit to be noticed.
const KILL_MARGIN: Duration = Duration::from_secs(10);

/// What a deadline asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A process is to be told to end.
    Tell {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// What it is to be told.
        signal: Signal,
    },
    /// A step's budget has run out.
    Budget {
        /// Index of the step.
        step: usize,
    },
}

/// The next instant at which something is due, and what.
#[must_use]
pub fn next(board: &Board) -> Option<(BootTime, Due)> {
    board.live.values().flat_map(|execution| all(execution)).min_by_key(|(at, _)| *at)
}

/// What of an execution is due at an instant.
#[must_use]
pub fn due(execution: &Execution, now: BootTime) -> Vec<Due> {
    all(execution).into_iter().filter(|(at, _)| *at <= now).map(|(_, due)| due).collect()
}

fn all(execution: &Execution) -> Vec<(BootTime, Due)> {
    let mut deadlines = Vec::new();
    for (index, step) in execution.steps.iter().enumerate() {
        let StepState::Active { since } = &step.state else { continue };
        let planned = &execution.plan.steps[index];
        let budget = since.boot.after(Duration::from_secs(planned.timeout_seconds.into()));
        for (job, known) in step.jobs.iter().enumerate() {
            let longest = Duration::from_secs(planned.jobs()[job].max_duration_seconds.into());
            let grace = Duration::from_secs(execution.plan.stop_grace_seconds.into());
            deadlines.extend(
                tell(&known.state, longest, grace, budget)
                    .map(|(at, signal)| (at, Due::Tell { step: index, job, signal })),
            );
        }
        deadlines.push((budget, Due::Budget { step: index }));
    }
    deadlines
}

/// `max_duration` counts from the start of the process; TERM, grace and KILL fit inside the budget even when the
/// preparation was slow.
fn tell(state: &JobState, longest: Duration, grace: Duration, budget: BootTime) -> Option<(BootTime, Signal)> {
    let last_kill = budget.before(KILL_MARGIN);
    match state {
        JobState::Running { started: Timestamp { boot, .. }, .. } => {
            Some((boot.after(longest).min(last_kill.before(grace)), Signal::Term))
        }
        JobState::Stopping { signal: Signal::Term, told, .. } => {
            Some((told.boot.after(grace).min(last_kill), Signal::Kill))
        }
        JobState::Stopping { signal: Signal::Kill, .. }
        | JobState::Waiting
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. }
        | JobState::Ended { .. } => None,
    }
}
