//! What operators may ask for, and when; and the ways in which whole runs end.

use std::sync::Arc;

use perigee::bundle::document::OnFailure;
use perigee::plan::{Errand, Plan, Work};
use perigee::reason::Name;
use perigee::sequence::effect::Disposal;
use perigee::sequence::event::{Refusal, Report, Target, Verb};
use perigee::sequence::record::Reset;
use perigee::sequence::state::{Exit, JobState, Phase, Signal, StepState, Verdict};
use perigee::sequence::{AttemptId, Board, Decision, Effect, Event, Execution, apply, decide};

use super::plans::{at, empty_plan, execution, job, step, transfer};

const BOOT: Event = Event::Reset { cause: Reset::Boot, limit: 0 };

#[test]
fn a_held_execution_starts_only_after_its_release() {
    let mut board = Board::default();
    let submitted = feed(&mut board, Event::Submitted { plan: lone_pods(1), held: true }, 0).expect("taken");
    assert_eq!(submitted.effects, []);
    let released = feed(&mut board, ask(Target::Execution, Verb::Release), 1).expect("legal");
    assert_eq!(released.effects, [Effect::Prepare(attempt(0, 0))]);
    let again = feed(&mut board, ask(Target::Execution, Verb::Release), 2);
    assert!(matches!(again, Err(Refusal::InvalidState { verb: "release", .. })), "{again:?}");
}

#[test]
fn a_stopped_held_execution_ends_without_ever_starting() {
    let mut board = Board::default();
    feed(&mut board, Event::Submitted { plan: lone_pods(2), held: true }, 0).expect("taken");
    let stopped = feed(&mut board, ask(Target::Execution, Verb::Stop), 1).expect("legal");
    assert_eq!(stopped.effects, [Effect::Report(execution(1))]);
    assert!(matches!(&only(&board).phase, Phase::Settled { verdict, .. } if name(verdict) == Some(Name::Stopped)));
}

#[test]
fn a_step_or_job_that_is_not_there_is_refused_and_nothing_is_stopped() {
    let mut board = submitted(lone_pods(2));
    let before = board.clone();
    let targets = [
        Target::Step(2),
        Target::Step(usize::MAX),
        Target::Job(0, 1),
        Target::Job(1, 1),
        Target::Job(2, 0),
        Target::Job(usize::MAX, usize::MAX),
    ];
    for target in targets {
        for verb in [Verb::Stop, Verb::StopNow] {
            let answer = feed(&mut board, ask(target, verb), 1);
            assert!(matches!(answer, Err(Refusal::NotFound(_))), "{target:?}: {answer:?}");
        }
    }
    let stranger = Event::Asked { execution: execution(9), target: Target::Execution, verb: Verb::Stop };
    assert!(matches!(feed(&mut board, stranger, 1), Err(Refusal::NotFound(_))));
    assert_eq!(board, before);
}

#[test]
fn stopping_one_step_of_a_waiting_group_ends_all_of_it() {
    let mut plan = plan_of(&[0, 1, 2]);
    plan.steps[1].group = Some(1);
    plan.steps[2].group = Some(1);
    plan.steps.iter_mut().for_each(|step| step.on_failure = OnFailure::Continue);
    let mut board = submitted(Arc::new(in_order(plan, &[0, 1, 1])));
    feed(&mut board, ask(Target::Step(2), Verb::Stop), 1).expect("legal");
    assert_eq!(name_of_step(&board, 2), Some(Name::Stopped));
    assert_eq!(name_of_step(&board, 1), Some(Name::GroupMember));
    assert!(matches!(only(&board).steps[0].state, StepState::Active { .. }), "the step before goes on");
}

#[test]
fn stop_asks_with_term_and_stop_now_kills() {
    let mut board = running();
    let term = feed(&mut board, ask(Target::Execution, Verb::Stop), 10).expect("legal");
    assert_eq!(term.effects, [Effect::Signal(attempt(0, 0), "c".to_owned(), Signal::Term)]);
    let again = feed(&mut board, ask(Target::Execution, Verb::Stop), 11).expect("legal");
    assert_eq!((again.records, again.effects), (vec![], vec![]), "asked twice, told once");
    let kill = feed(&mut board, ask(Target::Job(0, 0), Verb::StopNow), 12).expect("legal");
    assert_eq!(kill.effects, [Effect::Signal(attempt(0, 0), "c".to_owned(), Signal::Kill)]);
}

#[test]
fn stop_now_before_the_start_is_known_kills_once_it_is() {
    let mut board = launching();
    assert_eq!(feed(&mut board, ask(Target::Execution, Verb::Stop), 3).expect("legal").effects, []);
    assert_eq!(feed(&mut board, ask(Target::Execution, Verb::StopNow), 4).expect("legal").effects, []);
    let started = feed(&mut board, Event::Reported(attempt(0, 0), Report::Started), 5).expect("fits");
    let kill = Effect::Signal(attempt(0, 0), "c".to_owned(), Signal::Kill);
    assert_eq!(started.effects, [Effect::Watch(attempt(0, 0), "c".to_owned()), kill]);
}

#[test]
fn a_stopped_pod_failed_even_if_it_ends_with_0() {
    let mut board = running();
    feed(&mut board, ask(Target::Step(0), Verb::Stop), 10).expect("legal");
    let exit = Exit { code: 0, oom: false, cpu_ms: None };
    feed(&mut board, Event::Reported(attempt(0, 0), Report::Exited(exit)), 11).expect("fits");
    assert_eq!(name_of_step(&board, 0), Some(Name::Stopped));
}

#[test]
fn what_has_ended_cannot_be_stopped_or_submitted_again() {
    let mut board = running();
    let exit = Exit { code: 0, oom: false, cpu_ms: None };
    feed(&mut board, Event::Reported(attempt(0, 0), Report::Exited(exit)), 10).expect("fits");
    let late = feed(&mut board, ask(Target::Execution, Verb::Stop), 11);
    assert!(matches!(late, Err(Refusal::InvalidState { .. })), "{late:?}");
    feed(&mut board, Event::Reported(attempt(0, 0), Report::Cleared(Default::default())), 12).expect("fits");
    feed(&mut board, Event::Filed(execution(1)), 13).expect("fits");
    assert!(board.live.is_empty());
    let later = feed(&mut board, ask(Target::Execution, Verb::StopNow), 14);
    assert!(matches!(&later, Err(Refusal::InvalidState { state, .. }) if state == "ended"), "{later:?}");
    let again = feed(&mut board, Event::Submitted { plan: lone_pods(1), held: false }, 15);
    assert_eq!(again, Err(Refusal::AlreadyKnown(execution(1))));
}

#[test]
fn what_comes_after_a_step_that_was_stopped_before_its_start_starts_only_if_its_failure_stops_nothing() {
    for on_failure in [OnFailure::Stop, OnFailure::Continue] {
        let mut plan = plan_of(&[0, 1]);
        plan.steps[0].on_failure = on_failure;
        plan.steps[0].terms.window.not_before = Some("2100-01-01T00:00:00Z".parse().expect("a time"));
        let mut board = submitted(Arc::new(in_order(plan, &[0, 1])));
        let decision = feed(&mut board, ask(Target::Job(0, 0), Verb::Stop), 1).expect("legal");
        let goes_on = decision.effects == [Effect::Prepare(attempt(1, 0))];
        assert_eq!(goes_on, on_failure == OnFailure::Continue, "{:?}", decision.effects);
    }
}

#[test]
fn one_execution_more_than_the_limit_is_refused() {
    let mut board = Board::default();
    let limit = decide::LIVE_MAX;
    for number in 0..limit {
        let plan = Arc::new(empty_steps(u8::try_from(number).expect("fits")));
        feed(&mut board, Event::Submitted { plan, held: true }, 0).expect("taken");
    }
    let mut plan = empty_steps(0);
    plan.execution = perigee::bundle::ExecutionId::new(uuid::Uuid::nil());
    let more = feed(&mut board, Event::Submitted { plan: Arc::new(plan), held: true }, 0);
    assert!(matches!(more, Err(Refusal::Limit { limit: said, .. }) if said == limit), "{more:?}");
}

#[test]
fn a_boot_ends_what_ran_and_prepares_anew_what_had_not_started() {
    let mut board = running();
    let decision = feed(&mut board, BOOT, 20).expect("legal");
    assert_eq!(decision.effects, [Effect::Clear(attempt(0, 0), Disposal::Remove)]);
    assert_eq!(name_of_step(&board, 0), Some(Name::LostPower));
    let mut board = submitted(lone_pods(1));
    let prepared = Report::Prepared { container: "c".to_owned() };
    feed(&mut board, BOOT, 20).expect("legal");
    assert_eq!(perigee::sequence::resume::resume(&board), [Effect::Prepare(attempt(0, 0))]);
    let decision = feed(&mut board, Event::Reported(attempt(0, 0), prepared), 21).expect("fits");
    assert_eq!(decision.effects, [Effect::Launch(vec![(attempt(0, 0), "c".to_owned())])]);
}

#[test]
fn an_execution_waits_until_nobody_aboard_answers_to_its_hostname() {
    let mut board = running();
    let second = Arc::new(Plan { execution: execution(2), tenant: "u".parse().expect("legal"), ..plan_of(&[0]) });
    let waits = feed(&mut board, Event::Submitted { plan: second, held: false }, 3).expect("taken");
    assert_eq!(waits.effects, [], "joined names may be alike though tenants differ");
    let exit = Exit { code: 0, oom: false, cpu_ms: None };
    let ended = feed(&mut board, Event::Reported(attempt(0, 0), Report::Exited(exit)), 10).expect("fits");
    assert_eq!(ended.effects, [Effect::Clear(attempt(0, 0), Disposal::Remove)], "what has ended still answers");
    let cleared =
        feed(&mut board, Event::Reported(attempt(0, 0), Report::Cleared(Default::default())), 11).expect("fits");
    let next = AttemptId { execution: execution(2), ..attempt(0, 0) };
    assert_eq!(cleared.effects, [Effect::Report(execution(1)), Effect::Prepare(next)]);
}

#[test]
fn a_budget_that_ran_before_a_boot_goes_on_after_it() {
    let mut plan = empty_plan(execution(1), 10);
    plan.steps.push(step(0, OnFailure::Stop, 300, Work::Errand(Errand::Uplink(transfer()))));
    let mut board = submitted(Arc::new(plan));
    feed(&mut board, BOOT, 200_000).expect("legal");
    assert_eq!(
        perigee::sequence::resume::resume(&board),
        [Effect::Errand { execution: execution(1), step: 0 }],
        "the transfer is owed again"
    );
    feed(&mut board, Event::TimePassed(std::collections::BTreeMap::new()), 300_000).expect("legal");
    assert_eq!(name_of_step(&board, 0), Some(Name::Timeout));
}

#[test]
fn a_transfer_that_never_answers_is_ended_by_its_budget() {
    let mut plan = empty_plan(execution(1), 10);
    plan.steps.push(step(0, OnFailure::Stop, 300, Work::Errand(Errand::Uplink(transfer()))));
    let mut board = submitted(Arc::new(plan));
    assert_eq!(
        feed(&mut board, Event::TimePassed(std::collections::BTreeMap::new()), 299_999).expect("legal"),
        Decision::default()
    );
    feed(&mut board, Event::TimePassed(std::collections::BTreeMap::new()), 300_000).expect("legal");
    assert_eq!(name_of_step(&board, 0), Some(Name::Timeout));
    let late = Event::ErrandEnded { execution: execution(1), step: 0, result: Ok(None) };
    assert!(matches!(feed(&mut board, late, 300_001), Err(Refusal::Late(_))));
}

fn feed(board: &mut Board, event: Event, now: u64) -> Result<Decision, Refusal> {
    let decision = decide(board, event, at(now))?;
    for record in &decision.records {
        apply(board, record)?;
    }
    Ok(decision)
}

fn ask(target: Target, verb: Verb) -> Event {
    Event::Asked { execution: execution(1), target, verb }
}

fn attempt(step: usize, job: usize) -> AttemptId {
    AttemptId { execution: execution(1), step, job, attempt: 1 }
}

fn submitted(plan: Arc<Plan>) -> Board {
    let mut board = Board::default();
    feed(&mut board, Event::Submitted { plan, held: false }, 0).expect("taken");
    board
}

fn launching() -> Board {
    let mut board = submitted(lone_pods(1));
    let prepared = Report::Prepared { container: "c".to_owned() };
    feed(&mut board, Event::Reported(attempt(0, 0), prepared), 1).expect("fits");
    assert!(matches!(only(&board).steps[0].jobs[0].state, JobState::Launching { .. }));
    board
}

fn running() -> Board {
    let mut board = launching();
    feed(&mut board, Event::Reported(attempt(0, 0), Report::Started), 2).expect("fits");
    board
}

fn only(board: &Board) -> &Execution {
    &board.live[&execution(1)]
}

fn name(verdict: &Verdict) -> Option<Name> {
    verdict.reason().map(|reason| reason.name)
}

fn name_of_step(board: &Board, step: usize) -> Option<Name> {
    only(board).steps[step].state.verdict().and_then(name)
}

fn empty_steps(number: u8) -> Plan {
    Plan { execution: execution(number), ..plan_of(&[0]) }
}

fn plan_of(names: &[u8]) -> Plan {
    let mut plan = empty_plan(execution(1), 10);
    for (index, name) in names.iter().enumerate() {
        plan.steps.push(step(index, OnFailure::Stop, 360, Work::PodRun { jobs: vec![job(*name, None, 60)] }));
    }
    plan
}

/// Each step waits for the steps of the unit before its own.
fn in_order(mut plan: Plan, units: &[usize]) -> Plan {
    use perigee::plan::{Dependency, Needs};
    for (step, unit) in units.iter().enumerate() {
        let before = (0..step).filter(|other| units[*other] + 1 == *unit);
        plan.steps[step].after = before.map(|step| Dependency { step, needs: Needs::Ended }).collect();
    }
    plan
}

fn lone_pods(count: u8) -> Arc<Plan> {
    let names: Vec<u8> = (0..count).collect();
    let units: Vec<usize> = (0..names.len()).collect();
    Arc::new(in_order(plan_of(&names), &units))
}
