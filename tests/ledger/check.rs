//! `perigee ledger`: offline, beside a daemon, over damage; it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use perigee::ledger::Ledger;
use serde_json::Value;

use crate::{segment, written};

fn tool(arguments: &[&str], folder: &Path) -> Output {
    let tool = Command::new(env!("CARGO_BIN_EXE_perigee")).arg("ledger").args(arguments).arg(folder).output();
    tool.expect("perigee runs")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder and what it holds.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    found
}

#[test]
fn a_whole_ledger_is_told_as_whole_offline_and_beside_a_daemon_and_nothing_is_changed() {
    let (folder, _) = written();
    for sealed in [false, true] {
        let before = content(folder.path());
        let output = tool(&["check", "-o", "json"], folder.path());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = json(&output);
        assert_eq!(report["index"], if sealed { "agrees" } else { "unsealed" });
        assert_eq!((&report["live"], &report["kept"], &report["cursor"]), (&1.into(), &1.into(), &7.into()));
        assert_eq!(report["daemon"], false);
        assert_eq!(content(folder.path()), before);
        let (ledger, _) = Ledger::open(folder.path()).expect("opens");
        let output = tool(&["check", "-o", "json"], folder.path());
        assert_eq!((output.status.code(), &json(&output)["daemon"]), (Some(0), &true.into()), "{}", said(&output));
        ledger.close().expect("sealed");
    }
}

#[test]
fn every_damage_is_named_with_segment_and_offset_and_the_files_stay_as_they_are() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    for (at, flips, offset) in [(700, 1, Some(700)), (900, 2, None), (3, 1, Some(3)), (3, 2, Some(0))] {
        let mut damaged = whole.clone();
        damaged[at..at + flips].iter_mut().for_each(|byte| *byte ^= 0x41);
        fs::write(&path, &damaged).expect("written");
        let output = tool(&["check", "-o", "json"], folder.path());
        assert_eq!(output.status.code(), Some(6), "byte {at}");
        let damage = &json(&output)["damages"][0];
        assert_eq!((&damage["file"], &damage["mends"]), (&name.clone().into(), &(flips == 1).into()), "byte {at}");
        let named = damage["offset"].as_u64().expect("a number");
        assert!(offset.map_or(named <= at as u64 && named > 16, |offset| named == offset), "byte {at}: {named}");
        assert!(said(&output).starts_with(&format!("perigee: damaged: {name} at byte {named}: ")), "{}", said(&output));
        assert_eq!(fs::read(&path).expect("readable"), damaged);
    }
}

#[test]
fn a_tail_that_reads_as_zeros_because_it_was_never_written_is_no_damage() {
    let (folder, _) = written();
    let path = segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    let longer = |zeros: usize| [whole.as_slice(), &vec![0; zeros]].concat();
    let mut hollow = whole.clone();
    let end = whole.len();
    hollow[end - 40..end - 20].fill(0);
    for (what, torn) in [("short", longer(9)), ("a page", longer(4096)), ("a hole in the last frame", hollow)] {
        fs::write(&path, &torn).expect("written");
        let output = tool(&["check", "-o", "json"], folder.path());
        assert_eq!(output.status.code(), Some(0), "{what}: {}", said(&output));
        assert!(json(&output)["notes"].to_string().contains("torn tail"), "{what}");
        let (_, found) = Ledger::open(folder.path()).expect("opens");
        assert!(found.notes.iter().any(|note| note.contains("torn tail")), "{what}: {:?}", found.notes);
        fs::write(&path, &whole).expect("written");
    }
}

#[test]
fn an_index_that_lies_is_noticed_in_a_copy() {
    let (folder, _) = written();
    let (ledger, _) = Ledger::open(folder.path()).expect("opens");
    ledger.close().expect("sealed");
    let db = folder.path().join("index/db");
    let mut bytes = fs::read(&db).expect("readable");
    bytes[100] ^= 1;
    fs::write(&db, bytes).expect("written");
    let output = tool(&["check"], folder.path());
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("nothing is lost"), "{}", said(&output));
}

#[test]
fn a_missing_segment_is_a_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = perigee::ledger::Layout { segment_bytes: 2048, ..perigee::ledger::Layout::default() };
    let (mut ledger, found) = Ledger::open_with(folder.path(), layout.clone()).expect("opens");
    let mut board = found.board;
    for n in 1..=20 {
        crate::accept(&mut ledger, &mut board, n);
    }
    drop(ledger);
    let segments = crate::segments(folder.path());
    fs::remove_file(&segments[1]).expect("removed");
    let output = tool(&["check"], folder.path());
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("comes next"), "{}", said(&output));
    let error = Ledger::open_with(folder.path(), layout).expect_err("refused");
    assert!(perigee::run::chain(&error).contains("a segment is missing"), "{}", perigee::run::chain(&error));
}

#[test]
fn no_ledger_a_later_version_and_bad_usage_have_their_codes() {
    let empty = tempfile::tempdir().expect("a folder");
    let output = tool(&["check"], empty.path());
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert_eq!(tool(&["show"], empty.path()).status.code(), Some(4));
    assert_eq!(tool(&["chekc"], empty.path()).status.code(), Some(2));
    let (folder, _) = written();
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    for command in ["check", "show"] {
        let output = tool(&[command], folder.path());
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("version 9"), "{}", said(&output));
    }
}

#[test]
fn records_are_shown_as_events_are_from_a_cursor_on() {
    let (folder, _) = written();
    let lines = |output: &Output| -> Vec<Value> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let all = lines(&tool(&["-o", "json", "show"], folder.path()));
    assert_eq!(
        all.iter().map(|line| line["cursor"].as_u64().expect("a number")).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6, 7]
    );
    assert!(all[1]["id"].as_str().expect("text").ends_with(".UP"), "{}", all[1]);
    let some = lines(&tool(&["show", "--since", "5", "-o", "json"], folder.path()));
    assert_eq!(some, all[5..]);
    let people = tool(&["show"], folder.path());
    assert!(String::from_utf8_lossy(&people.stdout).contains("  accepted  (operation test of client1"));
}
