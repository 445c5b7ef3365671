//! Clears what is left of an attempt: its output is kept and written where its operation wants it, its container and its
//! control group are removed, unless the container is to be kept.
//!
//! Must not: remove a container whose output is not safe.

use std::path::Path;

use super::accounting::Group;
use super::api::{ApiError, Endpoint};
use super::console::{self, ConsoleError};
use super::export;
use super::failure;
use super::inspected::Inspected;
use crate::plan::PodSpec;
use crate::sequence::effect::Disposal;
use crate::sequence::orphan::{self, LedgerId};
use crate::sequence::state::{AttemptId, Logs};

/// What is to be cleared of an attempt, and where its console output goes.
#[derive(Debug)]
pub(super) struct Rest<'a> {
    pub(super) attempt: AttemptId,
    pub(super) name: &'a str,
    pub(super) kept: &'a Path,
    pub(super) limit: u64,
    pub(super) pod: &'a PodSpec,
    /// Whether its output is still to be written into the volume.
    pub(super) export: bool,
    /// What becomes of its container.
    pub(super) disposal: Disposal,
    /// Whose containers are touched.
    pub(super) ledger: Option<LedgerId>,
}

/// Keeps the console output of a container, then removes it and its control group; one that lives is killed first.
pub(super) async fn try_clear(endpoint: &Endpoint, rest: &Rest<'_>) -> Result<Result<Logs, ConsoleError>, ApiError> {
    let group = endpoint.group_manager().await?.map(|manager| Group::of(manager, &rest.attempt));
    let logs = match endpoint.inspect(rest.name).await {
        Ok(found) if found.is_anothers(rest.ledger) => Ok(console::kept(rest.kept)),
        Ok(found) => clear_found(endpoint, rest, found).await?,
        Err(ApiError::NotFound(_)) => Ok(console::kept(rest.kept)),
        // A Podman that was killed amid a removal has a container that it cannot look at. Its output is safe, or went
        // with its layer, or there never was any.
        Err(ApiError::Refused { message, .. })
            if rest.disposal == Disposal::Remove && (rest.kept.exists() || failure::is_damaged(&message)) =>
        {
            remove_unseen(endpoint, rest, &message).await?;
            Ok(console::kept(rest.kept))
        }
        Err(error) => return Err(error),
    };
    if let Some(group) = group.filter(|_| logs.is_ok()) {
        group.remove_soon();
    }
    Ok(logs)
}

/// Removes a container that Podman cannot look at. It lists it all the same, with its labels: the name alone may be that
/// of another daemon's.
async fn remove_unseen(endpoint: &Endpoint, rest: &Rest<'_>, message: &str) -> Result<(), ApiError> {
    let container = rest.name;
    let listed = endpoint.labelled(&format!("{}={}", orphan::EXECUTION, rest.attempt.execution)).await?;
    match listed.iter().find(|listed| listed.name == container) {
        Some(listed) if orphan::name_another(&listed.labels, rest.ledger) => {
            tracing::warn!(
                container,
                message,
                "podman cannot look at a container of another ledger, which is left alone"
            );
            Ok(())
        }
        Some(listed) => {
            tracing::warn!(container, message, "removing a container that podman cannot look at");
            endpoint.remove(&listed.id).await
        }
        None => {
            tracing::warn!(container, message, "podman cannot look at a container and lists none; nothing is removed");
            Ok(())
        }
    }
}

async fn clear_found(
    endpoint: &Endpoint,
    rest: &Rest<'_>,
    mut found: Inspected,
) -> Result<Result<Logs, ConsoleError>, ApiError> {
    if found.state.alive() {
        endpoint.signal(&found.id, "KILL").await?;
        endpoint.wait(&found.id, super::api::LOOK).await?;
        found = endpoint.inspect(rest.name).await?;
    }
    let logs = console::keep(endpoint, &found, rest.kept, rest.limit).await;
    if logs.is_ok() {
        // What never started has nothing to say, and must not empty the file of one that had.
        if rest.export && found.state.has_started() {
            export::write(endpoint, rest.pod, rest.kept).await?;
        }
        if rest.disposal == Disposal::Remove {
            endpoint.remove(&found.id).await?;
        }
    }
    Ok(logs)
}
