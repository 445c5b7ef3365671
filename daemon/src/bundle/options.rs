//! What a pod may ask for beyond the documented keys: user, folder, resources, privileges, output files.
//!
//! They fly in the step document; what Kubernetes can say of them is in the manifest too, and `verify` compares.
//! Must not: know what a board allows; `plan::policy` does.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::User;
use super::limits::{CPU_MILLIS_MAX, CPU_MILLIS_MIN, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN};
use super::path;

/// The options of one pod. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Who its process is; the image's choice when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// The folder its process starts in; the image's choice when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Processor time it may use, in thousandths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Memory it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What of the board it shares.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub privileges: BTreeSet<Privilege>,
    /// Whether it may write into its volume.
    #[serde(skip_serializing_if = "VolumeAccess::is_full")]
    pub volume: VolumeAccess,
    /// File of the volume that receives its standard output after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// File of the volume that receives its standard error after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

/// Something of the board that a pod shares instead of having its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// All capabilities and devices, no confinement.
    Privileged,
    /// Shared memory, semaphores and message queues.
    HostIpc,
    /// The hostname.
    HostUts,
    /// The processes.
    HostPid,
}

impl Privilege {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Privileged, Self::HostIpc, Self::HostUts, Self::HostPid];

    /// Its name in configurations and bundles.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::HostIpc => "host_ipc",
            Self::HostUts => "host_uts",
            Self::HostPid => "host_pid",
        }
    }

    /// How an operation asks for it.
    #[must_use]
    pub fn asked_as(self) -> &'static str {
        match self {
            Self::Privileged => "privileged: true",
            Self::HostIpc => "ipc: host",
            Self::HostUts => "uts: host",
            Self::HostPid => "pid: host",
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a pod may do with its volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeAccess {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read.
    ReadOnly,
}

impl VolumeAccess {
    fn is_full(&self) -> bool {
        *self == Self::ReadWrite
    }
}

impl Options {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it shares this of the board.
    #[must_use]
    pub fn shares(&self, privilege: Privilege) -> bool {
        self.privileges.contains(&privilege)
    }

    /// What is not legal on any board: key and what was expected. What the ground's own reader makes never is.
    #[must_use]
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut bounds = |key: &'static str, given: Option<u64>, least: u64, most: u64| {
            if let Some(given) = given.filter(|given| !(least..=most).contains(given)) {
                wrong.push((key, format!("found {given}, expected {least} to {most}")));
            }
        };
        bounds("cpu_millis", self.cpu_millis, CPU_MILLIS_MIN, CPU_MILLIS_MAX);
        bounds("memory_bytes", self.memory_bytes, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX);
        if let Some(text) = self.workdir.as_ref().filter(|text| !is_folder_of_image(text)) {
            wrong.push(("workdir", format!("`{}` is not an absolute path", text.escape_debug())));
        }
        for (key, file) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if let Some(text) =
                file.as_ref().filter(|text| path::relative(text).as_ref() != Ok(text) || text.is_empty())
            {
                wrong.push((key, format!("`{}` is not a plain path in the volume", text.escape_debug())));
            }
        }
        if self.stdout.is_some() && self.stdout == self.stderr {
            wrong.push(("stderr", "stdout and stderr name one file".to_owned()));
        }
        wrong
    }
}

/// Whether a text is an absolute path that can be a folder in an image.
#[must_use]
pub fn is_folder_of_image(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 1024
        && !text.chars().any(char::is_control)
        && !text.split('/').any(|p| p == "..")
}

/// Reads thousandths of a processor from a decimal number of processors.
#[must_use]
pub fn cpu_millis(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || text.ends_with('.') || part.len() > 3 {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(format!("{part:0<3}").parse().ok()?)
}

/// Thousandths of a processor as a decimal number of processors.
#[must_use]
pub fn cpu_text(millis: u64) -> String {
    match millis % 1000 {
        0 => format!("{}", millis / 1000),
        part => format!("{}.{part:03}", millis / 1000).trim_end_matches('0').to_owned(),
    }
}

/// Reads bytes, with a binary suffix `k`, `m` or `g` in either case.
#[must_use]
pub fn memory_bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.to_ascii_lowercase().strip_suffix(['k', 'm', 'g']) {
        None => (text.to_owned(), 0),
        Some(digits) => {
            let shift = match text.chars().last() {
                Some('k' | 'K') => 10,
                Some('m' | 'M') => 20,
                _ => 30,
            };
            (digits.to_owned(), shift)
        }
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Bytes with the largest suffix that is exact.
#[must_use]
pub fn memory_text(bytes: u64) -> String {
    for (suffix, shift) in [("g", 30), ("m", 20), ("k", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{suffix}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_to_the_thousandth_and_no_further() {
        for (text, millis) in [("0.5", 500), ("1", 1000), ("2.0", 2000), ("0.001", 1), ("1.25", 1250), ("0", 0)] {
            assert_eq!(cpu_millis(text), Some(millis), "{text}");
        }
        for bad in ["", ".5", "1.", "1e3", "-1", "0.0001", "1.5.5", "99999999999999999999", "0,5"] {
            assert_eq!(cpu_millis(bad), None, "{bad}");
        }
        assert_eq!([500, 1000, 1250, 1].map(cpu_text), ["0.5", "1", "1.25", "0.001"]);
    }

    #[test]
    fn memory_has_binary_suffixes() {
        for (text, bytes) in [("64m", 64 << 20), ("64M", 64 << 20), ("1g", 1 << 30), ("8k", 8192), ("123", 123)] {
            assert_eq!(memory_bytes(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "1.5g", "64mb", "64 m", "-1", "99999999999g"] {
            assert_eq!(memory_bytes(bad), None, "{bad}");
        }
        assert_eq!([64 << 20, 1 << 30, 123, 3 << 10].map(memory_text), ["64m", "1g", "123", "3k"]);
    }

    #[test]
    fn options_of_a_strange_bundle_are_judged() {
        let options = Options {
            cpu_millis: Some(0),
            memory_bytes: Some(1),
            workdir: Some("tmp".to_owned()),
            stdout: Some("../x".to_owned()),
            stderr: Some(String::new()),
            ..Options::default()
        };
        let keys: Vec<&str> = options.wrong().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["cpu_millis", "memory_bytes", "workdir", "stdout", "stderr"]);
        assert!(Options::default().wrong().is_empty() && Options::default().is_empty());
    }
}
