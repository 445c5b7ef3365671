//! Console output of a job, a step or an execution: from Podman while a job lives, from what was kept afterwards.
//!
//! Following looks anew at every interval: Podman's own follow loses lines (measured), a second look does not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Desk;
use super::answer::{Asked, Failure};
use super::id::{Named, resolve, status_of};
use crate::podman::Endpoint;
use crate::podman::console::{self, Stream};
use crate::sequence::event::Target;
use crate::view::{ExecutionStatus, JobStatus};

/// Between two looks at a job that is followed.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
pub(super) struct LogsQuery {
    stream: Option<Stream>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn logs(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Asked(query): Asked<LogsQuery>,
) -> Result<Response, Failure> {
    let named = resolve(&desk, &id).await?;
    let jobs: VecDeque<(usize, usize)> = jobs(&named).into();
    let heading = jobs.len() > 1;
    let walk = Walk { desk, named, jobs, stream: query.stream, follow: query.follow, heading, sent: None };
    let pieces = futures_util::stream::unfold(walk, |mut walk| async move {
        walk.next().await.map(|piece| (Ok::<Bytes, Infallible>(piece), walk))
    });
    Ok(([("content-type", "text/plain; charset=utf-8")], Body::from_stream(pieces)).into_response())
}

fn jobs(named: &Named) -> Vec<(usize, usize)> {
    let all = |step: usize| (0..named.status.steps[step].jobs.len()).map(move |job| (step, job));
    match named.target {
        Target::Execution => (0..named.status.steps.len()).flat_map(all).collect(),
        Target::Step(step) => all(step).collect(),
        Target::Unit(step, unit) => all(step).filter(|(_, job)| named.status.steps[step].jobs[*job].unit == unit).collect(),
        Target::Job(step, job) => vec![(step, job)],
    }
}

struct Walk {
    desk: Desk,
    named: Named,
    jobs: VecDeque<(usize, usize)>,
    stream: Option<Stream>,
    follow: bool,
    heading: bool,
    sent: Option<usize>,
}

impl Walk {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let (step, job) = *self.jobs.front()?;
            let status = status_of(&self.desk, &self.desk.handle.snapshot(), self.named.status.execution).await.ok()?;
            let known = status.steps.get(step)?.jobs.get(job)?.clone();
            let text = self.text(&status, &known).await;
            let mut piece = Vec::new();
            if self.sent.is_none() && self.heading {
                piece.extend_from_slice(format!("==> {} <==\n", known.id).as_bytes());
            }
            let sent = self.sent.unwrap_or(0);
            // What is shorter than before was begun anew by conmon: its start is new to the reader.
            piece.extend_from_slice(text.get(sent..).unwrap_or(&text));
            self.sent = Some(text.len());
            if !self.follow || known.state.ended() {
                if self.sent == Some(0)
                    && let Some(reason) = &known.reason
                {
                    piece.extend_from_slice(format!("perigeed: {reason}\n").as_bytes());
                }
                self.jobs.pop_front();
                self.sent = None;
            }
            if !piece.is_empty() {
                return Some(piece.into());
            }
            if self.sent.is_some() {
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }

    async fn text(&self, status: &ExecutionStatus, job: &JobStatus) -> Vec<u8> {
        let Some(container) = &job.container else { return Vec::new() };
        let kept = self.desk.outbox.console_path(status.execution, container);
        if let Ok(frames) = tokio::fs::read(kept).await {
            let dropped: &[u8] = if job.logs_truncated { b"perigeed: older output was dropped\n" } else { b"" };
            return [dropped, &console::text(&frames, self.stream)].concat();
        }
        let settings = self.desk.settings.borrow().clone();
        let Some(socket) = settings.nodes.get(&job.node) else { return Vec::new() };
        let fetched = console::fetch(&Endpoint::new(socket), container, settings.log_bytes).await;
        fetched.map(|frames| console::text(&frames.bytes, self.stream)).unwrap_or_default()
    }
}
