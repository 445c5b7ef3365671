//! `wait`: until parts are in a wanted state, cannot get there any more, or time is up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Desk;
use super::answer::{Asked, Failure};
use super::id::{IDS_MAX, Named, jobs_of, resolve, status_of, steps_of};
use crate::bundle::ExecutionId;
use crate::outcome::State as Condition;
use crate::sequence::event::Target;
use crate::view::{ExecutionStatus, JobStatus};

#[derive(Debug, Deserialize)]
pub(super) struct WaitQuery {
    ids: String,
    #[serde(rename = "for")]
    wanted: Option<String>,
    #[serde(default)]
    any: bool,
    timeout_ms: Option<u64>,
}

/// The answer to a wait.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Waited {
    /// How it came out.
    pub(super) outcome: WaitOutcome,
    /// Where each part is, in the order asked.
    pub(super) parts: Vec<WaitedPart>,
}

/// How a wait came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WaitOutcome {
    /// All parts (any, if that was asked) are in a wanted state.
    Reached,
    /// Time is up.
    Timeout,
    /// A part ended in another state (all did, if any was asked for).
    Unreachable,
}

/// Where a part is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WaitedPart {
    /// As it was asked for.
    pub(super) id: String,
    /// Its state.
    pub(super) state: Condition,
    /// Whether that is wanted.
    pub(super) reached: bool,
}

/// What a part is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    states: Vec<Condition>,
    /// That a process of it lives or has lived.
    started: bool,
}

/// Besides the names of states: whatever comes after the start of a process.
const STARTED: &str = "started";

impl Wanted {
    fn read(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            let ended = Condition::ALL.into_iter().filter(|state| state.ended());
            return Ok(Self { states: ended.collect(), started: false });
        };
        let (started, names): (Vec<&str>, Vec<&str>) = text.split(',').partition(|name| *name == STARTED);
        let states = names.into_iter().map(str::parse).collect::<Result<_, _>>();
        let states = states.map_err(|why: String| Failure::bad_request(format!("{why}, {STARTED}")))?;
        Ok(Self { states, started: !started.is_empty() })
    }

    fn holds(&self, state: Condition, ran: bool) -> bool {
        self.states.contains(&state) || (self.started && ran)
    }
}

pub(super) async fn wait(State(desk): State<Desk>, Asked(query): Asked<WaitQuery>) -> Result<Json<Waited>, Failure> {
    let wanted = Wanted::read(query.wanted.as_deref())?;
    let ids: Vec<&str> = query.ids.split(',').collect();
    if ids.len() > IDS_MAX {
        return Err(Failure::bad_request(format!("{} ids, the limit is {IDS_MAX}", ids.len())));
    }
    let mut named = Vec::new();
    for id in &ids {
        let one = resolve(&desk, id).await?;
        // A group is its steps: it has no state of its own.
        let parts: Vec<(String, Named)> = match one.target {
            Target::Group(_) => {
                let step = |step: usize| {
                    (format!("{}.{}", one.status.execution, one.status.steps[step].id), Target::Step(step))
                };
                let steps = one.steps().into_iter().map(step);
                steps.map(|(id, target)| (id, Named { target, ..one.clone() })).collect()
            }
            Target::Execution | Target::Step(_) | Target::Unit(..) | Target::Job(..) => vec![((*id).to_owned(), one)],
        };
        named.extend(parts);
    }
    let until_decided = async {
        let mut snapshots = desk.handle.snapshots();
        loop {
            let parts = look(&desk, &named, &wanted).await?;
            if let Some(outcome) = judge(&parts, query.any) {
                return Ok(Waited { outcome, parts });
            }
            if snapshots.changed().await.is_err() {
                return Ok(Waited { outcome: WaitOutcome::Timeout, parts });
            }
        }
    };
    let limit = query.timeout_ms.map(Duration::from_millis);
    let waited = match limit {
        None => Some(until_decided.await),
        // Looks once.
        Some(Duration::ZERO) => None,
        Some(limit) => tokio::time::timeout(limit, until_decided).await.ok(),
    };
    match waited {
        Some(waited) => waited.map(Json),
        None => {
            let parts = look(&desk, &named, &wanted).await?;
            let outcome = judge(&parts, query.any).unwrap_or(WaitOutcome::Timeout);
            Ok(Json(Waited { outcome, parts }))
        }
    }
}

async fn look(desk: &Desk, named: &[(String, Named)], wanted: &Wanted) -> Result<Vec<WaitedPart>, Failure> {
    let snapshot = desk.handle.snapshot();
    let mut statuses: BTreeMap<ExecutionId, ExecutionStatus> = BTreeMap::new();
    let mut parts = Vec::new();
    for (id, named) in named {
        let execution = named.status.execution;
        if let Entry::Vacant(vacant) = statuses.entry(execution) {
            vacant.insert(status_of(desk, &snapshot, execution).await?);
        }
        let status = &statuses[&execution];
        let jobs = || jobs_of(status, named.target).into_iter().map(|(step, job)| &status.steps[step].jobs[job]);
        // Of an attempt that is to be repeated nobody tells when it started.
        let repeated = |job: &JobStatus| matches!(job.state, Condition::Requeued | Condition::RequeuedHeld);
        let ran = jobs().any(|job| job.started_at.is_some() || job.attempt > 1 + job.withdrawn || repeated(job))
            || steps_of(status, named.target).into_iter().any(|step| {
                let step = &status.steps[step];
                step.jobs.is_empty() && step.started_at.is_some()
            });
        let state = match named.target {
            Target::Execution | Target::Group(_) => status.state,
            Target::Step(step) => status.steps[step].state,
            Target::Unit(step, unit) => status.steps[step].unit_state(unit),
            Target::Job(step, job) => status.steps[step].jobs[job].state,
        };
        parts.push(WaitedPart { id: id.clone(), state, reached: wanted.holds(state, ran) });
    }
    Ok(parts)
}

/// What the parts amount to: `None` while it is open.
fn judge(parts: &[WaitedPart], any: bool) -> Option<WaitOutcome> {
    let lost = |part: &WaitedPart| !part.reached && part.state.ended();
    let mut all = parts.iter();
    let (reached, unreachable) = if any {
        (parts.iter().any(|part| part.reached), all.all(lost))
    } else {
        (parts.iter().all(|part| part.reached), all.any(lost))
    };
    match (reached, unreachable) {
        (true, _) => Some(WaitOutcome::Reached),
        (false, true) => Some(WaitOutcome::Unreachable),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(state: Condition, reached: bool) -> WaitedPart {
        WaitedPart { id: "x".to_owned(), state, reached }
    }

    #[test]
    fn started_is_what_has_a_process_or_had_one() {
        let wanted = Wanted::read(Some("started,held")).expect("legal");
        assert!(wanted.holds(Condition::Held, false), "named besides");
        for state in [Condition::Running, Condition::Paused, Condition::Failed, Condition::Skipped] {
            assert!(wanted.holds(state, true) && !wanted.holds(state, false), "{state:?}");
        }
        assert!(Wanted::read(Some("begun")).is_err());
        let ended: Vec<_> = Condition::ALL.into_iter().filter(|state| state.ended()).collect();
        assert_eq!(Wanted::read(None).expect("legal"), Wanted { states: ended, started: false });
    }

    #[test]
    fn all_must_be_there_and_one_lost_part_loses_the_wait() {
        let (done, lost, open) =
            (part(Condition::Succeeded, true), part(Condition::Failed, false), part(Condition::Running, false));
        assert_eq!(judge(&[done.clone(), done.clone()], false), Some(WaitOutcome::Reached));
        assert_eq!(judge(&[done.clone(), open.clone()], false), None);
        assert_eq!(judge(&[open.clone(), lost.clone()], false), Some(WaitOutcome::Unreachable));
        assert_eq!(judge(&[open.clone(), lost.clone()], true), None);
        assert_eq!(judge(&[done, lost.clone()], true), Some(WaitOutcome::Reached));
        assert_eq!(judge(&[lost], true), Some(WaitOutcome::Unreachable));
    }
}
