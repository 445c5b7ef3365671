//! The launch path and the exit path: turnaround, submission to start, the notice of an exit, groups.
//!
//! Must not: count what comes before the first round, when nothing is warm.

use crate::figures::{Goal, Row, Series};
use crate::machine::{self, ms};
use crate::rig::{Image, Rig, Stamp};
use crate::support::podman;
use crate::{Found, names};

/// Longer than the preparation of a pod takes.
const LONG_MS: u32 = 800;
const ROUNDS: usize = 4;
const STEPS: usize = 6;
const SHORT_MS: u32 = 300;
const LAUNCHES: usize = 10;
const GROUP: usize = 8;

/// From each end to the next start.
fn gaps(stamps: &[Stamp]) -> Vec<f64> {
    stamps.windows(2).map(|pair| ms(pair[0].end, pair[1].start)).collect()
}

/// The parts of a gap between two steps, in order.
#[derive(Default)]
struct Parts {
    noticed: Vec<f64>,
    prepared: Vec<f64>,
    launched: Vec<f64>,
}

impl Parts {
    fn take(&mut self, rig: &Rig<'_>, execution: &str, stamps: &[Stamp]) {
        let history = rig.history(execution);
        let when = |step: usize, event: &str| {
            let key = (format!("S{step}.0"), event.to_owned());
            *history.get(&key).unwrap_or_else(|| panic!("{key:?} is not in the history"))
        };
        for (step, pair) in stamps.windows(2).enumerate() {
            let (ended, prepared) = (when(step, "succeeded"), when(step + 1, "prepared"));
            self.noticed.push(ms(pair[0].end, ended));
            self.prepared.push(ms(ended, prepared));
            self.launched.push(ms(prepared, pair[1].start));
        }
    }

    fn notes(self) -> Vec<String> {
        [
            ("the process is gone → its end is decided", self.noticed),
            ("its end is decided → the next pod is prepared", self.prepared),
            ("the next pod is prepared → its first instruction", self.launched),
        ]
        .into_iter()
        .map(|(what, values)| format!("turnaround, {what}: {} ms", Series::of(values).shown()))
        .collect()
    }
}

/// Steps that live longer than the next one's preparation takes, beside loops that users write.
pub fn turnaround(image: &Image) -> Found {
    let rig = Rig::new(image);
    let (mut ours, mut run, mut kube, mut parts) = (vec![], vec![], vec![], Parts::default());
    for round in 0..ROUNDS {
        let steps = names(&format!("p{round}"), STEPS);
        let tasks: Vec<String> =
            steps.iter().enumerate().map(|(step, name)| rig.task(&format!("S{step}"), name, LONG_MS)).collect();
        let execution = rig.fly(&tasks.concat());
        let stamps = rig.stamped(&steps);
        parts.take(&rig, &execution, &stamps);
        ours.extend(gaps(&stamps));

        let steps = names(&format!("r{round}"), STEPS);
        for name in &steps {
            let status = rig.podman_run(&["--rm"], name, LONG_MS).wait().expect("podman ran");
            assert!(status.success(), "podman run {name}");
        }
        run.extend(gaps(&rig.stamped(&steps)));

        let steps = names(&format!("k{round}"), STEPS / 2);
        for name in &steps {
            rig.kube_play(&rig.manifest(name, LONG_MS));
            podman(&["wait", "--interval=10ms", &rig.played(name)]);
        }
        kube.extend(gaps(&rig.stamped(&steps)));
        rig.unplay(&steps);
    }
    let row =
        Row::of("turnaround: end of a pod's process → first instruction of the next step's pod, ms", Series::of(ours));
    let row = row.beside("`podman run` in a loop", Series::of(run)).beside("`kube play` + wait", Series::of(kube));
    Found { rows: vec![row.goal(Goal::AtMost(20.0)).goal(Goal::Ahead(15.0))], notes: parts.notes() }
}

/// One pod: how long until it runs, and until its end is known.
pub fn submit(image: &Image) -> Found {
    let rig = Rig::new(image);
    let (mut ours, mut run, mut bare) = (vec![], vec![], vec![]);
    let (mut noticed, mut waited, mut told, mut calls) = (vec![], vec![], vec![], vec![]);
    for round in 0..LAUNCHES {
        let name = format!("p{round}");
        let bundle = rig.board.pack(&rig.task("S0", &name, SHORT_MS)).display().to_string();
        let start = machine::now();
        let execution = rig.board.ask(&["submit", &bundle]);
        let waiting = rig.board.tool_started(&["wait", &format!("{execution}.S0"), "--timeout", "60s"]);
        assert!(waiting.wait_with_output().expect("perigee ran").status.success(), "{execution}");
        let back = machine::now();
        rig.ended(&execution);
        let stamp = rig.stamped(&[name])[0];
        ours.push(ms(start, stamp.start));
        noticed.push(ms(stamp.end, rig.history(&execution)[&("S0.0".to_owned(), "succeeded".to_owned())]));
        told.push(ms(stamp.end, back));

        let name = format!("r{round}");
        let start = machine::now();
        assert!(rig.podman_run(&["--rm"], &name, SHORT_MS).wait().expect("podman ran").success());
        run.push(ms(start, rig.stamped(&[name])[0].start));

        let call = bare_launch(&rig, &format!("b{round}"));
        bare.push(ms(call.begun, call.stamp.start));
        waited.push(ms(call.stamp.end, call.waited));
        calls.extend([call.parts]);
    }
    let launch = Row::of("`perigee submit` begins → first instruction of the first pod, ms", Series::of(ours))
        .beside("create + init + start over the API", Series::of(bare))
        .beside("`podman run`", Series::of(run));
    let waited = Series::of(waited);
    let exit = Row::of("process gone → its end is decided (the commit follows), ms", Series::of(noticed))
        .beside("Podman's wait call", waited.clone());
    let told = Row::of("process gone → `perigee wait` has returned, ms", Series::of(told))
        .beside("Podman's wait call", waited);
    Found { rows: vec![launch.goal(Goal::Within(1.1)), exit.goal(Goal::AtMost(10.0)), told], notes: split(&calls) }
}

fn split(calls: &[[f64; 3]]) -> Vec<String> {
    let of = |part: usize| Series::of(calls.iter().map(|call| call[part])).shown();
    vec![format!("bare API, ms: create {}, init {}, start {}", of(0), of(1), of(2))]
}

/// One container by the bare API, from its making to its end.
struct Bare {
    begun: i128,
    stamp: Stamp,
    waited: i128,
    parts: [f64; 3],
}

fn bare_launch(rig: &Rig<'_>, name: &str) -> Bare {
    let begun = machine::now();
    let id = [rig.create(name, SHORT_MS)];
    let created = machine::now();
    rig.all(&id, "init");
    let initialised = machine::now();
    rig.all(&id, "start");
    let started = machine::now();
    rig.wait(&id[0]);
    let waited = machine::now();
    let stamp = rig.stamped(&[name.to_owned()])[0];
    rig.remove(&id);
    Bare { begun, stamp, waited, parts: [ms(begun, created), ms(created, initialised), ms(initialised, started)] }
}

fn spread(stamps: &[Stamp]) -> f64 {
    let starts = || stamps.iter().map(|stamp| stamp.start);
    ms(starts().min().unwrap_or_default(), starts().max().unwrap_or_default())
}

fn group_of(rig: &Rig<'_>, round: usize, size: usize) -> (f64, f64) {
    let members = names(&format!("p{size}x{round}"), size);
    let tasks: Vec<String> =
        members.iter().enumerate().map(|(place, name)| rig.member(&format!("M{place}"), name, 2 * LONG_MS)).collect();
    let bundle = rig.board.pack(&tasks.concat()).display().to_string();
    let start = machine::now();
    let execution = rig.board.ask(&["submit", &bundle]);
    rig.ended(&execution);
    let stamps = rig.stamped(&members);
    (spread(&stamps), ms(start, stamps.iter().map(|stamp| stamp.start).max().unwrap_or_default()))
}

/// Members of a group: how far apart they start.
pub fn group(image: &Image) -> Found {
    let rig = Rig::new(image);
    let (mut ours, mut run, mut kube, mut floor) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        ours.push(group_of(&rig, round, GROUP).0);

        let members = names(&format!("b{round}"), GROUP);
        let ids: Vec<String> = members.iter().map(|name| rig.create(name, LONG_MS)).collect();
        rig.all(&ids, "init");
        rig.all(&ids, "start");
        ids.iter().for_each(|id| rig.wait(id));
        rig.remove(&ids);
        floor.push(spread(&rig.stamped(&members)));

        let members = names(&format!("r{round}"), GROUP);
        let started: Vec<_> = members.iter().map(|name| rig.podman_run(&["--rm"], name, 2 * LONG_MS)).collect();
        started.into_iter().for_each(|mut child| assert!(child.wait().expect("podman ran").success()));
        run.push(spread(&rig.stamped(&members)));

        let members = names(&format!("k{round}"), GROUP);
        let documents: Vec<String> = members.iter().map(|name| rig.manifest(name, LONG_MS)).collect();
        rig.kube_play(&documents.concat());
        members.iter().for_each(|name| drop(podman(&["wait", &rig.played(name)])));
        kube.push(spread(&rig.stamped(&members)));
        rig.unplay(&members);
    }
    let row = Row::of("group of 8: first → last first instruction, ms", Series::of(ours))
        .beside("`podman run` in parallel", Series::of(run))
        .beside("`kube play` of 8 pods", Series::of(kube));
    let floor = format!(
        "group of 8, eight parallel starts of initialised containers (the floor): {} ms",
        Series::of(floor).shown()
    );
    Found { rows: vec![row.goal(Goal::AtMost(40.0)).goal(Goal::Ahead(10.0))], notes: vec![floor] }
}

/// Groups of other sizes.
pub fn group_growth(image: &Image) -> Found {
    let rig = Rig::new(image);
    let mut rows = Vec::new();
    for (size, rounds) in [(1, 3), (8, 3), (32, 2)] {
        let (spreads, launches): (Vec<f64>, Vec<f64>) = (0..rounds).map(|round| group_of(&rig, round, size)).unzip();
        rows.push(Row::of(format!("group of {size}: spread of the starts, ms"), Series::of(spreads)));
        rows.push(Row::of(format!("group of {size}: submission → last start, ms"), Series::of(launches)));
    }
    Found { rows, notes: vec![] }
}
