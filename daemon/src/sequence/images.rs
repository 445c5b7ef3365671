//! What follows when a pod is prepared from an image, or its image is lost: only what it was first is launched, and what
//! came with the bundle is loaded once more.
//!
//! Must not: look; what is aboard is reported.

use std::sync::Arc;

use super::apply::Illegal;
use super::draft::Draft;
use super::effect::Effect;
use super::image::{Image, Lost, Reload, changed, lost, origin};
use super::record::Record;
use super::state::{AttemptId, Verdict};
use crate::reason::Reason;

impl Draft<'_> {
    /// A container is initialised: it may start only if its name means the image that it was made from.
    pub(super) fn prepared(&mut self, attempt: AttemptId, container: &str, image: &Image) -> Result<(), Illegal> {
        if let Err(reason) = self.pinned(attempt, image)? {
            return self.end_job(attempt, Verdict::Failed(reason), None);
        }
        let AttemptId { execution, step, job, .. } = attempt;
        let image = Some(Arc::from(image.id.as_str()));
        self.record(execution, Record::JobPrepared { step, job, container: container.to_owned(), image })
    }

    /// Whether a name still means the image that a container was made from; from now on it does, if it meant none.
    pub(super) fn pinned(&mut self, attempt: AttemptId, image: &Image) -> Result<Result<(), Reason>, Illegal> {
        let AttemptId { execution, step, job, .. } = attempt;
        let Some(known) = self.get(execution) else { return Ok(Ok(())) };
        let node = known.plan.steps[step].jobs()[job].node.clone();
        match known.images.get(&node, &image.name).map(|pin| pin.id.clone()) {
            Some(id) if id != image.id => return Ok(Err(changed(&image.name, &id, &image.id))),
            Some(_) => {}
            None => self.record(execution, Record::ImageKnown { node, image: image.clone() })?,
        }
        Ok(Ok(()))
    }

    /// An image is gone or damaged: it is loaded once more if it came with the bundle, for the first job that notices.
    pub(super) fn image_lost(&mut self, attempt: AttemptId, found: &Lost) -> Result<(), Illegal> {
        let AttemptId { execution, step, job, .. } = attempt;
        let Some(known) = self.get(execution) else { return Ok(()) };
        let node = &known.plan.steps[step].jobs()[job].node;
        let reload = known.images.get(node, &found.image.name).map(|pin| pin.reload);
        if reload != Some(found.seen) {
            // It looked before the image was loaded again, or made anew.
            self.effect(Effect::Prepare(attempt));
            return Ok(());
        }
        if found.seen == Reload::Unused && origin(known, &found.image.name).is_some() {
            self.record(execution, Record::ImageReloading { step, job, name: found.image.name.clone() })?;
            self.effect(Effect::Prepare(attempt));
            return Ok(());
        }
        let reason = lost(known, found);
        self.end_job(attempt, Verdict::Failed(reason), None)
    }
}
