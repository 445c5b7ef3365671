//! Questions: what is going on, and what there is.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Desk;
use super::answer::{Failure, blocking};
use super::id::resolve;
use crate::handle::Trouble;
use crate::outcome;
use crate::podman::Endpoint;
use crate::reason::{Name, Reason};
use crate::sequence::event::Target;
use crate::view::{self, EventLine, Names};

/// Deadline of a look at a node on behalf of an operator.
const NODE_LOOK: Duration = Duration::from_secs(3);

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Version of perigeed.
    pub version: String,
    /// Grows with every change.
    pub generation: u64,
    /// Cursor of the newest event.
    pub cursor: u64,
    /// How much faster than real time budgets run.
    pub time_scale: u32,
    /// The board's wall time.
    pub now: jiff::Timestamp,
    /// `ok` or `degraded`.
    pub health: String,
    /// What is wrong, with the way out.
    pub troubles: Vec<Trouble>,
    /// Number of live executions in each state.
    pub live: BTreeMap<String, usize>,
    /// Number of ended executions that are known.
    pub ended: usize,
}

pub(super) async fn status(State(desk): State<Desk>) -> Json<DaemonStatus> {
    let snapshot = desk.handle.snapshot();
    let time_scale = desk.settings.borrow().time_scale;
    let mut live = BTreeMap::new();
    for execution in snapshot.board.live.values() {
        *live.entry(outcome::execution_state(execution).as_str().to_owned()).or_default() += 1;
    }
    Json(DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: snapshot.generation,
        cursor: snapshot.cursor,
        time_scale,
        now: crate::clock::Clock::new(time_scale).now().wall,
        health: if snapshot.troubles.is_empty() { "ok" } else { "degraded" }.to_owned(),
        troubles: snapshot.troubles.clone(),
        live,
        ended: snapshot.board.ended.len(),
    })
}

pub(super) async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Failure> {
    let named = resolve(&desk, &id).await?;
    Ok(match named.target {
        Target::Execution => Json(named.status).into_response(),
        Target::Group(_) => {
            let steps: Vec<_> = named.steps().into_iter().map(|step| &named.status.steps[step]).collect();
            Json(steps).into_response()
        }
        Target::Step(step) => Json(&named.status.steps[step]).into_response(),
        Target::Unit(step, unit) => Json(named.status.steps[step].unit(unit).collect::<Vec<_>>()).into_response(),
        Target::Job(step, job) => Json(&named.status.steps[step].jobs[job]).into_response(),
    })
}

pub(super) async fn history(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Json<Vec<EventLine>>, Failure> {
    let named = resolve(&desk, &id).await?;
    let execution = named.status.execution;
    let queries = desk.open_queries()?;
    let records = blocking(move || queries.history(execution)).await?;
    let names = Names::of_status(&named.status);
    let parts = named.ids();
    let within = |line: &EventLine| {
        parts.iter().any(|part| {
            line.id.strip_prefix(part.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let lines = records.iter().map(|(cursor, recorded)| view::event_line(*cursor, recorded, &names));
    Ok(Json(lines.filter(within).collect()))
}

/// A line of `GET /v1/nodes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NodeStatus {
    /// Its name.
    pub(super) node: String,
    /// Whether `default` means it.
    pub(super) default: bool,
    /// Its Podman's socket.
    pub(super) socket: String,
    /// `up` or `unreachable`.
    pub(super) state: String,
    /// Podman's version, when it answers.
    pub(super) version: Option<String>,
    /// Why not, when it does not.
    pub(super) message: Option<String>,
    /// Jobs on it now.
    pub(super) jobs: usize,
}

pub(super) async fn nodes(State(desk): State<Desk>) -> Json<Vec<NodeStatus>> {
    let settings = desk.settings.borrow().clone();
    let snapshot = desk.handle.snapshot();
    let looks = settings.nodes.iter().map(|(name, socket)| {
        let jobs = snapshot.board.live.values().flat_map(|execution| {
            let steps = execution.plan.steps.iter().zip(&execution.steps);
            steps.flat_map(|(planned, step)| planned.jobs().iter().zip(&step.jobs))
        });
        let jobs = jobs.filter(|(planned, job)| planned.node == *name && job.occupies()).count();
        let default = *name == settings.default_node;
        async move {
            let looked = tokio::time::timeout(NODE_LOOK, Endpoint::new(socket).version()).await;
            let (state, version, message) = match looked {
                Ok(Ok(version)) => ("up", Some(version), None),
                Ok(Err(error)) => ("unreachable", None, Some(error.to_string())),
                Err(_) => ("unreachable", None, Some(format!("no answer within {} s", NODE_LOOK.as_secs()))),
            };
            let socket = socket.display().to_string();
            NodeStatus { node: name.to_string(), default, socket, state: state.to_owned(), version, message, jobs }
        }
    });
    Json(futures_util::future::join_all(looks).await)
}

/// A line of `GET /v1/images`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ImageStatus {
    /// The node whose Podman has it.
    pub(super) node: String,
    /// Repository part of its name.
    pub(super) repository: String,
    /// Its tag.
    pub(super) tag: String,
    /// Podman's id of it.
    pub(super) id: String,
    /// When it was made.
    pub(super) created: Option<jiff::Timestamp>,
    /// Bytes.
    pub(super) size: u64,
}

pub(super) async fn images(State(desk): State<Desk>) -> Result<Json<Vec<ImageStatus>>, Failure> {
    let settings = desk.settings.borrow().clone();
    let mut found = Vec::new();
    for (node, socket) in &settings.nodes {
        for image in Endpoint::new(socket).images().await.map_err(engine)? {
            for name in image.repo_tags.unwrap_or_default() {
                let (repository, tag) = name.rsplit_once(':').unwrap_or((name.as_str(), ""));
                found.push(ImageStatus {
                    node: node.to_string(),
                    repository: repository.to_owned(),
                    tag: tag.to_owned(),
                    id: image.id.clone().unwrap_or_default(),
                    created: image.created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
                    size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                });
            }
        }
    }
    Ok(Json(found))
}

/// A line of `GET /v1/volumes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VolumeStatus {
    /// The node whose Podman has it.
    pub(super) node: String,
    /// Its owner.
    pub(super) tenant: String,
    /// The owner's name for it.
    pub(super) volume: String,
}

pub(super) async fn volumes(State(desk): State<Desk>) -> Result<Json<Vec<VolumeStatus>>, Failure> {
    let settings = desk.settings.borrow().clone();
    let mut found = Vec::new();
    for (node, socket) in &settings.nodes {
        for (name, tenant) in Endpoint::new(socket).volumes().await.map_err(engine)? {
            let volume = name.strip_prefix(&format!("{tenant}.")).unwrap_or(&name).to_owned();
            found.push(VolumeStatus { node: node.to_string(), tenant, volume });
        }
    }
    Ok(Json(found))
}

fn engine(error: crate::podman::ApiError) -> Failure {
    Failure::unavailable(Reason::new(Name::EngineUnreachable, error.to_string()))
}

pub(super) async fn downlinks(State(desk): State<Desk>) -> Result<Json<Vec<crate::downlink::OutboxEntry>>, Failure> {
    blocking(move || desk.outbox.list()).await.map(Json)
}
