//! Bundles that are running whenever board or daemon go down: counted, quarantined, named, released.

use perigee::ledger::{Boot, Ledger};
use serde_json::Value;

use crate::support::{Board, at, pod, until};
use crate::{nothing_left, outbox_is_complete, reason, troubled};

/// The daemon dies, and the board boots before it comes again: it finds another boot noted than the one it runs in.
fn boot(board: &mut Board) {
    board.crash();
    let (mut ledger, _) = Ledger::open(&board.path("state")).expect("a ledger");
    ledger.started(&Boot { id: "the boot before".to_owned(), offset_ms: 0 }, "test").expect("noted");
    drop(ledger);
    board.start();
}

fn crash(board: &mut Board) {
    board.crash();
    board.start();
}

/// Runs for ever, but for the attempt with this number.
fn script(good: u32) -> String {
    format!("echo x >> /data/starts; [ $(wc -l < /data/starts) -ge {good} ] && exit 0; sleep 3600")
}

fn starts(board: &Board) -> usize {
    board.in_volume("starts").map_or(0, |text| text.lines().count())
}

fn resets(board: &Board, id: &str) -> usize {
    let history = board.json(&["history", id]);
    history.as_array().expect("lines").iter().filter(|line| line["event"] == "interrupted").count()
}

/// It is told wherever an operator looks, with the way out, and nothing of it is on the node.
fn is_quarantined(board: &Board, id: &str) {
    let status = board.status(id);
    assert_eq!(at(&status, "/state"), "quarantined", "{status:#}\n{}", board.log());
    assert_eq!(reason(&status, ""), "quarantined");
    assert_eq!(at(&status, "/waiting_for"), "release by an operator");
    let overview = board.json(&["status"]);
    assert!(troubled(&overview, "quarantined"), "{overview:#}");
    let told = overview["troubles"].to_string();
    assert!(told.contains(id) && told.contains(&format!("perigee release {id}")), "{told}");
    assert!(board.ask(&["list", "--state", "quarantined"]).contains(id));
    assert!(board.ask(&["digest", "--bytes", "1000"]).contains("quarantined"));
    until("its containers to go", || board.containers(id).is_empty().then_some(()));
}

#[test]
fn bundle_that_was_running_at_three_boots_in_a_row_waits_for_its_release_while_others_run() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", &script(4), &["on_power_loss: rerun"]));
    for attempt in 1..=3 {
        until("the attempt", || (starts(&board) == attempt).then_some(()));
        board.reaches(&format!("{id}.RUN.0"), "running");
        boot(&mut board);
    }
    is_quarantined(&board, &id);
    assert_eq!(resets(&board, &id), 3);
    assert_eq!(board.leave(), Some(0));
    board.start();
    boot(&mut board);
    is_quarantined(&board, &id);
    let other = board.submit(&pod("OTHER", "other", "true", &[]));
    assert_eq!(at(&board.ended(&other), "/state"), "succeeded", "the daemon is idle and commandable");
    assert_eq!((starts(&board), resets(&board, &id)), (3, 3), "nothing of it was started");
    board.ask(&["release", &id]);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}\n{}", board.log());
    assert_eq!(at(&status, "/steps/0/jobs/0/attempt"), 4);
    assert_eq!(board.json(&["status"])["troubles"], Value::Array(Vec::new()));
    outbox_is_complete(&board, &id);
    nothing_left(&board, &id);
}

#[test]
fn bundle_that_ran_whenever_the_daemon_died_is_ended_on_its_node_and_tried_again_or_stopped() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", &script(3), &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    crash(&mut board);
    assert_eq!(board.leave(), Some(0));
    board.start();
    crash(&mut board);
    assert_eq!((starts(&board), resets(&board, &id)), (1, 2), "a daemon that left is no reset, and its pod went on");
    board.reaches(&format!("{id}.RUN.0"), "running");
    crash(&mut board);
    is_quarantined(&board, &id);
    board.ask(&["release", &id]);
    until("the second attempt", || (starts(&board) == 2).then_some(()));
    board.reaches(&format!("{id}.RUN.0"), "running");
    for _ in 0..3 {
        crash(&mut board);
    }
    is_quarantined(&board, &id);
    board.ask(&["stop", &id]);
    let status = board.ended(&id);
    assert_eq!((reason(&status, "").as_str(), starts(&board)), ("stopped", 2), "{status:#}");
    outbox_is_complete(&board, &id);
    nothing_left(&board, &id);
}
