//! The pods of a pod.run task as manifests say them: its own, and that of its gang's workers.
//!
//! Must not: number steps; `compile` does.

use super::pod_run::PodRun;
use super::tasks::Task;
use crate::bundle::document::{self, DocumentError};
use crate::bundle::flow::Jobs;
use crate::bundle::manifest::{Claim, Container, DATA, Metadata, Mount, Pod, SecurityContext, Spec, Volume, claim};
use crate::bundle::options::Options;
use crate::bundle::rules::WORKERS_OUTLIVE_SECONDS;
use crate::bundle::{Hostname, Tenant, fan};

/// The jobs of a task; a gang's workers have a pod of their own in the manifest. A name for them that is too long is
/// found when all hostnames are looked at.
pub(super) fn jobs(run: &PodRun, hostname: &Hostname) -> Option<Jobs> {
    let worker = fan::workers_pod(hostname).parse().unwrap_or_else(|_| hostname.clone());
    let gang = run.gang.as_ref().map(|gang| gang.document(worker, &run.options));
    run.jobs.clone().map(|jobs| Jobs { gang, ..jobs })
}

pub(super) fn workers(
    task: &Task,
    seconds: u32,
    worker: Container,
    jobs: &Jobs,
    tenant: &Tenant,
) -> Result<String, DocumentError> {
    let Some(gang) = &jobs.gang else { return Ok(String::new()) };
    let seconds = seconds + WORKERS_OUTLIVE_SECONDS;
    document::write("manifest", &pod(task, (&gang.worker, seconds), worker, &gang.worker_options, tenant))
}

/// What the containers of a task have in common.
pub(super) fn container(run: &PodRun) -> Container {
    Container {
        name: "main".to_owned(),
        image: run.image.clone(),
        image_pull_policy: "Never".to_owned(),
        command: None,
        args: None,
        working_dir: None,
        resources: None,
        env: run.env.clone(),
        ports: run.ports.iter().map(|(port, _)| *port).collect(),
        volume_mounts: vec![Mount { name: run.volume.clone(), mount_path: DATA.to_owned(), read_only: false }],
        security_context: SecurityContext::hardened(),
    }
}

pub(super) fn pod(
    task: &Task,
    (hostname, seconds): (&Hostname, u32),
    container: Container,
    options: &Options,
    tenant: &Tenant,
) -> Pod {
    let labels = [("perigee.step", task.id.as_str()), ("perigee.tenant", tenant.as_str())];
    let volumes = container.volume_mounts.iter().map(|mount| Volume {
        name: mount.name.clone(),
        persistent_volume_claim: Claim { claim_name: claim(tenant, &mount.name) },
    });
    let volumes = volumes.collect();
    let mut pod = Pod {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        metadata: Metadata {
            name: hostname.clone(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        },
        spec: Spec {
            hostname: hostname.clone(),
            restart_policy: "Never".to_owned(),
            active_deadline_seconds: seconds,
            host_ipc: false,
            host_pid: false,
            containers: vec![container],
            volumes,
        },
    };
    pod.apply(options);
    pod
}
