//! One state in the words of four other systems.
//!
//! Must not: know where the state comes from.

use serde::{Deserialize, Serialize};

use crate::outcome::State;
use crate::reason::{Name, Reason};

/// One state in the words of four other systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// Clustergate-2 task state.
    pub clustergate2: String,
    /// DRMAA2 job state.
    pub drmaa2: String,
    /// What DRMAA2 calls the sub-state: what its state does not tell apart.
    #[serde(default)]
    pub drmaa2_substate: Option<String>,
    /// Kubernetes pod phase.
    pub kubernetes: String,
    /// KubeGene vertex phase; null before the job exists.
    pub kubegene: Option<String>,
}

/// A state in other words. What was skipped because nobody wanted it to run has done what was asked for.
#[must_use]
pub fn views(state: State, reason: Option<&Reason>) -> Views {
    let unwanted = reason.is_some_and(|reason| reason.name == Name::Condition);
    let (clustergate2, drmaa2, substate, kubernetes, kubegene) = match state {
        State::Waiting => ("CREATED", "Queued", None, "Pending", None),
        State::Held => ("SCHEDULED", "QueuedHeld", None, "Pending", None),
        State::Quarantined => ("SCHEDULED", "RequeuedHeld", Some("quarantined"), "Pending", None),
        State::Starting => ("SCHEDULED", "Queued", Some("starting"), "Pending", Some("Running")),
        State::Running => ("RUNNING", "Running", None, "Running", Some("Running")),
        State::Paused => ("RUNNING", "Suspended", None, "Running", Some("Running")),
        State::Requeued => ("RUNNING", "Requeued", None, "Pending", Some("Running")),
        State::RequeuedHeld => ("RUNNING", "RequeuedHeld", None, "Pending", Some("Running")),
        State::Succeeded => ("SUCCESS", "Done", None, "Succeeded", Some("Succeeded")),
        State::Failed => ("FAILED", "Failed", None, "Failed", Some("Failed")),
        State::Skipped if unwanted => ("SUCCESS", "Done", Some("skipped"), "Succeeded", Some("Succeeded")),
        State::Skipped => ("FAILED", "Failed", Some("skipped"), "Failed", Some("Failed")),
        State::Unknown => ("FAILED", "Undetermined", None, "Unknown", Some("Error")),
    };
    Views {
        clustergate2: clustergate2.to_owned(),
        drmaa2: drmaa2.to_owned(),
        drmaa2_substate: substate.map(str::to_owned),
        kubernetes: kubernetes.to_owned(),
        kubegene: kubegene.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_word_in_each_of_the_five_views() {
        let table = [
            ("waiting", "CREATED", "Queued", "", "Pending", ""),
            ("held", "SCHEDULED", "QueuedHeld", "", "Pending", ""),
            ("quarantined", "SCHEDULED", "RequeuedHeld", "quarantined", "Pending", ""),
            ("starting", "SCHEDULED", "Queued", "starting", "Pending", "Running"),
            ("running", "RUNNING", "Running", "", "Running", "Running"),
            ("paused", "RUNNING", "Suspended", "", "Running", "Running"),
            ("requeued", "RUNNING", "Requeued", "", "Pending", "Running"),
            ("requeued_held", "RUNNING", "RequeuedHeld", "", "Pending", "Running"),
            ("succeeded", "SUCCESS", "Done", "", "Succeeded", "Succeeded"),
            ("failed", "FAILED", "Failed", "", "Failed", "Failed"),
            ("skipped", "FAILED", "Failed", "skipped", "Failed", "Failed"),
            ("unknown", "FAILED", "Undetermined", "", "Unknown", "Error"),
        ];
        let told = State::ALL.map(|state| {
            let views = views(state, None);
            let words = [views.clustergate2, views.drmaa2, views.drmaa2_substate.unwrap_or_default(), views.kubernetes];
            (state.as_str(), words, views.kubegene.unwrap_or_default())
        });
        let expected = table.map(|(state, task, job, sub, phase, vertex)| {
            (state, [task, job, sub, phase].map(str::to_owned), vertex.to_owned())
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_condition_skipped_has_done_what_was_asked_for() {
        let views = views(State::Skipped, Some(&Reason::new(Name::Condition, "it did not hold")));
        let words = [views.clustergate2.as_str(), &views.drmaa2, &views.kubernetes];
        assert_eq!(words, ["SUCCESS", "Done", "Succeeded"]);
        assert_eq!(views.drmaa2_substate.as_deref(), Some("skipped"));
    }
}
