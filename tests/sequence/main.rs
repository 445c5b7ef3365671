//! The engine: driven with random events beside a naive world, crashed and replayed; and its tables, pair by pair.
#![expect(clippy::expect_used, clippy::panic, reason = "a helper that fails must fail its test")]

mod invariants;
mod plans;
mod run;
mod table;
mod verbs;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use run::{Action, Run};

#[test]
fn whatever_happens_the_invariants_hold_and_every_run_ends() {
    let persistence = FileFailurePersistence::Direct("tests/sequence/regressions.txt");
    let config = Config { cases: 800, failure_persistence: Some(Box::new(persistence)), ..Config::default() };
    let seen = RefCell::new(BTreeSet::new());
    let actions = proptest::collection::vec(Action::any(), 1..150);
    let result = TestRunner::new(config).run(&actions, |actions| {
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
        "crash",
        "execution failed",
        "execution succeeded",
        "group undone",
        "job succeeded",
        "job told to end",
        "job unknown",
        "reboot",
        "step skipped",
    ];
    assert_eq!(seen.into_inner(), all.into(), "the runs did not see everything");
}
