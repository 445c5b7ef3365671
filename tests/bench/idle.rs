//! The footprint: what the daemon takes of disk, memory, processor and sleep.
//!
//! Must not: look while something is still going on.

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
    found
}

/// What happened in a while without events.
struct Window {
    pss: f64,
    cpu: f64,
    wakes: f64,
    connections: usize,
    service: f64,
}

impl Window {
    const ALIVE_MS: u32 = 60_000;
    /// For what the last event caused to be over.
    const SETTLE: Duration = Duration::from_secs(5);
    const LENGTH: Duration = Duration::from_secs(20);

    fn look(rig: &Rig<'_>) -> Self {
        thread::sleep(Self::SETTLE);
        let (daemon, service) = (rig.board.pid(), rig.service());
        let (start, before, of_service) = (machine::now(), machine::threads(daemon), machine::threads(service));
        thread::sleep(Self::LENGTH);
        let (took, after, then) = (machine::since(start), machine::threads(daemon), machine::threads(service));
        Self {
            pss: machine::pss_mb(daemon),
            cpu: (after.cpu_ms - before.cpu_ms) / took * 100.0,
            wakes: (after.wakes - before.wakes) / took * 1000.0,
            connections: machine::connections(&rig.board.podman.socket.display().to_string()),
            service: (then.cpu_ms - of_service.cpu_ms) / took * 100.0,
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
