//! Every call to the medium goes wrong in turn: it fails, is short, finds the disk full, or the power goes before,
//! amid or behind it, with and without what was not flushed; or the process is killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use perigee::bundle::ExecutionId;
use perigee::ledger::check;
use perigee::ledger::{Boot, Found, Ledger, LedgerError};
use perigee::medium::{Fault, Medium};
use perigee::sequence::{Board, Event, apply, decide};

use crate::script::{id, life, now, plan, try_happen};
use crate::{each, folder, layout, open_guarded, trials};

/// Executions of the script; the last two do not end.
pub(crate) const LIVES: u32 = 14;
/// How often a call is tried again that failed for once.
const TRIES: usize = 4;

/// What was acknowledged, and what was on its way when it stopped.
#[derive(Default)]
pub(crate) struct Model {
    board: Board,
    pending: Option<Event>,
    forgotten: BTreeSet<ExecutionId>,
    /// Forgetting was under way: some of it may have been recorded.
    forgetting: bool,
}

/// The script: executions are accepted and end, some are forgotten, the journal is compacted, the ledger is closed and
/// opened again. Stops where a call fails for good.
pub(crate) fn run(folder: &Path, medium: &Medium, model: &mut Model, mut acknowledged: impl FnMut(&str)) -> Option<()> {
    let open = || {
        let mut tries = 0;
        loop {
            match Ledger::open_with(folder, layout(medium.clone())) {
                Ok(opened) => return Some(opened),
                // A process that another test starts this very moment has our lock until it begins.
                Err(LedgerError::InUse { .. }) => std::thread::yield_now(),
                Err(_) if tries == TRIES => return None,
                Err(_) => tries += 1,
            }
        }
    };
    let (mut ledger, Found { board, .. }) = open()?;
    assert_eq!(board, Board::default(), "it begins empty");
    for n in 1..=LIVES {
        if n == LIVES / 2 {
            // Left in good order and opened again; whether the index could be sealed makes no difference.
            let _ = ledger.close();
            let (next, found) = open()?;
            assert_eq!(found.board, model.board, "after it was closed");
            ledger = next;
        }
        attempt(&mut ledger, |ledger| ledger.started(&Boot { id: "b".to_owned(), offset_ms: 0 }, "test").is_ok())?;
        let steps = if n + 2 > LIVES { 1 } else { 3 };
        for event in life(n).into_iter().take(steps) {
            step(&mut ledger, model, event)?;
            acknowledged(&format!("{n}"));
        }
        // Time goes on while nothing is decided: lost, it is noted again later.
        let _ = ledger.reached(now().boot);
        if n % 4 == 0 {
            let gone: BTreeSet<ExecutionId> = (n - 3..n).map(id).collect();
            model.forgetting = true;
            model.forgotten.extend(&gone);
            attempt(&mut ledger, |ledger| ledger.forget(&gone).is_ok())?;
            model.forgetting = false;
            attempt(&mut ledger, |ledger| ledger.compact().is_ok())?;
        }
    }
    Some(())
}

/// One decision, tried again when it could not be recorded, as the loop does.
fn step(ledger: &mut Ledger, model: &mut Model, event: Event) -> Option<()> {
    for _ in 0..TRIES {
        model.pending = Some(event.clone());
        let before = model.board.clone();
        let done = try_happen(ledger, &mut model.board, event.clone());
        if model.board != before {
            // It is recorded; what may have failed is the index.
            model.pending = None;
            if done.is_err() {
                ledger.close_index();
                let _ = ledger.mend();
            }
            return Some(());
        }
        let _ = ledger.mend();
    }
    None
}

fn attempt(ledger: &mut Ledger, mut act: impl FnMut(&mut Ledger) -> bool) -> Option<()> {
    for _ in 0..TRIES {
        if act(ledger) {
            return Some(());
        }
        ledger.close_index();
        let _ = ledger.mend();
    }
    None
}

/// What must hold when the ledger is opened again on a medium that works.
fn verify(folder: &Path, model: &Model, what: &str) {
    let report = check::check(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.damages.iter().all(|damage| damage.mends), "{what}: {:?}", report.damages);
    let (ledger, found) =
        open_guarded(folder).unwrap_or_else(|error| panic!("{what}: {}", perigee::run::chain(&error)));
    let mut with_pending = model.board.clone();
    if let Some(event) = &model.pending {
        let decision = decide(&model.board, event.clone(), now()).expect("legal");
        decision.records.iter().for_each(|recorded| drop(apply(&mut with_pending, recorded).expect("fits")));
    }
    assert!(found.board == model.board || found.board == with_pending, "{what}: {:?}", found.board);
    let queries = ledger.queries().expect("an index");
    for n in 1..=LIVES {
        let known = found.board.ended.contains(&id(n));
        let records = queries.history(id(n)).unwrap_or_else(|error| panic!("{what}: {}", perigee::run::chain(&error)));
        let gone = model.forgotten.contains(&id(n));
        if known && !gone {
            assert_eq!(records.len(), 5, "{what}: execution {n}");
        } else if known && !model.forgetting {
            assert_eq!(records.len(), 0, "{what}: execution {n} was forgotten");
        }
    }
    drop(ledger);
    let report = check::check(folder).expect("readable");
    assert_eq!((report.damages, report.live), (vec![], found.board.live.len()), "{what}: after it was opened");
}

fn calls() -> u64 {
    let folder = folder();
    let medium = Medium::with_fault(Fault::Fails, u64::MAX);
    let mut model = Model::default();
    run(folder.path(), &medium, &mut model, |_| {}).expect("nothing fails");
    verify(folder.path(), &model, "without a fault");
    medium.calls()
}

fn every_call(fault: Fault) {
    let calls = calls();
    let points: Vec<u64> = (0..calls).collect();
    each(&points, |at| {
        let folder = folder();
        let mut model = Model::default();
        run(folder.path(), &Medium::with_fault(fault, *at), &mut model, |_| {});
        verify(folder.path(), &model, &format!("{fault:?} at call {at} of {calls}"));
    });
    println!("torture: {fault:?}: {calls} points tried, 0 acknowledged records lost");
}

#[test]
fn any_call_may_fail_and_nothing_acknowledged_is_lost() {
    every_call(Fault::Fails);
}

#[test]
fn any_write_may_be_short_and_nothing_acknowledged_is_lost() {
    every_call(Fault::Short);
}

#[test]
fn the_disk_may_be_full_at_any_call_and_nothing_acknowledged_is_lost() {
    every_call(Fault::Full);
}

#[test]
fn the_power_may_go_before_any_call_and_nothing_acknowledged_is_lost() {
    every_call(Fault::Cut);
}

#[test]
fn the_power_may_go_amid_any_call_and_nothing_acknowledged_is_lost() {
    every_call(Fault::CutHalfway);
}

#[test]
fn the_power_may_take_what_was_not_flushed_and_nothing_acknowledged_is_lost() {
    every_call(Fault::CutUnflushed);
}

const CHILD: &str = "PERIGEE_TORTURE_CHILD";

#[test]
fn a_process_that_is_killed_at_any_call_loses_nothing_acknowledged() {
    if let Some(order) = std::env::var_os(CHILD) {
        let order = order.into_string().expect("text");
        let (at, folder) = order.split_once(' ').expect("an order");
        let medium = Medium::with_fault(Fault::Kill, at.parse().expect("a number"));
        run(folder.as_ref(), &medium, &mut Model::default(), |line| println!("acknowledged {line}"));
        return;
    }
    let calls = usize::try_from(calls()).expect("few");
    let step = (calls / trials(60, calls)).max(1);
    let points: Vec<usize> = (0..calls).step_by(step).collect();
    each(&points, |at| killed_at(*at));
    println!("torture: killed: {} points tried, 0 acknowledged records lost", points.len());
}

fn killed_at(at: usize) {
    let folder = folder();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", "medium::a_process_that_is_killed_at_any_call_loses_nothing_acknowledged"])
        .env(CHILD, format!("{at} {}", folder.path().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program runs");
    let said = acknowledged(child.stdout.take().expect("its output"));
    child.wait().expect("reaped");
    is_there(folder.path(), &said, &format!("killed at call {at}"));
}

/// The executions of which a child said that a decision was acknowledged, each as often as it said so.
pub(crate) fn acknowledged(output: impl Read) -> Vec<u32> {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    lines.filter_map(|line| line.split_once("acknowledged ")?.1.trim().parse().ok()).collect()
}

/// Everything that was acknowledged is there, and nothing of it would run twice.
pub(crate) fn is_there(folder: &Path, said: &[u32], what: &str) {
    let (_, found) = open_guarded(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    for n in 1..=LIVES {
        let acknowledged = said.iter().filter(|known| **known == n).count();
        let (live, ended) = (found.board.live.contains_key(&id(n)), found.board.ended.contains(&id(n)));
        let fits = match acknowledged {
            0 => true,
            1 | 2 => live || ended,
            _ => ended,
        };
        assert!(fits, "{what}: execution {n} had {acknowledged} decisions acknowledged");
        if acknowledged == 3 {
            let again = decide(&found.board, Event::Submitted { plan: plan(n), held: false }, now());
            assert!(again.is_err(), "{what}: execution {n} would run twice");
        }
    }
}
