//! The images that an execution has met: a name on a node means one id, from the moment it is first known.
//!
//! A step that makes the name anew ends that. An image that came with the bundle may be loaded once more when the node
//! has lost it:
//! ```text
//! Unused ─ ImageReloading ─▶ Asked(for a job) ─ that job is prepared or over ─▶ Used
//! ```
//! Must not: look; what is aboard is reported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::state::{Execution, StepState, Verdict};
use crate::bundle::{NodeName, Tenant};
use crate::plan::errand::{Archive, Errand, ImageLoad, own_reference};
use crate::plan::{PlannedStep, Work};
use crate::reason::{Name, Reason};

/// An image that is aboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The full name it was found by.
    pub name: String,
    /// Podman's id of it.
    pub id: String,
}

/// What is known of every image, by node and full name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images(BTreeMap<NodeName, BTreeMap<String, Pin>>);

/// What a name means on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Podman's id of the image.
    pub id: String,
    /// Whether it was loaded once more.
    pub reload: Reload,
}

/// Whether an image was loaded once more from the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// It was not.
    Unused,
    /// It is to be, for a job that is being prepared.
    Asked {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// It was, or that failed.
    Used,
}

/// An image that was aboard and is not any more, or not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The full name and the id that it had.
    pub image: Image,
    /// What was known of it when it was looked for.
    pub seen: Reload,
    /// What was found instead.
    pub reason: Reason,
}

impl Images {
    /// What a name means on a node, if that is known.
    #[must_use]
    pub fn get(&self, node: &NodeName, name: &str) -> Option<&Pin> {
        self.0.get(node)?.get(name)
    }

    /// A name means this id from now on.
    pub(super) fn pin(&mut self, node: &NodeName, image: &Image) {
        let pin = Pin { id: image.id.clone(), reload: Reload::Unused };
        self.0.entry(node.clone()).or_default().insert(image.name.clone(), pin);
    }

    /// What a name means is open again, on every node: several may share one Podman, which a plan does not say.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.values_mut().for_each(|names| drop(names.remove(name)));
    }

    /// An image is to be loaded once more for a job. Returns whether that may be.
    pub(super) fn reload(&mut self, node: &NodeName, name: &str, (step, job): (usize, usize)) -> bool {
        let pin = self.0.get_mut(node).and_then(|names| names.get_mut(name));
        let unused = pin.filter(|pin| pin.reload == Reload::Unused);
        unused.map(|pin| pin.reload = Reload::Asked { step, job }).is_some()
    }

    /// A job is prepared, or never will be: what was asked for it is done.
    pub(super) fn reloaded(&mut self, (step, job): (usize, usize)) {
        let asked = Reload::Asked { step, job };
        for pin in self.0.values_mut().flat_map(BTreeMap::values_mut).filter(|pin| pin.reload == asked) {
            pin.reload = Reload::Used;
        }
    }
}

/// The full name of the image that a step makes, if it makes one.
#[must_use]
pub fn made_by(tenant: &Tenant, step: &PlannedStep) -> Option<String> {
    let image = match &step.work {
        Work::Errand(Errand::Build(build)) => &build.image,
        Work::Errand(Errand::ImageLoad(load)) => &load.image,
        Work::Errand(
            Errand::Uplink(_)
            | Errand::Downlink(_)
            | Errand::FilesList(_)
            | Errand::FilesDelete(_)
            | Errand::FilesMove(_)
            | Errand::ImageList(_)
            | Errand::PodLogs(_)
            | Errand::PodStop(_),
        )
        | Work::PodRun { .. } => return None,
    };
    Some(own_reference(tenant, image))
}

/// The step that last made an image, if it loaded it from the bundle: what it loaded can be loaded again.
#[must_use]
pub fn origin<'a>(execution: &'a Execution, name: &str) -> Option<(&'a ImageLoad, &'a str)> {
    let plan = &execution.plan;
    let ended = |state: &StepState| match state {
        StepState::Ended { since: Some(_), at, verdict, .. } => Some((at.boot, *verdict == Verdict::Succeeded)),
        StepState::Waiting | StepState::Held | StepState::Active { .. } | StepState::Ended { .. } => None,
    };
    let makers = plan.steps.iter().zip(&execution.steps).filter_map(|(planned, step)| {
        let made = made_by(&plan.tenant, planned).filter(|made| made == name);
        made.and_then(|_| Some((ended(&step.state)?, planned)))
    });
    let ((_, well), last) = makers.max_by_key(|((at, _), _)| *at)?;
    match &last.work {
        Work::Errand(Errand::ImageLoad(load)) if well => match &load.archive {
            Archive::Bundle(entry) => Some((load, entry)),
            Archive::Volume { .. } => None,
        },
        Work::Errand(_) | Work::PodRun { .. } => None,
    }
}

/// Why a pod whose image is another one now does not start.
#[must_use]
pub fn changed(name: &str, known: &str, found: &str) -> Reason {
    let message = format!(
        "image {name} was {known} for this execution and is {found} now: its tag was moved meanwhile; give the tag back, \
         or send the operation again to run the new one"
    );
    Reason::new(Name::ImageChanged, message)
}

/// Why a pod whose image is gone or damaged does not start.
pub(super) fn lost(execution: &Execution, lost: &Lost) -> Reason {
    let what = &lost.reason.message;
    let message = match (origin(execution, &lost.image.name), lost.seen) {
        (Some((_, entry)), Reload::Used | Reload::Asked { .. }) => format!(
            "{what}; it was loaded again from {entry} of the bundle once already; find out what removes or damages \
             images, then send the operation again"
        ),
        (_, Reload::Unused | Reload::Used | Reload::Asked { .. }) => {
            format!("{what}; it did not come with the bundle: load it again, then send the operation again")
        }
    };
    Reason::new(lost.reason.name, message)
}
