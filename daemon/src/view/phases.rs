//! Jobs by phase, for those who think in phases.
//!
//! Must not: name a phase that no job is in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::graph::PROGRAM_LABEL;
use super::{ExecutionStatus, JobStatus};
use crate::plan::Role;

/// The jobs of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseGroup {
    /// They.
    #[serde(rename = "Jobs")]
    pub jobs: Vec<PhaseJob>,
    /// What the phase means.
    #[serde(rename = "Description")]
    pub description: String,
}

/// One job of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseJob {
    /// Its id.
    pub id: String,
    /// The program that it runs; null where the image says.
    pub path: Option<String>,
}

/// Jobs by phase. A gang is one job: its launcher.
#[must_use]
pub fn grouped<'a>(executions: impl IntoIterator<Item = &'a ExecutionStatus>) -> BTreeMap<String, PhaseGroup> {
    let mut phases: BTreeMap<String, PhaseGroup> = BTreeMap::new();
    for execution in executions {
        let jobs = execution.steps.iter().flat_map(|step| &step.jobs).filter(|job| job.role != Role::Worker);
        for job in jobs {
            let phase = job.views.kubernetes.clone();
            let description = described(&phase).to_owned();
            let group = phases.entry(phase).or_insert_with(|| PhaseGroup { jobs: Vec::new(), description });
            group.jobs.push(PhaseJob { id: told(execution, job), path: job.program.clone() });
        }
    }
    phases
}

/// What was begun as a program is called by it, as its submission was answered.
fn told(execution: &ExecutionStatus, job: &JobStatus) -> String {
    if execution.labels.contains_key(PROGRAM_LABEL) {
        return format!("{}-{}", execution.operation, job.id);
    }
    job.id.clone()
}

fn described(phase: &str) -> &'static str {
    match phase {
        "Pending" => "Accepted. It waits for its turn, or its container is being made.",
        "Running" => "Its process lives; it may be paused.",
        "Succeeded" => "It has ended as wanted and will not run again.",
        "Failed" => {
            "It has ended otherwise: with a code other than 0, stopped, out of time, or without having started."
        }
        _ => "How it ended cannot be known.",
    }
}
