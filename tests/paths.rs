//! How the daemon notices that a process has ended, on real Podman: by the process itself, or by asking Podman.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::fs;

use serde_json::Value;
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

/// The job of the second step.
fn second(board: &Board, id: &str) -> Value {
    at(&board.status(id), "/steps/1/jobs/0").clone()
}

fn until_prepared(board: &Board, id: &str) {
    until("the next container", || (second(board, id)["ahead"] == "prepared").then_some(()));
}

/// A step that goes on until it is let go, and one that counts its starts.
fn two_steps(image: &str) -> String {
    pod("FIRST", "first", PATIENT, &["on_failure: continue"])
        + &pod("NEXT", "next", "echo x >> /data/starts", &[]).replace("name: busybox", &format!("name: {image}"))
}

#[test]
fn next_step_stands_ready_while_one_runs_and_nothing_of_it_has_started() {
    let board = Board::with("look_ahead: true");
    let id = board.submit(&two_steps("busybox"));
    until_prepared(&board, &id);
    assert_eq!(at(&second(&board, &id), "/state"), "waiting");
    assert_eq!(at(&board.status(&id), "/steps/1/waiting_for"), "the end of step FIRST");
    let name = board.containers(&id).into_iter().find(|name| name.contains(".NEXT.")).expect("a container");
    let container = podman(&["inspect", "--format", "{{.Id}} {{.State.Status}}", &name]);
    assert!(container.ends_with("initialized") || container.ends_with("created"), "{container}");
    assert_eq!(board.in_volume("starts"), None);
    let_go(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/steps/1/state"), "succeeded");
    assert_eq!(at(&status, "/steps/1/jobs/0/attempt"), 1);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
    let history = board.ask(&["history", &id]);
    let short: String = container.chars().take(12).collect();
    assert!(history.contains(&format!("ahead of its turn, container {short}")), "{history}");
    assert!(board.containers(&id).is_empty());
}

#[test]
fn what_stands_ready_is_taken_up_after_a_crash_and_goes_with_a_stop() {
    let mut board = Board::with("look_ahead: true");
    let id = board.submit(&two_steps("busybox"));
    until_prepared(&board, &id);
    board.crash();
    board.start();
    let_go(&board);
    assert_eq!(at(&board.ended(&id), "/steps/1/state"), "succeeded");
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));

    let stopped = board.submit(&two_steps("busybox").replace("/data/go", "/data/never"));
    until_prepared(&board, &stopped);
    board.ask(&["stop", &stopped]);
    assert_eq!(at(&board.ended(&stopped), "/steps/1/state"), "failed");
    assert!(board.containers(&stopped).is_empty());
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"), "it never started");
}

#[test]
fn what_cannot_be_made_ahead_is_made_in_its_turn() {
    let board = Board::with("look_ahead: true");
    let id = board.submit(&two_steps("late"));
    until("the withdrawal", || board.ask(&["history", &id]).contains("withdrawn").then_some(()));
    podman(&["tag", "localhost/busybox:1", &format!("localhost/{}/late:1", board.tenant)]);
    let_go(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/steps/1/state"), "succeeded", "{status:#}");
    assert_eq!(at(&status, "/steps/1/jobs/0/attempt"), 2);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
}

#[test]
fn without_look_ahead_everything_is_made_in_its_turn() {
    let board = Board::with("look_ahead: false");
    let id = board.submit(&two_steps("busybox"));
    board.reaches(&format!("{id}.FIRST.0"), "running");
    let_go(&board);
    board.ended(&id);
    let history = board.ask(&["history", &id]);
    assert!(!history.contains("ahead of its turn"), "{history}");
}
