//! Executions in numbers: lists, the digest for thin links, metrics.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Desk;
use super::answer::{Asked, Failure, blocking};
use crate::handle::TroubleName;
use crate::outcome::{self, State as Condition};
use crate::view::{self, BATCH_LABEL, ExecutionStatus, Filter, Metrics, Summary};

/// Lines of `list` when nobody asks for more.
const LIST_DEFAULT: usize = 100;
/// Most lines of one answer.
const LIST_MAX: usize = 10_000;
/// Bytes of a digest when nobody says how much the link takes.
const DIGEST_BYTES: usize = 1024;
/// Most bytes of a digest: whoever has room for more has room for the list.
const DIGEST_MAX: usize = 1 << 20;
/// Ended executions that a digest considers, the newest: each is read and sorted.
const DIGEST_ENDED: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    state: Option<String>,
    tenant: Option<String>,
    since: Option<jiff::Timestamp>,
    step: Option<String>,
    operation: Option<String>,
    batch: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/executions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Listing {
    /// Newest received first.
    pub(super) executions: Vec<Summary>,
    /// Whether there are more than the limit.
    pub(super) more: bool,
}

pub(super) async fn list(
    State(desk): State<Desk>,
    Asked(query): Asked<ListQuery>,
    Asked(pairs): Asked<Vec<(String, String)>>,
) -> Result<Json<Listing>, Failure> {
    let states = match &query.state {
        Some(text) => text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(Failure::bad_request)?,
        None => Vec::new(),
    };
    let labels = pairs.into_iter().filter(|(key, _)| key == "label").map(|(_, label)| match label.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Failure::bad_request(format!("label: found `{label}`, expected KEY=VALUE"))),
    });
    let mut labels = labels.collect::<Result<Vec<_>, _>>()?;
    labels.extend(query.batch.map(|batch| (BATCH_LABEL.to_owned(), batch)));
    let ListQuery { tenant, since, step, operation, .. } = query;
    let filter = Filter { states, tenant, since, step, operation, labels };
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    let mut found = matching(&desk, filter, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(Json(Listing { executions: found.iter().map(Summary::from).collect(), more }))
}

/// Live executions and the newest ended ones that a filter wants, newest received first; of the ended at most so many.
async fn matching(desk: &Desk, filter: Filter, ended_max: usize) -> Result<Vec<ExecutionStatus>, Failure> {
    let snapshot = desk.handle.snapshot();
    let around = snapshot.around();
    let live = snapshot.board.live.values().map(|execution| view::status(execution, Some(around)));
    let mut found: Vec<ExecutionStatus> = live.filter(|status| filter.wants(status)).collect();
    if let Some(queries) = desk.queries() {
        let ended = blocking(move || {
            let newest = queries.index().newest();
            let recent = newest.take_while(|status| status.as_ref().map_or(true, |status| filter.recent(status)));
            let wanted = recent.filter(|status| status.as_ref().map_or(true, |status| filter.wants(status)));
            wanted.take(ended_max).collect::<Result<Vec<_>, _>>()
        });
        found.extend(ended.await?);
    }
    found.sort_by_key(|status| (std::cmp::Reverse(status.received_at), status.execution));
    // One that ended between the two looks is in both.
    found.dedup_by_key(|status| status.execution);
    Ok(found)
}

#[derive(Debug, Deserialize)]
pub(super) struct DigestQuery {
    bytes: Option<usize>,
}

pub(super) async fn digest(State(desk): State<Desk>, Asked(query): Asked<DigestQuery>) -> Result<Response, Failure> {
    let bytes = query.bytes.unwrap_or(DIGEST_BYTES).min(DIGEST_MAX);
    let executions = matching(&desk, Filter::default(), DIGEST_ENDED).await?;
    let snapshot = desk.handle.snapshot();
    let troubles: Vec<String> = snapshot.troubles.iter().map(|trouble| trouble.message.clone()).collect();
    let text = view::digest(snapshot.clock.now().wall, &troubles, &executions, bytes);
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

pub(super) async fn metrics(State(desk): State<Desk>) -> Response {
    let snapshot = desk.handle.snapshot();
    let none = || Condition::ALL.into_iter().filter(|state| !state.ended()).map(|state| (state.as_str(), 0));
    let mut executions: BTreeMap<&'static str, usize> = none().collect();
    let mut jobs: BTreeMap<&'static str, usize> = Condition::ALL.map(|state| (state.as_str(), 0)).into();
    for execution in snapshot.board.live.values() {
        *executions.entry(outcome::execution_state(execution).as_str()).or_default() += 1;
        for job in execution.steps.iter().flat_map(|step| &step.jobs) {
            *jobs.entry(outcome::job_state(job).as_str()).or_default() += 1;
        }
    }
    let mut troubles: BTreeMap<&'static str, usize> = TroubleName::ALL.map(|name| (name.as_str(), 0)).into();
    for trouble in &snapshot.troubles {
        *troubles.entry(trouble.name.as_str()).or_default() += 1;
    }
    let nodes =
        desk.settings.borrow().nodes.keys().map(|node| (node.to_string(), !snapshot.away.contains_key(node))).collect();
    let outbox = desk.outbox.clone();
    let entries = blocking(move || outbox.list()).await.ok();
    let metrics = Metrics {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        executions,
        ended: snapshot.board.ended.len(),
        jobs,
        troubles,
        cursor: snapshot.cursor,
        orphans_removed: snapshot.orphans_removed,
        outbox: entries.map(|entries| (entries.len(), entries.iter().map(|entry| entry.bytes).sum())),
        nodes,
    };
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.text()).into_response()
}
