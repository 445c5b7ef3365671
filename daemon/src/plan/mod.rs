//! Core: from a verified bundle and this board's table to a [`Plan`]: steps as data, ready for the engine.
//!
//! Must not: ask Podman anything; images and free ports are found out at launch.

pub mod errand;
mod expand;
mod order;
mod planner;
pub mod policy;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::bundle::document::{OnFailure, OperationInfo};
pub use crate::bundle::fan::filled;
use crate::bundle::{ExecutionId, NodeName, StepId, Tenant};
pub use errand::{Errand, Instrument, Transfer};
pub use expand::{Expansion, HOSTFILE, expand, gang};
pub use planner::plan;
pub use work::{FanOut, Gang, PlannedJob, PodSpec, Retry, Role, When, Window};

/// What of the board a plan depends on.
#[derive(Debug, Clone)]
pub struct Board {
    /// The node table: each node and the endpoint it shares with others.
    pub nodes: BTreeMap<NodeName, String>,
    /// What `default` means.
    pub default_node: NodeName,
    /// Seconds from SIGTERM to SIGKILL.
    pub stop_grace_seconds: u32,
    /// The fisheye camera, if there is one.
    pub fisheye: Option<Instrument>,
    /// Whether containers are made ahead of the turn of their jobs.
    pub look_ahead: bool,
    /// What its operator allows pods to ask for.
    pub policy: policy::Policy,
}

/// An execution as it will be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its identity.
    pub execution: ExecutionId,
    /// Who owns it.
    pub tenant: Tenant,
    /// Where it came from.
    pub operation: OperationInfo,
    /// Seconds from SIGTERM to SIGKILL.
    pub stop_grace_seconds: u32,
    /// Units of it that may be alive at once; absent: all that its steps allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Whether containers are made ahead of the turn of their jobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look_ahead: bool,
    /// In order.
    pub steps: Vec<PlannedStep>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its identity.
    pub id: StepId,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Budget from its start to its end.
    pub timeout_seconds: u32,
    /// Number of its merge group, when it has one.
    pub group: Option<u32>,
    /// What must have happened before it may start.
    pub after: Vec<Dependency>,
    /// What else decides about its jobs.
    #[serde(default, skip_serializing_if = "Terms::are_plain")]
    pub terms: Terms,
    /// What it does.
    pub work: Work,
}

/// What decides about the jobs of a step besides its place in the sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Further attempts.
    pub retry: Retry,
    /// When it may start.
    pub window: Window,
    /// What the output of an earlier step must say.
    pub when: Option<When>,
    /// Where its jobs come from, when they are not known before.
    pub fan_out: Option<FanOut>,
    /// What binds the jobs of each unit.
    pub gang: Option<Gang>,
    /// Units that may be alive at once; absent: all.
    pub max_parallel: Option<u32>,
}

impl Terms {
    fn are_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// One edge to an earlier step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Index of that step.
    pub step: usize,
    /// What it must have come to.
    pub needs: Needs,
}

/// What a dependency waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// Its end, however it ended: the order of the list.
    Ended,
    /// Its success; anything else skips the dependent step.
    Success,
    /// The success of its unit at the same position; anything else skips the dependent unit.
    Each,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Runs pods: one job each.
    PodRun {
        /// The jobs, in starting order.
        jobs: Vec<PlannedJob>,
    },
    /// Runs no pods. Written as the errand alone.
    #[serde(untagged)]
    Errand(Errand),
}

impl Plan {
    /// The steps that start together with this one: its merge group, or itself.
    #[must_use]
    pub fn group_of(&self, step: usize) -> Range<usize> {
        let group = self.steps[step].group;
        let same = |other: &PlannedStep| group.is_some() && other.group == group;
        let before = self.steps[..step].iter().rev().take_while(|other| same(other)).count();
        let after = self.steps[step + 1..].iter().take_while(|other| same(other)).count();
        step - before..step + after + 1
    }
}

impl PlannedStep {
    /// The node that an errand needs; none for pods, which have theirs each.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match &self.work {
            Work::PodRun { .. } => None,
            Work::Errand(errand) => errand.node(),
        }
    }

    /// Whether it has no jobs of its own, now or later.
    #[must_use]
    pub fn is_errand(&self) -> bool {
        !matches!(self.work, Work::PodRun { .. })
    }

    /// The earlier steps whose output decides about it.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<usize> {
        let when = self.terms.when.iter().map(|when| when.step);
        when.chain(self.terms.fan_out.iter().map(|fan_out| fan_out.step)).collect()
    }

    /// How many units it has.
    #[must_use]
    pub fn units(&self) -> usize {
        self.jobs().last().map_or(0, |job| job.unit as usize + 1)
    }

    /// The indices of the jobs of a unit; they follow each other.
    #[must_use]
    pub fn unit(&self, unit: usize) -> Range<usize> {
        let jobs = self.jobs();
        let first = jobs.partition_point(|job| (job.unit as usize) < unit);
        first..jobs.partition_point(|job| job.unit as usize <= unit)
    }

    /// What names a job within its step.
    #[must_use]
    pub fn label(&self, job: usize) -> String {
        let label = self.jobs().get(job).map(|job| job.label.as_str()).unwrap_or_default();
        if label.is_empty() { job.to_string() } else { label.to_owned() }
    }

    /// The jobs of a pod_run step; none for the others.
    #[must_use]
    pub fn jobs(&self) -> &[PlannedJob] {
        match &self.work {
            Work::PodRun { jobs } => jobs,
            Work::Errand(_) => &[],
        }
    }
}
