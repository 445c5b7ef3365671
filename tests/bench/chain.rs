//! A chain of trivial steps: time, processor time and flash of each.
//!
//! Must not: leave the end of the last step's clearing out of what it cost.

use crate::figures::{Goal, Row, Series};
use crate::machine::{self, ms};
use crate::rig::{Image, Rig, Stamp};
use crate::{Found, names};

const STEPS: usize = 50;
const ROUNDS: usize = 2;
const KIB: f64 = 1024.0;

/// From each start to the next.
fn paces(stamps: &[Stamp]) -> Vec<f64> {
    stamps.windows(2).map(|pair| ms(pair[0].start, pair[1].start)).collect()
}

/// What a chain cost, for each step.
#[derive(Default)]
struct Costs {
    pace: Vec<f64>,
    machine_ms: Vec<f64>,
    own_ms: Vec<f64>,
    service_ms: Vec<f64>,
    written: Vec<f64>,
    journal: Vec<f64>,
}

fn folder_bytes(rig: &Rig<'_>, name: &str) -> f64 {
    let files = std::fs::read_dir(rig.board.path(name)).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len() as f64)).sum()
}

fn ours(rig: &Rig<'_>, round: usize, costs: &mut Costs) {
    let steps = names(&format!("p{round}"), STEPS);
    let tasks: Vec<String> =
        steps.iter().enumerate().map(|(step, name)| rig.task(&format!("S{step}"), name, 0)).collect();
    let bundle = rig.board.pack(&tasks.concat()).display().to_string();
    let each = |before: f64, after: f64| (after - before) / STEPS as f64;
    let (daemon, service) = (rig.board.pid(), rig.service());
    let used = || (machine::busy_ms(), machine::process_ms(daemon).0, machine::process_ms(service).0);
    let wrote = || (machine::written(daemon), folder_bytes(rig, "state/journal"));
    let ((busy, own, of_service), (written, journal)) = (used(), wrote());
    let execution = rig.board.ask(&["submit", &bundle]);
    rig.ended(&execution);
    let (after, then) = (used(), wrote());
    costs.pace.extend(paces(&rig.stamped(&steps)));
    costs.machine_ms.push(each(busy, after.0));
    costs.own_ms.push(each(own, after.1));
    costs.service_ms.push(each(of_service, after.2));
    costs.written.push(each(written, then.0) / KIB);
    costs.journal.push(each(journal, then.1) / KIB);
}

fn podman_run(rig: &Rig<'_>, round: usize, costs: &mut Costs) {
    let steps = names(&format!("r{round}"), STEPS);
    let busy = machine::busy_ms();
    for name in &steps {
        assert!(rig.podman_run(&["--rm"], name, 0).wait().expect("podman ran").success());
    }
    costs.machine_ms.push((machine::busy_ms() - busy) / STEPS as f64);
    costs.pace.extend(paces(&rig.stamped(&steps)));
}

/// Fifty trivial steps, each committed before it is done, beside a loop of `podman run`.
pub fn chain(image: &Image) -> Found {
    let rig = Rig::new(image);
    let (mut our, mut other) = (Costs::default(), Costs::default());
    for round in 0..ROUNDS {
        ours(&rig, round, &mut our);
        podman_run(&rig, round, &mut other);
    }
    const RUN: &str = "`podman run` in a loop";
    let pace = Row::of("chain of 50 trivial steps: start → next start, ms", Series::of(our.pace));
    let cpu = Row::of("processor time of the whole machine for each trivial step, ms", Series::of(our.machine_ms));
    let own = Row::of("of that perigeed's own, ms", Series::of(our.own_ms));
    let flash = Row::of(
        "written to flash by perigeed for each trivial step (journal, index, logs, reports), KiB",
        Series::of(our.written),
    );
    let notes = vec![
        format!(
            "chain, of the whole machine's processor time the Podman service's own: {} ms a step",
            Series::of(our.service_ms).shown()
        ),
        format!("chain, the journal grew by {} KiB a step", Series::of(our.journal).shown()),
    ];
    let rows = vec![
        pace.beside(RUN, Series::of(other.pace)).goal(Goal::Ahead(1.5)),
        cpu.beside(RUN, Series::of(other.machine_ms)).goal(Goal::Within(0.8)).of_machine(),
        own.goal(Goal::AtMost(10.0)),
        flash.goal(Goal::AtMost(16.0)),
    ];
    Found { rows, notes }
}
