//! Reads a bundle as a stream, strictly: the entries its header names, in that order, byte for byte as a
//! writer of this format would have written them, and nothing else. Memory does not grow with the bundle.
//!
//! Must not: keep or interpret content; each entry goes to the caller as a reader.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

use super::document::{Entry, Header, Sequence};
use super::limits::{ENTRIES, TEXT_ENTRY_BYTES, TEXTS_BYTES, ZSTD_WINDOW_LOG};
use super::write::{BLOCK, padding, tar_header};
use super::{Digest, DocumentError};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SIGNATURE: &str = "bundle.yaml.sig";

/// Why bytes are not a bundle. Offsets count bytes of the uncompressed stream.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream ends early.
    #[error("the bundle ends at byte {at}, inside {inside}: it is cut short; transfer it again")]
    Truncated {
        /// Where.
        at: u64,
        /// What was being read.
        inside: String,
    },
    /// Bytes after the end of the archive.
    #[error("the bundle goes on after its end at byte {at}; transfer it again")]
    Trailing {
        /// Where the end was.
        at: u64,
    },
    /// A tar header that no writer of this format makes.
    #[error("entry header at byte {at} is not legal: {why}")]
    Header {
        /// Where.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// Not the entry that must come here.
    #[error("entry `{found}` at byte {at} is not the one that belongs here, `{expected}`")]
    Order {
        /// Where.
        at: u64,
        /// The entry that came.
        found: String,
        /// The entry that bundle.yaml names.
        expected: String,
    },
    /// Content that is not what bundle.yaml says.
    #[error("entry `{path}` is damaged: its digest is {found}, bundle.yaml says {expected}; transfer the bundle again")]
    Damaged {
        /// The entry.
        path: String,
        /// Digest of the bytes that came.
        found: Digest,
        /// Digest that bundle.yaml names.
        expected: Digest,
    },
    /// A limit was reached.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// What was counted.
        what: String,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The list of entries is not one a writer makes.
    #[error("bundle.yaml: entries: {0}")]
    Listing(String),
    /// `bundle.yaml` cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Reading the stream or storing an entry failed.
    #[error("failed to {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Receives each entry after the header; it must read the content to its end.
pub type Sink<'a> = dyn FnMut(&Header, &Entry, &mut dyn Read) -> io::Result<()> + 'a;

/// Reads a bundle, plain or compressed with zstd, of at most `limit` uncompressed bytes.
///
/// # Errors
/// At the first byte that is not as it must be.
pub fn archive(mut input: impl BufRead, limit: u64, sink: &mut Sink<'_>) -> Result<Header, ReadError> {
    let start = input.fill_buf().map_err(|source| ReadError::Io { doing: "read the bundle".to_owned(), source })?;
    if !start.starts_with(&ZSTD_MAGIC) {
        return Stream { input, at: 0, limit }.archive(sink);
    }
    let failed = |source| ReadError::Io { doing: "decompress the bundle".to_owned(), source };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?.single_frame();
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
    let mut stream = Stream { input: decoder, at: 0, limit };
    let header = stream.archive(sink)?;
    let at = stream.at;
    match stream.input.finish().fill_buf().map_err(failed)? {
        [] => Ok(header),
        [..] => Err(ReadError::Trailing { at }),
    }
}

struct Stream<R> {
    input: R,
    at: u64,
    limit: u64,
}

impl<R: Read> Stream<R> {
    fn archive(&mut self, sink: &mut Sink<'_>) -> Result<Header, ReadError> {
        let (path, size) = self.entry_header()?;
        if path != Header::PATH {
            return Err(ReadError::Order { at: 0, found: path, expected: Header::PATH.to_owned() });
        }
        limited(&path, size, TEXT_ENTRY_BYTES)?;
        let mut document = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.fill(&mut document, &path)?;
        self.padding(size, &path)?;
        let header = Header::from_bytes(&document)?;
        check_listing(&header)?;
        for entry in &header.entries {
            self.entry(&header, entry, sink)?;
        }
        self.end()?;
        Ok(header)
    }

    fn entry(&mut self, header: &Header, entry: &Entry, sink: &mut Sink<'_>) -> Result<(), ReadError> {
        let at = self.at;
        let (path, size) = self.entry_header()?;
        if path == SIGNATURE {
            return Err(ReadError::Listing("signed bundles are not yet supported by this version".to_owned()));
        }
        if path != entry.path {
            return Err(ReadError::Order { at, found: path, expected: entry.path.clone() });
        }
        if size != entry.size {
            let why = format!("`{path}` has {size} bytes, bundle.yaml says {}", entry.size);
            return Err(ReadError::Header { at, why });
        }
        if self.at + size > self.limit {
            return Err(ReadError::Limit {
                what: "size of the bundle".to_owned(),
                found: self.at + size,
                limit: self.limit,
            });
        }
        let mut content = Content { stream: self, left: size, hasher: Sha256::new(), cut: false };
        let stored = sink(header, entry, &mut content);
        let (left, hasher, cut) = (content.left, content.hasher, content.cut);
        if cut {
            return Err(ReadError::Truncated { at: self.at, inside: format!("`{path}`") });
        }
        stored.map_err(|source| ReadError::Io { doing: format!("take the content of `{path}`"), source })?;
        let found = Digest::finish(hasher);
        if left != 0 || found != entry.sha256 {
            return Err(ReadError::Damaged { path, found, expected: entry.sha256 });
        }
        self.padding(size, &path)
    }

    fn entry_header(&mut self) -> Result<(String, u64), ReadError> {
        let at = self.at;
        let mut block = [0; BLOCK];
        self.fill(&mut block, "an entry header")?;
        let illegal = |why: &str| ReadError::Header { at, why: why.to_owned() };
        if block == [0; BLOCK] {
            return Err(illegal("the archive ends before all entries of bundle.yaml came"));
        }
        let header = tar::Header::from_byte_slice(&block);
        let path = std::str::from_utf8(&header.path_bytes()).map_err(|_| illegal("its path is not UTF-8"))?.to_owned();
        if !header.entry_type().is_file() {
            return Err(illegal(&format!("`{path}` is not a regular file (links, folders and devices are refused)")));
        }
        legal_path(&path).map_err(|why| illegal(&why))?;
        let size = header.entry_size().map_err(|_| illegal("its size cannot be read"))?;
        let canonical = tar_header(&path, size).map_err(|error| illegal(&error.to_string()))?;
        if canonical != block {
            return Err(illegal(&format!(
                "`{path}` has fields that a writer of this format never sets, or is damaged"
            )));
        }
        Ok((path, size))
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let at = self.at;
        let mut blocks = [0; 2 * BLOCK];
        self.fill(&mut blocks, "the end of the archive")?;
        if blocks != [0; 2 * BLOCK] {
            let why = "bundle.yaml names no further entry, but the archive goes on".to_owned();
            return Err(ReadError::Header { at, why });
        }
        let at = self.at;
        match self.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(ReadError::Trailing { at }),
        }
    }

    fn padding(&mut self, size: u64, path: &str) -> Result<(), ReadError> {
        let at = self.at;
        let mut block = [0; BLOCK];
        let padding = &mut block[..padding(size)];
        self.fill(padding, path)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ReadError::Header { at, why: format!("the padding after `{path}` is not zero") });
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8], inside: &str) -> Result<(), ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => return Err(ReadError::Truncated { at: self.at, inside: inside.to_owned() }),
                n => filled += n,
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            match self.input.read(buffer) {
                Ok(n) => {
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(source) => return Err(ReadError::Io { doing: format!("read byte {}", self.at), source }),
            }
        }
    }
}

/// The content of one entry: bounded, counted and hashed as it is read.
struct Content<'a, R> {
    stream: &'a mut Stream<R>,
    left: u64,
    hasher: Sha256,
    cut: bool,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.stream.read(&mut buffer[..most]).map_err(io::Error::other)?;
        if n == 0 {
            self.cut = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(&buffer[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}

/// Rank of an entry in the archive: sequence, manifests, files, images.
fn rank(path: &str) -> Option<u8> {
    match path.split_once('/') {
        None if path == Sequence::PATH => Some(0),
        Some(("manifests", name)) if !name.contains('/') && name.ends_with(".yaml") => Some(1),
        Some(("files", _)) => Some(2),
        Some(("images", name)) if !name.contains('/') && name.ends_with(".tar") => Some(3),
        None | Some(_) => None,
    }
}

fn check_listing(header: &Header) -> Result<(), ReadError> {
    let entries = &header.entries;
    if entries.len() > ENTRIES {
        return Err(ReadError::Limit {
            what: "number of entries".to_owned(),
            found: entries.len() as u64,
            limit: ENTRIES as u64,
        });
    }
    let texts = entries.iter().filter(|entry| rank(&entry.path).is_some_and(|rank| rank <= 1)).map(|entry| entry.size);
    let found = texts.fold(0, u64::saturating_add);
    if found > TEXTS_BYTES {
        return Err(ReadError::Limit { what: "size of all documents".to_owned(), found, limit: TEXTS_BYTES });
    }
    if entries.first().is_none_or(|first| first.path != Sequence::PATH) {
        return Err(ReadError::Listing(format!("the first must be `{}`", Sequence::PATH)));
    }
    let mut previous = None;
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for entry in entries {
        let path = &entry.path;
        let rank = rank(path).ok_or_else(|| {
            ReadError::Listing(format!(
                "`{path}` is in no folder that a bundle has (manifests/*.yaml, files/, images/*.tar)"
            ))
        })?;
        legal_path(path).map_err(ReadError::Listing)?;
        if rank <= 1 {
            limited(path, entry.size, TEXT_ENTRY_BYTES)?;
        }
        let key = (rank, path.as_str());
        match previous.replace(key) {
            Some(before) if before == key => return Err(ReadError::Listing(format!("`{path}` is there twice"))),
            Some(before) if before > key => return Err(ReadError::Listing(format!("`{path}` is out of order"))),
            Some(_) | None => {}
        }
        // In archive order a file comes before what would lie in it.
        if let Some((at, _)) = path.match_indices('/').find(|(at, _)| seen.contains(&path[..*at])) {
            return Err(ReadError::Listing(format!("`{}` is a file and a folder", &path[..at])));
        }
        seen.insert(path);
    }
    Ok(())
}

fn legal_path(path: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err(format!("`{path}` is an absolute path"));
    }
    match super::path::relative(path) {
        Ok(plain) if plain == path => Ok(()),
        Ok(_) => Err(format!("`{path}` is not in its plain form")),
        Err(bad) => Err(bad.to_string()),
    }
}

fn limited(path: &str, size: u64, limit: u64) -> Result<(), ReadError> {
    if size <= limit {
        return Ok(());
    }
    Err(ReadError::Limit { what: format!("size of `{path}`"), found: size, limit })
}
