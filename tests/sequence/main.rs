//! The engine: driven with random events beside a naive world, crashed and replayed; and its tables, pair by pair.
#![expect(clippy::expect_used, clippy::panic, reason = "a helper that fails must fail its test")]

mod ahead;
mod graph;
mod images;
mod invariants;
mod jobs;
mod legality;
mod orphans;
mod plans;
mod quarantine;
mod run;
mod table;
mod verbs;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::test_runner::{Config, FileFailurePersistence, TestRng, TestRunner};

use run::{Action, Run};

#[test]
fn whatever_happens_the_invariants_hold_and_every_run_ends() {
    let persistence = FileFailurePersistence::Direct("tests/sequence/regressions.txt");
    let config = Config { cases: cases(), failure_persistence: Some(Box::new(persistence)), ..Config::default() };
    // The same runs each time, so that what they have seen is a fact and not luck; the long form draws new ones.
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = if long() { TestRunner::new(config) } else { TestRunner::new_with_rng(config, rng) };
    let seen = RefCell::new(BTreeSet::new());
    let actions = proptest::collection::vec(Action::any(), 1..150);
    let result = runner.run(&actions, |actions| {
        let mut run = Run::default();
        actions.iter().for_each(|action| run.act(action));
        run.finish();
        seen.borrow_mut().append(&mut run.seen.0);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let all = [
        "ahead",
        "ahead and launched",
        "condition true",
        "crash",
        "ended by a quarantine",
        "execution failed",
        "execution succeeded",
        "fan out",
        "group undone",
        "hold",
        "image changed",
        "image loaded again",
        "job succeeded",
        "job told to end",
        "job unknown",
        "paused",
        "purged",
        "quarantine lifted",
        "quarantined",
        "reboot",
        "rerun",
        "retry",
        "step skipped",
        "withdrawn",
    ];
    let missed: Vec<_> = all.iter().filter(|what| !seen.borrow().contains(**what)).collect();
    assert!(missed.is_empty(), "the runs did not see {missed:?}");
}

/// `PERIGEE_TORTURE=long` draws new runs, many more of them.
fn long() -> bool {
    std::env::var_os("PERIGEE_TORTURE").is_some_and(|form| form == "long")
}

fn cases() -> u32 {
    if long() { 20_000 } else { 800 }
}
