//! Containers that no execution wants any more, beside those that are none of ours.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::{Board, Podman, at, bed_environment, listed, pod, podman, until};
use crate::{prompt_status, reason, troubled};

/// Waits for a file in the volume that the test makes.
const PATIENT: &str = "echo x >> /data/starts; until [ -e /data/go ]; do sleep 0.1; done; exit 9";
const SHORT_GRACE: &str = "stop_grace_seconds: 1";
const DEAF: &str = "sleep 600";

/// A container made by hand as if a daemon had made it, which goes with its test.
struct Stray {
    id: String,
    name: String,
}

impl Stray {
    /// One of an execution that nobody knows, of this ledger.
    fn of(board: &Board, ledger: Option<&str>, script: &str) -> Self {
        Self::named(board, ledger, script, |name| name)
    }

    fn named(board: &Board, ledger: Option<&str>, script: &str, name: impl Fn(String) -> String) -> Self {
        let execution = uuid::Uuid::now_v7();
        let hex = execution.simple().to_string();
        let name = name(format!("{}.RUN.0.1", &hex[hex.len() - 12..]));
        let mut labels = format!(
            "--label=perigee=container --label=perigee.execution={execution} --label=perigee.step=RUN \
             --label=perigee.job=0 --label=perigee.attempt=1"
        );
        if let Some(ledger) = ledger {
            labels.push_str(&format!(" --label=perigee.ledger={ledger}"));
        }
        let folder = format!("--volume={}:/out", board.folder.path().display());
        let mut arguments = vec!["run", "--detach", "--network=none", "--name", &name, &folder];
        arguments.extend(labels.split_whitespace());
        arguments.extend(["localhost/busybox:1", "sh", "-c", script]);
        Self { id: podman(&arguments), name }
    }

    fn runs(&self) -> bool {
        !listed(&["ps", "--quiet", "--filter", &format!("id={}", self.id)]).is_empty()
    }

    fn goes(&self) {
        let all = || listed(&["ps", "--all", "--quiet", "--filter", &format!("id={}", self.id)]);
        until("an orphan to go", || all().is_empty().then_some(()));
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // It may be gone, as it should.
        let _ = Command::new("podman").envs(bed_environment()).args(["rm", "-f", "--time=0", &self.id]).output();
    }
}

fn ledger_of(board: &Board) -> String {
    fs::read_to_string(board.path("state/ledger-id")).expect("an identity").trim().to_owned()
}

fn let_go(board: &Board) {
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(std::path::Path::new(&mountpoint).join("go"), "").expect("a file");
}

fn metrics(board: &Board) -> String {
    let mut stream = UnixStream::connect(board.path("run/status.sock")).expect("connected");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn whole_log(board: &Board) -> String {
    fs::read_to_string(board.path("daemon.log")).expect("a log")
}

#[test]
fn orphans_of_our_ledger_are_told_to_end_and_removed_and_all_others_stay() {
    let mut board = Board::with(SHORT_GRACE);
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let live = board.containers(&id);
    assert_eq!(board.leave(), Some(0));
    let ours = ledger_of(&board);
    let another = uuid::Uuid::now_v7().to_string();
    let polite = "trap 'echo told > /out/told; exit 0' TERM; echo > /out/ready; sleep 600 & wait";
    let orphans = [
        Stray::of(&board, Some(&ours), polite),
        Stray::of(&board, Some(&ours), DEAF),
        Stray::of(&board, Some(&ours), "true"),
    ];
    let others = [
        Stray::of(&board, Some(&another), DEAF),
        Stray::of(&board, None, DEAF),
        // What an image made from one of ours would bring along.
        Stray::named(&board, Some(&ours), DEAF, |name| format!("copy-of-{name}")),
    ];
    until("the trap", || board.path("ready").exists().then_some(()));
    board.start();
    orphans.iter().for_each(Stray::goes);
    assert_eq!(fs::read_to_string(board.path("told")).expect("SIGTERM"), "told\n");
    assert_eq!(others.each_ref().map(Stray::runs), [true; 3]);
    assert_eq!(board.containers(&id), live);
    let log = whole_log(&board);
    for orphan in &orphans {
        let line = log.lines().find(|line| line.contains("removing an orphan") && line.contains(&orphan.name));
        assert!(line.is_some_and(|line| line.contains("the ledger knows no such execution")), "{log}");
    }
    until("the count", || metrics(&board).contains("perigee_orphans_removed_total 3\n").then_some(()));
    assert_eq!(at(&prompt_status(&board), "/health"), "ok");
    let_go(&board);
    assert_eq!(at(&board.ended(&id), "/steps/0/jobs/0/exit_code"), 9);
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"));
}

#[test]
fn nothing_is_an_orphan_while_the_ledger_cannot_be_read() {
    let mut board = Board::with(SHORT_GRACE);
    let id = board.submit(&pod("RUN", "p", PATIENT, &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let live = board.containers(&id);
    board.crash();
    let stray = Stray::of(&board, Some(&ledger_of(&board)), DEAF);
    let journal =
        fs::read_dir(board.path("state/journal")).expect("a folder").flatten().next().expect("a segment").path();
    let whole = fs::read(&journal).expect("read");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&journal, &bytes).expect("written");
    fs::remove_dir_all(board.path("state/index")).expect("removed");
    board.start();
    assert!(troubled(&prompt_status(&board), "ledger_unavailable"));
    // Each look at the ledger, 2 s after the one before, is published: time enough for two looks at Podman.
    let generation = || at(&prompt_status(&board), "/generation").as_u64().expect("a number");
    let first = generation();
    until("three looks at the ledger", || (generation() >= first + 3).then_some(()));
    assert_eq!((board.containers(&id), stray.runs()), (live.clone(), true));

    fs::write(&journal, &whole).expect("mended");
    stray.goes();
    let log = whole_log(&board);
    let place = |words: &str| log.find(words).unwrap_or_else(|| panic!("no `{words}` in {log}"));
    assert!(place("the ledger is available again") < place("removing an orphan"));
    assert_eq!(board.containers(&id), live);
    let_go(&board);
    assert_eq!(at(&board.ended(&id), "/steps/0/jobs/0/exit_code"), 9);
}

#[test]
fn podman_that_comes_back_is_looked_at_again() {
    let mut board = Board::with(SHORT_GRACE);
    board.podman.kill();
    // The daemon asks Podman nothing by itself while it answers: a task does.
    let id = board.submit(&pod("RUN", "p", "true", &[]));
    until("the trouble", || troubled(&prompt_status(&board), "engine_unreachable").then_some(()));
    let stray = Stray::of(&board, Some(&ledger_of(&board)), DEAF);
    board.podman = Podman::start(&board.path("podman.sock"));
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    stray.goes();
}

#[test]
fn worker_that_is_kept_on_purpose_outlives_restarts_and_goes_with_the_purge() {
    let mut board = Board::with(SHORT_GRACE);
    let gang = "- id: PI\n  type: dphi.space.cg2.pod.run\n  pod_name: pi\n  image: {name: busybox, tag: \"1\"}\n  \
                command: [\"true\"]\n  volume: payload\n  gang:\n    workers: 1\n    clean: none\n    worker:\n      \
                command: [\"true\"]\n";
    let id = board.submit(gang);
    board.ended(&id);
    let kept = board.containers(&id);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(board.leave(), Some(0));
    let stray = Stray::of(&board, Some(&ledger_of(&board)), DEAF);
    board.start();
    stray.goes();
    assert_eq!(board.containers(&id), kept);
    board.ask(&["purge", &id]);
    until("the purge", || board.containers(&id).is_empty().then_some(()));
}

#[test]
fn two_daemons_with_one_bundle_on_one_podman_leave_each_others_containers_alone() {
    let (first, second) = (Board::new(), Board::new());
    let bundle = first.pack(&pod("RUN", "p", PATIENT, &[])).display().to_string();
    let id = first.ask(&["submit", &bundle]);
    first.reaches(&format!("{id}.RUN.0"), "running");
    let live = first.containers(&id);
    assert_eq!(second.ask(&["submit", &bundle]), id);
    let status = second.ended(&id);
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "start_error");
    let why = at(&status, "/steps/0/jobs/0/reason/message").as_str().expect("a message").to_owned();
    assert!(why.contains("that of another ledger"), "{why}");
    second.ask(&["purge", &id]);
    // A purge that removed it would have by the end of the next execution.
    assert_eq!(at(&second.fly(&pod("NEXT", "q", "true", &[])), "/state"), "succeeded");
    assert_eq!(first.containers(&id), live);
    let_go(&first);
    assert_eq!(at(&first.ended(&id), "/steps/0/jobs/0/exit_code"), 9);
}
