//! What inspect and a listing say of a container, as far as we act on it.
//!
//! Must not: hold a field that nobody reads.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::sequence::orphan::{self, LedgerId, Listed};

/// What inspect says of a container, as far as we use it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// Podman's id.
    pub id: String,
    /// Where it is.
    pub state: InspectedState,
    /// How it was configured.
    pub host_config: InspectedConfig,
    /// What it was told of itself.
    pub config: InspectedLabels,
}

impl Inspected {
    /// Whether it was made for another ledger, whatever its name.
    #[must_use]
    pub fn is_anothers(&self, ledger: Option<LedgerId>) -> bool {
        self.config.labels.as_ref().is_some_and(|labels| orphan::name_another(labels, ledger))
    }
}

/// The labels of a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectedLabels {
    /// By key.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// A line of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        let name = entry.names.into_iter().flatten().next().unwrap_or_default();
        Self { id: entry.id, name, labels: entry.labels.unwrap_or_default() }
    }
}

/// How a container was configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectedConfig {
    /// Where its console output goes.
    pub log_config: InspectedLog,
    /// The control group that it was made below.
    #[serde(default)]
    pub cgroup_parent: String,
}

/// Where the console output of a container goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectedLog {
    /// The file that conmon writes.
    #[serde(default)]
    pub path: String,
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectedState {
    /// `created`, `initialized`, `running`, `paused`, `exited`, …
    pub status: String,
    /// The number of its process, in Podman's namespace; 0 without one.
    #[serde(default)]
    pub pid: i32,
    /// Its exit code; meaningless unless it has started.
    pub exit_code: i64,
    /// Year 1 when it never started.
    pub started_at: jiff::Timestamp,
    /// Killed for its memory.
    #[serde(default, rename = "OOMKilled")]
    pub oom_killed: bool,
}

impl InspectedState {
    /// Whether its process has ever lived.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.started_at > jiff::Timestamp::UNIX_EPOCH
    }

    /// Whether all is made and its process has not lived yet.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.status == "initialized"
    }

    /// Whether its process has lived and ended, so that its exit code means something.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_started() && matches!(self.status.as_str(), "exited" | "stopped" | "dead" | "removing")
    }

    /// Whether its processes are frozen.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.status == "paused"
    }

    /// Whether its process lives.
    #[must_use]
    pub fn alive(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "stopping")
    }
}
