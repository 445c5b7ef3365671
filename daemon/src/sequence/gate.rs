//! What lets a step or a unit of it start, and what keeps it: dependencies, windows, caps, holds, halts, retries.
//!
//! Must not: record; `cascade` does.

use super::record::Repeat;
use super::state::{Ahead, Execution, Halt, Hold, Job, JobState, Remains, StepState, Verdict};
use crate::bundle::StepId;
use crate::bundle::document::OnFailure;
use crate::bundle::flow::OnPowerLoss;
use crate::outcome;
use crate::plan::Needs;
use crate::reason::{Name, Reason};
use crate::time::Timestamp;

/// Attempts of one unit that power may cut short before its step fails for good.
pub const RERUNS_MAX: u32 = 3;

/// Why the rest of a gang does not start.
const BROKEN: &str = "another pod of its gang was ended before it started";

/// Whether a step may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing stands in its way.
    Open,
    /// Something must happen first.
    Wait,
    /// It never will.
    Skip(Verdict),
}

/// What is due for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// It starts.
    Start,
    /// It never will.
    Skip(Verdict),
}

/// Whether a waiting step may start, but for what each of its units waits for.
pub(super) fn of_step(execution: &Execution, step: usize, now: Timestamp) -> Gate {
    let planned = &execution.plan.steps[step];
    for edge in &planned.after {
        let verdict = execution.steps[edge.step].state.verdict();
        match (edge.needs, verdict) {
            (Needs::Ended | Needs::Success, None) => return Gate::Wait,
            (Needs::Success, Some(verdict)) if *verdict != Verdict::Succeeded => {
                return Gate::Skip(after_failure(execution, edge.step, verdict));
            }
            (Needs::Ended | Needs::Success, Some(_)) | (Needs::Each, _) => {}
        }
    }
    let window = planned.terms.window;
    if let Some(last) = window.not_after.filter(|last| now.wall >= *last) {
        let message = format!("it had not started by its not_after, {last}");
        return Gate::Skip(Verdict::Skipped(Reason::new(Name::Window, message)));
    }
    match window.not_before {
        Some(first) if now.wall < first => Gate::Wait,
        Some(_) | None => Gate::Open,
    }
}

/// How what depends on a step or unit ends when that did not succeed.
fn after_failure(execution: &Execution, source: usize, verdict: &Verdict) -> Verdict {
    let id = &execution.plan.steps[source].id;
    let by_condition = verdict.reason().is_some_and(|reason| reason.name == Name::Condition);
    Verdict::Skipped(match verdict {
        Verdict::Skipped(_) if by_condition => {
            Reason::new(Name::Condition, format!("step {id} was skipped by its condition"))
        }
        Verdict::Succeeded | Verdict::Failed(_) | Verdict::Skipped(_) | Verdict::Unknown(_) => {
            Reason::new(Name::Dependency, format!("step {id} did not succeed"))
        }
    })
}

/// The units of an open step whose turn it is, in order: as many as the caps leave room for.
pub(super) fn turns(execution: &Execution, step: usize, now: Timestamp) -> Vec<(usize, Turn)> {
    let (planned, known) = (&execution.plan.steps[step], &execution.steps[step]);
    let mut room = room(execution, step);
    let mut turns = Vec::new();
    for unit in 0..planned.units() {
        let jobs = &known.jobs[planned.unit(unit)];
        let waiting = jobs.iter().all(|job| job.state == JobState::Waiting && job.ahead != Ahead::Owed);
        let repeated = jobs.iter().all(|job| may_repeat(job, now));
        let gate = match waiting {
            _ if is_broken(jobs) => Gate::Skip(Verdict::Skipped(Reason::new(Name::GroupMember, BROKEN))),
            true => of_unit(execution, step, unit),
            false => Gate::Open,
        };
        match gate {
            Gate::Skip(verdict) => turns.push((unit, Turn::Skip(verdict))),
            Gate::Open if (waiting || repeated) && room > 0 => {
                room -= 1;
                turns.push((unit, Turn::Start));
            }
            Gate::Open | Gate::Wait => {}
        }
    }
    turns
}

/// Whether a unit can never start, because one of its members was ended while none of it was alive.
fn is_broken(jobs: &[Job]) -> bool {
    jobs.iter().any(Job::ended) && !jobs.iter().all(Job::ended) && !jobs.iter().any(Job::alive)
}

/// Whether another attempt of a job is due and may start.
pub(super) fn may_repeat(job: &Job, now: Timestamp) -> bool {
    match &job.state {
        JobState::Requeued { due, remains, hold, .. } => {
            due.boot <= now.boot && *remains != Remains::Owed && *hold == Hold::Free
        }
        JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. }
        | JobState::Running { .. }
        | JobState::Paused { .. }
        | JobState::Stopping { .. }
        | JobState::Ended { .. } => false,
    }
}

/// Whether a unit may start, as far as the units at its position decide.
pub(super) fn of_unit(execution: &Execution, step: usize, unit: usize) -> Gate {
    for edge in execution.plan.steps[step].after.iter().filter(|edge| edge.needs == Needs::Each) {
        match final_verdict(execution, edge.step, unit) {
            None => return Gate::Wait,
            Some(Verdict::Succeeded) => {}
            Some(verdict) => return Gate::Skip(after_failure(execution, edge.step, &verdict)),
        }
    }
    Gate::Open
}

/// How a unit ended, if it has and is not attempted once more.
fn final_verdict(execution: &Execution, step: usize, unit: usize) -> Option<Verdict> {
    outcome::of_unit(execution, step, unit).filter(|_| repeat(execution, step, unit).is_none())
}

/// Units that the caps leave room for.
fn room(execution: &Execution, step: usize) -> usize {
    let of_step = execution.plan.steps[step].terms.max_parallel.map_or(usize::MAX, |cap| cap as usize);
    let in_step = of_step.saturating_sub(alive(execution, step));
    in_step.min(room_of(execution))
}

fn room_of(execution: &Execution) -> usize {
    let Some(cap) = execution.plan.parallelism else { return usize::MAX };
    (cap as usize).saturating_sub(alive_of(execution))
}

/// Whether a merge group fits under the cap of its execution; one that never would is let through when nothing else
/// is alive, because its steps belong together.
pub(super) fn has_room(execution: &Execution, units: usize) -> bool {
    alive_of(execution) == 0 || room_of(execution) >= units
}

/// Units that are alive.
pub(super) fn alive_of(execution: &Execution) -> usize {
    (0..execution.steps.len()).map(|step| alive(execution, step)).sum()
}

fn alive(execution: &Execution, step: usize) -> usize {
    let (planned, known) = (&execution.plan.steps[step], &execution.steps[step]);
    if !matches!(known.state, StepState::Active { .. }) {
        return 0;
    }
    (0..planned.units()).filter(|unit| known.jobs[planned.unit(*unit)].iter().any(Job::alive)).count()
}

/// Whether the outputs that decide about a step are kept already.
pub(super) fn readable(execution: &Execution, step: usize) -> bool {
    let sources = execution.plan.steps[step].sources();
    sources.iter().all(|source| execution.steps[*source].jobs.iter().all(|job| job.ended() && !job.occupies()))
}

/// The units that are attempted once more: step, unit, why, and after how many milliseconds.
pub(super) fn repeats(execution: &Execution) -> Vec<(usize, usize, Repeat, u64)> {
    let active = |step: &usize| matches!(execution.steps[*step].state, StepState::Active { .. });
    let units = (0..execution.steps.len())
        .filter(active)
        .flat_map(|step| (0..execution.plan.steps[step].units()).map(move |unit| (step, unit)));
    units
        .filter_map(|(step, unit)| repeat(execution, step, unit).map(|(cause, pause)| (step, unit, cause, pause)))
        .collect()
}

fn repeat(execution: &Execution, step: usize, unit: usize) -> Option<(Repeat, u64)> {
    let retry = execution.plan.steps[step].terms.retry;
    if retry == crate::plan::Retry::default() || halt_for(execution, step).is_some() {
        return None;
    }
    let Verdict::Failed(reason) = outcome::of_unit(execution, step, unit)? else { return None };
    let jobs = &execution.steps[step].jobs[execution.plan.steps[step].unit(unit)];
    let (attempt, reruns) = jobs.iter().map(|job| (job.attempt, job.reruns)).max()?;
    if reason.name == Name::LostPower {
        let again = retry.on_power_loss == OnPowerLoss::Rerun && reruns < RERUNS_MAX;
        return again.then_some((Repeat::PowerLoss, 0));
    }
    // One that was made ahead and withdrawn never started.
    let withdrawn = u32::from(jobs.iter().any(|job| job.ahead == Ahead::Spent));
    let failed = attempt.saturating_sub(reruns + withdrawn);
    let again = failed > 0 && failed <= retry.times && retryable(reason.name);
    again.then(|| (Repeat::Retry, u64::from(retry.pause_seconds(failed)) * 1000))
}

/// What another attempt may mend. A time that ran out is not: it bounds the time on board. What was lost may have run.
fn retryable(name: Name) -> bool {
    matches!(name, Name::Exit | Name::Oom | Name::StartError | Name::PortInUse | Name::GroupMember)
}

/// The first step with `on_failure: stop` of which something failed for good.
pub(super) fn failed_stop(execution: &Execution) -> Option<StepId> {
    let stops = |verdict: &Verdict| match verdict {
        // A part of it that was skipped is the failure of another step, which decides for itself.
        Verdict::Failed(reason) => !matches!(reason.name, Name::Dependency | Name::Condition),
        Verdict::Unknown(_) => true,
        Verdict::Skipped(reason) => reason.name == Name::Window,
        Verdict::Succeeded => false,
    };
    (0..execution.steps.len()).find_map(|step| {
        let (planned, known) = (&execution.plan.steps[step], &execution.steps[step]);
        let of_units =
            || (0..planned.units()).any(|unit| final_verdict(execution, step, unit).as_ref().is_some_and(stops));
        let failed = match &known.state {
            // Job by job it was ended before its start: it is over.
            StepState::Waiting | StepState::Held => known.jobs.iter().all(Job::ended) && of_units(),
            StepState::Ended { verdict, .. } => stops(verdict),
            StepState::Active { .. } => of_units(),
        };
        (failed && planned.on_failure == OnFailure::Stop).then(|| planned.id.clone())
    })
}

/// Why nothing of a step starts any more. The members of a step go on when another of them fails.
pub(super) fn halt_for(execution: &Execution, step: usize) -> Option<&Halt> {
    execution.halt.as_ref().filter(|halt| **halt != Halt::Failure(execution.plan.steps[step].id.clone()))
}

/// How what is halted before its start ends.
pub(super) fn halted(halt: &Halt) -> Verdict {
    match halt {
        Halt::Failure(step) => {
            let message = format!("step {step} did not succeed and its on_failure is stop");
            Verdict::Skipped(Reason::new(Name::SequenceStopped, message))
        }
        Halt::Operator => stopped(),
    }
}

/// How everything that an operator stops ends.
pub(super) fn stopped() -> Verdict {
    Verdict::Failed(Reason::new(Name::Stopped, "stopped by an operator"))
}
