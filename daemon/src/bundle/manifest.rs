//! Kubernetes `v1/Pod` manifests: the subset that flies. `podman kube play` accepts them unchanged.
//!
//! Must not: hold a key that the daemon does not act on or check.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::options::{Options, Privilege, VolumeAccess};
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
    /// Shares the board's shared memory, semaphores and message queues.
    #[serde(default, rename = "hostIPC", skip_serializing_if = "is_false")]
    pub host_ipc: bool,
    /// Shares the board's processes.
    #[serde(default, rename = "hostPID", skip_serializing_if = "is_false")]
    pub host_pid: bool,
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
    /// The folder its process starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
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
    /// Address of the host; all of them when it is not said.
    #[serde(default, rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<Ipv4Addr>,
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
    /// Whether it can only be read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// What a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// At most.
    pub limits: Quantities,
}

/// Amounts, as Kubernetes writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantities {
    /// Thousandths of a processor, `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

impl Resources {
    /// What these options ask for.
    #[must_use]
    pub fn of(options: &Options) -> Option<Self> {
        let limits = Quantities {
            cpu: options.cpu_millis.map(|millis| format!("{millis}m")),
            memory: options.memory_bytes.map(|bytes| bytes.to_string()),
        };
        (limits.cpu.is_some() || limits.memory.is_some()).then_some(Self { limits })
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The hardening that a cluster would apply too; the daemon applies its own whatever this says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityContext {
    /// `false`, unless the pod is privileged.
    pub allow_privilege_escalation: bool,
    /// What is dropped and kept.
    pub capabilities: Capabilities,
    /// Whether nothing holds it back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// The user, where it is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    /// The group, where it is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
}

impl SecurityContext {
    /// The context of a pod without options.
    #[must_use]
    pub fn hardened() -> Self {
        Self::of(&Options::default())
    }

    /// The one context that flies with these options.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let privileged = options.shares(Privilege::Privileged);
        let add = CAPABILITIES.map(str::to_owned).to_vec();
        let (user, group) = options.user.as_ref().and_then(super::User::numbers).unzip();
        Self {
            allow_privilege_escalation: privileged,
            capabilities: Capabilities { drop: vec!["ALL".to_owned()], add },
            privileged,
            run_as_user: user,
            run_as_group: group.flatten(),
        }
    }
}

impl Pod {
    /// Says of these options what Kubernetes can say.
    pub fn apply(&mut self, options: &Options) {
        self.spec.host_ipc = options.shares(Privilege::HostIpc);
        self.spec.host_pid = options.shares(Privilege::HostPid);
        for container in &mut self.spec.containers {
            container.working_dir.clone_from(&options.workdir);
            container.resources = Resources::of(options);
            container.security_context = SecurityContext::of(options);
            for mount in &mut container.volume_mounts {
                mount.read_only = options.volume == VolumeAccess::ReadOnly;
            }
        }
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
