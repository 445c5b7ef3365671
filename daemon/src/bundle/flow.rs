//! How a step is tied into its sequence and how many jobs it has: dependencies, conditions, retries, windows, arrays,
//! command lists, gangs. Every part is optional; a step without any is a plain step of the documented form.
//!
//! Must not: judge; `verify` and `plan` do.

use serde::{Deserialize, Serialize};

use super::StepId;
use super::options::Options;

/// When a step may start, and what becomes of it when it fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// What it waits for; absent: the step or group before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Edge>>,
    /// What the output of an earlier step must say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// Further attempts after one that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Seconds before the first of them; doubled for each that follows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub backoff_seconds: u32,
    /// What a boot in the middle of it means.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_power_loss: OnPowerLoss,
    /// Not started before this wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<jiff::Timestamp>,
    /// Skipped when it has not started by this wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<jiff::Timestamp>,
}

impl Flow {
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// The step that must have succeeded.
    pub step: StepId,
    /// All of it, or position by position.
    pub mode: Mode,
}

/// How the jobs of two steps depend on each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every job waits for all jobs of the other step.
    #[default]
    All,
    /// The job at a position waits for the one at the same position of the other step.
    Each,
}

/// What the standard output of a step must say for another to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The step whose output is looked at; it has one job.
    pub step: StepId,
    /// What it must say.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub test: Test,
}

/// What an output is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// The whole output, less one newline at its end, is this text.
    Equals(String),
    /// It is not.
    NotEquals(String),
    /// The output is `key:value,key:value`; one of these rules holds.
    Any(Vec<Rule>),
}

/// One rule about one key of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Is one of the values.
    In,
    /// Is none of them.
    NotIn,
    /// The key is there.
    Exists,
    /// It is not.
    DoesNotExist,
    /// Is a number greater than the one value.
    Gt,
    /// Is a number less than the one value.
    Lt,
    /// Is the one value.
    Equals,
    /// Is not the one value.
    NotEquals,
}

/// What a boot in the middle of a step means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPowerLoss {
    /// It failed.
    #[default]
    Fail,
    /// What ran is run once more.
    Rerun,
}

/// How many jobs a pod_run step has, and what tells them apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// One job for each `TASK_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Array>,
    /// One job for each command, run by `sh -c`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// One job for each piece of another step's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_output: Option<FromOutput>,
    /// Workers and a launcher instead of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangDocument>,
    /// Jobs (gangs) of the step that may be alive at once; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
}

/// The range of `TASK_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Array {
    /// First.
    pub begin: u32,
    /// Last, if a step meets it.
    pub end: u32,
    /// From one to the next.
    pub step: u32,
}

/// Jobs that another step's output asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromOutput {
    /// That step; it has one job.
    pub step: StepId,
    /// What stands between two pieces.
    pub separator: String,
    /// The command of each; `${1}` is the piece, `${item}` its position from 0.
    pub command: String,
}

/// Workers and the launcher that uses them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GangDocument {
    /// Workers.
    pub workers: u32,
    /// Slots of each.
    pub slots_per_worker: u32,
    /// `metadata.name` of the workers' pod in the manifest; `<worker>-<i>` are their hostnames.
    pub worker: super::Hostname,
    /// What the workers ask for beyond the documented keys.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub worker_options: Box<Options>,
    /// Which MPI the files and variables are made for.
    pub mpi: Mpi,
    /// Folder in the containers that holds the keys.
    pub ssh_dir: String,
    /// Whether the launcher's host is the first of the hostfile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub launcher_as_worker: bool,
    /// When the launcher starts.
    pub start: GangStart,
    /// What becomes of the workers when it has ended.
    pub clean: Clean,
}

/// An MPI implementation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mpi {
    /// Open MPI.
    #[default]
    Openmpi,
    /// Intel MPI.
    Intel,
    /// MPICH.
    Mpich,
}

/// When a launcher starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GangStart {
    /// When every worker runs.
    #[default]
    AfterWorkers,
    /// Together with them, last.
    WithWorkers,
}

/// What becomes of the workers when their launcher has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clean {
    /// They go on to their own end; every container is kept until the execution is purged.
    None,
    /// Those that live are stopped and removed; those that had ended are kept until the execution is purged.
    #[default]
    Running,
    /// They are stopped, and all are removed.
    All,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
