//! Starts containers that were prepared: each once, whatever becomes of the answers.
//!
//! A start that was not answered may have started a process that Podman does not know of, because it was killed between
//! the two. So before a second start Podman is told to look at the runtime; and a container that is no longer as it was
//! prepared has been cleaned up behind a process, so its fate is not known.
//! Must not: start what may have lived.

use super::api::{ApiError, Endpoint};
use super::driver::{Driver, Occasion, SETTLE};
use super::failure;
use super::inspected::Inspected;
use crate::sequence::event::Report;
use crate::sequence::state::{AttemptId, JobState};
use crate::sequence::{Board, Execution};

impl Driver {
    pub(super) async fn launch(&self, execution: &Execution, members: Vec<(AttemptId, String)>, occasion: Occasion) {
        // Look at all before starting any: the starts then follow each other without a pause.
        let mut ready = self.not_started(execution, members, Occasion::Decided).await;
        if occasion == Occasion::Resumed && !ready.is_empty() {
            tokio::time::sleep(SETTLE).await;
            ready = self.not_started(execution, ready, occasion).await;
        }
        for (attempt, container) in ready {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { continue };
            let report = self.start(endpoint, attempt, &container).await;
            if let Some(report) = report {
                self.tell(attempt, report).await;
            }
        }
    }

    /// Those of these containers that are there and have not started; the others are told of.
    async fn not_started(
        &self,
        execution: &Execution,
        members: Vec<(AttemptId, String)>,
        occasion: Occasion,
    ) -> Vec<(AttemptId, String)> {
        let mut ready = Vec::new();
        for (attempt, container) in members {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { continue };
            let found = self.answered(endpoint, launching(attempt), || look(endpoint, &container, occasion));
            match found.await {
                None => {}
                Some(Ok(found)) if found.state.has_started() => self.tell(attempt, Report::Started).await,
                Some(Ok(found)) if found.state.is_initialised() => ready.push((attempt, container)),
                Some(Ok(_) | Err(ApiError::NotFound(_))) => self.tell(attempt, Report::Lost).await,
                Some(Err(error)) => self.tell(attempt, Report::NotStarted(failure::reason(&error))).await,
            }
        }
        ready
    }

    /// Starts a container. When the answer to that is lost, Podman says whether its process has lived; it is started
    /// again only when the first start, which may still be on its way, has had its time.
    async fn start(&self, endpoint: &Endpoint, attempt: AttemptId, container: &str) -> Option<Report> {
        loop {
            let Err(error) = endpoint.start(container).await else {
                return Some(Report::Started);
            };
            let mut found = self.answered(endpoint, launching(attempt), || endpoint.inspect(container)).await?;
            if error.unreachable() && found.as_ref().is_ok_and(|found| !found.state.has_started()) {
                tokio::time::sleep(SETTLE).await;
                let again = || look(endpoint, container, Occasion::Resumed);
                found = self.answered(endpoint, launching(attempt), again).await?;
            }
            return Some(match found {
                Ok(found) if found.state.has_started() => Report::Started,
                Ok(_) if !error.unreachable() => Report::NotStarted(failure::reason(&error)),
                Ok(found) if found.state.is_initialised() => continue,
                Ok(_) | Err(ApiError::NotFound(_)) => Report::Lost,
                Err(error) => Report::NotStarted(failure::reason(&error)),
            });
        }
    }
}

/// What a container is; where a start may have gone by unnoticed, Podman asks the runtime before.
async fn look(endpoint: &Endpoint, container: &str, occasion: Occasion) -> Result<Inspected, ApiError> {
    match occasion {
        Occasion::Decided => {}
        Occasion::Resumed => match endpoint.synchronise(container).await {
            Ok(()) => {}
            Err(error) if error.unreachable() => return Err(error),
            Err(error) => tracing::warn!(%container, %error, "podman failed to ask its runtime for a container"),
        },
    }
    endpoint.inspect(container).await
}

fn launching(attempt: AttemptId) -> impl Fn(&Board) -> bool {
    move |board| matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Launching { .. }))
}
