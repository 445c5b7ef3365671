//! Every pair of a state and what may meet it, with its outcome.

use std::sync::Arc;

use perigee::bundle::document::OnFailure;
use perigee::outcome;
use perigee::plan::Work;
use perigee::reason::{Name, Reason};
use perigee::sequence::apply::advance;
use perigee::sequence::effect::Disposal;
use perigee::sequence::event::Refusal;
use perigee::sequence::record::{Repeat, Reset};
use perigee::sequence::state::{
    Exit, Freeze, Halt, Hold, Job, JobState, Logs, Phase, Remains, Run, Signal, StepState, StopCause, Verdict,
};
use perigee::sequence::{AttemptId, Board, Effect, Event, Execution, Record, Recorded, apply, decide};

use super::invariants::reports;
use super::plans::{at, empty_plan, execution, job, step};

const REPORTS: &str = "
                  Prepared NotPrepared         Started  NotStarted          Paused NotPaused Resumed Exited          Lost         Cleared
waiting           stale    stale               stale    stale               stale  stale     stale   stale           stale        stale
held              stale    stale               stale    stale               stale  stale     stale   stale           stale        stale
preparing         prepared failed(start_error) stale    stale               stale  stale     stale   stale           stale        stale
prepared          stale    stale               stale    stale               stale  stale     stale   stale           stale        stale
launching         stale    stale               running  failed(start_error) stale  stale     stale   stale           failed(lost) stale
launching,stop    stale    stale               stopping failed(start_error) stale  stale     stale   stale           failed(lost) stale
running           stale    stale               stale    stale               stale  stale     stale   succeeded       failed(lost) stale
pausing           stale    stale               stale    stale               paused running   stale   succeeded       failed(lost) stale
paused            stale    stale               stale    stale               stale  stale     stale   succeeded       failed(lost) stale
resuming          stale    stale               stale    stale               paused stale     running succeeded       failed(lost) stale
stopping,timeout  stale    stale               stale    stale               stale  stale     stale   failed(timeout) failed(lost) stale
stopping,operator stale    stale               stale    stale               stale  stale     stale   failed(stopped) failed(lost) stale
stopping,gang     stale    stale               stale    stale               stale  stale     stale   failed(stopped) failed(lost) stale
requeued,owed     clear    stale               clear    stale               stale  stale     stale   stale           stale        requeued
requeued,cleared  clear    stale               clear    stale               stale  stale     stale   stale           stale        stale
ended,nothing     clear    stale               clear    stale               stale  stale     stale   stale           stale        stale
ended,owed        clear    stale               clear    stale               stale  stale     stale   stale           stale        cleared
ended,cleared     clear    stale               clear    stale               stale  stale     stale   stale           stale        stale
";

const JOB_RECORDS: &str = "
                  JobHeld       JobReleased JobPreparing JobPrepared JobLaunching JobStarted JobPausing JobPaused JobResuming JobResumed JobStopping    JobEnded JobCleared
waiting           held          -           preparing    -           -            -          -          -         -           -          -              ended    -
held              -             waiting     -            -           -            -          -          -         -           -          -              ended    -
preparing         -             -           preparing    prepared    -            -          -          -         -           -          -              ended    -
prepared          -             -           preparing    -           launching    -          -          -         -           -          -              ended    -
launching         -             -           -            -           -            running    -          -         -           -          launching,stop ended    -
launching,stop    -             -           -            -           -            running    -          -         -           -          launching,stop ended    -
running           -             -           -            -           -            -          pausing    -         -           -          stopping       ended    -
pausing           -             -           -            -           -            -          -          paused    -           running    stopping       ended    -
paused            -             -           -            -           -            -          -          -         resuming    -          stopping       ended    -
resuming          -             -           -            -           -            -          -          paused    -           running    stopping       ended    -
stopping,timeout  -             -           -            -           -            -          -          -         -           -          stopping       ended    -
stopping,operator -             -           -            -           -            -          -          -         -           -          stopping       ended    -
stopping,gang     -             -           -            -           -            -          -          -         -           -          stopping       ended    -
requeued,owed     requeued,held -           preparing    -           -            -          -          -         -           -          -              ended    requeued
requeued,cleared  requeued,held -           preparing    -           -            -          -          -         -           -          -              cleared  -
ended,nothing     -             -           -            -           -            -          -          -         -           -          -              -        -
ended,owed        -             -           -            -           -            -          -          -         -           -          -              -        cleared
ended,cleared     -             -           -            -           -            -          -          -         -           -          -              -        -
";

/// Of a unit of which the other member has ended: what becomes of this one.
const UNIT_RECORDS: &str = "
                  retry    power_loss quarantine
waiting           -        -          -
held              -        -          -
preparing         -        -          requeued
prepared          -        -          requeued
launching         -        -          requeued
launching,stop    -        -          requeued
running           -        -          requeued
pausing           -        -          requeued
paused            -        -          requeued
resuming          -        -          requeued
stopping,timeout  -        -          requeued
stopping,operator -        -          requeued
stopping,gang     -        -          requeued
requeued,owed     -        -          -
requeued,cleared  -        -          -
ended,nothing     requeued requeued   requeued
ended,owed        requeued requeued   requeued
ended,cleared     requeued requeued   requeued
";

const STEP_RECORDS: &str = "
        StepStarted StepHeld StepReleased StepReading StepTaken StepEnded
waiting active      held     -            waiting     -         ended
held    -           -        waiting      held        -         ended
active  -           -        -            -           -         ended
ended   -           -        -            -           -         -
";

const EXECUTION_RECORDS: &str = "
            Accepted Released Interrupted Quarantined Halted      Settled Ended
held        -        open     -           -           held        settled -
open        -        -        open        quarantined open        settled -
quarantined -        open     -           -           quarantined settled -
settled     -        -        -           -           settled     -       ended
ended       -        -        -           -           ended       -       -
";

#[test]
fn every_report_in_every_job_state_has_its_outcome() {
    let names = [
        "Prepared",
        "NotPrepared",
        "Started",
        "NotStarted",
        "Paused",
        "NotPaused",
        "Resumed",
        "Exited",
        "Lost",
        "Cleared",
    ];
    let rows = job_states().into_iter().map(|(name, state)| {
        let board = board_with(state.clone());
        (name, reports().into_iter().map(|report| outcome_of(&board, &state, report)).collect())
    });
    assert_table(REPORTS, &names, rows.collect());
}

#[test]
fn every_record_in_every_job_state_is_applied_or_illegal() {
    let exit = Some(Exit { code: 0, oom: false, cpu_ms: None });
    let (step, job) = (0, 0);
    let records = [
        ("JobHeld", Record::JobHeld { step, job }),
        ("JobReleased", Record::JobReleased { step, job }),
        ("JobPreparing", Record::JobPreparing { step, job, attempt: 1 }),
        ("JobPrepared", Record::JobPrepared { step, job, container: "c".to_owned() }),
        ("JobLaunching", Record::JobLaunching { step, job }),
        ("JobStarted", Record::JobStarted { step, job }),
        ("JobPausing", Record::JobPausing { step, job }),
        ("JobPaused", Record::JobPaused { step, job }),
        ("JobResuming", Record::JobResuming { step, job }),
        ("JobResumed", Record::JobResumed { step, job, why: None }),
        ("JobStopping", Record::JobStopping { step, job, cause: StopCause::Timeout, signal: Signal::Kill }),
        ("JobEnded", Record::JobEnded { step, job, verdict: Verdict::Succeeded, exit }),
        ("JobCleared", Record::JobCleared { step, job, logs: Logs::default() }),
    ];
    let rows = job_states().into_iter().map(|(name, state)| {
        let outcomes = records.iter().map(|(_, record)| {
            let mut board = board_with(state.clone());
            match applied(&mut board, record) {
                Ok(()) => short(&board.live[&execution(1)].steps[0].jobs[0].state).to_owned(),
                Err(()) => "-".to_owned(),
            }
        });
        (name, outcomes.collect())
    });
    assert_table(JOB_RECORDS, &records.each_ref().map(|(name, _)| *name), rows.collect());
}

#[test]
fn every_repeat_in_every_job_state_is_applied_or_illegal() {
    let causes = [("retry", Repeat::Retry), ("power_loss", Repeat::PowerLoss), ("quarantine", Repeat::Quarantine)];
    let rows = job_states().into_iter().map(|(name, state)| {
        let outcomes = causes.iter().map(|(_, cause)| {
            let mut board = board_with(state.clone());
            let known = Arc::make_mut(board.live.get_mut(&execution(1)).expect("live"));
            let (_, ended) = job_states().pop().expect("the last one has ended");
            known.steps[0].jobs[1].state = ended;
            let record = Record::UnitRequeued { step: 0, unit: 0, cause: *cause, pause_ms: 0 };
            match applied(&mut board, &record) {
                Ok(()) => short(&board.live[&execution(1)].steps[0].jobs[0].state).to_owned(),
                Err(()) => "-".to_owned(),
            }
        });
        (name, outcomes.collect())
    });
    assert_table(UNIT_RECORDS, &causes.map(|(name, _)| name), rows.collect());
}

#[test]
fn every_step_record_in_every_step_state_is_applied_or_illegal() {
    let records = [
        ("StepStarted", Record::StepStarted { step: 0 }),
        ("StepHeld", Record::StepHeld { step: 0 }),
        ("StepReleased", Record::StepReleased { step: 0 }),
        ("StepReading", Record::StepReading { step: 0 }),
        ("StepTaken", Record::StepTaken { step: 0, pieces: None }),
        ("StepEnded", Record::StepEnded { step: 0, verdict: Verdict::Succeeded, output: None }),
    ];
    let ended = StepState::Ended { since: None, at: at(2), verdict: Verdict::Succeeded, output: None };
    let active = StepState::Active { since: at(1) };
    let states = [("waiting", StepState::Waiting), ("held", StepState::Held), ("active", active), ("ended", ended)];
    let rows = states.into_iter().map(|(name, state)| {
        let outcomes = records.iter().map(|(_, record)| {
            let mut board = board_with(JobState::Waiting);
            Arc::make_mut(board.live.get_mut(&execution(1)).expect("live")).steps[0].state = state.clone();
            applied(&mut board, record).map_or("-", |()| match &board.live[&execution(1)].steps[0].state {
                StepState::Waiting => "waiting",
                StepState::Held => "held",
                StepState::Active { .. } => "active",
                StepState::Ended { .. } => "ended",
            })
        });
        (name, outcomes.map(str::to_owned).collect())
    });
    assert_table(STEP_RECORDS, &records.each_ref().map(|(name, _)| *name), rows.collect());
}

#[test]
fn every_execution_record_in_every_phase_is_applied_or_illegal() {
    let records = [
        ("Accepted", Record::Accepted { plan: Arc::new(empty_plan(execution(1), 1)), held: false }),
        ("Released", Record::Released),
        ("Interrupted", Record::Interrupted { cause: Reset::Boot }),
        ("Quarantined", Record::Quarantined),
        ("Halted", Record::Halted { halt: Halt::Operator }),
        ("Settled", Record::Settled { verdict: Verdict::Succeeded }),
        ("Ended", Record::Ended),
    ];
    let verdict = Verdict::Succeeded;
    let phases = [
        ("held", Phase::Held),
        ("open", Phase::Open),
        ("quarantined", Phase::Quarantined),
        ("settled", Phase::Settled { verdict: verdict.clone(), at: at(2) }),
        ("ended", Phase::Ended { verdict, at: at(2) }),
    ];
    let rows = phases.into_iter().map(|(name, phase)| {
        let outcomes = records.iter().map(|(_, record)| {
            let mut known = board_with(JobState::Waiting).live.remove(&execution(1)).expect("live");
            Arc::make_mut(&mut known).phase = phase.clone();
            match advance(Arc::make_mut(&mut known), &recorded(record)) {
                Ok(()) => phase_name(&known.phase).to_owned(),
                Err(_) => "-".to_owned(),
            }
        });
        (name, outcomes.collect())
    });
    assert_table(EXECUTION_RECORDS, &records.each_ref().map(|(name, _)| *name), rows.collect());
}

#[test]
fn a_record_of_an_unknown_execution_step_or_job_is_illegal() {
    let mut board = board_with(JobState::Waiting);
    let beyond = [
        Record::StepStarted { step: 1 },
        Record::JobLaunching { step: 1, job: 0 },
        Record::JobLaunching { step: 0, job: 2 },
    ];
    assert!(beyond.iter().all(|record| applied(&mut board, record).is_err()));
    let foreign = Recorded { execution: execution(2), at: at(9), record: Record::Released };
    assert!(apply(&mut board, &foreign).is_err());
    assert_eq!(board, board_with(JobState::Waiting), "an illegal record changes nothing");
}

/// One execution with one active step of two jobs: the first in the given state, the second being prepared.
pub(crate) fn board_with(state: JobState) -> Board {
    let mut plan = empty_plan(execution(1), 10);
    let jobs = vec![job(0, None, 60), job(1, None, 60)];
    plan.steps.push(step(0, OnFailure::Stop, 360, Work::PodRun { jobs }));
    let mut known = Execution::new(Arc::new(plan), false, at(0));
    known.steps[0].state = StepState::Active { since: at(1) };
    let began = Some(at(1));
    known.steps[0].jobs = vec![
        Job { attempt: 1, began, state, ..Job::waiting() },
        Job { attempt: 1, began, state: JobState::Preparing, ..Job::waiting() },
    ];
    Board { live: [(execution(1), Arc::new(known))].into(), ..Board::default() }
}

pub(crate) fn job_states() -> Vec<(&'static str, JobState)> {
    let container = || "c".to_owned();
    let stopping =
        |cause| JobState::Stopping { container: container(), started: at(2), cause, signal: Signal::Term, told: at(3) };
    let paused = |freeze| JobState::Paused { container: container(), started: at(2), since: at(3), freeze };
    let requeued = |remains| JobState::Requeued {
        due: at(100_000),
        reason: Reason::new(Name::Exit, "exit code 1"),
        run: None,
        remains,
        hold: Hold::Free,
    };
    let run = Some(Run { container: container(), started: at(2), exit: None });
    let stop = Some((StopCause::Operator, Signal::Term));
    let verdict = Verdict::Failed(Reason::new(Name::Exit, "exit code 1"));
    let ended = |run, remains| JobState::Ended { verdict: verdict.clone(), at: at(4), run, remains };
    vec![
        ("waiting", JobState::Waiting),
        ("held", JobState::Held),
        ("preparing", JobState::Preparing),
        ("prepared", JobState::Prepared { container: container() }),
        ("launching", JobState::Launching { container: container(), stop: None }),
        ("launching,stop", JobState::Launching { container: container(), stop }),
        ("running", JobState::Running { container: container(), started: at(2) }),
        ("pausing", paused(Freeze::Asked)),
        ("paused", paused(Freeze::Frozen)),
        ("resuming", paused(Freeze::Thawing)),
        ("stopping,timeout", stopping(StopCause::Timeout)),
        ("stopping,operator", stopping(StopCause::Operator)),
        ("stopping,gang", stopping(StopCause::Gang)),
        ("requeued,owed", requeued(Remains::Owed)),
        ("requeued,cleared", requeued(Remains::Cleared(Logs::default()))),
        ("ended,nothing", ended(None, Remains::Nothing)),
        ("ended,owed", ended(run.clone(), Remains::Owed)),
        ("ended,cleared", ended(run, Remains::Cleared(Logs::default()))),
    ]
}

fn recorded(record: &Record) -> Recorded {
    Recorded { execution: execution(1), at: at(9), record: record.clone() }
}

fn applied(board: &mut Board, record: &Record) -> Result<(), ()> {
    apply(board, &recorded(record)).map(|_| ()).map_err(|_| ())
}

fn outcome_of(board: &Board, before: &JobState, report: perigee::sequence::event::Report) -> String {
    let attempt = AttemptId { execution: execution(1), step: 0, job: 0, attempt: 1 };
    let decision = match decide(board, Event::Reported(attempt, report), at(9)) {
        Err(Refusal::Stale { attempt: stale, .. }) if stale == attempt => return "stale".to_owned(),
        other => other.expect("a report is taken or stale"),
    };
    let mut after = board.clone();
    decision.records.iter().for_each(|record| assert_eq!(apply(&mut after, record), Ok(None)));
    let state = &after.live[&execution(1)].steps[0].jobs[0].state;
    if state == before {
        assert!(
            decision.effects.contains(&Effect::Clear(attempt, Disposal::Remove)),
            "{state:?} was left without an effect"
        );
        return "clear".to_owned();
    }
    if let JobState::Ended { verdict, remains: Remains::Owed, .. } = state {
        let reason = verdict.reason().map(|reason| format!("({})", reason.name)).unwrap_or_default();
        return format!("{}{reason}", outcome::of_verdict(verdict).as_str());
    }
    short(state).to_owned()
}

pub(crate) fn short(state: &JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Held => "held",
        JobState::Paused { freeze: Freeze::Asked, .. } => "pausing",
        JobState::Paused { freeze: Freeze::Frozen, .. } => "paused",
        JobState::Paused { freeze: Freeze::Thawing, .. } => "resuming",
        JobState::Requeued { hold: Hold::Free, .. } => "requeued",
        JobState::Requeued { hold: Hold::Held, .. } => "requeued,held",
        JobState::Preparing => "preparing",
        JobState::Prepared { .. } => "prepared",
        JobState::Launching { stop: None, .. } => "launching",
        JobState::Launching { stop: Some(_), .. } => "launching,stop",
        JobState::Running { .. } => "running",
        JobState::Stopping { .. } => "stopping",
        JobState::Ended { remains: Remains::Cleared(_), .. } => "cleared",
        JobState::Ended { .. } => "ended",
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Held => "held",
        Phase::Open => "open",
        Phase::Quarantined => "quarantined",
        Phase::Settled { .. } => "settled",
        Phase::Ended { .. } => "ended",
    }
}

/// Compares word by word, so that the tables above may be laid out for reading.
pub(crate) fn assert_table(expected: &str, columns: &[&str], rows: Vec<(&str, Vec<String>)>) {
    let mut found: Vec<Vec<String>> = vec![columns.iter().map(|name| (*name).to_owned()).collect()];
    found.extend(rows.into_iter().map(|(name, cells)| [vec![name.to_owned()], cells].concat()));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let wanted: Vec<Vec<String>> = expected.trim().lines().map(words).collect();
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}
