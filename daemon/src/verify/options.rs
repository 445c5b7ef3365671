//! Compares what a manifest says of a pod's options with the options themselves.
//!
//! Must not: judge the options; they judge themselves.

use crate::bundle::manifest::Pod;
use crate::bundle::options::Options;

/// The fields of a manifest that say something else than the options of its step.
pub(super) fn disagreements(pod: &Pod, options: &Options) -> Vec<&'static str> {
    let mut agreed = pod.clone();
    agreed.apply(options);
    let mut fields = Vec::new();
    let mut must = |holds: bool, at: &'static str| {
        if !holds {
            fields.push(at);
        }
    };
    must(pod.spec.host_ipc == agreed.spec.host_ipc, "spec.hostIPC");
    must(pod.spec.host_pid == agreed.spec.host_pid, "spec.hostPID");
    for (found, right) in pod.spec.containers.iter().zip(&agreed.spec.containers) {
        must(found.security_context == right.security_context, "spec.containers[0].securityContext");
        must(found.resources == right.resources, "spec.containers[0].resources");
        must(found.working_dir == right.working_dir, "spec.containers[0].workingDir");
        must(found.volume_mounts == right.volume_mounts, "spec.containers[0].volumeMounts[0].readOnly");
    }
    fields
}
