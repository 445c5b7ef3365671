//! The `gang` key of a `pod.run` task: workers, and the launcher that uses them.
//!
//! Must not: judge what it can read; `bundle::rules` does.

use super::fields::Fields;
use super::finding::{Findings, Place};
use super::flow::number;
use super::{options, pod_run};
use crate::bundle::flow::{Clean, GangDocument, GangStart, Jobs, Mpi};
use crate::bundle::graph::Flaw;
use crate::bundle::limits::{SLOTS, WORKERS};
use crate::bundle::manifest::{Container, Variable};
use crate::bundle::options::Options;
use crate::bundle::{Hostname, rules};

pub(super) const KEYS: [&str; 8] =
    ["workers", "slots_per_worker", "mpi", "ssh_dir", "launcher_as_worker", "start", "clean", "worker"];
pub(super) const WORKER: [&str; 5] = ["image", "command", "args", "env", "resources"];
pub(super) const MPIS: [(&str, Mpi); 3] = [("openmpi", Mpi::Openmpi), ("intel", Mpi::Intel), ("mpich", Mpi::Mpich)];
pub(super) const STARTS: [(&str, GangStart); 2] =
    [("after_workers", GangStart::AfterWorkers), ("with_workers", GangStart::WithWorkers)];
pub(super) const CLEANS: [(&str, Clean); 3] = [("none", Clean::None), ("running", Clean::Running), ("all", Clean::All)];
/// Where root's keys are.
const SSH_DIR: &str = "/root/.ssh";
/// What a worker runs that nothing is said of.
const WORKER_COMMAND: [&str; 2] = ["/usr/sbin/sshd", "-De"];

/// A gang as the tenant wrote it.
#[derive(Debug, Clone)]
pub struct GangTask {
    workers: u32,
    slots_per_worker: u32,
    mpi: Mpi,
    ssh_dir: String,
    launcher_as_worker: bool,
    start: GangStart,
    clean: Clean,
    /// What the workers run.
    pub worker: Worker,
}

/// What the workers of a gang run.
#[derive(Debug, Clone, Default)]
pub struct Worker {
    /// `NAME:TAG`; absent: the launcher's.
    pub image: Option<String>,
    /// Replaces the image's ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub args: Option<Vec<String>>,
    /// What it has besides, or instead of, the launcher's.
    pub env: Vec<Variable>,
    /// Processor time and memory; absent: the launcher's.
    pub resources: Option<(Option<u64>, Option<u64>)>,
}

impl GangTask {
    /// Its form in a bundle.
    #[must_use]
    pub fn document(&self, worker: Hostname, launcher: &Options) -> GangDocument {
        let mut options = Options { stdout: None, stderr: None, ..launcher.clone() };
        if let Some((cpu_millis, memory_bytes)) = self.worker.resources {
            options = Options { cpu_millis, memory_bytes, ..options };
        }
        GangDocument {
            worker_options: Box::new(options),
            workers: self.workers,
            slots_per_worker: self.slots_per_worker,
            worker,
            mpi: self.mpi,
            ssh_dir: self.ssh_dir.clone(),
            launcher_as_worker: self.launcher_as_worker,
            start: self.start,
            clean: self.clean,
        }
    }
}

impl Worker {
    /// Its container, from the launcher's: without ports, with sshd unless something else is said, and with the
    /// launcher's environment but for what it has itself.
    #[must_use]
    pub fn container(&self, launcher: Container) -> Container {
        let sshd = self.command.is_none() && self.args.is_none();
        let runs = || WORKER_COMMAND.map(str::to_owned).to_vec();
        let inherited = |theirs: &&Variable| self.env.iter().all(|mine| mine.name != theirs.name);
        let env = launcher.env.iter().filter(inherited).chain(&self.env).cloned().collect();
        Container {
            image: self.image.clone().unwrap_or_else(|| launcher.image.clone()),
            command: if sshd { Some(runs()) } else { self.command.clone() },
            args: self.args.clone(),
            env,
            ports: Vec::new(),
            ..launcher
        }
    }
}

impl Worker {
    /// What it may not have because of its jobs, what it has from the launcher aside.
    pub(super) fn flaws(&self, jobs: &Jobs, container: &Container) -> Vec<Flaw> {
        let own = Container { env: self.env.clone(), command: None, args: None, ..container.clone() };
        let flaws = rules::of_pod(jobs, &own).into_iter();
        flaws.map(|flaw| Flaw { field: format!("gang.worker.{}", flaw.field), ..flaw }).collect()
    }
}

/// Reads it, when it is there.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<GangTask> {
    let path = fields.name("gang");
    let item = Fields::open(fields.get("gang")?, &path, findings)?;
    item.only(&KEYS, findings);
    item.required("workers", "say how many workers there are", findings);
    let workers = number(&item, "workers", (1, i64::from(WORKERS)), findings);
    let slots = number(&item, "slots_per_worker", (1, i64::from(SLOTS)), findings);
    let task = GangTask {
        workers: workers.unwrap_or(1),
        slots_per_worker: slots.unwrap_or(1),
        mpi: item.word("mpi", &MPIS, findings).unwrap_or_default(),
        ssh_dir: item.text("ssh_dir", findings).unwrap_or_else(|| SSH_DIR.to_owned()),
        launcher_as_worker: item.boolean("launcher_as_worker", findings).unwrap_or(false),
        start: item.word("start", &STARTS, findings).unwrap_or_default(),
        clean: item.word("clean", &CLEANS, findings).unwrap_or(Clean::Running),
        worker: worker(&item, findings).unwrap_or_default(),
    };
    Some(task)
}

fn worker(fields: &Fields<'_>, findings: &mut Findings) -> Option<Worker> {
    let path = fields.name("worker");
    let item = Fields::open(fields.get("worker")?, &path, findings)?;
    item.only(&WORKER, findings);
    let items = |texts: Vec<(String, Place)>| texts.into_iter().map(|(text, _)| text).collect();
    Some(Worker {
        image: item.get("image").and_then(|_| pod_run::image(&item, findings)),
        command: item.texts("command", findings).map(items),
        args: item.texts("args", findings).map(items),
        env: pod_run::env(&item, findings),
        resources: item.get("resources").map(|_| options::resources(&item, findings)),
    })
}
