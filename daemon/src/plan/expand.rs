//! From one pod to the jobs of a step: arrays, command lists, gangs, pieces of an output.
//!
//! Must not: refuse; what cannot be expanded was refused before.

use super::{Gang, PlannedJob, Role};
use crate::bundle::Hostname;
use crate::bundle::flow::{Array, Mpi};
use crate::bundle::manifest::Variable;
use crate::bundle::names::BadName;

/// What tells the units of a step apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expansion<'a> {
    /// One unit, as it stands.
    Alone,
    /// One for each `TASK_ID`.
    Array(Array),
    /// One for each command, run by `sh -c`.
    Commands(&'a [String]),
}

/// The jobs of a step: each unit is made from the same jobs (one pod, or the workers and the launcher of a gang).
///
/// # Errors
/// When a hostname grows too long.
pub fn expand(unit: &[PlannedJob], expansion: &Expansion<'_>) -> Result<Vec<PlannedJob>, BadName> {
    let mut jobs = Vec::new();
    match expansion {
        Expansion::Alone => jobs.extend_from_slice(unit),
        Expansion::Array(array) => {
            for (position, id) in (0..).zip(array.ids()) {
                for job in unit {
                    let mut job = member(job, position, &id.to_string())?;
                    job.pod.env.retain(|variable| variable.name != TASK_ID);
                    job.pod.env.push(Variable { name: TASK_ID.to_owned(), value: id.to_string() });
                    jobs.push(job);
                }
            }
        }
        Expansion::Commands(commands) => {
            for (position, command) in (0..).zip(*commands) {
                for job in unit {
                    let mut job = member(job, position, &position.to_string())?;
                    job.pod.command = Some(["/bin/sh", "-c", command].map(str::to_owned).to_vec());
                    job.pod.args = None;
                    jobs.push(job);
                }
            }
        }
    }
    Ok(jobs)
}

/// Names each member of an array.
const TASK_ID: &str = "TASK_ID";

fn member(job: &PlannedJob, position: u32, name: &str) -> Result<PlannedJob, BadName> {
    let mut job = job.clone();
    job.label = if job.label.is_empty() { name.to_owned() } else { format!("{name}.{}", job.label) };
    job.unit = position;
    job.hostname = suffixed(&job.hostname, name, job.role)?;
    Ok(job)
}

/// `<tenant>-<pod_name>-<name>`; in a gang the name comes before the member's own suffix.
fn suffixed(hostname: &Hostname, name: &str, role: Role) -> Result<Hostname, BadName> {
    let text = hostname.as_str();
    let cut = match role {
        Role::Alone => None,
        Role::Worker => text.rfind("-worker-"),
        Role::Launcher => text.rfind("-launcher"),
    };
    match cut {
        Some(at) => format!("{}-{name}{}", &text[..at], &text[at..]).parse(),
        None => format!("{text}-{name}").parse(),
    }
}

/// The members of one gang, workers first, as the launcher finds them.
///
/// # Errors
/// When a hostname grows too long.
pub fn gang(
    worker: &PlannedJob,
    workers: u32,
    launcher: &PlannedJob,
    terms: &Gang,
) -> Result<Vec<PlannedJob>, BadName> {
    let pod_name = launcher.pod_name.clone();
    let base = launcher.hostname.as_str().to_owned();
    let mut jobs = Vec::new();
    for number in 0..workers {
        let hostname = format!("{base}-worker-{number}").parse()?;
        let mut job = worker.clone();
        (job.label, job.role, job.hostname, job.pod_name) =
            (format!("worker-{number}"), Role::Worker, hostname, pod_name.clone());
        set(&mut job, &[("K_MPI_JOB_ROLE", "worker")]);
        jobs.push(job);
    }
    let mut job = launcher.clone();
    (job.label, job.role, job.hostname) = ("launcher".to_owned(), Role::Launcher, format!("{base}-launcher").parse()?);
    set(&mut job, &[("K_MPI_JOB_ROLE", "launcher")]);
    let slots = terms.slots_per_worker.to_string();
    let rsh = RSH_ARGUMENTS;
    match terms.mpi {
        Mpi::Openmpi => set(
            &mut job,
            &[
                ("OMPI_MCA_orte_keep_fqdn_hostnames", "true"),
                ("OMPI_MCA_orte_default_hostfile", HOSTFILE),
                ("OMPI_MCA_plm_rsh_args", rsh),
                ("OMPI_MCA_orte_set_default_slots", &slots),
            ],
        ),
        Mpi::Intel => set(
            &mut job,
            &[
                ("I_MPI_HYDRA_HOST_FILE", HOSTFILE),
                ("I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS", rsh),
                ("I_MPI_PERHOST", &slots),
            ],
        ),
        Mpi::Mpich => set(&mut job, &[("HYDRA_HOST_FILE", HOSTFILE), ("HYDRA_LAUNCH_EXTRA_ARGS", rsh)]),
    }
    if !terms.launcher_as_worker {
        set(&mut job, &[("NVIDIA_VISIBLE_DEVICES", ""), ("NVIDIA_DRIVER_CAPABILITIES", "")]);
    }
    jobs.push(job);
    Ok(jobs)
}

/// Where the members of a gang find each other.
pub const HOSTFILE: &str = "/etc/mpi/hostfile";
/// A read-only folder of keys cannot take up known hosts, and the keys live as long as the gang.
const RSH_ARGUMENTS: &str =
    "-o ConnectionAttempts=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";

/// What the tenant sets itself stays.
fn set(job: &mut PlannedJob, variables: &[(&str, &str)]) {
    for (name, value) in variables {
        if job.pod.env.iter().all(|known| known.name != *name) {
            job.pod.env.push(Variable { name: (*name).to_owned(), value: (*value).to_owned() });
        }
    }
}
