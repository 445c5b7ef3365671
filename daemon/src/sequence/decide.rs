//! Thinks: one event in, records and effects out.
//!
//! A [`Draft`] applies each record to a copy as it is decided, so that one event can cascade (a job ends, its step
//! ends, the next group starts) through the same `apply` that will run on the board after the commit.
//! Must not: change the board it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::{Illegal, advance};
use super::deadline::{Due, due};
use super::effect::Effect;
use super::event::{Event, Refusal, Report, Target, Verb};
use super::record::{Record, Recorded};
use super::state::{
    AttemptId, Board, Execution, Exit, Filing, Halt, Job, JobState, Phase, Remains, Signal, StepState, StopCause,
    Verdict,
};
use crate::bundle::document::OnFailure;
use crate::bundle::{ExecutionId, Hostname};
use crate::outcome;
use crate::plan::{Needs, Plan, Work};
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
    let mut draft = Draft { board, touched: BTreeMap::new(), now, decision: Decision::default() };
    match event {
        Event::Submitted { plan, held } => draft.submitted(plan, held)?,
        Event::Asked { execution, target, verb } => draft.asked(execution, target, verb)?,
        Event::Reported(attempt, report) => draft.reported(attempt, report)?,
        Event::Transferred { execution, step, result } => draft.transferred(execution, step, result)?,
        Event::Filed { execution, filing } => draft.filed(execution, filing)?,
        Event::TimePassed => draft.time_passed()?,
        Event::Rebooted => draft.rebooted()?,
    }
    draft.cascade()?;
    Ok(draft.decision)
}

struct Draft<'a> {
    board: &'a Board,
    touched: BTreeMap<ExecutionId, Arc<Execution>>,
    now: Timestamp,
    decision: Decision,
}

impl Draft<'_> {
    fn get(&self, id: ExecutionId) -> Option<&Arc<Execution>> {
        self.touched.get(&id).or_else(|| self.board.live.get(&id))
    }

    fn live(&self) -> Vec<ExecutionId> {
        let mut ids: Vec<ExecutionId> = self.board.live.keys().chain(self.touched.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn record(&mut self, execution: ExecutionId, record: Record) -> Result<(), Illegal> {
        let recorded = Recorded { execution, at: self.now, record };
        match &recorded.record {
            Record::Accepted { plan, held } => {
                self.touched.insert(execution, Arc::new(Execution::new(plan.clone(), *held, self.now)));
            }
            Record::Released
            | Record::Halted { .. }
            | Record::StepStarted { .. }
            | Record::StepEnded { .. }
            | Record::JobPreparing { .. }
            | Record::JobPrepared { .. }
            | Record::JobLaunching { .. }
            | Record::JobStarted { .. }
            | Record::JobStopping { .. }
            | Record::JobEnded { .. }
            | Record::JobCleared { .. }
            | Record::Settled { .. }
            | Record::Ended { .. } => {
                if !self.touched.contains_key(&execution) {
                    self.touched.extend(self.board.live.get(&execution).map(|known| (execution, known.clone())));
                }
                if let Some(copy) = self.touched.get_mut(&execution) {
                    advance(Arc::make_mut(copy), &recorded).map_err(|illegal| *illegal)?;
                }
            }
        }
        self.decision.records.push(recorded);
        Ok(())
    }

    fn effect(&mut self, effect: Effect) {
        self.decision.effects.push(effect);
    }

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
            if part.state == StepState::Waiting {
                self.record(id, Record::StepEnded { step, verdict: stopped() })?;
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

    fn end_job(&mut self, attempt: AttemptId, verdict: Verdict, exit: Option<Exit>) -> Result<(), Illegal> {
        let AttemptId { execution, step, job, .. } = attempt;
        let occupied = self.get(execution).and_then(|known| known.job(&attempt)).is_some_and(Job::occupies);
        self.record(execution, Record::JobEnded { step, job, verdict, exit })?;
        if occupied {
            self.effect(Effect::Clear(attempt));
        }
        Ok(())
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

    fn transferred(&mut self, id: ExecutionId, step: usize, result: Result<(), Reason>) -> Result<(), Refusal> {
        let active = self
            .get(id)
            .and_then(|known| known.steps.get(step))
            .is_some_and(|known| known.jobs.is_empty() && matches!(known.state, StepState::Active { .. }));
        if !active {
            return Err(Refusal::Late(format!("a transfer of {id}, step {step}")));
        }
        let verdict = match result {
            Ok(()) => Verdict::Succeeded,
            Err(reason) => Verdict::Failed(reason),
        };
        Ok(self.record(id, Record::StepEnded { step, verdict })?)
    }

    fn filed(&mut self, id: ExecutionId, filing: Filing) -> Result<(), Refusal> {
        match self.get(id).map(|known| &known.phase) {
            Some(Phase::Settled { .. }) => Ok(self.record(id, Record::Ended { report: filing })?),
            Some(Phase::Held | Phase::Open | Phase::Ended { .. }) | None => {
                Err(Refusal::Late(format!("the report of {id}")))
            }
        }
    }

    fn time_passed(&mut self) -> Result<(), Refusal> {
        for id in self.live() {
            let Some(execution) = self.get(id).cloned() else { continue };
            for due in due(&execution, self.now.boot) {
                self.pass(&execution, &due)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, execution: &Execution, due: &Due) -> Result<(), Illegal> {
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
            Due::Budget { step } => self.budget_out(execution, *step)?,
        }
        Ok(())
    }

    /// A budget that ran out ends the step, whatever its containers do: what may have run is `unknown`.
    fn budget_out(&mut self, execution: &Execution, step: usize) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let seconds = execution.plan.steps[step].timeout_seconds;
        let part = &execution.steps[step];
        for (job, known) in part.jobs.iter().enumerate() {
            if let Some(verdict) = outcome::of_budget(&known.state, seconds) {
                self.end_job(AttemptId { execution: id, step, job, attempt: known.attempt }, verdict, None)?;
            }
        }
        if part.jobs.is_empty() {
            let reason = Reason::new(Name::Timeout, format!("the budget of {seconds} s ran out during the transfer"));
            self.record(id, Record::StepEnded { step, verdict: Verdict::Failed(reason) })?;
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

    /// Draws every consequence until nothing changes. Each pass either records something or is the last.
    fn cascade(&mut self) -> Result<(), Refusal> {
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

    fn advance_group(&mut self, execution: &Execution, group: std::ops::Range<usize>) -> Result<(), Illegal> {
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
            self.record(id, Record::StepEnded { step, verdict: Verdict::Skipped(reason) })
        })
    }

    fn end_step(&mut self, id: ExecutionId, step: usize) -> Result<(), Illegal> {
        let Some(execution) = self.get(id) else { return Ok(()) };
        let part = &execution.steps[step];
        if part.jobs.is_empty() || !part.jobs.iter().all(Job::ended) {
            return Ok(());
        }
        let verdict = outcome::of_jobs(&part.jobs);
        self.record(id, Record::StepEnded { step, verdict })
    }

    fn start_or_skip(&mut self, execution: &Execution, group: std::ops::Range<usize>) -> Result<(), Illegal> {
        let id = execution.plan.execution;
        let halt = execution.halt.clone().or_else(|| failed_stop(execution).map(Halt::Failure));
        if let Some(halt) = halt {
            if execution.halt.is_none() {
                self.record(id, Record::Halted { halt: halt.clone() })?;
            }
            return group
                .into_iter()
                .try_for_each(|step| self.record(id, Record::StepEnded { step, verdict: halted(&halt) }));
        }
        let head = &execution.plan.steps[group.start];
        for edge in &head.after {
            let Some(verdict) = execution.steps[edge.step].state.verdict() else { return Ok(()) };
            if edge.needs == Needs::Success && *verdict != Verdict::Succeeded {
                let source = &execution.plan.steps[edge.step].id;
                let reason = Reason::new(Name::Dependency, format!("step {source} did not succeed"));
                return group.into_iter().try_for_each(|step| {
                    self.record(id, Record::StepEnded { step, verdict: Verdict::Skipped(reason.clone()) })
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
            Work::Uplink(_) => self.effect(Effect::Place { execution: id, step }),
            Work::Downlink(_) => self.effect(Effect::Collect { execution: id, step }),
        }
        Ok(())
    }

    /// Whether a pod that is still on a node keeps this group waiting; see [`obstacle`].
    fn conflict(&self, execution: &Execution, group: std::ops::Range<usize>) -> bool {
        self.live()
            .into_iter()
            .filter_map(|id| self.get(id))
            .any(|other| obstacle(execution, group.clone(), other).is_some())
    }

    /// All or nothing: a group launches when every member is prepared, and is undone when one cannot be.
    fn launch_or_undo(&mut self, execution: &Execution, group: std::ops::Range<usize>) -> Result<(), Illegal> {
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
pub fn obstacle(
    execution: &Execution,
    group: std::ops::Range<usize>,
    other: &Execution,
) -> Option<(AttemptId, Hostname)> {
    let wanted: Vec<_> = execution.plan.steps[group].iter().flat_map(|step| step.jobs()).collect();
    for (step, part) in other.steps.iter().enumerate() {
        for (job, known) in part.jobs.iter().enumerate().filter(|(_, known)| known.occupies()) {
            let planned = &other.plan.steps[step].jobs()[job];
            let same_port = || {
                let held = |port: &crate::bundle::manifest::Port| {
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
fn failed_stop(execution: &Execution) -> Option<crate::bundle::StepId> {
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

fn stopped() -> Verdict {
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
