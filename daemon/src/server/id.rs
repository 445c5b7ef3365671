//! Reads an `ID`: an execution (or a unique prefix of at least 6 characters), `<execution>.<step>`, `<execution>.<step>.<index>`.

use super::Desk;
use super::answer::{Failure, blocking};
use crate::bundle::ExecutionId;
use crate::handle::Snapshot;
use crate::sequence::event::Target;
use crate::view::{self, ExecutionStatus};

/// Shortest prefix of an execution id that is looked up.
const PREFIX_MIN: usize = 6;

/// A resolved `ID`.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// The execution, as it is now.
    pub(super) status: ExecutionStatus,
    /// The part of it.
    pub(super) target: Target,
}

/// Resolves an `ID`.
///
/// # Errors
/// When it is malformed, ambiguous or unknown.
pub(super) async fn resolve(desk: &Desk, text: &str) -> Result<Named, Failure> {
    let mut parts = text.splitn(3, '.');
    let execution = find(desk, parts.next().unwrap_or_default()).await?;
    let status = status_of(desk, &desk.handle.snapshot(), execution).await?;
    let Some(step_id) = parts.next() else {
        return Ok(Named { status, target: Target::Execution });
    };
    let missing = |what: &str| Failure::not_found(format!("there is no {what} `{text}`"));
    let step = status.steps.iter().position(|step| step.id.as_str() == step_id).ok_or_else(|| missing("step"))?;
    let Some(index) = parts.next() else {
        return Ok(Named { status, target: Target::Step(step) });
    };
    let jobs = &status.steps[step].jobs;
    let full = format!("{}.{step_id}.{index}", status.execution);
    let target = match jobs.iter().position(|job| job.id == full) {
        Some(job) => Target::Job(step, job),
        None => {
            let member = jobs.iter().find(|job| job.id.starts_with(&format!("{full}.")));
            Target::Unit(step, member.ok_or_else(|| missing("job"))?.unit)
        }
    };
    Ok(Named { status, target })
}

async fn find(desk: &Desk, text: &str) -> Result<ExecutionId, Failure> {
    if let Ok(id) = text.parse::<ExecutionId>() {
        return Ok(id);
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
        [one] => Ok(*one),
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
            true => format!("execution `{id}` has ended and was forgotten (retention): only its identity is kept"),
            false => format!("there is no execution `{id}`"),
        };
        Failure::not_found(why)
    })
}
