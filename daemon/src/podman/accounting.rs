//! What an attempt used: read from a control group of its own, which stays when its container has ended.
//!
//! Podman is asked to make every container below a group that is named after the attempt. The kernel adds up there what
//! everything below has used. conmon's share, a child of the group under Podman's own group manager, is taken off.
//! Must not: write into a group; it only removes empty ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api::Endpoint;
use super::inspected::InspectedState;
use crate::plan::PodSpec;
use crate::sequence::state::{AttemptId, Exit};

/// Where the kernel shows its groups.
const ROOT: &str = "/sys/fs/cgroup";
/// What a process ends with that SIGKILL ended.
const KILLED: i64 = 128 + 9;
/// Looks at a group that something still leaves, and the pause between them.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(100);

/// Who makes control groups for a Podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Podman itself.
    Cgroupfs,
    /// The service manager of the board.
    Systemd,
}

/// The group of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    manager: Manager,
    root: PathBuf,
    parent: String,
    below_root: PathBuf,
}

/// How the process of an attempt ended, with what its group tells of it where it has one that can be read.
pub(super) async fn exit(endpoint: &Endpoint, pod: &PodSpec, attempt: &AttemptId, state: &InspectedState) -> Exit {
    match endpoint.group_manager().await.ok().flatten() {
        Some(manager) => Group::of(manager, attempt).exit(state, pod.options.memory_bytes),
        None => Exit { code: state.exit_code, oom: state.oom_killed, cpu_ms: None },
    }
}

/// What is known of the use of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    cpu_ms: Option<u64>,
    oom_kills: Option<u64>,
    memory_peak: Option<u64>,
}

impl Group {
    /// The group of an attempt.
    #[must_use]
    pub fn of(manager: Manager, id: &AttemptId) -> Self {
        Self::below(Path::new(ROOT), manager, id)
    }

    fn below(root: &Path, manager: Manager, id: &AttemptId) -> Self {
        // No `-` but the first: to systemd each stands for a level.
        let execution = id.execution.to_string().replace('-', "");
        Self::named(root, manager, &format!("{execution}_{}_{}_{}", id.step, id.job, id.attempt))
    }

    /// The group that a container was made below, if it is one of ours.
    #[must_use]
    pub fn of_parent(manager: Manager, parent: &str) -> Option<Self> {
        let name = match manager {
            Manager::Cgroupfs => parent.strip_prefix("/perigee/"),
            Manager::Systemd => parent.strip_prefix("perigee-").and_then(|rest| rest.strip_suffix(".slice")),
        };
        let ours = name.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_hexdigit() || c == '_'))?;
        Some(Self::named(Path::new(ROOT), manager, ours))
    }

    fn named(root: &Path, manager: Manager, name: &str) -> Self {
        let (parent, below_root) = match manager {
            Manager::Cgroupfs => (format!("/perigee/{name}"), PathBuf::from(format!("perigee/{name}"))),
            Manager::Systemd => {
                let slice = format!("perigee-{name}.slice");
                (slice.clone(), PathBuf::from(format!("perigee.slice/{slice}")))
            }
        };
        Self { manager, root: root.to_owned(), parent, below_root }
    }

    /// What the create request asks for.
    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    fn exit(&self, state: &InspectedState, memory_limit: Option<u64>) -> Exit {
        let usage = self.usage();
        let oom = state.oom_killed || usage.ended_by_memory(state.exit_code, memory_limit);
        Exit { code: state.exit_code, oom, cpu_ms: usage.cpu_ms }
    }

    fn usage(&self) -> Usage {
        if self.unified() {
            let group = self.root.join(&self.below_root);
            let cpu = |group: &Path| field(&group.join("cpu.stat"), "usage_usec");
            Usage {
                cpu_ms: without_conmon(&group, cpu).map(|us| us / 1000),
                oom_kills: field(&group.join("memory.events"), "oom_kill"),
                memory_peak: None,
            }
        } else {
            let of = |controller: &str| self.root.join(controller).join(&self.below_root);
            let cpu = |group: &Path| number(&group.join("cpuacct.usage"));
            Usage {
                cpu_ms: without_conmon(&of("cpuacct"), cpu).map(|ns| ns / 1_000_000),
                // Version 1 counts these in the group of the victim only, which goes with its container.
                oom_kills: None,
                memory_peak: number(&of("memory").join("memory.max_usage_in_bytes")),
            }
        }
    }

    fn unified(&self) -> bool {
        self.root.join("cgroup.controllers").exists()
    }

    /// Removes the group once it is empty, without anybody waiting for that.
    pub fn remove_soon(&self) {
        let group = self.clone();
        tokio::spawn(async move {
            for _ in 0..LOOKS {
                let (copy, removed) = (group.clone(), tokio::task::spawn_blocking);
                match removed(move || copy.remove()).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) if error.kind() == io::ErrorKind::ResourceBusy => tokio::time::sleep(PAUSE).await,
                    Ok(Err(error)) => {
                        let group = group.parent();
                        return tracing::warn!(%group, %error, "failed to remove a control group; it stays until the next boot");
                    }
                    Err(error) => return tracing::error!(%error, "failed to remove a control group"),
                }
            }
            tracing::warn!(group = %group.parent(), "a control group is still in use; it stays until the next boot");
        });
    }

    fn remove(&self) -> io::Result<()> {
        // A group that systemd made is systemd's to remove; the runtime may have made it in further hierarchies.
        if self.manager == Manager::Systemd && !self.places()?.is_empty() {
            stop_slice(&self.parent)?;
        }
        self.places()?.iter().try_for_each(|group| remove_empty(group))
    }

    /// Where the group is: once, or once in every hierarchy.
    fn places(&self) -> io::Result<Vec<PathBuf>> {
        let mut roots = vec![self.root.clone()];
        if !self.unified() {
            roots = match fs::read_dir(&self.root) {
                Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
        }
        Ok(roots.into_iter().map(|root| root.join(&self.below_root)).filter(|group| group.is_dir()).collect())
    }
}

impl Usage {
    /// Whether the kernel killed for memory. Where it does not count that in the group of the attempt, a process that
    /// SIGKILL ended and whose group had reached its limit is taken for a victim.
    fn ended_by_memory(&self, code: i64, limit: Option<u64>) -> bool {
        if let Some(kills) = self.oom_kills {
            return code != 0 && kills > 0;
        }
        let reached = self.memory_peak.zip(limit).is_some_and(|(peak, limit)| peak >= limit);
        code == KILLED && reached
    }
}

/// What a group has used without conmon, which Podman's own manager puts into a child of that name.
fn without_conmon(group: &Path, read: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    let conmon = read(&group.join("conmon")).unwrap_or(0);
    read(group).map(|all| all.saturating_sub(conmon))
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn field(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Removes a group and its children, all of them empty; the kernel refuses any other.
fn remove_empty(group: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gone(fs::remove_dir(entry.path()))?;
        }
    }
    gone(fs::remove_dir(group))
}

fn stop_slice(slice: &str) -> io::Result<()> {
    let output = std::process::Command::new("systemctl").args(["stop", slice]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("systemctl stop: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198c0de-0000-7000-8000-000000000001";
    const NAME: &str = "0198c0de000070008000000000000001_2_0_1";

    fn group(root: &Path, manager: Manager) -> Group {
        let execution = ID.parse().expect("a UUID");
        Group::below(root, manager, &AttemptId { execution, step: 2, job: 0, attempt: 1 })
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).and_then(|()| fs::write(path, text)).expect("written");
    }

    #[test]
    fn group_is_named_after_its_attempt_in_the_form_of_its_manager() {
        let root = Path::new("/x");
        assert_eq!(group(root, Manager::Cgroupfs).parent(), format!("/perigee/{NAME}"));
        let slice = group(root, Manager::Systemd);
        assert_eq!(slice.parent(), format!("perigee-{NAME}.slice"));
        assert_eq!(slice.below_root, Path::new("perigee.slice").join(slice.parent()));
    }

    #[test]
    fn version_1_is_read_without_conmon_and_a_limit_that_was_reached_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        let group = group(root.path(), Manager::Cgroupfs);
        let cpu = root.path().join("cpuacct/perigee").join(NAME);
        write(&cpu.join("cpuacct.usage"), "1500000000\n");
        write(&cpu.join("conmon/cpuacct.usage"), "200000000\n");
        write(&root.path().join("memory/perigee").join(NAME).join("memory.max_usage_in_bytes"), "67108864\n");
        let usage = group.usage();
        assert_eq!(usage, Usage { cpu_ms: Some(1300), oom_kills: None, memory_peak: Some(64 << 20) });
        for (code, limit, oom) in [
            (137, Some(64 << 20), true),
            (137, Some(65 << 20), false),
            (137, None, false),
            (1, Some(64 << 20), false),
            (0, Some(64 << 20), false),
        ] {
            assert_eq!(usage.ended_by_memory(code, limit), oom, "{code} {limit:?}");
        }
    }

    #[test]
    fn version_2_is_read_without_conmon_and_its_counter_decides() {
        let root = tempfile::tempdir().expect("a folder");
        write(&root.path().join("cgroup.controllers"), "cpu memory\n");
        let group = group(root.path(), Manager::Systemd);
        let folder = root.path().join("perigee.slice").join(group.parent());
        write(&folder.join("cpu.stat"), "usage_usec 2500000\nuser_usec 1\n");
        write(&folder.join("memory.events"), "low 0\noom 2\noom_kill 1\n");
        assert_eq!(group.usage(), Usage { cpu_ms: Some(2500), oom_kills: Some(1), memory_peak: None });
        write(&folder.join("conmon/cpu.stat"), "usage_usec 500000\n");
        assert_eq!(group.usage().cpu_ms, Some(2000));
        assert!(group.usage().ended_by_memory(1, None) && !group.usage().ended_by_memory(0, None));
        write(&folder.join("memory.events"), "oom_kill 0\n");
        assert!(!group.usage().ended_by_memory(137, Some(1)));
    }

    #[test]
    fn group_that_cannot_be_read_says_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(group(root.path(), Manager::Cgroupfs).usage(), Usage::default());
        assert!(group(&root.path().join("no"), Manager::Cgroupfs).remove().is_ok(), "nothing to remove");
    }

    #[test]
    fn empty_group_goes_from_every_hierarchy_with_its_children() {
        let root = tempfile::tempdir().expect("a folder");
        let group = group(root.path(), Manager::Cgroupfs);
        let places = ["cpu", "memory", "systemd"].map(|name| root.path().join(name).join("perigee").join(NAME));
        places[..2].iter().for_each(|place| fs::create_dir_all(place.join("conmon")).expect("made"));
        fs::create_dir_all(&places[2]).expect("made");
        group.remove().expect("removed");
        assert!(places.iter().all(|place| !place.exists() && place.parent().is_some_and(Path::exists)));
    }
}
