//! Every verb in every state, and what it comes to for each member of what it was asked of.

use std::sync::Arc;

use perigee::bundle::document::OnFailure;
use perigee::plan::{PlannedJob, Role, Work};
use perigee::sequence::event::{Refusal, Target, Verb};
use perigee::sequence::state::{Freeze, JobState, Phase, StepState};
use perigee::sequence::{AttemptId, Board, Decision, Effect, Event, Execution, apply, decide};

use super::plans::{at, empty_plan, execution, job, step};
use super::table::{assert_table, board_with, job_states, short};

const VERBS: [(&str, Verb); 7] = [
    ("hold", Verb::Hold),
    ("release", Verb::Release),
    ("pause", Verb::Pause),
    ("resume", Verb::Resume),
    ("stop", Verb::Stop),
    ("stop--now", Verb::StopNow),
    ("purge", Verb::Purge),
];

const TABLE: &str = "
                  hold          release   pause   resume   stop           stop--now      purge
waiting           held          refused   refused refused  ended          ended          refused
held              refused       waiting   refused refused  ended          ended          refused
preparing         refused       refused   refused refused  ended          ended          refused
prepared          refused       refused   refused refused  ended          ended          refused
launching         refused       refused   refused refused  launching,stop launching,stop refused
launching,stop    refused       refused   refused refused  launching,stop launching,stop refused
running           refused       refused   pausing refused  stopping       stopping       refused
pausing           refused       refused   refused refused  stopping       stopping       refused
paused            refused       refused   refused resuming stopping       stopping       refused
resuming          refused       refused   refused refused  stopping       stopping       refused
stopping,timeout  refused       refused   refused refused  stopping       stopping       refused
stopping,operator refused       refused   refused refused  stopping       stopping       refused
stopping,gang     refused       refused   refused refused  stopping       stopping       refused
requeued,owed     requeued,held refused   refused refused  ended          ended          refused
requeued,cleared  requeued,held refused   refused refused  cleared        cleared        refused
ended,nothing     refused       refused   refused refused  refused        refused        refused
ended,owed        refused       refused   refused refused  refused        refused        refused
ended,cleared     refused       refused   refused refused  refused        refused        refused
";

#[test]
fn every_verb_in_every_state_of_a_job_is_taken_or_refused() {
    let rows = job_states().into_iter().map(|(name, state)| {
        let cells = VERBS.into_iter().map(|(_, verb)| {
            let mut board = board_with(state.clone());
            let before = board.clone();
            match feed(&mut board, ask(Target::Job(0, 0), verb)) {
                Ok(decision) => {
                    assert!(decision.outcomes.iter().all(|outcome| outcome.refused.is_none()), "{name} {verb:?}");
                    short(&board.live[&execution(1)].steps[0].jobs[0].state).to_owned()
                }
                Err(Refusal::InvalidState { .. }) => {
                    assert_eq!(board, before, "a refusal changes nothing");
                    "refused".to_owned()
                }
                Err(other) => format!("{other}"),
            }
        });
        (name, cells.collect())
    });
    assert_table(TABLE, &VERBS.map(|(name, _)| name), rows.collect());
}

#[test]
fn a_refusal_names_verb_part_and_state() {
    let mut board = board_with(JobState::Preparing);
    let refused = feed(&mut board, ask(Target::Job(0, 0), Verb::Pause)).expect_err("not legal").to_string();
    assert_eq!(refused, format!("pause is not legal: {}.s0.0 is starting", execution(1)));
}

#[test]
fn a_verb_on_an_array_is_answered_by_each_member_and_changes_those_that_may() {
    let running = JobState::Running { container: "c".to_owned(), started: at(2) };
    let mut board = array(&[running.clone(), running, JobState::Waiting, JobState::Waiting]);
    let decision = feed(&mut board, ask(Target::Step(0), Verb::Pause)).expect("two may");
    let refused: Vec<bool> = decision.outcomes.iter().map(|outcome| outcome.refused.is_some()).collect();
    assert_eq!(refused, [false, false, true, true]);
    assert_eq!(decision.outcomes[3].id, format!("{}.s0.7", execution(1)), "members are called by their labels");
    let attempt = |job| (AttemptId { execution: execution(1), step: 0, job, attempt: 1 }, "c".to_owned());
    assert!(decision.effects.contains(&Effect::Pause(vec![attempt(0), attempt(1)])), "{:?}", decision.effects);
    let again = feed(&mut board, ask(Target::Step(0), Verb::Resume)).expect("answered");
    assert!(again.outcomes.iter().all(|outcome| outcome.refused.is_some()), "none is frozen yet");
    assert_eq!((again.records, again.effects), (vec![], vec![]));
}

#[test]
fn one_member_of_an_array_is_asked_by_its_unit() {
    let running = JobState::Running { container: "c".to_owned(), started: at(2) };
    let mut board = array(&[running.clone(), running]);
    feed(&mut board, ask(Target::Unit(0, 1), Verb::Pause)).expect("legal");
    let jobs = &board.live[&execution(1)].steps[0].jobs;
    assert!(matches!(jobs[0].state, JobState::Running { .. }));
    assert!(matches!(jobs[1].state, JobState::Paused { freeze: Freeze::Asked, .. }));
    let missing = feed(&mut board, ask(Target::Unit(0, 2), Verb::Pause));
    assert!(matches!(missing, Err(Refusal::NotFound(_))), "{missing:?}");
}

#[test]
fn a_group_is_all_of_its_steps_and_one_that_is_not_there_is_not_found() {
    let mut plan = empty_plan(execution(1), 10);
    for index in 0..3_u8 {
        let work = Work::PodRun { jobs: vec![job(index, None, 60)] };
        plan.steps.push(step(usize::from(index), OnFailure::Stop, 360, work));
        plan.steps[usize::from(index)].group = (index < 2).then_some(1);
    }
    let known = Execution::new(Arc::new(plan), false, at(0));
    let mut board = Board { live: [(execution(1), Arc::new(known))].into(), ..Board::default() };
    let decision = feed(&mut board, ask(Target::Group(1), Verb::Hold)).expect("they wait");
    let ids: Vec<&str> = decision.outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    assert_eq!(ids, [format!("{}.s0.0", execution(1)), format!("{}.s1.0", execution(1))]);
    let missing = feed(&mut board, ask(Target::Group(2), Verb::Hold));
    assert!(matches!(missing, Err(Refusal::NotFound(_))), "{missing:?}");
}

#[test]
fn a_part_of_a_held_execution_is_released_with_it() {
    let mut board = board_with(JobState::Waiting);
    let known = Arc::make_mut(board.live.get_mut(&execution(1)).expect("live"));
    (known.phase, known.steps[0].state) = (Phase::Held, StepState::Waiting);
    let refused = feed(&mut board, ask(Target::Job(0, 0), Verb::Release)).expect_err("the execution is held");
    assert!(refused.to_string().ends_with("is held with its execution"), "{refused}");
    feed(&mut board, ask(Target::Execution, Verb::Release)).expect("legal");
}

#[test]
fn what_has_ended_is_purged_whole_and_nothing_else_is() {
    let mut board = Board::default();
    Arc::make_mut(&mut board.ended).insert(execution(1));
    let part = feed(&mut board, ask(Target::Step(0), Verb::Purge));
    assert!(matches!(part, Err(Refusal::InvalidState { .. })), "{part:?}");
    let purged = feed(&mut board, ask(Target::Execution, Verb::Purge)).expect("legal");
    assert_eq!(purged.effects, [Effect::Purge(execution(1))]);
    assert!(board.ended.contains(&execution(1)), "its bundle never runs again");
}

/// One execution with one active step: an array whose `TASK_ID`s are 1, 3, 5, 7, its members in these states.
fn array(states: &[JobState]) -> Board {
    let mut plan = empty_plan(execution(1), 10);
    let member = |position: usize| PlannedJob {
        label: (1 + 2 * position).to_string(),
        unit: u32::try_from(position).expect("few"),
        role: Role::Alone,
        ..job(u8::try_from(position).expect("few"), None, 60)
    };
    let jobs: Vec<PlannedJob> = (0..states.len()).map(member).collect();
    plan.steps.push(step(0, OnFailure::Stop, 360, Work::PodRun { jobs }));
    plan.steps[0].terms.max_parallel = Some(2);
    let mut known = Execution::new(Arc::new(plan), false, at(0));
    known.steps[0].state = StepState::Active { since: at(1) };
    for (job, state) in known.steps[0].jobs.iter_mut().zip(states) {
        (job.attempt, job.began, job.state) = (u32::from(*state != JobState::Waiting), Some(at(1)), state.clone());
    }
    Board { live: [(execution(1), Arc::new(known))].into(), ..Board::default() }
}

fn ask(target: Target, verb: Verb) -> Event {
    Event::Asked { execution: execution(1), target, verb }
}

fn feed(board: &mut Board, event: Event) -> Result<Decision, Refusal> {
    let decision = decide(board, event, at(9))?;
    for record in &decision.records {
        apply(board, record)?;
    }
    Ok(decision)
}
