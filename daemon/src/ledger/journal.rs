//! The journal: append-only segments of framed records.
//!
//! ```text
//! segment  = "PERIGEEJ" version:u32 crc32c:u32 frame*        name: <cursor of its first record, 20 digits>.journal
//! frame    = length:u32 crc32c:u32 payload[length]           integers little-endian; the CRC covers length and payload
//! payload  = JSON: {"frame":"decided","first":N,"records":[…]}, {"frame":"started","boot":…,"version":…,"offset_ms":N},
//!            {"frame":"forgotten","executions":[…]} or {"frame":"compacted","until":N,"latest":N}
//! ```
//!
//! Must not: know what the records mean.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{Frame, encode, whole_after};
use super::reader::{Healed, Reader, Tail};
use super::segment::{Cursor, HEADER, JournalError, Position, VERSION, create, failed, length, path, segments};
use crate::medium::Medium;

/// Room that a medium which was full must have again before it is trusted.
const TRIAL_BYTES: usize = 64 * 1024;
/// Where a torn tail that was cut is kept until the next one.
const TORN: &str = "torn-tail";

/// The journal, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    medium: Medium,
    segment_bytes: u64,
    file: File,
    segment: Cursor,
    end: u64,
    next: Cursor,
    poisoned: bool,
}

impl Journal {
    /// Opens or makes a journal. What a crash left is mended and noted: a torn tail of the last segment is cut, a
    /// compaction that was under way is finished or taken back.
    ///
    /// # Errors
    /// When files cannot be used or anything but the tail is damaged.
    pub(super) fn open(
        dir: &Path,
        medium: Medium,
        segment_bytes: u64,
        notes: &mut Vec<String>,
    ) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        sweep(dir, &medium)?;
        let Some(segment) = segments(dir)?.last().copied() else {
            let file = create(&medium, dir, 1)?;
            let dir = dir.to_owned();
            return Ok(Self { dir, medium, segment_bytes, file, segment: 1, end: HEADER, next: 1, poisoned: false });
        };
        let path = path(dir, segment);
        if length(dir, segment)? < HEADER {
            // The power went while version 1 made it.
            create(&medium, dir, segment)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        let mut frames = Reader::new(dir, Tail::Still).start_at(Some(segment))?;
        let torn = loop {
            match frames.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(JournalError::Damaged { why, .. }) => break Some(why),
                Err(error) => return Err(error),
            }
        };
        let end = frames.position().offset;
        let next = frames.expected().unwrap_or(segment);
        let mut journal =
            Self { dir: dir.to_owned(), medium, segment_bytes, file, segment, end, next, poisoned: false };
        if let Some(why) = torn {
            journal.cut_tail(&why, notes)?;
        }
        journal.heal(frames.healed(), notes)?;
        if frames.version() < VERSION {
            journal.begin_segment()?;
        }
        Ok(journal)
    }

    /// Cuts a torn tail. A tail is torn only if no whole frame follows the damage: else it is a damaged middle.
    fn cut_tail(&mut self, why: &str, notes: &mut Vec<String>) -> Result<(), JournalError> {
        let path = path(&self.dir, self.segment);
        let length = self.file.metadata().map_err(failed("look at", &path))?.len();
        let mut rest = vec![0; usize::try_from(length.saturating_sub(self.end)).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut rest, self.end).map_err(failed("read", &path))?;
        if whole_after(&rest, 0).is_some() {
            return Err(JournalError::Damaged { path, offset: self.end, why: why.to_owned() });
        }
        // To look at it later; a disk that has no room for it still gets its journal.
        let kept = self.dir.join(TORN);
        let said = match fs::write(&kept, &rest) {
            Ok(()) => format!("; it is kept as {}", kept.display()),
            Err(_) => String::new(),
        };
        let cut = self.medium.cut(&self.file, self.end).and_then(|()| self.medium.flush(&self.file));
        cut.map_err(failed("cut the torn tail of", &path))?;
        notes.push(format!("{}: a torn tail of {} bytes was cut ({why}){said}", path.display(), rest.len()));
        Ok(())
    }

    /// Puts right on the medium what was put right in reading.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn heal(&self, healed: &[Healed], notes: &mut Vec<String>) -> Result<(), JournalError> {
        for Healed { path, offset, right } in healed {
            let file = OpenOptions::new().write(true).open(path).map_err(failed("open", path))?;
            let written = self.medium.write_at(&file, &[*right], *offset).and_then(|()| self.medium.flush(&file));
            written.map_err(failed("put right", path))?;
            notes.push(format!("{}: byte {offset} was wrong and was put right; nothing is lost", path.display()));
        }
        Ok(())
    }

    /// Appends one frame and waits until it is on the medium. Returns how many bytes it has.
    ///
    /// # Errors
    /// When it is not; the journal is then as it was.
    pub(super) fn append(&mut self, frame: &Frame) -> Result<u64, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        let bytes = encode(frame)?;
        if self.end >= self.segment_bytes && self.next > self.segment {
            self.begin_segment()?;
        }
        let path = path(&self.dir, self.segment);
        let written = self.medium.write_at(&self.file, &bytes, self.end);
        if let Err(source) = written.and_then(|()| self.medium.flush_data(&self.file)) {
            let undone = self.medium.cut(&self.file, self.end).and_then(|()| self.medium.flush(&self.file));
            self.poisoned = undone.is_err();
            return Err(failed("append to", &path)(source));
        }
        self.end += bytes.len() as u64;
        if let Frame::Decided { first, records } = frame {
            self.next = first + records.len() as u64;
        }
        Ok(bytes.len() as u64)
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        let file = create(&self.medium, &self.dir, self.next)?;
        (self.file, self.segment, self.end) = (file, self.next, HEADER);
        Ok(())
    }

    /// After a failed append: cuts what it left.
    ///
    /// # Errors
    /// When it cannot be cut.
    pub(super) fn take_back(&mut self) -> Result<(), JournalError> {
        let path = path(&self.dir, self.segment);
        let cut = self.medium.cut(&self.file, self.end).and_then(|()| self.medium.flush(&self.file));
        cut.map_err(failed("cut the unwritten tail of", &path))?;
        self.poisoned = false;
        Ok(())
    }

    /// Tries whether the medium takes new bytes.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn try_medium(&self) -> Result<(), JournalError> {
        let trial = self.dir.join("trial.part");
        let written = self
            .medium
            .create(&trial)
            .and_then(|file| self.medium.write_at(&file, &[0; TRIAL_BYTES], 0).and_then(|()| self.medium.flush(&file)));
        // What it half wrote takes the room that others wait for.
        let removed = self.medium.remove(&trial);
        written.and(removed).map_err(failed("write", &trial))
    }

    /// Where the next frame will begin.
    #[must_use]
    pub(super) fn end(&self) -> Position {
        Position { segment: self.segment, offset: self.end }
    }

    /// The cursor that the next record will have.
    #[must_use]
    pub(super) fn next_cursor(&self) -> Cursor {
        self.next
    }

    /// The folder of the segments.
    #[must_use]
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A handle for reading what has been appended.
    #[must_use]
    pub(super) fn reader(&self) -> Reader {
        Reader::new(&self.dir, Tail::Growing)
    }
}

/// Removes what a crash left of files in the making, and segments that a compacted one stands for.
fn sweep(dir: &Path, medium: &Medium) -> Result<(), JournalError> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            medium.remove(&path).map_err(failed("remove", &path))?;
        }
    }
    let all = segments(dir)?;
    let (Some(first), true) = (all.first(), all.len() > 1) else { return Ok(()) };
    let Some((_, Frame::Compacted { until, .. })) =
        Reader::new(dir, Tail::Still).start_at(Some(*first))?.next_frame()?
    else {
        return Ok(());
    };
    remove_between(dir, medium, *first, until)
}

/// Removes the segments between two.
pub(super) fn remove_between(dir: &Path, medium: &Medium, first: Cursor, until: Cursor) -> Result<(), JournalError> {
    let covered: Vec<Cursor> =
        segments(dir)?.into_iter().filter(|segment| *segment > first && *segment < until).collect();
    for segment in &covered {
        let path = path(dir, *segment);
        medium.remove(&path).map_err(failed("remove", &path))?;
    }
    if covered.is_empty() { Ok(()) } else { medium.flush_folder(dir).map_err(failed("flush", dir)) }
}
