//! The footprint: what the daemon takes of disk, memory, processor and sleep.
//!
//! Must not: look while something is still going on.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Found;
use crate::figures::{Goal, Row, Series};
use crate::machine;
use crate::rig::{Image, Rig};

/// The daemon as it is installed.
pub fn size(_: &Image) -> Found {
    let bytes = |path: &str| Path::new(path).metadata().map(|file| file.len() as f64 / 1e6).ok();
    let of = |path: &str| Series::of(bytes(path));
    let rows = vec![
        Row::of(
            "stripped perigeed, built with the benchmark (features of test crates included), MB",
            of(env!("CARGO_BIN_EXE_perigeed")),
        )
        .goal(Goal::AtMost(8.0)),
        Row::of("stripped perigee (the tool), likewise, MB", of(env!("CARGO_BIN_EXE_perigee"))),
    ];
    Found { rows, notes: vec![] }
}

/// What a daemon takes that has nothing to do, and one that watches five pods.
pub fn idle(image: &Image) -> Found {
    let rig = Rig::new(image);
    let mut found = Found::default();
    let nothing = Window::look(&rig);
    let tasks: Vec<String> =
        (0..5).map(|pod| rig.member(&format!("M{pod}"), &format!("idle{pod}"), Window::ALIVE_MS)).collect();
    let running = rig.board.submit(&tasks.concat());
    rig.board.reaches(&running, "running");
    let five = Window::look(&rig);
    rig.board.ask(&["stop", "--now", &running]);
    rig.over(&running);
    found.rows = vec![
        Row::of("idle, nothing running: PSS, MB", nothing.pss()).goal(Goal::AtMost(8.0)),
        Row::of("idle, nothing running: processor time, % of one", nothing.cpu()).goal(Goal::AtMost(0.005)),
        Row::of("idle, nothing running: wake-ups a second", nothing.wakes()).goal(Goal::AtMost(0.1)),
        Row::of("idle, nothing running: connections to Podman", nothing.connections()).goal(Goal::AtMost(0.0)),
        Row::of("idle, 5 pods running: PSS, MB", five.pss()).goal(Goal::AtMost(9.0)),
        Row::of("idle, 5 pods running: processor time, % of one", five.cpu()),
        Row::of(
            "the same with what Podman's service takes more than before, % of one",
            five.cpu_with_service(&nothing),
        )
        .goal(Goal::AtMost(0.05)),
        Row::of("idle, 5 pods running: wake-ups a second", five.wakes()).goal(Goal::AtMost(1.0)),
        Row::of("idle, 5 pods running: connections to Podman", five.connections()),
    ];
    let service = "Podman's service itself, processor time in % of one";
    found.notes.push(format!("{service}: nothing running {:.3}, 5 pods {:.3}", nothing.service, five.service));
    for (when, window) in [("nothing running", &nothing), ("5 pods running", &five)] {
        let threads = window.woken.iter().map(|(name, wakes)| format!("{name} {wakes:.0}")).collect::<Vec<_>>();
        let length = Window::LENGTH.as_secs();
        found.notes.push(format!("idle, {when}: wake-ups in {length} s by thread: {}", threads.join(", ")));
    }
    found
}

/// What happened in a while without events.
struct Window {
    pss: f64,
    cpu: f64,
    wakes: f64,
    woken: BTreeMap<String, f64>,
    connections: usize,
    service: f64,
}

impl Window {
    const ALIVE_MS: u32 = 90_000;
    /// For what the last event caused to be over: threads without work leave after ten seconds.
    const SETTLE: Duration = Duration::from_secs(13);
    const LENGTH: Duration = Duration::from_secs(20);

    fn look(rig: &Rig<'_>) -> Self {
        thread::sleep(Self::SETTLE);
        let (daemon, service) = (rig.board.pid(), rig.service());
        let (start, before, of_service) = (machine::now(), machine::threads(daemon), machine::threads(service));
        thread::sleep(Self::LENGTH);
        let (took, after, then) = (machine::since(start), machine::threads(daemon), machine::threads(service));
        let woken = after.woken_since(&before);
        Self {
            pss: machine::pss_mb(daemon),
            cpu: after.ran_since(&before) / took * 100.0,
            wakes: woken.values().sum::<f64>() / took * 1000.0,
            woken,
            connections: machine::connections(&rig.board.podman.socket.display().to_string()),
            service: then.ran_since(&of_service) / took * 100.0,
        }
    }

    fn pss(&self) -> Series {
        Series::of([self.pss])
    }

    fn cpu(&self) -> Series {
        Series::of([self.cpu])
    }

    fn cpu_with_service(&self, nothing: &Self) -> Series {
        Series::of([self.cpu + (self.service - nothing.service).max(0.0)])
    }

    fn wakes(&self) -> Series {
        Series::of([self.wakes])
    }

    fn connections(&self) -> Series {
        Series::of([self.connections as f64])
    }
}
