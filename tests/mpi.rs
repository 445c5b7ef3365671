//! The rows G1, G6, G8 and G10 of the requirements with a real MPI: Open MPI over the login server of each worker.
//!
//! Only when asked for (`make test-mpi`), because the image takes minutes to make; `tests/gang.rs` has stand-ins that
//! always run.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Board, at, listed, podman, until};

/// A gang of two workers with two slots each whose workers run what they run when nothing is said: the login server.
fn gang(launcher: &str) -> String {
    let launcher = serde_json::to_string(launcher).expect("text");
    format!(
        "- id: PI\n  type: dphi.space.cg2.pod.run\n  pod_name: pi\n  image: {{name: openmpi, tag: \"1\"}}\n  \
         command: [/bin/sh, -c]\n  args: [{launcher}]\n  volume: payload\n  gang:\n    workers: 2\n    \
         slots_per_worker: 2\n"
    )
}

/// A program of four ranks. Each writes down that it runs and goes on until it is told to end.
const RANKS: &str = "mpirun -n 4 sh -c 'i=0; while :; do i=$((i+1)); echo rank=$OMPI_COMM_WORLD_RANK $i; \
    [ -e /data/go ] && exit 0; echo $i > /data/rank-$OMPI_COMM_WORLD_RANK; sleep 0.05; done'";

fn running(board: &Board) -> String {
    let id = board.submit(&gang(RANKS));
    for rank in 0..4 {
        until("each rank to run", || board.in_volume(&format!("rank-{rank}")));
    }
    id
}

fn let_go(board: &Board) {
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(format!("{mountpoint}/go"), b"").expect("written");
}

fn job<'a>(status: &'a Value, label: &str) -> &'a Value {
    let jobs = at(status, "/steps/0/jobs").as_array().expect("jobs");
    let mine = |job: &&Value| job["id"].as_str().is_some_and(|id| id.ends_with(&format!(".{label}")));
    jobs.iter().find(mine).unwrap_or_else(|| panic!("no {label} in {status:#}"))
}

#[test]
#[ignore = "needs an image with MPI: make test-mpi"]
fn g1_two_workers_with_two_slots_run_four_ranks_two_each() {
    let board = Board::new();
    let program = "mpirun -n 4 sh -c 'echo rank=$OMPI_COMM_WORLD_RANK size=$OMPI_COMM_WORLD_SIZE host=$(hostname)'";
    let id = board.submit(&gang(program));
    let ended = board.ended(&id);
    let said = board.ask(&["logs", &format!("{id}.PI.launcher")]);
    assert_eq!(ended["state"], "succeeded", "{said}\n{ended:#}");
    assert_eq!(job(&ended, "launcher")["exit_code"], 0);
    for rank in 0..4 {
        let worker = format!("{}-pi-worker-{}", board.tenant, rank / 2);
        let line = format!("rank={rank} size=4 host={worker}");
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
}

#[test]
#[ignore = "needs an image with MPI: make test-mpi"]
fn the_gang_example_flies_as_it_stands() {
    let board = Board::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/jobs/gang.yaml");
    let id = board.submit_file(&example, &[]);
    let ended = board.ended(&id);
    let said = board.ask(&["logs", &format!("{id}.pi.launcher")]);
    assert_eq!(ended["state"], "succeeded", "{said}\n{ended:#}");
    let worker = |rank: usize| format!("rank {rank} of 4 on {}-pi-worker-{}", board.tenant, rank / 2);
    assert!((0..4).all(|rank| said.contains(&worker(rank))), "{said}");
}

#[test]
#[ignore = "needs an image with MPI: make test-mpi"]
fn g6_more_ranks_than_slots_fail_the_gang_with_the_launchers_exit_code() {
    let board = Board::new();
    let id = board.submit(&gang("mpirun -n 5 hostname"));
    let ended = board.ended(&id);
    let said = board.ask(&["logs", &format!("{id}.PI.launcher")]);
    assert_eq!(ended["state"], "failed", "{said}\n{ended:#}");
    assert_eq!(at(&ended, "/steps/0/reason/name"), "exit", "{ended:#}");
    assert_eq!(job(&ended, "launcher")["exit_code"], 1, "{ended:#}");
    assert!(said.contains("not enough slots"), "{said}");
}

#[test]
#[ignore = "needs an image with MPI: make test-mpi"]
fn g8_worker_killed_in_a_run_fails_the_launcher_and_is_named() {
    let board = Board::new();
    let id = running(&board);
    let worker = at(&board.status(&format!("{id}.PI.worker-1")), "/container").as_str().expect("a name").to_owned();
    podman(&["kill", &worker]);
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "failed", "{ended:#}");
    assert_eq!(job(&ended, "worker-1")["signal"], 9, "{ended:#}");
    assert_ne!(job(&ended, "launcher")["exit_code"], 0, "{ended:#}");
    let info = at(&ended, "/steps/0/reason/message").as_str().expect("text");
    assert!(info.contains("; worker-1: exit code 137"), "{info}\n{ended:#}");
    // What died by itself can be looked at until the purge.
    let left = board.containers(&id);
    assert!(left.len() == 1 && left[0].contains(".worker-1."), "{left:?}");
}

#[test]
#[ignore = "needs an image with MPI: make test-mpi"]
fn g10_gang_paused_in_a_run_and_resumed_completes() {
    let board = Board::new();
    let id = running(&board);
    let counts =
        || -> Vec<String> { (0..4).map(|rank| board.in_volume(&format!("rank-{rank}")).unwrap_or_default()).collect() };
    board.ask(&["pause", &format!("{id}.PI")]);
    for member in ["launcher", "worker-0", "worker-1"] {
        board.reaches(&format!("{id}.PI.{member}"), "paused");
    }
    let before = counts();
    let filter = format!("label=perigee.execution={id}");
    assert_eq!(listed(&["ps", "--filter", &filter, "--filter", "status=paused", "--quiet"]).lines().count(), 3);
    assert_eq!(counts(), before, "what is frozen does not count");
    board.ask(&["resume", &format!("{id}.PI")]);
    until("all ranks to count on", || counts().iter().zip(&before).all(|(now, then)| now != then).then_some(()));
    let_go(&board);
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    assert_eq!(job(&ended, "launcher")["exit_code"], 0);
}
