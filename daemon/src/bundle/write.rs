//! Writes a bundle: a plain ustar stream whose every byte follows from its content.
//!
//! Must not: open files; the caller hands each entry's bytes over as a reader.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use super::document::{Entry, Header};
use super::limits::{ENTRY_BYTES, PATH_BYTES, TEXT_ENTRY_BYTES};
use super::{Digest, DocumentError};

/// Bytes of a tar block.
pub const BLOCK: usize = 512;

const COPY_BUFFER: usize = 64 * 1024;

/// Why a bundle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The header cannot be expressed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An entry's path or size does not fit the format.
    #[error("entry `{path}` does not fit the format: {why}")]
    Entry {
        /// The entry.
        path: String,
        /// What does not fit.
        why: String,
    },
    /// Reading an entry's content failed.
    #[error("failed to read the content of `{path}`")]
    Content {
        /// The entry.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content is not what was measured.
    #[error("the content of `{path}` changed while the bundle was written; pack again")]
    Changed {
        /// The entry.
        path: String,
    },
    /// The output failed.
    #[error("failed to write the bundle")]
    Output(#[source] io::Error),
}

/// Size and digest of a content, read to its end in constant memory.
///
/// # Errors
/// When the reader fails.
pub fn measure(path: &str, mut content: impl Read) -> io::Result<Entry> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        let n = content.read(&mut buffer)?;
        if n == 0 {
            return Ok(Entry { path: path.to_owned(), size, sha256: Digest::finish(hasher) });
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
    }
}

/// Writes the whole archive. `open` yields the content of an entry that [`measure`] has seen.
///
/// # Errors
/// When a path or size does not fit, a content changed since it was measured, or reading or writing fails.
pub fn archive(
    out: &mut dyn Write,
    header: &Header,
    open: &mut dyn FnMut(&Entry) -> io::Result<Box<dyn Read>>,
) -> Result<(), WriteError> {
    let document = header.to_bytes()?;
    if document.len() as u64 > TEXT_ENTRY_BYTES {
        let why = format!("it has {} bytes, the limit is {TEXT_ENTRY_BYTES}", document.len());
        return Err(WriteError::Entry { path: Header::PATH.to_owned(), why });
    }
    let first = Entry { path: Header::PATH.to_owned(), size: document.len() as u64, sha256: Digest::of(&document) };
    entry(out, &first, &mut document.as_slice())?;
    for wanted in &header.entries {
        let mut content = open(wanted).map_err(|source| WriteError::Content { path: wanted.path.clone(), source })?;
        entry(out, wanted, &mut content)?;
    }
    out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.flush()).map_err(WriteError::Output)
}

/// The one tar header an entry of this path and size may have.
///
/// # Errors
/// When path or size do not fit a plain ustar header.
pub fn tar_header(path: &str, size: u64) -> Result<[u8; BLOCK], WriteError> {
    let misfit = |why: String| WriteError::Entry { path: path.to_owned(), why };
    if path.len() > PATH_BYTES {
        return Err(misfit(format!("its path is longer than {PATH_BYTES} bytes")));
    }
    if size > ENTRY_BYTES {
        return Err(misfit(format!("it is larger than {ENTRY_BYTES} bytes")));
    }
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(|error| misfit(error.to_string()))?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Zero bytes that follow a content of this size up to the next block.
#[must_use]
pub fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

fn entry(out: &mut dyn Write, wanted: &Entry, content: &mut dyn Read) -> Result<(), WriteError> {
    out.write_all(&tar_header(&wanted.path, wanted.size)?).map_err(WriteError::Output)?;
    let mut hasher = Sha256::new();
    let mut left = wanted.size;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        let n =
            content.read(&mut buffer).map_err(|source| WriteError::Content { path: wanted.path.clone(), source })?;
        if n == 0 {
            break;
        }
        left = left.checked_sub(n as u64).ok_or_else(|| WriteError::Changed { path: wanted.path.clone() })?;
        hasher.update(&buffer[..n]);
        out.write_all(&buffer[..n]).map_err(WriteError::Output)?;
    }
    if left != 0 || Digest::finish(hasher) != wanted.sha256 {
        return Err(WriteError::Changed { path: wanted.path.clone() });
    }
    out.write_all(&[0; BLOCK][..padding(wanted.size)]).map_err(WriteError::Output)
}
