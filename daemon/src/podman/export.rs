//! Writes the kept console output of a pod into the files of its volume that its operation names: before its end is
//! told, so that a later step finds them.
//!
//! Must not: keep a container from being cleared; what cannot be written is said and the kept output stays.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::api::{ApiError, Endpoint};
use super::console::{self, ConsoleError, Stream};
use super::driver::Driver;
use super::files;
use super::inspected::Inspected;
use crate::bundle::options::Options;
use crate::plan::PodSpec;
use crate::reason::{Name, Reason};
use crate::sequence::Execution;
use crate::sequence::state::AttemptId;
use crate::view;

/// Attempts whose files are written and whose containers are still to be cleared: written twice, a file would lose
/// what a later step made of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<Mutex<BTreeSet<AttemptId>>>);

impl Written {
    fn note(&self, attempt: AttemptId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt);
    }

    /// Whether this attempt's were; it is forgotten then.
    pub(super) fn take(&self, attempt: AttemptId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt)
    }
}

impl Driver {
    /// Writes the files of a pod that has ended. An error means that Podman does not answer.
    pub(super) async fn export(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
        found: &Inspected,
    ) -> Result<(), ApiError> {
        let pod = &Self::job(execution, attempt).pod;
        if !asked(&pod.options) {
            return Ok(());
        }
        let name = view::container_name(execution, &attempt);
        let kept = self.outbox.console_path(execution.plan.execution, &name);
        match console::keep(endpoint, found, &kept, self.settings.log_bytes).await {
            Ok(_) => write(endpoint, pod, &kept).await?,
            Err(ConsoleError::Api(error)) if error.unreachable() => return Err(error),
            Err(error @ (ConsoleError::Api(_) | ConsoleError::Broken(_) | ConsoleError::File { .. })) => {
                // Clearing tries that again, and for longer.
                tracing::warn!(container = %name, %error, "failed to keep console output when its pod ended");
                return Ok(());
            }
        }
        self.written.note(attempt);
        Ok(())
    }
}

fn asked(options: &Options) -> bool {
    options.stdout.is_some() || options.stderr.is_some()
}

/// Writes what was kept, if the pod's options ask for it. A Podman that does not answer is the caller's to ask again.
pub(super) async fn write(endpoint: &Endpoint, pod: &PodSpec, kept: &Path) -> Result<(), ApiError> {
    if !asked(&pod.options) {
        return Ok(());
    }
    let written = match endpoint.volume(&pod.claim).await {
        Ok(Some(mountpoint)) => {
            let (options, kept) = (pod.options.clone(), kept.to_owned());
            let work = tokio::task::spawn_blocking(move || write_files(&options, &mountpoint, &kept));
            work.await.unwrap_or_else(|error| Err(Reason::new(Name::Internal, error.to_string())))
        }
        Ok(None) => Err(Reason::new(Name::TransferError, format!("the volume {} is gone", pod.claim))),
        Err(error) if error.unreachable() => return Err(error),
        Err(error) => Err(Reason::new(Name::TransferError, error.to_string())),
    };
    if let Err(reason) = written {
        tracing::error!(volume = %pod.claim, %reason, "failed to write console output into the volume; it is kept on board");
    }
    Ok(())
}

fn write_files(options: &Options, mountpoint: &Path, kept: &Path) -> Result<(), Reason> {
    let read =
        |error: std::io::Error| Reason::new(Name::TransferError, format!("failed to read {}: {error}", kept.display()));
    let frames = std::fs::read(kept).map_err(read)?;
    let volume = files::open_volume(mountpoint)?;
    let mut first = Ok(());
    for (path, stream) in [(&options.stdout, Stream::Stdout), (&options.stderr, Stream::Stderr)] {
        // One that fails must not keep the other from being written.
        if let Some(path) = path {
            let written = files::write(&volume, path, &console::text(&frames, Some(stream)));
            first = first.and(written);
        }
    }
    first
}
