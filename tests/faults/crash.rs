//! The daemon killed while it stops a pod, and while a bundle comes in. Every other instant: `tests/boundaries.rs`.

use std::time::Duration;

use crate::support::{Board, at, pod, until};
use crate::{nothing_left, outbox_is_complete, reason};

/// One line per start, then some life.
fn mark(name: &str, then: &str) -> String {
    format!("echo {name} >> /data/starts; {then}")
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

#[test]
fn pod_that_ended_in_time_while_no_daemon_ran_is_judged_by_its_code_and_not_by_the_clock() {
    // A minute passes in 3 s.
    let mut board = Board::with("time_scale: 20");
    let id = board.submit(&pod("RUN", "p", &mark("x", "sleep 0.5"), &["max_duration: 1"]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    board.crash();
    // Not a wait for something: so long no daemon runs, until its `max_duration` is over.
    std::thread::sleep(Duration::from_secs(5));
    board.start();
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}\n{}", board.log());
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 0);
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
