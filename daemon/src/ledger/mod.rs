//! Shell: the durable state. A journal of records is the truth; sled is an index of it for queries and start-up.
//!
//! **The contract.** [`Ledger::commit`] returns `Ok` only after its records are on the medium (append + fdatasync):
//! all of them or none. A failed commit leaves the journal as it was. [`Ledger::open`] cuts a torn tail at the last
//! whole frame, puts a single wrong byte right, refuses a damaged middle, and makes the index anew unless every byte of
//! it is as the last daemon sealed it. What is forgotten loses its records, never its identity.
//! Must not: decide anything.

pub mod check;
mod compact;
mod error;
mod frame;
mod heal;
pub mod identity;
mod index;
mod journal;
mod lock;
mod past;
mod queries;
mod reader;
mod replay;
mod reserve;
mod seal;
mod segment;
mod short;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use error::LedgerError;
pub use frame::Frame;
pub use index::{Ended, Index, IndexError};
pub use queries::Queries;
pub use replay::Found;
pub use segment::{Cursor, JournalError, Position, VERSION};

use crate::bundle::ExecutionId;
use crate::medium::Medium;
use crate::sequence::{Execution, Record, Recorded};
use crate::time::BootTime;
use journal::Journal;
use replay::Sealed;
use reserve::Reserve;

/// Segments end here, so that what is forgotten can be given back bit by bit.
pub const SEGMENT_BYTES: u64 = 8 << 20;

/// How a ledger is laid out.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Where segments end.
    pub segment_bytes: u64,
    /// Bytes of the reserve.
    pub reserve_bytes: u64,
    /// The way to the medium.
    pub medium: Medium,
}

impl Default for Layout {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, reserve_bytes: reserve::RESERVE_BYTES, medium: Medium::default() }
    }
}

/// One boot of the board, as a daemon noted it at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's identity of it.
    pub id: String,
    /// How far our boot time is ahead of the board's, in milliseconds.
    pub offset_ms: u64,
}

/// What a commit wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Cursor of its first record.
    pub first: Cursor,
    /// Bytes that it took.
    pub bytes: u64,
}

/// An ended execution whose records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When it ended.
    pub ended: BootTime,
    /// Bytes of its records.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    first: Cursor,
    bytes: u64,
}

/// The durable state, open for writing by this process alone.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal,
    medium: Medium,
    index: Option<Index>,
    index_path: PathBuf,
    reserve: Reserve,
    segment_bytes: u64,
    live: BTreeMap<ExecutionId, Start>,
    kept: BTreeMap<(Cursor, ExecutionId), Kept>,
    forgotten: u64,
    latest: BootTime,
    /// Bytes of the closed segments when a compaction failed: not tried again before there are more.
    compaction_failed: u64,
    _lock: File,
}

impl Ledger {
    /// Opens or makes the ledger of a state directory and replays it.
    ///
    /// # Errors
    /// When the directory cannot be written, another daemon holds it, or the journal's middle is damaged.
    pub fn open(state_dir: &Path) -> Result<(Self, Found), LedgerError> {
        Self::open_with(state_dir, Layout::default())
    }

    /// As [`Self::open`], with another layout.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(state_dir: &Path, layout: Layout) -> Result<(Self, Found), LedgerError> {
        let directory = |path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Directory { path, source }
        };
        fs::create_dir_all(state_dir).map_err(directory(state_dir))?;
        let lock = File::create(state_dir.join("lock")).map_err(directory(state_dir))?;
        lock::take(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => LedgerError::InUse { path: state_dir.to_owned() },
            TryLockError::Error(source) => directory(state_dir)(source),
        })?;
        if let Some(why) = short::missing(state_dir)? {
            return Err(LedgerError::Short { path: state_dir.join("journal"), why });
        }
        let Layout { segment_bytes, reserve_bytes, medium } = layout;
        let mut notes = Vec::new();
        let journal = Journal::open(&state_dir.join("journal"), medium.clone(), segment_bytes, &mut notes)?;
        let index_path = state_dir.join("index");
        let mut reserve = Reserve::of(state_dir, reserve_bytes, medium.clone());
        if let Err(error) = reserve.make() {
            notes.push(format!("there is no room for the ledger's reserve of {reserve_bytes} bytes: {error}"));
        }
        let mut ledger = Self {
            journal,
            medium,
            index: None,
            index_path,
            reserve,
            segment_bytes,
            live: BTreeMap::new(),
            kept: BTreeMap::new(),
            forgotten: 0,
            latest: BootTime::default(),
            compaction_failed: 0,
            _lock: lock,
        };
        let sealed = ledger.open_sealed_index(&mut notes)?;
        let found = match sealed {
            Sealed::Trusted => ledger.replay(&mut notes)?,
            Sealed::Broken | Sealed::Never => ledger.rebuild(&mut notes)?,
        };
        Ok((ledger, Found { left_well: sealed != Sealed::Never, notes, ..found }))
    }

    fn index(&self) -> Result<&Index, IndexError> {
        self.index.as_ref().ok_or(IndexError::Closed)
    }

    /// Notes that a daemon starts in this boot.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn started(&mut self, boot: &Boot, version: &str) -> Result<(), LedgerError> {
        let frame = Frame::Started { boot: boot.id.clone(), version: version.to_owned(), offset_ms: boot.offset_ms };
        self.append(&frame)?;
        Ok(self.index()?.set_boot(boot)?)
    }

    /// Notes how far boot time has come, so that after a power cut it goes on from there. Never from the reserve.
    ///
    /// # Errors
    /// When it cannot be recorded; the journal is then as it was.
    pub fn reached(&mut self, boot: BootTime) -> Result<(), LedgerError> {
        self.journal.append(&Frame::Reached { boot })?;
        self.latest = self.latest.max(boot);
        Ok(())
    }

    /// The latest boot time that is recorded.
    #[must_use]
    pub fn latest(&self) -> BootTime {
        self.latest
    }

    /// Appends a frame that must not fail for want of room: the reserve is given up for it.
    fn append(&mut self, frame: &Frame) -> Result<u64, LedgerError> {
        match self.journal.append(frame) {
            Err(error) if error.is_full() && self.reserve.give_up().is_ok_and(|given| given) => {
                self.journal.take_back()?;
                Ok(self.journal.append(frame)?)
            }
            other => Ok(other?),
        }
    }

    /// Commits the records of one decision: on return they are on the medium.
    ///
    /// # Errors
    /// When they are not; the journal is then as it was before.
    pub fn commit(&mut self, records: &[Recorded]) -> Result<Committed, LedgerError> {
        let first = self.journal.next_cursor();
        let frame = Frame::Decided { first, records: records.to_vec() };
        let accepts = records.iter().any(|recorded| matches!(recorded.record, Record::Accepted { .. }));
        if accepts && !self.reserve.held() {
            return Err(LedgerError::Full);
        }
        let bytes = if accepts { self.journal.append(&frame)? } else { self.append(&frame)? };
        Ok(Committed { first, bytes })
    }

    /// Whether the reserve was given up: the disk is full.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        !self.reserve.held()
    }

    /// Brings the index up to a commit: accepted and ended executions.
    ///
    /// # Errors
    /// When the index fails; nothing is lost, the journal has it.
    pub fn reflect(
        &mut self,
        committed: Committed,
        records: &[Recorded],
        ended: &[Arc<Execution>],
    ) -> Result<(), LedgerError> {
        let records: Vec<(Cursor, &Recorded)> = (committed.first..).zip(records).collect();
        self.reflect_records(&records, committed.bytes, ended)
    }

    fn reflect_records(
        &mut self,
        records: &[(Cursor, &Recorded)],
        bytes: u64,
        ended: &[Arc<Execution>],
    ) -> Result<(), LedgerError> {
        self.latest = records.iter().map(|(_, recorded)| recorded.at.boot).fold(self.latest, BootTime::max);
        let mut accepted = Vec::new();
        for (cursor, recorded) in records {
            if matches!(recorded.record, Record::Accepted { .. }) {
                self.live.insert(recorded.execution, Start { first: *cursor, bytes: 0 });
                accepted.push((recorded.execution, *cursor));
            }
        }
        if let Some(start) = records.first().and_then(|(_, recorded)| self.live.get_mut(&recorded.execution)) {
            start.bytes += bytes;
        }
        let ended: Vec<Ended> = ended.iter().map(|execution| self.kept_from_now_on(execution, records)).collect();
        for (id, cursor) in accepted {
            self.index()?.accepted(id, cursor)?;
        }
        for ended in &ended {
            self.index()?.ended_at(ended)?;
        }
        let purged = records.iter().filter(|(_, recorded)| recorded.record == Record::Purged);
        self.reflect_forgotten(&purged.map(|(_, recorded)| recorded.execution).collect())
    }

    /// Lets go of an index that failed; until [`Self::mend`] the journal does without.
    pub fn close_index(&mut self) {
        self.index = None;
    }

    /// After a failure: tries whether records can be written again, takes back what was half written, takes up the
    /// reserve again, and makes an index anew that was closed.
    ///
    /// # Errors
    /// When it still fails.
    pub fn mend(&mut self) -> Result<(), LedgerError> {
        self.journal.take_back()?;
        self.journal.try_medium()?;
        if self.index.is_none()
            && let Err(error) = self.rebuild(&mut Vec::new())
        {
            self.index = None;
            return Err(error);
        }
        self.reserve.make().map_err(|source| match crate::disk::is_full(&source) {
            true => LedgerError::Full,
            false => LedgerError::Directory { path: self.index_path.with_file_name("reserve"), source },
        })
    }

    /// Closes it in good order: the index is sealed, so that the next start need not make it anew.
    ///
    /// # Errors
    /// When it cannot be sealed; nothing is lost then.
    pub fn close(mut self) -> Result<(), LedgerError> {
        let Some(index) = self.index.take() else { return Ok(()) };
        index.finish(self.latest)?;
        // sled writes as long as it is open.
        drop(index);
        seal::write(&self.medium, &self.index_path, self.journal.end()).map_err(IndexError::from)?;
        Ok(())
    }

    /// The cursor of the newest record.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.journal.next_cursor().saturating_sub(1)
    }

    /// A handle for queries, usable from any thread; none while the index is closed.
    #[must_use]
    pub fn queries(&self) -> Option<Queries> {
        Some(Queries::new(self.index.clone()?, self.journal.reader()))
    }
}
