//! The daemon killed at any instant: every execution comes to its truthful end, nothing runs twice, nothing is missing.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Board, at, pod, until};
use crate::{has_no_gap, nothing_left, outbox_is_complete, reason};

/// One line per start, then some life.
fn mark(name: &str, then: &str) -> String {
    format!("echo {name} >> /data/starts; {then}")
}

/// Uplink, a group of two, a pod that fails and does not stop the rest, a downlink.
fn operation(board: &Board) -> String {
    std::fs::write(board.path("seed.txt"), "seed").expect("a file");
    let merge = ["merge: true"];
    let goes_on = ["on_failure: continue"];
    [
        "- {id: UP, type: dphi.space.cg2.uplink, volume: payload, source: [seed.txt], destination: /in}\n".to_owned(),
        pod("A", "a", &mark("a", "cat /data/in/seed.txt > /data/copy; echo out"), &merge),
        pod("B", "b", &mark("b", "sleep 0.2; echo err >&2"), &merge),
        pod("C", "c", &mark("c", "exit 7"), &goes_on),
        "- {id: DOWN, type: dphi.space.cg2.downlink, volume: payload, source: [/copy], destination: /d}\n".to_owned(),
    ]
    .concat()
}

/// What must be true of that operation however often the daemon died.
fn is_truthful(board: &Board, id: &str) {
    let status = board.ended(id);
    let states: Vec<&Value> =
        at(&status, "/steps").as_array().expect("steps").iter().map(|s| at(s, "/state")).collect();
    assert_eq!(states, ["succeeded", "succeeded", "succeeded", "failed", "succeeded"], "{status:#}\n{}", board.log());
    assert_eq!(at(&status, "/steps/3/jobs/0/exit_code"), 7, "{status:#}");
    assert_eq!(at(&status, "/state"), "failed");
    assert_eq!(reason(&status, ""), "exit");
    let mut starts: Vec<String> = board.in_volume("starts").expect("starts").lines().map(str::to_owned).collect();
    starts.sort();
    assert_eq!(starts, ["a", "b", "c"], "not each pod ran once\n{}", board.log());
    assert_eq!(board.ask(&["logs", &format!("{id}.A")]), "out");
    outbox_is_complete(board, id);
    assert!(board.outbox(id).join("DOWN.tar").exists());
    has_no_gap(&board.json(&["history", id]), id);
    nothing_left(board, id);
}

/// Kills the daemon as soon as the history of an execution shows an event, and starts it again.
fn crash_at(board: &mut Board, id: &str, event: &str) {
    until(event, || {
        let history = board.json(&["history", id]);
        let seen = history.as_array().expect("lines").iter().any(|line| line["event"] == event);
        seen.then_some(())
    });
    board.crash();
    board.start();
}

#[test]
fn daemon_killed_at_each_stage_goes_on_where_it_was() {
    std::thread::scope(|scope| {
        for stages in [["accepted", "preparing", "settled"], ["prepared", "running", "cleared"]] {
            scope.spawn(move || {
                for stage in stages {
                    let mut board = Board::new();
                    let tasks = operation(&board);
                    let id = board.submit(&tasks);
                    crash_at(&mut board, &id, stage);
                    is_truthful(&board, &id);
                }
            });
        }
    });
}

#[test]
fn daemon_killed_while_it_stops_a_pod_stops_it_all_the_same() {
    let mut board = Board::new();
    let stubborn = mark("x", "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    let id = board.submit(&pod("RUN", "p", &stubborn, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    until("the trap", || board.ask(&["logs", &id]).contains("ready").then_some(()));
    board.ask(&["stop", &id]);
    board.crash();
    board.start();
    let status = board.ended(&id);
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "stopped");
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 137);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
    outbox_is_complete(&board, &id);
    nothing_left(&board, &id);
}

/// Instants after the submission at which the daemon dies, spread over the whole life of the operation.
const INSTANTS_MS: [u64; 16] = [0, 15, 40, 70, 110, 160, 220, 290, 370, 460, 560, 680, 820, 990, 1200, 1500];

#[test]
fn daemon_killed_at_any_instant_runs_nothing_twice_and_forgets_nothing() {
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                for (n, after) in INSTANTS_MS.into_iter().enumerate().filter(|(n, _)| n % 2 == lane) {
                    dies_after(Duration::from_millis(after + jitter()), n);
                }
            });
        }
    });
}

fn dies_after(pause: Duration, n: usize) {
    let mut board = Board::new();
    let tasks = operation(&board);
    let id = board.submit(&tasks);
    // Not a wait for something: the instant of death is what is tried here.
    std::thread::sleep(pause);
    board.crash();
    board.start();
    if n.is_multiple_of(3) {
        // And again while it takes up what it found.
        board.crash();
        board.start();
    }
    tell_where(&board, &id, pause);
    is_truthful(&board, &id);
}

/// Says where the execution was, for whoever reads a failure.
#[expect(clippy::print_stderr, reason = "shown only when the test fails")]
fn tell_where(board: &Board, id: &str, pause: Duration) {
    let history = board.json(&["history", id]);
    let last =
        history.as_array().and_then(|lines| lines.last()).map(|line| format!("{} {}", line["id"], line["event"]));
    eprintln!("killed after {pause:?}, then at {last:?}");
}

/// Up to 40 ms, another at each run.
fn jitter() -> u64 {
    u64::from(uuid::Uuid::now_v7().as_bytes()[15]) * 40 / 256
}

#[test]
fn bundle_is_accepted_once_or_not_at_all_when_the_daemon_dies_while_it_comes_in() {
    for pause in [0, 2, 5, 9, 14, 20] {
        let mut board = Board::new();
        let bundle = board.pack(&pod("RUN", "p", &mark("x", "true"), &[])).display().to_string();
        let submitting = board.tool_started(&["submit", &bundle]);
        std::thread::sleep(Duration::from_millis(pause));
        board.crash();
        let output = submitting.wait_with_output().expect("output");
        board.start();
        let acknowledged = output.status.success();
        if acknowledged {
            let id = crate::support::text(&output.stdout);
            assert_eq!(at(&board.ended(&id), "/state"), "succeeded", "what was acknowledged is gone");
        } else {
            assert_eq!(output.status.code(), Some(7), "{}", crate::support::text(&output.stderr));
        }
        let id = board.ask(&["submit", &bundle]);
        assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
        assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
        nothing_left(&board, &id);
    }
}
