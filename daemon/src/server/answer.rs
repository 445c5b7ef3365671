//! Error answers: one coded JSON object, and the HTTP status that the tool turns into its exit code.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::handle::Answer;
use crate::reason::{Name, Reason};
use crate::sequence::Refusal;

/// The body of every error answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    /// What is wrong.
    pub(super) error: Reason,
}

/// An error answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    reason: Reason,
}

impl Failure {
    /// The request is not legal.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: Reason::new(Name::Invalid, message) }
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: Reason::new(Name::Invalid, message) }
    }

    /// The daemon cannot do it now.
    pub(super) fn unavailable(reason: Reason) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason }
    }

    /// A fault of ours.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let message = crate::run::chain(error);
        tracing::error!(%message, "a request failed");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: Reason::new(Name::Internal, message) }
    }
}

impl From<Answer> for Failure {
    fn from(answer: Answer) -> Self {
        let status = match &answer {
            Answer::Refused(Refusal::NotFound(_)) => StatusCode::NOT_FOUND,
            Answer::Refused(Refusal::AlreadyKnown(_) | Refusal::InvalidState { .. } | Refusal::Limit { .. }) => {
                StatusCode::CONFLICT
            }
            Answer::Refused(Refusal::Stale { .. } | Refusal::Late(_) | Refusal::Fault(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Answer::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let reason = match answer {
            Answer::Refused(refusal) => refusal.reason(),
            Answer::Unavailable(reason) => reason,
        };
        Self { status, reason }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.reason })).into_response()
    }
}

/// The query of a request, read strictly; what is wrong with it is answered like every other error.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Failure::bad_request(rejection.body_text())),
        }
    }
}

/// Answers paths that do not exist, on this socket at least.
pub(super) async fn no_such_path() -> Failure {
    Failure::not_found("no such path on this socket; commands need control.sock")
}

/// Runs what may block on the disk, off the asynchronous threads.
pub(super) async fn blocking<T: Send + 'static, E: std::error::Error + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Failure::internal(&error)),
        Err(error) => Err(Failure::internal(&error)),
    }
}
