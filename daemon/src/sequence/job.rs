//! The state machine of a job: from one state to the next by a record.
//!
//! ```text
//! Waiting ─ Preparing ─ Prepared ─ Launching ─ Running ─ Stopping(TERM ─ KILL)
//!  │ Held     │           │           │        │ Paused    │
//!  └──────────┴───────────┴──────────┴─────────┴───────────┴─▶ Ended(verdict, remains: owed ─ cleared)
//!                                    Preparing ◀─ Requeued ◀──── (another attempt)
//! ```
//!
//! Beside `Waiting` and `Held` a container may stand that was made before the turn of the job:
//!
//! ```text
//! Not ─ Making ─ Made ─▶ Preparing, Prepared (its turn has come)
//!         └───────┴─ Owed ─ Spent (it was withdrawn)
//! ```
//!
//! Must not: look at other jobs.

use super::apply::Illegal;
use super::record::{Record, Recorded};
use super::state::{Ahead, Exit, Freeze, Hold, Job, JobState, Remains, Run, Verdict};
use crate::time::Timestamp;

/// Applies one record to the job it is about.
pub(super) fn advance(job: &mut Job, recorded: &Recorded) -> Result<(), Box<Illegal>> {
    if let Some(next) = ahead(job, recorded)? {
        // The number of a withdrawn attempt is not given again.
        job.attempt += u32::from(next == Ahead::Owed);
        job.ahead = next;
        return Ok(());
    }
    let next = next(job, recorded)?;
    if let Record::JobPreparing { attempt, .. } = recorded.record
        && attempt != job.attempt
    {
        (job.attempt, job.began, job.paused_ms, job.image) = (attempt, Some(recorded.at), 0, None);
    }
    if let JobState::Paused { since, freeze: Freeze::Frozen | Freeze::Thawing, .. } = &job.state
        && !matches!(next, JobState::Paused { .. })
    {
        let frozen = recorded.at.boot.since(since.boot).as_millis();
        job.paused_ms = job.paused_ms.saturating_add(u64::try_from(frozen).unwrap_or(u64::MAX));
    }
    if let Record::JobPrepared { image, .. } = &recorded.record {
        job.image.clone_from(image);
    }
    if matches!(next, JobState::Ended { .. }) && job.ahead.stands() {
        job.attempt += 1;
    }
    if job.ahead.occupies() && !matches!(next, JobState::Waiting | JobState::Held) {
        job.ahead = Ahead::Not;
    }
    job.state = next;
    Ok(())
}

/// Ends a job with its step, which has not started.
pub(super) fn end_unstarted(job: &mut Job, verdict: &Verdict, at: Timestamp) {
    let next = ended(job, at, verdict, None);
    job.attempt += u32::from(job.ahead.stands());
    (job.ahead, job.state) = (Ahead::Not, next);
}

/// What becomes of the container that was made ahead, if the record is about that.
fn ahead(job: &Job, recorded: &Recorded) -> Result<Option<Ahead>, Box<Illegal>> {
    let waits = matches!(job.state, JobState::Waiting | JobState::Held);
    match (&recorded.record, &job.ahead) {
        (Record::JobPreparingAhead { .. }, Ahead::Not) if job.state == JobState::Waiting => Ok(Some(Ahead::Making)),
        (Record::JobPreparedAhead { container, image, .. }, Ahead::Making) if waits => {
            Ok(Some(Ahead::Made { container: container.clone(), image: image.clone() }))
        }
        (Record::JobWithdrawn { .. }, Ahead::Making | Ahead::Made { .. }) if waits => Ok(Some(Ahead::Owed)),
        (Record::JobCleared { .. }, Ahead::Owed) if waits => Ok(Some(Ahead::Spent)),
        (Record::JobPreparing { .. }, Ahead::Owed)
        | (
            Record::JobPreparingAhead { .. } | Record::JobPreparedAhead { .. } | Record::JobWithdrawn { .. },
            Ahead::Not | Ahead::Making | Ahead::Made { .. } | Ahead::Owed | Ahead::Spent,
        ) => Err(Illegal::new(recorded, job)),
        _ => Ok(None),
    }
}

fn next(job: &Job, recorded: &Recorded) -> Result<JobState, Box<Illegal>> {
    let at = recorded.at;
    match &recorded.record {
        Record::JobHeld { .. } | Record::JobReleased { .. } => held(job, recorded),
        Record::JobPausing { .. }
        | Record::JobPaused { .. }
        | Record::JobResuming { .. }
        | Record::JobResumed { .. } => frozen(job, recorded),
        Record::JobStopping { .. } => stopping(job, recorded),
        Record::JobEnded { verdict, exit, .. } if !job.ended() => Ok(ended(job, at, verdict, exit.as_ref())),
        Record::JobEnded { .. }
        | Record::JobPreparing { .. }
        | Record::JobPrepared { .. }
        | Record::JobLaunching { .. }
        | Record::JobStarted { .. }
        | Record::JobCleared { .. } => lived(job, recorded),
        Record::Accepted { .. }
        | Record::Released
        | Record::Interrupted { .. }
        | Record::Quarantined
        | Record::Halted { .. }
        | Record::StepStarted { .. }
        | Record::StepEnded { .. }
        | Record::StepHeld { .. }
        | Record::StepReleased { .. }
        | Record::StepReading { .. }
        | Record::StepTaken { .. }
        | Record::ImageKnown { .. }
        | Record::ImageReloading { .. }
        | Record::UnitRequeued { .. }
        | Record::JobPreparingAhead { .. }
        | Record::JobPreparedAhead { .. }
        | Record::JobWithdrawn { .. }
        | Record::Settled { .. }
        | Record::Ended
        | Record::Purged => Err(Illegal::new(recorded, &job.state)),
    }
}

fn lived(job: &Job, recorded: &Recorded) -> Result<JobState, Box<Illegal>> {
    Ok(match (&recorded.record, &job.state) {
        (
            Record::JobPreparing { .. },
            JobState::Waiting | JobState::Preparing | JobState::Prepared { .. } | JobState::Requeued { .. },
        ) => JobState::Preparing,
        (Record::JobPrepared { container, .. }, JobState::Preparing) => {
            JobState::Prepared { container: container.clone() }
        }
        (Record::JobLaunching { .. }, JobState::Prepared { container }) => {
            JobState::Launching { container: container.clone(), stop: None }
        }
        (Record::JobStarted { .. }, JobState::Launching { container, .. }) => {
            JobState::Running { container: container.clone(), started: recorded.at }
        }
        (Record::JobCleared { logs, .. }, JobState::Ended { verdict, at, run, remains: Remains::Owed }) => {
            let remains = Remains::Cleared(logs.clone());
            JobState::Ended { verdict: verdict.clone(), at: *at, run: run.clone(), remains }
        }
        (Record::JobCleared { logs, .. }, JobState::Requeued { due, reason, run, remains: Remains::Owed, hold }) => {
            let remains = Remains::Cleared(logs.clone());
            JobState::Requeued { due: *due, reason: reason.clone(), run: run.clone(), remains, hold: *hold }
        }
        (_, state) => return Err(Illegal::new(recorded, state)),
    })
}

fn held(job: &Job, recorded: &Recorded) -> Result<JobState, Box<Illegal>> {
    let with = |hold| match &job.state {
        JobState::Requeued { due, reason, run, remains, .. } => Some(JobState::Requeued {
            due: *due,
            reason: reason.clone(),
            run: run.clone(),
            remains: remains.clone(),
            hold,
        }),
        JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. }
        | JobState::Running { .. }
        | JobState::Paused { .. }
        | JobState::Stopping { .. }
        | JobState::Ended { .. } => None,
    };
    let next = match (&recorded.record, &job.state) {
        (Record::JobHeld { .. }, JobState::Waiting) => Some(JobState::Held),
        (Record::JobReleased { .. }, JobState::Held) => Some(JobState::Waiting),
        (Record::JobHeld { .. }, JobState::Requeued { hold: Hold::Free, .. }) => with(Hold::Held),
        (Record::JobReleased { .. }, JobState::Requeued { hold: Hold::Held, .. }) => with(Hold::Free),
        _ => None,
    };
    next.ok_or_else(|| Illegal::new(recorded, &job.state))
}

fn frozen(job: &Job, recorded: &Recorded) -> Result<JobState, Box<Illegal>> {
    let paused = |container: &String, started, since, freeze| JobState::Paused {
        container: container.clone(),
        started,
        since,
        freeze,
    };
    Ok(match (&recorded.record, &job.state) {
        (Record::JobPausing { .. }, JobState::Running { container, started }) => {
            paused(container, *started, recorded.at, Freeze::Asked)
        }
        (Record::JobPaused { .. }, JobState::Paused { container, started, freeze: Freeze::Asked, .. }) => {
            paused(container, *started, recorded.at, Freeze::Frozen)
        }
        // It could not be thawed: it is as it was, and may be asked again.
        (Record::JobPaused { .. }, JobState::Paused { container, started, since, freeze: Freeze::Thawing }) => {
            paused(container, *started, *since, Freeze::Frozen)
        }
        (Record::JobResuming { .. }, JobState::Paused { container, started, since, freeze: Freeze::Frozen }) => {
            paused(container, *started, *since, Freeze::Thawing)
        }
        (
            Record::JobResumed { .. },
            JobState::Paused { container, started, freeze: Freeze::Asked | Freeze::Thawing, .. },
        ) => JobState::Running { container: container.clone(), started: *started },
        (_, state) => return Err(Illegal::new(recorded, state)),
    })
}

fn stopping(job: &Job, recorded: &Recorded) -> Result<JobState, Box<Illegal>> {
    let Record::JobStopping { cause, signal, .. } = &recorded.record else {
        return Err(Illegal::new(recorded, &job.state));
    };
    let told = |container: &String, started, cause| JobState::Stopping {
        container: container.clone(),
        started,
        cause,
        signal: *signal,
        told: recorded.at,
    };
    Ok(match &job.state {
        JobState::Launching { container, .. } => {
            JobState::Launching { container: container.clone(), stop: Some((*cause, *signal)) }
        }
        JobState::Running { container, started } | JobState::Paused { container, started, .. } => {
            told(container, *started, *cause)
        }
        // The first cause stands: it is why the process ends.
        JobState::Stopping { container, started, cause, .. } => told(container, *started, *cause),
        state @ (JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Ended { .. }
        | JobState::Requeued { .. }) => return Err(Illegal::new(recorded, state)),
    })
}

pub(super) fn ended(job: &Job, at: Timestamp, verdict: &Verdict, exit: Option<&Exit>) -> JobState {
    let run = |container: &String, started| Some(Run { container: container.clone(), started, exit: exit.cloned() });
    let (run, remains) = match &job.state {
        JobState::Running { container, started }
        | JobState::Paused { container, started, .. }
        | JobState::Stopping { container, started, .. } => (run(container, *started), Remains::Owed),
        JobState::Preparing | JobState::Prepared { .. } | JobState::Launching { .. } => (None, Remains::Owed),
        JobState::Requeued { run, remains, .. } => (run.clone(), remains.clone()),
        JobState::Waiting | JobState::Held if job.ahead.occupies() => (None, Remains::Owed),
        JobState::Waiting | JobState::Held | JobState::Ended { .. } => (None, Remains::Nothing),
    };
    JobState::Ended { verdict: verdict.clone(), at, run, remains }
}
