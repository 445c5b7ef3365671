//! The container that flies: what we ask for, and the proof by inspect that it arrived. Podman ignores keys that it
//! does not know, so what is not proven is not there.
//!
//! Must not: let anything in an operation change name, labels or hardening.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bundle::manifest::{CAPABILITIES, DATA};
use crate::plan::PlannedJob;

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
            .map(|port| json!({"container_port": port.container_port, "host_port": port.host_port, "protocol": port.protocol.lower_case()}))
            .collect();
        let env: BTreeMap<&str, &str> =
            pod.env.iter().map(|variable| (variable.name.as_str(), variable.value.as_str())).collect();
        let hostname = self.job.hostname.as_str();
        let mut specification = json!({
            "name": self.name,
            "image": self.image,
            "env": env,
            "hostname": hostname,
            "netns": {"nsmode": "bridge"},
            "Networks": {self.network: {"aliases": [hostname]}},
            "portmappings": ports,
            "volumes": [{"Name": pod.claim, "Dest": DATA}],
            "labels": self.labels,
            "cap_drop": ["ALL"],
            "cap_add": CAPABILITIES,
            "no_new_privileges": true,
            "privileged": false,
            "r_limits": [limit("nofile", NOFILE), limit("nproc", NPROC)],
            "resource_limits": {"pids": {"limit": self.pids}},
            "log_configuration": {"driver": "k8s-file", "size": self.log_bytes},
            "restart_policy": "no",
            "terminal": false,
        });
        // An empty list would mean something else to Podman than a missing one.
        for (key, list) in [("entrypoint", &pod.command), ("command", &pod.args)] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                specification[key] = json!(list);
            }
        }
        specification
    }

    /// What of the safety that was asked for is missing in what inspect shows.
    #[must_use]
    pub fn missing(&self, inspected: &Value) -> Vec<String> {
        let wanted: Vec<String> = CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect();
        let list = |at: &str| -> Vec<String> {
            let items = inspected.pointer(at).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut missing = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                missing.push(what.to_owned());
            }
        };
        let mut bounding = list("/BoundingCaps");
        bounding.sort();
        must(bounding == wanted, "the capability bounds");
        must(list("/EffectiveCaps").iter().all(|name| wanted.contains(name)), "the effective capabilities");
        must(list("/HostConfig/SecurityOpt").iter().any(|option| option == "no-new-privileges"), "no-new-privileges");
        must(inspected.pointer("/HostConfig/Privileged") == Some(&json!(false)), "the unprivileged mode");
        must(inspected.pointer("/HostConfig/PidsLimit") == Some(&json!(self.pids)), "the limit of processes");
        let logs = inspected.pointer("/HostConfig/LogConfig");
        let driver = logs.and_then(|logs| logs.get("Type")).and_then(Value::as_str);
        let size = logs.and_then(|logs| logs.get("Size")).and_then(Value::as_str);
        must(driver == Some("k8s-file") && size.is_some_and(|size| size != "0B"), "the bounded log");
        let mounts = inspected.pointer("/Mounts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let data = mounts.iter().find(|mount| mount.get("Destination") == Some(&json!(DATA)));
        must(data.and_then(|mount| mount.get("Name")) == Some(&json!(self.job.pod.claim)), "the volume at /data");
        must(inspected.pointer("/Config/Hostname") == Some(&json!(self.job.hostname)), "the hostname");
        let networks = inspected.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
        let alone = networks.is_some_and(|networks| networks.len() == 1 && networks.contains_key(self.network));
        must(alone, "the network");
        missing
    }
}

fn limit(kind: &str, value: u64) -> Value {
    json!({"type": kind, "soft": value, "hard": value})
}
