//! Core: from candidate documents to a [`VerifiedBundle`]: the header, sequence and manifests agree with each other.
//!
//! A [`Rejection`] carries every reason at once. Must not: know this board; `plan` does.

mod jobs;
mod options;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bundle::document::{
    self, DocumentError, DownlinkDocument, Header, PodRunDocument, Sequence, StepDocument, StepKind, UplinkDocument,
};
use crate::bundle::limits::{MAX_DURATION_MINUTES, MAX_TIMEOUT_SECONDS, STEPS};
use crate::bundle::manifest::{Container, DATA, Pod, claim};
use crate::bundle::rules::flaws;
use crate::bundle::{Hostname, StepId, Tenant, path};
use crate::reason::Name;

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Stable code.
    pub code: u32,
    /// Class of the refusal.
    pub name: Name,
    /// Every reason.
    pub reasons: Vec<Objection>,
}

/// One reason of a rejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Objection {
    /// Entry of the bundle.
    pub file: String,
    /// Field in it.
    pub field: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Rejection {
    /// A rejection for one reason.
    #[must_use]
    pub fn one(name: Name, file: &str, field: &str, message: impl Into<String>) -> Self {
        let reason = Objection { file: file.to_owned(), field: field.to_owned(), message: message.into() };
        Self { code: name.code(), name, reasons: vec![reason] }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.reasons.iter().map(|reason| {
            let place = [reason.file.as_str(), reason.field.as_str()];
            let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
            if place.is_empty() { reason.message.clone() } else { format!("{}: {}", place.join(": "), reason.message) }
        });
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A bundle whose parts agree. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedBundle {
    header: Header,
    parallelism: Option<u32>,
    steps: Vec<VerifiedStep>,
}

/// One step, its parameters resolved.
#[derive(Debug, Clone)]
pub struct VerifiedStep {
    /// The document it came from, for id, policy and budget.
    pub document: StepDocument,
    /// What it does.
    pub work: VerifiedWork,
    /// What the workers of its gang run, if it has one.
    pub worker: Option<Box<Container>>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum VerifiedWork {
    /// Runs a pod.
    PodRun(Box<PodRunDocument>, Box<Container>),
    /// Places files.
    Uplink(UplinkDocument),
    /// Collects files.
    Downlink(DownlinkDocument),
}

impl VerifiedBundle {
    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Jobs (gangs) of it that may be alive at once.
    #[must_use]
    pub fn parallelism(&self) -> Option<u32> {
        self.parallelism
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[VerifiedStep] {
        &self.steps
    }
}

/// Compares the documents of a bundle. `texts` holds `sequence.yaml` and every manifest by path.
///
/// # Errors
/// With every reason at once.
pub fn verify(header: Header, texts: &BTreeMap<String, Vec<u8>>) -> Result<VerifiedBundle, Rejection> {
    let mut objections = Objections(Vec::new());
    let sequence: Option<Sequence> = match texts.get(Sequence::PATH) {
        Some(bytes) => objections.document(Sequence::PATH, document::read(Sequence::PATH, bytes)),
        None => {
            objections.add(Sequence::PATH, "", "missing");
            None
        }
    };
    let mut manifests: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
    for (path, bytes) in texts.iter().filter(|(path, _)| path.starts_with("manifests/")) {
        if let Some(pods) = objections.document(path, document::read_all(path, bytes)) {
            manifests.insert(path.clone(), pods);
        }
    }
    let Some(sequence) = sequence else {
        return Err(objections.rejection());
    };
    let mut check = Check { header: &header, manifests, files: BTreeSet::new(), pods: BTreeSet::new(), objections };
    let steps = check.sequence(&sequence);
    check.leftovers();
    if !check.objections.0.is_empty() {
        return Err(check.objections.rejection());
    }
    Ok(VerifiedBundle { header, parallelism: sequence.parallelism, steps })
}

struct Objections(Vec<Objection>);

impl Objections {
    fn add(&mut self, file: &str, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Objection { file: file.to_owned(), field: field.into(), message: message.into() });
    }

    fn document<T>(&mut self, file: &str, result: Result<T, DocumentError>) -> Option<T> {
        let message = |error| match error {
            // Its file is told already, and its line is in the message.
            DocumentError::Yaml { message, .. } => message,
            other @ (DocumentError::Text { .. } | DocumentError::Digest | DocumentError::Format { .. }) => {
                other.to_string()
            }
        };
        result.map_err(|error| self.add(file, "", message(error))).ok()
    }

    fn rejection(self) -> Rejection {
        Rejection { code: Name::Invalid.code(), name: Name::Invalid, reasons: self.0 }
    }
}

struct Check<'a> {
    header: &'a Header,
    manifests: BTreeMap<String, Vec<Pod>>,
    files: BTreeSet<String>,
    pods: BTreeSet<(String, Hostname)>,
    objections: Objections,
}

impl Check<'_> {
    fn sequence(&mut self, sequence: &Sequence) -> Vec<VerifiedStep> {
        if sequence.steps.is_empty() || sequence.steps.len() > STEPS {
            self.objections.add(
                Sequence::PATH,
                "steps",
                format!("found {} steps, expected 1 to {STEPS}", sequence.steps.len()),
            );
        }
        if sequence.parallelism == Some(0) {
            let message = "found 0, with which nothing would ever start; leave it out to have no cap";
            self.objections.add(Sequence::PATH, "parallelism", message);
        }
        let mut ids: BTreeSet<&StepId> = BTreeSet::new();
        let mut verified = Vec::new();
        for (i, step) in sequence.steps.iter().take(STEPS).enumerate() {
            let field = format!("steps[{i}]");
            if !ids.insert(&step.id) {
                self.step_objection(&field, "id", format!("`{}` is there twice", step.id));
            }
            if step.timeout_seconds == 0 || step.timeout_seconds > MAX_TIMEOUT_SECONDS {
                let message = format!("found {}, expected 1 to {MAX_TIMEOUT_SECONDS} seconds", step.timeout_seconds);
                self.step_objection(&field, "timeout_seconds", message);
            }
            self.flaws(&field, flaws(step));
            let worker = self.worker(step, &field);
            if let Some(work) = self.work(step, &field) {
                verified.push(VerifiedStep { document: step.clone(), work, worker });
            }
        }
        verified
    }

    fn work(&mut self, step: &StepDocument, field: &str) -> Option<VerifiedWork> {
        match (step.kind, &step.pod_run, &step.uplink, &step.downlink) {
            (StepKind::PodRun, Some(run), None, None) => self.pod_run(step, run, field),
            (StepKind::Uplink, None, Some(uplink), None) => self.uplink(uplink, field),
            (StepKind::Downlink, None, None, Some(downlink)) => self.downlink(downlink, field),
            (StepKind::PodRun | StepKind::Uplink | StepKind::Downlink, ..) => {
                self.step_objection(field, "kind", "exactly the block that `kind` names must be there");
                None
            }
        }
    }

    fn pod_run(&mut self, step: &StepDocument, run: &PodRunDocument, field: &str) -> Option<VerifiedWork> {
        let longest = (MAX_DURATION_MINUTES * 60).min(step.timeout_seconds);
        if run.max_duration_seconds == 0 || run.max_duration_seconds > longest {
            let message =
                format!("found {}, expected 1 to {longest} seconds (the step's budget)", run.max_duration_seconds);
            self.step_objection(field, "pod_run.max_duration_seconds", message);
        }
        if !Hostname::join(&self.header.tenant, &run.pod_name).is_ok_and(|name| name == run.pod) {
            let message = format!("`{}` is not the hostname `{}-{}`", run.pod, self.header.tenant, run.pod_name);
            self.step_objection(field, "pod_run.pod", message);
        }
        let Some(pods) = self.manifests.get(&run.manifest) else {
            let message = format!("`{}` is not a readable manifest of this bundle", run.manifest);
            self.step_objection(field, "pod_run.manifest", message);
            return None;
        };
        let Some(pod) = pods.iter().find(|pod| pod.metadata.name == run.pod).cloned() else {
            self.step_objection(field, "pod_run.pod", format!("`{}` has no pod `{}`", run.manifest, run.pod));
            return None;
        };
        if !self.pods.insert((run.manifest.clone(), run.pod.clone())) {
            self.step_objection(
                field,
                "pod_run.pod",
                format!("two steps use the pod `{}` of `{}`", run.pod, run.manifest),
            );
        }
        for (at, message) in pod_objections(&pod, run, &self.header.tenant) {
            self.objections.add(&run.manifest, format!("{}: {at}", run.pod), message);
        }
        for (key, message) in run.options.wrong() {
            self.step_objection(field, &format!("pod_run.options.{key}"), message);
        }
        let container = pod.spec.containers.into_iter().next()?;
        self.agrees(run, run.jobs.as_ref(), &container);
        Some(VerifiedWork::PodRun(Box::new(run.clone()), Box::new(container)))
    }

    fn uplink(&mut self, uplink: &UplinkDocument, field: &str) -> Option<VerifiedWork> {
        if uplink.files.is_empty() {
            self.step_objection(field, "uplink.files", "the list is empty");
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for file in &uplink.files {
            let name = path::base_name(file);
            if !names.insert(name) {
                self.step_objection(field, "uplink.files", format!("two files named `{name}` for one folder"));
            }
            if !file.starts_with("files/") || !self.header.entries.iter().any(|entry| entry.path == *file) {
                self.step_objection(field, "uplink.files", format!("`{file}` is not a file of this bundle"));
            }
            self.files.insert(file.clone());
        }
        self.plain(&uplink.destination, field, "uplink.destination");
        Some(VerifiedWork::Uplink(uplink.clone()))
    }

    fn downlink(&mut self, downlink: &DownlinkDocument, field: &str) -> Option<VerifiedWork> {
        if downlink.sources.is_empty() {
            self.step_objection(field, "downlink.sources", "the list is empty");
        }
        for source in &downlink.sources {
            self.plain(source, field, "downlink.sources");
            if let Err(error) = glob::Pattern::new(source) {
                self.step_objection(
                    field,
                    "downlink.sources",
                    format!("`{source}` is not a legal wildcard: {}", error.msg),
                );
            }
        }
        self.plain(&downlink.destination, field, "downlink.destination");
        Some(VerifiedWork::Downlink(downlink.clone()))
    }

    fn plain(&mut self, text: &str, field: &str, key: &str) {
        if text.is_empty() {
            return;
        }
        match path::relative(text) {
            Ok(plain) if plain == text => {}
            Ok(_) => self.step_objection(field, key, format!("`{text}` is not in its plain form")),
            Err(bad) => self.step_objection(field, key, bad.to_string()),
        }
    }

    fn step_objection(&mut self, field: &str, key: &str, message: impl Into<String>) {
        self.objections.add(Sequence::PATH, format!("{field}.{key}"), message);
    }

    /// A pod or file that no step uses would fly for nothing, or for somebody's surprise.
    fn leftovers(&mut self) {
        let manifests = std::mem::take(&mut self.manifests);
        for (path, pods) in &manifests {
            let mut names: BTreeSet<&Hostname> = BTreeSet::new();
            for pod in pods.iter().filter(|pod| !names.insert(&pod.metadata.name)) {
                self.objections.add(path, pod.metadata.name.as_str(), "the pod is there twice");
            }
            for pod in pods.iter().filter(|pod| !self.pods.contains(&(path.clone(), pod.metadata.name.clone()))) {
                self.objections.add(path, pod.metadata.name.as_str(), "no step runs this pod");
            }
        }
        for entry in &self.header.entries {
            if entry.path.starts_with("files/") && !self.files.contains(&entry.path) {
                self.objections.add(&entry.path, "", "no step places this file");
            }
            if entry.path.starts_with("images/") {
                self.objections.add(
                    &entry.path,
                    "",
                    "images in bundles are not yet supported by this version; load the image on board first",
                );
            }
        }
    }
}

fn pod_objections(pod: &Pod, run: &PodRunDocument, tenant: &Tenant) -> Vec<(&'static str, String)> {
    let mut wrong: Vec<(&'static str, String)> = Vec::new();
    let mut must = |legal: bool, at: &'static str, expected: String| {
        if !legal {
            wrong.push((at, format!("expected {expected}")));
        }
    };
    let spec = &pod.spec;
    must(pod.api_version == "v1" && pod.kind == "Pod", "kind", "apiVersion v1, kind Pod".to_owned());
    must(spec.hostname == run.pod, "spec.hostname", format!("`{}`", run.pod));
    must(spec.restart_policy == "Never", "spec.restartPolicy", "Never".to_owned());
    must(
        spec.active_deadline_seconds == run.max_duration_seconds,
        "spec.activeDeadlineSeconds",
        format!("max_duration_seconds of the step, {}", run.max_duration_seconds),
    );
    let claimed = spec.volumes.iter().map(|v| (v.name.clone(), v.persistent_volume_claim.claim_name.clone()));
    let claim = claim(tenant, &run.volume);
    must(
        claimed.eq([(run.volume.clone(), claim.clone())]),
        "spec.volumes",
        format!("one volume `{}` that claims `{claim}`", run.volume),
    );
    let [container] = spec.containers.as_slice() else {
        must(false, "spec.containers", "exactly one container".to_owned());
        return wrong;
    };
    must(container.image_pull_policy == "Never", "spec.containers[0].imagePullPolicy", "Never".to_owned());
    must(image_is_tagged(&container.image), "spec.containers[0].image", "NAME:TAG".to_owned());
    let mounted = container.volume_mounts.iter().map(|m| (m.name.clone(), m.mount_path.clone()));
    must(
        mounted.eq([(run.volume.clone(), DATA.to_owned())]),
        "spec.containers[0].volumeMounts",
        format!("`{}` at {DATA}", run.volume),
    );
    for at in options::disagreements(pod, &run.options) {
        must(false, at, "what docs/bundle-format.md gives for the options of the step".to_owned());
    }
    must(
        container.ports.iter().all(|port| port.container_port > 0 && port.host_port > 0),
        "spec.containers[0].ports",
        "ports from 1 to 65535".to_owned(),
    );
    wrong
}

fn image_is_tagged(image: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    let Some((name, tag)) = image.rsplit_once(':') else { return false };
    image.chars().all(legal) && !name.is_empty() && !tag.is_empty() && !tag.contains('/')
}
