//! What must hold after every event, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use perigee::bundle::ExecutionId;
use perigee::bundle::document::OnFailure;
use perigee::plan::Needs;
use perigee::reason::{Name, Reason};
use perigee::sequence::cascade::obstacle;
use perigee::sequence::event::Report;
use perigee::sequence::state::{Exit, JobState, Logs, Phase, Remains, StepState, Verdict};
use perigee::sequence::{AttemptId, Board, Decision, Effect, Event, Execution, Record, Recorded, deadline, decide};
use perigee::time::BootTime;

use super::plans::at;
use super::run::{Run, current_attempts};
use super::world::Condition;

/// All of them that look at a whole run.
pub(crate) fn check(run: &Run) {
    invariant_no_attempt_starts_twice(run);
    invariant_success_is_an_exit_with_0_that_nobody_asked_for(run);
    invariant_a_group_launches_whole_or_not_at_all(run);
    invariant_nothing_waits_for_nothing(run);
    invariant_live_pods_never_share_a_hostname(run);
    invariant_what_must_end_was_told(run);
}

fn invariant_no_attempt_starts_twice(run: &Run) {
    assert!(run.world.containers.values().all(|container| container.starts <= 1));
    let mut launched = BTreeSet::new();
    for recorded in &run.journal {
        if let Record::JobLaunching { step, job } = recorded.record {
            assert!(launched.insert((recorded.execution, step, job)), "{recorded:?} is there twice");
        }
    }
}

fn invariant_success_is_an_exit_with_0_that_nobody_asked_for(run: &Run) {
    let attempts = run.world.containers.iter();
    let honest: BTreeSet<_> = attempts
        .filter(|(attempt, container)| container.exited_well() && !run.told.contains(attempt))
        .map(|(attempt, _)| (attempt.execution, attempt.step, attempt.job))
        .collect();
    for recorded in &run.journal {
        if let Record::JobEnded { step, job, verdict: Verdict::Succeeded, .. } = recorded.record {
            assert!(honest.contains(&(recorded.execution, step, job)), "{recorded:?} is not true");
        }
    }
}

fn invariant_a_group_launches_whole_or_not_at_all(run: &Run) {
    let mut launched: BTreeSet<(_, usize, usize)> = BTreeSet::new();
    let mut plans = BTreeMap::new();
    for recorded in &run.journal {
        if let Record::Accepted { plan, .. } = &recorded.record {
            plans.insert(recorded.execution, plan);
        }
        if let Record::JobLaunching { step, job } = recorded.record {
            launched.insert((recorded.execution, step, job));
        }
    }
    for (id, step, _) in &launched {
        for member in plans[id].group_of(*step) {
            for job in 0..plans[id].steps[member].jobs().len() {
                assert!(launched.contains(&(*id, member, job)), "step {step} was launched without step {member}");
            }
        }
    }
}

/// Every live execution that is not held waits for an effect, an answer, a deadline or another execution.
fn invariant_nothing_waits_for_nothing(run: &Run) {
    for (id, execution) in run.board.live.iter().filter(|(_, known)| known.phase != Phase::Held) {
        let alone = Board { live: [(*id, execution.clone())].into(), ..Board::default() };
        let others = run.board.live.values().filter(|other| other.plan.execution != *id);
        let blocked = others.into_iter().any(|other| blocks(execution, other));
        let waits = run.owed.iter().any(|effect| is_about(effect, *id))
            || run.world.answers.iter().any(|event| tells_of(event, *id))
            || deadline::next(&alone).is_some()
            || blocked;
        assert!(waits, "nothing will ever happen to {execution:#?}");
    }
}

fn blocks(execution: &Execution, other: &Execution) -> bool {
    let waiting = |step: &usize| execution.steps[*step].state == StepState::Waiting;
    (0..execution.steps.len())
        .filter(waiting)
        .any(|step| obstacle(execution, execution.plan.group_of(step), other).is_some())
}

fn is_about(effect: &Effect, id: ExecutionId) -> bool {
    match effect {
        Effect::Prepare(a) | Effect::Watch(a, _) | Effect::Signal(a, ..) | Effect::Clear(a) => a.execution == id,
        Effect::Launch(group) => group.iter().any(|(attempt, _)| attempt.execution == id),
        Effect::Place { execution, .. } | Effect::Collect { execution, .. } | Effect::Report(execution) => {
            *execution == id
        }
    }
}

fn tells_of(event: &Event, id: ExecutionId) -> bool {
    match event {
        Event::Reported(attempt, _) => attempt.execution == id,
        Event::Transferred { execution, .. } | Event::Filed(execution) | Event::Asked { execution, .. } => {
            *execution == id
        }
        Event::Submitted { plan, .. } => plan.execution == id,
        Event::TimePassed(_) | Event::Rebooted => false,
    }
}

fn invariant_live_pods_never_share_a_hostname(run: &Run) {
    let mut names = BTreeMap::new();
    for (attempt, container) in run.world.containers.iter().filter(|(_, container)| !container.gone()) {
        let other = names.insert(&container.hostname, attempt);
        assert_eq!(other, None, "{attempt:?} answers to the same name, {}", container.hostname);
    }
}

fn invariant_what_must_end_was_told(run: &Run) {
    for (attempt, state) in run.board.live.values().flat_map(|known| current_attempts(known)) {
        assert!(
            !matches!(state, JobState::Stopping { .. }) || run.told.contains(&attempt),
            "{attempt:?} knows nothing"
        );
    }
}

/// A group is launched back to back, by one effect, once.
pub(crate) fn launches_are_whole(board: &Board, effects: &[Effect]) {
    let mut launched_before = BTreeSet::new();
    for group in effects.iter().filter_map(launched) {
        let members: BTreeSet<(usize, usize)> = group.iter().map(|(attempt, _)| (attempt.step, attempt.job)).collect();
        let (AttemptId { execution, step, .. }, _) = group[0];
        let plan = &board.live[&execution].plan;
        let whole = plan.group_of(step).flat_map(|step| (0..plan.steps[step].jobs().len()).map(move |job| (step, job)));
        assert_eq!(members, whole.collect(), "a part of a group is launched");
        assert!(group.iter().all(|(attempt, _)| launched_before.insert(*attempt)), "launched twice: {effects:?}");
    }
}

/// After time has passed no step is active beyond its budget.
pub(crate) fn no_budget_is_exceeded(run: &Run) {
    for execution in run.board.live.values() {
        for (planned, step) in execution.plan.steps.iter().zip(&execution.steps) {
            if let StepState::Active { since } = &step.state {
                let spent = BootTime::from_millis(run.now).since(since.boot);
                assert!(spent.as_secs() < planned.timeout_seconds.into(), "step {} is over its budget", planned.id);
            }
        }
    }
}

/// A step never starts after a step with `on_failure: stop` did not succeed, nor while held or halted, nor before what
/// it depends on.
pub(crate) fn before(board: &Board, recorded: &Recorded) {
    let Record::StepStarted { step } = recorded.record else { return };
    let execution = &board.live[&recorded.execution];
    assert_eq!((&execution.phase, &execution.halt), (&Phase::Open, &None), "step {step} started");
    for (planned, known) in execution.plan.steps.iter().zip(&execution.steps) {
        let failed = known.state.verdict().is_some_and(|verdict| *verdict != Verdict::Succeeded);
        assert!(!failed || planned.on_failure == OnFailure::Continue, "step {step} started after {}", planned.id);
    }
    for edge in &execution.plan.steps[step].after {
        let verdict = execution.steps[edge.step].state.verdict();
        assert!(verdict.is_some(), "step {step} started before step {} had ended", edge.step);
        assert!(edge.needs == Needs::Ended || verdict == Some(&Verdict::Succeeded), "step {step} needs {}", edge.step);
    }
}

/// What has ended has ended wholly, and nothing of it is left aboard.
pub(crate) fn ended(run: &Run, execution: &Execution) {
    let id = execution.plan.execution;
    assert!(!run.board.live.contains_key(&id) && run.board.ended.contains(&id));
    for step in &execution.steps {
        assert!(step.state.verdict().is_some(), "{id} ended before its steps");
        let over = |state: &JobState| matches!(state, JobState::Ended { remains, .. } if *remains != Remains::Owed);
        assert!(step.jobs.iter().all(|job| over(&job.state)), "{id} left something");
    }
    let left = run.world.containers.iter().find(|(attempt, known)| attempt.execution == id && !known.gone());
    assert!(left.is_none(), "{left:?} was left aboard");
}

/// The cascade went to its end: thinking again at the same instant gives nothing new.
pub(crate) fn nothing_is_left_to_think(run: &Run) {
    let now = at(run.now);
    if deadline::next(&run.board).is_none_or(|(due, _)| due > now.boot) {
        assert_eq!(
            decide(&run.board, Event::TimePassed(std::collections::BTreeMap::new()), now),
            Ok(Decision::default())
        );
    }
}

/// A crash between saving and doing loses nothing: what was decided and not answered is decided still.
pub(crate) fn resume_repeats(effects: &[Effect], again: &[Effect]) {
    let launches: BTreeSet<&(AttemptId, String)> = again.iter().filter_map(launched).flatten().collect();
    for effect in effects {
        let there = match launched(effect) {
            Some(group) => group.iter().all(|member| launches.contains(member)),
            None => again.contains(effect),
        };
        assert!(there || superseded(effect, effects), "{effect:?} would be lost in a crash");
    }
}

fn launched(effect: &Effect) -> Option<&Vec<(AttemptId, String)>> {
    match effect {
        Effect::Launch(group) => Some(group),
        Effect::Prepare(_)
        | Effect::Watch(..)
        | Effect::Signal(..)
        | Effect::Clear(_)
        | Effect::Place { .. }
        | Effect::Collect { .. }
        | Effect::Report(_) => None,
    }
}

/// A signal is pointless when the same decision clears the container.
fn superseded(effect: &Effect, effects: &[Effect]) -> bool {
    matches!(effect, Effect::Signal(attempt, ..) if effects.contains(&Effect::Clear(*attempt)))
}

/// One report of each kind.
pub(crate) fn reports() -> Vec<Report> {
    vec![
        Report::Prepared { container: "c".to_owned() },
        Report::NotPrepared(Reason::new(Name::StartError, "no")),
        Report::Started,
        Report::NotStarted(Reason::new(Name::StartError, "no")),
        Report::Exited(Exit { code: 0, oom: false, cpu_ms: None }),
        Report::Lost,
        Report::Cleared(Logs::default()),
    ]
}

/// Whether a report can be true of a job in this state.
pub(crate) fn fits(state: &JobState, report: &Report) -> bool {
    match state {
        JobState::Waiting | JobState::Prepared { .. } => false,
        JobState::Preparing => matches!(report, Report::Prepared { .. } | Report::NotPrepared(_)),
        JobState::Launching { .. } => matches!(report, Report::Started | Report::NotStarted(_) | Report::Lost),
        JobState::Running { .. } | JobState::Stopping { .. } => matches!(report, Report::Exited(_) | Report::Lost),
        JobState::Ended { remains, .. } => *remains == Remains::Owed && matches!(report, Report::Cleared(_)),
    }
}

impl super::world::Container {
    /// Whether its process really ended with 0.
    fn exited_well(&self) -> bool {
        self.last_exit.as_ref() == Some(&Exit { code: 0, oom: false, cpu_ms: None })
            && !matches!(self.condition, Condition::Running(_) | Condition::PowerCut)
    }
}
