//! Lists of executions: a line each, and which are wanted.
//!
//! Must not: look anything up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ExecutionStatus;
use crate::bundle::{ExecutionId, OperationId, Tenant};
use crate::outcome::State;
use crate::reason::Reason;

/// A line of `list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its identity.
    pub execution: ExecutionId,
    /// The operation it runs.
    pub operation: OperationId,
    /// Who owns it.
    pub tenant: Tenant,
    /// What the operation calls itself besides.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub state: State,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
    /// When its bundle was accepted.
    pub received_at: jiff::Timestamp,
    /// When its first step started.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Steps that have ended.
    pub steps_ended: usize,
    /// Steps in all.
    pub steps_total: usize,
}

impl From<&ExecutionStatus> for Summary {
    fn from(status: &ExecutionStatus) -> Self {
        Self {
            execution: status.execution,
            operation: status.operation.clone(),
            tenant: status.tenant.clone(),
            labels: status.labels.clone(),
            state: status.state,
            reason: status.reason.clone(),
            received_at: status.received_at,
            started_at: status.started_at,
            ended_at: status.ended_at,
            steps_ended: status.steps.iter().filter(|step| step.state.ended()).count(),
            steps_total: status.steps.len(),
        }
    }
}

/// Which executions are wanted: those that every part of it lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; none: in any.
    pub states: Vec<State>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Received since.
    pub since: Option<jiff::Timestamp>,
    /// With this step.
    pub step: Option<String>,
    /// Of this operation.
    pub operation: Option<String>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
}

impl Filter {
    /// Whether an execution was received late enough.
    #[must_use]
    pub fn recent(&self, status: &ExecutionStatus) -> bool {
        self.since.is_none_or(|since| status.received_at >= since)
    }

    /// Whether an execution is wanted.
    #[must_use]
    pub fn wants(&self, status: &ExecutionStatus) -> bool {
        let step = |wanted: &String| status.steps.iter().any(|step| step.id.as_str() == wanted);
        self.recent(status)
            && (self.states.is_empty() || self.states.contains(&status.state))
            && self.tenant.as_ref().is_none_or(|tenant| status.tenant.as_str() == tenant)
            && self.operation.as_ref().is_none_or(|operation| status.operation.as_str() == operation)
            && self.step.as_ref().is_none_or(step)
            && self.labels.iter().all(|(key, value)| status.labels.get(key) == Some(value))
    }
}
