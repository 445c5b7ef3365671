//! Writes the kept console output of a pod into the files of its volume that its operation names.
//!
//! Must not: keep a container from being cleared; what cannot be written is said and the kept output stays.

use std::path::Path;

use super::api::{ApiError, Endpoint};
use super::console::{self, Stream};
use super::files;
use crate::bundle::options::Options;
use crate::plan::PodSpec;
use crate::reason::{Name, Reason};

/// Writes what was kept, if the pod's options ask for it. A Podman that does not answer is the caller's to ask again.
pub(super) async fn write(endpoint: &Endpoint, pod: &PodSpec, kept: &Path) -> Result<(), ApiError> {
    if pod.options.stdout.is_none() && pod.options.stderr.is_none() {
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
