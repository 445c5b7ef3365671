//! Time: a wall clock that jumps by years changes what is displayed and nothing else; what a budget has consumed
//! survives a power cut.

use std::path::Path;
use std::time::Duration;

use perigee::ledger::{Boot, Ledger, check};
use serde_json::Value;

use crate::support::{Board, at, pod, until};
use crate::{nothing_left, reason, timed};

/// Budgets run so many times faster: `max_duration: 1` passes in 3 s.
const FAST: &str = "time_scale: 20";
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// The library that sets the wall clock of one process, wherever this distribution puts it.
fn faketime() -> String {
    let folders = std::fs::read_dir("/usr/lib").expect("readable").filter_map(Result::ok).map(|entry| entry.path());
    let found = folders.map(|folder| folder.join(LIBRARY)).find(|path| path.exists());
    found.expect("libfaketime is there: tests/testbed/up.sh installs it").display().to_string()
}

/// A board whose daemon has a wall clock of its own, that `set` sets while it runs.
fn with_own_clock(config: &str) -> Board {
    let mut board = Board::cold(config);
    set(&board, "+0");
    board.environment = vec![
        ("LD_PRELOAD", faketime()),
        ("FAKETIME_TIMESTAMP_FILE", board.path("clock").display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DONT_RESET", "1".to_owned()),
    ];
    board.start();
    board
}

fn set(board: &Board, offset: &str) {
    let made = board.path("clock.made");
    std::fs::write(&made, offset).expect("written");
    std::fs::rename(made, board.path("clock")).expect("in place");
}

fn year(wall: &Value) -> i32 {
    wall.as_str().and_then(|text| text[..4].parse().ok()).expect("a time")
}

#[test]
fn wall_clock_that_jumps_ten_years_either_way_changes_displayed_times_and_nothing_else() {
    let board = with_own_clock(FAST);
    let before = board.fly(&pod("EARLY", "early", "true", &[]));
    let now = year(at(&before, "/ended_at"));
    let early = at(&before, "/execution").as_str().expect("an id").to_owned();
    for (offset, years) in [("+10y", 10), ("-10y", -10)] {
        let tasks =
            pod("LONG", "long", "echo long >> /data/starts; sleep 600", &["max_duration: 1", "on_failure: continue"])
                + &pod("NEXT", "next", "true", &[]);
        set(&board, "+0");
        let id = board.submit(&tasks);
        board.ask(&["wait", &format!("{id}.LONG"), "--for", "running", "--timeout", "60s"]);
        set(&board, offset);
        // Some input, so that the loop looks at its clock at once.
        let held = board.submit_held(&pod("HELD", "held", "true", &[]));
        let (status, took) = timed(|| board.ended(&id));
        assert_eq!(at(&status, "/steps/0/jobs/0/state"), "failed", "{status:#}\n{}", board.log());
        assert_eq!(reason(&status, "/steps/0/jobs/0"), "timeout", "{status:#}");
        assert_eq!(at(&status, "/steps/1/state"), "succeeded", "{status:#}");
        // Neither at once nor never: a minute of the board's running time, 3 s here, less what passed before the jump.
        assert!(took > Duration::from_secs(1), "its time was over {took:?} after the jump");
        let shown = year(at(&status, "/ended_at"));
        assert!((shown - now - years).abs() <= 1, "shown as {shown}, it is {now}, {offset}\n{}", board.log());
        assert_eq!(at(&board.status(&early), "/state"), "succeeded", "what ended long ago is not forgotten");
        board.ask(&["stop", &held]);
        board.tool(&["wait", &held, "--timeout", "60s"]);
        nothing_left(&board, &id);
    }
    assert_eq!(board.in_volume("starts").expect("starts").lines().count(), 2, "each ran once\n{}", board.log());
}

/// What is on the medium while the daemon works: frames, and the records in them.
fn written(state: &Path) -> (usize, usize) {
    let report = check::check(state).expect("readable");
    report.segments.iter().fold((0, 0), |(frames, records), one| (frames + one.frames, records + one.records))
}

#[test]
fn time_that_a_budget_consumed_before_a_power_cut_stays_consumed() {
    let mut board = Board::with("limits: {uncounted_seconds: 1}");
    let state = board.path("state");
    let id = board.submit(&pod("RUN", "run", "sleep 600", &["max_duration: 1"]));
    board.ask(&["wait", &format!("{id}.RUN"), "--for", "running", "--timeout", "60s"]);
    let (before, records) = written(&state);
    until("elapsed time to be written twice", || (written(&state).0 >= before + 2).then_some(()));
    assert_eq!(written(&state).1, records, "nothing was decided meanwhile");
    board.crash();
    let (mut ledger, found) = Ledger::open(&state).expect("opens");
    let last = found.last_boot.expect("a boot");
    let started = found.board.live.values().next().expect("it lives").steps[0].jobs[0].began.expect("began").boot;
    assert!(found.latest.since(started) >= Duration::from_secs(2), "{:?} since {started:?}", found.latest);
    // The board came up again: another boot, and what ran in it is gone.
    ledger.started(&Boot { id: "another boot".to_owned(), ..last }, "test").expect("noted");
    drop(ledger);
    board.start();
    let status = board.ended(&id);
    assert_eq!(reason(&status, ""), "lost_power", "{status:#}\n{}", board.log());
    board.crash();
    let (_, after) = Ledger::open(&state).expect("opens");
    let offset = after.last_boot.expect("a boot").offset_ms;
    assert!(offset >= found.latest.as_millis(), "boot time goes on at {offset}, {:?} was reached", found.latest);
}
