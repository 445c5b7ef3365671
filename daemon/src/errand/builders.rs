//! The processes of a build. Podman goes on with a RUN whose build was broken off (measured with 4.3), so they run in a
//! control group of their own, by which they are found and killed.
//!
//! Must not: touch a control group that is not a build's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROOT: &str = "/sys/fs/cgroup";
/// Pause between looks, and looks that find nobody before nobody is expected any more: the builder may be between two
/// processes.
const PAUSE: Duration = Duration::from_millis(200);
const QUIET_LOOKS: u32 = 5;
/// Looks in all: a builder that cannot be ended must not hold its errand for ever.
const LOOKS_MAX: u32 = 50;

/// The control group of a build.
pub(super) fn group(execution: &str, step: &str) -> String {
    format!("perigee-build-{execution}-{step}")
}

/// Kills every process of a build, until none comes any more.
pub(super) async fn kill_all(group: &str) {
    let mut quiet = 0;
    for _ in 0..LOOKS_MAX {
        let found = processes(group);
        quiet = if found.is_empty() { quiet + 1 } else { 0 };
        if quiet == QUIET_LOOKS {
            return;
        }
        for process in found {
            if let Err(error) = kill(process, Signal::SIGKILL) {
                tracing::debug!(%group, %process, %error, "a process of a build was gone before it was killed");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::error!(%group, "processes of a build that was broken off are still there");
}

/// One hierarchy (version 2), or one for each controller (version 1), each of which has the same processes.
fn processes(group: &str) -> Vec<Pid> {
    let controllers = fs::read_dir(ROOT).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let folders = std::iter::once(PathBuf::from(ROOT)).chain(controllers.filter(|path| path.is_dir()));
    let mut found: Vec<i32> = folders.flat_map(|folder| members(&folder.join(group))).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(Pid::from_raw).collect()
}

fn members(folder: &Path) -> Vec<i32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process of another namespace; 1 is never a build's.
    text.lines().filter_map(|line| line.parse().ok()).filter(|process| *process > 1).collect()
}
