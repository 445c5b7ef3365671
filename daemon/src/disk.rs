//! Shell: files of our own, written so that a power cut leaves the old or the new, never half.
//!
//! Must not: be used for what a tenant names; `podman::files` guards those.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::bundle::Digest;

const BUFFER: usize = 64 * 1024;
/// The unit in which a file's room is counted.
const BLOCK: u64 = 512;

/// Writes a file durably: beside its place, flushed, renamed, its folder flushed.
///
/// # Errors
/// When any of it fails; the place is then as before.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_folder(parent)
}

/// Flushes a folder: the names in it survive a power cut.
///
/// # Errors
/// When it cannot be opened or flushed.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Moves a folder to its final place, durably.
///
/// # Errors
/// When the rename or a flush fails.
pub fn publish_folder(from: &Path, to: &Path) -> io::Result<()> {
    sync_folder(from)?;
    fs::rename(from, to)?;
    sync_folder(to.parent().unwrap_or(Path::new(".")))
}

/// Removes a folder and everything in it; one that is not there is as good as removed.
///
/// # Errors
/// When something of it cannot be removed.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a write failed for want of room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The room that a folder and everything in it takes on the medium. What goes away meanwhile takes none.
#[must_use]
pub fn room_of(path: &Path) -> u64 {
    let Ok(known) = fs::symlink_metadata(path) else { return 0 };
    let own = known.blocks() * BLOCK;
    if !known.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    own + entries.map(|entry| room_of(&entry.path())).sum::<u64>()
}

/// Size and digest of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> io::Result<(u64, Digest)> {
    let mut hashing = Hashing::new(File::open(path)?);
    let mut buffer = vec![0; BUFFER];
    while hashing.read(&mut buffer)? > 0 {}
    Ok(hashing.finish())
}

/// Counts and digests what is read through it.
#[derive(Debug)]
pub struct Hashing<R> {
    input: R,
    hasher: Sha256,
    seen: u64,
}

impl<R: Read> Hashing<R> {
    /// Nothing read yet.
    pub fn new(input: R) -> Self {
        Self { input, hasher: Sha256::new(), seen: 0 }
    }

    /// How much was read, and its digest.
    pub fn finish(self) -> (u64, Digest) {
        (self.seen, Digest::finish(self.hasher))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.seen += n as u64;
        Ok(n)
    }
}
