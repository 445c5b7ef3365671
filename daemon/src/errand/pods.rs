//! pod.logs and pod.stop: pods of the same operation, or of another one of the tenant's, found when the step runs.
//!
//! Must not: touch a pod but through the engine.

use std::cmp::Reverse;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Done, Stop, Trip, blocking};
use crate::bundle::ExecutionId;
use crate::handle::Answer;
use crate::ledger::Queries;
use crate::plan::Role;
use crate::plan::errand::PodChoice;
use crate::podman::console::{self, Stream};
use crate::reason::{Name, Reason};
use crate::sequence::event::{Target, Verb};
use crate::sequence::{Event, Refusal};
use crate::view::{self, ExecutionStatus, JobStatus};

/// Bytes of console output in the output of pod.logs, and in that of pod.stop.
const LOGS_BYTES: u64 = 1 << 20;
const TAIL_BYTES: u64 = 16 * 1024;
/// Ended executions that are looked through for a pod.
const ENDED_MAX: usize = 1000;
/// Deadline of a look at the console of a pod that runs.
const LOOK: Duration = Duration::from_secs(30);

/// A job that was found.
#[derive(Debug, Clone)]
struct Found {
    execution: ExecutionId,
    step: usize,
    index: usize,
    job: JobStatus,
}

impl Trip<'_> {
    pub(super) async fn pod_logs(&self, pod: &PodChoice) -> Result<Done, Stop> {
        let found = self.find(pod).await?;
        self.captured(&found, LOGS_BYTES).await
    }

    /// Asks the engine as an operator would, and waits until nothing of the pod is left on its node.
    pub(super) async fn pod_stop(&self, pod: &PodChoice) -> Result<Done, Stop> {
        let found = self.find(pod).await?;
        if !found.job.state.ended() {
            let target = Target::Job(found.step, found.index);
            let asked = Event::Asked { execution: found.execution, target, verb: Verb::Stop };
            match self.driver.handle.ask(asked).await {
                // It ended between the look and the question.
                Ok(_) | Err(Answer::Refused(Refusal::InvalidState { .. })) => {}
                Err(Answer::Refused(refusal)) => return Err(refusal.reason().into()),
                Err(Answer::Unavailable(reason)) => return Err(reason.into()),
            }
        }
        tokio::select! {
            () = self.cleared(&found) => {}
            () = self.unwanted() => return Err(Stop::Unwanted),
        }
        let last = self.look(&found).await?.unwrap_or(found);
        self.captured(&last, TAIL_BYTES).await
    }

    async fn cleared(&self, found: &Found) {
        let mut snapshots = self.driver.handle.snapshots();
        // The sender is gone only when the process ends.
        let _ = snapshots
            .wait_for(|snapshot| match snapshot.board.live.get(&found.execution) {
                Some(execution) => {
                    let job = execution.steps.get(found.step).and_then(|step| step.jobs.get(found.index));
                    job.is_none_or(|job| job.ended() && !job.occupies())
                }
                None => true,
            })
            .await;
    }

    /// The same job, as it is now.
    async fn look(&self, found: &Found) -> Result<Option<Found>, Stop> {
        let status = match self.driver.handle.snapshot().board.live.get(&found.execution) {
            Some(execution) => Some(view::status(execution, None)),
            None => {
                let (queries, id) = (self.driver.queries(), found.execution);
                let look = move || {
                    let ended = queries.and_then(|queries| queries.index().get(id).ok().flatten());
                    Ok(ended.map(|ended| ended.status))
                };
                blocking(look).await?
            }
        };
        let job = status.and_then(|status| status.steps.get(found.step)?.jobs.get(found.index).cloned());
        Ok(job.map(|job| Found { job, ..found.clone() }))
    }

    /// Of its own operation first, then of those that live, then of those that are kept; the newest of each.
    async fn find(&self, pod: &PodChoice) -> Result<Found, Stop> {
        let plan = &self.execution.plan;
        let snapshot = self.driver.handle.snapshot();
        let mut live: Vec<ExecutionStatus> = snapshot
            .board
            .live
            .values()
            .filter(|it| it.plan.tenant == plan.tenant)
            .map(|it| view::status(it, None))
            .collect();
        live.sort_by_key(|status| (status.execution != plan.execution, Reverse(status.received_at)));
        let ambiguous = |status: &ExecutionStatus, found: &Found| {
            let jobs = status.steps.get(found.step).map_or(0, |step| step.jobs.len());
            let named = matches!(found.job.role, Role::Launcher) || jobs <= 1;
            let message = format!(
                "`{}` is one of {jobs} jobs of task `{}`: which is meant is not said; only a task with one pod, or a gang, \
                 can be named",
                found.job.id, status.steps[found.step].id
            );
            (!named).then(|| Reason::new(Name::PodMissing, message))
        };
        if let Some((status, found)) = live.iter().find_map(|status| Some((status, newest(status, pod)?))) {
            return match ambiguous(status, &found) {
                Some(reason) => Err(reason.into()),
                None => Ok(found),
            };
        }
        let (queries, tenant, wanted) = (self.driver.queries(), plan.tenant.clone(), pod.clone());
        let kept = blocking(move || {
            let kept = queries.as_ref().map(|queries: &Queries| queries.index().newest().take(ENDED_MAX));
            let mut mine = kept.into_iter().flatten().map_while(Result::ok).filter(|status| status.tenant == tenant);
            Ok(mine.find_map(|status| newest(&status, &wanted).map(|found| (status, found))))
        });
        let missing = || {
            let which = match pod {
                PodChoice::Name(name) => format!("pod `{name}`"),
                PodChoice::Step(step) => format!("task `{step}` that has run a pod"),
            };
            Reason::new(Name::PodMissing, format!("there is no {which} among your operations, live or kept"))
        };
        let (status, found) = kept.await?.ok_or_else(missing)?;
        match ambiguous(&status, &found) {
            Some(reason) => Err(reason.into()),
            None => Ok(found),
        }
    }

    /// The state of a pod and the newest of its console output, as a document.
    async fn captured(&self, found: &Found, limit: u64) -> Result<Done, Stop> {
        let (frames, mut cut) = self.console(found).await?;
        cut |= found.job.logs_truncated;
        let mut fields = Map::new();
        fields.insert("pod".to_owned(), json!(found.job));
        for (stream, name) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
            let text = console::text(&frames, Some(stream));
            let longest = usize::try_from(limit / 2).unwrap_or(usize::MAX);
            let start = text.len().saturating_sub(longest);
            cut |= start > 0;
            fields.insert(name.to_owned(), json!(String::from_utf8_lossy(&text[start..])));
        }
        Ok(Done::good().with(Value::Object(fields)).cut(cut))
    }

    /// What was kept of a pod that has ended, what Podman has of one that runs.
    async fn console(&self, found: &Found) -> Result<(Vec<u8>, bool), Stop> {
        let Some(container) = &found.job.container else { return Ok((Vec::new(), false)) };
        let kept = self.driver.outbox.console_path(found.execution, container);
        if let Ok(frames) = tokio::fs::read(kept).await {
            return Ok((frames, false));
        }
        let endpoint = self.driver.endpoint(&found.job.node)?;
        let fetched =
            tokio::time::timeout(LOOK, console::fetch(endpoint, container, self.driver.settings.log_bytes)).await;
        match fetched {
            Ok(Ok(frames)) => Ok((frames.bytes, false)),
            Ok(Err(error)) => Err(Reason::new(Name::EngineUnreachable, error.to_string()).into()),
            Err(_) => {
                Err(Reason::new(Name::EngineUnreachable, "podman did not hand over the console output in time").into())
            }
        }
    }
}

/// The job that is meant: of those that have been tried, a gang's launcher, one that still runs, else the one that
/// started last.
fn newest(status: &ExecutionStatus, pod: &PodChoice) -> Option<Found> {
    let jobs = status.steps.iter().enumerate().flat_map(|(step, part)| {
        let of_step = matches!(pod, PodChoice::Step(id) if *id == part.id);
        part.jobs.iter().enumerate().filter_map(move |(index, job)| {
            let of_name = matches!(pod, PodChoice::Name(name) if *name == job.pod_name);
            ((of_step || of_name) && job.attempt > 0).then_some((step, index, job))
        })
    });
    let chosen = jobs.max_by_key(|(step, index, job)| {
        (job.role == Role::Launcher, !job.state.ended(), job.started_at, *step, *index)
    });
    chosen.map(|(step, index, job)| Found { execution: status.execution, step, index, job: job.clone() })
}
