//! What is forgotten loses its records and its room, never its identity; what is kept loses nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use perigee::bundle::ExecutionId;
use perigee::ledger::{Found, JournalError, Layout, Ledger};
use perigee::sequence::event::{Target, Verb};
use perigee::sequence::{Board, Event, Refusal, decide};
use tempfile::TempDir;

use crate::script::{accept, boot, finish, id, now, plan};

fn layout() -> Layout {
    Layout { segment_bytes: 4096, reserve_bytes: 4096, ..Layout::default() }
}

fn open(folder: &Path) -> (Ledger, Found) {
    Ledger::open_with(folder, layout()).expect("opens")
}

fn ids(range: impl IntoIterator<Item = u32>) -> BTreeSet<ExecutionId> {
    range.into_iter().map(id).collect()
}

/// 60 executions that ended, but for the third and the fortieth.
fn lived() -> (TempDir, Ledger, Board) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut ledger, Found { mut board, .. }) = open(folder.path());
    ledger.started(&boot("b"), "test").expect("noted");
    for n in 1..=60 {
        accept(&mut ledger, &mut board, n);
        if n != 3 && n != 40 {
            finish(&mut ledger, &mut board, n);
        }
    }
    (folder, ledger, board)
}

fn journal_bytes(folder: &Path) -> u64 {
    crate::segments(folder).iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
}

/// The ledger knows all 60, holds the records of some, and says what is gone.
fn holds(ledger: &Ledger, found: &Board, board: &Board, kept: &BTreeSet<ExecutionId>) {
    assert_eq!(found, board);
    let queries = ledger.queries().expect("an index");
    for n in 1..=60 {
        let records = queries.history(id(n)).expect("readable").len();
        let expected = if kept.contains(&id(n)) { 5 } else { 0 };
        assert_eq!(records, if n == 3 || n == 40 { 2 } else { expected }, "execution {n}");
    }
    let listed: BTreeSet<ExecutionId> =
        queries.index().newest().map(|status| status.expect("readable").execution).collect();
    assert_eq!(listed, *kept);
    let again = decide(board, Event::Submitted { plan: plan(7), held: false }, now());
    assert!(matches!(again, Err(Refusal::AlreadyKnown(_))), "it would run twice");
}

#[test]
fn what_is_forgotten_is_given_back_by_compaction_and_its_identity_stays() {
    let (folder, mut ledger, board) = lived();
    let before = journal_bytes(folder.path());
    assert!(crate::segments(folder.path()).len() > 5);
    assert_eq!(ledger.compact().expect("looked"), None, "nothing is worth it yet");
    let gone = ids((1..=50).filter(|n| *n != 3 && *n != 40));
    assert_eq!(ledger.forget(&gone).expect("forgotten"), 48);
    assert_eq!(ledger.forget(&gone).expect("nothing left to forget"), 0);
    let (said_before, after) = ledger.compact().expect("compacted").expect("it is worth it");
    assert!(after < said_before / 2 && journal_bytes(folder.path()) < before / 2, "{said_before} to {after}");
    let kept = ids(51..=60);
    holds(&ledger, &board, &board, &kept);
    // Crashed, left in good order, and without any index: always the same.
    drop(ledger);
    let (ledger, found) = open(folder.path());
    assert_eq!(found.notes, Vec::<String>::new());
    holds(&ledger, &found.board, &board, &kept);
    assert_eq!(found.last_boot, Some(boot("b")));
    assert_eq!(found.latest, now().boot);
    ledger.close().expect("sealed");
    let (ledger, found) = open(folder.path());
    holds(&ledger, &found.board, &board, &kept);
    assert_eq!(ledger.kept().map(|(id, _)| id).collect::<BTreeSet<_>>(), kept);
}

#[test]
fn live_executions_go_on_over_a_compaction() {
    let (folder, mut ledger, mut board) = lived();
    ledger.forget(&ids(1..=60)).expect("forgotten");
    assert!(ledger.compact().expect("compacted").is_some());
    drop(ledger);
    let (mut ledger, found) = open(folder.path());
    assert_eq!(found.board, board);
    finish(&mut ledger, &mut board, 3);
    finish(&mut ledger, &mut board, 40);
    accept(&mut ledger, &mut board, 61);
    drop(ledger);
    let (ledger, found) = open(folder.path());
    assert_eq!(found.board, board);
    assert_eq!(ledger.queries().expect("an index").history(id(3)).expect("readable").len(), 5);
}

#[test]
fn live_and_unknown_executions_are_not_forgotten() {
    let (_folder, mut ledger, _) = lived();
    assert_eq!(ledger.forget(&ids([3, 40, 99])).expect("nothing to forget"), 0);
    assert_eq!(ledger.queries().expect("an index").history(id(3)).expect("readable").len(), 2);
}

#[test]
fn events_before_the_oldest_that_is_kept_are_refused_naming_it() {
    let (_folder, mut ledger, _) = lived();
    let queries = ledger.queries().expect("an index");
    assert_eq!(queries.resume(None).expect("whole"), 0);
    ledger.forget(&ids(1..=50)).expect("forgotten");
    assert!(ledger.compact().expect("compacted").is_some());
    let oldest = queries.resume(None).expect("readable") + 1;
    assert!(oldest > 100, "{oldest}");
    for since in [0, 1, oldest - 2] {
        let error = queries.events(since, 10).expect_err("gone");
        assert!(matches!(error, JournalError::Gone { oldest: said } if said == oldest), "{error}");
        assert!(error.to_string().contains(&format!("the oldest that is kept is {oldest}")), "{error}");
    }
    let events = queries.events(oldest - 1, 1000).expect("readable");
    let cursors: Vec<u64> = events.into_iter().map(|(cursor, _)| cursor).collect();
    assert_eq!(cursors, (oldest..=ledger.cursor()).collect::<Vec<_>>());
}

#[test]
fn compaction_again_and_again_keeps_the_journal_small_and_every_identity() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut ledger, Found { mut board, .. }) = open(folder.path());
    let mut largest = 0;
    // Noted once, long compacted away at the end.
    let reached = now().boot.after(std::time::Duration::from_secs(3600));
    ledger.reached(reached).expect("noted");
    for n in 1..=300 {
        accept(&mut ledger, &mut board, n);
        finish(&mut ledger, &mut board, n);
        if n > 5 {
            ledger.forget(&ids([n - 5])).expect("forgotten");
        }
        ledger.compact().expect("looked");
        largest = largest.max(journal_bytes(folder.path()));
    }
    // Four segments, and the identities.
    assert!(largest < 4 * 4096 + 300 * 120, "{largest}");
    drop(ledger);
    let (ledger, found) = open(folder.path());
    assert_eq!(found.board, board);
    assert_eq!(found.latest, reached);
    assert_eq!(ledger.kept().count(), 5);
    assert_eq!(board.ended.len(), 300);
}

#[test]
fn a_compaction_that_was_cut_off_is_finished_or_taken_back_at_the_next_start() {
    let (folder, mut ledger, board) = lived();
    let segments = crate::segments(folder.path());
    let whole: Vec<(_, Vec<u8>)> =
        segments.iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect();
    ledger.forget(&ids(1..=50)).expect("forgotten");
    assert!(ledger.compact().expect("compacted").is_some());
    drop(ledger);
    let left = crate::segments(folder.path());
    // As if the power had gone before the others were removed.
    for (path, bytes) in whole.iter().filter(|(path, _)| !left.contains(path)) {
        fs::write(path, bytes).expect("written");
    }
    fs::write(segments[0].with_extension("part"), "half").expect("written");
    let report = perigee::ledger::check::check(folder.path()).expect("readable");
    assert_eq!(report.damages, vec![], "left over is no damage");
    let (ledger, found) = open(folder.path());
    holds(&ledger, &found.board, &board, &ids(51..=60));
    assert_eq!(crate::segments(folder.path()), left);
    assert!(!segments[0].with_extension("part").exists());
}

#[test]
fn a_closed_segment_that_is_damaged_is_not_compacted_and_nothing_is_changed() {
    let (folder, mut ledger, mut board) = lived();
    let path = &crate::segments(folder.path())[1];
    let mut bytes = fs::read(path).expect("readable");
    bytes[700..720].fill(0);
    fs::write(path, bytes).expect("written");
    ledger.forget(&ids(1..=50)).expect("forgotten");
    let before: Vec<Vec<u8>> =
        crate::segments(folder.path()).iter().map(|path| fs::read(path).expect("readable")).collect();
    let error = ledger.compact().expect_err("damaged");
    assert!(perigee::run::chain(&error).contains("is damaged at byte"), "{}", perigee::run::chain(&error));
    assert_eq!(ledger.compact().expect("not tried again"), None);
    let after: Vec<Vec<u8>> =
        crate::segments(folder.path()).iter().map(|path| fs::read(path).expect("readable")).collect();
    assert!(before == after && !path.with_extension("part").exists());
    accept(&mut ledger, &mut board, 61);
}

#[test]
fn what_an_operator_purged_is_forgotten_by_that_record_alone() {
    let (folder, mut ledger, mut board) = lived();
    let purge = |id| Event::Asked { execution: id, target: Target::Execution, verb: Verb::Purge };
    crate::script::happen(&mut ledger, &mut board, purge(id(7)));
    let kept = ids((1..=60).filter(|n| ![3, 7, 40].contains(n)));
    holds(&ledger, &board, &board, &kept);
    // The power goes right behind it; later it is left in good order, and compacted.
    drop(ledger);
    let (ledger, found) = open(folder.path());
    holds(&ledger, &found.board, &board, &kept);
    ledger.close().expect("sealed");
    let report = perigee::ledger::check::check(folder.path()).expect("readable");
    assert_eq!((report.index, report.forgotten, report.damages), ("agrees", 1, vec![]));
    let (mut ledger, _) = open(folder.path());
    ledger.forget(&ids(8..=60)).expect("forgotten");
    assert!(ledger.compact().expect("compacted").is_some());
    drop(ledger);
    let (ledger, found) = open(folder.path());
    assert_eq!(found.board, board);
    assert_eq!(ledger.queries().expect("an index").history(id(7)).expect("readable").len(), 0);
}

#[test]
fn the_index_stays_small_while_executions_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut ledger, Found { mut board, .. }) = open(folder.path());
    let mut rooms = Vec::new();
    for n in 1..=600 {
        accept(&mut ledger, &mut board, n);
        finish(&mut ledger, &mut board, n);
        if n > 5 {
            ledger.forget(&ids([n - 5])).expect("forgotten");
        }
        ledger.compact().expect("looked");
        if n % 100 == 0 {
            rooms.push(perigee::disk::room_of(&folder.path().join("index")) / 1024);
        }
    }
    assert!(rooms.iter().all(|room| *room < 512), "KiB after each hundred: {rooms:?}");
}
