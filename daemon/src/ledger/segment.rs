//! The files of the journal: their names, their headers, and what can be wrong with them.
//!
//! Must not: look into frames.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::FRAME_MAX;
use crate::medium::Medium;

/// Number of a record, from 1, without gaps.
pub type Cursor = u64;

/// The version that is written. Version 3 knew nothing of images, nor of what is made ahead of its turn; version 2 had no
/// `reached` frames and knew no quarantine; version 1 had neither `forgotten` nor `compacted` frames, nor a checksum in
/// its header.
pub const VERSION: u32 = 4;
const MAGIC: &[u8; 8] = b"PERIGEEJ";
pub(super) const HEADER: u64 = 16;
const HEADER_BYTES: usize = HEADER as usize;

/// Where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Name of the segment.
    pub segment: Cursor,
    /// Offset in it.
    pub offset: u64,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Bytes that no journal of ours has there.
    #[error("{} is damaged at byte {offset}: {why}; keep the file and report it (`perigee ledger check` says more)", path.display())]
    Damaged {
        /// Which segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A segment of another version.
    #[error("{} has journal version {found}; this program reads versions 1 to {VERSION}", path.display())]
    Version {
        /// Which segment.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A frame too large to write.
    #[error("a decision of {bytes} bytes is larger than a frame may be, {FRAME_MAX}")]
    Large {
        /// Its size.
        bytes: usize,
    },
    /// Records that were removed by retention.
    #[error("events before {oldest} are gone; the oldest that is kept is {oldest}: ask from {} on", oldest - 1)]
    Gone {
        /// Cursor of the oldest event that is kept.
        oldest: Cursor,
    },
    /// A write failed and could not be taken back.
    #[error("an earlier write failed and could not be taken back; the journal must be opened again")]
    Poisoned,
}

impl JournalError {
    /// Whether it failed for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::File { source, .. } => crate::disk::is_full(source),
            Self::Damaged { .. } | Self::Version { .. } | Self::Large { .. } | Self::Gone { .. } | Self::Poisoned => {
                false
            }
        }
    }
}

pub(super) fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + 'a {
    move |source| JournalError::File { doing, path: path.to_owned(), source }
}

/// The file of a segment.
pub(super) fn path(dir: &Path, segment: Cursor) -> PathBuf {
    dir.join(format!("{segment:020}.journal"))
}

/// Names of all segments, oldest first.
pub(super) fn segments(dir: &Path) -> Result<Vec<Cursor>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let name = entry.map_err(failed("list", dir))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(".journal")).and_then(|stem| stem.parse::<Cursor>().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// Bytes of a segment.
pub(super) fn length(dir: &Path, segment: Cursor) -> Result<u64, JournalError> {
    let path = path(dir, segment);
    fs::metadata(&path).map(|known| known.len()).map_err(failed("look at", &path))
}

/// Makes an empty segment, or replaces one: it is there with its header, or not at all.
pub(super) fn create(medium: &Medium, dir: &Path, segment: Cursor) -> Result<File, JournalError> {
    let path = path(dir, segment);
    let part = path.with_extension("part");
    let file = medium.create(&part).map_err(failed("make", &part))?;
    let header = header(VERSION);
    medium.write_at(&file, &header, 0).and_then(|()| medium.flush(&file)).map_err(failed("begin", &part))?;
    medium.rename(&part, &path).and_then(|()| medium.flush_folder(dir)).map_err(failed("publish", &path))?;
    Ok(file)
}

/// The header of a version.
pub(super) fn header(version: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    if version > 1 {
        let crc = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&crc.to_le_bytes());
    }
    header
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// It is one of ours.
    Version(u32),
    /// It is one of ours but for one byte.
    Healed {
        /// Which version it was.
        version: u32,
        /// Which byte is wrong.
        at: usize,
    },
    /// A version that is not known here.
    Later(u32),
    /// It is none of ours.
    Foreign,
}

/// Reads a header.
pub(super) fn read_header(found: &[u8; HEADER_BYTES]) -> Header {
    for version in 1..=VERSION {
        let expected = header(version);
        let wrong: Vec<usize> = (0..HEADER_BYTES).filter(|at| expected[*at] != found[*at]).collect();
        match wrong.as_slice() {
            [] => return Header::Version(version),
            // Of one version's number to the next it is one byte, but then the checksum differs, too.
            [at] => return Header::Healed { version, at: *at },
            [..] => {}
        }
    }
    let version = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
    if version > VERSION && *found == header(version) { Header::Later(version) } else { Header::Foreign }
}
