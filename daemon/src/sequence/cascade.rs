//! Consequences: what follows from the state alone, drawn after every event until nothing changes.
//!
//! Must not: look at the event; a replayed state must draw the same consequences.

use std::ops::Range;

use super::apply::Illegal;
use super::decide::stopped;
use super::draft::Draft;
use super::effect::Effect;
use super::event::Refusal;
use super::record::Record;
use super::state::{AttemptId, Execution, Halt, Job, JobState, Phase, StepState, Verdict};
use crate::bundle::document::OnFailure;
use crate::bundle::manifest::Port;
use crate::bundle::{ExecutionId, Hostname, StepId};
use crate::outcome;
use crate::plan::{Needs, Work};
use crate::reason::{Name, Reason};

impl Draft<'_> {
    /// Draws every consequence until nothing changes. Each pass either records something or is the last.
    pub(super) fn cascade(&mut self) -> Result<(), Refusal> {
        loop {
            let before = self.decision.records.len();
            for id in self.live() {
                self.advance(id)?;
            }
            if self.decision.records.len() == before {
                return Ok(());
            }
        }
    }

    fn advance(&mut self, id: ExecutionId) -> Result<(), Illegal> {
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        match execution.phase {
            Phase::Held if execution.halt.is_none() => return Ok(()),
            Phase::Held | Phase::Open => {}
            Phase::Settled { .. } | Phase::Ended { .. } => return Ok(()),
        }
        let mut step = 0;
        while step < execution.steps.len() {
            let group = execution.plan.group_of(step);
            self.advance_group(&execution, group.clone())?;
            step = group.end;
        }
        self.settle(id)
    }

    fn advance_group(&mut self, execution: &Execution, group: Range<usize>) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        for step in group.clone() {
            match &execution.steps[step].state {
                StepState::Active { .. } => self.end_step(id, step)?,
                StepState::Waiting | StepState::Ended { .. } => {}
            }
        }
        // The draft may have moved on above: read it anew.
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        let steps = &execution.steps[group.clone()];
        if steps.iter().all(|step| step.state == StepState::Waiting) {
            return self.start_or_skip(&execution, group);
        }
        if steps.iter().any(|step| matches!(step.state, StepState::Active { .. })) {
            return self.launch_or_undo(&execution, group);
        }
        // A member ended before its start: all or nothing, so those that still wait never start.
        group.filter(|step| execution.steps[*step].state == StepState::Waiting).try_for_each(|step| {
            let reason = Reason::new(Name::GroupMember, "another step of its group was ended before it started");
            self.record(id, Record::StepEnded { step, verdict: Verdict::Skipped(reason), output: None })
        })
    }

    fn end_step(&mut self, id: ExecutionId, step: usize) -> Result<(), Illegal> {
        let Some(execution) = self.get(id) else { return Ok(()) };
        let part = &execution.steps[step];
        if part.jobs.is_empty() || !part.jobs.iter().all(Job::ended) {
            return Ok(());
        }
        let verdict = outcome::of_jobs(&part.jobs);
        self.record(id, Record::StepEnded { step, verdict, output: None })
    }

    fn start_or_skip(&mut self, execution: &Execution, group: Range<usize>) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let halt = execution.halt.clone().or_else(|| failed_stop(execution).map(Halt::Failure));
        if let Some(halt) = halt {
            if execution.halt.is_none() {
                self.record(id, Record::Halted { halt: halt.clone() })?;
            }
            return group.into_iter().try_for_each(|step| {
                self.record(id, Record::StepEnded { step, verdict: halted(&halt), output: None })
            });
        }
        let head = &execution.plan.steps[group.start];
        for edge in &head.after {
            let Some(verdict) = execution.steps[edge.step].state.verdict() else { return Ok(()) };
            if edge.needs == Needs::Success && *verdict != Verdict::Succeeded {
                let source = &execution.plan.steps[edge.step].id;
                let reason = Reason::new(Name::Dependency, format!("step {source} did not succeed"));
                return group.into_iter().try_for_each(|step| {
                    self.record(id, Record::StepEnded { step, verdict: Verdict::Skipped(reason.clone()), output: None })
                });
            }
        }
        if execution.phase != Phase::Open || self.conflict(execution, group.clone()) {
            return Ok(());
        }
        group.into_iter().try_for_each(|step| self.start_step(execution, step))
    }

    fn start_step(&mut self, execution: &Execution, step: usize) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        self.record(id, Record::StepStarted { step })?;
        match &execution.plan.steps[step].work {
            Work::PodRun { jobs } => {
                for job in 0..jobs.len() {
                    let attempt = execution.steps[step].jobs[job].attempt + 1;
                    self.record(id, Record::JobPreparing { step, job, attempt })?;
                    self.effect(Effect::Prepare(AttemptId { execution: id, step, job, attempt }));
                }
            }
            Work::Errand(_) => self.effect(Effect::Errand { execution: id, step }),
        }
        Ok(())
    }

    /// Whether a pod that is still on a node keeps this group waiting; see [`obstacle`].
    fn conflict(&self, execution: &Execution, group: Range<usize>) -> bool {
        self.live()
            .into_iter()
            .filter_map(|id| self.get(id))
            .any(|other| obstacle(execution, group.clone(), other).is_some())
    }

    /// All or nothing: a group launches when every member is prepared, and is undone when one cannot be.
    fn launch_or_undo(&mut self, execution: &Execution, group: Range<usize>) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let mut members = Vec::new();
        for step in group {
            for (job, known) in execution.steps[step].jobs.iter().enumerate() {
                members.push((AttemptId { execution: id, step, job, attempt: known.attempt }, known));
            }
        }
        let never_ran = |known: &Job| matches!(&known.state, JobState::Ended { run: None, .. });
        let waiting = |known: &Job| matches!(known.state, JobState::Preparing | JobState::Prepared { .. });
        if members.iter().any(|(_, known)| never_ran(known)) {
            for (attempt, _) in members.iter().filter(|(_, known)| waiting(known)) {
                let reason = Reason::new(Name::GroupMember, "another pod of its group could not be started");
                self.end_job(*attempt, Verdict::Skipped(reason), None)?;
            }
            return Ok(());
        }
        let prepared: Vec<(AttemptId, String)> = members
            .iter()
            .filter_map(|(attempt, known)| match &known.state {
                JobState::Prepared { container } => Some((*attempt, container.clone())),
                JobState::Waiting
                | JobState::Preparing
                | JobState::Launching { .. }
                | JobState::Running { .. }
                | JobState::Stopping { .. }
                | JobState::Ended { .. } => None,
            })
            .collect();
        if prepared.is_empty() || prepared.len() < members.len() {
            return Ok(());
        }
        for (attempt, _) in &prepared {
            self.record(id, Record::JobLaunching { step: attempt.step, job: attempt.job })?;
        }
        self.effect(Effect::Launch(prepared));
        Ok(())
    }

    fn settle(&mut self, id: ExecutionId) -> Result<(), Illegal> {
        let Some(execution) = self.get(id) else { return Ok(()) };
        let over = execution.steps.iter().all(|step| step.state.verdict().is_some());
        let clear = execution.steps.iter().flat_map(|step| &step.jobs).all(|job| !job.occupies());
        if !over || !clear {
            return Ok(());
        }
        let verdict = outcome::of_execution(execution);
        self.record(id, Record::Settled { verdict })?;
        self.effect(Effect::Report(id));
        Ok(())
    }
}

/// What of another execution (or of an earlier step of the same) keeps a group from starting: a pod that answers to
/// one of its hostnames, or one that has ended but still holds one of its host ports. A port held by a pod that runs
/// is no reason to wait: that launch fails with `port_in_use`.
#[must_use]
pub fn obstacle(execution: &Execution, group: Range<usize>, other: &Execution) -> Option<(AttemptId, Hostname)> {
    let wanted: Vec<_> = execution.plan.steps[group].iter().flat_map(|step| step.jobs()).collect();
    for (step, part) in other.steps.iter().enumerate() {
        for (job, known) in part.jobs.iter().enumerate().filter(|(_, known)| known.occupies()) {
            let planned = &other.plan.steps[step].jobs()[job];
            let same_port = || {
                let held = |port: &Port| {
                    wanted
                        .iter()
                        .flat_map(|w| &w.pod.ports)
                        .any(|p| (p.host_port, p.protocol) == (port.host_port, port.protocol))
                };
                known.ended() && planned.pod.ports.iter().any(held)
            };
            if wanted.iter().any(|w| w.hostname == planned.hostname) || same_port() {
                let attempt = AttemptId { execution: other.plan.execution, step, job, attempt: known.attempt };
                return Some((attempt, planned.hostname.clone()));
            }
        }
    }
    None
}

/// The first step that did not succeed and whose policy is `stop`.
fn failed_stop(execution: &Execution) -> Option<StepId> {
    let mut steps = execution.plan.steps.iter().zip(&execution.steps);
    steps.find_map(|(planned, step)| match step.state.verdict()? {
        Verdict::Succeeded => None,
        Verdict::Failed(_) | Verdict::Skipped(_) | Verdict::Unknown(_) if planned.on_failure == OnFailure::Stop => {
            Some(planned.id.clone())
        }
        Verdict::Failed(_) | Verdict::Skipped(_) | Verdict::Unknown(_) => None,
    })
}

fn halted(halt: &Halt) -> Verdict {
    match halt {
        Halt::Failure(step) => {
            let message = format!("step {step} did not succeed and its on_failure is stop");
            Verdict::Skipped(Reason::new(Name::SequenceStopped, message))
        }
        Halt::Operator => stopped(),
    }
}
