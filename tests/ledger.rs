//! The durability contract of the ledger, on a real disk: what is committed is there, what is torn is cut, what is
//! damaged is said.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perigee::bundle::document::{OnFailure, OperationInfo};
use perigee::bundle::{ExecutionId, StepId};
use perigee::ledger::{Boot, Found, Ledger, LedgerError};
use perigee::plan::{Errand, Plan, PlannedStep, Transfer, Work};
use perigee::sequence::{Board, Event, apply, decide};
use perigee::time::{BootTime, Timestamp};
use tempfile::TempDir;

const BOOT: &str = "b0000000-0000-4000-8000-000000000001";

fn boot(id: &str) -> Boot {
    Boot { id: id.to_owned(), offset_ms: 7 }
}

fn now() -> Timestamp {
    Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(1000) }
}

fn id(n: u32) -> ExecutionId {
    format!("0198c0de-0000-7000-8000-{n:012}").parse().expect("a UUID")
}

/// One uplink step: the shortest execution there is.
fn plan(n: u32) -> Arc<Plan> {
    let transfer = Transfer {
        node: "mpu".parse().expect("a name"),
        volume: "payload".parse().expect("a name"),
        claim: "client1.payload".to_owned(),
        sources: vec![],
        destination: String::new(),
    };
    let step = PlannedStep {
        id: "UP".parse::<StepId>().expect("a name"),
        on_failure: OnFailure::Stop,
        timeout_seconds: 300,
        group: None,
        after: vec![],
        work: Work::Errand(Errand::Uplink(transfer)),
    };
    Arc::new(Plan {
        execution: id(n),
        tenant: "client1".parse().expect("a name"),
        operation: OperationInfo {
            id: "test".parse().expect("a name"),
            revision: None,
            namespace: None,
            system: None,
            description: None,
            labels: BTreeMap::new(),
        },
        stop_grace_seconds: 30,
        steps: vec![step],
    })
}

/// Decides, commits, applies and reflects, as the loop does.
fn happen(ledger: &mut Ledger, board: &mut Board, event: Event) {
    let decision = decide(board, event, now()).expect("legal");
    let position = ledger.commit(&decision.records).expect("committed");
    let ended: Vec<_> = decision.records.iter().filter_map(|recorded| apply(board, recorded).expect("fits")).collect();
    ledger.reflect(position, &decision.records, &ended).expect("reflected");
}

fn accept(ledger: &mut Ledger, board: &mut Board, n: u32) {
    happen(ledger, board, Event::Submitted { plan: plan(n), held: false });
}

fn finish(ledger: &mut Ledger, board: &mut Board, n: u32) {
    happen(ledger, board, Event::ErrandEnded { execution: id(n), step: 0, result: Ok(None) });
    happen(ledger, board, Event::Filed(id(n)));
}

/// A ledger with one ended and one live execution, closed; and the board it amounts to.
fn written() -> (TempDir, Board) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut ledger, Found { mut board, .. }) = Ledger::open(folder.path()).expect("opens");
    ledger.started(&boot(BOOT), "test").expect("noted");
    accept(&mut ledger, &mut board, 1);
    finish(&mut ledger, &mut board, 1);
    accept(&mut ledger, &mut board, 2);
    (folder, board)
}

fn segment(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder.join("journal")).expect("a journal");
    entries.next().expect("one segment").expect("readable").path()
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (folder, board) = written();
    let (ledger, found) = Ledger::open(folder.path()).expect("opens");
    assert_eq!(found.board, board);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    let history = ledger.queries().expect("an index").history(id(1)).expect("readable");
    assert_eq!(history.iter().map(|(cursor, _)| *cursor).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let kept = ledger.queries().expect("an index").index().get(id(1)).expect("readable").expect("there");
    assert_eq!(kept.status.state.as_str(), "succeeded");
}

#[test]
fn the_boot_of_the_last_daemon_is_known_wherever_the_index_stands() {
    let (folder, _) = written();
    let (mut ledger, found) = Ledger::open(folder.path()).expect("opens");
    assert_eq!(found.last_boot, Some(boot(BOOT)));
    assert_eq!(found.latest, now().boot, "from where boot time goes on");
    // The index is written after the start was noted: replay then begins behind that note.
    let mut board = found.board;
    finish(&mut ledger, &mut board, 2);
    drop(ledger);
    let (mut ledger, found) = Ledger::open(folder.path()).expect("opens");
    assert_eq!(found.last_boot, Some(boot(BOOT)));
    ledger.started(&boot("another"), "test").expect("noted");
    drop(ledger);
    fs::remove_dir_all(folder.path().join("index")).expect("removed");
    let (_, found) = Ledger::open(folder.path()).expect("opens");
    assert_eq!(found.last_boot, Some(boot("another")), "from the journal alone, too");
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_frame_and_said() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    // The last frame is the acceptance of the second execution: every part of it may be missing.
    let last = whole.windows(9).rposition(|bytes| bytes == b"{\"frame\":").expect("a frame") - 8;
    for end in last + 1..whole.len() {
        fs::write(&path, &whole[..end]).expect("written");
        let _ = fs::remove_dir_all(folder.path().join("index"));
        let (ledger, found) = Ledger::open(folder.path()).expect("opens");
        assert!(found.board.live.is_empty() && found.board.ended.contains(&id(1)), "cut at {end}");
        assert_eq!(found.notes.iter().filter(|note| note.contains("torn tail")).count(), 1, "{:?}", found.notes);
        assert_eq!(ledger.cursor(), 5);
    }
}

#[test]
fn a_frame_that_is_being_written_is_the_end_for_readers_and_no_damage() {
    let (folder, _) = written();
    let (ledger, _) = Ledger::open(folder.path()).expect("opens");
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    let last = whole.windows(9).rposition(|bytes| bytes == b"{\"frame\":").expect("a frame") - 8;
    for extra in [3, 8, 20, whole.len() - last - 1] {
        fs::write(&path, [&whole[..], &whole[last..last + extra]].concat()).expect("written");
        let events = ledger.queries().expect("an index").events(0, 100).expect("readable");
        assert_eq!(events.len(), 7, "{extra} bytes of the next frame");
    }
}

#[test]
fn an_index_that_was_let_go_is_brought_up_to_the_journal_again() {
    let (folder, _) = written();
    let (mut ledger, Found { mut board, .. }) = Ledger::open(folder.path()).expect("opens");
    ledger.close_index();
    assert!(ledger.queries().is_none());
    let decision =
        decide(&board, Event::ErrandEnded { execution: id(2), step: 0, result: Ok(None) }, now()).expect("legal");
    let position = ledger.commit(&decision.records).expect("the journal does without");
    assert!(ledger.reflect(position, &decision.records, &[]).is_ok(), "nothing of it goes into the index");
    decision.records.iter().for_each(|recorded| assert_eq!(apply(&mut board, recorded), Ok(None)));
    let decision = decide(&board, Event::Filed(id(2)), now()).expect("legal");
    let position = ledger.commit(&decision.records).expect("committed");
    let ended: Vec<_> =
        decision.records.iter().filter_map(|recorded| apply(&mut board, recorded).expect("fits")).collect();
    assert!(ledger.reflect(position, &decision.records, &ended).is_err());
    ledger.mend().expect("mended");
    let kept = ledger.queries().expect("an index").index().get(id(2)).expect("readable").expect("there");
    assert_eq!(kept.status.state.as_str(), "succeeded");
    assert_eq!(ledger.queries().expect("an index").history(id(2)).expect("readable").len(), 5);
    accept(&mut ledger, &mut board, 3);
}

#[test]
fn after_a_cut_the_journal_goes_on_without_a_gap() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, &whole[..whole.len() - 3]).expect("written");
    let (mut ledger, Found { mut board, .. }) = Ledger::open(folder.path()).expect("opens");
    accept(&mut ledger, &mut board, 3);
    let events = ledger.queries().expect("an index").events(0, 100).expect("readable");
    let cursors: Vec<u64> = events.iter().map(|(cursor, _)| *cursor).collect();
    assert_eq!(cursors, (1..=7).collect::<Vec<_>>());
}

#[test]
fn a_flipped_byte_before_the_last_frame_is_reported_and_never_skipped() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    let last = whole.windows(9).rposition(|bytes| bytes == b"{\"frame\":").expect("a frame") - 8;
    for at in (0..last).step_by(7).filter(|at| !(12..16).contains(at)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).expect("written");
        let error = Ledger::open(folder.path()).err().unwrap_or_else(|| panic!("byte {at} was not noticed"));
        assert!(matches!(error, LedgerError::Journal(_)), "byte {at}: {error}");
        assert_eq!(fs::read(&path).expect("readable"), damaged, "byte {at}: the file is kept as it is");
    }
}

#[test]
fn a_damaged_or_missing_index_is_rebuilt_from_the_journal() {
    let (folder, board) = written();
    let index = folder.path().join("index");
    let damages: [&dyn Fn(); 3] = [
        &|| fs::remove_dir_all(&index).expect("removed"),
        &|| fs::write(index.join("db"), vec![0xaa; 4096]).expect("written"),
        &|| fs::write(index.join("conf"), b"nonsense").expect("written"),
    ];
    for damage in damages {
        damage();
        let (ledger, found) = Ledger::open(folder.path()).expect("opens");
        assert_eq!(found.board, board);
        let kept = ledger.queries().expect("an index").index().get(id(1)).expect("readable");
        assert!(kept.is_some(), "ended executions are known again");
    }
}

#[test]
fn an_index_that_knows_more_than_the_journal_is_rebuilt() {
    let (folder, _) = written();
    fs::remove_dir_all(folder.path().join("journal")).expect("removed");
    let (_, found) = Ledger::open(folder.path()).expect("opens");
    assert_eq!(found.board, Board::default());
    assert!(found.notes.iter().any(|note| note.contains("knows more than the journal")), "{:?}", found.notes);
}

#[test]
fn a_state_directory_has_one_daemon() {
    let (folder, _) = written();
    let _held = Ledger::open(folder.path()).expect("opens");
    assert!(matches!(Ledger::open(folder.path()), Err(LedgerError::InUse { .. })));
}

#[test]
fn another_journal_version_is_refused_naming_both() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 9;
    fs::write(&path, bytes).expect("written");
    let error = Ledger::open(folder.path()).expect_err("refused");
    let said = perigee::run::chain(&error);
    assert!(said.contains("version 9") && said.contains("version 1"), "{said}");
}
