//! The image that a pod is made from: what its name meant when its execution first met it, and no other.
//!
//! Must not: decide that an image is loaded once more; the engine does.

use super::api::{ApiError, Endpoint};
use super::driver::Driver;
use super::failure;
use super::images::image_candidates;
use crate::plan::PlannedJob;
use crate::reason::{Name, Reason};
use crate::sequence::Execution;
use crate::sequence::event::Report;
use crate::sequence::image::{Image, Lost, Pin, Reload, changed};
use crate::sequence::state::AttemptId;

impl Driver {
    /// Tries to make the container of an attempt. If the engine wants its image to be loaded once more and it is lost, it
    /// is loaded before.
    pub(super) async fn try_from_image(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
    ) -> Result<Report, ApiError> {
        let report = self.try_known(endpoint, execution, attempt).await?;
        let Report::ImageLost(lost) = report else { return Ok(report) };
        if !matches!(lost.seen, Reload::Asked { .. }) {
            return Ok(Report::ImageLost(lost));
        }
        if let Err(reason) = self.load_again(endpoint, execution, attempt, &lost).await? {
            return Ok(Report::NotPrepared(reason));
        }
        let report = self.try_known(endpoint, execution, attempt).await?;
        let Report::ImageLost(lost) = report else { return Ok(report) };
        let message = format!(
            "{}; it was loaded again from the bundle just now, which did not help; remove what else uses {} or shares its \
             layers, then send the operation again",
            lost.reason.message, lost.image.name
        );
        Ok(Report::NotPrepared(Reason::new(lost.reason.name, message)))
    }

    /// Tells an image that was aboard and is lost from one that never was.
    async fn try_known(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
    ) -> Result<Report, ApiError> {
        let reason = match self.try_prepare(endpoint, execution, attempt).await {
            Ok(Ok((container, image))) => return Ok(Report::Prepared { container, image }),
            Ok(Err(reason)) => reason,
            Err(error) if error.unreachable() => return Err(error),
            Err(error) => failure::reason(&error),
        };
        let known = self.known_image(execution, Self::job(execution, attempt));
        Ok(match known.filter(|_| matches!(reason.name, Name::ImageMissing | Name::ImageDamaged)) {
            Some((name, pin)) => {
                let image = Image { name, id: pin.id.clone() };
                Report::ImageLost(Box::new(Lost { image, seen: pin.reload, reason }))
            }
            None => Report::NotPrepared(reason),
        })
    }

    /// What the name of a pod's image means for its execution, if it has met it.
    fn known_image<'a>(&self, execution: &'a Execution, job: &PlannedJob) -> Option<(String, &'a Pin)> {
        let names = image_candidates(&execution.plan.tenant, &job.pod.image, &self.settings.image_prefixes);
        names.into_iter().find_map(|name| execution.images.get(&job.node, &name).map(|pin| (name, pin)))
    }

    /// The image that a pod is to be made from. One that Podman finds by name and cannot look at is damaged.
    pub(super) async fn image_of(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        job: &PlannedJob,
    ) -> Result<Result<Image, Reason>, ApiError> {
        let found = match self.known_image(execution, job) {
            None => self.find_image(endpoint, &execution.plan.tenant, &job.pod.image).await,
            Some((name, pin)) => endpoint.image_id(&name).await.map(|id| still(name, pin, id)),
        };
        match found {
            Err(ApiError::Refused { message, .. }) if failure::is_damaged(&message) || has_panicked(&message) => {
                let message = format!(
                    "podman cannot look at image {}, which it has: {message}; load it again, then send the operation again",
                    job.pod.image
                );
                Ok(Err(Reason::new(Name::ImageDamaged, message)))
            }
            other => other,
        }
    }
}

/// Whether Podman stumbled over an image of which it has lost a layer: 4.3 does.
fn has_panicked(message: &str) -> bool {
    message.contains("nil pointer dereference")
}

/// An image, if its name still means what it meant.
fn still(name: String, pin: &Pin, found: Option<String>) -> Result<Image, Reason> {
    match found {
        Some(id) if id == pin.id => Ok(Image { name, id }),
        Some(id) => Err(changed(&name, &pin.id, &id)),
        None => {
            let message = format!("image {name} is gone; it was aboard before, with id {}", pin.id);
            Err(Reason::new(Name::ImageMissing, message))
        }
    }
}
