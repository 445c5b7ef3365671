//! What must be true of an execution that has ended, whatever went wrong meanwhile.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test program includes this file and uses its part of it; a test says what it expects"
)]

use serde_json::Value;

use crate::support::{Board, at};

/// Nothing of an execution is left: no container, nothing staged, nothing half made.
pub fn nothing_left(board: &Board, id: &str) {
    assert_eq!(board.containers(id), Vec::<String>::new(), "containers are left");
    let state = board.path("state");
    for folder in ["staging", "outgoing", "bundles"] {
        let left: Vec<_> =
            std::fs::read_dir(state.join(folder)).map(|names| names.flatten().collect()).unwrap_or_default();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    let parts = walk(&board.outbox(id));
    assert!(parts.iter().all(|path| !path.ends_with(".part")), "{parts:?}");
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map(|names| names.flatten().collect::<Vec<_>>()).unwrap_or_default() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path.display().to_string()) }
    }
    found
}

/// The entry of an execution is in the outbox, and every file of it is as its report says.
pub fn outbox_is_complete(board: &Board, id: &str) {
    let entry = board.outbox(id);
    let report: Value =
        serde_json::from_slice(&std::fs::read(entry.join("report.json")).expect("a report")).expect("JSON");
    let files = at(&report, "/files").as_array().expect("a list");
    for file in files {
        let path = entry.join(file["path"].as_str().expect("a path"));
        let (size, digest) = perigee::disk::digest(&path).expect("a file of the report");
        assert_eq!((Some(size), file["sha256"].as_str()), (file["size"].as_u64(), Some(digest.to_string().as_str())));
    }
    assert_eq!(walk(&entry).len(), files.len() + 1, "files that no report names: {:?}", walk(&entry));
}

/// The reason of a step or job, by name.
pub fn reason(status: &Value, pointer: &str) -> String {
    at(status, &format!("{pointer}/reason/name")).as_str().expect("a name").to_owned()
}

/// Cursors follow each other, from the acceptance to the end, and nothing is there twice.
pub fn has_no_gap(history: &Value, id: &str) {
    let lines = history.as_array().expect("lines");
    let cursors: Vec<u64> = lines.iter().map(|line| line["cursor"].as_u64().expect("a number")).collect();
    assert!(cursors.windows(2).all(|pair| pair[1] == pair[0] + 1), "{cursors:?}");
    assert_eq!(lines.first().map(|line| &line["event"]), Some(&Value::from("accepted")));
    assert_eq!(lines.last().map(|line| &line["event"]), Some(&Value::from("ended")), "{history:#}");
    // TERM and KILL are both a stop, of another detail.
    // It may have been interrupted more than once.
    let lines = lines.iter().filter(|line| line["event"] != "interrupted");
    let said: Vec<[&Value; 3]> = lines.map(|line| [&line["id"], &line["event"], &line["detail"]]).collect();
    for (index, one) in said.iter().enumerate() {
        let again = said[index + 1..].contains(one);
        assert!(!again, "{one:?} is there twice in the history of {id}");
    }
}
