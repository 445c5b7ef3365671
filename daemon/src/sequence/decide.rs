//! Thinks: one event in, records and effects out.
//!
//! Each kind of event has its method here; what follows from the state alone is drawn by `cascade`.
//! Must not: change the board it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::Illegal;
use super::deadline::{Due, due};
use super::draft::Draft;
use super::effect::{Disposal, Effect};
use super::event::{Away, Event, Outcome, Refusal, Report};
use super::image::Image;
use super::judge;
use super::record::{Record, Recorded};
use super::state::{
    AttemptId, Board, Execution, Freeze, Input, JobState, Output, Phase, Remains, StepState, StopCause, Verdict,
};
use crate::bundle::ExecutionId;
use crate::outcome;
use crate::plan::{Plan, PlannedStep};
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
    /// What a verb came to, for each member of what it was asked of.
    pub outcomes: Vec<Outcome>,
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
        Event::ErrandEnded { execution, step, result, made } => draft.errand_ended((execution, step), result, made)?,
        Event::OutputRead { execution, step, outputs } => draft.output_read(execution, step, outputs)?,
        Event::Filed(execution) => draft.filed(execution)?,
        Event::TimePassed(away) => draft.time_passed(&away)?,
        Event::Reset { cause, limit } => draft.reset(cause, limit)?,
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

    fn reported(&mut self, attempt: AttemptId, report: Report) -> Result<(), Refusal> {
        let AttemptId { execution, step, job, .. } = attempt;
        if let Some(ahead) = self.get(execution).and_then(|known| known.ahead(&attempt)).cloned() {
            return self.reported_ahead(attempt, report, &ahead);
        }
        let state = self.get(execution).and_then(|known| known.job(&attempt)).map(|known| known.state.clone());
        match (&report, &state) {
            (Report::Prepared { container, image }, Some(JobState::Preparing)) => {
                self.prepared(attempt, container, image)?;
            }
            (Report::ImageLost(lost), Some(JobState::Preparing)) => self.image_lost(attempt, lost)?,
            // Its turn has come meanwhile: now it counts.
            (Report::NotMadeAhead(_), Some(JobState::Preparing)) => self.effect(Effect::Prepare(attempt)),
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
            // The job was ended while its container was being made: what came too late must go too.
            (
                Report::Prepared { .. } | Report::Started,
                Some(JobState::Ended { .. } | JobState::Requeued { .. }) | None,
            ) => {
                self.effect(Effect::Clear(attempt, Disposal::Remove));
            }
            (_, state) => return self.reported_of_run(attempt, report, state.as_ref()),
        }
        Ok(())
    }

    /// What is known of an attempt whose process lives or has lived.
    fn reported_of_run(&mut self, attempt: AttemptId, report: Report, state: Option<&JobState>) -> Result<(), Refusal> {
        let AttemptId { execution, step, job, .. } = attempt;
        match (&report, state) {
            (Report::Paused, Some(JobState::Paused { freeze: Freeze::Asked | Freeze::Thawing, .. })) => {
                self.record(execution, Record::JobPaused { step, job })?;
            }
            (Report::NotPaused(reason), Some(JobState::Paused { freeze: Freeze::Asked, .. })) => {
                self.record(execution, Record::JobResumed { step, job, why: Some(reason.clone()) })?;
            }
            (Report::Resumed, Some(JobState::Paused { freeze: Freeze::Thawing, .. })) => {
                self.record(execution, Record::JobResumed { step, job, why: None })?;
            }
            (
                Report::Exited(exit),
                Some(JobState::Running { .. } | JobState::Paused { .. } | JobState::Stopping { .. }),
            ) => {
                let verdict = outcome::of_exit(exit, stop_cause(state));
                self.end_job(attempt, verdict, Some(exit.clone()))?;
            }
            (
                Report::Lost,
                Some(
                    JobState::Launching { .. }
                    | JobState::Running { .. }
                    | JobState::Paused { .. }
                    | JobState::Stopping { .. },
                ),
            ) => {
                self.end_job(attempt, outcome::of_loss(stop_cause(state)), None)?;
            }
            (
                Report::Cleared(logs),
                Some(
                    JobState::Ended { remains: Remains::Owed, .. } | JobState::Requeued { remains: Remains::Owed, .. },
                ),
            ) => {
                self.record(execution, Record::JobCleared { step, job, logs: logs.clone() })?;
            }
            (_, state) => return Err(Refusal::Stale { attempt, report, state: state.cloned().map(Box::new) }),
        }
        Ok(())
    }

    fn errand_ended(
        &mut self,
        (id, step): (ExecutionId, usize),
        result: Result<Option<Output>, Reason>,
        made: Option<Image>,
    ) -> Result<(), Refusal> {
        let active = self
            .get(id)
            .and_then(|known| known.steps.get(step))
            .is_some_and(|known| matches!(known.state, StepState::Active { .. }));
        let errand = self.get(id).and_then(|known| known.plan.steps.get(step)).is_some_and(PlannedStep::is_errand);
        if !active || !errand {
            return Err(Refusal::Late(format!("an errand of {id}, step {step}")));
        }
        let (verdict, output) = match result {
            Ok(output) => (Verdict::Succeeded, output),
            Err(reason) => (Verdict::Failed(reason), None),
        };
        self.record(id, Record::StepEnded { step, verdict, output })?;
        let node = self.get(id).and_then(|known| known.plan.steps[step].node().cloned());
        if let Some((node, image)) = node.zip(made) {
            self.record(id, Record::ImageKnown { node, image })?;
        }
        Ok(())
    }

    /// The outputs that decide about a step are known: it runs, is skipped, or fails because they cannot be used.
    fn output_read(
        &mut self,
        id: ExecutionId,
        step: usize,
        outputs: BTreeMap<usize, Result<String, Reason>>,
    ) -> Result<(), Refusal> {
        let late = || Refusal::Late(format!("the output that decides about {id}, step {step}"));
        let execution = self.get(id).cloned().ok_or_else(late)?;
        let known = execution.steps.get(step).ok_or_else(late)?;
        if known.input != Input::Reading || known.state.verdict().is_some() {
            return Err(late());
        }
        let record = match judge::judge(&execution.plan, step, &outputs) {
            Ok(pieces) => Record::StepTaken { step, pieces },
            Err(verdict) => Record::StepEnded { step, verdict, output: None },
        };
        Ok(self.record(id, record)?)
    }

    fn filed(&mut self, id: ExecutionId) -> Result<(), Refusal> {
        match self.get(id).map(|known| &known.phase) {
            Some(Phase::Settled { .. }) => Ok(self.record(id, Record::Ended)?),
            Some(Phase::Held | Phase::Open | Phase::Quarantined | Phase::Ended { .. }) | None => {
                Err(Refusal::Late(format!("the report of {id}")))
            }
        }
    }

    fn time_passed(&mut self, away: &Away) -> Result<(), Refusal> {
        for id in self.live() {
            let Some(execution) = self.get(id).cloned() else { continue };
            for due in due(&execution, self.now) {
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
                let cause = stop_cause(Some(&known.state)).unwrap_or(StopCause::Timeout);
                let attempt = AttemptId { execution: id, step: *step, job: *job, attempt: known.attempt };
                self.tell(attempt, known, cause, *signal)
            }
            Due::JobBudget { step, job } => self.budget_out(execution, (*step, *job), away),
            Due::Budget { step } => {
                let planned = &execution.plan.steps[*step];
                let why = planned.node().and_then(|node| away.get(node)).map(String::as_str);
                let text = outcome::budget_text(planned.timeout_seconds, "before it was done", why);
                let verdict = Verdict::Failed(Reason::new(Name::Timeout, text));
                self.record(id, Record::StepEnded { step: *step, verdict, output: None })
            }
            Due::Withdrawn { step, job } => {
                let planned = &execution.plan.steps[*step];
                let why = away.get(&planned.jobs()[*job].node).map(String::as_str);
                let when = "before the container that was made ahead of its turn was removed";
                let text = outcome::budget_text(planned.timeout_seconds, when, why);
                let verdict = Verdict::Failed(Reason::new(Name::Timeout, text));
                self.record(id, Record::JobEnded { step: *step, job: *job, verdict, exit: None })
            }
            // What may start now is started by the cascade.
            Due::Retry { .. } | Due::Opens { .. } | Due::Closes { .. } => Ok(()),
        }
    }

    /// A budget that ran out ends the attempt, whatever its container does: what may have run is `unknown`.
    fn budget_out(&mut self, execution: &Execution, (step, job): (usize, usize), away: &Away) -> Result<(), Illegal> {
        let (planned, known) = (&execution.plan.steps[step], &execution.steps[step].jobs[job]);
        let why = away.get(&planned.jobs()[job].node).map(String::as_str);
        let Some(verdict) = outcome::of_budget(&known.state, planned.timeout_seconds, why) else { return Ok(()) };
        let attempt = AttemptId { execution: execution.plan.execution, step, job, attempt: known.attempt };
        self.end_job(attempt, verdict, None)
    }
}

/// Why a job was told to end, if it was.
pub(super) fn stop_cause(state: Option<&JobState>) -> Option<StopCause> {
    match state? {
        JobState::Stopping { cause, .. } => Some(*cause),
        JobState::Launching { stop, .. } => stop.map(|(cause, _)| cause),
        JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Running { .. }
        | JobState::Paused { .. }
        | JobState::Ended { .. }
        | JobState::Requeued { .. } => None,
    }
}
