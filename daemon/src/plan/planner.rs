//! Plans a verified bundle: nodes, volumes, groups, jobs.
//!
//! Must not: stop at the first objection.

use std::collections::{BTreeMap, BTreeSet};

use super::order::Order;
use super::{
    Board, Errand, Expansion, FanOut, Plan, PlannedJob, PlannedStep, PodSpec, Role, Terms, Transfer, Work, expand, gang,
};
use crate::bundle::document::{PodRunDocument, Sequence};
use crate::bundle::errands::ErrandDocument;
use crate::bundle::manifest::{Container, claim};
use crate::bundle::names::BadName;
use crate::bundle::options::Options;
use crate::bundle::rules::WORKERS_OUTLIVE_SECONDS;
use crate::bundle::{Hostname, NodeName, VolumeName};
use crate::reason::Name;
use crate::verify::{Objection, Rejection, VerifiedBundle, VerifiedWork};

/// Plans a bundle for this board.
///
/// # Errors
/// With every reason at once: unknown nodes, pods of a group that share a hostname or host port, a volume on two
/// Podmans.
pub fn plan(bundle: &VerifiedBundle, board: &Board) -> Result<Plan, Rejection> {
    let mut planner = Planner { bundle, board, objections: Vec::new() };
    let steps = planner.steps();
    if !planner.objections.is_empty() {
        return Err(Rejection { code: Name::Invalid.code(), name: Name::Invalid, reasons: planner.objections });
    }
    let header = bundle.header();
    Ok(Plan {
        execution: header.execution,
        tenant: header.tenant.clone(),
        operation: header.operation.clone(),
        stop_grace_seconds: board.stop_grace_seconds,
        look_ahead: board.look_ahead,
        parallelism: bundle.parallelism(),
        steps,
    })
}

pub(super) struct Planner<'a> {
    pub(super) bundle: &'a VerifiedBundle,
    pub(super) board: &'a Board,
    objections: Vec<Objection>,
}

impl Planner<'_> {
    fn steps(&mut self) -> Vec<PlannedStep> {
        let groups = self.groups();
        let order = Order::of(self.bundle.steps(), &groups);
        for (index, flaw) in &order.flaws {
            self.object(*index, &flaw.field, format!("{}; {}", flaw.message, flaw.hint));
        }
        for flaw in &order.flaws_of_all {
            self.objections.push(Objection {
                file: Sequence::PATH.to_owned(),
                field: "steps".to_owned(),
                message: format!("{}; {}", flaw.message, flaw.hint),
            });
        }
        let homes = self.volume_homes();
        let mut steps: Vec<PlannedStep> = Vec::new();
        if !self.objections.is_empty() {
            self.within_groups(&groups);
            return steps;
        }
        for (index, step) in self.bundle.steps().iter().enumerate() {
            let document = &step.document;
            let Some((work, terms)) = self.work(index, &homes, &order) else { continue };
            steps.push(PlannedStep {
                id: document.id.clone(),
                on_failure: document.on_failure,
                timeout_seconds: document.timeout_seconds,
                group: groups[index],
                after: order.after(index),
                terms,
                work,
            });
        }
        self.within_groups(&groups);
        steps
    }

    /// Adjacent steps that share a manifest are a group; a manifest of its own is none.
    fn groups(&mut self) -> Vec<Option<u32>> {
        let manifest = |index: usize| match &self.bundle.steps()[index].work {
            VerifiedWork::PodRun(run, _) => Some(run.manifest.as_str()),
            VerifiedWork::Uplink(_) | VerifiedWork::Downlink(_) | VerifiedWork::Errand(_) => None,
        };
        let count = self.bundle.steps().len();
        let mut groups = Vec::with_capacity(count);
        let mut number = 0;
        let mut torn = Vec::new();
        let mut last_seen: BTreeMap<&str, usize> = BTreeMap::new();
        for index in 0..count {
            let mine = manifest(index);
            let with_previous = mine.is_some() && index > 0 && manifest(index - 1) == mine;
            let with_next = mine.is_some() && index + 1 < count && manifest(index + 1) == mine;
            if with_next && !with_previous {
                number += 1;
            }
            groups.push((with_previous || with_next).then_some(number));
            if let Some(path) = mine
                && last_seen.insert(path, index).is_some_and(|at| at + 1 != index)
            {
                torn.push((index, path.to_owned()));
            }
        }
        for (index, path) in torn {
            self.object(index, "pod_run.manifest", format!("`{path}` is shared with a step that is not adjacent"));
        }
        groups
    }

    pub(super) fn node(&mut self, index: usize, asked: &NodeName) -> Option<NodeName> {
        let name = if asked.as_str() == "default" { &self.board.default_node } else { asked };
        if self.board.nodes.contains_key(name) {
            return Some(name.clone());
        }
        let known: Vec<&str> = self.board.nodes.keys().map(NodeName::as_str).collect();
        self.object(
            index,
            "pod_run.node",
            format!("unknown node `{asked}`, this board has: {}, default", known.join(", ")),
        );
        None
    }

    /// The node where each volume lives: that of the pods that mount it.
    fn volume_homes(&mut self) -> BTreeMap<VolumeName, NodeName> {
        let mut homes: BTreeMap<VolumeName, NodeName> = BTreeMap::new();
        for (index, step) in self.bundle.steps().iter().enumerate() {
            let (volume, node) = match &step.work {
                VerifiedWork::PodRun(run, _) => (&run.volume, self.node(index, &run.node)),
                VerifiedWork::Errand(ErrandDocument::FisheyeCapture(capture)) => (&capture.volume, self.fisheye_node()),
                VerifiedWork::Uplink(_) | VerifiedWork::Downlink(_) | VerifiedWork::Errand(_) => continue,
            };
            let Some(node) = node else { continue };
            match homes.get(volume) {
                Some(home) if self.board.nodes.get(home) != self.board.nodes.get(&node) => {
                    let message = format!(
                        "volume `{volume}` would be on `{home}` and on `{node}`, which have Podmans of their own"
                    );
                    self.object(index, "pod_run.volume", message);
                }
                Some(_) => {}
                None => {
                    homes.insert(volume.clone(), node);
                }
            }
        }
        homes
    }

    fn work(
        &mut self,
        index: usize,
        homes: &BTreeMap<VolumeName, NodeName>,
        order: &Order<'_>,
    ) -> Option<(Work, Terms)> {
        let tenant = &self.bundle.header().tenant;
        let transfer = |volume: &VolumeName, sources: &[String], destination: &str| Transfer {
            node: homes.get(volume).unwrap_or(&self.board.default_node).clone(),
            volume: volume.clone(),
            claim: claim(tenant, volume),
            sources: sources.to_vec(),
            destination: destination.to_owned(),
        };
        let step = &self.bundle.steps()[index];
        let terms = order.terms(index);
        match &step.work {
            VerifiedWork::Uplink(uplink) => {
                let transfer = transfer(&uplink.volume, &uplink.files, &uplink.destination);
                Some((Work::Errand(Errand::Uplink(transfer)), terms))
            }
            VerifiedWork::Downlink(downlink) => {
                let transfer = transfer(&downlink.volume, &downlink.sources, &downlink.destination);
                Some((Work::Errand(Errand::Downlink(transfer)), terms))
            }
            VerifiedWork::Errand(document) => Some((self.errand(index, document, homes)?, terms)),
            VerifiedWork::PodRun(run, container) => {
                let options = self.granted(index, container, &run.options);
                let of_worker = self.of_worker(index, run, step.worker.as_deref());
                let job = PlannedJob {
                    label: String::new(),
                    unit: 0,
                    role: Role::Alone,
                    pod_name: run.pod_name.clone(),
                    hostname: run.pod.clone(),
                    node: homes.get(&run.volume).and(self.resolved(&run.node))?,
                    max_duration_seconds: run.max_duration_seconds,
                    pod: pod(container, claim(tenant, &run.volume), options?),
                };
                let worker = step.worker.as_ref().zip(of_worker).map(|(worker, options)| PlannedJob {
                    max_duration_seconds: run.max_duration_seconds.saturating_add(WORKERS_OUTLIVE_SECONDS),
                    pod: pod(worker, claim(tenant, &run.volume), options),
                    ..job.clone()
                });
                let made = made(run, &job, worker.as_ref(), (order, terms));
                let longest = |bad| self.object(index, "pod_run.pod", format!("that of one of its jobs: {bad}"));
                let (jobs, terms) = made.map_err(longest).ok()?;
                Some((Work::PodRun { jobs }, terms))
            }
        }
    }

    /// What of a pod's options this board grants.
    fn granted(&mut self, index: usize, container: &Container, asked: &Options) -> Option<Options> {
        let breaches = match self.board.policy.grant(&container.image, asked) {
            Ok(options) => return Some(options),
            Err(breaches) => breaches,
        };
        let step = self.bundle.steps()[index].document.id.clone();
        for (field, message) in breaches {
            self.object(index, &format!("pod_run.{field}"), format!("step {step}: {message}"));
        }
        None
    }

    fn of_worker(&mut self, index: usize, run: &PodRunDocument, worker: Option<&Container>) -> Option<Options> {
        let gang = run.jobs.as_ref()?.gang.as_ref()?;
        self.granted(index, worker?, &gang.worker_options)
    }

    /// A node that `volume_homes` has already found legal.
    fn resolved(&self, asked: &NodeName) -> Option<NodeName> {
        let name = if asked.as_str() == "default" { &self.board.default_node } else { asked };
        self.board.nodes.contains_key(name).then(|| name.clone())
    }

    fn within_groups(&mut self, groups: &[Option<u32>]) {
        let bundle = self.bundle;
        let mut names: BTreeSet<(u32, &Hostname)> = BTreeSet::new();
        let mut ports: BTreeSet<(u32, u16, &'static str)> = BTreeSet::new();
        for (index, step) in bundle.steps().iter().enumerate() {
            let VerifiedWork::PodRun(run, container) = &step.work else { continue };
            let unit = groups[index].unwrap_or(u32::MAX - u32::try_from(index).unwrap_or(0));
            if !names.insert((unit, &run.pod)) {
                self.object(index, "pod_run.pod", format!("hostname `{}` is taken twice in its group", run.pod));
            }
            for port in &container.ports {
                let protocol = port.protocol.lower_case();
                if !ports.insert((unit, port.host_port, protocol)) {
                    let message = format!("host port {}/{protocol} is taken twice in its group", port.host_port);
                    self.object(index, "ports", message);
                }
            }
        }
    }

    pub(super) fn object(&mut self, index: usize, field: &str, message: String) {
        self.objections.push(Objection {
            file: Sequence::PATH.to_owned(),
            field: format!("steps[{index}].{field}"),
            message,
        });
    }
}

/// The jobs of a step, as far as they are known, and its terms. Each of its units is like this job, or a gang of such
/// a launcher and workers.
fn made(
    run: &PodRunDocument,
    job: &PlannedJob,
    worker: Option<&PlannedJob>,
    (order, mut terms): (&Order<'_>, Terms),
) -> Result<(Vec<PlannedJob>, Terms), BadName> {
    let Some(jobs) = &run.jobs else { return Ok((vec![job.clone()], terms)) };
    if let Some(from) = &jobs.from_output {
        // The longest name that its jobs may have must be legal, too.
        format!("{}-{}", job.hostname, order.limit().saturating_sub(1)).parse::<Hostname>()?;
        terms.fan_out = order.index(&from.step).map(|step| FanOut {
            step,
            separator: from.separator.clone(),
            command: from.command.clone(),
            limit: order.limit(),
            template: Box::new(job.clone()),
        });
        return Ok((Vec::new(), terms));
    }
    let unit = match (&jobs.gang, worker, &terms.gang) {
        (Some(document), Some(worker), Some(bond)) => gang(worker, document.workers, job, bond)?,
        (Some(_) | None, Some(_) | None, Some(_) | None) => vec![job.clone()],
    };
    let expansion = match jobs.array {
        Some(array) => Expansion::Array(array),
        None if jobs.commands.is_empty() => Expansion::Alone,
        None => Expansion::Commands(&jobs.commands),
    };
    Ok((expand(&unit, &expansion)?, terms))
}

fn pod(container: &Container, claim: String, options: Options) -> PodSpec {
    PodSpec {
        image: container.image.clone(),
        command: container.command.clone(),
        args: container.args.clone(),
        env: container.env.clone(),
        ports: container.ports.clone(),
        claim,
        options,
    }
}
