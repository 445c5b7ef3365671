//! Thinks: one event in, records and effects out.
//!
//! Each kind of event has its method here; what follows from the state alone is drawn by `cascade`.
//! Must not: change the board it is given.

use std::sync::Arc;

use super::apply::Illegal;
use super::deadline::{Due, due};
use super::draft::Draft;
use super::effect::Effect;
use super::event::{Away, Event, Refusal, Report, Target, Verb};
use super::record::{Record, Recorded};
use super::state::{
    AttemptId, Board, Execution, Halt, Job, JobState, Output, Phase, Remains, Signal, StepState, StopCause, Verdict,
};
use crate::bundle::ExecutionId;
use crate::outcome;
use crate::plan::Plan;
use crate::reason::{Name, Reason};
use crate::time::Timestamp;

/// Executions that may be live at once: each holds memory, and an operator can no longer oversee more.
pub const LIVE_MAX: usize = 256;

/// What follows from one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be committed, in order, all or nothing.
    pub records: Vec<Recorded>,
    /// To be carried out after the commit.
    pub effects: Vec<Effect>,
}

/// Decides what follows from an event.
///
/// # Errors
/// When the event changes nothing, with the reason.
pub fn decide(board: &Board, event: Event, now: Timestamp) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(board, now);
    match event {
        Event::Submitted { plan, held } => draft.submitted(plan, held)?,
        Event::Asked { execution, target, verb } => draft.asked(execution, target, verb)?,
        Event::Reported(attempt, report) => draft.reported(attempt, report)?,
        Event::ErrandEnded { execution, step, result } => draft.errand_ended(execution, step, result)?,
        Event::Filed(execution) => draft.filed(execution)?,
        Event::TimePassed(away) => draft.time_passed(&away)?,
        Event::Rebooted => draft.rebooted()?,
    }
    draft.cascade()?;
    Ok(draft.decision)
}

impl Draft<'_> {
    fn submitted(&mut self, plan: Arc<Plan>, held: bool) -> Result<(), Refusal> {
        let id = plan.execution;
        if self.get(id).is_some() || self.board.ended.contains(&id) {
            return Err(Refusal::AlreadyKnown(id));
        }
        if self.board.live.len() >= LIVE_MAX {
            return Err(Refusal::Limit { what: "executions that have not ended", limit: LIVE_MAX });
        }
        Ok(self.record(id, Record::Accepted { plan, held })?)
    }

    fn asked(&mut self, id: ExecutionId, target: Target, verb: Verb) -> Result<(), Refusal> {
        let Some(execution) = self.get(id).cloned() else {
            if self.board.ended.contains(&id) {
                let verb = verb_name(verb);
                return Err(Refusal::InvalidState { verb, what: id.to_string(), state: "ended".to_owned() });
            }
            return Err(Refusal::NotFound(format!("execution {id}")));
        };
        match verb {
            Verb::Release => match (target, &execution.phase) {
                (Target::Execution, Phase::Held) => Ok(self.record(id, Record::Released)?),
                (Target::Execution | Target::Step(_) | Target::Job(..), _) => {
                    let state = outcome::execution_state(&execution).as_str().to_owned();
                    Err(Refusal::InvalidState { verb: "release", what: id.to_string(), state })
                }
            },
            Verb::Stop => self.stop(&execution, target, Signal::Term),
            Verb::StopNow => self.stop(&execution, target, Signal::Kill),
        }
    }

    fn stop(&mut self, execution: &Execution, target: Target, signal: Signal) -> Result<(), Refusal> {
        let id = execution.plan.execution;
        let (first, last, only_job) = match target {
            Target::Execution => (0, execution.steps.len().saturating_sub(1), None),
            Target::Step(step) => (step, step, None),
            Target::Job(step, job) => (step, step, Some(job)),
        };
        let Some(parts) = execution.steps.get(first..=last) else {
            return Err(Refusal::NotFound(format!("step {first} of {id}")));
        };
        if let Some(job) = only_job.filter(|job| parts.iter().all(|part| part.jobs.len() <= *job)) {
            return Err(Refusal::NotFound(format!("job {job} of step {first} of {id}")));
        }
        if matches!(execution.phase, Phase::Settled { .. } | Phase::Ended { .. })
            || parts.iter().all(|s| s.state.verdict().is_some())
        {
            return Err(Refusal::InvalidState {
                verb: "stop",
                what: part_name(execution, target),
                state: "ended".to_owned(),
            });
        }
        if target == Target::Execution && execution.halt != Some(Halt::Operator) {
            self.record(id, Record::Halted { halt: Halt::Operator })?;
        }
        for (step, part) in (first..).zip(parts) {
            let jobs = (0..part.jobs.len()).filter(|job| only_job.is_none_or(|only| only == *job));
            for job in jobs {
                self.stop_job(id, (step, job), &part.jobs[job], signal)?;
            }
            // An errand has no process that could be told: what it has done stays, what it does yet counts no more.
            let errand = part.jobs.is_empty() && part.state.verdict().is_none();
            if part.state == StepState::Waiting || errand {
                self.record(id, Record::StepEnded { step, verdict: stopped(), output: None })?;
            }
        }
        Ok(())
    }

    fn stop_job(
        &mut self,
        id: ExecutionId,
        (step, job): (usize, usize),
        known: &Job,
        signal: Signal,
    ) -> Result<(), Illegal> {
        let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
        let stopping = Record::JobStopping { step, job, cause: StopCause::Operator, signal };
        match &known.state {
            JobState::Preparing | JobState::Prepared { .. } => self.end_job(attempt, stopped(), None),
            JobState::Launching { stop, .. } if stop.is_none_or(|(_, due)| due < signal) => self.record(id, stopping),
            JobState::Running { container, .. } => {
                self.record(id, stopping)?;
                self.effect(Effect::Signal(attempt, container.clone(), signal));
                Ok(())
            }
            JobState::Stopping { container, signal: told, .. } if *told < signal => {
                self.record(id, stopping)?;
                self.effect(Effect::Signal(attempt, container.clone(), signal));
                Ok(())
            }
            JobState::Waiting | JobState::Launching { .. } | JobState::Stopping { .. } | JobState::Ended { .. } => {
                Ok(())
            }
        }
    }

    fn reported(&mut self, attempt: AttemptId, report: Report) -> Result<(), Refusal> {
        let AttemptId { execution, step, job, .. } = attempt;
        let state = self.get(execution).and_then(|known| known.job(&attempt)).map(|known| known.state.clone());
        match (&report, &state) {
            (Report::Prepared { container }, Some(JobState::Preparing)) => {
                self.record(execution, Record::JobPrepared { step, job, container: container.clone() })?;
            }
            (Report::NotPrepared(reason), Some(JobState::Preparing)) => {
                self.end_job(attempt, Verdict::Failed(reason.clone()), None)?;
            }
            (Report::Started, Some(JobState::Launching { container, stop })) => {
                self.record(execution, Record::JobStarted { step, job })?;
                self.effect(Effect::Watch(attempt, container.clone()));
                if let Some((cause, signal)) = *stop {
                    self.record(execution, Record::JobStopping { step, job, cause, signal })?;
                    self.effect(Effect::Signal(attempt, container.clone(), signal));
                }
            }
            (Report::NotStarted(reason), Some(JobState::Launching { .. })) => {
                self.end_job(attempt, Verdict::Failed(reason.clone()), None)?;
            }
            (Report::Exited(exit), Some(JobState::Running { .. } | JobState::Stopping { .. })) => {
                let verdict = outcome::of_exit(exit, stop_cause(state.as_ref()));
                self.end_job(attempt, verdict, Some(exit.clone()))?;
            }
            (Report::Lost, Some(JobState::Launching { .. } | JobState::Running { .. } | JobState::Stopping { .. })) => {
                self.end_job(attempt, outcome::of_loss(stop_cause(state.as_ref())), None)?;
            }
            (Report::Cleared(logs), Some(JobState::Ended { remains: Remains::Owed, .. })) => {
                self.record(execution, Record::JobCleared { step, job, logs: logs.clone() })?;
            }
            // The job was ended while its container was being made: what came too late must go too.
            (Report::Prepared { .. } | Report::Started, Some(JobState::Ended { .. }) | None) => {
                self.effect(Effect::Clear(attempt));
            }
            (_, state) => {
                let state = state.clone().map(Box::new);
                return Err(Refusal::Stale { attempt, report, state });
            }
        }
        Ok(())
    }

    fn errand_ended(
        &mut self,
        id: ExecutionId,
        step: usize,
        result: Result<Option<Output>, Reason>,
    ) -> Result<(), Refusal> {
        let active = self
            .get(id)
            .and_then(|known| known.steps.get(step))
            .is_some_and(|known| known.jobs.is_empty() && matches!(known.state, StepState::Active { .. }));
        if !active {
            return Err(Refusal::Late(format!("an errand of {id}, step {step}")));
        }
        let (verdict, output) = match result {
            Ok(output) => (Verdict::Succeeded, output),
            Err(reason) => (Verdict::Failed(reason), None),
        };
        Ok(self.record(id, Record::StepEnded { step, verdict, output })?)
    }

    fn filed(&mut self, id: ExecutionId) -> Result<(), Refusal> {
        match self.get(id).map(|known| &known.phase) {
            Some(Phase::Settled { .. }) => Ok(self.record(id, Record::Ended)?),
            Some(Phase::Held | Phase::Open | Phase::Ended { .. }) | None => {
                Err(Refusal::Late(format!("the report of {id}")))
            }
        }
    }

    fn time_passed(&mut self, away: &Away) -> Result<(), Refusal> {
        for id in self.live() {
            let Some(execution) = self.get(id).cloned() else { continue };
            for due in due(&execution, self.now.boot) {
                self.pass(&execution, &due, away)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, execution: &Execution, due: &Due, away: &Away) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        match due {
            Due::Tell { step, job, signal } => {
                let known = &execution.steps[*step].jobs[*job];
                let (JobState::Running { container, .. } | JobState::Stopping { container, .. }) = &known.state else {
                    return Ok(());
                };
                let cause = stop_cause(Some(&known.state)).unwrap_or(StopCause::Timeout);
                let attempt = AttemptId { execution: id, step: *step, job: *job, attempt: known.attempt };
                self.record(id, Record::JobStopping { step: *step, job: *job, cause, signal: *signal })?;
                self.effect(Effect::Signal(attempt, container.clone(), *signal));
            }
            Due::Budget { step } => self.budget_out(execution, *step, away)?,
        }
        Ok(())
    }

    /// A budget that ran out ends the step, whatever its containers do: what may have run is `unknown`.
    fn budget_out(&mut self, execution: &Execution, step: usize, away: &Away) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let seconds = execution.plan.steps[step].timeout_seconds;
        let (planned, part) = (&execution.plan.steps[step], &execution.steps[step]);
        for (job, known) in part.jobs.iter().enumerate() {
            let why = away.get(&planned.jobs()[job].node);
            if let Some(verdict) = outcome::of_budget(&known.state, seconds, why.map(String::as_str)) {
                self.end_job(AttemptId { execution: id, step, job, attempt: known.attempt }, verdict, None)?;
            }
        }
        if part.jobs.is_empty() {
            let reason = Reason::new(
                Name::Timeout,
                outcome::budget_text(
                    seconds,
                    "before it was done",
                    planned.node().and_then(|node| away.get(node)).map(String::as_str),
                ),
            );
            self.record(id, Record::StepEnded { step, verdict: Verdict::Failed(reason), output: None })?;
        }
        Ok(())
    }

    fn rebooted(&mut self) -> Result<(), Refusal> {
        for id in self.live() {
            let Some(execution) = self.get(id).cloned() else { continue };
            for (step, part) in execution.steps.iter().enumerate() {
                for (job, known) in part.jobs.iter().enumerate() {
                    let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
                    match &known.state {
                        JobState::Preparing | JobState::Prepared { .. } => {
                            self.record(id, Record::JobPreparing { step, job, attempt: known.attempt })?;
                        }
                        JobState::Launching { .. } | JobState::Running { .. } | JobState::Stopping { .. } => {
                            let reason =
                                Reason::new(Name::LostPower, "the board lost power or booted while the pod ran");
                            self.end_job(attempt, Verdict::Failed(reason), None)?;
                        }
                        JobState::Waiting | JobState::Ended { .. } => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// How everything that an operator stops ends.
pub(super) fn stopped() -> Verdict {
    Verdict::Failed(Reason::new(Name::Stopped, "stopped by an operator"))
}

fn stop_cause(state: Option<&JobState>) -> Option<StopCause> {
    match state? {
        JobState::Stopping { cause, .. } => Some(*cause),
        JobState::Launching { stop, .. } => stop.map(|(cause, _)| cause),
        JobState::Waiting
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Running { .. }
        | JobState::Ended { .. } => None,
    }
}

fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::Release => "release",
        Verb::Stop | Verb::StopNow => "stop",
    }
}

fn part_name(execution: &Execution, target: Target) -> String {
    let id = execution.plan.execution;
    let step_id = |step: usize| execution.plan.steps.get(step).map(|s| s.id.to_string()).unwrap_or_default();
    match target {
        Target::Execution => id.to_string(),
        Target::Step(step) => format!("{id}.{}", step_id(step)),
        Target::Job(step, job) => format!("{id}.{}.{job}", step_id(step)),
    }
}
