//! The daemon told to leave, and started twice.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Board, at, pod, podman, signal, text, until};
use crate::{nothing_left, prompt_status, timed};

/// Waits for a file in the volume that the test makes.
const PATIENT: &str = "echo x >> /data/starts; until [ -e /data/go ]; do sleep 0.1; done; exit 9";

fn let_go(board: &Board) {
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(std::path::Path::new(&mountpoint).join("go"), "").expect("a file");
}

fn running(container: &str) -> bool {
    podman(&["inspect", "--format", "{{.State.Running}}", container]) == "true"
}

#[test]
fn pod_outlives_a_daemon_that_leaves_and_the_next_one_records_its_real_exit_code() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let container = board.containers(&id).remove(0);
    let (code, took) = timed(|| board.leave());
    assert_eq!(code, Some(0), "{}", board.log());
    assert!(took < Duration::from_secs(3), "it took {took:?} to leave");
    assert!(running(&container), "the pod ended with the daemon");
    assert!(!board.path("run/control.sock").exists(), "a socket is left that nobody serves");
    board.start();
    assert_eq!(at(&board.status(&id), "/steps/0/jobs/0/state"), "running");
    let_go(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 9);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
    nothing_left(&board, &id);
}

#[test]
fn exit_code_of_a_pod_that_ended_while_no_daemon_ran_is_recorded_at_the_next_start() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let container = board.containers(&id).remove(0);
    assert_eq!(board.leave(), Some(0));
    let_go(&board);
    until("the end of the pod", || (!running(&container)).then_some(()));
    board.start();
    assert_eq!(at(&board.ended(&id), "/steps/0/jobs/0/exit_code"), 9);
    nothing_left(&board, &id);
}

#[test]
fn daemon_with_on_exit_stop_ends_its_pods_with_term_before_it_leaves() {
    let mut board = Board::with("on_exit: stop");
    let id =
        board.submit(&pod("RUN", "p", "trap 'echo told > /data/told; exit 0' TERM; echo ready; sleep 600 & wait", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    until("the trap", || board.ask(&["logs", &id]).contains("ready").then_some(()));
    assert_eq!(board.leave(), Some(0), "{}", board.log());
    assert_eq!(board.in_volume("told").as_deref(), Some("told\n"), "the pod got no SIGTERM");
    assert_eq!(board.containers(&id), Vec::<String>::new());
    board.start();
    let status = board.status(&id);
    assert_eq!(at(&status, "/state"), "failed");
    assert_eq!(at(&status, "/reason/name"), "stopped");
    nothing_left(&board, &id);
}

#[test]
fn second_daemon_on_the_same_state_directory_leaves_the_first_alone() {
    let board = Board::new();
    let second = |config: &str| {
        let path = board.path(config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_perigeed"))
            .arg("--config")
            .arg(path)
            .env("PERIGEE_LOG", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("perigeed starts");
        until("the second daemon to leave", || child.try_wait().expect("waited"));
        let output = child.wait_with_output().expect("output");
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = second("perigee.yaml");
    assert_eq!(code, Some(3), "{said}");
    let state = board.path("state").display().to_string();
    assert!(said.contains(&state) && said.lines().count() == 1, "{said}");

    // Other sockets, the same state: still refused.
    let config = fs::read_to_string(board.path("perigee.yaml")).expect("configuration");
    fs::write(board.path("other.yaml"), config.replace("/run\n", "/run2\n")).expect("configuration");
    assert_eq!(second("other.yaml").0, Some(3));

    // Another state, the same sockets: refused too, and the sockets are still the first one's.
    fs::write(board.path("third.yaml"), config.replace("/state\n", "/state3\n")).expect("configuration");
    let (code, said) = second("third.yaml");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("status.sock") && said.lines().count() == 1, "{said}");

    prompt_status(&board);
    assert_eq!(at(&board.fly(&pod("RUN", "p", "true", &[])), "/state"), "succeeded");
}

#[test]
fn daemon_leaves_at_once_while_podman_is_frozen_and_takes_everything_up_again() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    board.podman.freeze();
    let_go(&board);
    let (code, took) = timed(|| board.leave());
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(8), "it took {took:?} to leave");
    board.start();
    prompt_status(&board);
    board.podman.thaw();
    assert_eq!(at(&board.ended(&id), "/steps/0/jobs/0/exit_code"), 9);
    nothing_left(&board, &id);
}

#[test]
fn second_sigterm_and_sighup_do_not_kill_a_daemon_that_works() {
    let mut board = Board::new();
    signal(board.pid(), "HUP");
    signal(board.pid(), "HUP");
    prompt_status(&board);
    signal(board.pid(), "TERM");
    assert_eq!(board.leave(), Some(0));
}
