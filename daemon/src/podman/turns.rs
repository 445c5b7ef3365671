//! Who goes first. Clearing waits for preparing: a container that is still being made cannot be cleared. And it gives
//! way to starts: somebody waits for a process, nobody for a removal.
//!
//! Must not: hold a turn longer than the task that makes the container.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::driver::Occasion;
use crate::sequence::state::AttemptId;

/// The attempts whose containers are being made, or were, and have not been cleared.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<AttemptId, watch::Receiver<bool>>>>);

/// The turn of one attempt; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn(watch::Sender<bool>);

impl Turn {
    /// Podman was asked for something and did not answer: it may still do it.
    pub(super) fn unanswered(&self) {
        self.0.send_replace(true);
    }

    /// Nothing that was asked for is still to come.
    pub(super) fn settled(&self) {
        self.0.send_replace(false);
    }

    /// Whether something that was asked for may still come.
    pub(super) fn in_doubt(&self) -> bool {
        *self.0.borrow()
    }
}

impl Turns {
    /// Begins the turn of an attempt.
    pub(super) fn begin(&self, attempt: AttemptId, occasion: Occasion) -> Turn {
        let (turn, seen) = watch::channel(occasion == Occasion::Resumed);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt, seen);
        Turn(turn)
    }

    /// Waits until nobody makes anything for an attempt. Returns whether Podman may still be about to.
    pub(super) async fn ended(&self, attempt: AttemptId) -> bool {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&attempt).cloned();
        let Some(mut turn) = turn else { return false };
        while turn.changed().await.is_ok() {}
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
        *turn.borrow()
    }
}

/// Longest that clearing gives way; a start takes some tens of milliseconds.
const GIVE_WAY: Duration = Duration::from_secs(1);

/// How many launches are on their way.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts(Arc<watch::Sender<usize>>);

/// One launch on its way, until this is dropped.
#[derive(Debug)]
pub(super) struct Start(Arc<watch::Sender<usize>>);

impl Starts {
    /// A launch begins.
    pub(super) fn begin(&self) -> Start {
        self.0.send_modify(|count| *count += 1);
        Start(self.0.clone())
    }

    /// Waits until no launch is on its way, for a while.
    pub(super) async fn over(&self) {
        let mut seen = self.0.subscribe();
        if tokio::time::timeout(GIVE_WAY, seen.wait_for(|count| *count == 0)).await.is_err() {
            tracing::debug!("starts take long; clearing goes on beside them");
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_waits_for_the_end_of_the_turn_and_hears_how_it_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let id = "01890000-0000-7000-8000-000000000000".parse().expect("an id");
        let attempt = AttemptId { execution: id, step: 0, job: 0, attempt: 1 };
        runtime.block_on(async {
            let turns = Turns::default();
            assert!(!turns.ended(attempt).await, "nobody makes anything");
            let turn = turns.begin(attempt, Occasion::Decided);
            let mut waiting = Box::pin(turns.ended(attempt));
            assert_eq!(futures_util::poll!(&mut waiting), std::task::Poll::Pending);
            turn.unanswered();
            assert_eq!(futures_util::poll!(&mut waiting), std::task::Poll::Pending);
            drop(turn);
            assert!(waiting.await);
            assert!(!turns.ended(attempt).await, "it was cleared");
        });
    }

    #[test]
    fn clearing_gives_way_to_every_start_but_not_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let starts = Starts::default();
            assert!(futures_util::poll!(std::pin::pin!(starts.over())).is_ready(), "nothing starts");
            let (first, second) = (starts.begin(), starts.begin());
            let mut waiting = Box::pin(starts.over());
            drop(first);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            drop(second);
            assert!(futures_util::poll!(&mut waiting).is_ready());
            let _hangs = starts.begin();
            starts.over().await;
        });
    }
}
