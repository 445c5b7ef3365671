//! Commands: each becomes an event, and its answer is the engine's.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::Desk;
use super::answer::{Asked, Failure, blocking};
use super::id::{named, resolve};
use crate::intake::Outcome;
use crate::reason::{Name, Reason};
use crate::sequence::event::Verb;
use crate::sequence::{Event, Outcome as Answered};
use crate::verify::Rejection;

/// How much of a bundle that cannot be taken is read before it is refused.
const DRAIN_BYTES: usize = 64 << 20;

#[derive(Debug, Deserialize)]
pub(super) struct SubmitQuery {
    #[serde(default)]
    hold: bool,
}

pub(super) async fn submit(
    State(desk): State<Desk>,
    Asked(query): Asked<SubmitQuery>,
    body: Body,
) -> Result<Response, Failure> {
    let storage =
        |error: io::Error| Reason::new(Name::LedgerUnavailable, format!("failed to stage the bundle: {error}"));
    let (staged, file) = match desk.intake.stage() {
        Ok(staged) => staged,
        Err(reason) => {
            drain(body).await;
            return Err(Failure::unavailable(reason));
        }
    };
    let limit = desk.settings.borrow().bundle_bytes;
    let outcome = match receive(body, File::from_std(file), limit).await {
        Ok(()) => desk.intake.take_staged(staged, query.hold).await,
        Err(Received::Broken(error)) => {
            return Err(Failure::bad_request(format!("the transfer broke: {error}; submit again")));
        }
        Err(Received::Storage(error)) => Outcome::Unavailable(storage(error)),
        Err(Received::Large) => {
            let message = format!("the bundle is larger than {limit} bytes (limits.bundle_bytes)");
            Outcome::Rejected(Rejection::one(Name::Limit, "", "", message))
        }
    };
    let status = match &outcome {
        Outcome::Accepted { .. } => StatusCode::CREATED,
        Outcome::AlreadyKnown { .. } => StatusCode::OK,
        Outcome::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Unavailable(reason) => return Err(Failure::unavailable(reason.clone())),
    };
    Ok((status, Json(outcome)).into_response())
}

/// Reads what is still being sent: who has not sent all of it may not see the answer.
async fn drain(body: Body) {
    let mut pieces = body.into_data_stream();
    let mut left = DRAIN_BYTES;
    while let Some(Ok(piece)) = pieces.next().await {
        left = left.saturating_sub(piece.len());
        if left == 0 {
            return;
        }
    }
}

enum Received {
    Broken(axum::Error),
    Storage(io::Error),
    Large,
}

async fn receive(body: Body, mut file: File, limit: u64) -> Result<(), Received> {
    let mut pieces = body.into_data_stream();
    let mut left = limit;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Received::Broken)?;
        left = left.checked_sub(piece.len() as u64).ok_or(Received::Large)?;
        file.write_all(&piece).await.map_err(Received::Storage)?;
    }
    file.flush().await.map_err(Received::Storage)
}

#[derive(Debug, Deserialize)]
pub(super) struct VerbQuery {
    #[serde(default)]
    now: bool,
}

/// The answer to a verb: taken, at least of one member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Taken {
    /// What it was for.
    pub(super) id: String,
    /// The verb.
    pub(super) verb: String,
    /// What it came to for each member.
    #[serde(default)]
    pub(super) outcomes: Vec<Answered>,
}

pub(super) async fn verb(
    State(desk): State<Desk>,
    Path((id, verb)): Path<(String, String)>,
    Asked(query): Asked<VerbQuery>,
) -> Result<Response, Failure> {
    let known = match verb.as_str() {
        "hold" => Verb::Hold,
        "release" => Verb::Release,
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        "stop" if query.now => Verb::StopNow,
        "stop" => Verb::Stop,
        "purge" => Verb::Purge,
        _ => return Err(Failure::not_found(format!("there is no verb `{verb}`"))),
    };
    if query.now && known != Verb::StopNow {
        return Err(Failure::bad_request(format!("`now` belongs to `stop`, not to `{verb}`")));
    }
    let named = resolve(&desk, &id).await?;
    let asked = Event::Asked { execution: named.status.execution, target: named.target, verb: known };
    let outcomes = desk.handle.ask(asked).await?;
    let refused: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.refused.as_deref()).collect();
    if let Some(first) = refused.first()
        && refused.len() == outcomes.len()
    {
        let reason = Reason::new(Name::InvalidState, format!("every member refused, the first: {first}"));
        let body = serde_json::json!({"error": reason, "id": id, "verb": verb, "outcomes": outcomes});
        return Ok((StatusCode::CONFLICT, Json(body)).into_response());
    }
    Ok(Json(Taken { id, verb, outcomes }).into_response())
}

pub(super) async fn acknowledge(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Json<Taken>, Failure> {
    let execution = named(&desk, &id).await?;
    let outbox = desk.outbox.clone();
    if blocking(move || outbox.acknowledge(execution)).await? {
        desk.handle.acknowledged().await;
        return Ok(Json(Taken { id, verb: "ack".to_owned(), outcomes: Vec::new() }));
    }
    Err(Failure::not_found(format!("the outbox has no entry of `{id}`; it may have been acknowledged before")))
}
