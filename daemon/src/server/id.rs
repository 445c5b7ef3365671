//! Reads an `ID`: an execution (or a unique prefix of at least 6 characters, or `NAME-EXECUTION` as `run` prints it),
//! `EXECUTION.group:N`, `EXECUTION.STEP`, `EXECUTION.STEP.INDEX`, and members of gangs such as `EXECUTION.STEP.worker-0`.

use super::Desk;
use super::answer::{Failure, blocking};
use crate::bundle::ExecutionId;
use crate::handle::Snapshot;
use crate::sequence::event::Target;
use crate::view::{self, ExecutionStatus};

/// Shortest prefix of an execution id that is looked up.
const PREFIX_MIN: usize = 6;
/// Parts that one request may be about.
pub(super) const IDS_MAX: usize = 1000;
/// Characters of a whole execution id.
const UUID_CHARS: usize = 36;
/// What a merge group is asked for by.
const GROUP: &str = "group:";

/// A resolved `ID`.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// The execution, as it is now.
    pub(super) status: ExecutionStatus,
    /// The part of it.
    pub(super) target: Target,
}

impl Named {
    /// The jobs of the part, by step and position.
    pub(super) fn jobs(&self) -> Vec<(usize, usize)> {
        jobs_of(&self.status, self.target)
    }

    /// The steps that the part lies in.
    pub(super) fn steps(&self) -> Vec<usize> {
        steps_of(&self.status, self.target)
    }

    /// The ids that events about the part begin with.
    pub(super) fn ids(&self) -> Vec<String> {
        let execution = self.status.execution;
        match self.target {
            Target::Execution => vec![execution.to_string()],
            Target::Group(_) | Target::Step(_) => {
                self.steps().into_iter().map(|step| format!("{execution}.{}", self.status.steps[step].id)).collect()
            }
            Target::Unit(..) | Target::Job(..) => {
                self.jobs().into_iter().map(|(step, job)| self.status.steps[step].jobs[job].id.clone()).collect()
            }
        }
    }
}

/// The jobs of a part, by step and position; a fan-out may have got more since it was named.
pub(super) fn jobs_of(status: &ExecutionStatus, target: Target) -> Vec<(usize, usize)> {
    let all = |step: usize| (0..status.steps[step].jobs.len()).map(move |job| (step, job));
    match target {
        Target::Execution | Target::Group(_) | Target::Step(_) => {
            steps_of(status, target).into_iter().flat_map(all).collect()
        }
        Target::Unit(step, unit) => all(step).filter(|(_, job)| status.steps[step].jobs[*job].unit == unit).collect(),
        Target::Job(step, job) => vec![(step, job)],
    }
}

/// The steps that a part lies in.
pub(super) fn steps_of(status: &ExecutionStatus, target: Target) -> Vec<usize> {
    let steps = 0..status.steps.len();
    match target {
        Target::Execution => steps.collect(),
        Target::Group(group) => steps.filter(|step| status.steps[*step].group == Some(group)).collect(),
        Target::Step(step) | Target::Unit(step, _) | Target::Job(step, _) => vec![step],
    }
}

/// Resolves an `ID`.
///
/// # Errors
/// When it is malformed, ambiguous or unknown.
pub(super) async fn resolve(desk: &Desk, text: &str) -> Result<Named, Failure> {
    let (execution, rest) = match text.split_once('.') {
        Some((execution, rest)) => (execution, Some(rest)),
        None => (text, None),
    };
    let (id, name) = find(desk, execution).await?;
    let status = status_of(desk, &desk.handle.snapshot(), id).await?;
    if name.is_some_and(|name| name != status.operation.as_str()) {
        return Err(Failure::not_found(format!("there is no execution `{execution}`")));
    }
    let Some(rest) = rest else {
        return Ok(Named { status, target: Target::Execution });
    };
    match part(&status, rest) {
        Some(target) => Ok(Named { status, target }),
        None => Err(Failure::not_found(format!("there is no step or job `{text}`"))),
    }
}

/// The part of an execution that the rest of an `ID` names.
fn part(status: &ExecutionStatus, rest: &str) -> Option<Target> {
    if let Some(number) = rest.strip_prefix(GROUP) {
        let group = number.parse().ok()?;
        return status.steps.iter().any(|step| step.group == Some(group)).then_some(Target::Group(group));
    }
    let (step_id, index) = match rest.split_once('.') {
        Some((step_id, index)) => (step_id, Some(index)),
        None => (rest, None),
    };
    let step = status.steps.iter().position(|step| step.id.as_str() == step_id)?;
    let Some(index) = index else { return Some(Target::Step(step)) };
    let jobs = &status.steps[step].jobs;
    let full = format!("{}.{step_id}.{index}", status.execution);
    if let Some(job) = jobs.iter().position(|job| job.id == full) {
        return Some(Target::Job(step, job));
    }
    let within = format!("{full}.");
    jobs.iter().find(|job| job.id.starts_with(&within)).map(|job| Target::Unit(step, job.unit))
}

/// The execution that a text names, and the name of the operation that it must have, if the text says one.
async fn find<'a>(desk: &Desk, text: &'a str) -> Result<(ExecutionId, Option<&'a str>), Failure> {
    if let Ok(id) = text.parse::<ExecutionId>() {
        return Ok((id, None));
    }
    let split = text.len().checked_sub(UUID_CHARS).filter(|at| text.is_char_boundary(*at));
    if let Some((name, id)) = split.map(|at| text.split_at(at))
        && let (Some(name), Ok(id)) = (name.strip_suffix('-'), id.parse::<ExecutionId>())
    {
        return Ok((id, Some(name)));
    }
    let digits = text.replace('-', "").to_lowercase();
    let legal = digits.len() >= PREFIX_MIN && digits.len() <= 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
    if !legal {
        let message =
            format!("`{text}` is no execution id; expected a UUID or at least {PREFIX_MIN} of its first characters");
        return Err(Failure::bad_request(message));
    }
    let snapshot = desk.handle.snapshot();
    let live = snapshot.board.live.keys().filter(|id| id.to_string().replace('-', "").starts_with(&digits)).copied();
    let mut found: Vec<ExecutionId> = live.collect();
    let (queries, prefix) = (desk.open_queries()?, digits.clone());
    found.extend(blocking(move || queries.index().with_prefix(&prefix)).await?);
    match found.as_slice() {
        [one] => Ok((*one, None)),
        [] => Err(Failure::not_found(format!("there is no execution `{text}`"))),
        [..] => Err(Failure::bad_request(format!("`{text}` begins several execution ids; give more of it"))),
    }
}

/// The execution that an `ID` names as a whole; of a forgotten one its full id is enough.
///
/// # Errors
/// When it is malformed, ambiguous or unknown.
pub(super) async fn named(desk: &Desk, text: &str) -> Result<ExecutionId, Failure> {
    match text.parse() {
        Ok(id) if desk.handle.snapshot().board.ended.contains(&id) => Ok(id),
        _ => Ok(resolve(desk, text).await?.status.execution),
    }
}

/// The status of an execution, live or ended.
///
/// # Errors
/// When there is none.
pub(super) async fn status_of(desk: &Desk, snapshot: &Snapshot, id: ExecutionId) -> Result<ExecutionStatus, Failure> {
    if let Some(execution) = snapshot.board.live.get(&id) {
        return Ok(view::status(execution, Some(snapshot.around())));
    }
    let queries = desk.open_queries()?;
    let ended = blocking(move || queries.index().get(id)).await?;
    ended.map(|ended| ended.status).ok_or_else(|| {
        let why = match snapshot.board.ended.contains(&id) {
            true => format!("execution `{id}` has ended and was forgotten (purged, or beyond `retention`): only its identity is kept"),
            false => format!("there is no execution `{id}`"),
        };
        Failure::not_found(why)
    })
}
