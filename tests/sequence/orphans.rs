//! Which containers are orphans, case by case.

use std::collections::BTreeMap;
use std::sync::Arc;

use perigee::bundle::ExecutionId;
use perigee::bundle::flow::{Clean, GangStart};
use perigee::plan::{Retry, Terms};
use perigee::sequence::event::Report;
use perigee::sequence::orphan::{self, LedgerId, Listed, Past, Why, orphans};
use perigee::sequence::state::Logs;
use perigee::sequence::{AttemptId, Board, Event, Execution};
use perigee::view;

use super::jobs::{Rig, exit, gang, id, plain};
use super::plans::execution;

const OURS: &str = "01a1fd64-a7d2-7096-b966-f6d890c9bc84";
const ANOTHERS: &str = "01a1fd64-a7d2-7096-b966-f6d890c9bc85";

fn ledger() -> LedgerId {
    OURS.parse().expect("a UUID")
}

/// The container of an attempt, as our daemon makes it.
fn container(of: &Execution, attempt: AttemptId) -> Listed {
    let labels = [
        (orphan::KIND, orphan::CONTAINER.to_owned()),
        (orphan::LEDGER, OURS.to_owned()),
        (orphan::EXECUTION, attempt.execution.to_string()),
        (orphan::STEP, of.plan.steps[attempt.step].id.to_string()),
        (orphan::JOB, attempt.job.to_string()),
        (orphan::ATTEMPT, attempt.attempt.to_string()),
    ];
    let name = view::container_name(of, &attempt);
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Listed { id: format!("id of {name}"), name, labels }
}

/// Why a container is an orphan, if it is one.
fn why(container: &Listed, board: &Board, past: &BTreeMap<ExecutionId, Past>) -> Option<Why> {
    let found = orphans(std::slice::from_ref(container), ledger(), board, past);
    assert!(found.iter().all(|orphan| orphan.id == container.id && orphan.name == container.name));
    found.first().map(|orphan| orphan.why)
}

fn nothing() -> BTreeMap<ExecutionId, Past> {
    BTreeMap::new()
}

/// One plain step, whose pod runs.
fn running() -> (Rig, Listed) {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    let listed = container(rig.known(), id(0, 0, 1));
    (rig, listed)
}

#[test]
fn container_of_an_attempt_is_no_orphan_from_its_making_until_it_is_cleared() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    let listed = container(rig.known(), id(0, 0, 1));
    let look = |rig: &Rig| why(&listed, &rig.board, &nothing());
    assert_eq!(look(&rig), None, "it is being made");
    rig.tell(1, id(0, 0, 1), Report::Prepared { container: "c".to_owned() });
    assert_eq!(look(&rig), None, "it is launching");
    rig.tell(2, id(0, 0, 1), Report::Started);
    assert_eq!(look(&rig), None, "it runs");
    rig.tell(3, id(0, 0, 1), Report::Exited(exit(0)));
    assert_eq!(look(&rig), None, "its output is to be kept");
    rig.tell(4, id(0, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(look(&rig), Some(Why::Over), "what is left of it came late");
}

#[test]
fn container_of_an_execution_that_the_ledger_does_not_know_is_an_orphan() {
    let (_, listed) = running();
    assert_eq!(why(&listed, &Board::default(), &nothing()), Some(Why::UnknownExecution));
}

#[test]
fn what_another_ledger_has_made_or_nobody_of_ours_is_never_an_orphan() {
    let (_, ours) = running();
    let with = |change: &dyn Fn(&mut Listed)| {
        let mut listed = ours.clone();
        change(&mut listed);
        why(&listed, &Board::default(), &nothing())
    };
    assert_eq!(with(&|_| {}), Some(Why::UnknownExecution), "else the rest shows nothing");
    for key in [orphan::KIND, orphan::LEDGER, orphan::EXECUTION, orphan::STEP, orphan::JOB, orphan::ATTEMPT] {
        assert_eq!(with(&|listed| drop(listed.labels.remove(key))), None, "without {key}");
    }
    let says = |key: &str, value: &str| with(&|listed| drop(listed.labels.insert(key.to_owned(), value.to_owned())));
    assert_eq!(says(orphan::LEDGER, ANOTHERS), None, "another ledger's");
    assert_eq!(says(orphan::LEDGER, ""), None);
    assert_eq!(says(orphan::KIND, "network"), None);
    assert_eq!(says(orphan::EXECUTION, "all"), None);
    assert_eq!(says(orphan::JOB, "-1"), None);
    // Labels that came with an image: the name is not one that we give.
    assert_eq!(with(&|listed| listed.name = "quirky_nobel".to_owned()), None);
    assert_eq!(says(orphan::ATTEMPT, "2"), None, "its name says attempt 1");
    assert_eq!(says(orphan::STEP, "X"), None, "its name says another step");
}

#[test]
fn container_of_an_earlier_attempt_or_of_one_that_was_never_made_is_an_orphan() {
    let retry = Retry { times: 1, backoff_seconds: 10, ..Retry::default() };
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { retry, ..Terms::default() })]);
    rig.run(1, id(0, 0, 1));
    rig.end(2, id(0, 0, 1), 3);
    let of = |rig: &Rig, attempt: u32| why(&container(rig.known(), id(0, 0, attempt)), &rig.board, &nothing());
    assert_eq!(of(&rig, 1), Some(Why::Over), "requeued, and cleared");
    assert_eq!(of(&rig, 2), Some(Why::UnknownAttempt));
    rig.feed(60_000, Event::TimePassed(BTreeMap::new()));
    assert_eq!((of(&rig, 1), of(&rig, 2)), (Some(Why::EarlierAttempt), None));
    let mut elsewhere = container(rig.known(), id(0, 0, 2));
    elsewhere.labels.insert(orphan::JOB.to_owned(), "7".to_owned());
    assert_eq!(why(&elsewhere, &rig.board, &nothing()), Some(Why::UnknownAttempt));
}

/// A gang whose first worker died by itself, and what of it is kept as the clean-up policy says.
fn ended_gang(clean: Clean) -> (Board, Arc<Execution>) {
    let (mut rig, _) = Rig::new(vec![gang(clean, GangStart::WithWorkers)]);
    for member in 0..3 {
        rig.tell(1, id(0, member, 1), Report::Prepared { container: "c".to_owned() });
    }
    (0..3).for_each(|member| drop(rig.tell(2, id(0, member, 1), Report::Started)));
    rig.end(3, id(0, 0, 1), 1);
    rig.end(4, id(0, 2, 1), 0);
    rig.end(5, id(0, 1, 1), 143);
    let known = Arc::new(rig.known().clone());
    rig.feed(6, Event::Filed(execution(1)));
    assert!(rig.board.ended.contains(&execution(1)));
    (rig.board, known)
}

#[test]
fn worker_that_the_clean_up_policy_keeps_is_no_orphan_until_its_execution_is_forgotten() {
    for (clean, orphaned) in [
        (Clean::All, [Some(Why::Over); 3]),
        (Clean::Running, [None, Some(Why::Over), Some(Why::Over)]),
        (Clean::None, [None, None, Some(Why::Over)]),
    ] {
        let (board, known) = ended_gang(clean);
        let look = |past: Option<Past>| {
            let past = past.map(|past| (execution(1), past)).into_iter().collect();
            [0, 1, 2].map(|member| why(&container(&known, id(0, member, 1)), &board, &past))
        };
        assert_eq!(look(Some(Past::Kept(known.clone()))), orphaned, "{clean:?}");
        assert_eq!(look(Some(Past::Forgotten)), [Some(Why::Forgotten); 3]);
        assert_eq!(look(Some(Past::Unreadable)), [None; 3], "what is not known is no orphan");
        assert_eq!(look(None), [None; 3]);
    }
}
