//! Journals that earlier versions wrote are read for ever.

use std::fs;
use std::path::Path;

use perigee::ledger::check;
use perigee::ledger::{Ledger, VERSION};

use crate::script::accept;

/// Version 1: a real run of four operations; one succeeded, one failed, one was stopped, one is held.
const V1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ledger/fixtures/v1");
const ENDED: [(&str, &str, usize); 3] = [
    ("01a1ffcc-1c8b-72dc-993d-76d3c3a78009", "succeeded", 19),
    ("01a1ffcc-1ca0-7795-8fb0-955ce5bbbfd8", "failed", 13),
    ("01a1ffcc-1cab-7393-b1e8-7d199ee9ad59", "failed", 13),
];
const HELD: &str = "01a1ffcc-1cb4-7555-9bb6-3aeda5d271fe";

/// Version 2: a real run whose journal was compacted; 24 are forgotten, one had an array and a retry, one succeeded,
/// one was paused and stopped, one is held.
const V2: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ledger/fixtures/v2");
const ENDED_V2: [(&str, &str, usize); 3] = [
    ("01a2007d-9a36-73c8-ac45-c28999458ed0", "failed", 38),
    ("01a2007d-a183-7046-91e7-7442dc2c3270", "succeeded", 11),
    ("01a2007d-a3e6-741e-b73a-e24aeb0765cc", "failed", 15),
];
const HELD_V2: &str = "01a2007d-aa72-7375-8231-c2a5ffebfef8";

/// Version 3: a real run with its elapsed time noted; one loaded an image and succeeded, one failed twice, one was ended by
/// a quarantine, one is held.
const V3: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ledger/fixtures/v3");
const ENDED_V3: [(&str, &str, usize); 3] = [
    ("01a2013b-c86a-7470-af70-4bf37087f1b0", "succeeded", 13),
    ("01a2013b-dc11-7774-9f7d-861063ce6fb7", "failed", 19),
    ("01a2013b-e176-755a-bb22-98e7a12e8e21", "failed", 12),
];
const HELD_V3: &str = "01a2013b-e44d-70dc-afd6-8e6a4382b555";

fn copy(from: &str, to: &Path) {
    fs::create_dir_all(to.join("journal")).expect("a folder");
    for entry in fs::read_dir(Path::new(from).join("journal")).expect("a fixture") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join("journal").join(path.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn journal_of_version_1_is_read_and_goes_on_as_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(V1, folder.path());
    for start in 0..3 {
        let (mut ledger, found) = Ledger::open(folder.path()).expect("opens");
        assert_eq!(found.notes, Vec::<String>::new());
        let mut board = found.board;
        assert_eq!((board.live.len(), board.ended.len()), (1 + start, 3));
        assert!(board.live.contains_key(&HELD.parse().expect("a UUID")));
        let queries = ledger.queries().expect("an index");
        for (text, state, records) in ENDED {
            let id = text.parse().expect("a UUID");
            let kept = queries.index().get(id).expect("readable").expect("there");
            assert_eq!(kept.status.state.as_str(), state);
            assert_eq!(queries.history(id).expect("readable").len(), records, "{text}");
        }
        let n = u32::try_from(start).expect("small");
        accept(&mut ledger, &mut board, 100 + n);
        let cursors: Vec<u64> =
            queries.events(0, 1000).expect("readable").into_iter().map(|(cursor, _)| cursor).collect();
        assert_eq!(cursors, (1..=ledger.cursor()).collect::<Vec<_>>(), "without a gap from one version to the next");
    }
    let versions: Vec<u32> =
        check::check(folder.path()).expect("readable").segments.iter().map(|segment| segment.version).collect();
    assert_eq!(versions, [1, VERSION]);
}

#[test]
fn journal_of_version_1_with_a_torn_tail_is_cut_as_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(V1, folder.path());
    let path = crate::segment(folder.path());
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, &whole[..whole.len() - 5]).expect("written");
    let (_, found) = Ledger::open(folder.path()).expect("opens");
    assert!(found.notes.iter().any(|note| note.contains("torn tail")), "{:?}", found.notes);
    assert_eq!((found.board.live.len(), found.board.ended.len()), (0, 3), "the last one was not whole");
}

#[test]
fn journal_of_version_2_is_read_and_goes_on_as_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(V2, folder.path());
    for start in 0..2 {
        let (mut ledger, found) = Ledger::open(folder.path()).expect("opens");
        assert_eq!(found.notes, Vec::<String>::new());
        let mut board = found.board;
        assert_eq!((board.live.len(), board.ended.len()), (1 + start, 24 + 3));
        assert!(board.live.contains_key(&HELD_V2.parse().expect("a UUID")));
        let queries = ledger.queries().expect("an index");
        for (text, state, records) in ENDED_V2 {
            let id = text.parse().expect("a UUID");
            let kept = queries.index().get(id).expect("readable").expect("there");
            assert_eq!(kept.status.state.as_str(), state);
            assert_eq!(queries.history(id).expect("readable").len(), records, "{text}");
        }
        accept(&mut ledger, &mut board, 100 + u32::try_from(start).expect("small"));
    }
    let versions: Vec<u32> =
        check::check(folder.path()).expect("readable").segments.iter().map(|segment| segment.version).collect();
    assert_eq!(versions, [2, 2, VERSION]);
}

#[test]
fn journal_of_version_3_is_read_and_goes_on_as_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(V3, folder.path());
    for start in 0..2 {
        let (mut ledger, found) = Ledger::open(folder.path()).expect("opens");
        assert_eq!(found.notes, Vec::<String>::new());
        let mut board = found.board;
        assert_eq!((board.live.len(), board.ended.len()), (1 + start, 3));
        let live = &board.live[&HELD_V3.parse().expect("a UUID")];
        assert!(!live.plan.look_ahead, "what was accepted then is not looked ahead in now");
        let queries = ledger.queries().expect("an index");
        for (text, state, records) in ENDED_V3 {
            let id = text.parse().expect("a UUID");
            let kept = queries.index().get(id).expect("readable").expect("there");
            assert_eq!(kept.status.state.as_str(), state);
            assert_eq!(queries.history(id).expect("readable").len(), records, "{text}");
        }
        accept(&mut ledger, &mut board, 100 + u32::try_from(start).expect("small"));
    }
    let versions: Vec<u32> =
        check::check(folder.path()).expect("readable").segments.iter().map(|segment| segment.version).collect();
    assert_eq!(versions, [3, VERSION]);
}
