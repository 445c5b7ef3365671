//! Compares the jobs of a step with the pods of its manifest.
//!
//! Must not: hold rules of its own; they are those that the ground applied.

use super::{Check, pod_objections};
use crate::bundle::document::{PodRunDocument, StepDocument};
use crate::bundle::fan;
use crate::bundle::flow::Jobs;
use crate::bundle::graph::Flaw;
use crate::bundle::manifest::Container;
use crate::bundle::rules::{WORKERS_OUTLIVE_SECONDS, of_pod};

impl Check<'_> {
    /// The workers of a gang have a pod of their own in the manifest of its step.
    pub(super) fn worker(&mut self, step: &StepDocument, field: &str) -> Option<Box<Container>> {
        const FIELD: &str = "pod_run.jobs.gang.worker";
        let run = step.pod_run.as_ref()?;
        let gang = run.jobs.as_ref()?.gang.as_ref()?;
        if gang.worker.as_str() != fan::workers_pod(&run.pod) {
            let message = format!("found `{}`, expected `{}`", gang.worker, fan::workers_pod(&run.pod));
            self.step_objection(field, FIELD, message);
        }
        let pods = self.manifests.get(&run.manifest)?;
        let Some(pod) = pods.iter().find(|pod| pod.metadata.name == gang.worker).cloned() else {
            self.step_objection(field, FIELD, format!("`{}` has no pod `{}`", run.manifest, gang.worker));
            return None;
        };
        self.pods.insert((run.manifest.clone(), gang.worker.clone()));
        let seconds = run.max_duration_seconds.saturating_add(WORKERS_OUTLIVE_SECONDS);
        for (key, message) in gang.worker_options.wrong() {
            self.step_objection(field, &format!("pod_run.jobs.gang.worker_options.{key}"), message);
        }
        let like = PodRunDocument {
            pod: gang.worker.clone(),
            max_duration_seconds: seconds,
            options: gang.worker_options.clone(),
            ..run.clone()
        };
        for (at, message) in pod_objections(&pod, &like, &self.header.tenant) {
            self.objections.add(&run.manifest, format!("{}: {at}", like.pod), message);
        }
        let container = pod.spec.containers.into_iter().next()?;
        if !container.ports.is_empty() {
            let message = "workers cannot have host ports; expected none";
            self.objections.add(&run.manifest, format!("{}: spec.containers[0].ports", like.pod), message);
        }
        self.agrees(&like, run.jobs.as_ref(), &container);
        Some(Box::new(container))
    }

    /// What a pod may have besides its jobs.
    pub(super) fn agrees(&mut self, run: &PodRunDocument, jobs: Option<&Jobs>, container: &Container) {
        for flaw in jobs.map(|jobs| of_pod(jobs, container)).unwrap_or_default() {
            let field = format!("{}: spec.containers[0].{}", run.pod, flaw.field);
            self.objections.add(&run.manifest, field, format!("{}; {}", flaw.message, flaw.hint));
        }
    }

    pub(super) fn flaws(&mut self, field: &str, flaws: Vec<Flaw>) {
        for flaw in flaws {
            self.step_objection(field, &flaw.field, format!("{}; {}", flaw.message, flaw.hint));
        }
    }
}
