//! The durability contract of the ledger, on a real disk: what is committed is there, what is torn is cut, what is
//! damaged is said.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

#[path = "ledger/check.rs"]
mod check;
#[path = "ledger/formats.rs"]
mod formats;
#[path = "ledger/retention.rs"]
mod retention;
#[path = "support/script.rs"]
mod script;

use std::fs;
use std::path::{Path, PathBuf};

use perigee::ledger::{Found, Ledger, LedgerError};
use perigee::sequence::{Board, Event, apply, decide};
use script::{accept, boot, finish, id, now};
use tempfile::TempDir;

const BOOT: &str = "b0000000-0000-4000-8000-000000000001";

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

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("journal")).expect("a journal");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    found.sort();
    found
}

fn segment(folder: &Path) -> PathBuf {
    segments(folder).pop().expect("a segment")
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
fn a_journal_that_is_gone_or_shorter_than_it_was_left_is_refused_and_nothing_is_changed() {
    let refused = |folder: &Path, what: &str| {
        let files = || walk(&folder.join("index"));
        let before = files();
        let Err(LedgerError::Short { why, .. }) = Ledger::open(folder) else { panic!("{what}: it opened") };
        assert_eq!(files(), before, "{what}: the index is as it was");
        let damages = perigee::ledger::check::check(folder).expect("a report").damages;
        assert!(damages.iter().any(|damage| damage.what.contains(&why) && !damage.mends), "{what}: {damages:?}");
    };
    // Sealed: a daemon has left in good order.
    let (folder, board) = written();
    let (ledger, _) = Ledger::open(folder.path()).expect("opens");
    ledger.close().expect("sealed");
    let whole = fs::read(segment(folder.path())).expect("readable");
    for end in [0, 16, whole.len() / 2, whole.len() - 1] {
        fs::write(segment(folder.path()), &whole[..end]).expect("cut");
        refused(folder.path(), "cut");
    }
    fs::write(segment(folder.path()), &whole).expect("put back");
    let (ledger, found) = Ledger::open(folder.path()).expect("it is whole again");
    assert_eq!(found.board, board);
    drop(ledger);
    // Not sealed: only that nothing at all is left can be told.
    fs::write(folder.path().join("ledger-id"), "as the daemon makes it").expect("written");
    fs::write(segment(folder.path()), b"").expect("emptied");
    refused(folder.path(), "emptied");
    fs::remove_file(segment(folder.path())).expect("removed");
    refused(folder.path(), "removed");
    fs::remove_dir_all(folder.path().join("index")).expect("moved away");
    let (_, found) = Ledger::open(folder.path()).expect("a new one, as somebody wanted");
    assert!(found.board.live.is_empty() && found.board.ended.is_empty());
}

/// Every file below a folder, with its bytes.
fn walk(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut found: Vec<_> =
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
    found.sort();
    found
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
fn elapsed_time_that_was_noted_is_known_after_a_crash_and_from_a_sealed_index() {
    let (folder, board) = written();
    let (mut ledger, _) = Ledger::open(folder.path()).expect("opens");
    let reached = now().boot.after(std::time::Duration::from_secs(90));
    let cursor = ledger.cursor();
    ledger.reached(reached).expect("noted");
    assert_eq!((ledger.latest(), ledger.cursor()), (reached, cursor), "it is no record");
    drop(ledger);
    for _ in 0..2 {
        let (ledger, found) = Ledger::open(folder.path()).expect("opens");
        assert_eq!((found.latest, &found.board), (reached, &board));
        // The second time from a sealed index.
        ledger.close().expect("sealed");
    }
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
        decide(&board, Event::ErrandEnded { execution: id(2), step: 0, result: Ok(None), made: None }, now())
            .expect("legal");
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
fn a_single_wrong_byte_is_put_right_and_nothing_is_lost() {
    let (folder, board) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    for at in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).expect("written");
        let (ledger, found) = Ledger::open(folder.path()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert_eq!(found.board, board, "byte {at}");
        assert_eq!(found.notes.len(), 1, "byte {at}: {:?}", found.notes);
        assert!(found.notes[0].contains(&format!("byte {at} was wrong")), "{:?}", found.notes);
        drop(ledger);
        assert!(fs::read(&path).expect("readable") == whole, "byte {at} is right again on the medium, too");
    }
}

#[test]
fn a_damaged_middle_is_reported_and_never_skipped() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    let starts: Vec<usize> =
        whole.windows(9).enumerate().filter(|(_, bytes)| *bytes == b"{\"frame\":").map(|(at, _)| at - 8).collect();
    let last = *starts.last().expect("a frame");
    // Two wrong bytes of one frame: those of two frames are put right one by one.
    for at in (0..last - 1).step_by(7).filter(|at| !starts.contains(&(at + 1))) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        damaged[at + 1] ^= 0x20;
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
fn an_index_that_was_left_in_good_order_is_opened_as_it_is_and_any_other_is_made_anew() {
    let (folder, board) = written();
    let open = || Ledger::open(folder.path()).expect("opens");
    let marked = folder.path().join("index/marked");
    // After a crash it is made anew, without a word: that is as it should be.
    fs::write(&marked, "").expect("written");
    let (ledger, found) = open();
    assert!(!marked.exists() && found.notes.is_empty(), "{:?}", found.notes);
    ledger.close().expect("sealed");
    // In good order it is kept, but for the one byte that somebody changes.
    let (ledger, found) = open();
    assert_eq!((found.board, found.notes), (board.clone(), vec![]));
    assert_eq!(found.last_boot, Some(boot(BOOT)));
    assert_eq!(found.latest, now().boot);
    ledger.close().expect("sealed");
    fs::write(&marked, "").expect("written");
    let (ledger, found) = open();
    assert!(found.notes.iter().any(|note| note.contains("marked is not as it was sealed")), "{:?}", found.notes);
    assert_eq!(found.board, board);
    ledger.close().expect("sealed");
    // It knows less than the journal: a seal of before.
    let seal = folder.path().join("index.seal");
    let before = fs::read(&seal).expect("a seal");
    let (mut ledger, found) = open();
    let mut board = found.board;
    accept(&mut ledger, &mut board, 3);
    ledger.close().expect("sealed");
    fs::write(&seal, before).expect("put back");
    let (_, found) = open();
    assert_eq!(found.board, board);
    assert!(found.notes.iter().any(|note| note.contains("another place of the journal")), "{:?}", found.notes);
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
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let error = Ledger::open(folder.path()).expect_err("refused");
    let said = perigee::run::chain(&error);
    assert!(said.contains("version 9") && said.contains("versions 1 to 4"), "{said}");
}
