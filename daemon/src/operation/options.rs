//! The optional keys of a `pod.run` task that say how its process runs: user, folder, resources, privileges, files.
//!
//! Must not: know what a board allows; the board's policy says so at intake.

use super::fields::{Fields, named, text};
use super::finding::{Findings, Place};
use super::tree::{Node, Plain, Value};
use crate::bundle::limits::{CPU_MILLIS_MAX, CPU_MILLIS_MIN, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN};
use crate::bundle::options::{
    Options, Privilege, VolumeAccess, cpu_millis, cpu_text, is_folder_of_image, memory_bytes, memory_text,
};
use crate::bundle::{User, path};

pub(super) const KEYS: [&str; 10] =
    ["user", "workdir", "resources", "privileged", "ipc", "uts", "pid", "volume_read_only", "stdout", "stderr"];
pub(super) const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// Reads the options of a task. What is not legal is among the findings and not in the result.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Options {
    let (cpu_millis, memory_bytes) = resources(fields, findings);
    let mut options = Options {
        user: user(fields, findings),
        workdir: workdir(fields, findings),
        cpu_millis,
        memory_bytes,
        privileges: [
            (Privilege::HostIpc, namespace(fields, "ipc", findings)),
            (Privilege::HostUts, namespace(fields, "uts", findings)),
            (Privilege::HostPid, namespace(fields, "pid", findings)),
            (Privilege::Privileged, fields.boolean("privileged", findings).unwrap_or(false)),
        ]
        .into_iter()
        .filter_map(|(privilege, asked)| asked.then_some(privilege))
        .collect(),
        volume: match fields.boolean("volume_read_only", findings) {
            Some(true) => VolumeAccess::ReadOnly,
            Some(false) | None => VolumeAccess::ReadWrite,
        },
        stdout: output(fields, "stdout", findings),
        stderr: output(fields, "stderr", findings),
    };
    if options.stdout.is_some() && options.stdout == options.stderr {
        let message = "stdout and stderr name one file; each would replace the other";
        findings.error(fields.place_of("stderr"), fields.name("stderr"), message, "name two files, or one of them");
        options.stderr = None;
    }
    options
}

/// A uid is a number for everybody who writes one.
fn user(fields: &Fields<'_>, findings: &mut Findings) -> Option<User> {
    let node = fields.get("user")?;
    let field = fields.name("user");
    let given = match &node.value {
        Value::Plain(Plain::Integer(_), raw) => raw.clone(),
        Value::Plain(..) | Value::String(_) | Value::List(_) | Value::Map(_) => text(node, &field, findings)?,
    };
    named(&given, node.place, &field, findings)
}

fn workdir(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let given = fields.text("workdir", findings)?;
    if is_folder_of_image(&given) {
        return Some(given);
    }
    findings.error(
        fields.place_of("workdir"),
        fields.name("workdir"),
        format!("found the text `{}`, expected an absolute path in the pod", given.escape_debug()),
        "such as /data or /tmp",
    );
    None
}

pub(super) fn resources(fields: &Fields<'_>, findings: &mut Findings) -> (Option<u64>, Option<u64>) {
    let path = fields.name("resources");
    let Some(limits) = fields.get("resources").and_then(|node| Fields::open(node, &path, findings)) else {
        return (None, None);
    };
    limits.only(&RESOURCES, findings);
    let cpu = limits.get("cpu").and_then(|node| {
        let found = written(node).and_then(cpu_millis).filter(|it| (CPU_MILLIS_MIN..=CPU_MILLIS_MAX).contains(it));
        let expected = format!(
            "a number of processors from {} to {}, to the thousandth",
            cpu_text(CPU_MILLIS_MIN),
            cpu_text(CPU_MILLIS_MAX)
        );
        found.or_else(|| refuse(node, &limits.name("cpu"), (&expected, "such as 0.5"), findings))
    });
    let memory = limits.get("memory").and_then(|node| {
        let bounds = MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX;
        let found = written(node).and_then(memory_bytes).filter(|it| bounds.contains(it));
        let expected = format!("bytes from {} to {}", memory_text(MEMORY_BYTES_MIN), memory_text(MEMORY_BYTES_MAX));
        let hint = "write a whole number with k, m or g (1024 each), such as 64m";
        found.or_else(|| refuse(node, &limits.name("memory"), (&expected, hint), findings))
    });
    (cpu, memory)
}

/// A scalar as it is written, whatever YAML reads it as.
fn written(node: &Node) -> Option<&str> {
    match &node.value {
        Value::String(text) | Value::Plain(Plain::Integer(_) | Plain::Float, text) => Some(text),
        Value::Plain(Plain::Null | Plain::Boolean(_), _) | Value::List(_) | Value::Map(_) => None,
    }
}

fn refuse<T>(node: &Node, field: &str, (expected, hint): (&str, &str), findings: &mut Findings) -> Option<T> {
    findings.error(node.place, field, format!("found {}, expected {expected}", node.value.describe()), hint);
    None
}

/// Whether a namespace is the board's; `private` says the default.
fn namespace(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> bool {
    let Some(given) = fields.text(key, findings) else { return false };
    match given.as_str() {
        "host" => true,
        "private" => false,
        other => {
            let message = format!("found the text `{}`, expected host or private", other.escape_debug());
            findings.error(fields.place_of(key), fields.name(key), message, "the default is private");
            false
        }
    }
}

fn output(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<String> {
    let given = fields.text(key, findings)?;
    let place: Place = fields.place_of(key);
    let hint = "name a file in the volume, such as logs/out.txt";
    match path::in_volume(&given) {
        Ok(plain) if !plain.is_empty() && !given.ends_with('/') => Some(plain),
        Ok(_) => {
            findings.error(place, fields.name(key), format!("`{given}` is a folder, expected a file"), hint);
            None
        }
        Err(bad) => {
            findings.error(place, fields.name(key), bad.to_string(), hint);
            None
        }
    }
}
