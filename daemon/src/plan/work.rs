//! What a pod_run step is made of on this board: its jobs, how they start together, and what else decides about them.
//!
//! Must not: decide; the engine does.

use serde::{Deserialize, Serialize};

use crate::bundle::flow::{Clean, GangStart, Mpi, OnPowerLoss, Test};
use crate::bundle::manifest::{Port, Variable};
use crate::bundle::options::Options;
use crate::bundle::{Hostname, NodeName, PodName};

/// One pod's life, planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// What names it within its step: an index, a `TASK_ID`, `launcher`, `worker-0`, `3.launcher`; absent: its index.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Position of the unit that it starts with; the jobs of a gang are one unit.
    #[serde(default)]
    pub unit: u32,
    /// Its part in that unit.
    #[serde(default, skip_serializing_if = "Role::is_alone")]
    pub role: Role,
    /// The tenant's name for the pod.
    pub pod_name: PodName,
    /// Its name on the network.
    pub hostname: Hostname,
    /// Where it runs.
    pub node: NodeName,
    /// Seconds its process may run.
    pub max_duration_seconds: u32,
    /// What runs.
    pub pod: PodSpec,
}

/// The part of a job in its unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is the whole unit, or one of a merge group.
    #[default]
    Alone,
    /// A worker of a gang.
    Worker,
    /// The launcher of a gang: its end is the gang's.
    Launcher,
}

impl Role {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_alone(&self) -> bool {
        *self == Self::Alone
    }
}

/// What runs in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    /// `NAME:TAG`.
    pub image: String,
    /// Replaces ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// Replaces CMD.
    pub args: Option<Vec<String>>,
    /// Environment.
    pub env: Vec<Variable>,
    /// Port maps.
    pub ports: Vec<Port>,
    /// Podman name of the volume at `/data`.
    pub claim: String,
    /// What it asks for beyond that, as this board grants it.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
}

/// Further attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many after one that failed.
    pub times: u32,
    /// Seconds before the first; doubled for each that follows.
    pub backoff_seconds: u32,
    /// What a boot in the middle means.
    pub on_power_loss: OnPowerLoss,
}

impl Retry {
    /// Longest pause before another attempt, in seconds.
    pub const PAUSE_MAX_SECONDS: u32 = 3600;

    /// Seconds before the attempt that follows the given one.
    #[must_use]
    pub fn pause_seconds(&self, attempt: u32) -> u32 {
        let doublings = attempt.saturating_sub(1).min(16);
        self.backoff_seconds.saturating_mul(1 << doublings).min(Self::PAUSE_MAX_SECONDS)
    }
}

/// When a step may start, in wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Not before.
    pub not_before: Option<jiff::Timestamp>,
    /// Skipped when it has not started by then.
    pub not_after: Option<jiff::Timestamp>,
}

/// What the output of an earlier step must say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// Index of that step.
    pub step: usize,
    /// What it must say.
    pub test: Test,
}

/// Jobs that the output of an earlier step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// Index of that step.
    pub step: usize,
    /// What stands between two pieces of its output.
    pub separator: String,
    /// The command of each job; `${1}` is the piece, `${item}` its position.
    pub command: String,
    /// Jobs that there may be.
    pub limit: u32,
    /// What is the same for each.
    pub template: Box<PlannedJob>,
}

/// What binds the jobs of a gang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gang {
    /// Slots of each worker.
    pub slots_per_worker: u32,
    /// Which MPI the files and variables are made for.
    pub mpi: Mpi,
    /// Folder in the containers that holds the keys.
    pub ssh_dir: String,
    /// Whether the launcher's host is the first of the hostfile.
    pub launcher_as_worker: bool,
    /// When the launcher starts.
    pub start: GangStart,
    /// What becomes of the workers when it has ended.
    pub clean: Clean,
}
