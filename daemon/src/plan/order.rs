//! What each step of a verified bundle waits for, and on what terms; every flaw in that.
//!
//! Must not: hold rules of its own; they are those that the ground applied.

use std::collections::BTreeMap;

use super::{Dependency, Gang, Needs, Retry, Terms, When, Window};
use crate::bundle::graph::{Flaw, Graph, Knot, Tie};
use crate::bundle::{StepId, fan, rules};
use crate::verify::{VerifiedStep, VerifiedWork};

/// The order of the steps of a bundle.
pub(super) struct Order<'a> {
    steps: &'a [VerifiedStep],
    graph: Graph,
    index: BTreeMap<&'a StepId, usize>,
    limit: usize,
    /// What is wrong with a step, by its index.
    pub(super) flaws: Vec<(usize, Flaw)>,
    /// What is wrong with all of them together.
    pub(super) flaws_of_all: Vec<Flaw>,
}

impl<'a> Order<'a> {
    /// Puts steps in order; `groups` are the numbers of their merge groups.
    pub(super) fn of(steps: &'a [VerifiedStep], groups: &[Option<u32>]) -> Self {
        let heads = heads(groups);
        let knots: Vec<Knot<'a>> = steps.iter().zip(&heads).map(|(step, head)| knot(step, *head)).collect();
        let (graph, mut flaws) = Graph::tie(&knots);
        for (index, step) in steps.iter().enumerate().filter(|(index, _)| groups[*index].is_some()) {
            let first = &steps[heads[index]].document.flow;
            let window = rules::window_of_member(&step.document.flow, first);
            flaws.extend(rules::grouped(&step.document).into_iter().chain(window).map(|flaw| (index, flaw)));
        }
        let documents: Vec<_> = steps.iter().map(|step| &step.document).collect();
        let weights: Vec<u64> = steps.iter().map(weight).collect();
        let flaws_of_all = rules::in_all(&documents, &weights);
        let (_, limit) = fan::allotment(documents.into_iter());
        let index = steps.iter().enumerate().map(|(index, step)| (&step.document.id, index)).collect();
        let mut order = Self { steps, graph, index, limit, flaws, flaws_of_all };
        order.shared(&heads);
        order
    }

    /// Jobs that an output may ask for.
    pub(super) fn limit(&self) -> u32 {
        u32::try_from(self.limit).unwrap_or(u32::MAX)
    }

    /// Index of a step.
    pub(super) fn index(&self, id: &StepId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// What a step waits for.
    pub(super) fn after(&self, step: usize) -> Vec<Dependency> {
        let needs = |tie| match tie {
            Tie::Ended => Some(Needs::Ended),
            Tie::Success => Some(Needs::Success),
            Tie::Each => Some(Needs::Each),
            // The condition or the fan-out says so itself.
            Tie::Output => None,
        };
        let links = self.graph.links(step).iter();
        links.filter_map(|link| Some(Dependency { step: link.step, needs: needs(link.tie)? })).collect()
    }

    /// What decides about a step besides, but for a fan-out, which needs its jobs.
    pub(super) fn terms(&self, step: usize) -> Terms {
        let Some(document) = self.steps.get(step).map(|step| &step.document) else { return Terms::default() };
        let flow = &document.flow;
        let jobs = document.pod_run.as_ref().and_then(|run| run.jobs.as_ref());
        let when = flow.when.as_ref();
        Terms {
            retry: Retry {
                times: flow.retries,
                backoff_seconds: flow.backoff_seconds,
                on_power_loss: flow.on_power_loss,
            },
            window: Window { not_before: flow.not_before, not_after: flow.not_after },
            when: when.and_then(|when| Some(When { step: self.index(&when.step)?, test: when.test.clone() })),
            fan_out: None,
            gang: jobs.and_then(|jobs| jobs.gang.as_ref()).map(|gang| Gang {
                slots_per_worker: gang.slots_per_worker,
                mpi: gang.mpi,
                ssh_dir: gang.ssh_dir.clone(),
                launcher_as_worker: gang.launcher_as_worker,
                start: gang.start,
                clean: gang.clean,
            }),
            max_parallel: jobs.and_then(|jobs| jobs.max_parallel),
        }
    }

    /// What steps that may be alive together would share, but for those of one group, which are looked at elsewhere.
    fn shared(&mut self, heads: &[usize]) {
        let names = |step: &VerifiedStep| match &step.work {
            VerifiedWork::PodRun(run, _) => fan::hostnames(run, self.limit),
            VerifiedWork::Uplink(_) | VerifiedWork::Downlink(_) => Vec::new(),
        };
        let ports = |step: &VerifiedStep| match &step.work {
            VerifiedWork::PodRun(_, container) => container
                .ports
                .iter()
                .map(|port| format!("{}/{}", port.host_port, port.protocol.lower_case()))
                .collect(),
            VerifiedWork::Uplink(_) | VerifiedWork::Downlink(_) => Vec::new(),
        };
        let names: Vec<Vec<String>> = self.steps.iter().map(names).collect();
        let ports: Vec<Vec<String>> = self.steps.iter().map(ports).collect();
        for (field, what, of) in [("pod_run.pod", "hostname", names), ("ports", "host port", ports)] {
            for (later, earlier, thing) in self.graph.clashes(&of) {
                if heads[later] != heads[earlier] {
                    let other = &self.steps[earlier].document.id;
                    let message =
                        format!("{what} `{thing}` is also one of step `{other}`, which may run at the same time");
                    let hint = "rename it, or let one wait for the other".to_owned();
                    self.flaws.push((later, Flaw { field: field.to_owned(), message, hint }));
                }
            }
        }
    }
}

fn heads(groups: &[Option<u32>]) -> Vec<usize> {
    let mut heads: Vec<usize> = Vec::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        let joins = group.is_some() && index > 0 && groups[index - 1] == *group;
        heads.push(if joins { heads[index - 1] } else { index });
    }
    heads
}

fn knot(step: &VerifiedStep, head: usize) -> Knot<'_> {
    let document = &step.document;
    let jobs = document.pod_run.as_ref().and_then(|run| run.jobs.as_ref());
    Knot {
        id: &document.id,
        after: document.flow.after.as_deref(),
        when: document.flow.when.as_ref().map(|when| &when.step),
        pieces: jobs.and_then(|jobs| jobs.from_output.as_ref()).map(|from| &from.step),
        units: fan::units(document),
        head,
    }
}

fn weight(step: &VerifiedStep) -> u64 {
    let worker = step.worker.as_deref().map_or(0, rules::weight);
    match &step.work {
        VerifiedWork::PodRun(_, container) => rules::weight(container).max(worker),
        VerifiedWork::Uplink(_) | VerifiedWork::Downlink(_) => 0,
    }
}
