//! Files that rot: the index is never in the way, the journal never lies.

use std::fs;
use std::path::{Path, PathBuf};

use perigee::ledger::check;
use perigee::ledger::{Found, Ledger, LedgerError};
use perigee::medium::Medium;
use perigee::sequence::Board;

use crate::script::{accept, finish, id};
use crate::{each, folder, layout, open_guarded, scattered, trials};

/// A closed ledger of some executions, all in one segment or in many.
fn written(segment_bytes: u64) -> (tempfile::TempDir, Board) {
    let folder = folder();
    let layout = perigee::ledger::Layout { segment_bytes, ..layout(Medium::default()) };
    let (mut ledger, Found { mut board, .. }) = Ledger::open_with(folder.path(), layout).expect("opens");
    for n in 1..=6 {
        accept(&mut ledger, &mut board, n);
        if n < 6 {
            finish(&mut ledger, &mut board, n);
        }
    }
    ledger.close().expect("sealed");
    (folder, board)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Damages one file of the index in one of many ways; says how.
fn damage_index(state: &Path, trial: usize) -> String {
    let mut pick = scattered(trial as u64 + 1);
    let mut files = files(&state.join("index"));
    files.push(state.join("index.seal"));
    let path = &files[pick(files.len())];
    let mut bytes = fs::read(path).expect("readable");
    let (at, length) = (pick(bytes.len()), 1 + pick(4096));
    let end = (at + length).min(bytes.len());
    let how = match trial % 6 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << pick(8);
            }
            "one bit flipped"
        }
        1 => {
            bytes[at.min(end)..end].iter_mut().for_each(|byte| *byte = !*byte);
            "a stretch flipped"
        }
        2 => {
            bytes[at.min(end)..end].fill(0);
            "a stretch zeroed"
        }
        3 => {
            bytes.truncate(at);
            "truncated"
        }
        4 => {
            bytes.extend_from_slice(&[0x5a; 512]);
            "grown"
        }
        _ => {
            fs::remove_file(path).expect("removed");
            return format!("{} deleted", path.display());
        }
    };
    fs::write(path, bytes).expect("written");
    format!("{}: {how} at {at}", path.display())
}

#[test]
fn an_index_that_is_damaged_in_any_way_costs_no_record_no_hang_and_no_panic() {
    let (original, board) = written(1 << 20);
    let points: Vec<usize> = (0..trials(200, 5000)).collect();
    each(&points, |trial| {
        let folder = folder();
        copy(original.path(), folder.path());
        let how = damage_index(folder.path(), *trial);
        let (ledger, found) = open_guarded(folder.path()).unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(found.board, board, "{how}");
        let queries = ledger.queries().expect("an index");
        for n in 1..=6 {
            assert_eq!(queries.history(id(n)).expect("readable").len(), if n < 6 { 5 } else { 2 }, "{how}");
        }
    });
    println!("torture: index: {} damages tried, 0 acknowledged records lost, 0 hangs, 0 panics", points.len());
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = files(&folder.join("journal"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    found
}

#[test]
fn a_journal_with_any_single_wrong_byte_is_noticed_and_loses_nothing() {
    for segment_bytes in [1 << 20, 2048] {
        let (original, board) = written(segment_bytes);
        let mut points = Vec::new();
        for (which, path) in segments(original.path()).iter().enumerate() {
            let length = usize::try_from(fs::metadata(path).expect("a file").len()).expect("small");
            points.extend((0..length).step_by(trials(19, 1)).map(|at| (which, at)));
        }
        each(&points, |(which, at)| {
            let folder = folder();
            copy(original.path(), folder.path());
            let path = &segments(folder.path())[*which];
            let mut bytes = fs::read(path).expect("readable");
            bytes[*at] ^= [0x01, 0x80, 0xff, 0x20][at % 4];
            fs::write(path, &bytes).expect("written");
            let noticed = check::check(folder.path()).expect("readable").damages;
            assert!(!noticed.is_empty(), "byte {at} of {} was not noticed", path.display());
            // Without the index all of it is read.
            fs::remove_dir_all(folder.path().join("index")).expect("removed");
            let (ledger, found) = open_guarded(folder.path()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
            assert_eq!(found.board, board, "byte {at} of {}", path.display());
            assert!(found.notes.iter().any(|note| note.contains("was wrong and was put right")), "{:?}", found.notes);
            drop(ledger);
            assert_eq!(check::check(folder.path()).expect("readable").damages, vec![], "it is right again");
        });
        println!("torture: journal: {} single wrong bytes tried, all noticed and put right", points.len());
    }
}

#[test]
fn a_journal_that_is_damaged_beyond_repair_is_noticed_and_never_read_past() {
    let (original, board) = written(1 << 20);
    let path = segments(original.path()).remove(0);
    let whole = fs::read(&path).expect("readable");
    let starts: Vec<usize> =
        whole.windows(9).enumerate().filter(|(_, bytes)| *bytes == b"{\"frame\":").map(|(at, _)| at - 8).collect();
    let last = *starts.last().expect("a frame");
    // Two wrong bytes of one frame: those of two frames are put right one by one.
    let points: Vec<usize> =
        (0..whole.len() - 1).step_by(trials(37, 1)).filter(|at| !starts.contains(&(at + 1))).collect();
    each(&points, |at| {
        let folder = folder();
        copy(original.path(), folder.path());
        let path = &segments(folder.path())[0];
        let mut bytes = whole.clone();
        bytes[*at] ^= 0x5a;
        bytes[at + 1] ^= 0x33;
        fs::write(path, &bytes).expect("written");
        fs::remove_dir_all(folder.path().join("index")).expect("removed");
        match open_guarded(folder.path()) {
            Err(LedgerError::Journal(_)) if at + 1 < last => {
                assert_eq!(fs::read(path).expect("readable"), bytes, "byte {at}: the evidence was changed");
            }
            // The very last frame cannot be told from one that the power cut off.
            Ok((_, found)) if at + 1 >= last => {
                assert!(found.notes.iter().any(|note| note.contains("torn tail")), "byte {at}: {:?}", found.notes);
                assert_eq!(found.board.ended, board.ended, "byte {at}");
            }
            other => panic!("byte {at} of {last}: {:?}", other.map(|(_, found)| found.notes)),
        }
    });
    println!("torture: journal: {} double damages tried, all noticed", points.len());
}

#[test]
fn a_journal_that_is_cut_short_anywhere_keeps_all_that_is_whole() {
    let (original, board) = written(1 << 20);
    let path = segments(original.path()).remove(0);
    let whole = fs::read(&path).expect("readable");
    let starts: Vec<usize> =
        whole.windows(9).enumerate().filter(|(_, bytes)| *bytes == b"{\"frame\":").map(|(at, _)| at - 8).collect();
    let points: Vec<usize> = (0..=whole.len()).step_by(trials(23, 1)).collect();
    each(&points, |end| {
        let folder = folder();
        copy(original.path(), folder.path());
        fs::write(&segments(folder.path())[0], &whole[..*end]).expect("written");
        // The seal of a daemon that left in good order proves that something is missing.
        let sealed = open_guarded(folder.path());
        assert_eq!(matches!(sealed, Err(LedgerError::Short { .. })), *end < whole.len(), "cut at {end}");
        drop(sealed);
        // A crash leaves none.
        let _ = fs::remove_file(folder.path().join("index.seal"));
        let (ledger, found) = open_guarded(folder.path()).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        let frames = starts.iter().skip(1).chain([&whole.len()]).filter(|next| *next <= end).count();
        // The first execution takes the first three frames, and so on.
        assert_eq!(found.board.ended.len(), (frames / 3).min(5), "cut at {end}");
        assert!(ledger.cursor() <= 27 && found.board.live.len() <= 1);
        assert!(found.board.ended.is_subset(&board.ended));
    });
    println!("torture: journal: cut short at {} points, all that was whole was kept", points.len());
}
