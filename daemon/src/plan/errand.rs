//! Steps that run no pods: what each of them needs to be carried out, its node resolved.
//!
//! Must not: say how; `errand` does.

use serde::{Deserialize, Serialize};

use crate::bundle::{NodeName, VolumeName};

/// What a step that runs no pods does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// Places files of the bundle.
    Uplink(Transfer),
    /// Collects files of the volume.
    Downlink(Transfer),
}

/// Files between the board and a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The node whose Podman holds the volume.
    pub node: NodeName,
    /// The tenant's name for it.
    pub volume: VolumeName,
    /// Its Podman name.
    pub claim: String,
    /// Entries of the bundle to place, or paths and wildcards to collect.
    pub sources: Vec<String>,
    /// Folder in the volume, or of the namespace on the ground.
    pub destination: String,
}

impl Errand {
    /// The node that it needs.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        match self {
            Self::Uplink(transfer) | Self::Downlink(transfer) => &transfer.node,
        }
    }

    /// Its name, as `sequence.yaml` has it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Uplink(_) => "uplink",
            Self::Downlink(_) => "downlink",
        }
    }
}
