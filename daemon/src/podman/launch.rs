//! Starts containers that were prepared, all members of a unit at once: each once, whatever becomes of the answers.
//!
//! A start that was not answered may have started a process that Podman does not know of, because it was killed between
//! the two. Such a container looks as if it had only been prepared, or was cleaned up since and looks as if it were new:
//! Podman would run it again. So only one that is as it was prepared is started, and when a second start is refused, the
//! first may have done it.
//! Must not: start what may have lived.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;

use super::api::{ApiError, Endpoint};
use super::driver::{Driver, Occasion, SETTLE};
use super::failure;
use super::turns::Start;
use crate::reason::{Name, Reason};
use crate::sequence::event::Report;
use crate::sequence::state::{AttemptId, JobState};
use crate::sequence::{Board, Execution};

/// Containers that are started at once. One start keeps Podman busy for 13 ms, most of it in the kernel and on the way
/// there; more at once than this only wait for each other.
const AT_ONCE: usize = 8;

impl Driver {
    /// Starts the members of a unit and tells of each.
    pub(super) async fn launch(
        &self,
        execution: &Execution,
        members: Vec<(AttemptId, String)>,
        (occasion, _start): (Occasion, Start),
    ) {
        let mut ready = self.not_started(execution, members, occasion).await;
        if occasion == Occasion::Resumed && !ready.is_empty() {
            tokio::time::sleep(SETTLE).await;
            ready = self.not_started(execution, ready, occasion).await;
        }
        let starts = stream::iter(ready).map(|(attempt, container)| async move {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { return };
            if let Some(report) = self.start(endpoint, attempt, &container, occasion).await {
                self.tell(attempt, report).await;
            }
        });
        starts.for_each_concurrent(AT_ONCE, |start| start).await;
    }

    /// Those of these containers that are there and have not started; the others are told of. All are looked at before
    /// any is started.
    async fn not_started(
        &self,
        execution: &Execution,
        members: Vec<(AttemptId, String)>,
        occasion: Occasion,
    ) -> Vec<(AttemptId, String)> {
        let looks = members.into_iter().map(|(attempt, container)| async move {
            let endpoint = self.endpoint(&Self::job(execution, attempt).node).ok()?;
            let found = self.answered(endpoint, launching(attempt), || endpoint.inspect(&container)).await;
            let report = match found? {
                Ok(found) if found.state.has_started() => Report::Started,
                Ok(found) if found.state.is_initialised() => return Some((attempt, container)),
                Ok(_) | Err(ApiError::NotFound(_)) if occasion == Occasion::Decided => Report::NotStarted(gone()),
                Ok(_) | Err(ApiError::NotFound(_)) => Report::Lost,
                Err(error) => Report::NotStarted(failure::reason(&error)),
            };
            self.tell(attempt, report).await;
            None
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// Starts a container. When the answer to that is lost, inspect says whether its process has lived; it is started
    /// again only when the first start, which may still be on its way, has had its time.
    async fn start(
        &self,
        endpoint: &Endpoint,
        attempt: AttemptId,
        container: &str,
        occasion: Occasion,
    ) -> Option<Report> {
        // Whether an earlier start may have done it.
        let mut in_doubt = occasion == Occasion::Resumed;
        loop {
            let Err(error) = endpoint.start(container).await else {
                return Some(Report::Started);
            };
            let mut found = self.answered(endpoint, launching(attempt), || endpoint.inspect(container)).await?;
            if error.unreachable() && found.as_ref().is_ok_and(|found| !found.state.has_started()) {
                tokio::time::sleep(SETTLE).await;
                found = self.answered(endpoint, launching(attempt), || endpoint.inspect(container)).await?;
            }
            return Some(match found {
                Ok(found) if found.state.has_started() => Report::Started,
                Ok(found) if error.unreachable() && found.state.is_initialised() => {
                    in_doubt = true;
                    continue;
                }
                Ok(_) if in_doubt || error.unreachable() => Report::Lost,
                Ok(_) => Report::NotStarted(failure::reason(&error)),
                Err(ApiError::NotFound(_)) => Report::Lost,
                Err(_) => Report::NotStarted(failure::reason(&error)),
            });
        }
    }
}

/// Nobody has asked for a start of it yet, so that it is known not to have run.
fn gone() -> Reason {
    Reason::new(
        Name::StartError,
        "its container was undone before it was started, not by the daemon; keep what cleans up podman away from it",
    )
}

/// Whether the board still wants an attempt started.
fn launching(attempt: AttemptId) -> impl Fn(&Board) -> bool {
    move |board| matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Launching { .. }))
}
