//! Turns a record into the next state: the only place where state changes, live and on replay.
//!
//! Must not: decide; a record that does not fit is an error that carries both sides.

use std::sync::Arc;

use super::record::{Record, Recorded, Repeat};
use super::state::{Board, Execution, Hold, Input, Job, JobState, Phase, Step, StepState, Verdict};
use super::{image, job};
use crate::bundle::ExecutionId;
use crate::outcome;
use crate::plan::{self, Plan, Work};
use crate::reason::{Name, Reason};
use crate::time::Timestamp;

/// A record that does not fit the state it meets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {record} does not fit {execution}, which is {state}")]
pub struct Illegal {
    execution: ExecutionId,
    record: String,
    state: String,
}

impl Illegal {
    pub(super) fn new(recorded: &Recorded, state: &impl std::fmt::Debug) -> Box<Self> {
        Box::new(Self {
            execution: recorded.execution,
            record: format!("{:?}", recorded.record),
            state: format!("{state:?}"),
        })
    }
}

/// Applies one record to the board. An execution that ends leaves `live` and is returned.
///
/// # Errors
/// When the record does not fit; the board is then unchanged.
pub fn apply(board: &mut Board, recorded: &Recorded) -> Result<Option<Arc<Execution>>, Illegal> {
    let id = recorded.execution;
    if let Record::Accepted { plan, held } = &recorded.record {
        if board.live.contains_key(&id) || board.ended.contains(&id) {
            return Err(*Illegal::new(recorded, &"already known"));
        }
        board.live.insert(id, Arc::new(Execution::new(plan.clone(), *held, recorded.at)));
        return Ok(None);
    }
    // Its identity stays known, so that its bundle never runs again.
    if recorded.record == Record::Purged && board.ended.contains(&id) {
        return Ok(None);
    }
    let execution = board.live.get_mut(&id).ok_or_else(|| *Illegal::new(recorded, &"not live"))?;
    advance(Arc::make_mut(execution), recorded).map_err(|illegal| *illegal)?;
    if !matches!(execution.phase, Phase::Ended { .. }) {
        return Ok(None);
    }
    Arc::make_mut(&mut board.ended).insert(id);
    Ok(board.live.remove(&id))
}

/// Applies one record to the execution it is about.
///
/// # Errors
/// When the record does not fit; the execution is then unchanged.
pub fn advance(execution: &mut Execution, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    match &recorded.record {
        Record::Accepted { .. } | Record::Purged => return Err(Illegal::new(recorded, &execution.phase)),
        Record::Released => match execution.phase {
            Phase::Held | Phase::Quarantined => (execution.phase, execution.resets) = (Phase::Open, 0),
            Phase::Open | Phase::Settled { .. } | Phase::Ended { .. } => {
                return Err(Illegal::new(recorded, &execution.phase));
            }
        },
        Record::Interrupted { .. } | Record::Quarantined => interrupt(execution, recorded)?,
        Record::Halted { halt } => execution.halt = Some(halt.clone()),
        Record::Settled { verdict } => settle(execution, verdict, recorded)?,
        Record::Ended => end(execution, recorded)?,
        Record::StepStarted { step }
        | Record::StepEnded { step, .. }
        | Record::StepHeld { step }
        | Record::StepReleased { step }
        | Record::StepReading { step } => {
            let known = step_mut(execution, *step, recorded)?;
            let active = matches!(known.state, StepState::Active { .. });
            advance_step(known, recorded)?;
            let ended = known.state.verdict().is_some();
            if active && ended {
                end_errand(execution, *step);
            }
        }
        Record::StepTaken { step, pieces } => take(execution, *step, pieces.as_deref(), recorded)?,
        Record::ImageKnown { node, image } => execution.images.pin(node, image),
        Record::ImageReloading { step, job, name } => reload(execution, (*step, *job), name, recorded)?,
        Record::UnitRequeued { step, unit, cause, pause_ms } => {
            requeue(execution, (*step, *unit), (*cause, *pause_ms), recorded)?;
        }
        Record::JobHeld { step, job }
        | Record::JobReleased { step, job }
        | Record::JobPreparing { step, job, .. }
        | Record::JobPrepared { step, job, .. }
        | Record::JobPreparingAhead { step, job }
        | Record::JobPreparedAhead { step, job, .. }
        | Record::JobWithdrawn { step, job }
        | Record::JobLaunching { step, job }
        | Record::JobStarted { step, job }
        | Record::JobPausing { step, job }
        | Record::JobPaused { step, job }
        | Record::JobResuming { step, job }
        | Record::JobResumed { step, job, .. }
        | Record::JobStopping { step, job, .. }
        | Record::JobEnded { step, job, .. }
        | Record::JobCleared { step, job, .. } => {
            advance_job(execution, (*step, *job), recorded)?;
        }
    }
    Ok(())
}

/// An errand came to its end: whatever made the resets, it was not this. What it may have made is known no longer.
fn end_errand(execution: &mut Execution, step: usize) {
    let planned = &execution.plan.steps[step];
    if planned.is_errand() {
        execution.resets = 0;
    }
    if let Some(name) = image::made_by(&execution.plan.tenant, planned) {
        execution.images.forget(&name);
    }
}

/// An image is to be loaded once more, for a job that is being prepared.
fn reload(
    execution: &mut Execution,
    (step, job): (usize, usize),
    name: &str,
    recorded: &Recorded,
) -> Result<(), Box<Illegal>> {
    let known = execution.steps.get(step).and_then(|known| known.jobs.get(job));
    let planned = execution.plan.steps.get(step).and_then(|planned| planned.jobs().get(job));
    let preparing = known.filter(|known| known.state == JobState::Preparing).and(planned);
    match preparing {
        Some(planned) if execution.images.reload(&planned.node, name, (step, job)) => Ok(()),
        Some(_) | None => Err(Illegal::new(recorded, &execution.images)),
    }
}

fn advance_job(
    execution: &mut Execution,
    (step, job): (usize, usize),
    recorded: &Recorded,
) -> Result<(), Box<Illegal>> {
    let Some(known) = execution.steps.get_mut(step).and_then(|step| step.jobs.get_mut(job)) else {
        return Err(Illegal::new(recorded, &"without that job"));
    };
    job::advance(known, recorded)?;
    if matches!(recorded.record, Record::JobPrepared { .. } | Record::JobEnded { .. }) {
        execution.images.reloaded((step, job));
    }
    // Nor was it a process that came to its end.
    if matches!(recorded.record, Record::JobEnded { exit: Some(_), .. }) {
        execution.resets = 0;
    }
    Ok(())
}

/// It was running at a reset; or at one too many, and waits: what was under way for it is to be done anew.
fn interrupt(execution: &mut Execution, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    if execution.phase != Phase::Open {
        return Err(Illegal::new(recorded, &execution.phase));
    }
    if recorded.record != Record::Quarantined {
        execution.resets = execution.resets.saturating_add(1);
        return Ok(());
    }
    execution.phase = Phase::Quarantined;
    for (planned, step) in execution.plan.steps.iter().zip(&mut execution.steps) {
        if planned.is_errand() && matches!(step.state, StepState::Active { .. }) {
            step.state = StepState::Waiting;
        }
        if step.input == Input::Reading && step.state.verdict().is_none() {
            step.input = Input::Unread;
        }
    }
    Ok(())
}

fn step_mut<'a>(execution: &'a mut Execution, step: usize, recorded: &Recorded) -> Result<&'a mut Step, Box<Illegal>> {
    execution.steps.get_mut(step).ok_or_else(|| Illegal::new(recorded, &"without that step"))
}

fn settle(execution: &mut Execution, verdict: &Verdict, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    match execution.phase {
        Phase::Held | Phase::Open | Phase::Quarantined => {
            execution.phase = Phase::Settled { verdict: verdict.clone(), at: recorded.at };
            Ok(())
        }
        Phase::Settled { .. } | Phase::Ended { .. } => Err(Illegal::new(recorded, &execution.phase)),
    }
}

fn end(execution: &mut Execution, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    match &execution.phase {
        Phase::Settled { verdict, at } => {
            execution.phase = Phase::Ended { verdict: verdict.clone(), at: *at };
            Ok(())
        }
        phase @ (Phase::Held | Phase::Open | Phase::Quarantined | Phase::Ended { .. }) => {
            Err(Illegal::new(recorded, phase))
        }
    }
}

fn advance_step(step: &mut Step, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    let at = recorded.at;
    step.state = match (&recorded.record, &step.state) {
        (Record::StepStarted { .. }, StepState::Waiting) => StepState::Active { since: at },
        (Record::StepHeld { .. }, StepState::Waiting) => StepState::Held,
        (Record::StepReleased { .. }, StepState::Held) => StepState::Waiting,
        (Record::StepReading { .. }, StepState::Waiting | StepState::Held) if step.input == Input::Unread => {
            step.input = Input::Reading;
            step.state.clone()
        }
        (Record::StepEnded { verdict, output, .. }, StepState::Waiting | StepState::Held) => {
            for job in step.jobs.iter_mut().filter(|job| !job.ended()) {
                job::end_unstarted(job, verdict, at);
            }
            StepState::Ended { since: None, at, verdict: verdict.clone(), output: *output }
        }
        (Record::StepEnded { verdict, output, .. }, StepState::Active { since }) => {
            StepState::Ended { since: Some(*since), at, verdict: verdict.clone(), output: *output }
        }
        (_, state) => return Err(Illegal::new(recorded, state)),
    };
    Ok(())
}

/// The outputs let a step run; pieces become its jobs.
fn take(
    execution: &mut Execution,
    index: usize,
    pieces: Option<&[String]>,
    recorded: &Recorded,
) -> Result<(), Box<Illegal>> {
    let plan = execution.plan.clone();
    let step = step_mut(execution, index, recorded)?;
    if step.input != Input::Reading {
        return Err(Illegal::new(recorded, step));
    }
    step.input = Input::Taken;
    if let Some(pieces) = pieces {
        let jobs = fan_out(&plan, index, pieces).ok_or_else(|| Illegal::new(recorded, &"without a fan-out"))?;
        step.jobs = vec![Job::waiting(); jobs.len()];
        Arc::make_mut(&mut execution.plan).steps[index].work = Work::PodRun { jobs };
    }
    Ok(())
}

/// The jobs that pieces of an output ask for.
fn fan_out(plan: &Plan, step: usize, pieces: &[String]) -> Option<Vec<plan::PlannedJob>> {
    let fan_out = plan.steps.get(step)?.terms.fan_out.as_ref()?;
    let commands: Vec<String> = pieces
        .iter()
        .enumerate()
        .map(|(item, piece)| plan::filled(&fan_out.command, &[piece.as_str()], item))
        .collect();
    plan::expand(std::slice::from_ref(&*fan_out.template), &plan::Expansion::Commands(&commands)).ok()
}

/// Every job of a unit gets another attempt; all of them are over, or a quarantine ends them.
fn requeue(
    execution: &mut Execution,
    (index, unit): (usize, usize),
    (cause, pause_ms): (Repeat, u64),
    recorded: &Recorded,
) -> Result<(), Box<Illegal>> {
    let Some(members) = execution.plan.steps.get(index).map(|planned| planned.unit(unit)) else {
        return Err(Illegal::new(recorded, &"without that step"));
    };
    let step = step_mut(execution, index, recorded)?;
    if !matches!(step.state, StepState::Active { .. }) || members.is_empty() {
        return Err(Illegal::new(recorded, &step.state));
    }
    let jobs = &mut step.jobs[members];
    let over = |job: &&Job| job.ended() || (cause == Repeat::Quarantine && job.alive());
    if let Some(open) = jobs.iter().find(|job| !over(job)) {
        return Err(Illegal::new(recorded, open));
    }
    let due =
        Timestamp { wall: recorded.at.wall, boot: recorded.at.boot.after(std::time::Duration::from_millis(pause_ms)) };
    for job in jobs {
        if job.alive() {
            job.state = job::ended(job, recorded.at, &outcome::of_quarantine(None), None);
        }
        let JobState::Ended { verdict, run, remains, .. } = &job.state else { continue };
        let reason = verdict.reason().cloned();
        let reason = reason.unwrap_or_else(|| Reason::new(Name::GroupMember, "its gang is attempted once more"));
        job.state = JobState::Requeued { due, reason, run: run.clone(), remains: remains.clone(), hold: Hold::Free };
        match cause {
            Repeat::Retry => {}
            Repeat::PowerLoss | Repeat::Quarantine => job.reruns += 1,
        }
    }
    Ok(())
}
