//! The documented Clustergate-2 operation file: its keys, types and defaults.
//!
//! Must not: compare tasks with each other; `compile` does.

use std::collections::BTreeMap;

use super::errands::{self, ErrandTask};
use super::fields::Fields;
use super::finding::{Findings, Place, did_you_mean};
use super::pod_run::{self, PodRun};
use super::tree::{self, Node};
use super::{flow, jobs};
use crate::bundle::document::OnFailure;
use crate::bundle::flow::Flow;
use crate::bundle::limits::{OPERATION_BYTES, STEPS};
use crate::bundle::{NodeName, OperationId, StepId, VolumeName, path};

pub(super) const PREFIX: &str = "dphi.space.cg2.";
const FILES: [&str; 3] = ["pod.run", "uplink", "downlink"];
const COMMON: [&str; 4] = ["id", "type", "description", "on_failure"];
const TRANSFER: [&str; 3] = ["volume", "source", "destination"];
pub(super) const OPERATION: [&str; 7] = ["id", "namespace", "system", "description", "labels", "parallelism", "tasks"];

pub(super) const ON_FAILURE: [(&str, OnFailure); 2] = [("stop", OnFailure::Stop), ("continue", OnFailure::Continue)];

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
    /// Jobs (gangs) of it that may be alive at once; absent: all that its tasks allow.
    pub parallelism: Option<u32>,
    /// In order; those that could not be read are missing.
    pub tasks: Vec<Task>,
    /// What all of them name, those that could not be read included.
    pub mentions: Mentions,
}

/// What tasks name that must be compared or looked up. Kept apart from the tasks, so that a slip in one field of a task
/// does not hide what is wrong with another.
#[derive(Debug, Clone, Default)]
pub struct Mentions {
    /// Task ids.
    pub ids: Vec<Mention<StepId>>,
    /// Nodes.
    pub nodes: Vec<Mention<NodeName>>,
    /// Files to uplink, as plain relative paths.
    pub sources: Vec<Mention<String>>,
    /// Image archives to pack.
    pub archives: Vec<Mention<String>>,
}

/// Something named somewhere.
#[derive(Debug, Clone)]
pub struct Mention<T> {
    /// What.
    pub value: T,
    /// Where.
    pub place: Place,
    /// In which field.
    pub field: String,
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
    /// How it is tied into the operation.
    pub flow: Flow,
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
    PodRun(Box<PodRun>),
    /// Places files into the volume.
    Uplink(Uplink),
    /// Collects files of the volume.
    Downlink(Downlink),
    /// Anything else that runs no pod of the operation's.
    Errand(ErrandTask),
}

/// `dphi.space.cg2.uplink`.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// The tenant's volume.
    pub volume: VolumeName,
    /// Ground files, as plain relative paths.
    pub sources: Vec<(String, Place)>,
    /// Folder in the volume.
    pub destination: String,
}

/// `dphi.space.cg2.downlink`.
#[derive(Debug, Clone)]
pub struct Downlink {
    /// The tenant's volume.
    pub volume: VolumeName,
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
    let mut mentions = Mentions::default();
    let tasks = tasks(&fields, &mut mentions, findings);
    Some(Operation {
        id: id?,
        namespace: fields.text("namespace", findings),
        system: fields.text("system", findings),
        description: fields.text("description", findings),
        labels: fields.labels("labels", findings).into_iter().collect(),
        parallelism: flow::cap(&fields, "parallelism", findings),
        tasks,
        mentions,
    })
}

fn tasks(fields: &Fields<'_>, mentions: &mut Mentions, findings: &mut Findings) -> Vec<Task> {
    if fields.required("tasks", "list at least one task", findings).is_none() {
        return Vec::new();
    }
    let items = fields.list("tasks", findings).unwrap_or_default();
    if items.is_empty() || items.len() > STEPS {
        let message = format!("found {} tasks, expected 1 to {STEPS}", items.len());
        findings.error(fields.place_of("tasks"), "tasks", message, "list at least one task, or split the operation");
    }
    items
        .iter()
        .take(STEPS)
        .enumerate()
        .filter_map(|(position, node)| task(node, position, mentions, findings))
        .collect()
}

fn task(node: &Node, position: usize, mentions: &mut Mentions, findings: &mut Findings) -> Option<Task> {
    let path = format!("tasks[{position}]");
    let fields = Fields::open(node, &path, findings)?;
    let id = fields.required_name("id", "name the task; the name must be unique in the operation", findings);
    if let Some(value) = &id {
        let (value, place, field) = (StepId::clone(value), fields.place_of("id"), fields.name("id"));
        mentions.ids.push(Mention { value, place, field });
    }
    let kind = fields.required_text("type", "such as dphi.space.cg2.pod.run", findings)?;
    let short = kind.strip_prefix(PREFIX).unwrap_or_default();
    let Some(known) = keys(short) else {
        unknown_type(&fields, &kind, findings);
        return None;
    };
    fields.only(&known, findings);
    fields.text("description", findings);
    let on_failure = on_failure(&fields, findings);
    let flow = flow::read(&fields, findings);
    let kind = match short {
        "pod.run" => pod_run::read(&fields, mentions, findings).map(Box::new).map(TaskKind::PodRun),
        "uplink" => uplink(&fields, mentions, findings).map(TaskKind::Uplink),
        "downlink" => downlink(&fields, findings).map(TaskKind::Downlink),
        other => errands::read(other, &fields, mentions, findings).map(TaskKind::Errand),
    };
    Some(Task {
        place: fields.place(),
        places: fields.places(),
        position,
        field: path.clone(),
        id: id?,
        on_failure: on_failure?,
        flow,
        kind: kind?,
    })
}

/// Every task type, without its prefix.
pub(super) fn types() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().chain(errands::TYPES)
}

/// Every key of a task type.
pub(super) fn keys(short: &str) -> Option<Vec<&'static str>> {
    let own: Vec<&str> = match short {
        "pod.run" => pod_run::keys().chain(jobs::KEYS).collect(),
        "uplink" | "downlink" => TRANSFER.to_vec(),
        other => errands::keys(other)?.to_vec(),
    };
    Some(COMMON.into_iter().chain(flow::KEYS).chain(own).collect())
}

fn unknown_type(fields: &Fields<'_>, kind: &str, findings: &mut Findings) {
    let (place, field) = (fields.place_of("type"), fields.name("type"));
    let known: Vec<String> = types().map(|short| format!("{PREFIX}{short}")).collect();
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
    let found = ON_FAILURE.iter().find(|(word, _)| *word == given);
    if found.is_none() {
        let message = format!("found the text `{given}`, expected stop or continue");
        findings.error(fields.place_of("on_failure"), fields.name("on_failure"), message, "the default is stop");
    }
    found.map(|(_, policy)| *policy)
}

fn uplink(fields: &Fields<'_>, mentions: &mut Mentions, findings: &mut Findings) -> Option<Uplink> {
    let volume = fields.required_name("volume", "name the volume to attach", findings);
    let sources = sources(fields, "list the files to place", findings)?;
    let plain = sources.into_iter().enumerate().filter_map(|(i, (text, place))| {
        let field = format!("{}[{i}]", fields.name("source"));
        let plain = checked(path::relative(&text), place, &field, findings)?;
        mentions.sources.push(Mention { value: plain.clone(), place, field });
        Some((plain, place))
    });
    let plain: Vec<_> = plain.collect();
    let destination = match fields.text("destination", findings) {
        Some(given) => {
            checked(path::in_volume(&given), fields.place_of("destination"), &fields.name("destination"), findings)?
        }
        None => String::new(),
    };
    Some(Uplink { volume: volume?, sources: plain, destination })
}

fn downlink(fields: &Fields<'_>, findings: &mut Findings) -> Option<Downlink> {
    let volume = fields.required_name("volume", "name the volume to attach", findings);
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
    Some(Downlink { volume: volume?, sources: plain, destination })
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
