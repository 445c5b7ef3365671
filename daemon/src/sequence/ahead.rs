//! Looks ahead: while something runs, the containers of what comes next are made and initialised, so that only their
//! start is left to do when its turn comes. Such a job still waits: it holds no slot, spends no budget, can be held.
//!
//! A container that was made ahead is only a convenience. Whatever makes it doubtful undoes it: a halt, a hold, a pause,
//! a boot, a pod that has its turn and wants its name or port, a preparation that fails. Its job then waits as if there
//! had been none, and the next container is made in its turn.
//! Must not: let a process start; count on time.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::apply::Illegal;
use super::cascade::{in_the_way, members, share_a_port};
use super::draft::Draft;
use super::effect::{Disposal, Effect};
use super::event::{Refusal, Report};
use super::gate;
use super::image;
use super::record::Record;
use super::state::{Ahead, AttemptId, Board, Execution, Job, JobState, Phase, StepState};
use crate::bundle::ExecutionId;
use crate::plan::{Errand, Needs, PlannedJob, PlannedStep, Work};

/// Steps (merge groups) of pods that are made ahead of those that run: with trivial steps the second is on its way while
/// the first starts.
const STEPS: usize = 2;
/// Containers of one step that are made ahead: of an array its first members, of a larger merge group none.
const OF_STEP: usize = 8;
/// Containers on the whole board that stand ahead of their turn: the runtime of each keeps some megabytes of memory.
pub const AHEAD_MAX: usize = 16;

impl Job {
    /// The number of the attempt that a container made ahead is for.
    #[must_use]
    pub fn ahead_attempt(&self) -> Option<u32> {
        match self.ahead {
            Ahead::Making | Ahead::Made { .. } => Some(self.attempt + 1),
            Ahead::Owed => Some(self.attempt),
            Ahead::Not | Ahead::Spent => None,
        }
    }
}

impl Execution {
    /// The container that was made ahead for an attempt, if there may be one.
    #[must_use]
    pub fn ahead(&self, id: &AttemptId) -> Option<&Ahead> {
        let job = self.steps.get(id.step)?.jobs.get(id.job)?;
        (job.ahead_attempt() == Some(id.attempt)).then_some(&job.ahead)
    }
}

impl Board {
    /// The container that was made ahead for an attempt, if there may be one.
    #[must_use]
    pub fn ahead(&self, id: &AttemptId) -> Option<&Ahead> {
        self.live.get(&id.execution)?.ahead(id)
    }
}

/// The jobs whose containers, made ahead, are over with this record.
pub(super) fn ends_with(execution: &Execution, record: &Record) -> Vec<(usize, usize)> {
    let of_step = |step: usize| execution.steps.get(step).map(|known| known.jobs.as_slice()).unwrap_or_default();
    let over: Vec<(usize, usize)> = if let Record::StepEnded { step, .. } = record {
        (0..of_step(*step).len()).map(|job| (*step, job)).collect()
    } else if let Record::JobEnded { step, job, .. } = record {
        vec![(*step, *job)]
    } else {
        return Vec::new();
    };
    over.into_iter().filter(|(step, job)| of_step(*step).get(*job).is_some_and(|job| job.ahead.occupies())).collect()
}

impl Draft<'_> {
    /// Withdraws what is not wanted ahead any more, and has made what is.
    pub(super) fn look_ahead(&mut self) -> Result<(), Illegal> {
        for id in self.live() {
            let Some(execution) = self.get(id).cloned() else { continue };
            let wanted = wanted(&execution);
            let kept: BTreeSet<(usize, usize)> = wanted.iter().flatten().copied().collect();
            for (step, job) in standing(&execution).filter(|job| !kept.contains(job)) {
                self.withdraw(id, (step, job))?;
            }
            for unit in wanted {
                let Some(execution) = self.get(id).cloned() else { continue };
                if self.may_begin(&execution, &unit) {
                    for (step, job) in unit {
                        let attempt = execution.steps[step].jobs[job].attempt + 1;
                        self.record(id, Record::JobPreparingAhead { step, job })?;
                        self.effect(Effect::Prepare(AttemptId { execution: id, step, job, attempt }));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether nothing forbids that the containers of a unit are made now.
    fn may_begin(&self, execution: &Execution, unit: &[(usize, usize)]) -> bool {
        let fresh = |(step, job): &(usize, usize)| {
            let known = &execution.steps[*step].jobs[*job];
            known.state == JobState::Waiting && known.ahead == Ahead::Not
        };
        let Some((step, _)) = unit.first() else { return false };
        // First what costs nothing: it is asked at every decision.
        if !unit.iter().all(fresh) || !calm(execution) {
            return false;
        }
        let aboard = self.live().into_iter().filter_map(|id| self.get(id));
        let aboard: usize = aboard.map(|known| known.steps.iter().map(ahead_of_step).sum::<usize>()).sum();
        let window = execution.plan.steps[*step].terms.window;
        let open = window.not_before.is_none_or(|first| self.now.wall >= first)
            && window.not_after.is_none_or(|last| self.now.wall < last);
        let in_the_way = |other: &Execution| in_the_way(execution, unit, other, |_| true).is_some();
        open && aboard + unit.len() <= AHEAD_MAX
            && has_room(execution, unit)
            && changes_nothing(execution, unit)
            && !self.live().into_iter().filter_map(|id| self.get(id)).any(|other| in_the_way(other))
            && !unit.iter().any(|(step, job)| self.is_waited_for(&execution.plan.steps[*step].jobs()[*job]))
    }

    /// Whether a pod that has its turn waits for the name or a port of this one: it would have to go again at once.
    fn is_waited_for(&self, wanted: &PlannedJob) -> bool {
        self.blocked
            .iter()
            .map(|(plan, step, job)| &plan.steps[*step].jobs()[*job])
            .any(|blocked| blocked.hostname == wanted.hostname || share_a_port(blocked, wanted))
    }

    /// What is known of a container that was made ahead.
    pub(super) fn reported_ahead(&mut self, attempt: AttemptId, report: Report, ahead: &Ahead) -> Result<(), Refusal> {
        let AttemptId { execution: id, step, job, .. } = attempt;
        match (&report, ahead) {
            (Report::Prepared { container, image }, Ahead::Making) => match self.pinned(attempt, image)? {
                Ok(()) => {
                    let (container, image) = (container.clone(), Arc::from(image.id.as_str()));
                    self.record(id, Record::JobPreparedAhead { step, job, container, image })?;
                }
                // Its tag was moved: that is told in its turn.
                Err(_) => self.withdraw_unit_of(attempt)?,
            },
            // What cannot be made now may well be in its turn: an image may have come by then, a port be free.
            (Report::NotMadeAhead(_) | Report::NotPrepared(_) | Report::ImageLost(_), Ahead::Making) => {
                self.withdraw_unit_of(attempt)?
            }
            (Report::Cleared(logs), Ahead::Owed) => {
                self.record(id, Record::JobCleared { step, job, logs: logs.clone() })?;
            }
            _ => return Err(Refusal::Stale { attempt, report, state: Some(Box::new(JobState::Waiting)) }),
        }
        Ok(())
    }

    fn withdraw_unit_of(&mut self, attempt: AttemptId) -> Result<(), Illegal> {
        match self.get(attempt.execution).cloned() {
            Some(execution) => self.withdraw_unit(&execution, (attempt.step, attempt.job)),
            None => Ok(()),
        }
    }

    /// A container that was made ahead goes.
    pub(super) fn withdraw(&mut self, id: ExecutionId, (step, job): (usize, usize)) -> Result<(), Illegal> {
        self.record(id, Record::JobWithdrawn { step, job })?;
        if let Some(known) = self.get(id) {
            let attempt = known.steps[step].jobs[job].attempt;
            self.effect(Effect::Clear(AttemptId { execution: id, step, job, attempt }, Disposal::Remove));
        }
        Ok(())
    }

    /// The same for all that start together with it.
    pub(super) fn withdraw_unit(&mut self, execution: &Execution, (step, job): (usize, usize)) -> Result<(), Illegal> {
        let group = execution.plan.group_of(step);
        let unit = match group.len() {
            1 => {
                let planned = &execution.plan.steps[step];
                planned.unit(planned.jobs()[job].unit as usize).map(|job| (step, job)).collect()
            }
            _ => members(execution, group),
        };
        for (step, job) in unit {
            if execution.steps[step].jobs[job].ahead.stands() {
                self.withdraw(execution.plan.execution, (step, job))?;
            }
        }
        Ok(())
    }
}

/// The jobs whose containers stand ahead of their turn.
fn standing(execution: &Execution) -> impl Iterator<Item = (usize, usize)> {
    execution.steps.iter().enumerate().flat_map(|(step, known)| {
        let stand = known.jobs.iter().enumerate().filter(|(_, known)| known.ahead.stands());
        stand.map(move |(job, _)| (step, job))
    })
}

fn ahead_of_step(step: &super::state::Step) -> usize {
    step.jobs.iter().filter(|job| job.ahead.occupies()).count()
}

/// The units that may stand ahead of their turn, in order. It depends on what has happened alone, not on when.
fn wanted(execution: &Execution) -> Vec<Vec<(usize, usize)>> {
    let frozen = |job: &Job| matches!(job.state, JobState::Paused { .. });
    let goes_on = execution.plan.look_ahead
        && execution.phase == Phase::Open
        && execution.halt.is_none()
        && !execution.steps.iter().flat_map(|step| &step.jobs).any(frozen);
    let mut units = Vec::new();
    // How many steps of pods come before the end of each step, from now; nothing: it cannot be foreseen.
    let mut distances: Vec<Option<usize>> = vec![None; execution.steps.len()];
    let mut step = 0;
    while goes_on && step < execution.steps.len() {
        let group = execution.plan.group_of(step);
        let distance = distance(execution, &group, &distances);
        let pods = !execution.plan.steps[step].is_errand();
        let waits = matches!(execution.steps[step].state, StepState::Waiting);
        let mut foreseen = distance;
        if pods && waits && distance.is_some() {
            let before = units.len();
            units.extend(units_of(execution, &group));
            let stands = units[before..].iter().flatten().any(|(s, j)| execution.steps[*s].jobs[*j].ahead.stands());
            foreseen = distance.filter(|_| stands);
        }
        group.clone().for_each(|member| distances[member] = foreseen);
        step = group.end;
    }
    units
}

/// How many steps of pods come before the end of these, themselves included.
fn distance(execution: &Execution, group: &Range<usize>, distances: &[Option<usize>]) -> Option<usize> {
    let states = || execution.steps[group.clone()].iter().map(|step| &step.state);
    if states().all(|state| state.verdict().is_some()) || states().any(|s| matches!(s, StepState::Active { .. })) {
        return Some(0);
    }
    let planned = &execution.plan.steps[group.start];
    let plain = execution.plan.steps[group.clone()].iter().all(|planned| planned.sources().is_empty());
    let waits = execution.steps[group.clone()]
        .iter()
        .all(|step| step.state == StepState::Waiting && step.jobs.iter().all(|job| job.state == JobState::Waiting));
    if !plain || !waits {
        return None;
    }
    let mut longest = 0;
    for edge in &planned.after {
        if edge.needs == Needs::Each {
            return None;
        }
        longest = longest.max((*distances.get(edge.step)?)?);
    }
    let own = usize::from(!planned.is_errand());
    Some(longest + own).filter(|distance| *distance <= STEPS)
}

/// The units of steps that start together: as many as may be made ahead.
fn units_of(execution: &Execution, group: &Range<usize>) -> Vec<Vec<(usize, usize)>> {
    let planned = &execution.plan.steps[group.start];
    let units: Vec<Vec<(usize, usize)>> = match group.len() {
        1 => (0..planned.units()).map(|u| planned.unit(u).map(|job| (group.start, job)).collect()).collect(),
        _ => vec![members(execution, group.clone())],
    };
    let at_once = planned.terms.max_parallel.map_or(usize::MAX, |cap| cap as usize);
    let mut jobs = 0;
    let fits = |unit: &Vec<(usize, usize)>| {
        jobs += unit.len();
        jobs <= OF_STEP
    };
    units.into_iter().take(at_once).take_while(fits).collect()
}

/// Whether a preparation would take nothing from one that has its turn: nothing is being started, and only the very first
/// preparation of an execution is left alone.
fn calm(execution: &Execution) -> bool {
    let mut jobs = execution.steps.iter().flat_map(|step| &step.jobs);
    let starting = |job: &Job| matches!(job.state, JobState::Preparing | JobState::Prepared { .. });
    let launching = jobs.clone().any(|job| matches!(job.state, JobState::Launching { .. }));
    !launching && (!jobs.clone().any(starting) || jobs.any(has_lived))
}

fn has_lived(job: &Job) -> bool {
    matches!(
        &job.state,
        JobState::Running { .. }
            | JobState::Paused { .. }
            | JobState::Stopping { .. }
            | JobState::Ended { run: Some(_), .. }
            | JobState::Requeued { run: Some(_), .. }
    )
}

/// Whether the cap of the execution has room for it beside all that is alive or stands.
fn has_room(execution: &Execution, unit: &[(usize, usize)]) -> bool {
    let Some(cap) = execution.plan.parallelism else { return true };
    let grouped = unit.first().is_some_and(|(step, _)| execution.plan.group_of(*step).len() > 1);
    let more = if grouped { unit.len() } else { 1 };
    gate::alive_of(execution) + standing(execution).count() + more <= cap as usize
}

/// Whether making these containers now gives what making them in their turn would give: nothing that has yet to end may
/// change images, and whatever touches their volumes finds them as it would: mounted once already.
fn changes_nothing(execution: &Execution, unit: &[(usize, usize)]) -> bool {
    let planned = |(step, job): &(usize, usize)| &execution.plan.steps[*step].jobs()[*job];
    let before = pending(execution, unit);
    // Also one beside it: what a name means when the turn has come must be what it means now.
    let mut open = execution.plan.steps.iter().zip(&execution.steps).filter(|(_, step)| step.state.verdict().is_none());
    // A volume is opened to another user when the container of that user is made: right before its turn.
    let is_ready = |wanted: &PlannedJob| wanted.pod.options.user.is_none() && mounted(execution, wanted);
    unit.iter().map(planned).all(|wanted| {
        is_ready(wanted) || !before.iter().any(|step| touches(&execution.plan.steps[*step], &wanted.pod.claim))
    }) && open.all(|(planned, _)| image::made_by(&execution.plan.tenant, planned).is_none())
}

/// The steps that have yet to end before a unit has its turn.
fn pending(execution: &Execution, unit: &[(usize, usize)]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = unit.iter().map(|(step, _)| *step).collect();
    while let Some(step) = open.pop() {
        for edge in &execution.plan.steps[step].after {
            if execution.steps[edge.step].state.verdict().is_none() && found.insert(edge.step) {
                open.push(edge.step);
            }
        }
    }
    found
}

/// Whether a pod of this execution has mounted the volume there: Podman fills a new volume from the image that comes
/// first.
fn mounted(execution: &Execution, wanted: &PlannedJob) -> bool {
    let is_up = |job: &Job| {
        matches!(job.state, JobState::Prepared { .. } | JobState::Launching { .. })
            || has_lived(job)
            || matches!(job.ahead, Ahead::Made { .. })
    };
    execution.plan.steps.iter().zip(&execution.steps).any(|(planned, known)| {
        let same = |other: &PlannedJob| other.node == wanted.node && other.pod.claim == wanted.pod.claim;
        planned.jobs().iter().zip(&known.jobs).any(|(planned, known)| same(planned) && is_up(known))
    })
}

fn touches(step: &PlannedStep, claim: &str) -> bool {
    match &step.work {
        Work::PodRun { jobs } => jobs.iter().any(|job| job.pod.claim == claim),
        Work::Errand(errand) => match errand {
            Errand::Uplink(it) | Errand::Downlink(it) => it.claim == claim,
            Errand::FilesList(it) => it.claim.as_ref().is_none_or(|its| its == claim),
            Errand::FilesDelete(it) => it.claim == claim,
            Errand::FilesMove(it) => it.claim == claim,
            Errand::Build(_) | Errand::ImageLoad(_) => true,
            Errand::ImageList(_) | Errand::PodLogs(_) | Errand::PodStop(_) => false,
        },
    }
}
