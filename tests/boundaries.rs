//! Everything that a sequence does, and at every point of it a kill: the daemon before, amid and behind each request
//! that makes Podman change something and before each change of a file; Podman's service at the same requests; and
//! random instants.
//!
//! The points are not listed anywhere: n goes up until a flight ends without having come to its n-th point. The long
//! form (`PERIGEE_TORTURE=long`, `make torture`) also strikes at the requests that only look, behind each change of a
//! file, and at more instants.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it expects and what it has tried")]

#[path = "boundaries/calls.rs"]
mod calls;
#[path = "boundaries/daemon.rs"]
mod daemon;
#[path = "boundaries/flight.rs"]
mod flight;
#[path = "support/line.rs"]
mod line;
#[path = "boundaries/podman.rs"]
mod podman;
mod support;
#[path = "support/trials.rs"]
mod trials;
#[path = "support/truth.rs"]
mod truth;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use flight::Landing;
use line::Requests;

/// Boards that fly at once: more would make each other late on two cores.
const BOARDS: usize = 7;
/// Points of one test that are tried at once.
const LANES: usize = 4;
/// A sequence has far fewer points; a flight that never ends untouched is a mistake of the test.
const POINTS_MAX: usize = 1000;
/// And not fewer than these: a volume, a network, and for each of three pods a create, init, start, and removal; a stop.
const POINTS_MIN: usize = 15;

/// Flights to one point that may be late.
const TRIES: usize = 6;

static FLYING: Mutex<usize> = Mutex::new(0);
static LANDED: Condvar = Condvar::new();

/// One of the places for boards that fly at once, or all of them.
struct Place(usize);

impl Place {
    fn taken() -> Self {
        Self::of(1)
    }

    /// Nobody else flies meanwhile.
    fn alone() -> Self {
        Self::of(BOARDS)
    }

    fn of(places: usize) -> Self {
        let flying = FLYING.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |flying: &mut usize| *flying + places > BOARDS;
        let mut flying = LANDED.wait_while(flying, full).unwrap_or_else(PoisonError::into_inner);
        *flying += places;
        Self(places)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *FLYING.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        LANDED.notify_all();
    }
}

/// Whether a flight came to the point that it was to be struck at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    ToThePoint,
    ToItsEnd,
}

/// The requests that are points. What only looks changes nothing: what a kill before it leaves is what a kill behind
/// the last change leaves.
fn requests() -> Requests {
    if trials::long() { Requests::All } else { Requests::Changes }
}

/// Tries every point, some at once, until a flight comes to its end. The same number is not the same place in every
/// flight: what Podman does in parallel comes in any order.
fn points(what: &str, attempt: impl Fn(usize) -> (Came, Landing) + Sync) {
    let next = AtomicUsize::new(1);
    let end = AtomicUsize::new(POINTS_MAX);
    let tried = AtomicUsize::new(0);
    in_lanes(|| {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= end.load(Ordering::Relaxed) {
                return;
            }
            println!("boundaries: {what}: at {n}");
            match in_time(|| attempt(n)) {
                Came::ToThePoint => tried.fetch_add(1, Ordering::Relaxed),
                Came::ToItsEnd => end.fetch_min(n, Ordering::Relaxed),
            };
        }
    });
    let tried = tried.into_inner();
    assert!(tried >= POINTS_MIN && end.into_inner() < POINTS_MAX, "{what}: {tried} points");
    println!("boundaries: {what}: {tried} points");
}

/// Tries so many things, some at once.
fn each<T: Sync>(all: &[T], attempt: impl Fn(&T) -> Landing + Sync) {
    let next = AtomicUsize::new(0);
    in_lanes(|| {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            in_time(|| ((), attempt(one)));
        }
    });
}

fn in_lanes(lane: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(&lane);
        }
    });
}

/// Flies again when the machine was too slow; whatever makes every flight late is no matter of the machine.
fn in_time<T>(flight: impl Fn() -> (T, Landing)) -> T {
    for _ in 0..TRIES {
        let (came, landing) = flight();
        match landing {
            Landing::Whole => return came,
            Landing::Lost => {
                println!("boundaries: the fate of a pod is not known");
                return came;
            }
            Landing::Late => println!("boundaries: a flight was late, once more"),
        }
    }
    panic!("every flight was late");
}
