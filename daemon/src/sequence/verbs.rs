//! What operators ask for: each verb goes to every member of what it was asked of, and each member answers for itself.
//!
//! Must not: do half of what a member was asked for; a refusal names its state and changes nothing.

use super::apply::Illegal;
use super::decide::Decision;
use super::draft::Draft;
use super::effect::Effect;
use super::event::{Outcome, Refusal, Target, Verb};
use super::gate::stopped;
use super::record::Record;
use super::state::{
    AttemptId, Execution, Freeze, Halt, Hold, Job, JobState, Phase, Signal, Step, StepState, StopCause,
};
use crate::bundle::ExecutionId;
use crate::outcome;
use crate::plan::Role;

/// A part that answers for itself: a job, or a step that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Step(usize),
    Job(usize, usize),
}

/// The state that makes a verb illegal.
struct State(String);

impl Draft<'_> {
    pub(super) fn asked(&mut self, id: ExecutionId, target: Target, verb: Verb) -> Result<(), Refusal> {
        let Some(execution) = self.get(id).cloned() else {
            return self.asked_of_ended(id, target, verb);
        };
        let illegal = |state: &str| Refusal::InvalidState {
            verb: verb.as_str(),
            what: part_name(&execution, target),
            state: state.to_owned(),
        };
        if verb == Verb::Purge {
            return Err(illegal(outcome::execution_state(&execution).as_str()));
        }
        let members = members(&execution, target)?;
        if matches!(execution.phase, Phase::Settled { .. } | Phase::Ended { .. }) {
            return Err(illegal("ended"));
        }
        let open: Vec<Member> = members.iter().copied().filter(|member| !over(&execution, *member)).collect();
        if open.is_empty() {
            return Err(illegal("ended"));
        }
        let mut outcomes = Vec::new();
        let mut refused_state = String::new();
        if target == Target::Execution && self.whole(&execution, verb)? {
            outcomes.push(Outcome { id: id.to_string(), refused: None });
        }
        for member in in_order(&execution, open, verb) {
            let answer = self.one(&execution, member, verb)?;
            // A verb that the execution took as a whole does not fail for members that it does not concern.
            if outcomes.first().is_some_and(|whole| whole.id == id.to_string()) && answer.is_err() {
                continue;
            }
            let refused = answer.err().map(|State(state)| {
                refused_state.clone_from(&state);
                let what = name_of(&execution, member);
                Refusal::InvalidState { verb: verb.as_str(), what, state }.to_string()
            });
            outcomes.push(Outcome { id: name_of(&execution, member), refused });
        }
        match outcomes.as_slice() {
            [only] if only.refused.is_some() => {
                Err(Refusal::InvalidState { verb: verb.as_str(), what: only.id.clone(), state: refused_state })
            }
            _ => {
                join_pauses(&mut self.decision);
                self.decision.outcomes = outcomes;
                Ok(())
            }
        }
    }

    fn asked_of_ended(&mut self, id: ExecutionId, target: Target, verb: Verb) -> Result<(), Refusal> {
        if !self.board.ended.contains(&id) {
            return Err(Refusal::NotFound(format!("execution {id}")));
        }
        if (verb, target) != (Verb::Purge, Target::Execution) {
            let state = if verb == Verb::Purge { "a part of an execution, which is purged whole" } else { "ended" };
            return Err(Refusal::InvalidState { verb: verb.as_str(), what: id.to_string(), state: state.to_owned() });
        }
        self.record(id, Record::Purged)?;
        self.effect(Effect::Purge(id));
        self.decision.outcomes = vec![Outcome { id: id.to_string(), refused: None }];
        Ok(())
    }

    /// What a verb means for an execution besides its members; whether it meant anything.
    fn whole(&mut self, execution: &Execution, verb: Verb) -> Result<bool, Illegal> {
        let id = execution.plan.execution;
        match verb {
            Verb::Release if matches!(execution.phase, Phase::Held | Phase::Quarantined) => {
                self.record(id, Record::Released)?;
                Ok(true)
            }
            Verb::Stop | Verb::StopNow => {
                if execution.halt != Some(Halt::Operator) {
                    self.record(id, Record::Halted { halt: Halt::Operator })?;
                }
                Ok(true)
            }
            Verb::Hold | Verb::Release | Verb::Pause | Verb::Resume | Verb::Purge => Ok(false),
        }
    }

    fn one(&mut self, execution: &Execution, member: Member, verb: Verb) -> Result<Result<(), State>, Illegal> {
        let illegal = || Ok(Err(State(state_of(execution, member))));
        let (index, step) = match member {
            Member::Step(step) | Member::Job(step, _) => (step, &execution.steps[step]),
        };
        // An earlier member of this decision may have ended the step.
        let ended = |draft: &Self| {
            draft.get(execution.plan.execution).is_some_and(|known| known.steps[index].state.verdict().is_some())
        };
        match (member, verb) {
            (_, Verb::Stop | Verb::StopNow) if ended(self) => Ok(Ok(())),
            (Member::Step(_), _) => self.one_step(execution, index, verb),
            (Member::Job(_, job), Verb::Hold | Verb::Release) => self.hold_job(execution, (index, job), verb),
            (Member::Job(_, job), Verb::Pause | Verb::Resume) => self.freeze_job(execution, (index, job), verb),
            (Member::Job(_, job), Verb::Stop) => {
                self.stop_job(execution, (index, job), &step.jobs[job], Signal::Term)?;
                Ok(Ok(()))
            }
            (Member::Job(_, job), Verb::StopNow) => {
                self.stop_job(execution, (index, job), &step.jobs[job], Signal::Kill)?;
                Ok(Ok(()))
            }
            (Member::Job(..), Verb::Purge) => illegal(),
        }
    }

    fn one_step(&mut self, execution: &Execution, step: usize, verb: Verb) -> Result<Result<(), State>, Illegal> {
        let id = execution.plan.execution;
        let record = match (verb, &execution.steps[step].state) {
            (Verb::Hold, StepState::Waiting) => Record::StepHeld { step },
            (Verb::Release, StepState::Held) => Record::StepReleased { step },
            // An errand has no process that could be told: what it has moved stays, what it moves yet counts no more.
            (Verb::Stop | Verb::StopNow, StepState::Waiting | StepState::Held | StepState::Active { .. }) => {
                Record::StepEnded { step, verdict: stopped(), output: None }
            }
            (Verb::Pause | Verb::Resume, StepState::Active { .. }) => {
                return Ok(Err(State("a task without pods, which has nothing to freeze".to_owned())));
            }
            _ => return Ok(Err(State(state_of(execution, Member::Step(step))))),
        };
        self.record(id, record)?;
        Ok(Ok(()))
    }

    fn hold_job(
        &mut self,
        execution: &Execution,
        (step, job): (usize, usize),
        verb: Verb,
    ) -> Result<Result<(), State>, Illegal> {
        let record = match (verb, &execution.steps[step].jobs[job].state) {
            (Verb::Hold, JobState::Waiting | JobState::Requeued { hold: Hold::Free, .. }) => {
                Record::JobHeld { step, job }
            }
            (Verb::Release, JobState::Held | JobState::Requeued { hold: Hold::Held, .. }) => {
                Record::JobReleased { step, job }
            }
            _ => return Ok(Err(State(state_of(execution, Member::Job(step, job))))),
        };
        self.record(execution.plan.execution, record)?;
        Ok(Ok(()))
    }

    fn freeze_job(
        &mut self,
        execution: &Execution,
        (step, job): (usize, usize),
        verb: Verb,
    ) -> Result<Result<(), State>, Illegal> {
        let (id, known) = (execution.plan.execution, &execution.steps[step].jobs[job]);
        let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
        match (verb, &known.state) {
            (Verb::Pause, JobState::Running { container, .. }) => {
                self.record(id, Record::JobPausing { step, job })?;
                self.effect(Effect::Pause(vec![(attempt, container.clone())]));
            }
            (Verb::Resume, JobState::Paused { container, freeze: Freeze::Frozen, .. }) => {
                self.record(id, Record::JobResuming { step, job })?;
                self.effect(Effect::Resume(vec![(attempt, container.clone())]));
            }
            (_, JobState::Paused { freeze: Freeze::Asked, .. }) => return Ok(Err(State("being paused".to_owned()))),
            (_, JobState::Paused { freeze: Freeze::Thawing, .. }) => return Ok(Err(State("being resumed".to_owned()))),
            _ => return Ok(Err(State(state_of(execution, Member::Job(step, job))))),
        }
        Ok(Ok(()))
    }

    fn stop_job(
        &mut self,
        execution: &Execution,
        (step, job): (usize, usize),
        known: &Job,
        signal: Signal,
    ) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
        match &known.state {
            // A step that has not started ends as one, with all its jobs, when all of them are meant.
            JobState::Waiting | JobState::Held | JobState::Requeued { .. } => {
                self.record(id, Record::JobEnded { step, job, verdict: stopped(), exit: None })
            }
            JobState::Preparing | JobState::Prepared { .. } => self.end_job(attempt, stopped(), None),
            JobState::Launching { .. }
            | JobState::Running { .. }
            | JobState::Paused { .. }
            | JobState::Stopping { .. }
            | JobState::Ended { .. } => self.tell(attempt, known, StopCause::Operator, signal),
        }
    }
}

/// The parts that a target means.
fn members(execution: &Execution, target: Target) -> Result<Vec<Member>, Refusal> {
    let id = execution.plan.execution;
    let of_step = |index: usize, step: &Step| -> Vec<Member> {
        match step.jobs.len() {
            0 => vec![Member::Step(index)],
            count => (0..count).map(|job| Member::Job(index, job)).collect(),
        }
    };
    let step = |index: usize| {
        let missing = || Refusal::NotFound(format!("step {index} of {id}"));
        execution.steps.get(index).ok_or_else(missing)
    };
    match target {
        Target::Execution => Ok(execution.steps.iter().enumerate().flat_map(|(i, part)| of_step(i, part)).collect()),
        Target::Group(group) => {
            let mine = execution.plan.steps.iter().map(|planned| planned.group == Some(group));
            let steps = execution.steps.iter().enumerate().zip(mine).filter(|(_, mine)| *mine);
            let members: Vec<Member> = steps.flat_map(|((index, part), _)| of_step(index, part)).collect();
            if members.is_empty() {
                return Err(Refusal::NotFound(format!("group {group} of {id}")));
            }
            Ok(members)
        }
        Target::Step(index) => Ok(of_step(index, step(index)?)),
        Target::Unit(index, unit) => {
            step(index)?;
            let jobs = execution.plan.steps[index].unit(unit);
            if jobs.is_empty() {
                return Err(Refusal::NotFound(format!("member {unit} of step {index} of {id}")));
            }
            Ok(jobs.map(|job| Member::Job(index, job)).collect())
        }
        Target::Job(index, job) => {
            if step(index)?.jobs.len() <= job {
                return Err(Refusal::NotFound(format!("job {job} of step {index} of {id}")));
            }
            Ok(vec![Member::Job(index, job)])
        }
    }
}

fn over(execution: &Execution, member: Member) -> bool {
    match member {
        Member::Step(step) => execution.steps[step].state.verdict().is_some(),
        Member::Job(step, job) => execution.steps[step].jobs[job].ended(),
    }
}

/// A launcher is frozen before its workers, so that it does not take their silence for their end; thawed after them.
fn in_order(execution: &Execution, mut members: Vec<Member>, verb: Verb) -> Vec<Member> {
    let rank = |member: &Member| match member {
        Member::Step(step) => (*step, 0, 0),
        Member::Job(step, job) => {
            let planned = &execution.plan.steps[*step].jobs()[*job];
            let first = match planned.role {
                Role::Launcher => verb != Verb::Pause,
                Role::Worker | Role::Alone => verb == Verb::Pause,
            };
            (*step, planned.unit, u8::from(first))
        }
    };
    members.sort_by_key(rank);
    members
}

/// Freezes and thaws of one decision keep their order.
fn join_pauses(decision: &mut Decision) {
    let mut joined: Vec<Effect> = Vec::new();
    for effect in decision.effects.drain(..) {
        match (joined.last_mut(), effect) {
            (Some(Effect::Pause(known)), Effect::Pause(more)) | (Some(Effect::Resume(known)), Effect::Resume(more)) => {
                known.extend(more);
            }
            (_, effect) => joined.push(effect),
        }
    }
    decision.effects = joined;
}

fn state_of(execution: &Execution, member: Member) -> String {
    let state = match member {
        Member::Step(step) => outcome::step_state(execution, step),
        Member::Job(step, job) => outcome::job_state(&execution.steps[step].jobs[job]),
    };
    match (state, &execution.phase) {
        (outcome::State::Waiting, Phase::Held) => "held with its execution".to_owned(),
        (outcome::State::Waiting | outcome::State::Requeued, Phase::Quarantined) => {
            "in quarantine with its execution".to_owned()
        }
        _ => state.as_str().to_owned(),
    }
}

fn name_of(execution: &Execution, member: Member) -> String {
    match member {
        Member::Step(step) => part_name(execution, Target::Step(step)),
        Member::Job(step, job) => part_name(execution, Target::Job(step, job)),
    }
}

fn part_name(execution: &Execution, target: Target) -> String {
    let id = execution.plan.execution;
    let planned = |step: usize| execution.plan.steps.get(step);
    let step_id = |step: usize| planned(step).map(|s| s.id.to_string()).unwrap_or_default();
    match target {
        Target::Execution => id.to_string(),
        Target::Group(group) => format!("{id}.group:{group}"),
        Target::Step(step) => format!("{id}.{}", step_id(step)),
        Target::Unit(step, unit) => format!("{id}.{}.{unit}", step_id(step)),
        Target::Job(step, job) => {
            let label = planned(step).map_or_else(|| job.to_string(), |planned| planned.label(job));
            format!("{id}.{}.{label}", step_id(step))
        }
    }
}
