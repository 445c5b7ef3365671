//! What operators and conditions ask of containers besides their start and end: freeze, thaw, forget, and what they said.
//!
//! Must not: decide; it answers with facts.

use std::collections::BTreeMap;

use super::api::{ApiError, Endpoint};
use super::console::{self, Stream};
use super::driver::{Driver, RETRY_FIRST, RETRY_MAX};
use super::failure;
use crate::bundle::ExecutionId;
use crate::bundle::limits::OUTPUT_BYTES;
use crate::reason::{Name, Reason};
use crate::sequence::event::Report;
use crate::sequence::orphan::{self, LedgerId};
use crate::sequence::state::{AttemptId, Freeze, JobState, Logs, Remains};
use crate::sequence::{Board, Event, Execution};
use crate::view;

/// Tries to freeze or thaw a container after one that Podman refused.
const FREEZE_TRIES: u32 = 4;
/// Tries to remove what a purged execution left; what stays is found at the next start.
const PURGE_TRIES: u32 = 10;

impl Driver {
    /// Freezes or thaws containers in their order: a launcher before its workers, and after them.
    pub(super) async fn freeze(&self, execution: &Execution, members: Vec<(AttemptId, String)>, goal: Freeze) {
        for (attempt, container) in members {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { continue };
            let wanted = move |board: &Board| {
                let state = board.job(&attempt).map(|job| &job.state);
                matches!(state, Some(JobState::Paused { freeze: Freeze::Asked | Freeze::Thawing, .. }))
            };
            let done = self.answered(endpoint, wanted, || frozen(endpoint, &container, goal)).await;
            let report = match (done, goal) {
                // Nobody wants it any more, or its process has ended: the watch says so.
                (None | Some(Ok(Reached::Ended)), _) | (Some(Err(ApiError::NotFound(_))), _) => continue,
                (Some(Ok(Reached::Goal)), Freeze::Thawing) => Report::Resumed,
                (Some(Ok(Reached::Goal)), Freeze::Asked | Freeze::Frozen) => Report::Paused,
                (Some(Err(error)), Freeze::Thawing) => {
                    tracing::error!(%container, %error, "failed to thaw a container");
                    Report::Paused
                }
                (Some(Err(error)), Freeze::Asked | Freeze::Frozen) => Report::NotPaused(failure::reason(&error)),
            };
            self.tell(attempt, report).await;
        }
    }

    /// Reads what the steps that decide about this one have said.
    pub(super) async fn read_outputs(&self, execution: &Execution, step: usize) {
        let mut outputs = BTreeMap::new();
        for source in execution.plan.steps[step].sources() {
            outputs.insert(source, self.output(execution, source).await);
        }
        let execution = execution.plan.execution;
        self.handle.report(Event::OutputRead { execution, step, outputs }).await;
    }

    async fn output(&self, execution: &Execution, source: usize) -> Result<String, Reason> {
        let id = &execution.plan.steps[source].id;
        let unusable =
            |why: String| Reason::new(Name::OutputUnusable, format!("the output of step {id} cannot be used: {why}"));
        let Some(job) = execution.steps[source].jobs.first() else {
            return Err(unusable("it had no job".to_owned()));
        };
        let attempt = AttemptId { execution: execution.plan.execution, step: source, job: 0, attempt: job.attempt };
        if let JobState::Ended { remains: Remains::Cleared(Logs { truncated: true, .. }), .. } = &job.state {
            return Err(unusable("a part of it was dropped for the limit of console output".to_owned()));
        }
        let path = self.outbox.console_path(attempt.execution, &view::container_name(execution, &attempt));
        let frames = match tokio::fs::read(&path).await {
            Ok(frames) => frames,
            Err(error) => return Err(unusable(format!("failed to read {}: {error}", path.display()))),
        };
        let said = console::text(&frames, Some(Stream::Stdout));
        if said.len() > OUTPUT_BYTES {
            let message = format!("the output of step {id} has {} bytes, the limit is {OUTPUT_BYTES}", said.len());
            return Err(Reason::new(Name::Limit, message));
        }
        String::from_utf8(said).map_err(|_| unusable("it is not UTF-8 text".to_owned()))
    }

    /// Removes what a purged execution left on the nodes.
    pub(super) async fn purge(&self, id: ExecutionId) {
        for endpoint in self.endpoints() {
            let mut pause = RETRY_FIRST;
            for _ in 0..PURGE_TRIES {
                let Err(error) = remove_all(endpoint, id, self.ledger()).await else { break };
                tracing::warn!(execution = %id, %error, "failed to remove what a purged execution left, will try again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Sends a signal; frozen processes are thawed first, or they would never hear it.
pub(super) async fn told(endpoint: &Endpoint, container: &str, signal: &str) -> Result<(), ApiError> {
    match endpoint.inspect(container).await {
        Ok(found) if found.state.is_paused() && signal != "KILL" => endpoint.unpause(container).await?,
        Ok(_) | Err(ApiError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    endpoint.signal(container, signal).await
}

/// What carries no ledger's label was made before there was one.
async fn remove_all(endpoint: &Endpoint, id: ExecutionId, ledger: Option<LedgerId>) -> Result<(), ApiError> {
    for container in endpoint.labelled(&format!("{}={id}", orphan::EXECUTION)).await? {
        let named = container.labels.get(orphan::LEDGER).map(|named| named.parse().ok());
        if named.is_none_or(|named| named == ledger) {
            endpoint.remove(&container.id).await?;
        }
    }
    Ok(())
}

/// What became of a container that was to be frozen or thawed.
enum Reached {
    Goal,
    Ended,
}

/// Freezing fails for an instant when the processes of a container are just forking: it is tried some times more.
async fn frozen(endpoint: &Endpoint, container: &str, goal: Freeze) -> Result<Reached, ApiError> {
    for _ in 0..FREEZE_TRIES {
        match try_frozen(endpoint, container, goal).await {
            Err(ApiError::Refused { message, .. }) => {
                tracing::warn!(%container, why = %message, "podman refused to freeze or thaw a container, will try again");
                tokio::time::sleep(RETRY_FIRST).await;
            }
            other => return other,
        }
    }
    try_frozen(endpoint, container, goal).await
}

async fn try_frozen(endpoint: &Endpoint, container: &str, goal: Freeze) -> Result<Reached, ApiError> {
    let thaw = goal == Freeze::Thawing;
    let found = endpoint.inspect(container).await?.state;
    if !found.alive() {
        return Ok(Reached::Ended);
    }
    if found.is_paused() != thaw {
        return Ok(Reached::Goal);
    }
    let result = if thaw { endpoint.unpause(container).await } else { endpoint.pause(container).await };
    match result {
        // It may have ended meanwhile, or an earlier request may have come late.
        Err(ApiError::Refused { status, message }) => {
            let found = endpoint.inspect(container).await?.state;
            match found.alive() {
                false => Ok(Reached::Ended),
                true if found.is_paused() != thaw => Ok(Reached::Goal),
                true => Err(ApiError::Refused { status, message }),
            }
        }
        other => other.map(|()| Reached::Goal),
    }
}
