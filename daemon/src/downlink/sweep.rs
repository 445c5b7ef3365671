//! What a crash left in the folders of the outbox.
//!
//! Must not: touch what a live execution needs, or an entry that waits for a pass.

use std::fs;
use std::path::Path;

use super::{KEPT, Outbox};
use crate::bundle::ExecutionId;

impl Outbox {
    /// Removes the console output and output documents of executions that a crash kept from being forgotten wholly.
    pub fn sweep_logs(&self, forgotten: impl Fn(ExecutionId) -> bool) {
        let folders = KEPT.iter().flat_map(|folder| fs::read_dir(self.state_dir.join(folder)).into_iter().flatten());
        let folders = folders.filter_map(Result::ok);
        for id in folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|id| forgotten(*id)) {
            if let Err(error) = self.forget(id) {
                tracing::warn!(execution = %id, %error, "failed to remove the logs of a forgotten execution");
            }
        }
    }

    /// Removes what a crash left: half-received candidates, files and half-made entries of executions that are not live.
    /// What cannot be removed is said and left.
    pub fn sweep(&self, live: impl Fn(ExecutionId) -> bool) {
        let wanted = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.parse().is_ok_and(&live)
        };
        for folder in ["staging", "outgoing", "bundles", "gangs"] {
            let entries = fs::read_dir(self.state_dir.join(folder)).into_iter().flatten();
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| !wanted(path)) {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                match removed {
                    Ok(()) => tracing::info!(path = %path.display(), "removed what a crash left"),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "failed to remove what a crash left"),
                }
            }
        }
    }
}
