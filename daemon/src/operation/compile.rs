//! Turns an operation into the parts of a bundle: steps, manifests, files; and compares its tasks with each other.
//!
//! Must not: read files; the caller says what each source is.

use std::collections::BTreeMap;

use super::finding::{Findings, Place, did_you_mean};
use super::order;
use super::pod_run::PodRun;
use super::pods::{container, jobs, pod, workers};
use super::tasks::{Mention, Mentions, Operation, Task, TaskKind, Uplink};
use crate::bundle::document::{
    self, DocumentError, DownlinkDocument, PodRunDocument, Sequence, StepDocument, StepKind, UplinkDocument,
};
use crate::bundle::flow::{Edge, Mode};
use crate::bundle::graph::Flaw;
use crate::bundle::limits::{ENTRIES, FLIGHT_UPLINK_BYTES, GRACE_SECONDS, PATH_BYTES, TEXT_ENTRY_BYTES};
use crate::bundle::manifest::Container;
use crate::bundle::rules::{of_pod, weight};
use crate::bundle::{Hostname, NodeName, StepId, Tenant, path};

/// What the ground says a source file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFile {
    /// Nothing of that name.
    Missing,
    /// A folder or something stranger.
    NotAFile,
    /// A regular file.
    File {
        /// Its size.
        bytes: u64,
    },
}

/// What compiling needs besides the operation.
pub struct Surroundings<'a> {
    /// Who flies it.
    pub tenant: &'a Tenant,
    /// Nodes that are legal here.
    pub nodes: &'a [NodeName],
    /// What a source file is; `None` when files are not to be looked at.
    pub files: Option<&'a dyn Fn(&str) -> SourceFile>,
    /// Where the sources are looked up, for findings.
    pub folder: &'a str,
    /// What an image archive is; `None` when archives are not to be looked at.
    pub images: Option<&'a dyn Fn(&str) -> SourceFile>,
}

/// The parts of a bundle.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Jobs (gangs) of it that may be alive at once.
    pub parallelism: Option<u32>,
    /// The steps, in order.
    pub steps: Vec<StepDocument>,
    /// Group number of each step, counted from 1; absent for a step of its own.
    pub groups: Vec<Option<u32>>,
    /// Manifest path and text, in order.
    pub manifests: Vec<(String, String)>,
    /// Files to pack, in archive order.
    pub files: Vec<PackedFile>,
    /// Image archives to pack, in archive order.
    pub images: Vec<PackedFile>,
}

/// A step, and what is known of its pod besides.
pub(super) struct Made {
    pub(super) step: StepDocument,
    /// What is wrong between its pod and its jobs.
    pub(super) flaws: Vec<Flaw>,
    /// Bytes that one of its jobs takes.
    pub(super) weight: u64,
}

impl From<StepDocument> for Made {
    fn from(step: StepDocument) -> Self {
        Self { step, flaws: Vec::new(), weight: 0 }
    }
}

/// A file of the bundle and where its content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile {
    /// Path of the entry.
    pub entry: String,
    /// Path on the ground.
    pub source: String,
}

/// Compiles an operation. Every finding of the comparison is added; the result flies only if none is fatal.
///
/// # Errors
/// When a manifest cannot be written, which no operation causes.
pub fn compile(
    operation: &Operation,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<Compiled, DocumentError> {
    unique_ids(&operation.mentions, findings);
    known_nodes(&operation.mentions, around, findings);
    let uplinked = present_files(&operation.mentions, around, findings);
    let groups = groups(&operation.tasks);
    let images = images(&operation.mentions, around, findings);
    let mut compiled = Compiled {
        parallelism: operation.parallelism,
        steps: Vec::new(),
        groups: Vec::new(),
        manifests: Vec::new(),
        files: Vec::new(),
        images,
    };
    let mut made: Vec<Option<Made>> = Vec::new();
    for (index, task) in operation.tasks.iter().enumerate() {
        made.push(match &task.kind {
            TaskKind::PodRun(run) => pod_run(task, run, (index, groups[index]), around, &mut compiled, findings)?,
            TaskKind::Uplink(uplink) => place(task, uplink, index, &mut compiled, findings).map(Made::from),
            TaskKind::Downlink(downlink) => Some(Made::from(StepDocument {
                downlink: Some(DownlinkDocument {
                    volume: downlink.volume.clone(),
                    sources: downlink.sources.clone(),
                    destination: downlink.destination.clone(),
                }),
                ..step(task, StepKind::Downlink, GRACE_SECONDS)
            })),
            TaskKind::Errand(errand) => Some(Made::from(StepDocument {
                errand: Some(errand.document.clone()),
                ..step(task, StepKind::Errand, errand.timeout_seconds)
            })),
        });
    }
    order::compare(operation, &made, &groups, findings);
    compiled.steps = made.into_iter().flatten().map(|made| made.step).collect();
    compiled.groups = numbered(&groups);
    compiled.files.sort_by(|a, b| a.entry.cmp(&b.entry));
    if uplinked > FLIGHT_UPLINK_BYTES {
        let message = format!(
            "the operation uplinks {uplinked} bytes; the flight model takes {FLIGHT_UPLINK_BYTES} per operation"
        );
        findings.warning(Place::START, "tasks", message, "uplink less, or in several operations");
    }
    within_limits(&compiled, findings)?;
    Ok(compiled)
}

/// What the board would refuse for its size is refused here, where it can still be mended.
fn within_limits(compiled: &Compiled, findings: &mut Findings) -> Result<(), DocumentError> {
    let sequence = document::write(
        Sequence::PATH,
        &Sequence { parallelism: compiled.parallelism, steps: compiled.steps.clone() },
    )?;
    let manifests = compiled.manifests.iter().map(|(path, text)| (path.as_str(), text.len() as u64));
    for (path, bytes) in manifests.chain([(Sequence::PATH, sequence.len() as u64)]) {
        if bytes > TEXT_ENTRY_BYTES {
            let message = format!("`{path}` would have {bytes} bytes, the limit is {TEXT_ENTRY_BYTES}");
            findings.error(Place::START, "tasks", message, "split the operation, or move data into files");
        }
    }
    let entries = 1 + compiled.manifests.len() + compiled.files.len() + compiled.images.len();
    if entries > ENTRIES {
        let message = format!("the bundle would have {entries} entries, the limit is {ENTRIES}");
        findings.error(Place::START, "tasks", message, "split the operation, or uplink one archive");
    }
    Ok(())
}

/// For each task the index of the first task of its merge group: itself when it is alone.
fn groups(tasks: &[Task]) -> Vec<usize> {
    let merges = |task: &Task| matches!(&task.kind, TaskKind::PodRun(run) if run.merge);
    let mut first = Vec::with_capacity(tasks.len());
    for (index, task) in tasks.iter().enumerate() {
        let joins =
            index > 0 && merges(task) && merges(&tasks[index - 1]) && tasks[index - 1].position + 1 == task.position;
        first.push(if joins { first[index - 1] } else { index });
    }
    first
}

fn numbered(first: &[usize]) -> Vec<Option<u32>> {
    let shared = |head: usize| first.iter().filter(|other| **other == head).count() > 1;
    let mut numbers = BTreeMap::new();
    first
        .iter()
        .map(|head| {
            let next = u32::try_from(numbers.len() + 1).unwrap_or(u32::MAX);
            shared(*head).then(|| *numbers.entry(*head).or_insert(next))
        })
        .collect()
}

fn step(task: &Task, kind: StepKind, timeout_seconds: u32) -> StepDocument {
    StepDocument {
        id: task.id.clone(),
        kind,
        on_failure: task.on_failure,
        timeout_seconds,
        flow: task.flow.clone(),
        pod_run: None,
        uplink: None,
        downlink: None,
        errand: None,
    }
}

fn unique_ids(mentions: &Mentions, findings: &mut Findings) {
    let mut seen: BTreeMap<&StepId, Place> = BTreeMap::new();
    for id in &mentions.ids {
        if let Some(first) = seen.get(&id.value) {
            let message = format!("task id `{}` is there twice, first in the task at line {}", id.value, first.line);
            findings.error(id.place, &id.field, message, "rename one of them");
        } else {
            seen.insert(&id.value, id.place);
        }
    }
}

fn known_nodes(mentions: &Mentions, around: &Surroundings<'_>, findings: &mut Findings) {
    let names: Vec<&str> = around.nodes.iter().map(NodeName::as_str).collect();
    for node in mentions.nodes.iter().filter(|node| !around.nodes.contains(&node.value)) {
        let hint = match did_you_mean(node.value.as_str(), names.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("expected one of: {}", names.join(", ")),
        };
        findings.error(node.place, &node.field, format!("unknown node `{}`", node.value), hint);
    }
}

/// Looks every file to uplink up and returns their bytes in all.
fn present_files(mentions: &Mentions, around: &Surroundings<'_>, findings: &mut Findings) -> u64 {
    let Some(look) = around.files else { return 0 };
    let mut bytes_in_all = 0;
    for Mention { value, place, field } in &mentions.sources {
        match look(value) {
            SourceFile::File { bytes } => bytes_in_all += bytes,
            SourceFile::Missing => {
                let hint = "put it there, or name its folder with --files";
                findings.error(*place, field, format!("no file `{value}` in {}", around.folder), hint);
            }
            SourceFile::NotAFile => {
                let message = format!("`{value}` in {} is not a regular file", around.folder);
                findings.error(*place, field, message, "list the files one by one");
            }
        }
    }
    bytes_in_all
}

/// Looks every image archive up; one that several tasks load flies once.
fn images(mentions: &Mentions, around: &Surroundings<'_>, findings: &mut Findings) -> Vec<PackedFile> {
    let mut packed: BTreeMap<String, PackedFile> = BTreeMap::new();
    for Mention { value, place, field } in &mentions.archives {
        let entry = format!("images/{value}");
        if !matches!(around.images.map(|look| look(value)), None | Some(SourceFile::File { .. })) {
            let hint = "put it beside the operation, or name its folder with --images";
            findings.error(*place, field, format!("no archive `{value}`"), hint);
        }
        packed.insert(entry.clone(), PackedFile { entry, source: value.clone() });
    }
    packed.into_values().collect()
}

fn pod_run(
    task: &Task,
    run: &PodRun,
    (index, head): (usize, usize),
    around: &Surroundings<'_>,
    compiled: &mut Compiled,
    findings: &mut Findings,
) -> Result<Option<Made>, DocumentError> {
    let hostname = match Hostname::join(around.tenant, &run.pod_name) {
        Ok(hostname) => hostname,
        Err(bad) => {
            findings.error(
                task.place_of("pod_name"),
                format!("{}.pod_name", task.field),
                bad.to_string(),
                "the hostname is <tenant>-<pod_name>",
            );
            return Ok(None);
        }
    };
    let seconds = run.max_duration_minutes * 60;
    let jobs = jobs(run, &hostname);
    let own = Container { command: run.command.clone(), args: run.args.clone(), ..container(run) };
    let mut flaws = jobs.as_ref().map(|jobs| of_pod(jobs, &own)).unwrap_or_default();
    let mut weight = weight(&own);
    let mut text = document::write("manifest", &pod(task, (&hostname, seconds), own, &run.options, around.tenant))?;
    if let (Some(gang), Some(jobs)) = (&run.gang, &jobs) {
        let worker = gang.worker.container(container(run));
        flaws.extend(gang.worker.flaws(jobs, &worker));
        weight = weight.max(crate::bundle::rules::weight(&worker));
        text.push_str("---\n");
        text.push_str(&workers(task, seconds, worker, jobs, around.tenant)?);
    }
    if head == index || compiled.manifests.is_empty() {
        compiled.manifests.push((format!("manifests/{:04}-{hostname}.yaml", index + 1), text));
    } else if let Some((_, documents)) = compiled.manifests.last_mut() {
        documents.push_str("---\n");
        documents.push_str(&text);
    }
    let manifest = compiled.manifests.last().map(|(path, _)| path.clone()).unwrap_or_default();
    let mut step = step(task, StepKind::PodRun, seconds + GRACE_SECONDS);
    // Whoever takes another step's output to pieces waits for that step.
    if let (None, Some(from)) = (&step.flow.after, jobs.as_ref().and_then(|jobs| jobs.from_output.as_ref())) {
        step.flow.after = Some(vec![Edge { step: from.step.clone(), mode: Mode::All }]);
    }
    step.pod_run = Some(PodRunDocument {
        manifest,
        pod: hostname,
        pod_name: run.pod_name.clone(),
        node: run.node.clone(),
        volume: run.volume.clone(),
        max_duration_seconds: seconds,
        jobs,
        options: run.options.clone(),
    });
    Ok(Some(Made { step, flaws, weight }))
}

fn place(
    task: &Task,
    uplink: &Uplink,
    index: usize,
    compiled: &mut Compiled,
    findings: &mut Findings,
) -> Option<StepDocument> {
    let mut files: Vec<String> = Vec::new();
    for (i, (source, place)) in uplink.sources.iter().enumerate() {
        let field = format!("{}.source[{i}]", task.field);
        let name = path::base_name(source);
        let entry = format!("files/{:04}/{name}", index + 1);
        if entry.len() > PATH_BYTES || name.is_empty() {
            let longest = PATH_BYTES - (entry.len() - name.len());
            findings.error(
                *place,
                field,
                format!("file name `{name}` does not fit, expected 1 to {longest} bytes"),
                "rename it",
            );
        } else if files.contains(&entry) {
            findings.error(
                *place,
                field,
                format!("two files named `{name}` for one folder"),
                "all sources of a task go into its destination; rename one, or use two tasks",
            );
        } else {
            files.push(entry.clone());
            compiled.files.push(PackedFile { entry, source: source.clone() });
        }
    }
    let mut document = UplinkDocument { volume: uplink.volume.clone(), destination: uplink.destination.clone(), files };
    document.files.sort();
    Some(StepDocument { uplink: Some(document), ..step(task, StepKind::Uplink, GRACE_SECONDS) })
}
