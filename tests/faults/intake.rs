//! Bundles that come in pieces, twice, damaged, or are none at all.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Board, at, pod, text, until};
use crate::{prompt_status, refuses};

const ONE_LINE: &str = "echo x >> /data/starts";

fn uplink(board: &Board) -> PathBuf {
    board.path("state/uplink")
}

/// Puts bytes into the uplink directory as a transfer agent does: beside, then renamed.
fn deliver(board: &Board, name: &str, bytes: &[u8]) {
    fs::create_dir_all(uplink(board)).expect("a folder");
    let part = uplink(board).join(format!("{name}.part"));
    fs::write(&part, bytes).expect("written");
    fs::rename(part, uplink(board).join(name)).expect("renamed");
}

fn packed(board: &Board, script: &str) -> (String, Vec<u8>) {
    let bundle = board.pack(&pod("RUN", "p", script, &[]));
    let shown: Value = board.json(&["inspect", &bundle.display().to_string()]);
    (shown["bundle"]["execution"].as_str().expect("an id").to_owned(), fs::read(bundle).expect("a bundle"))
}

/// The reasons in `rejected/`, with the names of what they are about.
fn rejections(board: &Board) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = names(&board.path("state/rejected"))
        .into_iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| {
            let path = board.path("state/rejected").join(&name);
            (
                name.trim_end_matches(".json").to_owned(),
                serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON"),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn until_rejected(board: &Board, count: usize) -> Vec<(String, Value)> {
    until("the rejections", || {
        Some(rejections(board)).filter(|found| found.len() >= count && names(&uplink(board)).is_empty())
    })
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn known(board: &Board, id: &str) -> bool {
    board.tool(&["status", id]).status.success()
}

#[test]
fn part_is_ignored_until_it_is_renamed_and_then_taken_at_once() {
    let board = Board::new();
    let (id, bytes) = packed(&board, ONE_LINE);
    until("the uplink directory", || uplink(&board).exists().then_some(()));
    fs::write(uplink(&board).join("a.bundle.part"), &bytes).expect("written");
    // A later arrival has been dealt with: the part was seen before it, and left alone.
    let (other, others) = packed(&board, "true");
    deliver(&board, "b.bundle", &others);
    until("the other bundle", || known(&board, &other).then_some(()));
    assert!(!known(&board, &id), "a part was taken");
    assert_eq!(names(&uplink(&board)), ["a.bundle.part"]);

    let (_, took) = crate::timed(|| {
        fs::rename(uplink(&board).join("a.bundle.part"), uplink(&board).join("a.bundle")).expect("renamed");
        until("the bundle", || known(&board, &id).then_some(()));
    });
    assert!(took < std::time::Duration::from_secs(3), "it took {took:?}");
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    assert_eq!(names(&uplink(&board)), Vec::<String>::new());
}

#[test]
fn bundles_that_came_while_no_daemon_ran_are_taken_at_its_start() {
    let mut board = Board::cold("");
    let (first, first_bytes) = packed(&board, ONE_LINE);
    let (second, second_bytes) = packed(&board, ONE_LINE);
    deliver(&board, "1.bundle", &first_bytes);
    deliver(&board, "2.bundle", &second_bytes);
    board.start();
    for id in [&first, &second] {
        until("the bundle", || known(&board, id).then_some(()));
        assert_eq!(at(&board.ended(id), "/state"), "succeeded");
    }
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\nx\n"));
}

#[test]
fn uplink_directory_that_was_removed_and_made_again_is_watched_again() {
    let board = Board::new();
    until("the uplink directory", || uplink(&board).exists().then_some(()));
    fs::remove_dir(uplink(&board)).expect("removed");
    let (id, bytes) = packed(&board, ONE_LINE);
    until("the uplink directory again", || uplink(&board).exists().then_some(()));
    deliver(&board, "a.bundle", &bytes);
    until("the bundle", || known(&board, &id).then_some(()));
    board.ended(&id);
    let (id, bytes) = packed(&board, ONE_LINE);
    deliver(&board, "b.bundle", &bytes);
    until("the next bundle", || known(&board, &id).then_some(()));
    board.ended(&id);
}

#[test]
fn damaged_bundle_is_put_aside_with_its_reason_and_the_tool_says_the_same() {
    let board = Board::new();
    let (id, mut bytes) = packed(&board, ONE_LINE);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    deliver(&board, "bent.bundle", &bytes);
    let found = until_rejected(&board, 1);
    assert!(found[0].0.contains("bent"), "{found:?}");
    let said = at(&found[0].1, "/reasons/0/message").as_str().expect("a message").to_owned();
    assert_eq!(at(&found[0].1, "/name"), "format");
    let kept = board.path("state/rejected").join(format!("{}.bundle", found[0].0));
    assert_eq!(fs::read(kept).expect("the bundle"), bytes);

    let path = board.path("bent.packed");
    fs::write(&path, &bytes).expect("written");
    refuses(&board.tool(&["submit", &path.display().to_string()]), 2, &["bent.packed", &said]);
    assert!(!known(&board, &id));
    assert_eq!(names(&board.path("state/staging")), Vec::<String>::new());
}

#[test]
fn every_reason_of_a_refusal_is_said_at_once_and_before_anything_runs() {
    let board = Board::new();
    let tasks = pod("A", "a", ONE_LINE, &[])
        + &pod("B", "b", ONE_LINE, &["node: warp"])
        + &pod("C", "c", ONE_LINE, &["node: weft"]);
    let operation = board.path("nodes.yaml");
    fs::write(&operation, format!("id: test\ntasks:\n{tasks}")).expect("operation");
    let bundle = board.path("nodes.packed").display().to_string();
    let operation = operation.display().to_string();
    board.ask(&["pack", &operation, "--tenant", &board.tenant, "--node", "warp", "--node", "weft", "-o", &bundle]);
    let output = board.tool(&["submit", &bundle]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in ["warp", "weft", "steps[1].pod_run.node", "steps[2].pod_run.node", "mpu"] {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    deliver(&board, "nodes.bundle", &fs::read(&bundle).expect("a bundle"));
    let (_, rejection) = until_rejected(&board, 1).remove(0);
    assert_eq!(at(&rejection, "/reasons").as_array().map(Vec::len), Some(2), "{rejection:#}");
    assert_eq!(at(&board.json(&["list"]), "/executions").as_array().map(Vec::len), Some(0));
    assert_eq!(
        board
            .json(&["volumes"])
            .as_array()
            .map(|all| all.iter().filter(|one| one["tenant"] == board.tenant.as_str()).count()),
        Some(0)
    );
}

#[test]
fn bundle_outside_its_time_is_rejected_naming_both_times() {
    let board = Board::new();
    let operation = board.path("op.yaml");
    fs::write(&operation, format!("id: test\ntasks:\n{}", pod("RUN", "p", ONE_LINE, &[]))).expect("operation");
    let operation = operation.display().to_string();
    for (option, when, word) in [
        ("--valid-from", "2999-01-01T00:00:00Z", "valid from 2999"),
        ("--valid-until", "2001-01-01T00:00:00Z", "valid until 2001"),
    ] {
        let bundle = board.path("timed.packed").display().to_string();
        board.ask(&["pack", &operation, "--tenant", &board.tenant, option, when, "-o", &bundle]);
        refuses(&board.tool(&["submit", &bundle]), 2, &[word, "it is 2"]);
    }
    assert_eq!(names(&board.path("state/bundles")), Vec::<String>::new());
    assert_eq!(names(&board.path("state/staging")), Vec::<String>::new());
}

#[test]
fn known_execution_is_not_run_again_whichever_way_it_comes() {
    let board = Board::new();
    let (id, bytes) = packed(&board, &format!("{ONE_LINE}; until [ -e /data/go ]; do sleep 0.1; done"));
    let path = board.path("again.packed");
    fs::write(&path, &bytes).expect("written");
    let path = path.display().to_string();
    let again = || {
        let output = board.tool(&["submit", &path]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), id.clone()), "{}", text(&output.stderr));
        deliver(&board, "again.bundle", &bytes);
        until("the directory to be empty", || names(&uplink(&board)).is_empty().then_some(()));
    };
    again();
    board.reaches(&format!("{id}.RUN.0"), "running");
    again();
    let claim = format!("{}.payload", board.tenant);
    let volume = crate::support::podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(Path::new(&volume).join("go"), "").expect("a file");
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    again();
    assert_eq!(at(&board.status(&id), "/state"), "succeeded");
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
    assert_eq!(rejections(&board).len(), 0);
    crate::nothing_left(&board, &id);
}

#[test]
fn transfer_that_breaks_off_leaves_nothing_and_the_next_one_works() {
    let board = Board::new();
    let (id, bytes) = packed(&board, ONE_LINE);
    let head = |length: usize| {
        format!("POST /v1/bundles HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    // Broken in the middle of the body, and broken after it, before the answer.
    for sent in [&bytes[..bytes.len() / 2], &bytes[..]] {
        for _ in 0..8 {
            let mut socket = UnixStream::connect(board.path("run/control.sock")).expect("connected");
            socket.write_all(&head(bytes.len())).and_then(|()| socket.write_all(sent)).expect("sent");
            drop(socket);
        }
    }
    assert_eq!(board.ask(&["submit", &on_disk(&board, "whole", &bytes)]), id);
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    until("staging to be empty", || names(&board.path("state/staging")).is_empty().then_some(()));
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
}

fn on_disk(board: &Board, name: &str, bytes: &[u8]) -> String {
    let path = board.path(&format!("{name}.packed"));
    fs::write(&path, bytes).expect("written");
    path.display().to_string()
}

#[test]
fn staging_left_by_a_crash_is_gone_after_the_next_start() {
    let mut board = Board::new();
    let (_, bytes) = packed(&board, ONE_LINE);
    let mut socket = UnixStream::connect(board.path("run/control.sock")).expect("connected");
    let head = format!("POST /v1/bundles HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", bytes.len());
    socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&bytes[..2000])).expect("sent");
    until("the staged piece", || (!names(&board.path("state/staging")).is_empty()).then_some(()));
    board.crash();
    board.start();
    assert_eq!(names(&board.path("state/staging")), Vec::<String>::new());
}

#[test]
fn two_submits_at_once_are_both_taken_and_the_same_twice_is_taken_once() {
    let board = Board::new();
    let bundles: Vec<(String, String)> = (0..4)
        .map(|n| {
            let (id, bytes) = packed(&board, ONE_LINE);
            (id, on_disk(&board, &format!("n{n}"), &bytes))
        })
        .collect();
    std::thread::scope(|scope| {
        for (id, path) in bundles.iter().chain(&bundles) {
            let board = &board;
            scope.spawn(move || assert_eq!(&board.ask(&["submit", path]), id));
        }
    });
    for (id, _) in &bundles {
        assert_eq!(at(&board.ended(id), "/state"), "succeeded");
    }
    assert_eq!(board.in_volume("starts").expect("starts").lines().count(), bundles.len());
}

#[test]
fn held_bundle_waits_for_release_and_one_that_runs_cannot_be_released() {
    let board = Board::new();
    let script = format!("{ONE_LINE}; sleep 600");
    let bundle = board.pack(&pod("RUN", "p", &script, &[])).display().to_string();
    let id = board.ask(&["submit", "--hold", &bundle]);
    let status = board.status(&id);
    assert_eq!(at(&status, "/state"), "held");
    assert!(at(&status, "/waiting_for").as_str().is_some_and(|what| what.contains("release")), "{status:#}");
    assert_eq!(board.containers(&id), Vec::<String>::new());
    board.ask(&["release", &id]);
    board.reaches(&format!("{id}.RUN.0"), "running");
    refuses(&board.tool(&["release", &id]), 3, &["release", "running"]);
    board.ask(&["stop", "--now", &id]);
    board.ended(&id);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
}

#[test]
fn whatever_is_named_bundle_and_is_none_is_put_aside_and_memory_stays_flat() {
    let board = Board::new();
    until("the uplink directory", || uplink(&board).exists().then_some(()));
    let (id, bytes) = packed(&board, ONE_LINE);
    board.ask(&["submit", &on_disk(&board, "good", &bytes)]);
    board.ended(&id);
    let before = resident_kib(board.pid());

    let mut noise = vec![0; 300_000];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut noise)).expect("noise");
    deliver(&board, "noise.bundle", &noise);
    deliver(&board, "empty.bundle", b"");
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &noise[..5000]].concat();
    deliver(&board, "zstd.bundle", &zstd);
    deliver(&board, "cut.bundle", &bytes[..bytes.len() - 600]);
    deliver(&board, "long.bundle", &[&bytes[..], b"x"].concat());
    deliver(&board, &format!("{}.bundle", "n".repeat(240)), b"a long name");
    let sparse = board.path("sparse");
    File::create(&sparse).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
    fs::rename(&sparse, uplink(&board).join("sparse.bundle")).expect("renamed");
    let secret = board.path("secret");
    fs::write(&secret, &bytes).expect("written");
    std::os::unix::fs::symlink(&secret, board.path("link")).expect("a link");
    fs::rename(board.path("link"), uplink(&board).join("link.bundle")).expect("renamed");
    fs::create_dir(board.path("folder")).expect("a folder");
    fs::write(board.path("folder/inside"), "x").expect("written");
    fs::rename(board.path("folder"), uplink(&board).join("folder.bundle")).expect("renamed");
    let pipe = board.path("pipe").display().to_string();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    fs::rename(&pipe, uplink(&board).join("pipe.bundle")).expect("renamed");

    let found = until_rejected(&board, 10);
    assert_eq!(found.len(), 10, "{found:#?}");
    for (name, rejection) in &found {
        let said = at(rejection, "/reasons/0/message").as_str().unwrap_or_default();
        assert!(!said.is_empty() && at(rejection, "/code").is_number(), "{name}: {rejection}");
        for odd in ["link", "folder", "pipe"].iter().filter(|odd| name.ends_with(*odd)) {
            assert!(said.contains("regular file"), "{odd}: {said}");
        }
    }
    assert_eq!(fs::read(&secret).expect("still there"), bytes, "what a link pointed to was touched");
    let grown = resident_kib(board.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
    prompt_status(&board);
    let (id, bytes) = packed(&board, ONE_LINE);
    deliver(&board, "good.bundle", &bytes);
    until("a good one after them", || known(&board, &id).then_some(()));
    board.ended(&id);
}

#[test]
fn rejected_bundles_are_kept_up_to_their_limit() {
    let board = Board::with("retention: {rejected: 3}");
    for n in 0..6 {
        deliver(&board, &format!("bad{n}.bundle"), b"no bundle");
        until("it to be put aside", || names(&uplink(&board)).is_empty().then_some(()));
    }
    let kept: Vec<String> = until("the oldest to go", || Some(rejections(&board)).filter(|kept| kept.len() == 3))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for (name, n) in kept.iter().zip(3..) {
        assert!(name.ends_with(&format!("bad{n}")), "{kept:?}");
    }
    assert_eq!(names(&board.path("state/rejected")).len(), 6);
}

#[test]
fn bundle_beyond_the_size_limit_is_refused_with_the_limit_and_leaves_nothing() {
    let board = Board::with("limits: {bundle_bytes: 65536}");
    let big = board.path("big.packed");
    File::create(&big).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
    let before = resident_kib(board.pid());
    refuses(&board.tool(&["submit", &big.display().to_string()]), 2, &["65536"]);
    assert!(resident_kib(board.pid()).saturating_sub(before) < 16 * 1024, "memory grew");
    until("staging to be empty", || names(&board.path("state/staging")).is_empty().then_some(()));
    prompt_status(&board);
}
