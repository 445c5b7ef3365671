//! Shell: carries out the steps that run no pods. What an errand found out is a document that lies beside the ledger
//! before the engine hears of the end.
//!
//! An errand may be carried out twice, when the daemon died in between: each looks what the first has done.
//! Must not: follow a path that a tenant named but through the handle on its volume; decide what an end means.

mod archive;
mod build;
mod builders;
mod context;
mod dockerfile;
mod files;
mod images;
mod listing;
mod output;
mod pipe;
mod pods;
mod reload;
mod transfer;

use std::path::PathBuf;

use cap_std::fs::Dir;
pub(crate) use output::Done;
pub(crate) use reload::LoadedAgain;

use crate::bundle::NodeName;
use crate::plan::{Errand, Work};
use crate::podman::driver::{Driver, Occasion};
use crate::podman::{ApiError, Endpoint, failure, files as volumes};
use crate::reason::{Name, Reason};
use crate::sequence::state::StepState;
use crate::sequence::{Board, Event, Execution};

/// Why an errand came to nothing.
enum Stop {
    /// Its step has ended meanwhile: nobody waits for it.
    Unwanted,
    /// For a reason.
    Failed(Reason),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

/// One errand on its way.
struct Trip<'a> {
    driver: &'a Driver,
    execution: &'a Execution,
    step: usize,
    occasion: Occasion,
}

impl Driver {
    /// Carries out an errand step and tells how it went.
    pub(crate) async fn errand(&self, execution: &Execution, step: usize, occasion: Occasion) {
        let trip = Trip { driver: self, execution, step, occasion };
        let done = match trip.run().await {
            Ok(done) => done,
            Err(Stop::Unwanted) => return,
            Err(Stop::Failed(reason)) => Done::failed(reason),
        };
        let made = done.made.clone();
        let result = trip.keep(done).await;
        self.handle.report(Event::ErrandEnded { execution: execution.plan.execution, step, result, made }).await;
    }
}

impl Trip<'_> {
    async fn run(&self) -> Result<Done, Stop> {
        let Work::Errand(errand) = &self.execution.plan.steps[self.step].work else { return Err(Stop::Unwanted) };
        match errand {
            Errand::Uplink(transfer) => self.uplink(transfer).await,
            Errand::Downlink(transfer) => self.downlink(transfer).await,
            Errand::FilesList(list) => self.files_list(list).await,
            Errand::FilesDelete(delete) => self.files_delete(delete).await,
            Errand::FilesMove(moved) => self.files_move(moved).await,
            Errand::Build(build) => self.build(build).await,
            Errand::ImageList(list) => self.image_list(list).await,
            Errand::ImageLoad(load) => self.image_load(load).await,
            Errand::PodLogs(pod) => self.pod_logs(pod).await,
            Errand::PodStop(pod) => self.pod_stop(pod).await,
        }
    }

    /// Whether the step still runs.
    fn wanted(&self) -> impl Fn(&Board) -> bool + use<> {
        let (id, step) = (self.execution.plan.execution, self.step);
        move |board: &Board| {
            let state = board.live.get(&id).map(|execution| &execution.steps[step].state);
            matches!(state, Some(StepState::Active { .. }))
        }
    }

    /// Returns when the step has ended: stopped, or out of budget.
    async fn unwanted(&self) {
        let (mut snapshots, wanted) = (self.driver.handle.snapshots(), self.wanted());
        // The sender is gone only when the process ends.
        let _ = snapshots.wait_for(|snapshot| !wanted(&snapshot.board)).await;
    }

    /// Asks Podman until it answers or nobody wants to know any more.
    async fn ask<T, F: Future<Output = Result<T, ApiError>>>(
        &self,
        endpoint: &Endpoint,
        call: impl Fn() -> F,
    ) -> Result<T, Stop> {
        match self.driver.answered(endpoint, self.wanted(), call).await {
            None => Err(Stop::Unwanted),
            Some(answer) => answer.map_err(|error| Stop::Failed(failure::reason(&error))),
        }
    }

    /// Where a volume is mounted; it must be there.
    async fn mountpoint(&self, node: &NodeName, claim: &str) -> Result<PathBuf, Stop> {
        let endpoint = self.driver.endpoint(node)?;
        let found = self.ask(endpoint, || endpoint.volume(claim)).await?;
        let missing =
            || Reason::new(Name::FileMissing, format!("there is no volume `{claim}` yet; uplink or a pod makes it"));
        Ok(found.ok_or_else(missing)?)
    }

    /// Does something in a volume, where it may block.
    async fn in_volume<T: Send + 'static>(
        &self,
        mountpoint: PathBuf,
        work: impl FnOnce(&Dir) -> Result<T, Reason> + Send + 'static,
    ) -> Result<T, Stop> {
        blocking(move || work(&volumes::open_volume(&mountpoint)?)).await
    }
}

/// Does what may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Reason> + Send + 'static) -> Result<T, Stop> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|error| Err(Reason::new(Name::Internal, error.to_string())))?)
}
