//! Reads the journal frame by frame, and looks whether all of it is there.
//!
//! Must not: change a file; what is put right is put right in memory and said.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::frame::{FRAME_HEADER, FRAME_MAX, Frame, decode, whole_after};
use super::heal::wrong_byte;
use super::segment::{Cursor, HEADER, Header, JournalError, Position, failed, header, path, read_header, segments};

/// What a frame that is cut short means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nobody writes: damage.
    Still,
    /// It is being written this very moment: the end, for now.
    Growing,
}

/// Reads the journal of a directory.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    dir: PathBuf,
    tail: Tail,
}

/// A byte that was not what was written; it is read as if it were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// Which segment.
    pub path: PathBuf,
    /// Which byte.
    pub offset: u64,
    /// What it must be.
    pub right: u8,
}

impl Reader {
    /// Of a directory.
    #[must_use]
    pub(super) fn new(dir: &Path, tail: Tail) -> Self {
        Self { dir: dir.to_owned(), tail }
    }

    /// Starts at the segment that holds a cursor, or at the very beginning.
    ///
    /// # Errors
    /// When the segment cannot be opened.
    pub(super) fn start_at(&self, cursor: Option<Cursor>) -> Result<Frames, JournalError> {
        let segments = segments(&self.dir)?;
        let holding = cursor.and_then(|cursor| segments.iter().rfind(|segment| **segment <= cursor));
        let mut frames = Frames {
            dir: self.dir.clone(),
            tail: self.tail,
            file: None,
            segment: 0,
            offset: HEADER,
            version: 0,
            expected: None,
            compacted: None,
            healed: Vec::new(),
        };
        if let Some(segment) = holding.or(segments.first()) {
            frames.open(*segment)?;
        }
        Ok(frames)
    }

    /// The oldest cursor from which on every record is there.
    ///
    /// # Errors
    /// When the directory cannot be read or its oldest segment is damaged.
    pub(super) fn oldest(&self) -> Result<Cursor, JournalError> {
        let mut frames = self.start_at(None)?;
        let Some((position, frame)) = frames.next_frame()? else { return Ok(frames.segment.max(1)) };
        Ok(match frame {
            Frame::Compacted { until, .. } => until,
            Frame::Started { .. } | Frame::Decided { .. } | Frame::Forgotten { .. } | Frame::Reached { .. } => {
                position.segment
            }
        })
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
    version: u32,
    /// The cursor that the next record must have; in a compacted segment, the least that it may have.
    expected: Option<Cursor>,
    /// Where the segments behind a compacted one begin, while in that one.
    compacted: Option<Cursor>,
    healed: Vec<Healed>,
}

impl Frames {
    fn open(&mut self, segment: Cursor) -> Result<(), JournalError> {
        let path = path(&self.dir, segment);
        let mut file = BufReader::new(File::open(&path).map_err(failed("open", &path))?);
        let mut found = [0; HEADER as usize];
        let damaged = |why: &str| JournalError::Damaged { path: path.clone(), offset: 0, why: why.to_owned() };
        file.read_exact(&mut found).map_err(|_| damaged("it is shorter than its header"))?;
        self.version = match read_header(&found) {
            Header::Version(version) => version,
            Header::Healed { version, at } => {
                self.healed.push(Healed { path, offset: at as u64, right: header(version)[at] });
                version
            }
            Header::Later(found) => return Err(JournalError::Version { path, found }),
            Header::Foreign => return Err(damaged("it does not begin like a journal")),
        };
        if self.expected.is_none() {
            self.expected = Some(segment);
        }
        (self.file, self.segment, self.offset, self.compacted) = (Some(file), segment, HEADER, None);
        Ok(())
    }

    /// The end of the last frame that was read.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { segment: self.segment, offset: self.offset }
    }

    /// The journal version of the segment that is being read.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The cursor that the next record must have, once known.
    #[must_use]
    pub fn expected(&self) -> Option<Cursor> {
        self.expected
    }

    /// The bytes that were put right so far.
    #[must_use]
    pub fn healed(&self) -> &[Healed] {
        &self.healed
    }

    /// The next frame and where it begins; `None` at the end of the last segment.
    ///
    /// # Errors
    /// When bytes are damaged, records are missing, or a file cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<(Position, Frame)>, JournalError> {
        loop {
            let Some(file) = &mut self.file else { return Ok(None) };
            let mut bytes = Vec::new();
            let path = path(&self.dir, self.segment);
            let mut part = file.take(FRAME_HEADER as u64);
            part.read_to_end(&mut bytes).map_err(failed("read", &path))?;
            if bytes.is_empty() {
                if !self.next_segment()? {
                    return Ok(None);
                }
                continue;
            }
            if bytes.len() == FRAME_HEADER {
                let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
                file.take(length.min(FRAME_MAX) as u64).read_to_end(&mut bytes).map_err(failed("read", &path))?;
            }
            let position = self.position();
            let found = match decode(&bytes) {
                Ok(Some(found)) => found,
                Ok(None) if self.tail == Tail::Growing && self.is_last()? => match self.heal("a frame is cut short") {
                    Err(JournalError::Damaged { .. }) if !self.whole_follows()? => return Ok(None),
                    other => other?,
                },
                Ok(None) => self.heal("a frame is cut short")?,
                Err(why) => self.heal(&why)?,
            };
            self.follow(&found.1)?;
            self.offset += found.0 as u64;
            return Ok(Some((position, found.1)));
        }
    }

    /// Goes on to the segment behind this one, if there is one.
    fn next_segment(&mut self) -> Result<bool, JournalError> {
        let floor = self.compacted.unwrap_or(self.segment + 1);
        let Some(next) = segments(&self.dir)?.into_iter().find(|segment| *segment >= floor) else {
            return Ok(false);
        };
        let expected = self.compacted.or(self.expected).unwrap_or(next);
        if next != expected {
            let why = format!("it begins with record {next}, but record {expected} comes next: a segment is missing");
            return Err(JournalError::Damaged { path: path(&self.dir, next), offset: 0, why });
        }
        self.expected = Some(expected);
        self.open(next)?;
        Ok(true)
    }

    fn is_last(&self) -> Result<bool, JournalError> {
        Ok(segments(&self.dir)?.last().is_none_or(|last| *last <= self.segment))
    }

    /// Whether a whole frame begins behind the one that is not: then this one is not still being written. The walk
    /// stays where it is.
    fn whole_follows(&mut self) -> Result<bool, JournalError> {
        let path = path(&self.dir, self.segment);
        let Some(file) = &mut self.file else { return Ok(false) };
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(failed("seek in", &path))?;
        file.read_to_end(&mut rest).map_err(failed("read", &path))?;
        file.seek(SeekFrom::Start(self.offset)).map_err(failed("seek in", &path))?;
        Ok(whole_after(&rest, 0).is_some())
    }

    /// Reads a frame in which one byte is wrong.
    fn heal(&mut self, why: &str) -> Result<(usize, Frame), JournalError> {
        let path = path(&self.dir, self.segment);
        let damaged = || JournalError::Damaged { path: path.clone(), offset: self.offset, why: why.to_owned() };
        let file = self.file.as_mut().ok_or_else(damaged)?;
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(failed("seek in", &path))?;
        file.read_to_end(&mut rest).map_err(failed("read", &path))?;
        let wrong = wrong_byte(&rest).ok_or_else(damaged)?;
        rest[wrong.at] = wrong.right;
        let found = decode(&rest).ok().flatten().ok_or_else(damaged)?;
        file.seek(SeekFrom::Start(self.offset + found.0 as u64)).map_err(failed("seek in", &path))?;
        self.healed.push(Healed { path, offset: self.offset + wrong.at as u64, right: wrong.right });
        Ok(found)
    }

    /// Looks whether a frame may come here, and what must come next.
    fn follow(&mut self, frame: &Frame) -> Result<(), JournalError> {
        let damaged =
            |why: String| Err(JournalError::Damaged { path: path(&self.dir, self.segment), offset: self.offset, why });
        match frame {
            Frame::Compacted { until, .. } => self.compacted = Some(*until),
            Frame::Decided { first, records } => {
                let expected = self.expected.unwrap_or(*first);
                let fits = if self.compacted.is_some() { *first >= expected } else { *first == expected };
                if !fits {
                    return damaged(format!("record {first} is there, where record {expected} comes next"));
                }
                self.expected = Some(first + records.len() as u64);
            }
            Frame::Started { .. } | Frame::Forgotten { .. } | Frame::Reached { .. } => {}
        }
        Ok(())
    }
}
