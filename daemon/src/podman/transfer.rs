//! Moves files between the bundle, the volumes and the outbox, and files reports there.
//!
//! Must not: touch a volume but through `files`.

use std::path::PathBuf;
use std::sync::Arc;

use super::driver::{Driver, RETRY_FIRST, RETRY_MAX};
use super::{failure, files};
use crate::bundle::ExecutionId;
use crate::plan::{Errand, Transfer, Work};
use crate::reason::{Name, Reason};
use crate::sequence::state::StepState;
use crate::sequence::{Board, Event, Execution};

impl Driver {
    /// Carries out an uplink or downlink step.
    pub(super) async fn transfer(&self, execution: &Execution, step: usize) {
        let id = execution.plan.execution;
        let active = |board: &Board| {
            let state = board.live.get(&id).map(|execution| &execution.steps[step].state);
            matches!(state, Some(StepState::Active { .. }))
        };
        let (transfer, collects) = match &execution.plan.steps[step].work {
            Work::Errand(Errand::Uplink(transfer)) => (transfer, false),
            Work::Errand(Errand::Downlink(transfer)) => (transfer, true),
            Work::PodRun { .. } => return,
        };
        let volume = match self.endpoint(&transfer.node) {
            Err(reason) => Err(reason),
            Ok(endpoint) => {
                let tenant = execution.plan.tenant.as_str();
                let asked = self.answered(endpoint, active, || endpoint.ensure_volume(&transfer.claim, tenant));
                match asked.await {
                    None => return,
                    Some(result) => result.map_err(|error| failure::reason(&error)),
                }
            }
        };
        let result = match volume {
            Err(reason) => Err(reason),
            Ok(mountpoint) => self.move_files(execution, step, transfer.clone(), mountpoint, collects).await,
        };
        self.handle.report(Event::ErrandEnded { execution: id, step, result: result.map(|()| None) }).await;
    }

    async fn move_files(
        &self,
        execution: &Execution,
        step: usize,
        transfer: Transfer,
        mountpoint: PathBuf,
        collects: bool,
    ) -> Result<(), Reason> {
        let id = execution.plan.execution;
        let step_id = execution.plan.steps[step].id.clone();
        let (outbox, limit) = (self.outbox.clone(), self.settings.downlink_bytes);
        let files = self.outbox.bundle_folder(id);
        let work = tokio::task::spawn_blocking(move || {
            let volume = files::open_volume(&mountpoint)?;
            if collects {
                return outbox.collect(id, &step_id, &transfer, &volume, limit);
            }
            let sources: Vec<PathBuf> = transfer.sources.iter().map(|entry| files.join(entry)).collect();
            files::place(&volume, &transfer.destination, &sources)
        });
        work.await.unwrap_or_else(|error| Err(Reason::new(Name::Internal, error.to_string())))
    }

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
