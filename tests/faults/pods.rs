//! Pods that cannot run, and pods that somebody else ends.

use std::net::TcpListener;

use crate::support::{Board, at, free_port, pod, podman, until};
use crate::{nothing_left, prompt_status, reason};

fn taken_port(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("0.0.0.0", port)).ok()
}

#[test]
fn missing_image_is_named_and_nothing_is_pulled_or_left() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "p", "true", &[]).replace("name: busybox", "name: nowhere"));
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "failed");
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "image_missing");
    let message = at(&status, "/steps/0/message").as_str().expect("a message");
    assert!(message.contains("nowhere:1") && message.contains("load it"), "{message}");
    nothing_left(&board, &id);
    prompt_status(&board);
}

#[test]
fn missing_command_is_named_and_its_host_port_is_free_again_or_said_to_be_held() {
    let board = Board::new();
    let port = free_port();
    let tasks = pod("RUN", "p", "true", &[&format!("ports: [{{host: {port}, container: 80}}]")]);
    let id = board.submit(&tasks.replace("[/bin/sh, -c]", "[/no/such/command]"));
    let status = board.ended(&id);
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "command_not_found");
    let message = at(&status, "/steps/0/message").as_str().expect("a message");
    assert!(message.contains("/no/such/command"), "{message}");
    let held = message.contains(&format!("host port {port}")) && message.contains("restart");
    assert!(held || taken_port(port).is_some(), "host port {port} is still held and nobody says so: {message}");
    nothing_left(&board, &id);
}

#[test]
fn host_port_of_another_process_fails_the_step_before_anything_is_made() {
    let board = Board::new();
    let port = free_port();
    let other = taken_port(port).expect("the port");
    let tasks = pod("RUN", "p", "true", &[&format!("ports: [{{host: {port}, container: 80}}]")]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "port_in_use");
    let message = at(&status, "/steps/0/message").as_str().expect("a message");
    assert!(message.contains(&format!("{port}/tcp")), "{message}");
    nothing_left(&board, &id);
    drop(other);
    assert_eq!(at(&board.fly(&tasks), "/state"), "succeeded");
}

#[test]
fn group_with_a_member_that_cannot_be_prepared_starts_nothing_and_leaves_nothing() {
    let board = Board::new();
    let mark = |name: &str| format!("echo {name} >> /data/starts");
    let merge = ["merge: true"];
    let tasks = [
        pod("A", "a", &mark("a"), &merge),
        pod("B", "b", &mark("b"), &merge).replace("name: busybox", "name: nowhere"),
        pod("C", "c", &mark("c"), &merge),
    ];
    let id = board.submit(&tasks.concat());
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "failed");
    assert_eq!(reason(&status, "/steps/1/jobs/0"), "image_missing");
    for other in ["/steps/0/jobs/0", "/steps/2/jobs/0"] {
        assert_eq!(at(&status, &format!("{other}/state")), "skipped");
        assert_eq!(reason(&status, other), "group_member");
        assert!(at(&status, &format!("{other}/started_at")).is_null());
    }
    assert_eq!(board.in_volume("starts"), None, "a member of the group ran");
    nothing_left(&board, &id);
}

#[test]
fn container_removed_behind_our_back_is_lost_or_ended_as_its_process_did_and_never_a_success() {
    for path in ["auto", "api"] {
        let board = Board::with(&format!("exit_path: {path}"));
        let id = board.submit(&pod("RUN", "p", "sleep 600", &[]));
        board.reaches(&format!("{id}.RUN.0"), "running");
        podman(&["rm", "--force", "--time=0", &board.containers(&id)[0]]);
        let status = board.ended(&id);
        assert_eq!(at(&status, "/steps/0/jobs/0/state"), "failed");
        // Which of the two is a race with the removal: its end is seen before the container is gone, or it is not.
        let exit = at(&status, "/steps/0/jobs/0/exit_code");
        match reason(&status, "/steps/0/jobs/0").as_str() {
            "lost" => assert!(exit.is_null(), "{path}: {exit}"),
            "exit" => assert_eq!(exit, 137, "{path}"),
            other => panic!("{path}: {other}"),
        }
        nothing_left(&board, &id);
        prompt_status(&board);
    }
}

#[test]
fn container_killed_behind_our_back_failed_with_its_exit_code() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "p", "echo alive; sleep 600", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    until("the first words", || board.ask(&["logs", &id]).contains("alive").then_some(()));
    podman(&["kill", &board.containers(&id)[0]]);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/steps/0/jobs/0/state"), "failed");
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "exit");
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 137);
    assert_eq!(board.ask(&["logs", &id]), "alive", "its console output is lost");
    nothing_left(&board, &id);
}

#[test]
fn stopped_pod_that_somebody_removes_meanwhile_is_not_a_success() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "p", "trap 'sleep 1; exit 0' TERM; sleep 600 & wait; wait", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let container = board.containers(&id).remove(0);
    board.ask(&["stop", &id]);
    podman(&["rm", "--force", "--time", "0", &container]);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "failed");
    assert!(["stopped", "lost"].contains(&reason(&status, "/steps/0/jobs/0").as_str()), "{status:#}");
    nothing_left(&board, &id);
}
