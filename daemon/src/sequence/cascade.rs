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
use super::state::{Ahead, AttemptId, Execution, Halt, Input, Job, JobState, Phase, StepState, Verdict};
use crate::bundle::manifest::Port;
use crate::bundle::{ExecutionId, Hostname};
use crate::outcome;
use crate::plan::PlannedJob;
use crate::reason::{Name, Reason};

impl Draft<'_> {
    pub(super) fn cascade(&mut self) -> Result<(), Refusal> {
        loop {
            let before = self.decision.records.len();
            self.blocked.clear();
            for id in self.live() {
                self.advance(id)?;
            }
            // What has its turn goes first.
            if self.decision.records.len() == before {
                self.look_ahead()?;
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
        self.halt(id)?;
        let Some(execution) = self.get(id).cloned() else { return Ok(()) };
        let (mut step, mut seen) = (0, self.decision.records.len());
        while step < execution.steps.len() {
            let group = execution.plan.group_of(step);
            for member in group.clone() {
                self.end_step(id, member)?;
            }
            // What ended in this very round may keep what comes after it from starting.
            if self.decision.records.len() > seen {
                self.halt(id)?;
                seen = self.decision.records.len();
            }
            match group.len() {
                1 => self.advance_step(id, step)?,
                _ => self.advance_group(id, group.clone())?,
            }
            step = group.end;
        }
        self.settle(id)
    }

    /// Halts an execution of which a step failed that must not.
    fn halt(&mut self, id: ExecutionId) -> Result<(), Illegal> {
        let failed = self.get(id).filter(|known| known.halt.is_none()).and_then(|known| gate::failed_stop(known));
        failed.map_or(Ok(()), |step| self.record(id, Record::Halted { halt: Halt::Failure(step) }))
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
            // What has run is over; the others are alive, or attempted once more after a quarantine.
            let open = |(step, job): &(usize, usize)| {
                !matches!(execution.steps[*step].jobs[*job].state, JobState::Ended { run: Some(_), .. })
            };
            let members: Vec<(usize, usize)> = members(&execution, group).into_iter().filter(open).collect();
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
        let waits = |job: &Job| job.state == JobState::Waiting && job.ahead != Ahead::Owed;
        let wanted = members(execution, group.clone());
        let free = wanted.iter().all(|(step, job)| waits(&execution.steps[*step].jobs[*job]));
        let closed = !free || execution.phase != Phase::Open;
        if closed || !gate::has_room(execution, wanted.len()) || self.conflict(execution, &wanted)? {
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
        let closed = !ready || execution.phase != Phase::Open;
        if closed || !gate::has_room(execution, members.len()) || self.conflict(execution, members)? {
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
                    let wanted: Vec<(usize, usize)> = members.clone().map(|job| (step, job)).collect();
                    if execution.phase != Phase::Open || self.conflict(execution, &wanted)? {
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
        let ahead = self.get(id).map(|known| known.steps[step].jobs[job].ahead.clone()).unwrap_or_default();
        self.record(id, Record::JobPreparing { step, job, attempt })?;
        match ahead {
            Ahead::Made { container, image } => {
                self.record(id, Record::JobPrepared { step, job, container, image: Some(image) })?;
            }
            // It is on its way.
            Ahead::Making => {}
            Ahead::Not | Ahead::Owed | Ahead::Spent => {
                self.effect(Effect::Prepare(AttemptId { execution: id, step, job, attempt }));
            }
        }
        Ok(())
    }

    /// A pod waits while one of the same hostname is aboard, and while a host port that it wants is still being freed.
    /// What was made ahead of its turn gives way to what has its turn.
    fn conflict(&mut self, execution: &Execution, wanted: &[(usize, usize)]) -> Result<bool, Illegal> {
        let found = self.live().into_iter().filter_map(|id| self.get(id)).find_map(|other| {
            let (AttemptId { step, job, .. }, _) = obstacle(execution, wanted, other)?;
            Some((other.clone(), (step, job)))
        });
        let Some((other, (step, job))) = found else { return Ok(false) };
        let planned = |(step, job): &(usize, usize)| (execution.plan.clone(), *step, *job);
        self.blocked.extend(wanted.iter().map(planned));
        if other.steps[step].jobs[job].ahead.stands() {
            self.withdraw_unit(&other, (step, job))?;
        }
        Ok(true)
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

/// The jobs of steps that start together.
pub(super) fn members(execution: &Execution, group: Range<usize>) -> Vec<(usize, usize)> {
    group.flat_map(|step| (0..execution.steps[step].jobs.len()).map(move |job| (step, job))).collect()
}

/// The attempt of another step or execution that keeps these jobs of `mine` from being prepared: it answers to one of
/// their hostnames, or its container holds one of their host ports and has ended, or has not started.
#[must_use]
pub fn obstacle(mine: &Execution, wanted: &[(usize, usize)], other: &Execution) -> Option<(AttemptId, Hostname)> {
    in_the_way(mine, wanted, other, |known| !known.alive())
}

/// The same, with the jobs whose host ports count.
pub(super) fn in_the_way(
    mine: &Execution,
    wanted: &[(usize, usize)],
    other: &Execution,
    ports_count: impl Fn(&Job) -> bool,
) -> Option<(AttemptId, Hostname)> {
    let planned = |(step, job): &(usize, usize)| &mine.plan.steps[*step].jobs()[*job];
    let itself = |at: (usize, usize)| other.plan.execution == mine.plan.execution && wanted.contains(&at);
    for (step, part) in other.steps.iter().enumerate() {
        for (job, known) in part.jobs.iter().enumerate().filter(|(_, known)| known.occupies()) {
            let theirs = &other.plan.steps[step].jobs()[job];
            let same_port = || wanted.iter().map(planned).any(|wanted| share_a_port(wanted, theirs));
            let same_name = wanted.iter().map(planned).any(|wanted| wanted.hostname == theirs.hostname);
            if !itself((step, job)) && (same_name || ports_count(known) && same_port()) {
                let attempt = known.ahead_attempt().unwrap_or(known.attempt);
                let attempt = AttemptId { execution: other.plan.execution, step, job, attempt };
                return Some((attempt, theirs.hostname.clone()));
            }
        }
    }
    None
}

/// Whether two pods want the same port of the host.
pub(super) fn share_a_port(one: &PlannedJob, other: &PlannedJob) -> bool {
    let same = |a: &Port, b: &Port| (a.host_port, a.protocol) == (b.host_port, b.protocol);
    one.pod.ports.iter().any(|port| other.pod.ports.iter().any(|theirs| same(port, theirs)))
}
