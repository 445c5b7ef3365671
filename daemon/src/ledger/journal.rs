//! The journal: append-only segments of framed records.
//!
//! ```text
//! segment  = "PERIGEEJ" version:u32 zero:u32 frame*          name: <cursor of its first record, 20 digits>.journal
//! frame    = length:u32 crc32c:u32 payload[length]           integers little-endian; the CRC covers length and payload
//! payload  = JSON: {"frame":"decided","first":N,"records":[…]} or {"frame":"started","boot":…,"version":…,"offset_ms":N}
//! ```
//!
//! Must not: know what the records mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::{FRAME_HEADER, FRAME_MAX, Frame, decode, encode};

/// Number of a record, from 1, without gaps.
pub type Cursor = u64;

const MAGIC: &[u8; 8] = b"PERIGEEJ";
const VERSION: u32 = 1;
const HEADER: u64 = 16;
/// Segments end here, so that purging can free them one by one.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Room that a medium which was full must have again before it is trusted.
const TRIAL_BYTES: usize = 64 * 1024;

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
    #[error("{} is damaged at byte {offset}: {why}; keep the file and report it", path.display())]
    Damaged {
        /// Which segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A segment of another version.
    #[error("{} has journal version {found}; this program reads version {VERSION}", path.display())]
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
    /// A write failed and could not be taken back.
    #[error("an earlier write failed and could not be taken back; the journal must be opened again")]
    Poisoned,
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + 'a {
    move |source| JournalError::File { doing, path: path.to_owned(), source }
}

/// The journal, open for appending.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    segment: Cursor,
    end: u64,
    next: Cursor,
    poisoned: bool,
}

impl Journal {
    /// Opens or makes a journal; a torn tail of the last segment is cut and noted.
    ///
    /// # Errors
    /// When files cannot be used or anything but the tail is damaged.
    pub fn open(dir: &Path, notes: &mut Vec<String>) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        let Some(segment) = segments(dir)?.last().copied() else {
            let (file, segment) = create(dir, 1)?;
            return Ok(Self { dir: dir.to_owned(), file, segment, end: HEADER, next: 1, poisoned: false });
        };
        let path = path(dir, segment);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("look at", &path))?.len();
        let mut next = segment;
        let mut end = HEADER;
        let mut reader =
            Reader { dir: dir.to_owned(), tail: Tail::Still }.start_at(Some(Position { segment, offset: HEADER }));
        if length < HEADER {
            // The power went between making the segment and its first frame.
            write_header(&file, &path)?;
            reader =
                Reader { dir: dir.to_owned(), tail: Tail::Still }.start_at(Some(Position { segment, offset: HEADER }));
        }
        let mut reader = reader?;
        let torn = loop {
            match reader.next_frame() {
                Ok(Some((_, frame))) => {
                    if let Frame::Decided { first, records } = frame {
                        next = first + records.len() as u64;
                    }
                    end = reader.offset;
                }
                Ok(None) => break None,
                Err(JournalError::Damaged { why, .. }) => break Some(why),
                Err(error) => return Err(error),
            }
        };
        if let Some(why) = torn {
            cut(&file, &path, end, length, &why, notes)?;
        }
        Ok(Self { dir: dir.to_owned(), file, segment, end, next, poisoned: false })
    }

    /// Appends one frame and waits until it is on the medium.
    ///
    /// # Errors
    /// When it is not; the journal is then as it was.
    pub fn append(&mut self, frame: &Frame) -> Result<Position, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        if self.end >= SEGMENT_BYTES && self.next > self.segment {
            let (file, segment) = create(&self.dir, self.next)?;
            (self.file, self.segment, self.end) = (file, segment, HEADER);
        }
        let path = path(&self.dir, self.segment);
        let bytes = encode(frame)?;
        let written = self.file.write_all_at(&bytes, self.end).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let undone = self.file.set_len(self.end).and_then(|()| self.file.sync_data());
            self.poisoned = undone.is_err();
            return Err(failed("append to", &path)(source));
        }
        let position = Position { segment: self.segment, offset: self.end };
        self.end += bytes.len() as u64;
        if let Frame::Decided { first, records } = frame {
            self.next = first + records.len() as u64;
        }
        Ok(position)
    }

    /// After a failed append: cuts what it left, and tries whether the medium takes new bytes.
    ///
    /// # Errors
    /// When it does not.
    pub fn mend(&mut self) -> Result<(), JournalError> {
        let path = path(&self.dir, self.segment);
        let cut = self.file.set_len(self.end).and_then(|()| self.file.sync_data());
        cut.map_err(failed("cut the unwritten tail of", &path))?;
        self.poisoned = false;
        let trial = self.dir.join("trial");
        let written = crate::disk::write_durably(&trial, &[0; TRIAL_BYTES]);
        if written.is_err() {
            // What it half wrote takes the room that others wait for.
            let _ = fs::remove_file(trial.with_extension("part"));
        }
        written.and_then(|()| fs::remove_file(&trial)).map_err(failed("write", &trial))
    }

    /// Where the next frame will begin.
    #[must_use]
    pub fn end(&self) -> Position {
        Position { segment: self.segment, offset: self.end }
    }

    /// The cursor that the next record will have.
    #[must_use]
    pub fn next_cursor(&self) -> Cursor {
        self.next
    }

    /// A handle for reading what has been appended.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { dir: self.dir.clone(), tail: Tail::Growing }
    }
}

/// Cuts a torn tail. A tail is torn only if no whole frame follows the damage: else it is a damaged middle.
fn cut(
    file: &File,
    path: &Path,
    end: u64,
    length: u64,
    why: &str,
    notes: &mut Vec<String>,
) -> Result<(), JournalError> {
    let mut rest = vec![0; usize::try_from(length - end).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut rest, end).map_err(failed("read", path))?;
    let whole_follows = (1..rest.len()).any(|at| decode(&rest[at..]).is_ok_and(|found| found.is_some()));
    if whole_follows {
        return Err(JournalError::Damaged { path: path.to_owned(), offset: end, why: why.to_owned() });
    }
    file.set_len(end).and_then(|()| file.sync_data()).map_err(failed("cut the torn tail of", path))?;
    notes.push(format!("{}: a torn tail of {} bytes was cut ({why})", path.display(), length - end));
    Ok(())
}

fn path(dir: &Path, segment: Cursor) -> PathBuf {
    dir.join(format!("{segment:020}.journal"))
}

fn segments(dir: &Path) -> Result<Vec<Cursor>, JournalError> {
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

fn create(dir: &Path, segment: Cursor) -> Result<(File, Cursor), JournalError> {
    let path = path(dir, segment);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(failed("make", &path))?;
    write_header(&file, &path)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("flush", dir))?;
    Ok((file, segment))
}

fn write_header(mut file: &File, path: &Path) -> Result<(), JournalError> {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    file.rewind().and_then(|()| file.write_all(&header)).and_then(|()| file.sync_all()).map_err(failed("begin", path))
}

/// What a frame that is cut short means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nobody writes: damage.
    Still,
    /// It is being written this very moment: the end, for now.
    Growing,
}

/// Reads the journal of a directory.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
    tail: Tail,
}

impl Reader {
    /// Starts at a frame, or at the very beginning.
    ///
    /// # Errors
    /// When the segment cannot be opened.
    pub fn start_at(self, from: Option<Position>) -> Result<Frames, JournalError> {
        let segments = segments(&self.dir)?;
        let from = from.or(segments.first().map(|segment| Position { segment: *segment, offset: HEADER }));
        let mut frames = Frames { dir: self.dir, tail: self.tail, file: None, segment: 0, offset: 0 };
        if let Some(from) = from {
            frames.open(from)?;
        }
        Ok(frames)
    }

    /// The start of the segment that holds a cursor.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn segment_of(&self, cursor: Cursor) -> Result<Option<Position>, JournalError> {
        let holds = segments(&self.dir)?.into_iter().rfind(|segment| *segment <= cursor);
        Ok(holds.map(|segment| Position { segment, offset: HEADER }))
    }
}

/// A walk over frames.
#[derive(Debug)]
pub struct Frames {
    dir: PathBuf,
    tail: Tail,
    file: Option<BufReader<File>>,
    segment: Cursor,
    offset: u64,
}

impl Frames {
    fn open(&mut self, at: Position) -> Result<(), JournalError> {
        let path = path(&self.dir, at.segment);
        let mut file = BufReader::new(File::open(&path).map_err(failed("open", &path))?);
        let mut header = [0; HEADER as usize];
        let damaged = |why: &str| JournalError::Damaged { path: path.clone(), offset: 0, why: why.to_owned() };
        file.read_exact(&mut header).map_err(|_| damaged("it is shorter than its header"))?;
        if &header[..8] != MAGIC {
            return Err(damaged("it does not begin like a journal"));
        }
        let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if found != VERSION {
            return Err(JournalError::Version { path, found });
        }
        file.seek(SeekFrom::Start(at.offset)).map_err(failed("seek in", &path))?;
        (self.file, self.segment, self.offset) = (Some(file), at.segment, at.offset);
        Ok(())
    }

    /// The next frame and where it begins; `None` at the end of the last segment.
    ///
    /// # Errors
    /// When bytes are damaged or cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<(Position, Frame)>, JournalError> {
        loop {
            let Some(file) = &mut self.file else { return Ok(None) };
            let path = path(&self.dir, self.segment);
            let mut bytes = Vec::new();
            let mut part = file.take(FRAME_HEADER as u64);
            part.read_to_end(&mut bytes).map_err(failed("read", &path))?;
            if bytes.is_empty() {
                let Some(next) = segments(&self.dir)?.into_iter().find(|segment| *segment > self.segment) else {
                    return Ok(None);
                };
                self.open(Position { segment: next, offset: HEADER })?;
                continue;
            }
            let position = Position { segment: self.segment, offset: self.offset };
            let damaged = |why: String| JournalError::Damaged { path: path.clone(), offset: position.offset, why };
            if bytes.len() == FRAME_HEADER {
                let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
                file.take(length.min(FRAME_MAX) as u64).read_to_end(&mut bytes).map_err(failed("read", &path))?;
            }
            return match decode(&bytes).map_err(damaged)? {
                Some((length, frame)) => {
                    self.offset += length as u64;
                    Ok(Some((position, frame)))
                }
                None if self.tail == Tail::Growing => {
                    file.seek(SeekFrom::Start(self.offset)).map_err(failed("seek in", &path))?;
                    Ok(None)
                }
                None => Err(damaged("a frame is cut short".to_owned())),
            };
        }
    }
}
