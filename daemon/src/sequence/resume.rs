//! The effects that a restarted daemon still owes: everything that was decided and may not have been done.
//!
//! Must not: add effects of its own; each one here was decided before.

use super::effect::{Disposal, Effect};
use super::state::{Ahead, AttemptId, Board, Execution, Freeze, Input, JobState, Phase, Remains, StepState};
use super::unit::disposal;
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
                JobState::Paused { container, freeze, .. } => {
                    effects.push(Effect::Watch(attempt, container.clone()));
                    let named = vec![(attempt, container.clone())];
                    match freeze {
                        Freeze::Asked => effects.push(Effect::Pause(named)),
                        Freeze::Frozen => {}
                        Freeze::Thawing => effects.push(Effect::Resume(named)),
                    }
                }
                JobState::Stopping { container, signal, .. } => {
                    effects.push(Effect::Watch(attempt, container.clone()));
                    effects.push(Effect::Signal(attempt, container.clone(), *signal));
                }
                JobState::Ended { remains: Remains::Owed, .. } | JobState::Requeued { remains: Remains::Owed, .. } => {
                    effects.push(Effect::Clear(attempt, disposal(execution, step, job)));
                }
                JobState::Waiting | JobState::Held => match &known.ahead {
                    Ahead::Making => {
                        effects.push(Effect::Prepare(AttemptId { attempt: known.attempt + 1, ..attempt }));
                    }
                    Ahead::Owed => effects.push(Effect::Clear(attempt, Disposal::Remove)),
                    Ahead::Not | Ahead::Made { .. } | Ahead::Spent => {}
                },
                JobState::Prepared { .. } | JobState::Ended { .. } | JobState::Requeued { .. } => {}
            }
        }
        if part.input == Input::Reading && part.state.verdict().is_none() {
            effects.push(Effect::Read { execution: id, step });
        }
        if matches!(part.state, StepState::Active { .. }) {
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
