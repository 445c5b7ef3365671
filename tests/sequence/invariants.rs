//! What must hold after every event, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use perigee::bundle::ExecutionId;
use perigee::bundle::document::OnFailure;
use perigee::bundle::flow::GangStart;
use perigee::bundle::manifest::Port;
use perigee::plan::{Errand, Needs, Plan, Work};
use perigee::reason::{Name, Reason};
use perigee::sequence::ahead::AHEAD_MAX;
use perigee::sequence::cascade::obstacle;
use perigee::sequence::event::Report;
use perigee::sequence::image::{Image, Lost, Reload};
use perigee::sequence::state::{Exit, Freeze, Hold, Input, Job, JobState, Logs, Phase, Remains, StepState, Verdict};
use perigee::sequence::{
    AttemptId, Board, Decision, Effect, Event, Execution, Record, Recorded, deadline, decide, resume,
};
use perigee::time::BootTime;

use super::plans::{IN_BUNDLE, at, full_name, prepared};
use super::run::{Run, current_attempts, held};
use super::world::Condition;

/// All of them that look at a whole run.
pub(crate) fn check(run: &Run) {
    invariant_no_attempt_starts_twice(run);
    invariant_success_is_an_exit_with_0_that_nobody_asked_for(run);
    invariant_a_group_launches_whole_or_not_at_all(run);
    invariant_nothing_waits_for_nothing(run);
    invariant_what_stands_ahead_only_waits(run);
    invariant_live_pods_never_share_a_hostname(run);
    invariant_what_must_end_was_told(run);
    invariant_nothing_of_a_quarantined_execution_is_alive_or_owed(run);
    invariant_a_name_means_one_image_until_it_is_made_anew(run);
}

fn invariant_no_attempt_starts_twice(run: &Run) {
    assert!(run.world.containers.values().all(|container| container.starts <= 1));
    let mut launched = BTreeSet::new();
    let mut attempts = BTreeMap::new();
    for recorded in &run.journal {
        if let Record::JobPreparing { step, job, attempt } = recorded.record {
            attempts.insert((recorded.execution, step, job), attempt);
        }
        if let Record::JobLaunching { step, job } = recorded.record {
            let job = (recorded.execution, step, job);
            assert!(launched.insert((job, attempts[&job])), "{recorded:?} is there twice");
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
        if plans[id].steps[*step].group.is_none() {
            continue;
        }
        for member in plans[id].group_of(*step) {
            for job in 0..plans[id].steps[member].jobs().len() {
                assert!(launched.contains(&(*id, member, job)), "step {step} was launched without step {member}");
            }
        }
    }
}

/// Every live execution that is not held waits for an effect, an answer, a deadline or another execution.
fn invariant_nothing_waits_for_nothing(run: &Run) {
    for (id, execution) in run.board.live.iter().filter(|(_, known)| !held(known)) {
        let alone = Board { live: [(*id, execution.clone())].into(), ..Board::default() };
        let others = run.board.live.values().filter(|other| other.plan.execution != *id);
        let blocked = others.into_iter().any(|other| blocks(execution, other));
        let waits = run.owed.iter().any(|effect| is_about(effect, *id))
            || run.world.answers.iter().any(|event| tells_of(event, *id))
            || deadline::next(&alone, at(run.decided)).is_some()
            || blocked;
        assert!(waits, "nothing will ever happen to {execution:#?}");
    }
}

fn blocks(execution: &Execution, other: &Execution) -> bool {
    let waiting = |step: &usize| execution.steps[*step].state.verdict().is_none();
    (0..execution.steps.len()).filter(waiting).any(|step| {
        let jobs = |step: usize| (0..execution.steps[step].jobs.len()).map(move |job| (step, job));
        let wanted: Vec<(usize, usize)> = execution.plan.group_of(step).flat_map(jobs).collect();
        obstacle(execution, &wanted, other).is_some()
    })
}

fn is_about(effect: &Effect, id: ExecutionId) -> bool {
    match effect {
        Effect::Prepare(a) | Effect::Watch(a, _) | Effect::Signal(a, ..) | Effect::Clear(a, _) => a.execution == id,
        Effect::Launch(group) | Effect::Pause(group) | Effect::Resume(group) => {
            group.iter().any(|(attempt, _)| attempt.execution == id)
        }
        Effect::Read { execution, .. }
        | Effect::Errand { execution, .. }
        | Effect::Report(execution)
        | Effect::Purge(execution) => *execution == id,
    }
}

fn tells_of(event: &Event, id: ExecutionId) -> bool {
    match event {
        Event::Reported(attempt, _) => attempt.execution == id,
        Event::ErrandEnded { execution, .. }
        | Event::OutputRead { execution, .. }
        | Event::Filed(execution)
        | Event::Asked { execution, .. } => *execution == id,
        Event::Submitted { plan, .. } => plan.execution == id,
        Event::TimePassed(_) | Event::Reset { .. } => false,
    }
}

/// A container that was made ahead has not started, stands for a job that waits, in an execution that goes on, and there
/// are few of them.
fn invariant_what_stands_ahead_only_waits(run: &Run) {
    let mut count = 0;
    for (id, execution) in &run.board.live {
        let frozen = |job: &Job| matches!(job.state, JobState::Paused { .. });
        let paused = execution.steps.iter().flat_map(|step| &step.jobs).any(frozen);
        for (step, known) in execution.steps.iter().enumerate() {
            for (job, known_job) in known.jobs.iter().enumerate().filter(|(_, job)| job.ahead.occupies()) {
                let attempt = known_job.ahead_attempt().expect("it has a number");
                let attempt = AttemptId { execution: *id, step, job, attempt };
                let started = run.world.containers.get(&attempt).is_some_and(|container| container.starts > 0);
                assert!(!started, "{attempt:?} started before its turn");
                assert!(matches!(known_job.state, JobState::Waiting | JobState::Held), "{known_job:?}");
                count += 1;
                if known_job.ahead.stands() {
                    let goes_on = execution.phase == Phase::Open && execution.halt.is_none() && !paused;
                    assert!(goes_on && known_job.state == JobState::Waiting, "{attempt:?} stands for nothing");
                    assert_eq!(known.state, StepState::Waiting, "{attempt:?} has its turn and only stands");
                }
            }
        }
    }
    assert!(count <= AHEAD_MAX, "{count} containers stand ahead of their turn");
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

/// It starts nothing, keeps nobody waiting once it is cleared, and a restart owes it nothing but that.
fn invariant_nothing_of_a_quarantined_execution_is_alive_or_owed(run: &Run) {
    let quarantined = run.board.live.values().filter(|known| known.phase == Phase::Quarantined);
    for execution in quarantined {
        let id = execution.plan.execution;
        assert!(execution.steps.iter().flat_map(|step| &step.jobs).all(|job| !job.alive()), "{id} is alive");
        assert!(execution.steps.iter().all(|step| step.input != Input::Reading || step.state.verdict().is_some()));
        let alone = Board { live: [(id, execution.clone())].into(), ..Board::default() };
        let owed = resume::resume(&alone);
        assert!(owed.iter().all(|effect| matches!(effect, Effect::Clear(..))), "{id} is owed {owed:?}");
    }
}

/// From the journal and the containers alone: what was launched, and how often an image was loaded again.
#[expect(clippy::too_many_lines, reason = "a table: one arm for each record that matters, and those that do not")]
fn invariant_a_name_means_one_image_until_it_is_made_anew(run: &Run) {
    let mut plans = BTreeMap::new();
    let (mut means, mut made_from, mut attempts) = <(BTreeMap<_, _>, BTreeMap<_, _>, BTreeMap<_, _>)>::default();
    let (mut started, mut reloaded) = <(BTreeSet<_>, BTreeSet<_>)>::default();
    for Recorded { execution, record, .. } in &run.journal {
        let id = *execution;
        match record {
            Record::Accepted { plan, .. } => drop(plans.insert(id, plan)),
            Record::StepStarted { step } => drop(started.insert((id, *step))),
            Record::StepEnded { step, verdict, .. } if started.contains(&(id, *step)) => {
                let Some(name) = loaded_by(plans[&id], *step) else { continue };
                means.remove(&(id, name.clone()));
                reloaded.remove(&(id, name.clone()));
                means.extend((*verdict == Verdict::Succeeded).then_some(((id, name), IN_BUNDLE)));
            }
            Record::ImageReloading { name, .. } => {
                assert!(reloaded.insert((id, name.clone())), "{name} is loaded again twice");
            }
            Record::JobPreparing { step, job, attempt } => drop(attempts.insert((id, *step, *job), *attempt)),
            Record::JobPrepared { step, job, image, .. } => {
                let found = image.as_deref().expect("only old journals lack it");
                made_from.insert((id, *step, *job), found);
                assert_eq!(found, *means.entry((id, image_of(plans[&id], *step, *job))).or_insert(found), "{record:?}");
            }
            Record::JobPreparedAhead { step, job, image, .. } => {
                let first = *means.entry((id, image_of(plans[&id], *step, *job))).or_insert(image);
                assert_eq!(&**image, first, "{record:?}");
            }
            Record::JobLaunching { step, job } => {
                let attempt = attempts[&(id, *step, *job)];
                let made = AttemptId { execution: id, step: *step, job: *job, attempt };
                // What a boot undid before it was started is gone.
                let Some(container) = run.world.containers.get(&made) else { continue };
                assert_eq!(Some(container.image.as_str()), made_from.remove(&(id, *step, *job)), "{made:?} is not it");
            }
            Record::Released
            | Record::Interrupted { .. }
            | Record::Quarantined
            | Record::Halted { .. }
            | Record::StepEnded { .. }
            | Record::StepHeld { .. }
            | Record::StepReleased { .. }
            | Record::StepReading { .. }
            | Record::StepTaken { .. }
            | Record::JobHeld { .. }
            | Record::JobReleased { .. }
            | Record::JobPausing { .. }
            | Record::JobPaused { .. }
            | Record::JobResuming { .. }
            | Record::JobResumed { .. }
            | Record::ImageKnown { .. }
            | Record::UnitRequeued { .. }
            | Record::JobPreparingAhead { .. }
            | Record::JobWithdrawn { .. }
            | Record::JobStarted { .. }
            | Record::JobStopping { .. }
            | Record::JobEnded { .. }
            | Record::JobCleared { .. }
            | Record::Settled { .. }
            | Record::Ended
            | Record::Purged => {}
        }
    }
}

/// The full name of the image that a step loads, if it loads one.
fn loaded_by(plan: &Plan, step: usize) -> Option<String> {
    match &plan.steps[step].work {
        Work::Errand(Errand::ImageLoad(load)) => Some(full_name(&load.image)),
        Work::Errand(_) | Work::PodRun { .. } => None,
    }
}

fn image_of(plan: &Plan, step: usize, job: usize) -> String {
    let planned = &plan.steps[step];
    let fanned = planned.terms.fan_out.as_ref().map(|fan_out| &*fan_out.template);
    full_name(&fanned.unwrap_or_else(|| &planned.jobs()[job]).pod.image)
}

/// A group is launched back to back, by one effect, once.
pub(crate) fn launches_are_whole(board: &Board, effects: &[Effect]) {
    let mut launched_before = BTreeSet::new();
    for group in effects.iter().filter_map(launched) {
        let members: BTreeSet<(usize, usize)> = group.iter().map(|(attempt, _)| (attempt.step, attempt.job)).collect();
        let (AttemptId { execution, step, job, .. }, _) = group[0];
        let plan = &board.live[&execution].plan;
        let planned = &plan.steps[step];
        let whole: BTreeSet<(usize, usize)> = match planned.group {
            Some(_) => plan
                .group_of(step)
                .flat_map(|step| (0..plan.steps[step].jobs().len()).map(move |job| (step, job)))
                // After a quarantine those start once more that had not ended by themselves.
                .filter(|(step, job)| !board.live[&execution].steps[*step].jobs[*job].ended())
                .collect(),
            None => {
                let unit = planned.unit(planned.jobs()[job].unit as usize);
                let with_launcher =
                    planned.terms.gang.as_ref().is_some_and(|gang| gang.start == GangStart::WithWorkers);
                let role = planned.jobs()[job].role;
                let together = |other: &usize| with_launcher || planned.jobs()[*other].role == role;
                unit.filter(together).map(|job| (step, job)).collect()
            }
        };
        assert_eq!(members, whole, "a part of a group is launched");
        assert!(group.iter().all(|(attempt, _)| launched_before.insert(*attempt)), "launched twice: {effects:?}");
    }
}

/// After time has passed no step is active beyond its budget.
pub(crate) fn no_budget_is_exceeded(run: &Run) {
    for execution in run.board.live.values() {
        for (planned, step) in execution.plan.steps.iter().zip(&execution.steps) {
            let began = match &step.state {
                StepState::Active { since } if planned.is_errand() => vec![*since],
                StepState::Active { .. } => {
                    step.jobs.iter().filter(|job| job.alive()).filter_map(|job| job.began).collect()
                }
                StepState::Waiting | StepState::Held | StepState::Ended { .. } => Vec::new(),
            };
            for since in began {
                let spent = BootTime::from_millis(run.now).since(since.boot);
                assert!(spent.as_secs() < planned.timeout_seconds.into(), "step {} is over its budget", planned.id);
            }
        }
    }
}

/// A step never starts after a step with `on_failure: stop` did not succeed, nor while held or halted, nor before what
/// it depends on.
pub(crate) fn before(board: &Board, recorded: &Recorded) {
    if let Record::JobPreparingAhead { step, job } = recorded.record {
        return before_ahead(board, &board.live[&recorded.execution], step, job);
    }
    if let Record::JobPreparing { step, job, .. } = recorded.record {
        return before_job(&board.live[&recorded.execution], step, job);
    }
    let Record::StepStarted { step } = recorded.record else { return };
    let execution = &board.live[&recorded.execution];
    assert_eq!((&execution.phase, &execution.halt), (&Phase::Open, &None), "step {step} started");
    for (planned, known) in execution.plan.steps.iter().zip(&execution.steps) {
        let failed = matches!(known.state.verdict(), Some(Verdict::Failed(_) | Verdict::Unknown(_)));
        assert!(!failed || planned.on_failure == OnFailure::Continue, "step {step} started after {}", planned.id);
    }
    for edge in &execution.plan.steps[step].after {
        let verdict = execution.steps[edge.step].state.verdict();
        if edge.needs == Needs::Each {
            continue;
        }
        assert!(verdict.is_some(), "step {step} started before step {} had ended", edge.step);
        assert!(edge.needs == Needs::Ended || verdict == Some(&Verdict::Succeeded), "step {step} needs {}", edge.step);
    }
}

/// A job is never made while it is held, beyond a cap, before the unit at its position has succeeded, or before an
/// output said so.
fn before_job(execution: &Execution, step: usize, job: usize) {
    let (planned, known) = (&execution.plan.steps[step], &execution.steps[step]);
    assert_eq!(execution.phase, Phase::Open, "job {job} of step {step} is made");
    if known.jobs[job].alive() {
        return; // It is made anew after a boot.
    }
    let waits = known.jobs[job].state == JobState::Waiting
        || matches!(&known.jobs[job].state, JobState::Requeued { hold: Hold::Free, remains, .. } if *remains != Remains::Owed);
    assert!(waits, "job {job} of step {step} is made while {:?}", known.jobs[job].state);
    assert!(planned.sources().is_empty() || known.input == Input::Taken, "step {step} did not wait for its output");
    let unit = planned.jobs()[job].unit as usize;
    for edge in planned.after.iter().filter(|edge| edge.needs == Needs::Each) {
        let members = execution.plan.steps[edge.step].unit(unit);
        let jobs = &execution.steps[edge.step].jobs[members];
        let decides = |job: &&Job| jobs.len() == 1 || matches!(job.state, JobState::Ended { run: Some(_), .. });
        assert!(jobs.iter().all(Job::ended), "unit {unit} of step {step} does not wait for step {}", edge.step);
        let well = jobs.iter().rev().find(decides).and_then(Job::verdict) == Some(&Verdict::Succeeded);
        assert!(well, "unit {unit} of step {step} needs step {}", edge.step);
    }
    let alive = |step: usize| {
        let planned = &execution.plan.steps[step];
        let jobs = &execution.steps[step].jobs;
        (0..planned.units()).filter(|u| *u != unit && jobs[planned.unit(*u)].iter().any(Job::alive)).count()
    };
    assert!(planned.terms.max_parallel.is_none_or(|cap| alive(step) < cap as usize), "step {step} is over its cap");
    let others = (0..execution.steps.len()).filter(|other| *other != step).flat_map(|other| {
        let planned = &execution.plan.steps[other];
        let jobs = &execution.steps[other].jobs;
        (0..planned.units()).filter(move |u| jobs[planned.unit(*u)].iter().any(Job::alive))
    });
    let all = others.count() + alive(step);
    let capped = planned.group.is_none().then_some(execution.plan.parallelism).flatten();
    assert!(capped.is_none_or(|cap| all < cap as usize), "the execution is over its cap");
}

/// Nothing is made ahead that an output decides about, that a cap forbids, or whose host port or name is in use.
fn before_ahead(board: &Board, execution: &Execution, step: usize, job: usize) {
    let planned = &execution.plan.steps[step];
    assert!(execution.plan.look_ahead && planned.sources().is_empty(), "step {step} cannot be foreseen");
    let alive = |job: &&Job| job.alive() || job.ahead.stands();
    let all = execution.steps.iter().flat_map(|step| &step.jobs).filter(alive).count();
    let gangs = execution.plan.steps.iter().any(|step| step.terms.gang.is_some());
    assert!(gangs || execution.plan.parallelism.is_none_or(|cap| all < cap as usize), "step {step} has no room");
    let wanted = &planned.jobs()[job];
    for other in board.live.values() {
        for (index, (plan, known)) in other.plan.steps.iter().zip(&other.steps).enumerate() {
            // The members of a merge group are made together.
            if other.plan.execution == execution.plan.execution && execution.plan.group_of(step).contains(&index) {
                continue;
            }
            for (theirs, _) in plan.jobs().iter().zip(&known.jobs).filter(|(_, known)| known.occupies()) {
                assert_ne!(theirs.hostname, wanted.hostname);
                let port = |port: &Port| (port.host_port, port.protocol);
                let shared = theirs.pod.ports.iter().any(|p| wanted.pod.ports.iter().any(|w| port(w) == port(p)));
                assert!(!shared, "step {step} takes a port that is in use");
            }
        }
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
    if deadline::next(&run.board, now).is_none_or(|(due, _)| due > now.boot) {
        assert_eq!(
            decide(&run.board, Event::TimePassed(std::collections::BTreeMap::new()), now),
            Ok(Decision::default())
        );
    }
}

/// A crash between saving and doing loses nothing: what was decided and not answered is decided still.
pub(crate) fn resume_repeats(decision: &Decision, again: &[Effect]) {
    let effects = &decision.effects;
    let launches: BTreeSet<&(AttemptId, String)> = again.iter().filter_map(launched).flatten().collect();
    for effect in effects {
        let there = match launched(effect) {
            Some(group) => group.iter().all(|member| launches.contains(member)),
            // What is left of a purged execution is found at the next start by its labels.
            None => again.contains(effect) || matches!(effect, Effect::Purge(_)) || frozen_again(effect, again),
        };
        assert!(there || superseded(effect, effects), "{effect:?} would be lost in a crash of {decision:?}");
    }
}

/// Freezes and thaws are repeated one by one.
fn frozen_again(effect: &Effect, again: &[Effect]) -> bool {
    if let Effect::Pause(group) = effect {
        return group.iter().all(|member| again.contains(&Effect::Pause(vec![member.clone()])));
    }
    let Effect::Resume(group) = effect else { return false };
    group.iter().all(|member| again.contains(&Effect::Resume(vec![member.clone()])))
}

fn launched(effect: &Effect) -> Option<&Vec<(AttemptId, String)>> {
    match effect {
        Effect::Launch(group) => Some(group),
        Effect::Prepare(_)
        | Effect::Watch(..)
        | Effect::Signal(..)
        | Effect::Pause(_)
        | Effect::Resume(_)
        | Effect::Clear(..)
        | Effect::Read { .. }
        | Effect::Purge(_)
        | Effect::Errand { .. }
        | Effect::Report(_) => None,
    }
}

/// A signal is pointless when the same decision clears the container.
fn superseded(effect: &Effect, effects: &[Effect]) -> bool {
    let cleared =
        |attempt: &AttemptId| effects.iter().any(|e| matches!(e, Effect::Clear(other, _) if other == attempt));
    matches!(effect, Effect::Signal(attempt, ..) if cleared(attempt))
}

/// One report of each kind.
pub(crate) fn reports() -> Vec<Report> {
    vec![
        prepared("c".to_owned()),
        Report::NotPrepared(Reason::new(Name::StartError, "no")),
        Report::ImageLost(Box::new(Lost {
            image: Image { name: "localhost/python:3.10".to_owned(), id: "i".to_owned() },
            seen: Reload::Used,
            reason: Reason::new(Name::ImageMissing, "it is gone"),
        })),
        Report::Started,
        Report::NotStarted(Reason::new(Name::StartError, "no")),
        Report::Paused,
        Report::NotPaused(Reason::new(Name::StartError, "no")),
        Report::Resumed,
        Report::Exited(Exit { code: 0, oom: false, cpu_ms: None }),
        Report::Lost,
        Report::Cleared(Logs::default()),
    ]
}

/// Whether a report can be true of a job in this state.
pub(crate) fn fits(state: &JobState, report: &Report) -> bool {
    match state {
        JobState::Waiting | JobState::Held | JobState::Prepared { .. } => false,
        JobState::Preparing => {
            matches!(report, Report::Prepared { .. } | Report::NotPrepared(_) | Report::ImageLost(_))
        }
        JobState::Launching { .. } => matches!(report, Report::Started | Report::NotStarted(_) | Report::Lost),
        JobState::Running { .. } | JobState::Stopping { .. } => matches!(report, Report::Exited(_) | Report::Lost),
        JobState::Paused { freeze, .. } => {
            let moves = match freeze {
                Freeze::Asked => matches!(report, Report::Paused | Report::NotPaused(_)),
                Freeze::Thawing => matches!(report, Report::Resumed | Report::Paused),
                Freeze::Frozen => false,
            };
            moves || matches!(report, Report::Exited(_) | Report::Lost)
        }
        JobState::Ended { remains, .. } | JobState::Requeued { remains, .. } => {
            *remains == Remains::Owed && matches!(report, Report::Cleared(_))
        }
    }
}

impl super::world::Container {
    /// Whether its process really ended with 0.
    fn exited_well(&self) -> bool {
        self.last_exit.as_ref() == Some(&Exit { code: 0, oom: false, cpu_ms: None })
            && !matches!(self.condition, Condition::Running(_) | Condition::PowerCut)
    }
}
