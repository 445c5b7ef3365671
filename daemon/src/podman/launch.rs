//! Starts containers that were prepared: each once, whatever becomes of the answers.
//!
//! A start that was not answered may have started a process that Podman does not know of, because it was killed between
//! the two. Such a container looks as if it had only been prepared, or was cleaned up since and looks as if it were new:
//! Podman would run it again. So only one that is as it was prepared is started, and when a second start is refused, the
//! first may have done it.
//! Must not: start what may have lived.

use super::api::{ApiError, Endpoint};
use super::driver::{Driver, Occasion, SETTLE};
use super::failure;
use crate::sequence::event::Report;
use crate::sequence::state::{AttemptId, JobState};
use crate::sequence::{Board, Execution};

impl Driver {
    pub(super) async fn launch(&self, execution: &Execution, members: Vec<(AttemptId, String)>, occasion: Occasion) {
        // Look at all before starting any: the starts then follow each other without a pause.
        let mut ready = self.not_started(execution, members).await;
        if occasion == Occasion::Resumed && !ready.is_empty() {
            tokio::time::sleep(SETTLE).await;
            ready = self.not_started(execution, ready).await;
        }
        for (attempt, container) in ready {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { continue };
            let report = self.start(endpoint, attempt, &container, occasion).await;
            if let Some(report) = report {
                self.tell(attempt, report).await;
            }
        }
    }

    /// Those of these containers that are there and have not started; the others are told of.
    async fn not_started(&self, execution: &Execution, members: Vec<(AttemptId, String)>) -> Vec<(AttemptId, String)> {
        let mut ready = Vec::new();
        for (attempt, container) in members {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { continue };
            let found = self.answered(endpoint, launching(attempt), || endpoint.inspect(&container)).await;
            match found {
                None => {}
                Some(Ok(found)) if found.state.has_started() => self.tell(attempt, Report::Started).await,
                Some(Ok(found)) if found.state.is_initialised() => ready.push((attempt, container)),
                Some(Ok(_) | Err(ApiError::NotFound(_))) => self.tell(attempt, Report::Lost).await,
                Some(Err(error)) => self.tell(attempt, Report::NotStarted(failure::reason(&error))).await,
            }
        }
        ready
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

fn launching(attempt: AttemptId) -> impl Fn(&Board) -> bool {
    move |board| matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Launching { .. }))
}
