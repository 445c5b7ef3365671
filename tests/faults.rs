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
#[path = "support/line.rs"]
mod line;
#[path = "faults/orphans.rs"]
mod orphans;
#[path = "faults/pods.rs"]
mod pods;
#[path = "faults/poison.rs"]
mod poison;
#[path = "faults/storage.rs"]
mod storage;
#[path = "faults/time.rs"]
mod time;
#[path = "faults/tool.rs"]
mod tool;
#[path = "support/truth.rs"]
mod truth;
#[path = "faults/wire.rs"]
mod wire;

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Board, at, text};
use truth::{has_no_gap, nothing_left, outbox_is_complete, reason};

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
