//! The daemon killed: before, amid and behind every request, at every change of a file, and at random instants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::calls::{Side, Trap};
use crate::flight::{Flight, Landing};
use crate::line::{Blow, Fate};
use crate::trials::{long, scattered, trials};
use crate::{Came, Place, each, points};

/// Kills a process at once.
pub(crate) fn killing(pid: u32) -> Blow {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    Arc::new(move || kill(pid, Signal::SIGKILL).expect("killed"))
}

/// Podman was well all the time: it knows the fate of every pod.
fn lands(flight: &Flight) -> Landing {
    let landing = flight.lands();
    assert!(landing != Landing::Lost, "the fate of a pod is not known\n{}", flight.board.log());
    landing
}

/// Flies once; the daemon dies at the n-th request.
fn dies_at_request(n: usize, fate: fn(Blow) -> Fate) -> (Came, Landing) {
    let _place = Place::taken();
    let mut flight = Flight::ready();
    flight.line.nth(n, fate(killing(flight.board.pid())));
    flight.flies_until(|| flight.line.struck());
    let came = flight.line.calm();
    if came {
        flight.starts_again();
    }
    (if came { Came::ToThePoint } else { Came::ToItsEnd }, lands(&flight))
}

#[test]
fn daemon_killed_before_every_request_runs_everything_once() {
    points("daemon killed before a request", |n| dies_at_request(n, Fate::StruckBefore));
}

#[test]
fn daemon_killed_behind_the_answer_to_every_request_runs_everything_once() {
    points("daemon killed behind an answer", |n| dies_at_request(n, Fate::StruckBehind));
}

#[test]
#[ignore = "of the long form: make torture"]
fn daemon_killed_while_podman_does_what_it_asked_for_runs_everything_once() {
    points("daemon killed amid a request", |n| dies_at_request(n, Fate::StruckAmid));
}

/// Flies once; the daemon dies at its n-th change of a file.
fn dies_at_change(n: usize, side: Side) -> (Came, Landing) {
    let _place = Place::taken();
    let mut flight = Flight::ready();
    let trap = Trap::nth(flight.board.pid(), n, side);
    let came = flight.flies_until(|| trap.met());
    drop(trap);
    if came {
        flight.starts_again();
    }
    (if came { Came::ToThePoint } else { Came::ToItsEnd }, lands(&flight))
}

#[test]
fn daemon_killed_at_every_change_of_a_file_runs_everything_once() {
    points("daemon killed before a change of a file", |n| dies_at_change(n, Side::Before));
    if long() {
        points("daemon killed behind a change of a file", |n| dies_at_change(n, Side::Behind));
    }
}

/// The life of a flight, and some time behind it.
const LIFE_MS: usize = 9000;

#[test]
fn daemon_killed_at_random_instants_runs_everything_once() {
    let asked = std::env::var("PERIGEE_INSTANTS").ok().and_then(|number| number.parse().ok());
    let count = asked.unwrap_or_else(|| trials(16, 2000));
    let mut number = scattered(4);
    let instants: Vec<Duration> = (0..count).map(|_| Duration::from_millis(number(LIFE_MS) as u64)).collect();
    each(&instants, |instant| {
        let _place = Place::taken();
        let mut flight = Flight::ready();
        let (blow, struck) = (killing(flight.board.pid()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| flight.flies_until(|| struck.load(Ordering::SeqCst)));
            // Not a wait for something: the instant of death is what is tried here.
            std::thread::sleep(*instant);
            struck.store(true, Ordering::SeqCst);
            blow();
        });
        flight.starts_again();
        lands(&flight)
    });
    println!("boundaries: daemon killed at random: {count} instants");
}
