//! The documented Clustergate-2 operation file: its keys, types and defaults.
//!
//! Must not: compare tasks with each other; `compile` does.

use std::collections::BTreeMap;

use super::fields::{Fields, integer, text};
use super::finding::{Findings, Place, did_you_mean};
use super::tree::{self, Node};
use crate::bundle::document::OnFailure;
use crate::bundle::limits::{DEFAULT_MAX_DURATION_MINUTES, MAX_DURATION_MINUTES, OPERATION_BYTES, STEPS};
use crate::bundle::manifest::{Port, Protocol, Variable};
use crate::bundle::{NodeName, OperationId, PodName, StepId, VolumeName, path};

/// Nodes that Clustergate-2 documents; a board's own table decides on board.
pub const DOCUMENTED_NODES: [&str; 4] = ["default", "fpga", "gpu", "mpu"];

const PREFIX: &str = "dphi.space.cg2.";
const SUPPORTED: [&str; 3] = ["pod.run", "uplink", "downlink"];
const NOT_YET: [&str; 9] = [
    "files.list",
    "files.delete",
    "files.move",
    "docker.build",
    "docker.image.list",
    "docker.image.load",
    "pod.logs",
    "pod.stop",
    "fisheye.capture",
];
const COMMON: [&str; 5] = ["id", "type", "description", "on_failure", "volume"];
const POD_RUN: [&str; 9] = ["pod_name", "image", "command", "args", "env", "ports", "node", "max_duration", "merge"];
const TRANSFER: [&str; 2] = ["source", "destination"];
const OPERATION: [&str; 6] = ["id", "namespace", "system", "description", "labels", "tasks"];

/// An operation as the tenant wrote it.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// Ground folder.
    pub namespace: Option<String>,
    /// Target system.
    pub system: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Free metadata.
    pub labels: BTreeMap<String, String>,
    /// In order.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Where it starts.
    pub place: Place,
    /// Where the values of its keys stand.
    pub places: BTreeMap<String, Place>,
    /// Its position in the list; tasks that could not be read leave gaps.
    pub position: usize,
    /// Its field in the file, `tasks[n]`.
    pub field: String,
    /// Its name, which becomes the step's.
    pub id: StepId,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// The tenant's volume.
    pub volume: VolumeName,
    /// What it does.
    pub kind: TaskKind,
}

impl Task {
    /// Where the value of a key stands, or the task when it has none.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Place {
        self.places.get(key).copied().unwrap_or(self.place)
    }
}

/// What a task does.
#[derive(Debug, Clone)]
pub enum TaskKind {
    /// Runs a pod.
    PodRun(PodRun),
    /// Places files into the volume.
    Uplink(Uplink),
    /// Collects files of the volume.
    Downlink(Downlink),
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
}

/// `dphi.space.cg2.uplink`.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// Ground files, as plain relative paths.
    pub sources: Vec<(String, Place)>,
    /// Folder in the volume.
    pub destination: String,
}

/// `dphi.space.cg2.downlink`.
#[derive(Debug, Clone)]
pub struct Downlink {
    /// Paths or wildcards in the volume.
    pub sources: Vec<String>,
    /// Folder of the namespace on the ground.
    pub destination: String,
}

/// Reads an operation. `default_id` names it when the file does not (the dashboard fills `id` in).
/// Everything that can be said about the file is among the findings afterwards.
pub fn read(text: &str, default_id: Option<OperationId>, findings: &mut Findings) -> Option<Operation> {
    if text.len() as u64 > OPERATION_BYTES {
        let message = format!("the file has {} bytes, the limit is {OPERATION_BYTES}", text.len());
        findings.error(Place::START, "", message, "move data into files and uplink them");
        return None;
    }
    let root = tree::read(text, findings)?;
    let fields = Fields::open(&root, "", findings)?;
    fields.only(&OPERATION, findings);
    let id = match fields.get("id") {
        Some(_) => fields.required_name("id", "", findings),
        None if default_id.is_some() => default_id,
        None => fields.required_name("id", "name the operation", findings),
    };
    let tasks = tasks(&fields, findings);
    Some(Operation {
        id: id?,
        namespace: fields.text("namespace", findings),
        system: fields.text("system", findings),
        description: fields.text("description", findings),
        labels: fields.labels("labels", findings).into_iter().collect(),
        tasks,
    })
}

fn tasks(fields: &Fields<'_>, findings: &mut Findings) -> Vec<Task> {
    if fields.required("tasks", "list at least one task", findings).is_none() {
        return Vec::new();
    }
    let items = fields.list("tasks", findings).unwrap_or_default();
    if items.is_empty() || items.len() > STEPS {
        let message = format!("found {} tasks, expected 1 to {STEPS}", items.len());
        findings.error(fields.place_of("tasks"), "tasks", message, "list at least one task, or split the operation");
    }
    items.iter().take(STEPS).enumerate().filter_map(|(i, node)| task(node, i, findings)).collect()
}

fn task(node: &Node, position: usize, findings: &mut Findings) -> Option<Task> {
    let path = format!("tasks[{position}]");
    let fields = Fields::open(node, &path, findings)?;
    let id = fields.required_name("id", "name the task; the name must be unique in the operation", findings);
    let kind = fields.required_text("type", "such as dphi.space.cg2.pod.run", findings)?;
    let known: Vec<&str> = match kind.strip_prefix(PREFIX) {
        Some("pod.run") => COMMON.into_iter().chain(POD_RUN).collect(),
        Some("uplink" | "downlink") => COMMON.into_iter().chain(TRANSFER).collect(),
        Some(_) | None => {
            unknown_type(&fields, &kind, findings);
            return None;
        }
    };
    fields.only(&known, findings);
    fields.text("description", findings);
    let on_failure = on_failure(&fields, findings);
    let volume = fields.required_name("volume", "name the volume to attach", findings);
    let kind = match kind.strip_prefix(PREFIX) {
        Some("pod.run") => pod_run(&fields, findings).map(TaskKind::PodRun),
        Some("uplink") => uplink(&fields, findings).map(TaskKind::Uplink),
        Some(_) | None => downlink(&fields, findings).map(TaskKind::Downlink),
    };
    Some(Task {
        place: fields.place(),
        places: fields.places(),
        position,
        field: path.clone(),
        id: id?,
        on_failure: on_failure?,
        volume: volume?,
        kind: kind?,
    })
}

fn unknown_type(fields: &Fields<'_>, kind: &str, findings: &mut Findings) {
    let (place, field) = (fields.place_of("type"), fields.name("type"));
    if kind.strip_prefix(PREFIX).is_some_and(|short| NOT_YET.contains(&short)) {
        findings.error(
            place,
            field,
            format!("task type `{kind}` is not yet supported"),
            "remove the task, or wait for a version that knows it",
        );
        return;
    }
    let known: Vec<String> = SUPPORTED.into_iter().chain(NOT_YET).map(|short| format!("{PREFIX}{short}")).collect();
    let hint = match did_you_mean(kind, known.iter().map(String::as_str)) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("expected one of: {}", known.join(", ")),
    };
    findings.error(place, field, format!("unknown task type `{kind}`"), hint);
}

fn on_failure(fields: &Fields<'_>, findings: &mut Findings) -> Option<OnFailure> {
    let Some(given) = fields.text("on_failure", findings) else {
        return Some(OnFailure::default());
    };
    match given.as_str() {
        "stop" => Some(OnFailure::Stop),
        "continue" => Some(OnFailure::Continue),
        other => {
            let message = format!("found the text `{other}`, expected stop or continue");
            findings.error(fields.place_of("on_failure"), fields.name("on_failure"), message, "the default is stop");
            None
        }
    }
}

fn pod_run(fields: &Fields<'_>, findings: &mut Findings) -> Option<PodRun> {
    let pod_name = fields.required_name("pod_name", "name the pod; its hostname is <tenant>-<pod_name>", findings);
    let image = image(fields, findings);
    let items = |texts: Vec<(String, Place)>| texts.into_iter().map(|(text, _)| text).collect();
    let command = fields.texts("command", findings).map(items);
    let args = fields.texts("args", findings).map(items);
    let env = env(fields, findings);
    let ports = ports(fields, findings);
    let node = node(fields, findings);
    let minutes = fields.integer("max_duration", (1, i64::from(MAX_DURATION_MINUTES)), " of minutes", findings);
    let merge = fields.boolean("merge", findings).unwrap_or(false);
    Some(PodRun {
        pod_name: pod_name?,
        image: image?,
        command,
        args,
        env,
        ports,
        node: node?,
        max_duration_minutes: minutes.and_then(|m| u32::try_from(m).ok()).unwrap_or(DEFAULT_MAX_DURATION_MINUTES),
        merge,
    })
}

fn image(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let path = fields.name("image");
    let node = fields.required("image", "write `image:` with `name:` and `tag:` below it", findings)?;
    let image = Fields::open(node, &path, findings)?;
    image.only(&["name", "tag"], findings);
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

fn env(fields: &Fields<'_>, findings: &mut Findings) -> Vec<Variable> {
    let items = fields.list("env", findings).unwrap_or_default().iter().enumerate();
    let path = fields.name("env");
    let mut seen: Vec<Variable> = Vec::new();
    for (i, node) in items {
        let item_path = format!("{path}[{i}]");
        let Some(item) = Fields::open(node, &item_path, findings) else { continue };
        item.only(&["name", "value"], findings);
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
    item.only(&["container", "host", "protocol"], findings);
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
    Some(Port { container_port: container?, host_port: host?, protocol: protocol? })
}

fn node(fields: &Fields<'_>, findings: &mut Findings) -> Option<NodeName> {
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

fn uplink(fields: &Fields<'_>, findings: &mut Findings) -> Option<Uplink> {
    let sources = sources(fields, "list the files to place", findings)?;
    let plain = sources.into_iter().enumerate().filter_map(|(i, (text, place))| {
        let field = format!("{}[{i}]", fields.name("source"));
        let plain = checked(path::relative(&text), place, &field, findings)?;
        Some((plain, place))
    });
    let plain: Vec<_> = plain.collect();
    let destination = match fields.text("destination", findings) {
        Some(given) => {
            checked(path::in_volume(&given), fields.place_of("destination"), &fields.name("destination"), findings)?
        }
        None => String::new(),
    };
    Some(Uplink { sources: plain, destination })
}

fn downlink(fields: &Fields<'_>, findings: &mut Findings) -> Option<Downlink> {
    let sources = sources(fields, "list the files to collect", findings)?;
    let plain = sources.into_iter().enumerate().filter_map(|(i, (text, place))| {
        let field = format!("{}[{i}]", fields.name("source"));
        let plain = checked(path::in_volume(&text), place, &field, findings)?;
        if let Err(error) = glob::Pattern::new(&plain) {
            findings.error(
                place,
                field,
                format!("`{plain}` is not a legal wildcard: {}", error.msg),
                "use * ? and [abc]",
            );
            return None;
        }
        Some(plain)
    });
    let plain: Vec<_> = plain.collect();
    let destination = fields.text("destination", findings).unwrap_or_else(|| "/".to_owned());
    let destination =
        checked(path::relative(&destination), fields.place_of("destination"), &fields.name("destination"), findings)?;
    Some(Downlink { sources: plain, destination })
}

fn sources(fields: &Fields<'_>, hint: &str, findings: &mut Findings) -> Option<Vec<(String, Place)>> {
    fields.required("source", hint, findings)?;
    let empty = fields.list("source", findings)?.is_empty();
    let sources = fields.texts("source", findings)?;
    if empty {
        findings.error(fields.place_of("source"), fields.name("source"), "the list is empty", hint);
    }
    Some(sources)
}

fn checked(
    result: Result<String, path::BadPath>,
    place: Place,
    field: &str,
    findings: &mut Findings,
) -> Option<String> {
    result.map_err(|bad| findings.error(place, field, bad.to_string(), "write a path inside the volume or folder")).ok()
}

/// Checks a node against those that are known here.
pub fn check_node(task: &Task, run: &PodRun, known: &[NodeName], findings: &mut Findings) {
    if known.contains(&run.node) {
        return;
    }
    let names: Vec<&str> = known.iter().map(NodeName::as_str).collect();
    let hint = match did_you_mean(run.node.as_str(), names.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("expected one of: {}", names.join(", ")),
    };
    findings.error(task.place_of("node"), format!("{}.node", task.field), format!("unknown node `{}`", run.node), hint);
}
