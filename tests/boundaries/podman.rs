//! Podman's service killed, frozen and replaced at every request.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::killing;
use crate::flight::{Flight, Landing};
use crate::line::{Blow, Fate};
use crate::support::{Podman, at, patiently};
use crate::{Came, Place, points};

/// Longest that a test waits for the daemon to notice that Podman is away: longer than a call that looks may take.
const NOTICED: Duration = Duration::from_secs(15);
/// How long Podman is frozen where that is not to be noticed.
const HICCUP: Duration = Duration::from_secs(1);

/// Flies once; something befalls Podman at the n-th request, and then it is mended.
fn befalls(n: usize, fate: Fate, flight: &mut Flight, mend: impl FnOnce(&mut Flight)) -> Came {
    flight.line.nth(n, fate);
    flight.flies_until(|| flight.line.struck());
    if !flight.line.calm() {
        return Came::ToItsEnd;
    }
    mend(flight);
    Came::ToThePoint
}

fn comes_back(flight: &mut Flight) {
    flight.board.podman.kill();
    flight.board.podman = Podman::start(&flight.board.path("real.sock"));
}

/// Whether the daemon says within some time that Podman is away. It need not: perhaps it wants nothing of it just now.
fn noticed(flight: &Flight, within: Duration) -> bool {
    let away = || at(&flight.board.json(&["status"]), "/health") != "ok";
    patiently(within, || away().then_some(())).is_some()
}

#[test]
fn podman_replaced_behind_every_answer_runs_everything_once() {
    points("podman replaced behind an answer", |n| {
        let _place = Place::taken();
        let mut flight = Flight::ready();
        let blow = killing(flight.board.podman.pid());
        let came = befalls(n, Fate::StruckBehind(blow), &mut flight, comes_back);
        (came, flight.lands())
    });
}

#[test]
fn podman_killed_before_a_request_and_away_for_a_while_runs_everything_once() {
    points("podman killed before a request", |n| {
        let _place = Place::taken();
        let mut flight = Flight::ready();
        let blow = killing(flight.board.podman.pid());
        let came = befalls(n, Fate::StruckBefore(blow), &mut flight, |flight| {
            assert!(noticed(flight, NOTICED), "nobody notices that Podman is away\n{}", flight.board.log());
            comes_back(flight);
        });
        (came, flight.lands())
    });
}

fn freezing(pid: u32) -> Blow {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    std::sync::Arc::new(move || kill(pid, Signal::SIGSTOP).expect("frozen"))
}

#[test]
fn podman_frozen_amid_a_request_runs_everything_once() {
    points("podman frozen amid a request for a second", |n| {
        let _place = Place::taken();
        let mut flight = Flight::ready();
        let blow = freezing(flight.board.podman.pid());
        let came = befalls(n, Fate::StruckAmid(blow), &mut flight, |flight| {
            // Not a wait for something: so long Podman says nothing.
            std::thread::sleep(HICCUP);
            flight.board.podman.thaw();
        });
        (came, flight.lands())
    });
}

#[test]
#[ignore = "of the long form: make torture"]
fn podman_frozen_past_its_deadline_is_told_truthfully() {
    points("podman frozen amid a request past the deadline", |n| {
        // It may hold locks that every other Podman of this machine waits for: nobody else flies.
        let _alone = Place::alone();
        let mut flight = Flight::ready();
        let blow = freezing(flight.board.podman.pid());
        let came = befalls(n, Fate::StruckAmid(blow), &mut flight, |flight| {
            let _ = noticed(flight, NOTICED);
            flight.board.podman.thaw();
        });
        let id = flight.id();
        let status = flight.board.ended(&id);
        flight.is_truthful(&id, &status);
        // Whether its budget runs out meanwhile is no matter of the machine.
        (came, Landing::Whole)
    });
}
