//! `wait`: until parts are in a wanted state, cannot get there any more, or time is up.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Desk;
use super::answer::{Asked, Failure};
use super::id::{Named, resolve, status_of};
use crate::outcome::State as Condition;
use crate::sequence::event::Target;

/// Parts that one wait may be for.
const IDS_MAX: usize = 1000;

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

pub(super) async fn wait(State(desk): State<Desk>, Asked(query): Asked<WaitQuery>) -> Result<Json<Waited>, Failure> {
    let wanted: Vec<Condition> = match &query.wanted {
        Some(text) => text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(Failure::bad_request)?,
        None => Condition::ALL.into_iter().filter(|state| state.ended()).collect(),
    };
    let ids: Vec<&str> = query.ids.split(',').collect();
    if ids.len() > IDS_MAX {
        return Err(Failure::bad_request(format!("{} ids, the limit is {IDS_MAX}", ids.len())));
    }
    let mut named = Vec::new();
    for id in &ids {
        named.push(resolve(&desk, id).await?);
    }
    let look = async {
        let mut snapshots = desk.handle.snapshots();
        loop {
            let parts = look(&desk, &ids, &named, &wanted).await?;
            if let Some(outcome) = judge(&parts, query.any) {
                return Ok(Waited { outcome, parts });
            }
            if snapshots.changed().await.is_err() {
                return Ok(Waited { outcome: WaitOutcome::Timeout, parts });
            }
        }
    };
    let waited = match query.timeout_ms {
        None => look.await,
        Some(millis) => match tokio::time::timeout(Duration::from_millis(millis.max(1)), look).await {
            Ok(waited) => waited,
            Err(_) => {
                let parts = self::look(&desk, &ids, &named, &wanted).await?;
                let outcome = judge(&parts, query.any).unwrap_or(WaitOutcome::Timeout);
                Ok(Waited { outcome, parts })
            }
        },
    };
    waited.map(Json)
}

async fn look(desk: &Desk, ids: &[&str], named: &[Named], wanted: &[Condition]) -> Result<Vec<WaitedPart>, Failure> {
    let mut parts = Vec::new();
    for (id, named) in ids.iter().zip(named) {
        let status = status_of(desk, &desk.handle.snapshot(), named.status.execution).await?;
        let state = match named.target {
            Target::Execution => status.state,
            Target::Step(step) => status.steps[step].state,
            Target::Unit(step, unit) => status.steps[step].unit_state(unit),
            Target::Job(step, job) => status.steps[step].jobs[job].state,
        };
        parts.push(WaitedPart { id: (*id).to_owned(), state, reached: wanted.contains(&state) });
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
