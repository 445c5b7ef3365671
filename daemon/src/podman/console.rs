//! Console output: taken from Podman when a pod has ended, kept as Podman's own frames, served without their headers.
//!
//! A frame is one byte of stream (1 stdout, 2 stderr), three zero bytes, a big-endian length, the bytes. One file per
//! attempt keeps both streams apart and in order. conmon bounds it; what it dropped is noticed and said.
//! Must not: trust a length that Podman sends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::api::{ApiError, Endpoint};
use super::inspected::Inspected;
use crate::sequence::state::Logs;

const HEADER: usize = 8;
/// Longest frame: conmon writes at most a few KiB at once.
const FRAME_MAX: usize = 1 << 20;

/// A stream of console output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why output could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Podman.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The connection broke in the middle.
    #[error("the console output of {0} broke off")]
    Broken(String),
    /// The file.
    #[error("failed to keep console output in {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Fetches all output that Podman has of a container and keeps it, durably, replacing what was kept before.
///
/// # Errors
/// When Podman does not answer or the file cannot be written; what was kept before stays.
pub async fn keep(endpoint: &Endpoint, container: &Inspected, kept: &Path, limit: u64) -> Result<Logs, ConsoleError> {
    let frames = fetch(endpoint, &container.id, limit).await?;
    let truncated = frames.over_limit || rotated(container);
    let mut logs = measure(&frames.bytes);
    logs.truncated = truncated;
    let file_error = |source| ConsoleError::File { path: kept.to_owned(), source };
    crate::disk::write_durably(kept, &frames.bytes).map_err(file_error)?;
    Ok(logs)
}

/// Sizes of what was kept at an earlier try; nothing when nothing was.
#[must_use]
pub fn kept(path: &Path) -> Logs {
    fs::read(path).map(|bytes| measure(&bytes)).unwrap_or_default()
}

/// Frames, at most `limit` bytes of them and the rest of one.
#[derive(Debug, Default)]
pub struct Frames {
    /// Whole frames.
    pub bytes: Vec<u8>,
    over_limit: bool,
}

/// Fetches the newest output of a container, oldest frames dropped beyond the limit.
///
/// # Errors
/// When Podman does not answer or the stream breaks.
pub async fn fetch(endpoint: &Endpoint, id: &str, limit: u64) -> Result<Frames, ConsoleError> {
    let mut body: Incoming = match endpoint.logs(id).await {
        Ok(body) => body,
        // A container that was never initialised has no output yet.
        Err(ApiError::NotFound(_) | ApiError::Refused { .. }) => return Ok(Frames::default()),
        Err(error) => return Err(error.into()),
    };
    let mut frames = Frames::default();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    loop {
        let piece = tokio::time::timeout(super::api::LOOK, body.frame()).await;
        let Ok(piece) = piece else { return Err(ConsoleError::Broken(id.to_owned())) };
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|_| ConsoleError::Broken(id.to_owned()))?;
        frames.bytes.extend_from_slice(piece.data_ref().map_or(&[][..], |data| data));
        if frames.bytes.len() > limit.saturating_mul(2) {
            frames.drop_oldest(limit);
        }
    }
    frames.drop_oldest(limit);
    Ok(frames)
}

impl Frames {
    fn drop_oldest(&mut self, limit: usize) {
        let mut cut = 0;
        while self.bytes.len() - cut > limit {
            let Some((_, payload)) = frame(&self.bytes[cut..]) else { break };
            cut += HEADER + payload.len();
        }
        self.over_limit |= cut > 0;
        self.bytes.drain(..cut);
    }
}

/// conmon replaces a full log by a new file: then the file is younger than the process.
fn rotated(container: &Inspected) -> bool {
    let born = fs::metadata(&container.host_config.log_config.path).and_then(|meta| meta.created());
    let born = born.ok().and_then(|born| jiff::Timestamp::try_from(born).ok());
    container.state.has_started() && born.is_some_and(|born| born > container.state.started_at)
}

/// The first whole frame of these bytes.
fn frame(bytes: &[u8]) -> Option<(Stream, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let stream = match header[0] {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
    (length <= FRAME_MAX).then(|| rest.get(..length))?.map(|payload| (stream, payload))
}

/// The frames of these bytes, in order; a damaged rest is left out.
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (Stream, &[u8])> {
    std::iter::from_fn(move || {
        let (stream, payload) = frame(bytes)?;
        bytes = &bytes[HEADER + payload.len()..];
        Some((stream, payload))
    })
}

/// The text of one stream, or of both in order.
#[must_use]
pub fn text(bytes: &[u8], only: Option<Stream>) -> Vec<u8> {
    frames(bytes)
        .filter(|(stream, _)| only.is_none_or(|only| only == *stream))
        .flat_map(|(_, payload)| payload)
        .copied()
        .collect()
}

/// Sizes of what was kept.
#[must_use]
pub fn measure(bytes: &[u8]) -> Logs {
    let mut logs = Logs::default();
    for (stream, payload) in frames(bytes) {
        match stream {
            Stream::Stdout => logs.stdout_bytes += payload.len() as u64,
            Stream::Stderr => logs.stderr_bytes += payload.len() as u64,
        }
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, payload].concat()
    }

    #[test]
    fn streams_are_kept_apart_and_in_order() {
        let bytes = [framed(1, b"a\n"), framed(2, b"b\n"), framed(1, b"c\n")].concat();
        assert_eq!(text(&bytes, None), b"a\nb\nc\n");
        assert_eq!(text(&bytes, Some(Stream::Stdout)), b"a\nc\n");
        assert_eq!(text(&bytes, Some(Stream::Stderr)), b"b\n");
        assert_eq!(measure(&bytes), Logs { stdout_bytes: 4, stderr_bytes: 2, truncated: false });
    }

    #[test]
    fn bad_frames_end_the_text_and_allocate_nothing() {
        let huge = [&[1, 0, 0, 0][..], &u32::MAX.to_be_bytes(), b"x"].concat();
        assert_eq!(text(&huge, None), b"");
        assert_eq!(text(&[framed(1, b"a"), vec![9, 0, 0]].concat(), None), b"a");
    }

    #[test]
    fn oldest_frames_go_first() {
        let mut frames = Frames { bytes: [framed(1, b"old"), framed(1, b"new")].concat(), over_limit: false };
        frames.drop_oldest(12);
        assert_eq!(text(&frames.bytes, None), b"new");
        assert!(frames.over_limit);
    }
}
