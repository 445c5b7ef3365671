//! What the state of a job says of its run.
//!
//! Must not: read a clock; now is an argument.

use std::time::Duration;

use crate::reason::Reason;
use crate::sequence::state::{Exit, Freeze, Job, JobState, Logs, Remains};
use crate::time::Timestamp;

/// What the state of a job says of its run.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) exit: Option<&'a Exit>,
    pub(super) reason: Option<Reason>,
    pub(super) logs: Option<&'a Logs>,
}

pub(super) fn known(job: &Job) -> Known<'_> {
    match &job.state {
        JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. } => Known::default(),
        JobState::Running { started, .. } | JobState::Paused { started, .. } | JobState::Stopping { started, .. } => {
            Known { started: Some(*started), ..Known::default() }
        }
        JobState::Requeued { reason, .. } => Known { reason: Some(reason.clone()), ..Known::default() },
        JobState::Ended { verdict, at, run, remains } => Known {
            started: run.as_ref().map(|run| run.started),
            ended: Some(*at),
            exit: run.as_ref().and_then(|run| run.exit.as_ref()),
            reason: verdict.reason().cloned(),
            logs: match remains {
                Remains::Cleared(logs) => Some(logs),
                Remains::Nothing | Remains::Owed => None,
            },
        },
    }
}

/// How long the current attempt was frozen, up to now.
pub(super) fn paused(job: &Job, now: Option<Timestamp>) -> Duration {
    let before = Duration::from_millis(job.paused_ms);
    match (&job.state, now) {
        (JobState::Paused { since, freeze: Freeze::Frozen | Freeze::Thawing, .. }, Some(now)) => {
            before + now.boot.since(since.boot)
        }
        (_, _) => before,
    }
}
