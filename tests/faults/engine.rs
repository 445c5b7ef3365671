//! Podman itself: not there, frozen, killed.

use std::fs;

use serde_json::Value;

use crate::support::{Board, Podman, at, pod, until};
use crate::{nothing_left, outbox_is_complete, prompt_status, reason, timed, troubled};

/// Budgets run so many times faster: the 360 s of a pod with `max_duration: 1` pass in 6 s.
const FAST: &str = "time_scale: 60";
const ONE_MINUTE: &str = "max_duration: 1";

fn node(board: &Board) -> Value {
    at(&board.json(&["nodes"]), "/0").clone()
}

/// Takes Podman's socket away, as if it had never been started.
fn without_podman(board: &mut Board) {
    board.podman.kill();
    fs::remove_file(board.path("podman.sock")).expect("the socket");
}

fn podman_comes_back(board: &mut Board) {
    board.podman = Podman::start(&board.path("podman.sock"));
}

#[test]
fn daemon_without_podman_serves_lists_the_trouble_and_runs_the_step_when_podman_comes() {
    let mut board = Board::cold("");
    without_podman(&mut board);
    board.start();
    until("the trouble", || troubled(&prompt_status(&board), "engine_unreachable").then_some(()));
    assert_eq!(at(&node(&board), "/state"), "unreachable");
    assert!(at(&node(&board), "/message").as_str().is_some_and(|why| why.contains("podman.sock")));

    let id = board.submit(&pod("RUN", "p", "echo x >> /data/starts", &[]));
    board.reaches(&format!("{id}.RUN"), "starting");
    let status = board.status(&id);
    let waits = at(&status, "/steps/0/waiting_for").as_str().unwrap_or_default();
    assert!(waits.contains("podman"), "the step does not say that it waits for Podman: {status:#}");

    podman_comes_back(&mut board);
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    nothing_left(&board, &id);
}

#[test]
fn idle_daemon_notices_that_podman_came_and_asks_no_more() {
    let mut board = Board::cold("");
    without_podman(&mut board);
    board.start();
    until("the trouble", || troubled(&prompt_status(&board), "engine_unreachable").then_some(()));
    podman_comes_back(&mut board);
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    assert_eq!(at(&node(&board), "/state"), "up");
}

#[test]
fn step_fails_at_its_budget_when_podman_does_not_come_and_the_execution_ends_when_it_does() {
    let mut board = Board::cold(FAST);
    without_podman(&mut board);
    board.start();
    let tasks = pod("RUN", "p", "echo x >> /data/starts", &[ONE_MINUTE]) + &pod("NEXT", "q", "true", &[ONE_MINUTE]);
    let id = board.submit(&tasks);
    board.reaches(&format!("{id}.NEXT"), "skipped");
    let status = board.status(&id);
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "timeout");
    assert_eq!(reason(&status, "/steps/1"), "sequence_stopped");
    assert_eq!(at(&status, "/waiting_for"), "its containers to be cleared", "nobody knows what Podman still holds");
    let message = at(&status, "/steps/0/message").as_str().expect("a message");
    assert!(message.contains("podman.sock"), "the message does not say what was waited for: {message}");
    podman_comes_back(&mut board);
    assert_eq!(at(&board.ended(&id), "/state"), "failed");
    outbox_is_complete(&board, &id);
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    until("leftovers to go", || board.containers(&id).is_empty().then_some(()));
    assert_eq!(board.in_volume("starts"), None, "it ran after its end");
}

#[test]
fn transfers_wait_for_podman_too_and_end_at_their_budget() {
    let mut board = Board::cold("time_scale: 100");
    without_podman(&mut board);
    board.start();
    let id =
        board.submit("- {id: DOWN, type: dphi.space.cg2.downlink, volume: payload, source: [/x], destination: /d}\n");
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "failed");
    assert_eq!(reason(&status, "/steps/0"), "timeout");
    nothing_left_of_files(&board, &id);
}

fn nothing_left_of_files(board: &Board, id: &str) {
    outbox_is_complete(board, id);
    for folder in ["outgoing", "bundles"] {
        let left = fs::read_dir(board.path("state").join(folder)).map(Iterator::count).unwrap_or_default();
        assert_eq!(left, 0, "{folder} is not empty");
    }
}

#[test]
fn frozen_podman_blocks_neither_status_nor_intake_and_the_outcome_is_truthful() {
    let board = Board::new();
    let id = board.submit(&pod(
        "RUN",
        "p",
        "echo x >> /data/starts; until [ -e /data/go ]; do sleep 0.1; done; exit 3",
        &[],
    ));
    board.reaches(&format!("{id}.RUN.0"), "running");
    board.podman.freeze();
    prompt_status(&board);
    assert_eq!(at(&board.status(&id), "/state"), "running");
    let (second, took) = timed(|| board.submit(&pod("RUN", "q", "echo y >> /data/starts", &[])));
    assert!(took < std::time::Duration::from_secs(3), "intake took {took:?}");
    let (nodes, took) = timed(|| node(&board));
    assert_eq!(at(&nodes, "/state"), "unreachable");
    assert!(took < std::time::Duration::from_secs(6), "`nodes` took {took:?}");
    fs::write(volume(&board).join("go"), "").expect("a file");
    prompt_status(&board);
    board.podman.thaw();
    let first = board.ended(&id);
    assert_eq!(at(&first, "/steps/0/jobs/0/exit_code"), 3);
    assert_eq!(at(&first, "/state"), "failed");
    assert_eq!(at(&board.ended(&second), "/state"), "succeeded");
    let mut starts: Vec<String> = board.in_volume("starts").expect("starts").lines().map(str::to_owned).collect();
    starts.sort();
    assert_eq!(starts, ["x", "y"]);
    nothing_left(&board, &id);
}

/// The folder of the tenant's volume, without asking the frozen service.
fn volume(board: &Board) -> std::path::PathBuf {
    let claim = format!("{}.payload", board.tenant);
    crate::support::podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]).into()
}

#[test]
fn podman_frozen_past_the_budget_makes_the_job_unknown_and_its_container_goes_after_the_thaw() {
    let board = Board::with(FAST);
    let id = board.submit(&pod("RUN", "p", "sleep 600", &[ONE_MINUTE]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    board.podman.freeze();
    board.reaches(&format!("{id}.RUN.0"), "unknown");
    let status = board.status(&id);
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "engine_unreachable");
    prompt_status(&board);
    board.podman.thaw();
    assert_eq!(at(&board.ended(&id), "/state"), "unknown");
    until("the leftover to go", || board.containers(&id).is_empty().then_some(()));
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
}

#[test]
fn outcome_is_the_same_when_the_podman_service_is_killed_and_replaced() {
    let mut board = Board::new();
    let pause = "echo x >> /data/starts; until [ -e /data/go ]; do sleep 0.1; done";
    let merge = ["merge: true"];
    let id = board.submit(&(pod("A", "a", pause, &merge) + &pod("B", "b", &format!("{pause}; exit 7"), &merge)));
    board.reaches(&format!("{id}.A.0"), "running");
    board.reaches(&format!("{id}.B.0"), "running");
    let go = volume(&board).join("go");
    board.podman.kill();
    fs::write(go, "").expect("a file");
    until("the trouble", || troubled(&prompt_status(&board), "engine_unreachable").then_some(()));
    podman_comes_back(&mut board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/steps/0/state"), "succeeded");
    assert_eq!(at(&status, "/steps/1/jobs/0/exit_code"), 7);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\nx\n"));
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    nothing_left(&board, &id);
}

#[test]
fn podman_killed_while_it_prepares_a_group_runs_every_member_once() {
    let mut board = Board::new();
    let mark = |name: &str| format!("echo {name} >> /data/starts");
    let merge = ["merge: true"];
    let names = ["a", "b", "c", "d"];
    let tasks: Vec<String> = names.iter().map(|name| pod(&name.to_uppercase(), name, &mark(name), &merge)).collect();
    let id = board.submit(&tasks.concat());
    board.reaches(&format!("{id}.A"), "starting");
    until("the first container", || (!board.containers(&id).is_empty()).then_some(()));
    board.podman.kill();
    prompt_status(&board);
    podman_comes_back(&mut board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}");
    let mut starts: Vec<String> = board.in_volume("starts").expect("starts").lines().map(str::to_owned).collect();
    starts.sort();
    assert_eq!(starts, names);
    nothing_left(&board, &id);
}
