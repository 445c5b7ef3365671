//! Turns a record into the next state: the only place where state changes, live and on replay.
//!
//! Must not: decide; a record that does not fit is an error that carries both sides.

use std::sync::Arc;

use super::record::{Record, Recorded};
use super::state::{Board, Execution, Job, JobState, Phase, Remains, Run, Step, StepState, Verdict};
use crate::bundle::ExecutionId;
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
    fn new(recorded: &Recorded, state: &impl std::fmt::Debug) -> Box<Self> {
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
    let at = recorded.at;
    match &recorded.record {
        Record::Accepted { .. } => return Err(Illegal::new(recorded, &execution.phase)),
        Record::Released => match execution.phase {
            Phase::Held => execution.phase = Phase::Open,
            Phase::Open | Phase::Settled { .. } | Phase::Ended { .. } => {
                return Err(Illegal::new(recorded, &execution.phase));
            }
        },
        Record::Halted { halt } => execution.halt = Some(halt.clone()),
        Record::Settled { verdict } => match execution.phase {
            Phase::Held | Phase::Open => execution.phase = Phase::Settled { verdict: verdict.clone(), at },
            Phase::Settled { .. } | Phase::Ended { .. } => return Err(Illegal::new(recorded, &execution.phase)),
        },
        Record::Ended => end(execution, recorded)?,
        Record::StepStarted { step } | Record::StepEnded { step, .. } => {
            let Some(step) = execution.steps.get_mut(*step) else {
                return Err(Illegal::new(recorded, &"without that step"));
            };
            advance_step(step, recorded)?;
        }
        Record::JobPreparing { step, job, .. }
        | Record::JobPrepared { step, job, .. }
        | Record::JobLaunching { step, job }
        | Record::JobStarted { step, job }
        | Record::JobStopping { step, job, .. }
        | Record::JobEnded { step, job, .. }
        | Record::JobCleared { step, job, .. } => {
            let Some(job) = execution.steps.get_mut(*step).and_then(|step| step.jobs.get_mut(*job)) else {
                return Err(Illegal::new(recorded, &"without that job"));
            };
            job.state = next_job_state(job, recorded)?;
            if let Record::JobPreparing { attempt, .. } = recorded.record {
                job.attempt = attempt;
            }
        }
    }
    Ok(())
}

fn end(execution: &mut Execution, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    match &execution.phase {
        Phase::Settled { verdict, at } => {
            execution.phase = Phase::Ended { verdict: verdict.clone(), at: *at };
            Ok(())
        }
        phase @ (Phase::Held | Phase::Open | Phase::Ended { .. }) => Err(Illegal::new(recorded, phase)),
    }
}

fn advance_step(step: &mut Step, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    let at = recorded.at;
    step.state = match (&recorded.record, &step.state) {
        (Record::StepStarted { .. }, StepState::Waiting) => StepState::Active { since: at },
        (Record::StepEnded { verdict, output, .. }, StepState::Waiting) => {
            for job in &mut step.jobs {
                job.state = never_started(verdict, at);
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

fn never_started(verdict: &Verdict, at: Timestamp) -> JobState {
    JobState::Ended { verdict: verdict.clone(), at, run: None, remains: Remains::Nothing }
}

fn next_job_state(job: &Job, recorded: &Recorded) -> Result<JobState, Box<Illegal>> {
    let at = recorded.at;
    Ok(match (&recorded.record, &job.state) {
        (Record::JobPreparing { .. }, JobState::Waiting | JobState::Preparing | JobState::Prepared { .. }) => {
            JobState::Preparing
        }
        (Record::JobPrepared { container, .. }, JobState::Preparing) => {
            JobState::Prepared { container: container.clone() }
        }
        (Record::JobLaunching { .. }, JobState::Prepared { container }) => {
            JobState::Launching { container: container.clone(), stop: None }
        }
        (Record::JobStarted { .. }, JobState::Launching { container, .. }) => {
            JobState::Running { container: container.clone(), started: at }
        }
        (Record::JobStopping { cause, signal, .. }, JobState::Launching { container, .. }) => {
            JobState::Launching { container: container.clone(), stop: Some((*cause, *signal)) }
        }
        (Record::JobStopping { cause, signal, .. }, JobState::Running { container, started }) => JobState::Stopping {
            container: container.clone(),
            started: *started,
            cause: *cause,
            signal: *signal,
            told: at,
        },
        (Record::JobStopping { signal, .. }, JobState::Stopping { container, started, cause, .. }) => {
            JobState::Stopping {
                container: container.clone(),
                started: *started,
                cause: *cause,
                signal: *signal,
                told: at,
            }
        }
        (Record::JobEnded { verdict, exit, .. }, state) if !job.ended() => {
            let run = match state {
                JobState::Running { container, started } | JobState::Stopping { container, started, .. } => {
                    Some(Run { container: container.clone(), started: *started, exit: exit.clone() })
                }
                JobState::Waiting
                | JobState::Preparing
                | JobState::Prepared { .. }
                | JobState::Launching { .. }
                | JobState::Ended { .. } => None,
            };
            let remains = if job.occupies() { Remains::Owed } else { Remains::Nothing };
            JobState::Ended { verdict: verdict.clone(), at, run, remains }
        }
        (Record::JobCleared { logs, .. }, JobState::Ended { verdict, at, run, remains: Remains::Owed }) => {
            JobState::Ended {
                verdict: verdict.clone(),
                at: *at,
                run: run.clone(),
                remains: Remains::Cleared(logs.clone()),
            }
        }
        (_, state) => return Err(Illegal::new(recorded, state)),
    })
}
