//! The process of a container, held by a descriptor that says at once when it ends.
//!
//! Podman's process ids are ours only where both live in one namespace of the kernel. That is proven for each process:
//! its control group must name its container.
//! Must not: say how a process ended; only inspect does.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::inspected::Inspected;

/// A process that lived when it was taken.
#[derive(Debug)]
pub(super) struct Process(AsyncFd<OwnedFd>);

/// Why the process of a container cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotHeld {
    /// No process has its number any more.
    Gone,
    /// What has its number here is not of this container, or cannot be proven to be, or cannot be waited for.
    Foreign,
}

impl Process {
    /// The process that inspect found in a container. The descriptor comes first, the proof after it: a number that is
    /// taken over in between is another's then, and does not pass.
    pub(super) fn of(found: &Inspected) -> Result<Self, NotHeld> {
        let pid = Pid::from_raw(found.state.pid).ok_or(NotHeld::Gone)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => NotHeld::Gone,
            _ => NotHeld::Foreign,
        })?;
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
        let groups = groups.map_err(|_| NotHeld::Gone)?;
        if !names(&groups, &found.id) {
            return Err(NotHeld::Foreign);
        }
        watched(descriptor).map(Self).map_err(|_| NotHeld::Foreign)
    }

    /// Returns when it has ended.
    pub(super) async fn ended(&self) {
        if let Err(error) = self.0.readable().await {
            // The runtime leaves; nobody looks at what follows.
            tracing::debug!(%error, "a process can no longer be waited for");
        }
    }
}

#[expect(deprecated, reason = "sound for an OwnedFd, which never changes; its successor is unsafe, which we forbid")]
fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// Whether one of the control groups of a process is a container's: Podman puts its id into the name.
fn names(groups: &str, container: &str) -> bool {
    let of_container = format!("libpod-{container}");
    container.len() == 64 && groups.lines().flat_map(|line| line.split('/')).any(|part| part.starts_with(&of_container))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const ID: &str = "ccc5843a14c305a06f35bb8a97a42a08fbcc627d37aa2de18f0d4217f0858ec1";

    fn found(pid: i32, id: &str) -> Inspected {
        let state =
            serde_json::json!({"Status": "running", "Pid": pid, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z"});
        let inspected =
            serde_json::json!({"Id": id, "State": state, "HostConfig": {"LogConfig": {"Path": ""}}, "Config": {}});
        serde_json::from_value(inspected).expect("as Podman writes it")
    }

    fn number(child: &Child) -> i32 {
        i32::try_from(child.id()).expect("a process id")
    }

    #[test]
    fn a_group_names_its_container_under_either_manager_and_no_other() {
        for path in [format!("/perigee/x/libpod-{ID}"), format!("/perigee.slice/libpod-{ID}.scope/container")] {
            assert!(names(&format!("8:pids:/\n0::{path}\n"), ID), "{path}");
        }
        for groups in [format!("0::/libpod-{}\n", &ID[1..]), format!("0::/libpod-conmon-{ID}.scope\n"), String::new()] {
            assert!(!names(&groups, ID), "{groups}");
        }
        assert!(!names("0::/libpod-\n", ""), "without an id every group would do");
    }

    #[tokio::test]
    async fn process_of_the_same_number_that_is_not_the_containers_is_not_held() {
        let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
        assert_eq!(Process::of(&found(number(&other), ID)).err(), Some(NotHeld::Foreign));
        other.kill().expect("killed");
        other.wait().expect("reaped");
        assert_eq!(Process::of(&found(number(&other), ID)).err(), Some(NotHeld::Gone));
        assert_eq!(Process::of(&found(0, ID)).err(), Some(NotHeld::Gone));
    }

    #[tokio::test]
    async fn descriptor_tells_the_end_of_its_process_and_nothing_before() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a process");
        let pid = Pid::from_raw(number(&child)).expect("a number");
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
        let process = Process(watched(descriptor).expect("watched"));
        assert!(futures_util::poll!(std::pin::pin!(process.ended())).is_pending());
        drop(child.stdin.take());
        process.ended().await;
        process.ended().await;
        child.wait().expect("reaped");
    }
}
