//! An image that came with the bundle, loaded once more because the node has lost or damaged it.
//!
//! Must not: remove an image that a container uses, or one by another name; decide whether it is wanted.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::images;
use crate::bundle::ExecutionId;
use crate::podman::driver::Driver;
use crate::podman::{ApiError, Endpoint, failure};
use crate::reason::{Name, Reason};
use crate::sequence::image::{Lost, Reload, changed, origin};
use crate::sequence::state::{AttemptId, JobState};
use crate::sequence::{Board, Execution};

/// What is loaded again: for which execution, into which Podman, by which name, asked for by which job.
type Wanted = (ExecutionId, PathBuf, String, Reload);
/// How it went, once it is over.
type Outcome = Arc<tokio::sync::Mutex<Option<Result<(), Reason>>>>;

/// What was loaded again. Jobs that start together need it once.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadedAgain(Arc<Mutex<BTreeMap<Wanted, Outcome>>>);

impl LoadedAgain {
    /// The outcome of a load; those of executions that are over are forgotten.
    fn outcome(&self, wanted: Wanted, board: &Board) -> Outcome {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(execution, ..), _| board.live.contains_key(execution));
        known.entry(wanted).or_default().clone()
    }
}

impl Driver {
    /// Loads a lost image from the bundle; afterwards its name means what it meant before.
    pub(crate) async fn load_again(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
        lost: &Lost,
    ) -> Result<Result<(), Reason>, ApiError> {
        let wanted = (execution.plan.execution, endpoint.socket().to_owned(), lost.image.name.clone(), lost.seen);
        let outcome = self.loaded_again.outcome(wanted, &self.handle.snapshot().board);
        // The first of the jobs that want it loads it for all.
        let mut outcome = outcome.lock().await;
        if let Some(done) = &*outcome {
            return Ok(done.clone());
        }
        let mut snapshots = self.handle.snapshots();
        let over = snapshots.wait_for(|snapshot| {
            let state = snapshot.board.job(&attempt).map(|job| &job.state);
            !matches!(state, Some(JobState::Preparing))
        });
        tokio::select! {
            done = self.load_from_bundle(endpoint, execution, lost) => {
                let done = done?;
                *outcome = Some(done.clone());
                Ok(done)
            }
            _ = over => Ok(Err(Reason::new(Name::Stopped, "its job ended; the load was broken off"))),
        }
    }

    async fn load_from_bundle(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        lost: &Lost,
    ) -> Result<Result<(), Reason>, ApiError> {
        let Some((load, entry)) = origin(execution, &lost.image.name) else { return Ok(Err(lost.reason.clone())) };
        // It was loaded into another Podman, and found in this one.
        if self.endpoint(&load.node).is_ok_and(|loaded| loaded.socket() != endpoint.socket()) {
            return Ok(Err(lost.reason.clone()));
        }
        tracing::warn!(
            execution = %execution.plan.execution, image = lost.image.name, archive = entry, reason = %lost.reason,
            "an image that came with the bundle is lost: loading it again, once"
        );
        let path = self.outbox.bundle_folder(execution.plan.execution).join(entry);
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        });
        let (file, bytes) = match opened.await.map_err(std::io::Error::other).and_then(|opened| opened) {
            Ok(opened) => opened,
            Err(error) => {
                let message =
                    format!("{}; its archive {entry} in the bundle cannot be read: {error}", lost.reason.message);
                return Ok(Err(Reason::new(Name::TarfileMissing, message)));
            }
        };
        if let Err(reason) = images::room(endpoint, bytes).await? {
            return Ok(Err(reason));
        }
        // What is damaged is taken for whole as long as it is known.
        if lost.reason.name == Name::ImageDamaged
            && let Err(error) = endpoint.remove_image(&lost.image.name).await
        {
            return refused(error, |why| format!("{}; it cannot be replaced: {why}", lost.reason.message));
        }
        let longest = self.real(load.max_duration_seconds);
        if let Err(reason) = images::load(endpoint, file, &lost.image.name, longest).await? {
            return Ok(Err(reason));
        }
        Ok(match endpoint.image_id(&lost.image.name).await? {
            Some(id) if id == lost.image.id => Ok(()),
            Some(id) => Err(changed(&lost.image.name, &lost.image.id, &id)),
            None => {
                Err(Reason::new(Name::ImageLoadFailed, format!("podman did not load {} from {entry}", lost.image.name)))
            }
        })
    }
}

/// What Podman refuses is the end of it; what it does not answer is asked again.
fn refused(error: ApiError, message: impl Fn(&str) -> String) -> Result<Result<(), Reason>, ApiError> {
    if error.unreachable() {
        return Err(error);
    }
    Ok(Err(Reason::new(Name::ImageDamaged, message(&failure::reason(&error).message))))
}
