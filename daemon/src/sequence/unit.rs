//! A unit: pods that start together. A plain job, a merge group, or the workers and the launcher of a gang.
//!
//! All or nothing before the start: when one cannot be made, what was made of the others is undone. In a gang the
//! launcher decides: when it has ended, its workers are over, too.
//! Must not: start a unit; `cascade` does.

use super::apply::Illegal;
use super::draft::Draft;
use super::effect::{Disposal, Effect};
use super::record::Record;
use super::state::{AttemptId, Execution, Job, JobState, Signal, StopCause, Verdict};
use crate::bundle::flow::{Clean, GangStart};
use crate::plan::{Gang, Retry, Role};
use crate::reason::{Name, Reason};

/// One member of a unit: its attempt, its job, its part.
struct Member<'a> {
    attempt: AttemptId,
    job: &'a Job,
    role: Role,
}

impl Draft<'_> {
    /// Takes a unit, some of which is alive, as far as it goes.
    pub(super) fn advance_unit(&mut self, execution: &Execution, jobs: &[(usize, usize)]) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let member = |(step, job): &(usize, usize)| {
            let (step, job) = (*step, *job);
            let known = &execution.steps[step].jobs[job];
            let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
            Member { attempt, job: known, role: execution.plan.steps[step].jobs()[job].role }
        };
        let members: Vec<Member<'_>> = jobs.iter().map(member).collect();
        let gang = jobs.first().and_then(|(step, _)| execution.plan.steps[*step].terms.gang.as_ref());
        if members.iter().any(|member| matches!(member.job.state, JobState::Ended { run: None, .. })) {
            return self.undo(&members, gang);
        }
        match gang {
            Some(gang) => self.advance_gang(&members, gang),
            None => self.launch(members.iter()),
        }
    }

    /// One of them never ran, so that those that have not started never will.
    fn undo(&mut self, members: &[Member<'_>], gang: Option<&Gang>) -> Result<(), Illegal> {
        for member in members {
            match &member.job.state {
                JobState::Preparing | JobState::Prepared { .. } => {
                    let reason = Reason::new(Name::GroupMember, "another pod of its group could not be started");
                    self.end_job(member.attempt, Verdict::Skipped(reason), None)?;
                }
                JobState::Launching { .. } | JobState::Running { .. } | JobState::Paused { .. } if gang.is_some() => {
                    self.tell(member.attempt, member.job, StopCause::Gang, Signal::Term)?;
                }
                JobState::Waiting
                | JobState::Held
                | JobState::Launching { .. }
                | JobState::Running { .. }
                | JobState::Paused { .. }
                | JobState::Stopping { .. }
                | JobState::Ended { .. }
                | JobState::Requeued { .. } => {}
            }
        }
        Ok(())
    }

    fn advance_gang(&mut self, members: &[Member<'_>], gang: &Gang) -> Result<(), Illegal> {
        let Some(launcher) = members.iter().find(|member| member.role == Role::Launcher) else { return Ok(()) };
        let workers = || members.iter().filter(|member| member.role == Role::Worker);
        if launcher.job.ended() {
            return if gang.clean == Clean::None {
                Ok(())
            } else {
                workers().try_for_each(|worker| self.tell(worker.attempt, worker.job, StopCause::Gang, Signal::Term))
            };
        }
        let not_launched = matches!(launcher.job.state, JobState::Preparing | JobState::Prepared { .. });
        if not_launched && workers().any(|worker| worker.job.ended()) {
            let reason = Reason::new(Name::GroupMember, "a worker ended before the launcher was started");
            return self.end_job(launcher.attempt, Verdict::Failed(reason), None);
        }
        let up = |worker: &Member<'_>| matches!(worker.job.state, JobState::Running { .. } | JobState::Paused { .. });
        let made = members.iter().all(|member| member.job.state != JobState::Preparing);
        match gang.start {
            GangStart::WithWorkers => self.launch(members.iter()),
            GangStart::AfterWorkers if workers().all(up) => self.launch(std::iter::once(launcher)),
            GangStart::AfterWorkers if made => self.launch(workers()),
            GangStart::AfterWorkers => Ok(()),
        }
    }

    /// Launches pods at once, when all of them are prepared.
    fn launch<'a>(&mut self, members: impl Iterator<Item = &'a Member<'a>>) -> Result<(), Illegal> {
        let mut prepared: Vec<(AttemptId, String)> = Vec::new();
        for member in members {
            let JobState::Prepared { container } = &member.job.state else { return Ok(()) };
            prepared.push((member.attempt, container.clone()));
        }
        let Some((AttemptId { execution, .. }, _)) = prepared.first() else { return Ok(()) };
        let execution = *execution;
        for (attempt, _) in &prepared {
            self.record(execution, Record::JobLaunching { step: attempt.step, job: attempt.job })?;
        }
        self.effect(Effect::Launch(prepared));
        Ok(())
    }

    /// Tells a process to end, if it has not been told as much.
    pub(super) fn tell(
        &mut self,
        attempt: AttemptId,
        known: &Job,
        cause: StopCause,
        signal: Signal,
    ) -> Result<(), Illegal> {
        let AttemptId { execution: id, step, job, .. } = attempt;
        let stopping = Record::JobStopping { step, job, cause, signal };
        match &known.state {
            JobState::Launching { stop, .. } if stop.is_none_or(|(_, due)| due < signal) => self.record(id, stopping),
            JobState::Running { container, .. } | JobState::Paused { container, .. } => {
                self.record(id, stopping)?;
                self.effect(Effect::Signal(attempt, container.clone(), signal));
                Ok(())
            }
            JobState::Stopping { container, signal: told, .. } if *told < signal => {
                self.record(id, stopping)?;
                self.effect(Effect::Signal(attempt, container.clone(), signal));
                Ok(())
            }
            JobState::Waiting
            | JobState::Held
            | JobState::Preparing
            | JobState::Prepared { .. }
            | JobState::Launching { .. }
            | JobState::Stopping { .. }
            | JobState::Ended { .. }
            | JobState::Requeued { .. } => Ok(()),
        }
    }
}

/// What becomes of the container of an attempt that is over: the clean-up policy of a gang may keep it, unless the
/// gang may be attempted once more.
pub(super) fn disposal(execution: &Execution, step: usize, job: usize) -> Disposal {
    let planned = &execution.plan.steps[step];
    let worker = planned.jobs().get(job).is_some_and(|job| job.role == Role::Worker);
    let known = execution.steps.get(step).and_then(|step| step.jobs.get(job));
    let once = planned.terms.retry == Retry::default();
    let Some(gang) = planned.terms.gang.as_ref().filter(|_| worker && once) else { return Disposal::Remove };
    let by_itself = known.and_then(Job::verdict).is_some_and(|verdict| match verdict {
        Verdict::Succeeded => true,
        Verdict::Failed(reason) | Verdict::Unknown(reason) => matches!(reason.name, Name::Exit | Name::Oom),
        Verdict::Skipped(_) => false,
    });
    // What a quarantine ended was cleared for another attempt.
    let withdrawn = |verdict: &Verdict| verdict.reason().is_some_and(|reason| reason.name == Name::Quarantined);
    let ran = known
        .is_some_and(|job| matches!(&job.state, JobState::Ended { run: Some(_), verdict, .. } if !withdrawn(verdict)));
    match gang.clean {
        Clean::None if ran => Disposal::Keep,
        Clean::Running if ran && by_itself => Disposal::Keep,
        Clean::None | Clean::Running | Clean::All => Disposal::Remove,
    }
}
