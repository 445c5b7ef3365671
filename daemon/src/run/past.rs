//! What the loop does about the past: how much is kept, what must go.
//!
//! Must not: walk over all of it while something waits.

use super::Loop;
use crate::bundle::ExecutionId;

impl Loop {
    /// Removes the console output of forgotten executions that a crash has kept from going, and measures that of all
    /// others, beside the loop: it takes a walk over all of it.
    pub(super) fn measure_logs(&self) {
        let (handle, outbox, kept, ended) =
            (self.handle.clone(), self.outbox.clone(), self.storage.kept(), self.board.ended.clone());
        tokio::task::spawn_blocking(move || {
            outbox.sweep_logs(|id| ended.contains(&id) && !kept.contains(&id));
            handle.measured(kept.into_iter().map(|id| (id, outbox.log_bytes(id))).collect());
        });
    }

    /// Lets go of the past that is beyond the limits.
    pub(super) fn tend(&mut self) {
        let limits = self.settings.borrow().retention.clone();
        self.storage.tend(&limits, self.clock.now().boot, &self.outbox);
        self.outbox_trouble = self.outbox.full(limits.outbox_bytes);
    }

    /// The console output of what an operator purged goes with it.
    pub(super) fn forget(&self, id: ExecutionId) {
        if let Err(error) = self.outbox.forget(id) {
            tracing::error!(execution = %id, %error, "failed to remove the console output of a purged execution");
        }
    }
}
