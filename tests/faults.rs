//! What happens when something goes wrong: one clear error, nothing left behind, a daemon that answers all the while.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

#[path = "faults/config.rs"]
mod config;
#[path = "faults/crash.rs"]
mod crash;
#[path = "faults/engine.rs"]
mod engine;
#[path = "faults/intake.rs"]
mod intake;
#[path = "faults/leave.rs"]
mod leave;
#[path = "faults/leftovers.rs"]
mod leftovers;
#[path = "faults/orphans.rs"]
mod orphans;
#[path = "faults/pods.rs"]
mod pods;
#[path = "faults/storage.rs"]
mod storage;
#[path = "faults/time.rs"]
mod time;
#[path = "faults/tool.rs"]
mod tool;
#[path = "faults/wire.rs"]
mod wire;

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Board, at, text};

/// Longest that `perigee status` may take, whatever goes wrong.
const PROMPT: Duration = Duration::from_secs(1);

/// A stopwatch.
#[expect(clippy::disallowed_methods, reason = "a test measures how long something takes")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// The daemon's status, which must come at once. The best of three: the machine may be busy, the daemon may not hang.
fn prompt_status(board: &Board) -> Value {
    for last in [false, false, true] {
        let (status, took) = timed(|| board.json(&["status"]));
        if took < PROMPT {
            return status;
        }
        assert!(!last, "`perigee status` took {took:?}\n{}", board.log());
    }
    unreachable!("the last try returns or fails")
}

/// Whether the status lists a trouble of this name.
fn troubled(status: &Value, name: &str) -> bool {
    at(status, "/troubles").as_array().expect("a list").iter().any(|trouble| trouble["name"] == name)
}

/// The tool's exit code and what it said on stderr: one line, as the contract promises.
fn refused(output: &Output) -> (i32, String) {
    let said = text(&output.stderr);
    assert!(said.starts_with("perigee: ") && !said.contains('\n'), "not one line: {said:?}");
    (output.status.code().expect("an exit code"), said)
}

/// The tool must refuse with this code and say this.
fn refuses(output: &Output, code: i32, words: &[&str]) {
    let (found, said) = refused(output);
    assert_eq!(found, code, "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

/// Nothing of an execution is left: no container, nothing staged, nothing half made.
fn nothing_left(board: &Board, id: &str) {
    assert_eq!(board.containers(id), Vec::<String>::new(), "containers are left");
    let state = board.path("state");
    for folder in ["staging", "outgoing", "bundles"] {
        let left: Vec<_> =
            std::fs::read_dir(state.join(folder)).map(|names| names.flatten().collect()).unwrap_or_default();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    let parts = walk(&board.outbox(id));
    assert!(parts.iter().all(|path| !path.ends_with(".part")), "{parts:?}");
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map(|names| names.flatten().collect::<Vec<_>>()).unwrap_or_default() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path.display().to_string()) }
    }
    found
}

/// The entry of an execution is in the outbox, and every file of it is as its report says.
fn outbox_is_complete(board: &Board, id: &str) {
    let entry = board.outbox(id);
    let report: Value =
        serde_json::from_slice(&std::fs::read(entry.join("report.json")).expect("a report")).expect("JSON");
    let files = at(&report, "/files").as_array().expect("a list");
    for file in files {
        let path = entry.join(file["path"].as_str().expect("a path"));
        let (size, digest) = perigee::disk::digest(&path).expect("a file of the report");
        assert_eq!((Some(size), file["sha256"].as_str()), (file["size"].as_u64(), Some(digest.to_string().as_str())));
    }
    assert_eq!(walk(&entry).len(), files.len() + 1, "files that no report names: {:?}", walk(&entry));
}

/// The reason of a step or job, by name.
fn reason(status: &Value, pointer: &str) -> String {
    at(status, &format!("{pointer}/reason/name")).as_str().expect("a name").to_owned()
}
