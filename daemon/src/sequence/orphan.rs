//! Which containers are orphans: made for this ledger, and known to no attempt that may still have one.
//!
//! A container is ours when its labels name this ledger and its name is made of the other labels: a label alone may have
//! come with an image. Only what is known is judged: where the past cannot be read, nothing of it is an orphan.
//! Must not: do more than name them, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use super::effect::Disposal;
use super::state::{Board, Execution};
use super::unit::disposal;
use crate::bundle::ExecutionId;

/// The label that names the ledger which a container was made for.
pub const LEDGER: &str = "perigee.ledger";
/// The labels that name its attempt, and the one that says what it is.
pub const KIND: &str = "perigee";
/// See [`KIND`].
pub const CONTAINER: &str = "container";
/// See [`KIND`].
pub const EXECUTION: &str = "perigee.execution";
/// See [`KIND`].
pub const STEP: &str = "perigee.step";
/// See [`KIND`].
pub const JOB: &str = "perigee.job";
/// See [`KIND`].
pub const ATTEMPT: &str = "perigee.attempt";

/// Identity of a ledger: what tells the containers of two daemons on one Podman apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerId(Uuid);

impl LedgerId {
    /// Wraps a UUID.
    #[must_use]
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

impl FromStr for LedgerId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A container as Podman lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Podman's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether these labels name another ledger, whatever the name of their container. What carries no ledger's label was
/// made before there was one.
#[must_use]
pub fn name_another(labels: &BTreeMap<String, String>, ledger: Option<LedgerId>) -> bool {
    labels.get(LEDGER).is_some_and(|named| ledger.is_none_or(|ledger| named.parse() != Ok(ledger)))
}

/// What is known of an execution that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// How it was when it ended.
    Kept(Arc<Execution>),
    /// It was forgotten.
    Forgotten,
    /// What is kept of it cannot be read now.
    Unreadable,
}

/// A container that nobody wants any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Podman's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why a container is an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The ledger has never known its execution.
    UnknownExecution,
    /// Its execution was purged, or is beyond the limits of what is kept.
    Forgotten,
    /// Its execution has no such step, job or attempt.
    UnknownAttempt,
    /// Another attempt of its job was made since.
    EarlierAttempt,
    /// Its attempt is over, and nothing of it was to be kept.
    Over,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownExecution => "the ledger knows no such execution",
            Self::Forgotten => "its execution was purged or forgotten",
            Self::UnknownAttempt => "its execution has no such attempt",
            Self::EarlierAttempt => "another attempt of its job was made since",
            Self::Over => "its attempt is over and cleared",
        })
    }
}

/// The attempt that the labels of a container name.
struct Claim<'a> {
    execution: ExecutionId,
    step: &'a str,
    job: usize,
    attempt: u32,
}

/// The executions that the containers of a ledger are said to be of.
#[must_use]
pub fn executions(listed: &[Listed], ledger: LedgerId) -> BTreeSet<ExecutionId> {
    listed.iter().filter_map(|container| claim(container, ledger)).map(|claim| claim.execution).collect()
}

/// The orphans among these containers. `past` tells of executions that have ended; what it does not name is left alone.
#[must_use]
pub fn orphans(listed: &[Listed], ledger: LedgerId, board: &Board, past: &BTreeMap<ExecutionId, Past>) -> Vec<Orphan> {
    let orphan = |container: &Listed| {
        let why = why(&claim(container, ledger)?, board, past)?;
        Some(Orphan { id: container.id.clone(), name: container.name.clone(), why })
    };
    listed.iter().filter_map(orphan).collect()
}

/// What a container says of itself, if it is one that this ledger's daemon has made.
fn claim(container: &Listed, ledger: LedgerId) -> Option<Claim<'_>> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    if label(KIND)? != CONTAINER || label(LEDGER)?.parse() != Ok(ledger) {
        return None;
    }
    let claim = Claim {
        execution: label(EXECUTION)?.parse().ok()?,
        step: label(STEP)?,
        job: label(JOB)?.parse().ok()?,
        attempt: label(ATTEMPT)?.parse().ok()?,
    };
    let (first, last) = (format!("{}.{}.", claim.execution.short(), claim.step), format!(".{}", claim.attempt));
    (container.name.starts_with(&first) && container.name.ends_with(&last)).then_some(claim)
}

fn why(claim: &Claim<'_>, board: &Board, past: &BTreeMap<ExecutionId, Past>) -> Option<Why> {
    if let Some(live) = board.live.get(&claim.execution) {
        return why_of(live, claim);
    }
    if !board.ended.contains(&claim.execution) {
        return Some(Why::UnknownExecution);
    }
    match past.get(&claim.execution) {
        None | Some(Past::Unreadable) => None,
        Some(Past::Forgotten) => Some(Why::Forgotten),
        Some(Past::Kept(ended)) => why_of(ended, claim),
    }
}

fn why_of(execution: &Execution, claim: &Claim<'_>) -> Option<Why> {
    let step = execution.plan.steps.iter().position(|step| step.id.to_string() == claim.step);
    let known = step.and_then(|step| Some((step, execution.steps.get(step)?.jobs.get(claim.job)?)));
    if known.is_some_and(|(_, job)| job.ahead_attempt() == Some(claim.attempt)) {
        return None;
    }
    let Some((step, job)) = known.filter(|(_, job)| claim.attempt <= job.attempt) else {
        return Some(Why::UnknownAttempt);
    };
    if claim.attempt < job.attempt {
        return Some(Why::EarlierAttempt);
    }
    let kept = job.ended() && disposal(execution, step, claim.job) == Disposal::Keep;
    (!job.occupies() && !kept).then_some(Why::Over)
}
