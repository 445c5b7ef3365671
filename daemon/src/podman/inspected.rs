//! What inspect says of a container, as far as we act on it.
//!
//! Must not: hold a field that nobody reads.

use serde::Deserialize;

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
}

/// How a container was configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectedConfig {
    /// Where its console output goes.
    pub log_config: InspectedLog,
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
