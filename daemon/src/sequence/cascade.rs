//! Consequences: what follows from the state alone, drawn after every event until nothing changes.
//!
//! Must not: look at the event; a replayed state must draw the same consequences.

use std::collections::BTreeMap;
use std::ops::Range;

use super::apply::Illegal;
use super::draft::Draft;
use super::effect::Effect;
use super::event::Refusal;
use super::gate::{self, Gate, Turn};
use super::record::Record;
use super::state::{AttemptId, Execution, Halt, Input, Job, JobState, Phase, Remains, StepState, Verdict};
use crate::bundle::manifest::Port;
use crate::bundle::{ExecutionId, Hostname};
use crate::outcome;
use crate::plan::PlannedJob;
use crate::reason::{Name, Reason};

impl Draft<'_> {
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
            Phase::Held if execution.halt.is_none() => {
                (0..execution.steps.len()).try_for_each(|step| self.end_step(id, step))?;
                return self.settle(id);
            }
            Phase::Held | Phase::Open | Phase::Quarantined => {}
            Phase::Settled { .. } | Phase::Ended { .. } => return Ok(()),
        }
        for (step, unit, cause, pause_ms) in gate::repeats(&execution) {
            self.record(id, Record::UnitRequeued { step, unit, cause, pause_ms })?;
        }
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        if execution.halt.is_none()
            && let Some(step) = gate::failed_stop(&execution)
        {
            self.record(id, Record::Halted { halt: Halt::Failure(step) })?;
        }
        let mut step = 0;
        while step < execution.steps.len() {
            let group = execution.plan.group_of(step);
            for member in group.clone() {
                self.end_step(id, member)?;
            }
            match group.len() {
                1 => self.advance_step(id, step)?,
                _ => self.advance_group(id, group.clone())?,
            }
            step = group.end;
        }
        self.settle(id)
    }

    fn end_step(&mut self, id: ExecutionId, index: usize) -> Result<(), Illegal> {
        let Some(execution) = self.get(id) else { return Ok(()) };
        let step = &execution.steps[index];
        let known = !execution.plan.steps[index].is_errand() && (!step.jobs.is_empty() || step.input == Input::Taken);
        let over = step.state.verdict().is_none() && step.jobs.iter().all(Job::ended);
        let repeated = || gate::repeats(execution).into_iter().any(|(step, ..)| step == index);
        if !known || !over || repeated() {
            return Ok(());
        }
        let verdict = outcome::of_step(execution, index);
        self.record(id, Record::StepEnded { step: index, verdict, output: None })
    }

    /// The steps of a merge group: one unit, with the jobs of all.
    fn advance_group(&mut self, id: ExecutionId, group: Range<usize>) -> Result<(), Illegal> {
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        let steps = &execution.steps[group.clone()];
        if steps.iter().all(|step| matches!(step.state, StepState::Waiting | StepState::Held)) {
            return self.start_group(&execution, group);
        }
        if steps.iter().any(|step| matches!(step.state, StepState::Active { .. })) {
            let members = group.flat_map(|step| (0..execution.steps[step].jobs.len()).map(move |job| (step, job)));
            // What has run is over; the others are alive, or attempted once more after a quarantine.
            let open = |(step, job): &(usize, usize)| {
                !matches!(execution.steps[*step].jobs[*job].state, JobState::Ended { run: Some(_), .. })
            };
            let members: Vec<(usize, usize)> = members.filter(open).collect();
            return match members.iter().any(|(step, job)| is_requeued(&execution.steps[*step].jobs[*job])) {
                true => self.restart_group(&execution, &members),
                false => self.advance_unit(&execution, &members),
            };
        }
        // A member ended before its start: all or nothing, so those that still wait never start.
        let waiting = group.filter(|step| execution.steps[*step].state.verdict().is_none());
        waiting.into_iter().try_for_each(|step| {
            let reason = Reason::new(Name::GroupMember, "another step of its group was ended before it started");
            self.record(id, Record::StepEnded { step, verdict: Verdict::Skipped(reason), output: None })
        })
    }

    fn start_group(&mut self, execution: &Execution, group: Range<usize>) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let end = |draft: &mut Self, verdict: &Verdict| {
            group.clone().try_for_each(|step| {
                draft.record(id, Record::StepEnded { step, verdict: verdict.clone(), output: None })
            })
        };
        if let Some(halt) = &execution.halt {
            return end(self, &gate::halted(halt));
        }
        match gate::of_step(execution, group.start, self.now) {
            Gate::Wait => return Ok(()),
            Gate::Skip(verdict) => return end(self, &verdict),
            Gate::Open => {}
        }
        let held = group.clone().flat_map(|step| &execution.steps[step].jobs).any(|job| job.state != JobState::Waiting);
        let wanted: Vec<&PlannedJob> = execution.plan.steps[group.clone()].iter().flat_map(|s| s.jobs()).collect();
        let closed = held || execution.phase != Phase::Open;
        if closed || !gate::has_room(execution, wanted.len()) || self.conflict(&wanted) {
            return Ok(());
        }
        for step in group {
            self.record(id, Record::StepStarted { step })?;
            for job in 0..execution.steps[step].jobs.len() {
                self.prepare(id, (step, job), execution.steps[step].jobs[job].attempt + 1)?;
            }
        }
        Ok(())
    }

    /// What a quarantine ended of a merge group starts together once more.
    fn restart_group(&mut self, execution: &Execution, members: &[(usize, usize)]) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let known = |(step, job): &(usize, usize)| &execution.steps[*step].jobs[*job];
        let halts = |(step, _): &(usize, usize)| gate::halt_for(execution, *step).map(|halt| (*step, halt));
        let halted: BTreeMap<usize, &Halt> = members.iter().filter_map(halts).collect();
        if !halted.is_empty() {
            return halted
                .into_iter()
                .try_for_each(|(step, halt)| self.halt_step(execution, step, &gate::halted(halt)));
        }
        if members.iter().any(|member| known(member).ended()) {
            let reason = || Reason::new(Name::GroupMember, "another pod of its group was ended before it started");
            return members.iter().filter(|member| is_requeued(known(member))).try_for_each(|(step, job)| {
                let verdict = Verdict::Skipped(reason());
                self.record(id, Record::JobEnded { step: *step, job: *job, verdict, exit: None })
            });
        }
        let ready = members.iter().all(|member| gate::may_repeat(known(member), self.now));
        let wanted: Vec<&PlannedJob> =
            members.iter().map(|(step, job)| &execution.plan.steps[*step].jobs()[*job]).collect();
        if execution.phase != Phase::Open
            || !ready
            || !gate::has_room(execution, wanted.len())
            || self.conflict(&wanted)
        {
            return Ok(());
        }
        for (step, job) in members {
            self.prepare(id, (*step, *job), known(&(*step, *job)).attempt + 1)?;
        }
        Ok(())
    }

    /// A step of its own: an errand, a plain step, an array, a gang.
    fn advance_step(&mut self, id: ExecutionId, step: usize) -> Result<(), Illegal> {
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        if let Some(halt) = gate::halt_for(&execution, step) {
            self.halt_step(&execution, step, &gate::halted(halt))?;
        } else if matches!(execution.steps[step].state, StepState::Waiting | StepState::Held) {
            match gate::of_step(&execution, step, self.now) {
                Gate::Wait => return Ok(()),
                Gate::Skip(verdict) => return self.record(id, Record::StepEnded { step, verdict, output: None }),
                Gate::Open if execution.phase != Phase::Open => return Ok(()),
                Gate::Open => self.open_step(&execution, step)?,
            }
        } else if matches!(execution.steps[step].state, StepState::Active { .. }) {
            self.start_units(&execution, step)?;
        }
        drop(execution);
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        let planned = &execution.plan.steps[step];
        for unit in 0..planned.units() {
            let members: Vec<(usize, usize)> = planned.unit(unit).map(|job| (step, job)).collect();
            if members.iter().any(|(step, job)| execution.steps[*step].jobs[*job].alive()) {
                self.advance_unit(&execution, &members)?;
            }
        }
        Ok(())
    }

    /// Nothing of a halted execution starts any more; what runs goes on.
    fn halt_step(&mut self, execution: &Execution, index: usize, verdict: &Verdict) -> Result<(), Illegal> {
        let (id, step) = (execution.plan.execution, &execution.steps[index]);
        match &step.state {
            StepState::Waiting | StepState::Held => {
                self.record(id, Record::StepEnded { step: index, verdict: verdict.clone(), output: None })
            }
            StepState::Active { .. } => {
                let waiting = step.jobs.iter().enumerate().filter(|(_, job)| !job.ended() && !job.alive());
                waiting.into_iter().try_for_each(|(job, known)| {
                    // What has run and failed is not told as something that never started.
                    let failed = match (&known.state, verdict) {
                        (JobState::Requeued { reason, .. }, Verdict::Skipped(_)) => {
                            Some(Verdict::Failed(reason.clone()))
                        }
                        (_, _) => None,
                    };
                    let verdict = failed.unwrap_or_else(|| verdict.clone());
                    self.record(id, Record::JobEnded { step: index, job, verdict, exit: None })
                })
            }
            StepState::Ended { .. } => Ok(()),
        }
    }

    fn open_step(&mut self, execution: &Execution, step: usize) -> Result<(), Illegal> {
        let (id, planned, known) = (execution.plan.execution, &execution.plan.steps[step], &execution.steps[step]);
        if known.state == StepState::Held {
            return Ok(());
        }
        if !planned.sources().is_empty() && known.input != Input::Taken {
            if known.input == Input::Unread && gate::readable(execution, step) {
                self.record(id, Record::StepReading { step })?;
                self.effect(Effect::Read { execution: id, step });
            }
            return Ok(());
        }
        if planned.is_errand() {
            self.record(id, Record::StepStarted { step })?;
            self.errand(execution, step);
            return Ok(());
        }
        self.start_units(execution, step)
    }

    fn start_units(&mut self, execution: &Execution, step: usize) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let mut active = matches!(execution.steps[step].state, StepState::Active { .. });
        for (unit, turn) in gate::turns(execution, step, self.now) {
            let members = execution.plan.steps[step].unit(unit);
            match turn {
                Turn::Skip(verdict) => {
                    for job in members.filter(|job| !execution.steps[step].jobs[*job].ended()) {
                        self.record(id, Record::JobEnded { step, job, verdict: verdict.clone(), exit: None })?;
                    }
                }
                Turn::Start => {
                    let wanted: Vec<&PlannedJob> = execution.plan.steps[step].jobs()[members.clone()].iter().collect();
                    if execution.phase != Phase::Open || self.conflict(&wanted) {
                        continue;
                    }
                    if !std::mem::replace(&mut active, true) {
                        self.record(id, Record::StepStarted { step })?;
                    }
                    for job in members {
                        self.prepare(id, (step, job), execution.steps[step].jobs[job].attempt + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn prepare(&mut self, id: ExecutionId, (step, job): (usize, usize), attempt: u32) -> Result<(), Illegal> {
        self.record(id, Record::JobPreparing { step, job, attempt })?;
        self.effect(Effect::Prepare(AttemptId { execution: id, step, job, attempt }));
        Ok(())
    }

    /// A pod waits while one of the same hostname is aboard, and while a host port that it wants is still being freed.
    fn conflict(&self, wanted: &[&PlannedJob]) -> bool {
        self.live().into_iter().filter_map(|id| self.get(id)).any(|other| obstacle(wanted, other).is_some())
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

fn is_requeued(job: &Job) -> bool {
    matches!(job.state, JobState::Requeued { .. })
}

/// The attempt of another step or execution that keeps pods from being prepared: it answers to one of their
/// hostnames, or it has ended and its container may still hold one of their host ports.
#[must_use]
pub fn obstacle(wanted: &[&PlannedJob], other: &Execution) -> Option<(AttemptId, Hostname)> {
    for (step, part) in other.steps.iter().enumerate() {
        for (job, known) in part.jobs.iter().enumerate().filter(|(_, known)| known.occupies()) {
            let planned = &other.plan.steps[step].jobs()[job];
            let leaving = matches!(
                &known.state,
                JobState::Ended { remains: Remains::Owed, .. } | JobState::Requeued { remains: Remains::Owed, .. }
            );
            let held = |port: &Port| {
                let same = |p: &Port| (p.host_port, p.protocol) == (port.host_port, port.protocol);
                wanted.iter().flat_map(|w| &w.pod.ports).any(same)
            };
            let same_port = || leaving && planned.pod.ports.iter().any(held);
            if wanted.iter().any(|w| w.hostname == planned.hostname) || same_port() {
                let attempt = AttemptId { execution: other.plan.execution, step, job, attempt: known.attempt };
                return Some((attempt, planned.hostname.clone()));
            }
        }
    }
    None
}
