//! The power of a whole computer is cut: a kernel, a file system on a disk, the daemon and the tool in QEMU. What was
//! acknowledged must be there afterwards, every time.
//!
//! Two ways. The process that is the computer is killed: whatever its kernel had in memory is gone. And every write of
//! its disk is logged, and disks are made as a cut anywhere in that log could have left them: without what had not been
//! flushed, or with some sectors of it. There is no Podman in the computer.
//!
//! The default form makes 4 cuts of the first kind and 8 of the second; `PERIGEE_TORTURE=long` (`make torture`) 200
//! and 300, or as many as `PERIGEE_CUTS=KILLS,LOGGED` says.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it expects and what it has tried")]

#[path = "power/dice.rs"]
mod dice;
#[path = "power/flight.rs"]
mod flight;
#[path = "power/machine.rs"]
mod machine;
#[path = "power/verdict.rs"]
mod verdict;
#[path = "power/writes.rs"]
mod writes;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dice::Dice;
use flight::Flight;
use machine::Machine;
use verdict::Verdict;
use writes::{Cache, Log};

/// Computers that one test lets run at a time.
const LANES: usize = 2;
/// Cuts that one disk goes through.
const CHAIN: usize = 10;
/// Cuts that are made of one log, and disks that one computer judges.
const POINTS: usize = 20;
const AT_ONCE: usize = 6;
/// Executions of a session: of one that is killed, which never comes that far, and of one that is logged.
const OF_A_CHAIN: usize = 6;
const OF_A_LOG: usize = 15;
/// Bytes of a log.
const LOG: u64 = 1 << 30;

/// How many cuts of each kind are made.
fn cuts() -> (usize, usize) {
    let asked = std::env::var("PERIGEE_CUTS").ok();
    let asked = asked.as_deref().and_then(|text| text.split_once(','));
    if let Some((kills, logged)) = asked {
        return (kills.parse().expect("a number"), logged.parse().expect("a number"));
    }
    let long = std::env::var_os("PERIGEE_TORTURE").is_some_and(|form| form == "long");
    if long { (200, 300) } else { (4, 8) }
}

#[expect(clippy::disallowed_methods, reason = "a test measures how fast an emulated computer is")]
fn now() -> Instant {
    Instant::now()
}

/// Splits so many into equal lots, none larger than this, and at least one for each lane.
fn lots(all: usize, largest: usize) -> Vec<usize> {
    let count = all.div_ceil(largest).max(LANES.min(all));
    (0..count).map(|lot| all / count + usize::from(lot < all % count)).collect()
}

/// Does all of it, some at a time; returns what came of each.
fn in_lanes<T: Sync, R: Send>(all: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let work = &work;
    let of = |lane| all.iter().enumerate().skip(lane).step_by(LANES);
    std::thread::scope(|scope| {
        let start = |lane| scope.spawn(move || of(lane).map(|(number, one)| work(number, one)).collect::<Vec<R>>());
        let lanes: Vec<_> = (0..LANES).map(start).collect();
        let join =
            |lane: std::thread::ScopedJoinHandle<'_, Vec<R>>| lane.join().unwrap_or_else(|why| resume_unwind(why));
        lanes.into_iter().flat_map(join).collect()
    })
}

/// What is done after a cut, up to what all is told.
fn judgement(flight: &Flight, disk: &str) -> String {
    format!("on_disk {disk} defaults\nchecked\nstart\n{}told\n", flight.after_start())
}

/// The verdict must be that all is well.
fn pronounce(verdict: &Verdict, flight: &Flight, after: &str) {
    let wrong = verdict.complaints(flight);
    assert!(wrong.is_empty(), "after {after}: {wrong:#?}\n{verdict:#?}");
}

#[test]
fn power_that_is_cut_loses_nothing_acknowledged() {
    let (kills, _) = cuts();
    let chains = in_lanes(&lots(kills, CHAIN), |number, cuts| chain(number as u64, *cuts));
    let acknowledged: usize = chains.iter().map(|chain| chain.0).sum();
    let recovering: usize = chains.iter().map(|chain| chain.1).sum();
    println!(
        "power: {kills} cuts, {recovering} of them while the daemon started; {acknowledged} acknowledgements, 0 lost"
    );
}

/// Cuts the power of one disk again and again; returns the acknowledgements, and the cuts while the daemon started.
fn chain(number: u64, cuts: usize) -> (usize, usize) {
    let folder = machine::folder();
    let disk = folder.path().join("disk");
    machine::disk(&disk);
    let (mut dice, mut flight) = (Dice::new(number), Flight::default());
    let (mut acknowledged, mut recovering, mut start_took) = (0, 0, Duration::ZERO);
    for cut in 0..=cuts {
        let judged = judgement(&flight, "/dev/vdc");
        let after = format!("cut {cut} of chain {number}");
        flight.plan(folder.path(), OF_A_CHAIN, &mut dice);
        let orders = judged + &flight.script();
        let machine = Machine::boot(folder.path(), &orders, &flight.files(), &[&disk]);
        let mut told = machine.until("starting");
        let began = now();
        if cut % 4 == 2 && cut < cuts {
            // While it takes up what the last cut left.
            recovering += 1;
            std::thread::sleep(start_took * u32::try_from(dice.below(16)).expect("small") / 16);
            machine.cut();
            flight.settle();
            continue;
        }
        told.extend(machine.until("open"));
        start_took = began.elapsed();
        told.extend(machine.until("judged"));
        pronounce(&Verdict::of(told), &flight, &after);
        sound(&machine, &after);
        if cut == cuts {
            break;
        }
        session(machine, &mut flight, &mut dice);
        acknowledged += flight.acknowledged;
        flight.settle();
    }
    (acknowledged, recovering)
}

/// Lets a session go on for some acknowledgements and part of what one takes, then cuts the power.
fn session(machine: Machine, flight: &mut Flight, dice: &mut Dice) {
    let began = now();
    let count = 2 + dice.below(12);
    for _ in 0..count {
        let line = machine.next().expect("the power is on");
        flight.hear(&line);
    }
    let pace = began.elapsed() / u32::try_from(count).expect("small");
    // Not a wait for something: the instant of the cut is what is tried here.
    std::thread::sleep(pace * u32::try_from(dice.below(16)).expect("small") / 16);
    for line in machine.cut() {
        flight.hear(&line);
    }
}

/// The kernel found nothing wrong with the file system.
fn sound(machine: &Machine, after: &str) {
    let console = machine.console();
    for word in ["EXT4-fs error", "EXT4-fs warning", "JBD2: ", "Kernel panic", "I/O error"] {
        assert!(!console.contains(word), "after {after}: {console}");
    }
}

#[test]
fn what_was_not_flushed_is_lost_and_nothing_acknowledged_with_it() {
    let (_, points) = cuts();
    let (mut judged, mut entries) = (0, 0);
    for (number, from) in (0..points).step_by(POINTS).enumerate() {
        let logged = Logged::fly(1000 + number as u64, "defaults", OF_A_LOG);
        judged += logged.judge_points(POINTS.min(points - from));
        assert!(logged.compacted, "no session is so short that the journal is not compacted");
        entries += logged.log.entries.len();
    }
    println!("power: {points} cuts in logs of {entries} writes and flushes; {judged} acknowledgements judged, 0 lost");
}

#[test]
fn a_disk_that_is_never_told_to_flush_is_noticed() {
    let logged = Logged::fly(7, "nobarrier", 2);
    let end = logged.log.entries.len();
    let disks = [logged.cut(logged.folder.path(), end, Cache::Lost, &mut Dice::new(0))];
    assert!(disks[0].0.known.iter().any(flight::Known::was_submitted), "something was acknowledged");
    let verdicts = judge(logged.folder.path(), &disks);
    let (verdict, flight) = verdicts.first().expect("a verdict");
    let wrong = verdict.complaints(flight);
    assert!(wrong.iter().any(|what| what.contains("it was accepted and is lost")), "{wrong:#?}\n{verdict:#?}");
}

/// A session whose disk was logged.
struct Logged {
    folder: tempfile::TempDir,
    number: u64,
    base: PathBuf,
    flight: Flight,
    log: Log,
    compacted: bool,
}

impl Logged {
    /// Lets a session run to its end on an empty disk, then cuts the power.
    fn fly(number: u64, mounted: &str, executions: usize) -> Self {
        let folder = machine::folder();
        let path = |name: &str| folder.path().join(name);
        let (base, disk, log) = (path("base"), path("disk"), path("log"));
        machine::disk(&base);
        machine::copy(&base, &disk);
        machine::blank(&log, LOG);
        let (mut dice, mut flight) = (Dice::new(number), Flight::default());
        flight.plan(folder.path(), executions, &mut dice);
        let mount = format!("mount -t ext4 -o {mounted} /dev/mapper/logged /disk");
        let orders = format!("logged /dev/vdc /dev/vdd\n{mount}\nstart\n{}checked\necho '@ end'\n", flight.script());
        let machine = Machine::boot(folder.path(), &orders, &flight.files(), &[&disk, &log]);
        let told = machine.until("end");
        told.iter().for_each(|line| flight.hear(line));
        assert_eq!(flight.acknowledged, flight.orders(), "{told:#?}");
        machine.cut();
        let log = Log::read(&log);
        assert_eq!(log.acknowledged(log.entries.len()), flight.acknowledged, "each mark is in the log");
        let compacted = told.iter().any(|line| line.starts_with("check 0") && line.contains("compacted"));
        Self { folder, number, base, flight, log, compacted }
    }

    /// A disk as a cut left it, and what had been acknowledged by then.
    fn cut(&self, folder: &Path, before: usize, cache: Cache, dice: &mut Dice) -> (Flight, PathBuf) {
        let disk = folder.join(format!("cut-{before}"));
        machine::copy(&self.base, &disk);
        let acknowledged = self.log.cut(&disk, before, cache, dice);
        (self.flight.until(acknowledged), disk)
    }

    /// Cuts at so many points all over the log; returns the acknowledgements that were judged.
    fn judge_points(&self, points: usize) -> usize {
        let numbers: Vec<usize> = (0..points).collect();
        let lots: Vec<&[usize]> = numbers.chunks(AT_ONCE).collect();
        let judged = in_lanes(&lots, |_, lot| {
            let folder = machine::folder();
            let disks: Vec<_> = lot.iter().map(|point| self.cut_at(folder.path(), *point, points)).collect();
            let verdicts = judge(folder.path(), &disks);
            let judged = verdicts.iter().map(|(verdict, flight)| {
                let orders = flight.known.iter().map(|known| known.done.len()).sum::<usize>();
                pronounce(verdict, flight, &format!("a cut of log {} behind {orders} orders", self.number));
                orders
            });
            judged.sum::<usize>()
        });
        judged.iter().sum()
    }

    /// The cut of this number: somewhere in its part of the log, with some of the cache; every other one right behind
    /// an acknowledgement, without.
    fn cut_at(&self, folder: &Path, point: usize, points: usize) -> (Flight, PathBuf) {
        let mut dice = Dice::new(self.number * 1000 + point as u64);
        let entries = &self.log.entries;
        let width = (entries.len() / points).max(1) as u64;
        let at = entries.len() * point / points + usize::try_from(dice.below(width)).expect("small");
        let mark = entries[at..].iter().position(|entry| matches!(entry.kind, writes::Kind::Mark(_)));
        let behind = mark.map_or(at, |after| at + after + 1);
        let (before, cache) = if point.is_multiple_of(2) { (at, Cache::Torn) } else { (behind, Cache::Lost) };
        self.cut(folder, before, cache, &mut dice)
    }
}

/// One computer judges some disks, one after the other.
fn judge<'a>(folder: &Path, disks: &'a [(Flight, PathBuf)]) -> Vec<(Verdict, &'a Flight)> {
    let mut orders = String::new();
    for ((flight, _), letter) in disks.iter().zip('c'..) {
        orders.push_str(&judgement(flight, &format!("/dev/vd{letter}")));
        orders.push_str("leave\n");
    }
    let files = disks.iter().flat_map(|(flight, _)| flight.files()).collect::<std::collections::BTreeSet<_>>();
    let paths: Vec<&Path> = disks.iter().map(|(_, disk)| disk.as_path()).collect();
    let machine = Machine::boot(folder, &orders, &files.into_iter().collect::<Vec<_>>(), &paths);
    let verdicts = disks.iter().map(|(flight, _)| (Verdict::of(machine.until("judged")), flight)).collect();
    sound(&machine, "a cut of a log");
    verdicts
}
