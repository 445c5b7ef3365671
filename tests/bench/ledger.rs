//! The ledger: one commit, start-up and questions with few and many ended executions, decisions as bundles grow.
//!
//! Must not: write a journal by any hand but the library's.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use perigee::ledger::{Found as Replayed, Ledger};

use perigee::plan::{Dependency, Needs, Plan};
use perigee::sequence::state::{Exit, Verdict};
use perigee::sequence::{Board as State, Event, Record, Recorded, apply, decide};
use perigee::time::{BootTime, Timestamp};

use crate::figures::{Goal, Row, Series};
use crate::machine;
use crate::rig::{Image, Rig};
use crate::script::{happen, id, life, plan};
use crate::support::{Board, signal};
use crate::{Found, names};

const COMMITS: u32 = 1000;
const SIZES: [u32; 3] = [10, 1000, 10_000];
const STARTS: usize = 10;
const ASKED: usize = 1000;
/// More than any size here: nothing is forgotten.
const KEEP_ALL: &str = "retention: {executions: 20000}\n";

/// What the loop records when a plain step ends and the next begins.
fn decision(n: u32) -> Vec<Recorded> {
    let (step, job) = (0, 0);
    let ended = Record::JobEnded {
        step,
        job,
        verdict: Verdict::Succeeded,
        exit: Some(Exit { code: 0, oom: false, cpu_ms: Some(12) }),
    };
    let records = [
        ended,
        Record::StepEnded { step, verdict: Verdict::Succeeded, output: None },
        Record::StepStarted { step: 1 },
        Record::JobPreparing { step: 1, job, attempt: 1 },
    ];
    let at = Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(1000) };
    records.into_iter().map(|record| Recorded { execution: id(n), at, record }).collect()
}

/// A commit, beside as many bytes that are appended and flushed.
pub fn commit(_: &Image) -> Found {
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder");
    let (mut ledger, _) = Ledger::open(folder.path()).expect("a ledger");
    let bare = File::create(folder.path().join("bare")).expect("a file");
    let (mut ours, mut other, mut end) = (vec![], vec![], 0);
    for n in 0..COMMITS {
        let records = decision(n);
        let start = machine::now();
        let bytes = ledger.commit(&records).expect("committed").bytes;
        ours.push(machine::since(start));
        let block = vec![b'x'; usize::try_from(bytes).expect("small")];
        let start = machine::now();
        bare.write_all_at(&block, end).and_then(|()| bare.sync_data()).expect("appended");
        other.push(machine::since(start));
        end += bytes;
    }
    let note = format!("commit: 4 records, {} bytes", end / u64::from(COMMITS));
    let row = Row::of("commit of one decision, ms", Series::of(ours)).beside("append + fdatasync", Series::of(other));
    Found { rows: vec![row.goal(Goal::Within(1.3))], notes: vec![note] }
}

/// Puts ended executions into the ledger of a board whose daemon does not run. Returns milliseconds for each decision.
fn fill(board: &Board, executions: u32) -> f64 {
    let (mut ledger, Replayed { board: mut state, .. }) = Ledger::open(&board.path("state")).expect("a ledger");
    let start = machine::now();
    for n in 1..=executions {
        life(n).into_iter().for_each(|event| happen(&mut ledger, &mut state, event));
    }
    let took = machine::since(start) / f64::from(executions) / 3.0;
    ledger.close().expect("sealed");
    took
}

/// A daemon that was started by hand; killed when it is let go of.
struct Daemon(Child);

impl Daemon {
    /// Lets it leave in good order.
    fn leave(mut self) {
        signal(self.0.id(), "TERM");
        self.0.wait().expect("it left");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon, and how long after exec it said that it is ready.
fn started(board: &Board) -> (Daemon, f64) {
    let socket = board.path("notify.sock");
    let _ = std::fs::remove_file(&socket);
    let told = UnixDatagram::bind(&socket).expect("a socket");
    told.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_perigeed"));
    daemon.arg("--config").arg(board.path("perigee.yaml")).env("NOTIFY_SOCKET", &socket);
    let start = machine::now();
    let child = Daemon(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("perigeed starts"));
    let mut message = [0; 4096];
    loop {
        let length = told.recv(&mut message).expect("a message");
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return (child, machine::since(start));
        }
    }
}

/// How long starts take after a good end, and after a crash.
fn starts(board: &Board, empty: bool) -> (Vec<f64>, Vec<f64>) {
    let (mut after_end, mut after_crash) = (vec![], vec![]);
    for round in 0..STARTS {
        if empty {
            let _ = std::fs::remove_dir_all(board.path("state"));
        }
        let (mut daemon, took) = started(board);
        after_end.push(took);
        if !empty && round < STARTS / 2 {
            drop(daemon);
            let (next, took) = started(board);
            after_crash.push(took);
            daemon = next;
        }
        daemon.leave();
    }
    (after_end, after_crash)
}

/// How long opening alone takes, a seal being there; in this process, which is as optimised as the daemon.
fn opened(board: &Board) -> Series {
    Series::of((0..STARTS / 2).map(|_| {
        let start = machine::now();
        let (ledger, _) = Ledger::open(&board.path("state")).expect("a ledger");
        let took = machine::since(start);
        ledger.close().expect("sealed");
        took
    }))
}

/// exec → READY with nothing and with more and more ended executions.
pub fn ready(_: &Image) -> Found {
    let empty = Board::cold("");
    let row = Row::of("exec → READY, an empty state directory, ms", Series::of(starts(&empty, true).0));
    let mut found = Found { rows: vec![row.goal(Goal::AtMost(10.0))], notes: vec![] };
    drop(empty);
    for executions in SIZES {
        let board = Board::cold(KEEP_ALL);
        let took = fill(&board, executions);
        let open = opened(&board).shown();
        found.notes.push(format!(
            "ledger of {executions} ended executions: {took:.3} ms for each decision that wrote it; `Ledger::open` alone {open} ms"
        ));
        let (after_end, after_crash) = starts(&board, false);
        let row = Row::of(format!("exec → READY with {executions} ended executions, ms"), Series::of(after_end));
        found.rows.push(if executions == 10_000 { row.goal(Goal::AtMost(40.0)) } else { row });
        let row = format!("the same after a crash (the index is made anew), {executions} executions, ms");
        found.rows.push(Row::of(row, Series::of(after_crash)));
    }
    found
}

fn p99(values: Vec<f64>) -> Series {
    Series::of(Series::of(values).at(0.99))
}

/// How fast questions are answered while a group runs, with more and more ended executions.
pub fn status(image: &Image) -> Found {
    const ALIVE_MS: u32 = 12_000;
    let mut found = Found::default();
    for executions in SIZES {
        let rig = Rig::prepared(image, KEEP_ALL, |board| {
            fill(board, executions);
        });
        let members = names("m", 2);
        let tasks: Vec<String> =
            members.iter().enumerate().map(|(place, name)| rig.member(&format!("M{place}"), name, ALIVE_MS)).collect();
        let running = rig.board.submit(&tasks.concat());
        rig.board.reaches(&running, "running");
        for (what, path) in [
            ("`status`", "/v1/status".to_owned()),
            ("`status EXECUTION`, running", format!("/v1/executions/{running}")),
            ("`status EXECUTION`, ended", format!("/v1/executions/{}", id(executions / 2))),
            ("`list`, the newest 100", "/v1/executions?limit=100".to_owned()),
        ] {
            let times = if path.contains("limit") { ASKED / 10 } else { ASKED };
            let took = rig.questions(&[path], times);
            let row =
                Row::of(format!("{what}, {executions} ended executions, a group runs, p99 of {times}, ms"), p99(took));
            let judged = executions == 10_000 && !what.contains("list");
            found.rows.push(if judged { row.goal(Goal::AtMost(5.0)) } else { row });
        }
        let memory = machine::pss_mb(rig.board.pid());
        found
            .rows
            .push(Row::of(format!("PSS with {executions} ended executions, a group runs, MB"), Series::of([memory])));
        rig.board.ask(&["stop", "--now", &running]);
        rig.over(&running);
    }
    found
}

/// The plan of the shortest execution, with more steps.
fn chain_of(steps: usize) -> Arc<Plan> {
    let one = plan(1);
    let step = |number: usize| {
        let mut step = one.steps[0].clone();
        step.id = format!("S{number}").parse().expect("a name");
        step.after = number.checked_sub(1).map(|step| Dependency { step, needs: Needs::Ended }).into_iter().collect();
        step
    };
    Arc::new(Plan { steps: (0..steps).map(step).collect(), ..(*one).clone() })
}

/// Thinking alone, without disk and Podman: decide and apply for each step of a chain.
pub fn decisions(_: &Image) -> Found {
    let now = Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(1000) };
    let mut rows = Vec::new();
    for steps in [1, 100, 1000] {
        let mut state = State::default();
        let mut happen = |event: Event| {
            let decision = decide(&state, event, now).expect("legal");
            decision.records.iter().for_each(|record| drop(apply(&mut state, record).expect("fits")));
        };
        happen(Event::Submitted { plan: chain_of(steps), held: false });
        let took = (0..steps).map(|step| {
            let start = machine::now();
            happen(Event::ErrandEnded { execution: id(1), step, result: Ok(None) });
            machine::since(start) * 1000.0
        });
        rows.push(Row::of(format!("decide + apply, the end of a step of {steps}, µs"), Series::of(took)));
    }
    Found { rows, notes: vec![] }
}

/// Bundles of more and more steps: how long they take to be accepted.
pub fn bundles(image: &Image) -> Found {
    let rig = Rig::new(image);
    let mut found = Found::default();
    for steps in [1, 100, 1000] {
        let (mut taken, mut shown) = (vec![], vec![]);
        for round in 0..5 {
            let tasks: Vec<String> =
                (0..steps).map(|step| rig.task(&format!("S{step}"), &format!("x{round}"), 0)).collect();
            let bundle = rig.board.pack(&tasks.concat()).display().to_string();
            let start = machine::now();
            let execution = rig.board.ask(&["submit", "--hold", &bundle]);
            taken.push(machine::since(start));
            shown.extend(rig.questions(&[format!("/v1/executions/{execution}")], 50));
            rig.board.ask(&["stop", &execution]);
            rig.over(&execution);
        }
        found
            .rows
            .push(Row::of(format!("`submit --hold` of a bundle of {steps} steps → accepted, ms"), Series::of(taken)));
        found.rows.push(Row::of(format!("`status EXECUTION` of {steps} steps, ms"), Series::of(shown)));
    }
    found
}
