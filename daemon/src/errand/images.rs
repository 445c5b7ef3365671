//! docker.image.list and docker.image.load.
//!
//! Must not: let an archive name its image; the plan does.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use serde_json::json;

use super::pipe::pipe;
use super::{Done, Stop, Trip, archive, blocking};
use crate::plan::errand::{Archive, ImageList, ImageLoad, own_reference};
use crate::podman::images::{ListedImage, is_operators, is_visible};
use crate::podman::{ApiError, Endpoint, failure, files};
use crate::reason::{Name, Reason};

/// Lines of one list.
const IMAGES_MAX: usize = 2_000;
/// Tries to get one list, and the pause between them.
const LIST_TRIES: u32 = 5;
const LIST_PAUSE: Duration = Duration::from_millis(200);
/// Bytes that are kept free where images are stored, for containers that must still start.
const SPACE_RESERVE: u64 = 256 << 20;

impl Trip<'_> {
    pub(super) async fn image_list(&self, list: &ImageList) -> Result<Done, Stop> {
        let endpoint = self.driver.endpoint(&list.node)?;
        let images = self.ask(endpoint, || steadily(endpoint)).await?;
        let (tenant, prefixes) = (&self.execution.plan.tenant, &self.driver.settings.image_prefixes);
        let mut lines = Vec::new();
        for image in &images {
            for name in image.names.iter().flatten().filter(|name| is_visible(tenant, name, prefixes)) {
                let (repository, tag) = name.rsplit_once(':').unwrap_or((name, ""));
                lines.push((
                    name.clone(),
                    json!({
                        "repository": repository, "tag": tag, "id": image.id, "size": image.size,
                        "created": jiff::Timestamp::from_second(image.created).ok(),
                    }),
                ));
            }
        }
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        let cut = lines.len() > IMAGES_MAX;
        let lines: Vec<_> = lines.into_iter().take(IMAGES_MAX).map(|(_, line)| line).collect();
        Ok(Done::good().with(json!({"images": lines})).cut(cut))
    }

    pub(super) async fn image_load(&self, wanted: &ImageLoad) -> Result<Done, Stop> {
        let reference = own_reference(&self.execution.plan.tenant, &wanted.image);
        self.may_name(&reference)?;
        let endpoint = self.driver.endpoint(&wanted.node)?;
        let (file, bytes) = self.archive(wanted).await?;
        self.room(endpoint, bytes).await?;
        let longest = self.driver.real(wanted.max_duration_seconds);
        let loaded = tokio::select! {
            loaded = load(endpoint, file, &reference, longest) => {
                loaded.map_err(|error| failure::reason(&error)).and_then(|loaded| loaded)?
            }
            () = self.unwanted() => return Err(Stop::Unwanted),
        };
        let id = self.ask(endpoint, || endpoint.image_id(&reference)).await?;
        let Some(id) = id else {
            let message = format!("podman loaded {} and not {reference}", loaded.join(", "));
            return Err(Reason::new(Name::ImageLoadFailed, message).into());
        };
        let (repository, tag) = reference.rsplit_once(':').unwrap_or((&reference, ""));
        let document = json!({
            "image": {"reference": reference, "repository": repository, "tag": tag, "id": id},
            "archive_bytes": bytes,
        });
        Ok(Done::good().with(document).making(&reference, &id))
    }

    async fn archive(&self, load: &ImageLoad) -> Result<(File, u64), Stop> {
        let missing = |path: &str, error: &std::io::Error| {
            Reason::new(Name::TarfileMissing, format!("image archive `{path}`: {error}"))
        };
        let measured = move |file: File, path: &str| match file.metadata() {
            Ok(meta) => Ok((file, meta.len())),
            Err(error) => Err(missing(path, &error)),
        };
        match &load.archive {
            Archive::Bundle(entry) => {
                let path = self.driver.outbox.bundle_folder(self.execution.plan.execution).join(entry);
                let entry = entry.clone();
                blocking(move || measured(File::open(&path).map_err(|error| missing(&entry, &error))?, &entry)).await
            }
            Archive::Volume { claim, path } => {
                let mountpoint = self.mountpoint(&load.node, claim).await?;
                let path = path.clone();
                let open = move |volume: &cap_std::fs::Dir| {
                    let file = files::open_file(volume, &path).map_err(|error| missing(&path, &error))?;
                    measured(file.into_std(), &path)
                };
                self.in_volume(mountpoint, open).await
            }
        }
    }

    /// An operator who keeps images below a tenant's name keeps them.
    pub(super) fn may_name(&self, reference: &str) -> Result<(), Reason> {
        if is_operators(reference, &self.driver.settings.image_prefixes) {
            let message =
                format!("`{reference}` is below one of the board's image_prefixes, where the operator keeps images");
            return Err(Reason::new(Name::Invalid, message));
        }
        Ok(())
    }

    /// Whether there is room for something of this size where images are stored.
    pub(super) async fn room(&self, endpoint: &Endpoint, bytes: u64) -> Result<(), Stop> {
        Ok(self.ask(endpoint, || room(endpoint, bytes)).await??)
    }
}

/// Streams an archive to Podman, its names replaced on the way.
pub(super) async fn load(
    endpoint: &Endpoint,
    file: impl Read + Send + 'static,
    reference: &str,
    longest: Duration,
) -> Result<Result<Vec<String>, Reason>, ApiError> {
    let (writer, body) = pipe();
    let named = reference.to_owned();
    let send = blocking(move || {
        let sent = archive::rename(file, &writer, &named);
        if sent.is_err() {
            writer.break_off();
        }
        sent
    });
    let (sent, loaded) = tokio::join!(send, endpoint.load(body, longest));
    match (sent, loaded) {
        // An archive that is none is why Podman had to be broken off.
        (Err(Stop::Failed(reason)), Err(_)) if reason.name == Name::TarfileInvalid => Ok(Err(reason)),
        (_, Ok(names)) => Ok(Ok(names)),
        (_, Err(error @ ApiError::Refused { .. })) => {
            Ok(Err(Reason::new(Name::ImageLoadFailed, failure::reason(&error).message)))
        }
        (_, Err(error)) => Err(error),
    }
}

/// Whether there is room for something of this size where images are stored: once as it comes, once as a layer.
pub(super) async fn room(endpoint: &Endpoint, bytes: u64) -> Result<Result<(), Reason>, ApiError> {
    let Some(root) = endpoint.graph_root().await? else { return Ok(Ok(())) };
    let free = tokio::task::spawn_blocking(move || free(&root)).await.unwrap_or_default();
    Ok(match free {
        Some(free) if free < needed(bytes) => {
            let message = format!(
                "{free} bytes are free where podman stores images, {} are needed: twice {bytes}, and {SPACE_RESERVE} in \
                 reserve; remove images, or files of volumes",
                needed(bytes)
            );
            Err(Reason::new(Name::NoSpace, message))
        }
        Some(_) | None => Ok(()),
    })
}

/// Podman's list breaks off when an image goes while it is made: then it is asked for again.
async fn steadily(endpoint: &Endpoint) -> Result<Vec<ListedImage>, ApiError> {
    let mut listed = endpoint.image_list().await;
    for _ in 1..LIST_TRIES {
        if !matches!(listed, Err(ApiError::Refused { .. } | ApiError::NotFound(_))) {
            break;
        }
        tokio::time::sleep(LIST_PAUSE).await;
        listed = endpoint.image_list().await;
    }
    listed
}

fn needed(bytes: u64) -> u64 {
    bytes.saturating_mul(2).saturating_add(SPACE_RESERVE)
}

fn free(folder: &Path) -> Option<u64> {
    let found = statvfs(folder);
    if let Err(error) = &found {
        tracing::warn!(folder = %folder.display(), %error, "cannot tell how much room there is");
    }
    let found = found.ok()?;
    Some(found.blocks_available().saturating_mul(found.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_needed_twice_and_a_reserve_stays() {
        assert_eq!(needed(10), 20 + SPACE_RESERVE);
        assert_eq!(needed(u64::MAX), u64::MAX);
        assert!(free(Path::new("/")).is_some_and(|free| free > 0));
        assert_eq!(free(Path::new("/no/such/folder")), None);
    }
}
