//! Compares tasks: what they wait for, what they would share while both are alive, what all of them need together.
//!
//! Must not: hold rules of its own; they are the bundle's, and here they get their places and words.

use std::collections::BTreeMap;

use super::compile::Made;
use super::finding::{Findings, Place};
use super::tasks::{Mention, Operation, Task, TaskKind};
use crate::bundle::flow::Flow;
use crate::bundle::graph::{Flaw, Graph, Knot, Units};
use crate::bundle::manifest::Port;
use crate::bundle::{Hostname, StepId, fan, rules};

/// Adds what is wrong within each step that was made, and between them.
pub(super) fn compare(operation: &Operation, made: &[Option<Made>], heads: &[usize], findings: &mut Findings) {
    let tasks = &operation.tasks;
    for (index, (task, made)) in tasks.iter().zip(made).enumerate() {
        let Some(made) = made else { continue };
        let grouped = heads.iter().filter(|head| **head == heads[index]).count() > 1;
        let in_group = if grouped { rules::grouped(&made.step) } else { Vec::new() };
        let flaws = made.flaws.iter().cloned().chain(rules::flaws(&made.step)).chain(in_group);
        flaws.for_each(|flaw| tell(task, &flaw, findings));
        windows(tasks, heads, index, findings);
    }
    let entries = entries(operation);
    let knots = knots(operation, &entries, made, heads);
    let (graph, flaws) = Graph::tie(&knots);
    for (entry, flaw) in flaws {
        match &entries[entry] {
            Entry::Task(index) => tell(&tasks[*index], &flaw, findings),
            Entry::Unread(id) => findings.error(id.place, &id.field, flaw.message, flaw.hint),
        }
    }
    let all: Vec<&Made> = made.iter().flatten().collect();
    let steps: Vec<_> = all.iter().map(|made| &made.step).collect();
    let weights: Vec<u64> = all.iter().map(|made| made.weight).collect();
    for flaw in rules::in_all(&steps, &weights) {
        findings.error(Place::START, "tasks", flaw.message, flaw.hint);
    }
    let (_, limit) = fan::allotment(steps.into_iter());
    let known = Known { tasks, entries: &entries, made, heads, graph: &graph, limit };
    known.hostnames(findings);
    known.ports(findings);
    within_groups(tasks, heads, findings);
}

/// A task, or the id of one that could not be read: nothing is said of it twice.
enum Entry<'a> {
    Task(usize),
    Unread(&'a Mention<StepId>),
}

fn entries(operation: &Operation) -> Vec<Entry<'_>> {
    let fields: BTreeMap<String, usize> =
        operation.tasks.iter().enumerate().map(|(index, task)| (format!("{}.id", task.field), index)).collect();
    let known = |id: &Mention<StepId>| fields.get(&id.field).copied();
    operation.mentions.ids.iter().map(|id| known(id).map_or(Entry::Unread(id), Entry::Task)).collect()
}

fn knots<'a>(
    operation: &'a Operation,
    entries: &[Entry<'a>],
    made: &'a [Option<Made>],
    heads: &[usize],
) -> Vec<Knot<'a>> {
    let position = |task: usize| entries.iter().position(|entry| matches!(entry, Entry::Task(index) if *index == task));
    let knot = |(at, entry): (usize, &Entry<'a>)| match entry {
        Entry::Unread(id) => {
            Knot { id: &id.value, after: None, when: None, pieces: None, units: Units::Unread, head: at }
        }
        Entry::Task(index) => {
            let step = made[*index].as_ref().map(|made| &made.step);
            let flow: &'a Flow = step.map_or(&operation.tasks[*index].flow, |step| &step.flow);
            let jobs = step.and_then(|step| step.pod_run.as_ref()).and_then(|run| run.jobs.as_ref());
            Knot {
                id: &operation.tasks[*index].id,
                after: flow.after.as_deref(),
                when: flow.when.as_ref().map(|when| &when.step),
                pieces: jobs.and_then(|jobs| jobs.from_output.as_ref()).map(|from| &from.step),
                units: step.map_or(Units::Unread, fan::units),
                head: if heads[*index] == *index { at } else { position(heads[*index]).unwrap_or(at) },
            }
        }
    };
    entries.iter().enumerate().map(knot).collect()
}

/// The members of a group start together: a window of one is that of all.
fn windows(tasks: &[Task], heads: &[usize], index: usize, findings: &mut Findings) {
    let (task, head) = (&tasks[index], &tasks[heads[index]]);
    if let Some(flaw) = rules::window_of_member(&task.flow, &head.flow) {
        tell(task, &flaw, findings);
    }
}

/// Puts a flaw where the tenant wrote what it is about.
fn tell(task: &Task, flaw: &Flaw, findings: &mut Findings) {
    let inner =
        ["flow.", "pod_run.jobs.", "pod_run.options."].into_iter().find_map(|prefix| flaw.field.strip_prefix(prefix));
    let key = match inner.unwrap_or(&flaw.field) {
        "backoff_seconds" => "backoff",
        "max_parallel" if task.places.contains_key("array.max_parallel") => "array.max_parallel",
        "timeout_seconds" => "max_duration",
        other => other,
    };
    let mut known = key;
    let place = loop {
        if let Some(place) = task.places.get(known) {
            break *place;
        }
        match known.rfind(['.', '[']) {
            Some(at) => known = &known[..at],
            None => break task.place,
        }
    };
    let field = if key.is_empty() { task.field.clone() } else { format!("{}.{key}", task.field) };
    findings.error(place, field, flaw.message.as_str(), flaw.hint.as_str());
}

/// What is known of all tasks when pairs of them are compared.
struct Known<'a> {
    tasks: &'a [Task],
    entries: &'a [Entry<'a>],
    made: &'a [Option<Made>],
    heads: &'a [usize],
    graph: &'a Graph,
    limit: usize,
}

impl Known<'_> {
    fn run(&self, entry: usize) -> Option<(usize, &Made)> {
        match &self.entries[entry] {
            Entry::Task(index) => self.made[*index].as_ref().map(|made| (*index, made)),
            Entry::Unread(_) => None,
        }
    }

    /// Pairs of tasks that may be alive together and share something, but for those of one group.
    fn clashes<T: Ord + Clone>(&self, of: impl Fn(usize, &Made) -> Vec<T>) -> Vec<(usize, usize, T)> {
        let things = |entry| self.run(entry).map(|(index, made)| of(index, made)).unwrap_or_default();
        let things: Vec<Vec<T>> = (0..self.entries.len()).map(things).collect();
        let tasks = |(later, earlier, thing)| Some((self.run(later)?.0, self.run(earlier)?.0, thing));
        let apart = |(later, earlier, _): &(usize, usize, T)| self.heads[*later] != self.heads[*earlier];
        self.graph.clashes(&things).into_iter().filter_map(tasks).filter(apart).collect()
    }

    fn hostnames(&self, findings: &mut Findings) {
        let names = |_: usize, made: &Made| {
            made.step.pod_run.as_ref().map(|run| fan::hostnames(run, self.limit)).unwrap_or_default()
        };
        for (index, made) in self.made.iter().enumerate().filter_map(|(index, made)| Some((index, made.as_ref()?))) {
            let longest = names(index, made).into_iter().max_by_key(String::len);
            if let Some(Err(bad)) = longest.map(|name| name.parse::<Hostname>()) {
                let task = &self.tasks[index];
                let hint = "a job's hostname is <tenant>-<pod_name> and what tells it apart";
                findings.error(task.place_of("pod_name"), format!("{}.pod_name", task.field), bad.to_string(), hint);
            }
        }
        for (later, earlier, name) in self.clashes(names) {
            let (task, other) = (&self.tasks[later], &self.tasks[earlier]);
            let message = format!(
                "hostname `{name}` is also one of the task at line {}, which may run at the same time",
                other.place.line
            );
            let hint = "rename one of them, or let one wait for the other with `after`";
            findings.error(task.place_of("pod_name"), format!("{}.pod_name", task.field), message, hint);
        }
    }

    fn ports(&self, findings: &mut Findings) {
        let ports = |index: usize, _: &Made| match &self.tasks[index].kind {
            // Neither the pod's own port matters nor the address: it is the host's port that two pods cannot share.
            TaskKind::PodRun(run) => {
                run.ports.iter().map(|(port, _)| Port { container_port: 0, host_ip: None, ..*port }).collect()
            }
            TaskKind::Uplink(_) | TaskKind::Downlink(_) => Vec::new(),
        };
        for (later, earlier, port) in self.clashes(ports) {
            let (task, other) = (&self.tasks[later], &self.tasks[earlier]);
            let message = format!(
                "host port {}/{} is also taken by the task at line {}, which may run at the same time",
                port.host_port,
                port.protocol.lower_case(),
                other.place.line
            );
            let hint = "use another host port, or let one wait for the other with `after`";
            findings.error(task.place_of("ports"), format!("{}.ports", task.field), message, hint);
        }
    }
}

/// Pods of one group live at the same time: hostnames and host ports must differ.
fn within_groups(tasks: &[Task], first: &[usize], findings: &mut Findings) {
    let mut names: BTreeMap<(usize, &str), Place> = BTreeMap::new();
    let mut ports: BTreeMap<(usize, Port), Place> = BTreeMap::new();
    for (task, head) in tasks.iter().zip(first) {
        let TaskKind::PodRun(run) = &task.kind else { continue };
        if let Some(other) = names.insert((*head, run.pod_name.as_str()), task.place) {
            let message = format!(
                "pod name `{}` is also that of the task at line {}, which runs at the same time",
                run.pod_name, other.line
            );
            findings.error(
                task.place_of("pod_name"),
                format!("{}.pod_name", task.field),
                message,
                "rename one of them, or remove `merge`",
            );
        }
        for (i, (port, place)) in run.ports.iter().enumerate() {
            // Neither the pod's own port matters nor the address: it is the host's port that two pods cannot share.
            let host = Port { container_port: 0, host_ip: None, ..*port };
            if let Some(other) = ports.insert((*head, host), *place) {
                let message = format!(
                    "host port {}/{} is taken twice, also in line {}",
                    port.host_port,
                    port.protocol.lower_case(),
                    other.line
                );
                findings.error(
                    *place,
                    format!("{}.ports[{i}].host", task.field),
                    message,
                    "use another host port, or remove `merge`",
                );
            }
        }
    }
}
