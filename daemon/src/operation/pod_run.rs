//! The `pod.run` task: its keys, types, bounds and defaults.
//!
//! Must not: compare it with other tasks; `compile` does.

use core::net::Ipv4Addr;

use super::fields::{Fields, integer, text};
use super::finding::{Findings, Place};
use super::gang::{self, GangTask};
use super::tasks::{Mention, Mentions};
use super::tree::Node;
use super::{jobs, options};
use crate::bundle::flow::Jobs;
use crate::bundle::limits::{DEFAULT_MAX_DURATION_MINUTES, MAX_DURATION_MINUTES};
use crate::bundle::manifest::{Port, Protocol, Variable};
use crate::bundle::options::Options;
use crate::bundle::{NodeName, PodName, VolumeName};

/// Nodes that Clustergate-2 documents; a board's own table decides on board.
pub const DOCUMENTED_NODES: [&str; 4] = ["default", "fpga", "gpu", "mpu"];

const KEYS: [&str; 10] =
    ["volume", "pod_name", "image", "command", "args", "env", "ports", "node", "max_duration", "merge"];
pub(super) const IMAGE: [&str; 2] = ["name", "tag"];
pub(super) const VARIABLE: [&str; 2] = ["name", "value"];
pub(super) const PORT: [&str; 4] = ["container", "host", "host_ip", "protocol"];

/// Every key of its own.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(options::KEYS)
}

/// `dphi.space.cg2.pod.run`.
#[derive(Debug, Clone)]
pub struct PodRun {
    /// The tenant's name for the pod.
    pub pod_name: PodName,
    /// `NAME:TAG`.
    pub image: String,
    /// Replaces the image's ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub args: Option<Vec<String>>,
    /// The tenant's volume, at `/data`.
    pub volume: VolumeName,
    /// Environment.
    pub env: Vec<Variable>,
    /// Port maps.
    pub ports: Vec<(Port, Place)>,
    /// Where it runs.
    pub node: NodeName,
    /// Minutes it may run.
    pub max_duration_minutes: u32,
    /// Whether it joins its neighbours in a group.
    pub merge: bool,
    /// How many jobs there are; absent: one.
    pub jobs: Option<Jobs>,
    /// What they are when they are gangs; the image and command above are the launcher's.
    pub gang: Option<GangTask>,
    /// What it asks for beyond the documented keys.
    pub options: Box<Options>,
}

pub(super) fn read(fields: &Fields<'_>, mentions: &mut Mentions, findings: &mut Findings) -> Option<PodRun> {
    let pod_name = fields.required_name("pod_name", "name the pod; its hostname is <tenant>-<pod_name>", findings);
    let image = image(fields, findings);
    let volume = fields.required_name("volume", "name the volume to attach", findings);
    let items = |texts: Vec<(String, Place)>| texts.into_iter().map(|(text, _)| text).collect();
    let command = fields.texts("command", findings).map(items);
    let args = fields.texts("args", findings).map(items);
    let env = env(fields, findings);
    let ports = ports(fields, findings);
    let node = node(fields, findings);
    if let Some(value) = node.clone() {
        mentions.nodes.push(Mention { value, place: fields.place_of("node"), field: fields.name("node") });
    }
    let minutes = fields.integer("max_duration", (1, i64::from(MAX_DURATION_MINUTES)), " of minutes", findings);
    let merge = fields.boolean("merge", findings).unwrap_or(false);
    let jobs = jobs::read(fields, findings);
    let gang = gang::read(fields, findings);
    let options = Box::new(options::read(fields, findings));
    Some(PodRun {
        pod_name: pod_name?,
        volume: volume?,
        image: image?,
        command,
        args,
        env,
        ports,
        node: node?,
        max_duration_minutes: minutes.and_then(|m| u32::try_from(m).ok()).unwrap_or(DEFAULT_MAX_DURATION_MINUTES),
        merge,
        jobs,
        gang,
        options,
    })
}

pub(super) fn image(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let path = fields.name("image");
    let node = fields.required("image", "write `image:` with `name:` and `tag:` below it", findings)?;
    let image = Fields::open(node, &path, findings)?;
    image.only(&IMAGE, findings);
    let name = image.required_text("name", "name the image", findings);
    let tag = image.required_text("tag", "name the tag, quoted; no tag is assumed", findings);
    let (name, tag) = (name?, tag?);
    let legal_name = !name.is_empty()
        && name.len() <= 255
        && !name.contains("//")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if !legal_name {
        findings.error(
            image.place_of("name"),
            image.name("name"),
            format!("found the text `{name}`, expected an image name without tag, in lower case"),
            "such as python or localhost/my-app",
        );
    }
    let legal_tag = !tag.is_empty()
        && tag.len() <= 128
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !tag.starts_with(['.', '-']);
    if !legal_tag {
        findings.error(
            image.place_of("tag"),
            image.name("tag"),
            format!("found the text `{tag}`, expected letters, digits, `.`, `_`, `-`"),
            "such as \"3.10\" or latest",
        );
    }
    (legal_name && legal_tag).then(|| format!("{name}:{tag}"))
}

pub(super) fn env(fields: &Fields<'_>, findings: &mut Findings) -> Vec<Variable> {
    let items = fields.list("env", findings).unwrap_or_default().iter().enumerate();
    let path = fields.name("env");
    let mut seen: Vec<Variable> = Vec::new();
    for (i, node) in items {
        let item_path = format!("{path}[{i}]");
        let Some(item) = Fields::open(node, &item_path, findings) else { continue };
        item.only(&VARIABLE, findings);
        let name = item.required_text("name", "name the variable", findings);
        let value = item.required_text("value", "give it a value, quoted (\"\" for an empty one)", findings);
        let (Some(name), Some(value)) = (name, value) else { continue };
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            findings.error(
                item.place_of("name"),
                item.name("name"),
                format!("variable `{}` is not legal", name.escape_debug()),
                "use letters, digits and `_`",
            );
        } else if seen.iter().any(|known| known.name == name) {
            findings.error(
                item.place_of("name"),
                item.name("name"),
                format!("variable `{name}` is there twice"),
                "keep one of them",
            );
        } else {
            seen.push(Variable { name, value });
        }
    }
    seen
}

fn ports(fields: &Fields<'_>, findings: &mut Findings) -> Vec<(Port, Place)> {
    let items = fields.list("ports", findings).unwrap_or_default().iter().enumerate();
    let path = fields.name("ports");
    items.filter_map(|(i, node)| Some((port(node, &format!("{path}[{i}]"), findings)?, node.place))).collect()
}

fn port(node: &Node, path: &str, findings: &mut Findings) -> Option<Port> {
    let item = Fields::open(node, path, findings)?;
    item.only(&PORT, findings);
    let mut number = |key: &str| {
        let node = item.required(key, "a port number", findings)?;
        integer(node, &item.name(key), (1, 65535), "", findings).and_then(|n| u16::try_from(n).ok())
    };
    let (container, host) = (number("container"), number("host"));
    let protocol = match item.get("protocol").map(|node| (node, text(node, &item.name("protocol"), findings))) {
        None => Some(Protocol::Tcp),
        Some((node, given)) => match given?.to_lowercase().as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            other => {
                findings.error(
                    node.place,
                    item.name("protocol"),
                    format!("found the text `{other}`, expected tcp or udp"),
                    "the default is tcp",
                );
                None
            }
        },
    };
    let host_ip = match item.get("host_ip") {
        None => None,
        Some(_) => Some(host_ip(&item, findings)?),
    };
    Some(Port { container_port: container?, host_port: host?, host_ip, protocol: protocol? })
}

fn host_ip(item: &Fields<'_>, findings: &mut Findings) -> Option<Ipv4Addr> {
    let given = item.text("host_ip", findings)?;
    let address = given.parse();
    if address.is_err() {
        let message = format!("found the text `{}`, expected an IPv4 address", given.escape_debug());
        findings.error(
            item.place_of("host_ip"),
            item.name("host_ip"),
            message,
            "such as 127.0.0.1; the default is all",
        );
    }
    address.ok()
}

pub(super) fn node(fields: &Fields<'_>, findings: &mut Findings) -> Option<NodeName> {
    let Some(given) = fields.text("node", findings) else {
        return if fields.get("node").is_none() { NodeName::any_case("default").ok() } else { None };
    };
    match NodeName::any_case(&given) {
        Ok(name) => Some(name),
        Err(bad) => {
            findings.error(
                fields.place_of("node"),
                fields.name("node"),
                bad.to_string(),
                "such as Mpu, Gpu, Fpga or default",
            );
            None
        }
    }
}
