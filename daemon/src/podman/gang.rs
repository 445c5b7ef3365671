//! What the members of a gang find each other with: the hostfile, a script that prints it, and a fresh pair of keys.
//!
//! ```text
//! <state_dir>/gangs/<execution>/<step>.<unit>.<attempt>/hostfile            0444
//!                                                     /discover_hosts.sh  0555
//!                                                     /ssh/               0700: id_rsa, id_rsa.pub, authorized_keys
//! ```
//!
//! Must not: write a key into a log, a record or a bundle; outlive the execution.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::bundle::User;
use crate::bundle::flow::Mpi;
use crate::downlink::Outbox;
use crate::plan::{Gang, HOSTFILE, Role};
use crate::sequence::{AttemptId, Execution};

/// Prints the hosts; its path is what MPI operators expect.
const DISCOVER: &str = "/etc/mpi/discover_hosts.sh";

/// A file or folder of the board that a container sees, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the board.
    pub source: PathBuf,
    /// Where the container sees it.
    pub destination: String,
}

/// What the container of an attempt sees of its gang; nothing when it is in none. The first member makes it for all.
///
/// # Errors
/// When it cannot be written.
pub fn binds(outbox: &Outbox, execution: &Execution, attempt: AttemptId) -> io::Result<Vec<Bind>> {
    let planned = &execution.plan.steps[attempt.step];
    let job = &planned.jobs()[attempt.job];
    let Some(gang) = planned.terms.gang.as_ref().filter(|_| job.role != Role::Alone) else { return Ok(Vec::new()) };
    let name = format!("{}.{}.{}", planned.id, job.unit, attempt.attempt);
    let folder = outbox.gang_folder(execution.plan.execution).join(name);
    if !folder.exists() {
        let members = &planned.jobs()[planned.unit(job.unit as usize)];
        let hosts: Vec<&str> = hosts(members.iter().map(|member| (member.role, member.hostname.as_str())), gang);
        let owner = job.pod.options.user.as_ref().and_then(User::numbers).map(|(uid, _)| uid);
        make(&folder, &hosts, gang, owner)?;
    }
    let bind = |name: &str, destination: &str| Bind { source: folder.join(name), destination: destination.to_owned() };
    Ok(vec![bind("hostfile", HOSTFILE), bind("discover_hosts.sh", DISCOVER), bind("ssh", &gang.ssh_dir)])
}

/// Workers in order; the launcher first where it works, too.
fn hosts<'a>(members: impl Iterator<Item = (Role, &'a str)>, gang: &Gang) -> Vec<&'a str> {
    let mut hosts = Vec::new();
    for (role, host) in members {
        match role {
            Role::Worker => hosts.push(host),
            Role::Launcher if gang.launcher_as_worker => hosts.insert(0, host),
            Role::Launcher | Role::Alone => {}
        }
    }
    hosts
}

/// Lines of the hostfile, as each implementation reads them.
fn hostfile(hosts: &[&str], gang: &Gang) -> String {
    let slots = gang.slots_per_worker;
    let line = |host: &&str| match gang.mpi {
        Mpi::Openmpi => format!("{host} slots={slots}\n"),
        Mpi::Intel | Mpi::Mpich => format!("{host}:{slots}\n"),
    };
    hosts.iter().map(line).collect()
}

/// Makes the folder beside its place and moves it there whole. After a power cut the keys are made anew with it.
fn make(folder: &Path, hosts: &[&str], gang: &Gang, owner: Option<u32>) -> io::Result<()> {
    let draft = folder.with_extension("part");
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let ssh = draft.join("ssh");
    fs::create_dir_all(&ssh)?;
    write(&draft.join("hostfile"), hostfile(hosts, gang).as_bytes(), 0o444)?;
    let lines: String = hosts.iter().map(|host| format!("echo {host}\n")).collect();
    write(&draft.join("discover_hosts.sh"), format!("#!/bin/sh\n{lines}").as_bytes(), 0o555)?;
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(io::Error::other)?;
    let secret = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let public = key.public_key().to_openssh().map_err(io::Error::other)? + "\n";
    // ssh refuses a key that others can read when it is its own.
    write(&ssh.join("id_rsa"), secret.as_bytes(), 0o600)?;
    write(&ssh.join("id_rsa.pub"), public.as_bytes(), 0o644)?;
    write(&ssh.join("authorized_keys"), public.as_bytes(), 0o600)?;
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700))?;
    if let Some(uid) = owner {
        for name in ["", "id_rsa", "id_rsa.pub", "authorized_keys"] {
            chown(ssh.join(name), Some(uid), None)?;
        }
    }
    fs::rename(&draft, folder)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::flow::{Clean, GangStart};

    fn gang(mpi: Mpi, launcher_as_worker: bool) -> Gang {
        let (start, clean, ssh_dir) = (GangStart::AfterWorkers, Clean::Running, "/root/.ssh".to_owned());
        Gang { slots_per_worker: 2, mpi, ssh_dir, launcher_as_worker, start, clean }
    }

    #[test]
    fn each_implementation_reads_its_own_hostfile_and_a_working_launcher_comes_first() {
        let members = || [(Role::Worker, "w0"), (Role::Worker, "w1"), (Role::Launcher, "l")].into_iter();
        let file = |mpi, launcher| {
            let gang = gang(mpi, launcher);
            hostfile(&hosts(members(), &gang), &gang)
        };
        assert_eq!(file(Mpi::Openmpi, false), "w0 slots=2\nw1 slots=2\n");
        assert_eq!(file(Mpi::Intel, false), "w0:2\nw1:2\n");
        assert_eq!(file(Mpi::Mpich, true), "l:2\nw0:2\nw1:2\n");
    }

    #[test]
    fn keys_are_fresh_for_each_gang_and_nobody_else_can_read_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let public = |name: &str| {
            let folder = dir.path().join(name);
            make(&folder, &["w0"], &gang(Mpi::Openmpi, false), None).expect("made");
            let mode = fs::metadata(folder.join("ssh/id_rsa")).expect("a key").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::read_to_string(folder.join("ssh/id_rsa.pub")).expect("text")
        };
        assert_ne!(public("a"), public("b"));
    }
}
