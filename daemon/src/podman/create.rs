//! The container that flies: what we ask for, and the proof by inspect that it arrived. Podman ignores keys that it
//! does not know, so what is not proven is not there.
//!
//! Must not: let anything in an operation change name, labels or hardening.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::gang::Bind;
use crate::bundle::User;
use crate::bundle::manifest::{CAPABILITIES, DATA};
use crate::bundle::options::{Privilege, VolumeAccess};
use crate::plan::{PlannedJob, Role};

/// Namespaces that a pod may share with the board: the privilege, how Podman is asked, where inspect shows it.
const NAMESPACES: [(Privilege, &str, &str); 3] = [
    (Privilege::HostIpc, "ipcns", "/HostConfig/IpcMode"),
    (Privilege::HostUts, "utsns", "/HostConfig/UTSMode"),
    (Privilege::HostPid, "pidns", "/HostConfig/PidMode"),
];
/// Those of every pod, and that which the login server of a worker separates its privileges with.
const WORKER_CAPABILITIES: [&str; 8] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT"];
/// conmon counts its own marks on each line, and begins an empty file when the size is reached: as much room as this,
/// times what is to be kept, lets short logs through whole.
const LOG_FILE_TIMES: u64 = 4;
/// Open files and processes of one user in a pod. Podman applies its own, often larger than this machine may
/// give, to whichever of the two is not sent.
const NOFILE: u64 = 4096;
const NPROC: u64 = 4096;

/// What a container is made from besides its plan.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// The id of its image.
    pub image: &'a str,
    /// The network it joins.
    pub network: &'a str,
    /// Its labels.
    pub labels: BTreeMap<&'a str, String>,
    /// The control group that it is made below, where it is to have one.
    pub group: Option<&'a str>,
    /// What it sees of the board besides its volume.
    pub binds: &'a [Bind],
    /// Processes it may have.
    pub pids: i64,
    /// Bytes of console output that are kept.
    pub log_bytes: u64,
    /// What runs.
    pub job: &'a PlannedJob,
}

impl Container<'_> {
    /// The body of the create request.
    #[must_use]
    pub fn specification(&self) -> Value {
        let pod = &self.job.pod;
        let ports: Vec<Value> = pod
            .ports
            .iter()
            .map(|port| json!({"container_port": port.container_port, "host_port": port.host_port, "host_ip": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(), "protocol": port.protocol.lower_case()}))
            .collect();
        let env: BTreeMap<&str, &str> =
            pod.env.iter().map(|variable| (variable.name.as_str(), variable.value.as_str())).collect();
        let hostname = self.job.hostname.as_str();
        let mut specification = json!({
            "name": self.name,
            "image": self.image,
            "env": env,
            "netns": {"nsmode": "bridge"},
            "Networks": {self.network: {"aliases": [hostname]}},
            "portmappings": ports,
            "volumes": [{"Name": pod.claim, "Dest": DATA}],
            "labels": self.labels,
            "privileged": self.shares(Privilege::Privileged),
            "r_limits": [limit("nofile", NOFILE), limit("nproc", NPROC)],
            "log_configuration": {"driver": "k8s-file", "size": self.log_bytes.saturating_mul(LOG_FILE_TIMES)},
            "restart_policy": "no",
            "terminal": false,
        });
        // An empty list would mean something else to Podman than a missing one.
        for (key, list) in [("entrypoint", &pod.command), ("command", &pod.args)] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                specification[key] = json!(list);
            }
        }
        self.specify_options(&mut specification);
        specification
    }

    fn specify_options(&self, specification: &mut Value) {
        let options = &self.job.pod.options;
        if !self.shares(Privilege::Privileged) {
            specification["cap_drop"] = json!(["ALL"]);
            specification["cap_add"] = json!(self.capabilities());
            specification["no_new_privileges"] = json!(true);
        }
        let binds: Vec<Value> = self.binds.iter().map(mount).collect();
        specification["mounts"] = json!(binds);
        let mut resources = json!({"pids": {"limit": self.pids}});
        if let Some((quota, period)) = options.cpu_millis.map(quota) {
            resources["cpu"] = json!({"quota": quota, "period": period});
        }
        if let Some(bytes) = options.memory_bytes {
            resources["memory"] = json!({"limit": bytes});
        }
        specification["resource_limits"] = resources;
        for (_, key, _) in NAMESPACES.iter().filter(|(privilege, ..)| self.shares(*privilege)) {
            specification[*key] = json!({"nsmode": "host"});
        }
        // In the board's namespace the hostname is the board's.
        if !self.shares(Privilege::HostUts) {
            specification["hostname"] = json!(self.job.hostname);
        }
        if options.volume == VolumeAccess::ReadOnly {
            specification["volumes"][0]["Options"] = json!(["ro"]);
        }
        let user = options.user.as_ref().map(User::as_str);
        for (key, value) in [("user", user), ("work_dir", options.workdir.as_deref()), ("cgroup_parent", self.group)] {
            if let Some(value) = value {
                specification[key] = json!(value);
            }
        }
    }

    fn shares(&self, privilege: Privilege) -> bool {
        self.job.pod.options.shares(privilege)
    }

    /// What the pod keeps: Podman would hand the capabilities of the list to any user, and only root is to have them.
    fn capabilities(&self) -> &'static [&'static str] {
        match &self.job.pod.options.user {
            Some(user) if !user.is_root() => &[],
            Some(_) | None if self.job.role == Role::Worker => &WORKER_CAPABILITIES,
            Some(_) | None => &CAPABILITIES,
        }
    }

    /// What of the safety and the options that were asked for is missing in what inspect shows.
    #[must_use]
    pub fn missing(&self, inspected: &Value) -> Vec<String> {
        let proof = Proof { inspected };
        let mut missing = self.missing_safety(&proof);
        missing.extend(self.missing_options(&proof));
        let mut must = |holds: bool, what: &str| {
            if !holds {
                missing.push(what.to_owned());
            }
        };
        must(proof.at("/HostConfig/PidsLimit") == Some(&json!(self.pids)), "the limit of processes");
        let (driver, size) = (proof.text("/HostConfig/LogConfig/Type"), proof.text("/HostConfig/LogConfig/Size"));
        must(driver == Some("k8s-file") && size.is_some_and(|size| size != "0B"), "the bounded log");
        let mounts = proof.at("/Mounts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let data = mounts.iter().find(|mount| mount.get("Destination") == Some(&json!(DATA)));
        must(data.and_then(|mount| mount.get("Name")) == Some(&json!(self.job.pod.claim)), "the volume at /data");
        let writable = self.job.pod.options.volume == VolumeAccess::ReadWrite;
        must(data.and_then(|mount| mount.get("RW")) == Some(&json!(writable)), "the access to the volume");
        let networks = proof.at("/NetworkSettings/Networks").and_then(Value::as_object);
        let alone = networks.is_some_and(|networks| networks.len() == 1 && networks.contains_key(self.network));
        must(alone, "the network");
        missing
    }

    fn missing_safety(&self, proof: &Proof<'_>) -> Vec<String> {
        let mut missing = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                missing.push(what.to_owned());
            }
        };
        let privileged = self.shares(Privilege::Privileged);
        must(proof.at("/HostConfig/Privileged") == Some(&json!(privileged)), "the (un)privileged mode");
        for (privilege, _, at) in NAMESPACES {
            // Podman 4 shows every namespace for shared memory as shareable: of that one only the start can tell.
            let mute = privilege == Privilege::HostIpc && proof.text(at) == Some("shareable");
            let holds = mute || (proof.text(at) == Some("host")) == self.shares(privilege);
            must(holds, &format!("its own or the shared namespace ({privilege})"));
        }
        if !self.shares(Privilege::HostUts) {
            must(proof.at("/Config/Hostname") == Some(&json!(self.job.hostname)), "the hostname");
        }
        if privileged {
            return missing;
        }
        let wanted: Vec<String> = self.capabilities().iter().map(|name| format!("CAP_{name}")).collect();
        let mut bounding = proof.list("/BoundingCaps");
        bounding.sort();
        must(bounding == wanted, "the capability bounds");
        must(proof.list("/EffectiveCaps").iter().all(|name| wanted.contains(name)), "the effective capabilities");
        let options = proof.list("/HostConfig/SecurityOpt");
        must(options.iter().any(|option| option == "no-new-privileges"), "no-new-privileges");
        missing
    }

    fn missing_options(&self, proof: &Proof<'_>) -> Vec<String> {
        let mut missing = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                missing.push(what.to_owned());
            }
        };
        let options = &self.job.pod.options;
        if let Some(user) = &options.user {
            must(proof.text("/Config/User") == Some(user.as_str()), "the user");
        }
        if let Some(workdir) = &options.workdir {
            must(proof.text("/Config/WorkingDir") == Some(workdir), "the working directory");
        }
        if let Some((quota, period)) = options.cpu_millis.map(quota) {
            let holds = proof.at("/HostConfig/CpuQuota") == Some(&json!(quota))
                && proof.at("/HostConfig/CpuPeriod") == Some(&json!(period));
            must(holds, "the limit of processor time");
        }
        if let Some(bytes) = options.memory_bytes {
            must(proof.at("/HostConfig/Memory") == Some(&json!(bytes)), "the limit of memory");
        }
        for port in &self.job.pod.ports {
            let Some(address) = port.host_ip else { continue };
            // In a JSON pointer `~1` is a slash.
            let at = format!("/HostConfig/PortBindings/{}~1{}", port.container_port, port.protocol.lower_case());
            let wanted = json!({"HostIp": address.to_string(), "HostPort": port.host_port.to_string()});
            let bound = proof.at(&at).and_then(Value::as_array).is_some_and(|bound| bound.contains(&wanted));
            must(bound, "the address of a port");
        }
        missing
    }
}

/// What inspect shows.
struct Proof<'a> {
    inspected: &'a Value,
}

impl Proof<'_> {
    fn at(&self, pointer: &str) -> Option<&Value> {
        self.inspected.pointer(pointer)
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer).and_then(Value::as_str)
    }

    fn list(&self, pointer: &str) -> Vec<String> {
        let items = self.at(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

fn mount(bind: &Bind) -> Value {
    json!({"type": "bind", "source": bind.source, "destination": bind.destination, "options": ["bind", "ro", "nosuid", "nodev"]})
}

fn limit(kind: &str, value: u64) -> Value {
    json!({"type": kind, "soft": value, "hard": value})
}

/// Microseconds of processor time in a period. The kernel takes no slice below a millisecond and no period above a
/// second, so little time needs a long period.
fn quota(millis: u64) -> (u64, u64) {
    const PERIOD: u64 = 100_000;
    if millis >= 10 { (millis * PERIOD / 1000, PERIOD) } else { (millis * PERIOD / 100, 10 * PERIOD) }
}
