//! Kubernetes `v1/Pod` manifests: the subset that flies. `podman kube play` accepts them unchanged.
//!
//! Must not: hold a key that the daemon does not act on or check.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Hostname, Tenant, VolumeName};

/// Where the volume is mounted in every pod.
pub const DATA: &str = "/data";

/// Capabilities a pod keeps; all others are dropped.
pub const CAPABILITIES: [&str; 7] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];

/// One pod document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pod {
    /// `v1`.
    pub api_version: String,
    /// `Pod`.
    pub kind: String,
    /// Name and labels.
    pub metadata: Metadata,
    /// What runs.
    pub spec: Spec,
}

/// Name and labels of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The hostname.
    pub name: Hostname,
    /// `perigee.tenant` and `perigee.step`.
    pub labels: BTreeMap<String, String>,
}

/// What runs in a pod and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Same as `metadata.name`.
    pub hostname: Hostname,
    /// `Never`.
    pub restart_policy: String,
    /// `max_duration` in seconds: the daemon enforces it, a Kubernetes cluster would too.
    pub active_deadline_seconds: u32,
    /// Exactly one.
    pub containers: Vec<Container>,
    /// Exactly one: the tenant's volume.
    pub volumes: Vec<Volume>,
}

/// The pod's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// `main`.
    pub name: String,
    /// `NAME:TAG` as the operation writes it.
    pub image: String,
    /// `Never`.
    pub image_pull_policy: String,
    /// Replaces the image's ENTRYPOINT and drops its CMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
    /// Ports mapped to the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The volume at `/data`.
    pub volume_mounts: Vec<Mount>,
    /// What the container may not do.
    pub security_context: SecurityContext,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One port map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// Transport of a port map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// As the libpod API and operations write it.
    #[must_use]
    pub fn lower_case(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where a volume appears in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Which volume.
    pub name: VolumeName,
    /// `/data`.
    pub mount_path: String,
}

/// The hardening that a cluster would apply too; the daemon applies its own whatever this says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityContext {
    /// `false`.
    pub allow_privilege_escalation: bool,
    /// What is dropped and kept.
    pub capabilities: Capabilities,
}

impl SecurityContext {
    /// The one context that flies.
    #[must_use]
    pub fn hardened() -> Self {
        let add = CAPABILITIES.map(str::to_owned).to_vec();
        Self { allow_privilege_escalation: false, capabilities: Capabilities { drop: vec!["ALL".to_owned()], add } }
    }
}

/// Capabilities of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// `[ALL]`.
    pub drop: Vec<String>,
    /// Those kept.
    pub add: Vec<String>,
}

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// The tenant's name for it.
    pub name: VolumeName,
    /// Which stored volume it is.
    pub persistent_volume_claim: Claim,
}

/// Reference to a stored volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// `<tenant>.<volume>`.
    pub claim_name: String,
}

/// The Podman volume that holds a tenant's volume. Neither part may hold a dot, so no two pairs collide.
#[must_use]
pub fn claim(tenant: &Tenant, volume: &VolumeName) -> String {
    format!("{tenant}.{volume}")
}
