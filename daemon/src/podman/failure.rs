//! Reads Podman's refusals. Their status hardly differs; only their words tell them apart.
//!
//! Must not: guess; what is not recognised is `start_error` with Podman's own words.

use super::api::ApiError;
use crate::reason::{Name, Reason};

/// Why a container could not be made or started.
#[must_use]
pub fn reason(error: &ApiError) -> Reason {
    match error {
        ApiError::Unreachable { .. } => Reason::new(Name::EngineUnreachable, error.to_string()),
        ApiError::NotFound(message) | ApiError::Refused { message, .. } => {
            Reason::new(name(message), format!("podman: {message}"))
        }
    }
}

fn name(message: &str) -> Name {
    // At its debug level Podman escapes the quotes of what the runtime said.
    let message = message.replace('\\', "");
    let says = |words: &str| message.contains(words);
    let runc = says("exec: \"")
        && ["no such file or directory", "executable file not found", "permission denied", "is a directory"]
            .iter()
            .any(|w| says(w));
    let crun = (says("executable file `") && says("not found"))
        || (says("the path `") && (says("is not executable") || says("is not a regular file")));
    if says("address already in use") || says("port is already allocated") {
        Name::PortInUse
    } else if says("exec format error") {
        Name::ExecFormat
    } else if runc || crun {
        Name::CommandNotFound
    } else if says("unable to find user") || says("unable to find group") {
        Name::UserMissing
    } else if says("workdir \"") && (says("does not exist on container") || says("is not a directory")) {
        Name::WorkdirMissing
    } else if is_damaged(&message) {
        Name::ImageDamaged
    } else if says("image not known") || says("no such image") {
        Name::ImageMissing
    } else {
        Name::StartError
    }
}

/// Whether Podman's store has lost a part of an image that it still lists. The file system of a container, below
/// `merged`, is no part of an image.
pub fn is_damaged(message: &str) -> bool {
    let says = |words: &str| message.contains(words);
    let in_store = (says("/overlay/") || says("/vfs/dir/")) && !says("/merged");
    says("layer not known")
        || (in_store && says("no such file or directory"))
        || (says("creating read-write layer") && says("recreating the links"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_podman_4_3_are_recognised() {
        for (message, expected) in [
            (
                r#"runc create failed: exec: "/no/such": stat /no/such: no such file or directory: OCI runtime attempted to invoke a command that was not found"#,
                Name::CommandNotFound,
            ),
            (
                r#"runc create failed: exec: "/etc/passwd": permission denied: OCI permission denied"#,
                Name::CommandNotFound,
            ),
            (r#"runc: exec: "nope": executable file not found in $PATH"#, Name::CommandNotFound),
            (
                "runc create failed: error setting rlimit type 7: operation not permitted: OCI permission denied",
                Name::StartError,
            ),
            (r#"runc create failed: exec: \"/data\": is a directory: OCI runtime error"#, Name::CommandNotFound),
            ("crun: executable file `nope` not found in $PATH: No such file or directory", Name::CommandNotFound),
            (
                "crun: the path `/etc/passwd` exists but it is not executable: Operation not permitted",
                Name::CommandNotFound,
            ),
            ("crun: the path `/data` is not a regular file: Operation not permitted", Name::CommandNotFound),
            ("cannot listen on the TCP port: listen tcp4 :18099: bind: address already in use", Name::PortInUse),
            ("exec /bin/x: exec format error", Name::ExecFormat),
            ("workdir \"/no/dir\" does not exist on container abc", Name::WorkdirMissing),
            ("workdir \"/etc/passwd\" exists on container abc, but is not a directory", Name::WorkdirMissing),
            ("unable to find user nobodyknows: no matching entries in passwd file", Name::UserMissing),
            ("unable to find group nogrp: no matching entries in group file", Name::UserMissing),
            ("localhost/nope:1: image not known", Name::ImageMissing),
            (
                r#"creating container storage: creating read-write layer with ID "7cc8": Stat /s/overlay/3f30/diff: no such file or directory"#,
                Name::ImageDamaged,
            ),
            ("stat /s/overlay/3f304652: no such file or directory", Name::ImageDamaged),
            (
                r#"creating container storage: creating read-write layer with ID "f9d3": recreating the links: 1 error occurred"#,
                Name::ImageDamaged,
            ),
            ("layer not known", Name::ImageDamaged),
            ("runc: open /s/overlay/3f30/merged/etc/x: no such file or directory", Name::StartError),
            (r#"creating container storage: the container name "x" is already in use"#, Name::StartError),
        ] {
            assert_eq!(name(message), expected, "{message}");
        }
    }
}
