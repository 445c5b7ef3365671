//! A state directory that cannot be written, and one that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Board, at, pod, podman, text, until};
use crate::{nothing_left, outbox_is_complete, prompt_status, refuses, troubled};

/// A small file system of a test's own, gone with it.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).expect("a folder");
        mount(&["-t", "tmpfs", "-o", options, "tmpfs", &at.display().to_string()]);
        Self(at.to_owned())
    }

    fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}"), &self.0.display().to_string()]);
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let output = Command::new("dd")
            .args(["if=/dev/zero", "bs=4096"])
            .arg(format!("of={}/ballast", self.0.display()))
            .output();
        assert!(!output.expect("dd runs").status.success(), "the disk is not full");
    }

    /// Gives back some of what fills it.
    fn give_back(&self, bytes: u64) {
        let ballast = fs::File::options().write(true).open(self.0.join("ballast")).expect("the ballast");
        let length = ballast.metadata().expect("a length").len();
        ballast.set_len(length - bytes).expect("shorter");
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).expect("the ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().expect("mount runs");
    assert!(output.status.success(), "mount {arguments:?}: {}", text(&output.stderr));
}

fn uplink_elsewhere(board: &Board) -> String {
    format!("uplink_dir: {}", board.path("uplink").display())
}

const UNTIL_GO: &str = "echo x >> /data/starts; until [ -e /data/go ]; do sleep 0.1; done; echo said; exit 4";

fn let_go(board: &Board) {
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(Path::new(&mountpoint).join("go"), "").expect("a file");
}

/// Steps that wait behind another: their common end is one decision, too long for what a full disk has left of its
/// last page.
fn queue() -> String {
    (0..60).map(|n| pod(&format!("LATER{n}"), &format!("later{n}"), "true", &["max_duration: 1"])).collect()
}

/// How much processor time a process has had, in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a status");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

#[test]
fn read_only_state_directory_is_a_trouble_and_no_end_and_writing_again_is_enough() {
    let mut board = Board::cold("");
    board.write_config(&uplink_elsewhere(&board));
    let disk = Disk::mounted(&board.path("state"), "size=64m,ro");
    board.start();
    assert!(troubled(&prompt_status(&board), "ledger_unavailable"));
    let bundle = board.pack(&pod("RUN", "p", "true", &[])).display().to_string();
    refuses(&board.tool(&["submit", &bundle]), 3, &["state/staging", "Read-only"]);
    fs::copy(&bundle, board.path("uplink/a.part")).expect("a copy");
    fs::rename(board.path("uplink/a.part"), board.path("uplink/a.bundle")).expect("renamed");
    assert_eq!(at(&board.json(&["list"]), "/executions").as_array().map(Vec::len), Some(0));

    disk.remount("rw");
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    // The one in the uplink directory was not lost, and is the same as the one submitted now.
    let id = board.ask(&["submit", &bundle]);
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    until("the uplink directory to be empty", || (!board.path("uplink/a.bundle").exists()).then_some(()));
    board.crash();
    drop(disk);
}

#[test]
fn ledger_of_a_full_disk_refuses_what_is_new_records_ends_and_works_again_with_space() {
    let mut board = Board::cold("");
    board.write_config(&uplink_elsewhere(&board));
    let disk = Disk::mounted(&board.path("state"), "size=16m");
    board.start();
    let before = board.submit(&pod("RUN", "a", "echo x >> /data/starts", &[]));
    assert_eq!(at(&board.ended(&before), "/state"), "succeeded");
    let running = board.submit(&(pod("RUN", "b", UNTIL_GO, &[]) + &queue()));
    board.reaches(&format!("{running}.RUN.0"), "running");

    disk.fill();
    let bundle = board.pack(&pod("RUN", "c", "echo x >> /data/starts", &[])).display().to_string();
    refuses(&board.tool(&["submit", &bundle]), 3, &["No space left"]);
    let_go(&board);
    // The end is recorded from the reserve, its results are safe; nothing new is accepted.
    let status = board.ended(&running);
    assert!(troubled(&prompt_status(&board), "disk_full"));
    assert_eq!(at(&board.status(&before), "/state"), "succeeded");
    refuses(&board.tool(&["submit", &bundle]), 3, &["No space left"]);
    assert!(!board.path("state/reserve").exists(), "it was given up");

    disk.free();
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 4);
    assert_eq!(board.ask(&["logs", &format!("{running}.RUN")]), "said");
    outbox_is_complete(&board, &running);
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    assert_eq!(fs::metadata(board.path("state/reserve")).expect("a reserve again").len(), 4 << 20);
    let after = board.ask(&["submit", &bundle]);
    assert_eq!(at(&board.ended(&after), "/state"), "succeeded");
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\nx\nx\n"));
    nothing_left(&board, &after);

    // What was said while the disk was full is still so after a restart.
    board.crash();
    board.start();
    for (id, state) in [(&before, "succeeded"), (&running, "failed"), (&after, "succeeded")] {
        assert_eq!(at(&board.status(id), "/state"), state);
    }
    board.crash();
    drop(disk);
}

#[test]
fn every_bundle_that_was_acknowledged_on_a_disk_that_fills_up_is_there_afterwards() {
    let mut board = Board::cold("");
    board.write_config(&uplink_elsewhere(&board));
    let disk = Disk::mounted(&board.path("state"), "size=16m");
    board.start();
    disk.fill();
    let mut held = Vec::new();
    for kib in [16, 64, 512] {
        disk.give_back(kib * 1024);
        // Each takes some room: sooner or later one is refused, at whichever write.
        for n in 0..200 {
            let bundle = board.pack(&(pod("RUN", &format!("p{n}"), "true", &[]) + &queue())).display().to_string();
            let output = board.tool(&["submit", "--hold", &bundle]);
            if output.status.code() == Some(3) {
                refuses(&output, 3, &["No space left"]);
                break;
            }
            assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stderr), board.log());
            held.push(text(&output.stdout));
        }
        prompt_status(&board);
        for id in &held {
            assert_eq!(at(&board.status(id), "/state"), "held");
        }
    }
    assert!(held.len() > 10, "only {} were taken", held.len());
    // Ends take room too: reports in the outbox, the index. Some are recorded, some not.
    let (early, late) = held.split_at(held.len() / 2);
    for (n, id) in early.iter().enumerate() {
        if n % 4 == 0 {
            disk.give_back(100 * 1024);
        }
        let output = board.tool(&["stop", id]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}\n{}", text(&output.stderr), board.log());
        prompt_status(&board);
    }
    disk.free();
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    for crash in [false, true] {
        if crash {
            board.crash();
            board.start();
        }
        let listed = board.json(&["list", "--state", "held", "--limit", "1000"]);
        let listed = at(&listed, "/executions").as_array().map_or(0, Vec::len);
        assert!((late.len()..=held.len()).contains(&listed), "{listed} of {} are held", held.len());
    }
    for id in &held {
        let _ = board.tool(&["stop", id]);
        assert_eq!(at(&board.ended(id), "/reason/name"), "stopped");
    }
    for id in late {
        outbox_is_complete(&board, id);
    }
    assert_eq!(at(&prompt_status(&board), "/health"), "ok");
    board.crash();
    drop(disk);
}

#[test]
fn trouble_of_a_disk_that_was_full_goes_without_anybody_submitting() {
    let mut board = Board::cold("");
    board.write_config(&uplink_elsewhere(&board));
    let disk = Disk::mounted(&board.path("state"), "size=16m");
    board.start();
    let id = board.submit(&(pod("RUN", "p", "sleep 600", &[]) + &queue()));
    board.reaches(&format!("{id}.RUN.0"), "running");
    disk.fill();
    board.ask(&["stop", "--now", &id]);
    assert_eq!(at(&board.ended(&id), "/reason/name"), "stopped");
    assert!(troubled(&prompt_status(&board), "disk_full"));
    disk.free();
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    board.crash();
    drop(disk);
}

#[test]
fn deadline_that_passes_on_a_full_disk_is_recorded_and_keeps_the_processor_idle() {
    let mut board = Board::cold("");
    board.write_config(&format!("{}\ntime_scale: 60", uplink_elsewhere(&board)));
    let disk = Disk::mounted(&board.path("state"), "size=16m");
    board.start();
    let id = board.submit(&(pod("RUN", "p", "sleep 600", &["max_duration: 1"]) + &queue()));
    board.reaches(&format!("{id}.RUN.0"), "running");
    // With Podman away, it is the budget that ends the step.
    board.podman.freeze();
    disk.fill();
    until("the deadline", || troubled(&prompt_status(&board), "disk_full").then_some(()));
    board.reaches(&format!("{id}.RUN"), "unknown");
    let (spent, took) = crate::timed(|| {
        let before = ticks(board.pid());
        // Some questions and a wait: a stretch of time in which the daemon has nothing else to do.
        assert_eq!(board.tool(&["wait", &id, "--timeout", "3s"]).status.code(), Some(5));
        ticks(board.pid()) - before
    });
    assert!(spent < 100, "{spent} ticks of processor time in {took:?} of doing nothing");
    disk.free();
    board.podman.thaw();
    assert_eq!(at(&board.ended(&id), "/state"), "unknown");
    until("the leftover to go", || board.containers(&id).is_empty().then_some(()));
    board.crash();
    drop(disk);
}

#[test]
fn damaged_journal_is_a_trouble_that_names_the_file_and_nothing_is_accepted() {
    let mut board = Board::new();
    for n in 0..2 {
        let id = board.submit(&pod("RUN", &format!("p{n}"), "true", &[]));
        board.ended(&id);
    }
    board.crash();
    let journal =
        fs::read_dir(board.path("state/journal")).expect("a folder").flatten().next().expect("a segment").path();
    let mut bytes = fs::read(&journal).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&journal, &bytes).expect("written");
    // The index is gone too, so that the damage is met.
    fs::remove_dir_all(board.path("state/index")).expect("removed");
    board.start();
    let status = prompt_status(&board);
    assert!(troubled(&status, "ledger_unavailable"));
    let said = at(&status, "/troubles/0/message").as_str().expect("a message").to_owned();
    assert!(said.contains(&journal.display().to_string()) && said.contains("damaged"), "{said}");
    let bundle = board.pack(&pod("RUN", "q", "true", &[])).display().to_string();
    refuses(&board.tool(&["submit", &bundle]), 3, &["damaged"]);
    assert_eq!(fs::read(&journal).expect("read"), bytes, "the evidence was changed");
}

#[test]
fn damaged_or_missing_index_is_rebuilt_from_the_journal() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", "exit 5", &[]));
    board.ended(&id);
    let history = board.ask(&["history", &id]);
    for damage in [true, false] {
        board.crash();
        let index = board.path("state/index");
        if damage {
            let db = index.join("db");
            let mut bytes = fs::read(&db).expect("read");
            bytes.iter_mut().step_by(3).for_each(|byte| *byte = !*byte);
            fs::write(db, bytes).expect("written");
        } else {
            fs::remove_dir_all(index).expect("removed");
        }
        board.start();
        assert_eq!(at(&prompt_status(&board), "/health"), "ok");
        assert_eq!(at(&board.status(&id), "/steps/0/jobs/0/exit_code"), 5);
        assert_eq!(board.ask(&["history", &id]), history);
    }
}

#[test]
fn full_outbox_refuses_what_is_new_drops_nothing_and_an_acknowledgement_is_enough() {
    let mut board = Board::cold("retention: {outbox_bytes: 20000}");
    board.start();
    let mut waiting = Vec::new();
    let bundle = board.pack(&pod("RUN", "last", "true", &[])).display().to_string();
    while !troubled(&prompt_status(&board), "outbox_full") {
        let id = board.submit_held(&pod("RUN", "p", "true", &[]));
        board.ask(&["stop", &id]);
        board.ended(&id);
        waiting.push(id);
        assert!(waiting.len() < 10, "it never is full");
    }
    refuses(&board.tool(&["submit", &bundle]), 3, &["retention.outbox_bytes", "downlink ack"]);
    waiting.iter().for_each(|id| outbox_is_complete(&board, id));
    for id in &waiting {
        board.ask(&["downlink", "ack", id]);
    }
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
    board.ask(&["submit", "--hold", &bundle]);
}

#[test]
fn events_begin_at_the_oldest_that_is_kept_and_older_cursors_are_refused() {
    let mut board = Board::cold("retention: {executions: 2, segment_bytes: 16384}");
    board.start();
    let events = |since: &[&str]| board.tool(&[&["-o", "json", "events"], since].concat());
    until("a compaction", || {
        let id = board.submit_held(&pod("RUN", "p", "true", &[]));
        board.ask(&["stop", &id]);
        board.ended(&id);
        (events(&["--since", "0"]).status.code() != Some(0)).then_some(())
    });
    refuses(&events(&["--since", "0"]), 4, &["the oldest that is kept is "]);
    let all = events(&[]);
    assert_eq!(all.status.code(), Some(0), "{}", text(&all.stderr));
    let first: serde_json::Value =
        serde_json::from_str(text(&all.stdout).lines().next().expect("an event")).expect("JSON");
    assert!(first["cursor"].as_u64().expect("a number") > 1);
    let state = board.path("state").display().to_string();
    refuses(&board.tool(&["ledger", "show", "--since", "0", &state]), 4, &["the oldest that is kept is "]);
}
