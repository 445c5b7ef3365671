//! uplink and downlink: files between the bundle, the volumes and the outbox.
//!
//! Must not: touch a volume but through `podman::files`.

use std::path::PathBuf;

use serde_json::json;

use super::{Done, Stop, Trip};
use crate::bundle::path::join;
use crate::plan::Transfer;
use crate::podman::files;

impl Trip<'_> {
    pub(super) async fn uplink(&self, transfer: &Transfer) -> Result<Done, Stop> {
        let mountpoint = self.made_volume(transfer).await?;
        let folder = self.driver.outbox.bundle_folder(self.execution.plan.execution);
        let sources: Vec<PathBuf> = transfer.sources.iter().map(|entry| folder.join(entry)).collect();
        let destination = transfer.destination.clone();
        self.in_volume(mountpoint, move |volume| files::place(volume, &destination, &sources)).await?;
        Ok(Done::good())
    }

    pub(super) async fn downlink(&self, transfer: &Transfer) -> Result<Done, Stop> {
        let mountpoint = self.made_volume(transfer).await?;
        let id = self.execution.plan.execution;
        let step = self.execution.plan.steps[self.step].id.clone();
        let (outbox, limit, wanted) =
            (self.driver.outbox.clone(), self.driver.settings.downlink_bytes, transfer.clone());
        let collected =
            self.in_volume(mountpoint, move |volume| outbox.collect(id, &step, &wanted, volume, limit)).await?;
        let stored = collected.files.iter().map(|file| {
            let path = format!("/{}", join(&transfer.destination, &file.path));
            json!({"path": path, "size": file.size, "sha256": file.sha256})
        });
        Ok(Done::good().with(json!({
            "files": stored.collect::<Vec<_>>(),
            "uri": format!("{id}/{}", collected.archive),
            "contentType": collected.content_type,
            "contentLength": collected.content_length,
            "sha256": collected.sha256,
            "destination": collected.destination,
        })))
    }

    async fn made_volume(&self, transfer: &Transfer) -> Result<PathBuf, Stop> {
        let endpoint = self.driver.endpoint(&transfer.node)?;
        let tenant = self.execution.plan.tenant.as_str();
        self.ask(endpoint, || endpoint.ensure_volume(&transfer.claim, tenant)).await
    }
}
