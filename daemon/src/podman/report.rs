//! Files reports.
//!
//! Must not: give up.

use std::sync::Arc;

use super::driver::{Driver, RETRY_FIRST, RETRY_MAX};
use crate::bundle::ExecutionId;
use crate::sequence::{Event, Execution};

impl Driver {
    /// Puts the report of an execution into the outbox, and does not give up: space comes back when the ground
    /// acknowledges entries, and an execution has not ended before its results are safe.
    pub(super) async fn report(&self, id: ExecutionId, execution: &Arc<Execution>) {
        let mut pause = RETRY_FIRST;
        loop {
            let (outbox, copy) = (self.outbox.clone(), execution.clone());
            let error = match tokio::task::spawn_blocking(move || outbox.file(&copy)).await {
                Ok(Ok(())) => return self.handle.report(Event::Filed(id)).await,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(execution = %id, %error, "failed to file a report, will try again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}
