//! After a reset: what was running is counted as interrupted, what a boot cut short is over, and what was running at too
//! many resets in a row goes into quarantine: it may be what makes them.
//!
//! Whatever of an execution was seen to end since, a process or an errand, begins the count anew.
//! Must not: end what goes on after a crash of the daemon, unless its execution goes into quarantine.

use super::apply::Illegal;
use super::decide::stop_cause;
use super::draft::Draft;
use super::effect::Effect;
use super::event::Refusal;
use super::record::{Record, Repeat, Reset};
use super::state::{AttemptId, Execution, Input, Job, JobState, StepState, Verdict};
use super::unit::disposal;
use crate::outcome;
use crate::reason::{Name, Reason};

impl Draft<'_> {
    pub(super) fn reset(&mut self, cause: Reset, limit: u32) -> Result<(), Refusal> {
        for id in self.live() {
            let Some(execution) = self.get(id).cloned() else { continue };
            let running = is_running(&execution);
            let poison = running && limit > 0 && execution.resets + 1 >= limit;
            if running {
                self.record(id, Record::Interrupted { cause })?;
            }
            match cause {
                Reset::Boot => self.lose(&execution, poison)?,
                Reset::Crash if poison => self.break_off(&execution)?,
                Reset::Crash => {}
            }
            if poison {
                self.record(id, Record::Quarantined)?;
            }
        }
        Ok(())
    }

    /// No process survives a boot, and what was only being made is made anew: at once, or after the quarantine.
    fn lose(&mut self, execution: &Execution, poison: bool) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        for (step, unit) in units(execution) {
            let members = execution.plan.steps[step].unit(unit);
            let jobs = &execution.steps[step].jobs[members.clone()];
            let unmade = |job: &Job| matches!(job.state, JobState::Preparing | JobState::Prepared { .. });
            if poison && jobs.iter().all(unmade) {
                self.requeue(execution, (step, unit))?;
                continue;
            }
            for (job, known) in members.zip(jobs) {
                let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
                match &known.state {
                    JobState::Preparing | JobState::Prepared { .. } => {
                        self.record(id, Record::JobPreparing { step, job, attempt: known.attempt })?;
                    }
                    JobState::Launching { .. }
                    | JobState::Running { .. }
                    | JobState::Paused { .. }
                    | JobState::Stopping { .. } => {
                        let reason = Reason::new(Name::LostPower, "the board lost power or booted while the pod ran");
                        self.end_job(attempt, Verdict::Failed(reason), None)?;
                    }
                    JobState::Waiting | JobState::Held if known.ahead.stands() => self.withdraw(id, (step, job))?,
                    JobState::Waiting | JobState::Held | JobState::Ended { .. } | JobState::Requeued { .. } => {}
                }
            }
        }
        Ok(())
    }

    /// What goes on in the same boot is ended. What was told to end stays ended; the rest is attempted once more if an
    /// operator lets it.
    fn break_off(&mut self, execution: &Execution) -> Result<(), Illegal> {
        for (step, unit) in units(execution) {
            let members = execution.plan.steps[step].unit(unit);
            let jobs = &execution.steps[step].jobs[members.clone()];
            if !jobs.iter().any(Job::alive) {
                continue;
            }
            if jobs.iter().all(|known| stop_cause(Some(&known.state)).is_none()) {
                self.requeue(execution, (step, unit))?;
                continue;
            }
            for (job, known) in members.zip(jobs).filter(|(_, known)| known.alive()) {
                let attempt = AttemptId { execution: execution.plan.execution, step, job, attempt: known.attempt };
                self.end_job(attempt, outcome::of_quarantine(stop_cause(Some(&known.state))), None)?;
            }
        }
        Ok(())
    }

    /// Another attempt of a unit is due, and what there is of this one goes.
    fn requeue(&mut self, execution: &Execution, (step, unit): (usize, usize)) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        self.record(id, Record::UnitRequeued { step, unit, cause: Repeat::Quarantine, pause_ms: 0 })?;
        let Some(known) = self.get(id).cloned() else { return Ok(()) };
        for job in execution.plan.steps[step].unit(unit) {
            let of = &known.steps[step].jobs[job];
            if of.occupies() {
                let attempt = AttemptId { execution: id, step, job, attempt: of.attempt };
                self.effect(Effect::Clear(attempt, disposal(&known, step, job)));
            }
        }
        Ok(())
    }
}

/// Every unit of an execution: its step and its position there.
fn units(execution: &Execution) -> impl Iterator<Item = (usize, usize)> {
    let steps = execution.plan.steps.iter().enumerate();
    steps.flat_map(|(step, planned)| (0..planned.units()).map(move |unit| (step, unit)))
}

/// Whether something is done for it on a node or on the board that could bring either down.
fn is_running(execution: &Execution) -> bool {
    execution.plan.steps.iter().zip(&execution.steps).any(|(planned, step)| {
        let errand = planned.is_errand() && matches!(step.state, StepState::Active { .. });
        let reads = step.input == Input::Reading && step.state.verdict().is_none();
        errand || reads || step.jobs.iter().any(Job::alive)
    })
}
