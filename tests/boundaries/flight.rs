//! The sequence that is struck, and what must be true of it afterwards.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

use crate::line::{Line, lined};
use crate::support::{Board, at, pod, text, until};
use crate::truth::{has_no_gap, nothing_left, outbox_is_complete, reason};

/// A minute passes in 6 s: the pod that outlives its `max_duration` gets TERM after 6 s; KILL would come 6 s later.
const CONFIG: &str = "time_scale: 10\nstop_grace_seconds: 60";
/// The budget of that pod's step is 360 s: 36 s here. When this much of it is over, TERM comes early or not at all.
const LATE_SECONDS: f64 = 24.0;

/// How a flight ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// As one that nobody struck.
    Whole,
    /// Truthfully, with a pod whose fate nobody can know: Podman was killed while it started it.
    Lost,
    /// Truthfully, but the machine was so slow that a budget ran out: it says nothing of the point.
    Late,
}

/// Its steps, in order.
const STEPS: [&str; 5] = ["UP", "A", "T", "C", "DOWN"];
/// How a flight goes that nobody strikes.
const INTENDED: &str = "UP succeeded, A succeeded, T failed, C failed, DOWN succeeded; failed timeout; T timeout, C 7; \
                        started a c t; ended a c t; said out; archive true";
/// Those of them that run a pod, and the line that each pod writes.
const PODS: [(usize, &str); 3] = [(1, "a"), (2, "t"), (3, "c")];

/// Uplink; a group of two, one of which outlives its duration; a pod that fails and does not stop the rest; a downlink.
/// Every pod says when it starts and when it ends.
fn operation(board: &Board) -> String {
    fs::write(board.path("seed.txt"), "seed").expect("a file");
    let overstays = "trap 'echo t >> /data/ends; exit 0' TERM; echo t >> /data/starts; sleep 600 & wait";
    let quick = "echo a >> /data/starts; cat /data/in/seed.txt > /data/copy; echo out; echo a >> /data/ends";
    let fails = "echo c >> /data/starts; echo err >&2; echo c >> /data/ends; exit 7";
    let tasks = [
        "- {id: UP, type: dphi.space.cg2.uplink, volume: payload, source: [seed.txt], destination: /in}\n".to_owned(),
        pod("A", "a", quick, &["merge: true"]),
        pod("T", "t", overstays, &["merge: true", "max_duration: 1", "on_failure: continue"]),
        pod("C", "c", fails, &["on_failure: continue"]),
        "- {id: DOWN, type: dphi.space.cg2.downlink, volume: payload, source: [/copy], destination: /d}\n".to_owned(),
    ];
    format!("id: boundaries\ntasks:\n{}", tasks.concat())
}

/// A board of its own for one flight, its Podman behind a line.
pub(crate) struct Flight {
    pub(crate) board: Board,
    pub(crate) line: Line,
    bundle: String,
    /// Looked up when the flight has ended.
    volume: OnceLock<Option<PathBuf>>,
}

impl Flight {
    /// The daemon runs, the bundle is packed, nothing is submitted.
    pub(crate) fn ready() -> Self {
        let (mut board, line) = lined(CONFIG);
        board.start();
        let bundle = board.pack_whole(&board.tenant, &operation(&board)).display().to_string();
        Self { board, line, bundle, volume: OnceLock::new() }
    }

    /// Submits, and returns when what is awaited has come or the flight has ended: whether it has come.
    pub(crate) fn flies_until(&self, come: impl Fn() -> bool) -> bool {
        let submitted = self.board.tool(&["submit", &self.bundle]);
        if !submitted.status.success() {
            assert!(come(), "{}\n{}", text(&submitted.stderr), self.board.log());
            return true;
        }
        let mut waiting = self.board.tool_started(&["wait", &text(&submitted.stdout), "--timeout", "110s"]);
        let ended = until("the end of the flight", || {
            // Looked at first: what comes behind the end does not matter.
            let come = come();
            let over = waiting.try_wait().expect("waited");
            if come { Some(None) } else { over.map(Some) }
        });
        let Some(ended) = ended else {
            let _ = waiting.kill();
            let _ = waiting.wait();
            return true;
        };
        let come = come();
        assert!(come || ended.success(), "neither struck nor at its end\n{}", self.board.log());
        come
    }

    /// What was killed is there again.
    pub(crate) fn starts_again(&mut self) {
        self.board.crash();
        self.board.start();
    }

    /// Whether the daemon answers and its sequence is known; which one it is. It is submitted again: that must never
    /// make a second one of it.
    pub(crate) fn id(&self) -> String {
        self.board.ask(&["submit", &self.bundle])
    }

    /// Waits for the end, and looks how it went: all of it must be true, whichever it is.
    pub(crate) fn lands(&self) -> Landing {
        let id = self.id();
        let status = self.board.ended(&id);
        self.is_truthful(&id, &status);
        let went = self.went(&id, &status);
        if went == INTENDED {
            return Landing::Whole;
        }
        let is_lost = |(step, _)| {
            at(&status, &format!("/steps/{step}/jobs/0/reason")).get("name").is_some_and(|name| name == "lost")
        };
        if PODS.into_iter().any(is_lost) {
            return Landing::Lost;
        }
        if seconds(at(&status, "/steps/2")) > LATE_SECONDS {
            return Landing::Late;
        }
        let history = self.board.json(&["history", &id]);
        panic!("it went so:\n{went}\nand not so:\n{INTENDED}\n{status:#}\n{history:#}\n{}", self.board.log());
    }

    /// How it went, in a few words.
    fn went(&self, id: &str, status: &Value) -> String {
        let word = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let states = (0..STEPS.len()).map(|step| format!("{} {}", STEPS[step], word(&format!("/steps/{step}/state"))));
        let of_job = |pointer: &str| status.pointer(&format!("/steps/{pointer}")).cloned().unwrap_or_default();
        format!(
            "{}; {} {}; T {}, C {}; started {}; ended {}; said {}; archive {}",
            states.collect::<Vec<_>>().join(", "),
            word("/state"),
            word("/reason/name"),
            word("/steps/2/jobs/0/reason/name"),
            of_job("3/jobs/0/exit_code"),
            self.lines("starts").join(" "),
            self.lines("ends").join(" "),
            text(&self.board.tool(&["logs", &format!("{id}.A")]).stdout),
            self.board.outbox(id).join("DOWN.tar").exists(),
        )
    }

    /// What must be true however it went: nothing ran twice, what the ledger says of each pod agrees with what that pod
    /// has done, and all of it is told.
    pub(crate) fn is_truthful(&self, id: &str, status: &Value) {
        let (starts, ends) = (self.lines("starts"), self.lines("ends"));
        for (step, mark) in PODS {
            let job = at(status, &format!("/steps/{step}/jobs/0"));
            let of = |lines: &[String]| lines.iter().filter(|line| *line == mark).count();
            let told = || format!("{} is told as {job:#}\n{}", STEPS[step], self.board.log());
            assert!(of(&starts) <= 1 && of(&ends) <= 1, "it ran twice: {}", told());
            if !at(job, "/exit_code").is_null() {
                assert_eq!(of(&starts), 1, "it never ran: {}", told());
            }
            match at(job, "/state").as_str() {
                Some("succeeded") => assert_eq!((of(&starts), of(&ends)), (1, 1), "{}", told()),
                Some("failed") if at(job, "/exit_code").is_null() => {
                    let name = reason(job, "");
                    assert!(["timeout", "lost"].contains(&name.as_str()), "{}", told());
                    assert!(name == "lost" || of(&starts) == 0, "it ran, and nobody says so: {}", told());
                }
                Some("skipped") => assert_eq!(of(&starts), 0, "{}", told()),
                Some("failed" | "unknown") => {}
                other => panic!("{other:?}: {}", told()),
            }
        }
        outbox_is_complete(&self.board, id);
        has_no_gap(&self.board.json(&["history", id]), id);
        nothing_left(&self.board, id);
        self.no_storage_left(id);
        let state = self.board.path("state").display().to_string();
        let checked = self.board.tool(&["ledger", "check", &state]);
        assert_eq!(checked.status.code(), Some(0), "{}\n{}", text(&checked.stdout), text(&checked.stderr));
    }

    /// The lines of a file in the volume, in order of the alphabet.
    fn lines(&self, name: &str) -> Vec<String> {
        let folder = self.volume.get_or_init(|| self.board.volume());
        let text = folder.as_ref().and_then(|folder| fs::read_to_string(folder.join(name)).ok());
        let mut lines: Vec<String> = text.unwrap_or_default().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// No container of an execution is left, not even as storage that Podman has forgotten.
    fn no_storage_left(&self, id: &str) {
        let short = &id.replace('-', "")[20..];
        let request = "GET /v4.3.1/libpod/containers/json?all=true&external=true HTTP/1.0\r\nHost: d\r\n\r\n";
        // A listing breaks off when another flight removes something meanwhile: then it is asked for again.
        let answer = until("a listing", || {
            let mut podman = UnixStream::connect(&self.board.podman.socket).expect("podman");
            podman.write_all(request.as_bytes()).expect("asked");
            let mut answer = String::new();
            podman.read_to_string(&mut answer).expect("answered");
            answer.starts_with("HTTP/1.0 200").then_some(answer)
        });
        assert!(!answer.contains(short), "storage of {id} is left: {answer}");
    }
}

/// How long a step took.
fn seconds(step: &Value) -> f64 {
    let instant = |name: &str| -> jiff::Timestamp { at(step, name).as_str().expect("a time").parse().expect("a time") };
    instant("/ended_at").duration_since(instant("/started_at")).as_secs_f64()
}
