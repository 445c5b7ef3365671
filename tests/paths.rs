//! How the daemon notices that a process has ended, on real Podman: by the process itself, or by asking Podman.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::fs;

use support::{Board, at, pod, podman, until};

const PATIENT: &str = "until [ -e /data/go ]; do sleep 0.05; done; exit 7";

/// How many processes the daemon holds by a descriptor.
fn held(board: &Board) -> usize {
    board.descriptors().iter().filter(|name| name.contains("pidfd")).count()
}

fn let_go(board: &Board) {
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(format!("{mountpoint}/go"), b"").expect("written");
}

#[test]
fn every_process_that_lives_is_held_also_after_a_crash_and_let_go_when_it_has_ended() {
    let mut board = Board::with("exit_path: auto");
    let merge = ["merge: true"];
    let id = board.submit(&(pod("A", "a", PATIENT, &merge) + &pod("B", "b", PATIENT, &merge)));
    until("both to be held", || (held(&board) == 2).then_some(()));
    board.crash();
    board.start();
    until("both to be held again", || (held(&board) == 2).then_some(()));
    let_go(&board);
    let status = board.ended(&id);
    for step in ["/steps/0", "/steps/1"] {
        assert_eq!(at(&status, &format!("{step}/jobs/0/exit_code")), 7);
    }
    assert_eq!(held(&board), 0);
}

#[test]
fn exit_that_came_while_the_daemon_was_away_is_told_as_it_was() {
    let mut board = Board::with("exit_path: auto");
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    board.crash();
    let_go(&board);
    board.start();
    assert_eq!(at(&board.ended(&id), "/steps/0/jobs/0/exit_code"), 7);
}

#[test]
fn with_the_api_path_no_process_is_held_and_the_outcome_is_the_same() {
    let board = Board::with("exit_path: api");
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    assert_eq!(held(&board), 0);
    let_go(&board);
    assert_eq!(at(&board.ended(&id), "/steps/0/jobs/0/exit_code"), 7);
    assert_eq!(held(&board), 0);
}
