//! What is running at too many resets in a row: counted, quarantined, released, stopped.

use std::collections::BTreeMap;

use perigee::bundle::document::OnFailure;
use perigee::bundle::flow::{Clean, GangStart, OnPowerLoss};
use perigee::outcome::{self, State};
use perigee::plan::{Errand, Needs, Retry, Terms, Work};
use perigee::reason::Name;
use perigee::sequence::effect::Disposal;
use perigee::sequence::event::{Refusal, Report, Target, Verb};
use perigee::sequence::record::Reset;
use perigee::sequence::state::{JobState, Logs, Phase, StepState};
use perigee::sequence::{Decision, Effect, Event, decide, resume};

use super::jobs::{Rig, after, array, exit, gang, id, name, plain, prepares};
use super::plans::{at, execution, step, transfer};

const LIMIT: u32 = 3;

/// A step that is attempted again after a power loss.
fn rerun(index: usize) -> perigee::plan::PlannedStep {
    let retry = Retry { on_power_loss: OnPowerLoss::Rerun, ..Retry::default() };
    plain(index, Terms { retry, ..Terms::default() })
}

fn boot() -> Event {
    Event::Reset { cause: Reset::Boot, limit: LIMIT }
}

fn crash() -> Event {
    Event::Reset { cause: Reset::Crash, limit: LIMIT }
}

fn clear(rig: &mut Rig, attempt: u32) -> Vec<(usize, usize, u32)> {
    prepares(&rig.tell(9, id(0, 0, attempt), Report::Cleared(Logs::default())))
}

/// Running, in its attempt number 3, after two boots.
fn after_two_boots() -> Rig {
    let (mut rig, _) = Rig::new(vec![rerun(0)]);
    for attempt in 1..LIMIT {
        rig.run(1, id(0, 0, attempt));
        rig.feed(2, boot());
        assert_eq!(clear(&mut rig, attempt), [(0, 0, attempt + 1)], "below the limit it goes on by itself");
    }
    rig.run(3, id(0, 0, LIMIT));
    rig
}

#[test]
fn what_was_running_at_three_boots_in_a_row_waits_for_its_release_and_then_goes_on_as_after_a_power_loss() {
    let mut rig = after_two_boots();
    rig.feed(4, boot());
    assert_eq!((&rig.known().phase, rig.known().resets), (&Phase::Quarantined, LIMIT));
    assert_eq!(outcome::execution_state(rig.known()), State::Quarantined);
    let reason = outcome::quarantine(rig.known()).expect("a reason");
    assert!(reason.message.contains("at 3 resets") && reason.message.contains("perigee release"), "{reason}");
    assert_eq!(clear(&mut rig, 3), [], "nothing starts");
    assert_eq!(resume::resume(&rig.board), []);
    let again = rig.feed(5, boot());
    assert_eq!(again, Decision::default(), "what starts nothing is not interrupted");
    let released = rig.ask(6, Target::Execution, Verb::Release);
    assert_eq!(prepares(&released.effects), [(0, 0, 4)]);
    assert_eq!((&rig.known().phase, rig.known().resets), (&Phase::Open, 0));
}

#[test]
fn a_process_or_errand_that_ends_in_between_begins_the_count_anew() {
    let (mut rig, _) = Rig::new(vec![array(0, 2, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.run(1, id(0, 1, 1));
    rig.feed(2, crash());
    rig.feed(3, crash());
    assert_eq!(rig.known().resets, 2);
    rig.tell(4, id(0, 0, 1), Report::Exited(exit(1)));
    assert_eq!(rig.known().resets, 0, "it came to its end, if a bad one");
    rig.feed(5, crash());
    assert_eq!((&rig.known().phase, rig.known().resets), (&Phase::Open, 1));
    let (mut rig, _) = Rig::new(vec![errand(0), after(0, Needs::Ended, plain(1, Terms::default()))]);
    rig.feed(1, crash());
    rig.feed(2, Event::ErrandEnded { execution: execution(1), step: 0, result: Ok(None) });
    assert_eq!(rig.known().resets, 0);
}

#[test]
fn ends_that_only_the_reset_made_begin_no_new_count() {
    let steps = (0..4).map(|index| {
        let planned = plain(index, Terms::default());
        if index == 0 { planned } else { after(index - 1, Needs::Ended, planned) }
    });
    let (mut rig, _) = Rig::new(steps.collect());
    for index in 0..3 {
        rig.run(1, id(index, 0, 1));
        rig.feed(2, boot());
        assert_eq!(rig.step_reason(index), Some(Name::LostPower));
        rig.tell(3, id(index, 0, 1), Report::Cleared(Logs::default()));
    }
    assert_eq!(rig.known().phase, Phase::Quarantined);
    assert_eq!(rig.known().steps[3].state, StepState::Waiting, "the rule of the third step holds, the fourth waits");
    let released = rig.ask(4, Target::Execution, Verb::Release);
    assert_eq!(prepares(&released.effects), [(3, 0, 1)]);
}

#[test]
fn what_ends_by_its_own_rules_needs_no_operator() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.feed(2, Event::Reset { cause: Reset::Boot, limit: 1 });
    assert_eq!(rig.step_reason(0), Some(Name::LostPower));
    let effects = rig.tell(3, id(0, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(effects, [Effect::Report(execution(1))]);
}

#[test]
fn a_crash_of_the_daemon_leaves_pods_alone_until_there_are_too_many() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    for _ in 1..LIMIT {
        assert_eq!(rig.feed(2, crash()).effects, []);
        assert!(matches!(rig.job(0, 0), JobState::Running { .. }));
    }
    let quarantined = rig.feed(3, crash());
    assert_eq!(quarantined.effects, [Effect::Clear(id(0, 0, 1), Disposal::Remove)], "its pod is ended");
    assert!(matches!(rig.job(0, 0), JobState::Requeued { reason, .. } if reason.name == Name::Quarantined));
    assert_eq!(clear(&mut rig, 1), []);
    let released = rig.ask(4, Target::Execution, Verb::Release);
    assert_eq!(prepares(&released.effects), [(0, 0, 2)], "no power was lost: it is attempted once more");
    rig.run(5, id(0, 0, 2));
    rig.end(6, id(0, 0, 2), 0);
    assert!(rig.succeeded(0));
}

#[test]
fn with_a_limit_of_0_nothing_is_ever_quarantined_and_with_1_at_once() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    for _ in 0..200 {
        rig.feed(2, Event::Reset { cause: Reset::Crash, limit: 0 });
    }
    assert_eq!((&rig.known().phase, rig.known().resets), (&Phase::Open, 200));
    rig.feed(3, Event::Reset { cause: Reset::Crash, limit: 1 });
    assert_eq!(rig.known().phase, Phase::Quarantined);
}

#[test]
fn what_only_waits_is_neither_counted_nor_quarantined() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.ask(1, Target::Execution, Verb::Stop);
    let (mut held, _) = Rig::new(vec![plain(0, Terms::default())]);
    held.tell(1, id(0, 0, 1), Report::Prepared { container: name(id(0, 0, 1)) });
    held.tell(1, id(0, 0, 1), Report::Started);
    held.tell(2, id(0, 0, 1), Report::Exited(exit(0)));
    for rig in [&mut rig, &mut held] {
        for now in 3..9 {
            assert_eq!(rig.feed(now, crash()), Decision::default(), "its container is still to be cleared, no more");
        }
    }
}

#[test]
fn what_was_being_made_or_transferred_is_begun_anew_after_the_release() {
    for cause in [Reset::Boot, Reset::Crash] {
        let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
        let quarantined = rig.feed(2, Event::Reset { cause, limit: 1 });
        assert_eq!(quarantined.effects, [Effect::Clear(id(0, 0, 1), Disposal::Remove)]);
        assert_eq!(clear(&mut rig, 1), []);
        assert_eq!(prepares(&rig.ask(3, Target::Execution, Verb::Release).effects), [(0, 0, 2)], "{cause:?}");
        let (mut rig, _) = Rig::new(vec![errand(0)]);
        rig.feed(2, Event::Reset { cause, limit: 1 });
        assert_eq!(rig.known().steps[0].state, StepState::Waiting);
        assert_eq!(rig.feed(900_000, Event::TimePassed(BTreeMap::new())), Decision::default(), "no budget runs");
        let late = Event::ErrandEnded { execution: execution(1), step: 0, result: Ok(None) };
        assert!(matches!(decide(&rig.board, late, at(900_000)), Err(Refusal::Late(_))));
        let released = rig.ask(900_001, Target::Execution, Verb::Release);
        assert_eq!(released.effects, [Effect::Errand { execution: execution(1), step: 0 }]);
    }
}

#[test]
fn what_was_told_to_end_stays_ended() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.ask(2, Target::Job(0, 0), Verb::Stop);
    rig.feed(3, Event::Reset { cause: Reset::Crash, limit: 1 });
    assert_eq!(rig.step_reason(0), Some(Name::Quarantined));
    let effects = rig.tell(4, id(0, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(effects, [Effect::Report(execution(1))], "there is nothing left to try");
}

#[test]
fn a_quarantined_execution_can_be_stopped_and_its_parts_cannot_be_released_alone() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default()), after(0, Needs::Ended, plain(1, Terms::default()))]);
    rig.run(1, id(0, 0, 1));
    rig.feed(2, Event::Reset { cause: Reset::Crash, limit: 1 });
    for target in [Target::Step(0), Target::Job(1, 0)] {
        let ask = Event::Asked { execution: execution(1), target, verb: Verb::Release };
        let refused = decide(&rig.board, ask, at(3)).expect_err("not legal").to_string();
        assert!(refused.ends_with("is in quarantine with its execution"), "{refused}");
    }
    rig.ask(4, Target::Execution, Verb::Stop);
    let effects = rig.tell(5, id(0, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(effects, [Effect::Report(execution(1))]);
    assert_eq!((rig.step_reason(0), rig.step_reason(1)), (Some(Name::Stopped), Some(Name::Stopped)));
}

#[test]
fn a_gang_is_attempted_whole_once_more() {
    let (mut rig, _) = Rig::new(vec![gang(Clean::None, GangStart::WithWorkers)]);
    for member in 0..3 {
        rig.tell(1, id(0, member, 1), Report::Prepared { container: name(id(0, member, 1)) });
    }
    for member in 0..3 {
        rig.tell(1, id(0, member, 1), Report::Started);
    }
    rig.tell(2, id(0, 0, 1), Report::Exited(exit(1)));
    rig.tell(2, id(0, 0, 1), Report::Cleared(Logs::default()));
    let effects = rig.feed(3, Event::Reset { cause: Reset::Crash, limit: 1 }).effects;
    assert_eq!(effects, [1, 2].map(|member| Effect::Clear(id(0, member, 1), Disposal::Remove)));
    rig.tell(4, id(0, 1, 1), Report::Cleared(Logs::default()));
    rig.tell(4, id(0, 2, 1), Report::Cleared(Logs::default()));
    let released = rig.ask(5, Target::Execution, Verb::Release);
    assert_eq!(prepares(&released.effects), [(0, 0, 2), (0, 1, 2), (0, 2, 2)]);
}

#[test]
fn of_a_merge_group_those_that_had_not_ended_start_together_once_more() {
    let mut steps: Vec<_> = (0..3).map(|index| plain(index, Terms::default())).collect();
    steps.iter_mut().for_each(|step| step.group = Some(1));
    let (mut rig, _) = Rig::new(steps);
    for step in 0..3 {
        rig.tell(1, id(step, 0, 1), Report::Prepared { container: name(id(step, 0, 1)) });
    }
    for step in 0..3 {
        rig.tell(1, id(step, 0, 1), Report::Started);
    }
    rig.end(2, id(0, 0, 1), 0);
    rig.feed(3, Event::Reset { cause: Reset::Crash, limit: 1 });
    rig.tell(4, id(1, 0, 1), Report::Cleared(Logs::default()));
    rig.ask(5, Target::Execution, Verb::Release);
    let ready = rig.tell(6, id(2, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(prepares(&ready), [(1, 0, 2), (2, 0, 2)], "when both are cleared");
    rig.tell(7, id(1, 0, 2), Report::Prepared { container: name(id(1, 0, 2)) });
    let launched = rig.tell(7, id(2, 0, 2), Report::Prepared { container: name(id(2, 0, 2)) });
    let both = [(1, 0, 2), (2, 0, 2)].map(|(step, job, attempt)| id(step, job, attempt));
    assert_eq!(launched, [Effect::Launch(both.map(|id| (id, name(id))).to_vec())]);
}

#[test]
fn of_a_merge_group_that_a_failure_halts_nothing_is_attempted_once_more() {
    let mut steps: Vec<_> = (0..2).map(|index| plain(index, Terms::default())).collect();
    steps.iter_mut().for_each(|step| (step.group, step.on_failure) = (Some(1), OnFailure::Stop));
    let (mut rig, _) = Rig::new(steps);
    for step in 0..2 {
        rig.tell(1, id(step, 0, 1), Report::Prepared { container: name(id(step, 0, 1)) });
    }
    for step in 0..2 {
        rig.tell(1, id(step, 0, 1), Report::Started);
    }
    rig.end(2, id(0, 0, 1), 3);
    rig.feed(3, Event::Reset { cause: Reset::Crash, limit: 1 });
    assert_eq!(rig.step_reason(1), Some(Name::Quarantined), "it had run");
    let effects = rig.tell(4, id(1, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(effects, [Effect::Report(execution(1))], "it ends without an operator");
}

#[test]
fn a_quarantined_execution_keeps_nobody_waiting_once_it_is_cleared() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.feed(2, Event::Reset { cause: Reset::Crash, limit: 1 });
    let twin = rig.known().plan.as_ref().clone();
    let plan = std::sync::Arc::new(perigee::plan::Plan { execution: execution(2), ..twin });
    rig.feed(3, Event::Submitted { plan, held: false });
    let cleared = rig.tell(4, id(0, 0, 1), Report::Cleared(Logs::default()));
    assert_eq!(cleared.len(), 1, "{cleared:?}");
    assert!(matches!(cleared[0], Effect::Prepare(id) if id.execution == execution(2)), "other bundles run on");
}

fn errand(index: usize) -> perigee::plan::PlannedStep {
    step(index, OnFailure::Stop, 300, Work::Errand(Errand::Uplink(transfer())))
}
