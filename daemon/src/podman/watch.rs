//! Notices that the process of a container has ended, and tells how.
//!
//! Where the process can be held by a descriptor, its end is known at once, and nothing is asked while it lives.
//! Elsewhere Podman's wait call returns, a quarter of a second late. Either way inspect says how it ended.
//! Must not: take an exit code from anything but inspect.

use std::time::Duration;

use super::accounting;
use super::api::{ApiError, Endpoint};
use super::driver::{Driver, Occasion, RETRY_MAX};
use super::inspected::Inspected;
use super::process::{NotHeld, Process};
use crate::config::ExitPath;
use crate::sequence::event::Report;
use crate::sequence::state::{AttemptId, JobState};
use crate::sequence::{Board, Execution};

/// One wait of Podman's for an exit; then inspect is asked, in case the wait was lost on its side.
const WAIT: Duration = Duration::from_secs(30);
/// Pause when a wait ended and the process still lives.
const WAIT_PAUSE: Duration = Duration::from_millis(50);
/// A process that is held is looked at this often all the same: a Podman that is away is noticed, and a container whose
/// process is not the one that is held. Rare enough for a Podman that sleeps in between.
const HELD_LOOK: Duration = Duration::from_secs(120);
/// Pauses between looks once the end was noticed: conmon writes down the exit code some milliseconds later.
const GONE_FIRST: Duration = Duration::from_millis(2);
const GONE_MAX: Duration = Duration::from_millis(256);

/// First pause after a look that was refused: a container whose process is just going is in Podman's hands.
const REFUSED_FIRST: Duration = Duration::from_millis(5);

/// How the end of a process is noticed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// By its descriptor.
    Held,
    /// It has ended; Podman will know after a pause.
    Gone(Duration),
    /// By Podman.
    Asked,
}

impl Driver {
    /// Watches an attempt until its end is told, or nobody wants to know of it any more.
    pub(super) async fn watch(&self, execution: &Execution, attempt: AttemptId, container: &str, occasion: Occasion) {
        let mut taken_up = occasion == Occasion::Resumed;
        let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { return };
        let mut notice = match self.settings.exit_path {
            ExitPath::Auto => Notice::Held,
            ExitPath::Api => Notice::Asked,
        };
        let mut refused = REFUSED_FIRST;
        loop {
            match self.answered(endpoint, living(attempt), || endpoint.inspect(container)).await {
                None => return,
                Some(Ok(found)) if found.state.alive() => {
                    if std::mem::take(&mut taken_up) {
                        self.handle.seen(attempt).await;
                    }
                    match self.next(endpoint, attempt, &found, notice).await {
                        Some(next) => (notice, refused) = (next, REFUSED_FIRST),
                        None => return,
                    }
                }
                // A boot resets containers to `created`, with an exit code of 0: that is no end.
                Some(Ok(found)) if !found.state.has_ended() => return self.tell(attempt, Report::Lost).await,
                // A Podman that stops answering just now is asked from the start.
                Some(Ok(found)) => match self.export(endpoint, execution, attempt, &found).await {
                    Ok(()) => {
                        let pod = &Self::job(execution, attempt).pod;
                        let exit = accounting::exit(endpoint, pod, &attempt, &found.state).await;
                        return self.tell(attempt, Report::Exited(exit)).await;
                    }
                    Err(error) => tracing::warn!(%container, %error, "failed to take console output, will try again"),
                },
                Some(Err(ApiError::NotFound(_))) => return self.tell(attempt, Report::Lost).await,
                Some(Err(error)) => {
                    tracing::warn!(%container, %error, "failed to look at a container, will look again");
                    tokio::time::sleep(refused).await;
                    refused = (refused * 4).min(RETRY_MAX);
                }
            }
            if !living(attempt)(&self.handle.snapshot().board) {
                return;
            }
        }
    }

    /// Waits until another look at a process that lived a moment ago is due. `None`: nobody wants it any more.
    async fn next(&self, endpoint: &Endpoint, attempt: AttemptId, found: &Inspected, notice: Notice) -> Option<Notice> {
        tracing::debug!(container = %found.id, status = %found.state.status, ?notice, "watch");
        match notice {
            Notice::Held => return Some(held(found).await),
            Notice::Gone(pause) if pause <= GONE_MAX => {
                tokio::time::sleep(pause).await;
                return Some(Notice::Gone(pause * 2));
            }
            Notice::Gone(_) | Notice::Asked => {}
        }
        let waited = self.answered(endpoint, living(attempt), || endpoint.wait(&found.id, WAIT)).await?;
        if let Err(error) = waited {
            tracing::debug!(container = %found.id, %error, "a wait was refused");
        }
        tokio::time::sleep(WAIT_PAUSE).await;
        Some(Notice::Asked)
    }
}

/// Waits for the end of a process by its descriptor.
async fn held(found: &Inspected) -> Notice {
    match Process::of(found) {
        Ok(process) => match tokio::time::timeout(HELD_LOOK, process.ended()).await {
            Ok(()) => Notice::Gone(GONE_FIRST),
            Err(_) => Notice::Held,
        },
        Err(NotHeld::Gone) => Notice::Gone(GONE_FIRST),
        Err(NotHeld::Foreign) => {
            tracing::debug!(container = %found.id, "a process cannot be held, its end is asked of podman");
            Notice::Asked
        }
    }
}

/// Whether the board still wants to know of the end of an attempt.
fn living(attempt: AttemptId) -> impl Fn(&Board) -> bool {
    move |board| {
        matches!(
            board.job(&attempt).map(|job| &job.state),
            Some(JobState::Running { .. } | JobState::Paused { .. } | JobState::Stopping { .. })
        )
    }
}
