//! Looks for orphans and removes them: once the ledger is open, and whenever a Podman that was away came back.
//!
//! What is an orphan in two looks, some time apart, is removed: SIGTERM, grace, SIGKILL. What the ledger cannot tell is
//! left alone; while it is not open nothing is looked for.
//! Must not: decide what an orphan is; `sequence::orphan` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::accounting::Group;
use super::api::{ApiError, Endpoint, LOOK};
use super::driver::SETTLE;
use super::freeze::told;
use super::health::Health;
use crate::bundle::ExecutionId;
use crate::config::Settings;
use crate::handle::{Handle, Snapshot};
use crate::ledger::Queries;
use crate::sequence::orphan::{self, LedgerId, Listed, Orphan, Past};
use crate::sequence::{Board, apply};

/// Pauses between looks while something could not be seen or removed.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Looks after the orphans on every Podman of the configuration.
#[derive(Debug, Clone)]
pub struct Orphans {
    settings: watch::Receiver<Arc<Settings>>,
    health: Health,
    handle: Handle,
    queries: watch::Receiver<Option<Queries>>,
}

/// What one look found.
#[derive(Debug, Default)]
struct Look {
    orphans: Vec<Orphan>,
    /// What was left alone because it could not be told: executions whose past cannot be read, and containers that were
    /// orphans only once.
    untold: usize,
}

impl Orphans {
    /// One that looks at nothing yet.
    #[must_use]
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        health: Health,
        handle: Handle,
        queries: watch::Receiver<Option<Queries>>,
    ) -> Self {
        Self { settings, health, handle, queries }
    }

    /// Looks after each Podman in a task of its own: one that hangs keeps no other waiting.
    pub async fn watch(mut self) {
        let mut known = BTreeSet::new();
        loop {
            let sockets: Vec<PathBuf> = self.settings.borrow_and_update().nodes.values().cloned().collect();
            for socket in sockets {
                if known.insert(socket.clone()) {
                    tokio::spawn(self.clone().look_after(socket));
                }
            }
            if self.settings.changed().await.is_err() {
                // The loop is gone: the daemon leaves.
                return;
            }
        }
    }

    async fn look_after(self, socket: PathBuf) {
        let endpoint = Endpoint::new(&socket);
        let mut snapshots = self.handle.snapshots();
        let mut pause = AGAIN_FIRST;
        while snapshots.wait_for(|snapshot| self.can_see(snapshot, &socket)).await.is_ok() {
            if self.tidy(&endpoint).await {
                pause = AGAIN_FIRST;
                if snapshots.wait_for(|snapshot| !self.can_see(snapshot, &socket)).await.is_err() {
                    return;
                }
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_MAX);
            }
        }
    }

    /// Whether the ledger is open and this Podman answers.
    fn can_see(&self, snapshot: &Snapshot, socket: &Path) -> bool {
        let settings = self.settings.borrow();
        let mut nodes = settings.nodes.iter().filter(|(_, of)| *of == socket);
        snapshot.ledger.is_some() && nodes.any(|(node, _)| !snapshot.away.contains_key(node))
    }

    /// Removes what is an orphan in two looks. Returns whether everything was seen and nothing is left.
    async fn tidy(&self, endpoint: &Endpoint) -> bool {
        let looked = self.look_twice(endpoint).await;
        let mut news = self.health.note(endpoint.socket(), looked.as_ref().err());
        let clean = match looked {
            Ok(Look { orphans, untold }) => {
                let (removed, left) = self.remove_all(endpoint, &orphans).await;
                let clean = left.is_empty() && untold == 0;
                news |= self.health.note_orphans(endpoint.socket(), removed, left);
                clean
            }
            Err(error) => {
                tracing::debug!(socket = %endpoint.socket().display(), %error, "failed to look for orphans, will look again");
                false
            }
        };
        if news {
            self.handle.health_changed().await;
        }
        clean
    }

    /// A container that is just being made, or just being cleared, is another at the second look.
    async fn look_twice(&self, endpoint: &Endpoint) -> Result<Look, ApiError> {
        let first = self.look(endpoint).await?;
        if first.orphans.is_empty() {
            return Ok(first);
        }
        tokio::time::sleep(SETTLE).await;
        let mut second = self.look(endpoint).await?;
        let seen = second.orphans.len();
        second.orphans.retain(|orphan| first.orphans.contains(orphan));
        second.untold += seen - second.orphans.len();
        Ok(second)
    }

    async fn look(&self, endpoint: &Endpoint) -> Result<Look, ApiError> {
        let Some(ledger) = self.handle.snapshot().ledger else { return Ok(Look::default()) };
        let listed = endpoint.labelled(&format!("{}={ledger}", orphan::LEDGER)).await?;
        // Taken after the listing: whatever is in it was decided before.
        let snapshot = self.handle.snapshot();
        if snapshot.ledger != Some(ledger) {
            return Ok(Look::default());
        }
        let past = self.past(&listed, ledger, &snapshot.board).await;
        let untold = past.values().filter(|past| **past == Past::Unreadable).count();
        Ok(Look { orphans: orphan::orphans(&listed, ledger, &snapshot.board, &past), untold })
    }

    /// What is kept of those executions that have ended.
    async fn past(&self, listed: &[Listed], ledger: LedgerId, board: &Board) -> BTreeMap<ExecutionId, Past> {
        let ended: Vec<ExecutionId> =
            orphan::executions(listed, ledger).into_iter().filter(|id| board.ended.contains(id)).collect();
        let unreadable = |ids: &[ExecutionId]| ids.iter().map(|id| (*id, Past::Unreadable)).collect();
        let Some(queries) = self.queries.borrow().clone() else { return unreadable(&ended) };
        let ids = ended.clone();
        let read = move || ids.into_iter().map(|id| (id, past(&queries, id))).collect();
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| unreadable(&ended))
    }

    /// Tells all of them to end, gives them the grace, then kills and removes them. Returns how many are gone, and why
    /// the others are not.
    async fn remove_all(&self, endpoint: &Endpoint, orphans: &[Orphan]) -> (u64, Vec<String>) {
        for orphan in orphans {
            tracing::warn!(container = %orphan.name, why = %orphan.why, "removing an orphan");
            if let Err(error) = told(endpoint, &orphan.id, "TERM").await {
                tracing::warn!(container = %orphan.name, %error, "failed to tell an orphan to end; it is killed");
            }
        }
        let grace = Duration::from_secs(self.settings.borrow().stop_grace_seconds.into());
        let all_ended = async {
            for orphan in orphans {
                ended(endpoint, &orphan.id).await;
            }
        };
        // Whoever has not heard by then is killed.
        let _ = tokio::time::timeout(grace, all_ended).await;
        let (mut removed, mut left) = (0, Vec::new());
        for orphan in orphans {
            match remove(endpoint, &orphan.id).await {
                Ok(()) => {
                    removed += 1;
                    tracing::info!(container = %orphan.name, "removed an orphan");
                }
                Err(error) => {
                    let Orphan { name, why, .. } = orphan;
                    tracing::error!(container = %name, %error, "failed to remove an orphan, will try again");
                    left.push(format!(
                        "container {name} should be gone ({why}) and cannot be removed: {error}; \
                         `podman rm --force {name}` may help, it is tried again"
                    ));
                }
            }
        }
        (removed, left)
    }
}

/// How an execution was when it ended, as far as that is kept.
fn past(queries: &Queries, id: ExecutionId) -> Past {
    let records = match queries.history(id) {
        Ok(records) if records.is_empty() => return Past::Forgotten,
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(execution = %id, %error, "failed to read the past of a container, which is left alone");
            return Past::Unreadable;
        }
    };
    let (mut board, mut ended) = (Board::default(), None);
    for (_, recorded) in &records {
        match apply(&mut board, recorded) {
            Ok(over) => ended = over.or(ended),
            Err(illegal) => {
                tracing::warn!(%illegal, "failed to replay the past of a container, which is left alone");
                return Past::Unreadable;
            }
        }
    }
    ended.map_or(Past::Unreadable, Past::Kept)
}

/// Returns when a container does not live any more, or Podman does not say.
async fn ended(endpoint: &Endpoint, id: &str) {
    while endpoint.inspect(id).await.is_ok_and(|found| found.state.alive()) {
        if endpoint.wait(id, LOOK).await.is_err() {
            return;
        }
    }
}

/// Kills and removes a container, and the control group that it leaves.
async fn remove(endpoint: &Endpoint, id: &str) -> Result<(), ApiError> {
    let found = match endpoint.inspect(id).await {
        Ok(found) => found,
        Err(ApiError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    endpoint.remove(&found.id).await?;
    let manager = endpoint.group_manager().await?;
    if let Some(group) = manager.and_then(|manager| Group::of_parent(manager, &found.host_config.cgroup_parent)) {
        group.remove_soon();
    }
    Ok(())
}
