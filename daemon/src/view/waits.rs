//! What waits names what it waits for.
//!
//! Must not: leave a waiting part without an answer.

use super::{Around, StepStatus, job_id};
use crate::outcome::State;
use crate::plan::Needs;
use crate::sequence::cascade::obstacle;
use crate::sequence::event::Away;
use crate::sequence::state::{Ahead, Execution, Input, JobState, Phase, StepState};

pub(super) fn execution_waits(execution: &Execution, steps: &[StepStatus]) -> Option<String> {
    match &execution.phase {
        Phase::Held | Phase::Quarantined => Some("release by an operator".to_owned()),
        Phase::Settled { .. } => Some("its report to be put into the outbox".to_owned()),
        Phase::Ended { .. } => None,
        Phase::Open if steps.iter().all(|step| step.state.ended()) => Some("its containers to be cleared".to_owned()),
        Phase::Open if steps.iter().all(|step| step.state == State::Waiting || step.state.ended()) => {
            steps.iter().find_map(|step| step.waiting_for.clone())
        }
        Phase::Open => None,
    }
}

/// The Podman that an active step needs an answer of, when it does not answer.
pub(super) fn podman_awaited(execution: &Execution, index: usize, away: &Away) -> Option<String> {
    let (planned, step) = (&execution.plan.steps[index], &execution.steps[index]);
    let open = planned.jobs().iter().zip(&step.jobs).filter(|(_, job)| !job.ended()).map(|(planned, _)| &planned.node);
    planned.node().into_iter().chain(open).find_map(|node| away.get(node)).map(|why| format!("podman to answer: {why}"))
}

pub(super) fn step_waits(execution: &Execution, index: usize, around: Option<Around<'_>>) -> String {
    if matches!(execution.phase, Phase::Held | Phase::Quarantined) {
        return "release by an operator".to_owned();
    }
    let planned = &execution.plan.steps[index];
    let step = &execution.steps[index];
    if step.state == StepState::Held || step.jobs.iter().any(|job| job.state == JobState::Held) {
        return "release by an operator".to_owned();
    }
    let open = planned.after.iter().find(|edge| execution.steps[edge.step].state.verdict().is_none());
    if let Some(edge) = open {
        let source = &execution.plan.steps[edge.step].id;
        return match edge.needs {
            Needs::Ended => format!("the end of step {source}"),
            Needs::Success => format!("the success of step {source}"),
            Needs::Each => format!("the success of step {source}, position by position"),
        };
    }
    if step.input == Input::Reading {
        return "the output that decides about it".to_owned();
    }
    if let Some(first) = planned.terms.window.not_before {
        return format!("its turn, not before {first}");
    }
    let group = execution.plan.group_of(index);
    if step.jobs.iter().any(|job| job.ahead == Ahead::Owed) {
        return "what was made ahead of its turn to be removed".to_owned();
    }
    let jobs = |step: usize| (0..execution.steps[step].jobs.len()).map(move |job| (step, job));
    let wanted: Vec<(usize, usize)> = group.flat_map(jobs).collect();
    let mut others = around.into_iter().flat_map(|around| around.board.live.values());
    match others.find_map(|other| Some((other, obstacle(execution, &wanted, other)?))) {
        Some((other, (attempt, hostname))) => {
            format!("{} to leave its node ({hostname})", job_id(other, attempt.step, attempt.job))
        }
        None => "its turn".to_owned(),
    }
}
