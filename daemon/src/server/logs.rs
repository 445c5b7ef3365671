//! Console output of jobs: from Podman while a job lives, from what was kept afterwards; of every attempt.
//!
//! Following looks anew at every interval: Podman's own follow loses lines (measured), a second look does not.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Desk;
use super::answer::{Asked, Failure};
use super::id::{IDS_MAX, resolve, status_of};
use crate::bundle::ExecutionId;
use crate::podman::Endpoint;
use crate::podman::console::{self, Stream};
use crate::view::{ExecutionStatus, JobStatus};

/// Between two looks at jobs that are followed.
const INTERVAL: Duration = Duration::from_millis(500);
/// Said where older output was dropped for the limit.
const DROPPED: &[u8] = b"perigeed: older output was dropped\n";

#[derive(Debug, Deserialize)]
pub(super) struct LogsQuery {
    stream: Option<Stream>,
    #[serde(default)]
    follow: bool,
    attempt: Option<u32>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Deserialize)]
pub(super) struct ManyQuery {
    ids: String,
    stream: Option<Stream>,
    #[serde(default)]
    follow: bool,
    attempt: Option<u32>,
    #[serde(default)]
    format: Format,
}

/// How output is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// As the pods wrote it.
    #[default]
    Text,
    /// As [`JobLog`]s.
    Json,
}

/// What one job said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobLog {
    /// The job.
    pub(super) job_id: String,
    /// Its lines, both streams in order unless one was asked for; the last may be unfinished.
    pub(super) log: Vec<String>,
}

pub(super) async fn logs(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Asked(query): Asked<LogsQuery>,
) -> Result<Response, Failure> {
    let LogsQuery { stream, follow, attempt, format } = query;
    many(State(desk), Asked(ManyQuery { ids: id, stream, follow, attempt, format })).await
}

pub(super) async fn many(State(desk): State<Desk>, Asked(query): Asked<ManyQuery>) -> Result<Response, Failure> {
    let ids: Vec<&str> = query.ids.split(',').collect();
    if ids.len() > IDS_MAX {
        return Err(Failure::bad_request(format!("{} ids, the limit is {IDS_MAX}", ids.len())));
    }
    let mut sources = Vec::new();
    for id in ids {
        let named = resolve(&desk, id).await?;
        for (step, job) in named.jobs() {
            let attempts = named.status.steps[step].jobs[job].attempt;
            if query.attempt.is_none_or(|asked| (1..=attempts).contains(&asked)) {
                sources.push(Source { execution: named.status.execution, step, job, container: None, sent: 0 });
            }
        }
    }
    let mut seen = BTreeSet::new();
    sources.retain(|source| seen.insert((source.execution, source.step, source.job)));
    if let (Some(attempt), []) = (query.attempt, sources.as_slice()) {
        return Err(Failure::not_found(format!("there is no attempt {attempt} of `{}`", query.ids)));
    }
    let looks = Looks { desk, stream: query.stream, attempt: query.attempt };
    match (query.format, query.follow) {
        (Format::Json, true) => Err(Failure::bad_request("lines as JSON cannot be followed; ask for text")),
        (Format::Json, false) => Ok(Json(looks.all(&sources).await?).into_response()),
        (Format::Text, follow) => {
            let mode = if sources.len() > 1 { Mode::Many { last: None, open: false } } else { Mode::One };
            let walk = Walk { looks, sources, at: 0, quiet: true, follow, mode, statuses: BTreeMap::new() };
            let pieces = futures_util::stream::unfold(walk, |mut walk| async move {
                walk.next().await.map(|piece| (Ok::<Bytes, Infallible>(piece.into()), walk))
            });
            Ok(([("content-type", "text/plain; charset=utf-8")], Body::from_stream(pieces)).into_response())
        }
    }
}

/// One job that is read.
#[derive(Debug, Clone)]
struct Source {
    execution: ExecutionId,
    step: usize,
    job: usize,
    /// The container of which output was sent.
    container: Option<String>,
    /// How much of it.
    sent: usize,
}

/// How output is looked at.
#[derive(Debug, Clone)]
struct Looks {
    desk: Desk,
    stream: Option<Stream>,
    attempt: Option<u32>,
}

impl Looks {
    async fn all(&self, sources: &[Source]) -> Result<Vec<JobLog>, Failure> {
        let mut found = Vec::new();
        let mut statuses = BTreeMap::new();
        for source in sources {
            let status = self.status(source.execution, &mut statuses).await?;
            let Some(job) = status.steps.get(source.step).and_then(|step| step.jobs.get(source.job)) else { continue };
            let text = match self.container(job) {
                Some(container) => self.text(source.execution, job, &container, true).await,
                None => Vec::new(),
            };
            let text = if text.is_empty() { self.reason(job) } else { text };
            let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
            found.push(JobLog { job_id: job.id.clone(), log: lines });
        }
        Ok(found)
    }

    /// Statuses are looked up once per round.
    async fn status(
        &self,
        id: ExecutionId,
        statuses: &mut BTreeMap<ExecutionId, Arc<ExecutionStatus>>,
    ) -> Result<Arc<ExecutionStatus>, Failure> {
        if let Some(known) = statuses.get(&id) {
            return Ok(known.clone());
        }
        let status = Arc::new(status_of(&self.desk, &self.desk.handle.snapshot(), id).await?);
        statuses.insert(id, status.clone());
        Ok(status)
    }

    /// The container of the attempt that was asked for, else of the newest.
    fn container(&self, job: &JobStatus) -> Option<String> {
        let newest = job.container.as_ref()?;
        Some(match (self.attempt, newest.rsplit_once('.')) {
            (Some(attempt), Some((before, _))) => format!("{before}.{attempt}"),
            (Some(_), None) | (None, _) => newest.clone(),
        })
    }

    /// All that a container said, of the streams that were asked for.
    async fn text(&self, id: ExecutionId, job: &JobStatus, container: &str, from_start: bool) -> Vec<u8> {
        let kept = self.desk.outbox.console_path(id, container);
        if let Ok(frames) = tokio::fs::read(kept).await {
            let newest = job.container.as_deref() == Some(container);
            let dropped = if job.logs_truncated && newest && from_start { DROPPED } else { b"" };
            return [dropped, &console::text(&frames, self.stream)].concat();
        }
        let settings = self.desk.settings.borrow().clone();
        let Some(socket) = settings.nodes.get(&job.node) else { return Vec::new() };
        let fetched = console::fetch(&Endpoint::new(socket), container, settings.log_bytes).await;
        fetched.map(|frames| console::text(&frames.bytes, self.stream)).unwrap_or_default()
    }

    /// The daemon's own line about a job that has said nothing.
    fn reason(&self, job: &JobStatus) -> Vec<u8> {
        let reason = job.reason.as_ref().filter(|_| self.attempt.is_none_or(|asked| asked == job.attempt));
        reason.map(|reason| format!("perigeed: {reason}\n").into_bytes()).unwrap_or_default()
    }
}

/// One job's bytes as they are, or several, each part under the name of its job.
#[derive(Debug, Clone)]
enum Mode {
    One,
    Many {
        /// The job whose part was sent last.
        last: Option<String>,
        /// Whether its last line is unfinished.
        open: bool,
    },
}

struct Walk {
    looks: Looks,
    sources: Vec<Source>,
    at: usize,
    quiet: bool,
    follow: bool,
    mode: Mode,
    statuses: BTreeMap<ExecutionId, Arc<ExecutionStatus>>,
}

impl Walk {
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.sources.is_empty() {
                return None;
            }
            if self.at >= self.sources.len() {
                if self.quiet {
                    tokio::time::sleep(INTERVAL).await;
                }
                (self.at, self.quiet) = (0, true);
                self.statuses.clear();
            }
            let piece = self.look().await?;
            if !piece.is_empty() {
                self.quiet = false;
                return Some(piece);
            }
        }
    }

    /// What is new of the job at hand; goes on to the next one.
    async fn look(&mut self) -> Option<Vec<u8>> {
        let mut source = self.sources[self.at].clone();
        let status = self.looks.status(source.execution, &mut self.statuses).await.ok()?;
        let job = status.steps.get(source.step)?.jobs.get(source.job)?.clone();
        let container = self.looks.container(&job);
        let older = self.looks.attempt.is_some_and(|asked| asked < job.attempt);
        let over = !self.follow || job.state.ended() || older;
        let mut piece = Vec::new();
        if let Some(before) = source.container.clone().filter(|_| source.container != container) {
            let rest = self.looks.text(source.execution, &job, &before, false).await;
            piece.extend_from_slice(rest.get(source.sent..).unwrap_or_default());
            source.sent = 0;
        }
        if let Some(container) = &container {
            let text = self.looks.text(source.execution, &job, container, source.sent == 0).await;
            // What is shorter than before was begun anew by conmon: its start is new to the reader.
            let new = text.get(source.sent..).unwrap_or(&text);
            let new = if over || matches!(self.mode, Mode::One) { new } else { whole_lines(new) };
            piece.extend_from_slice(new);
            source.sent = if source.sent > text.len() { new.len() } else { source.sent + new.len() };
        }
        source.container = container;
        if over && source.sent == 0 && piece.is_empty() {
            piece = self.looks.reason(&job);
        }
        if over {
            self.sources.remove(self.at);
            self.quiet &= !self.sources.is_empty();
        } else {
            self.sources[self.at] = source;
            self.at += 1;
        }
        Some(self.headed(&job.id, piece))
    }

    fn headed(&mut self, id: &str, piece: Vec<u8>) -> Vec<u8> {
        let Mode::Many { last, open } = &mut self.mode else { return piece };
        if piece.is_empty() && self.follow {
            return piece;
        }
        let heading = if last.as_deref() == Some(id) {
            String::new()
        } else {
            format!("{}==> {id} <==\n", if *open { "\n" } else { "" })
        };
        *last = Some(id.to_owned());
        *open = piece.last().is_some_and(|byte| *byte != b'\n');
        [heading.as_bytes(), &piece].concat()
    }
}

fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_line_waits_for_its_end() {
        assert_eq!(whole_lines(b"a\nb"), b"a\n");
        assert_eq!(whole_lines(b"a\nb\n"), b"a\nb\n");
        assert_eq!(whole_lines(b"a"), b"");
    }
}
