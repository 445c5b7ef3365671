//! The effects that a restarted daemon still owes: everything that was decided and may not have been done.
//!
//! Must not: add effects of its own; each one here was decided before.

use super::effect::Effect;
use super::state::{AttemptId, Board, Execution, JobState, Phase, Remains, StepState};
use crate::plan::Work;

/// The unfinished effects of every live execution, in the order of their decisions.
#[must_use]
pub fn resume(board: &Board) -> Vec<Effect> {
    board.live.values().flat_map(|execution| of_execution(execution)).collect()
}

fn of_execution(execution: &Execution) -> Vec<Effect> {
    let id = execution.plan.execution;
    let mut effects = Vec::new();
    let mut launching = Vec::new();
    for (step, part) in execution.steps.iter().enumerate() {
        for (job, known) in part.jobs.iter().enumerate() {
            let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
            match &known.state {
                JobState::Preparing => effects.push(Effect::Prepare(attempt)),
                JobState::Launching { container, .. } => launching.push((attempt, container.clone())),
                JobState::Running { container, .. } => effects.push(Effect::Watch(attempt, container.clone())),
                JobState::Stopping { container, signal, .. } => {
                    effects.push(Effect::Watch(attempt, container.clone()));
                    effects.push(Effect::Signal(attempt, container.clone(), *signal));
                }
                JobState::Ended { remains: Remains::Owed, .. } => effects.push(Effect::Clear(attempt)),
                JobState::Waiting | JobState::Prepared { .. } | JobState::Ended { .. } => {}
            }
        }
        if part.state != StepState::Waiting && part.state.verdict().is_none() {
            match execution.plan.steps[step].work {
                Work::PodRun { .. } => {}
                Work::Errand(_) => effects.push(Effect::Errand { execution: id, step }),
            }
        }
    }
    if !launching.is_empty() {
        effects.push(Effect::Launch(launching));
    }
    if matches!(execution.phase, Phase::Settled { .. }) {
        effects.push(Effect::Report(id));
    }
    effects
}
