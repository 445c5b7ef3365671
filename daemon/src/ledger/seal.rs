//! The seal of a closed index: what its files were, and where the journal ended, when the daemon left.
//!
//! sled may panic, hang or lie over files that are not as it left them. So an index is opened only if every byte of it
//! is as it was sealed and the journal ends where it did; any other is made anew from the journal.
//! Must not: be written while anything may still change the index.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::segment::Position;
use crate::medium::Medium;

const BUFFER: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    /// Where the journal ended.
    journal: Position,
    /// Size and CRC-32C of each file of the index.
    files: BTreeMap<String, (u64, u32)>,
}

/// What a look at a seal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// All is as it was sealed.
    Whole,
    /// There is none: the last daemon did not leave in good order, or is at work.
    Nothing,
    /// Something differs, in words.
    Broken(String),
}

/// Where the seal of an index is.
pub(super) fn path(index: &Path) -> PathBuf {
    index.with_extension("seal")
}

/// Seals an index that is closed: its files are flushed, then the seal is written.
pub(super) fn write(medium: &Medium, index: &Path, journal: Position) -> io::Result<()> {
    let files = digests(index, Flush::Yes)?;
    let bytes = serde_json::to_vec(&Seal { journal, files })?;
    let (place, part) = (path(index), index.with_extension("part"));
    let file = medium.create(&part)?;
    medium.write_at(&file, &bytes, 0)?;
    medium.flush(&file)?;
    medium.rename(&part, &place)?;
    medium.flush_folder(place.parent().unwrap_or(Path::new(".")))
}

/// Where the journal ended when the index was sealed, if it is and the seal can be read.
pub(super) fn journal(index: &Path) -> Option<Position> {
    let bytes = fs::read(path(index)).ok()?;
    serde_json::from_slice::<Seal>(&bytes).ok().map(|seal| seal.journal)
}

/// Compares an index with its seal.
pub(super) fn look(index: &Path, journal: Position) -> Found {
    let bytes = match fs::read(path(index)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Broken(format!("its seal cannot be read: {error}")),
    };
    let Ok(seal) = serde_json::from_slice::<Seal>(&bytes) else {
        return Found::Broken("its seal is damaged".to_owned());
    };
    if seal.journal != journal {
        return Found::Broken("it was sealed at another place of the journal".to_owned());
    }
    match digests(index, Flush::No) {
        Err(error) => Found::Broken(format!("it cannot be read: {error}")),
        Ok(found) if found == seal.files => Found::Whole,
        Ok(found) => {
            let differs = |name: &&String| found.get(*name) != seal.files.get(*name);
            let name = seal.files.keys().chain(found.keys()).find(differs);
            Found::Broken(format!("{} is not as it was sealed", name.map_or("a file", String::as_str)))
        }
    }
}

/// Takes the seal off, durably: from now on the index may change.
pub(super) fn remove(medium: &Medium, index: &Path) -> io::Result<()> {
    let place = path(index);
    medium.remove(&place)?;
    medium.flush_folder(place.parent().unwrap_or(Path::new(".")))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    Yes,
    No,
}

fn digests(index: &Path, flush: Flush) -> io::Result<BTreeMap<String, (u64, u32)>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![index.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = File::open(&path)?;
            if flush == Flush::Yes {
                file.sync_all()?;
            }
            let name = path.strip_prefix(index).unwrap_or(&path).display().to_string();
            found.insert(name, digest(file)?);
        }
        if flush == Flush::Yes {
            File::open(&folder)?.sync_all()?;
        }
    }
    Ok(found)
}

fn digest(mut file: File) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; BUFFER];
    let (mut size, mut crc) = (0, 0);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, crc));
        }
        size += n as u64;
        crc = crc32c::crc32c_append(crc, &buffer[..n]);
    }
}
