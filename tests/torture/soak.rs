//! Many executions come and go: memory, disk and file descriptors stay flat.

use std::fs;
use std::path::Path;

use crate::support::{Board, pod, text, until};
use crate::trials;

const LIMITS: &str = "retention: {executions: 20, segment_bytes: 16384}";

/// What the daemon takes: resident KiB, open descriptors, KiB of its state directory.
#[derive(Debug, Clone, Copy)]
struct Takes {
    memory: u64,
    descriptors: usize,
    disk: u64,
}

fn takes(board: &Board) -> Takes {
    let process = format!("/proc/{}", board.pid());
    let status = fs::read_to_string(Path::new(&process).join("status")).expect("a status");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let memory = memory.trim().trim_end_matches(" kB").parse().expect("a number");
    let descriptors = fs::read_dir(Path::new(&process).join("fd")).expect("a folder").count();
    Takes { memory, descriptors, disk: perigee::disk::room_of(&board.path("state")) / 1024 }
}

/// One bundle comes, is held, stopped, reported, acknowledged. No pod is needed for it.
fn come_and_go(board: &Board) {
    let id = board.submit_held(&pod("RUN", "p", "true", &[]));
    board.ask(&["stop", &id]);
    board.ended(&id);
    board.ask(&["downlink", "ack", &id]);
}

#[test]
fn memory_disk_and_descriptors_stay_flat_while_executions_come_and_go() {
    let mut board = Board::cold(LIMITS);
    board.start();
    let rounds = trials(240, 4000);
    // The allocator has settled when the index was made anew some times.
    let warm = rounds * 3 / 4;
    let mut first = None;
    for round in 0..rounds {
        come_and_go(&board);
        if round == warm {
            first = Some(takes(&board));
        }
    }
    let (first, last) = (first.expect("a first look"), takes(&board));
    assert!(last.memory < first.memory + first.memory / 10 + 2048, "{first:?} {last:?}");
    assert!(last.descriptors <= first.descriptors + 4, "{first:?} {last:?}");
    // Some segments, what sled has not yet swept in its file, and an identity for each.
    assert!(last.disk < first.disk + 1024 + rounds as u64 / 8, "{first:?} {last:?}");
    let status = board.json(&["status"]);
    assert_eq!(status["ended"], rounds, "every identity is known");
    let listed = board.json(&["list", "--limit", "1000"]);
    assert_eq!(listed["executions"].as_array().map(Vec::len), Some(20), "the newest are kept");
    // Nothing of those that were forgotten is left, and after a crash it is the same.
    board.crash();
    board.start();
    assert_eq!(board.json(&["status"])["ended"], rounds);
    let state = board.path("state").display().to_string();
    let checked = board.tool(&["ledger", "check", &state]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    println!("torture: soak: {rounds} executions, after three quarters {first:?}, at the end {last:?}");
}

#[test]
fn a_bundle_that_comes_again_after_it_was_forgotten_does_not_run_again() {
    let mut board = Board::cold("retention: {executions: 1, segment_bytes: 16384}");
    board.start();
    let bundle = board.pack(&pod("RUN", "p", "true", &[])).display().to_string();
    let first = board.ask(&["submit", "--hold", &bundle]);
    board.ask(&["stop", &first]);
    board.ended(&first);
    come_and_go(&board);
    until("the first to be forgotten", || (board.tool(&["status", &first]).status.code() == Some(4)).then_some(()));
    let said = text(&board.tool(&["status", &first]).stderr);
    assert!(said.contains("forgotten"), "{said}");
    for crash in [false, true] {
        if crash {
            board.crash();
            board.start();
        }
        assert_eq!(board.ask(&["submit", &bundle]), first, "it is known, not accepted");
        assert_eq!(board.json(&["status"])["live"], serde_json::json!({}));
    }
    // Its results wait for the ground all the same.
    assert!(board.outbox(&first).join("report.json").exists());
    board.ask(&["downlink", "ack", &first]);
    assert!(!board.outbox(&first).exists());
}
