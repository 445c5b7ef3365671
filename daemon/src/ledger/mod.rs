//! Shell: the durable state. A journal of records is the truth; sled is an index of it for queries and start-up.
//!
//! **The contract.** [`Ledger::commit`] returns `Ok` only after its records are on the medium (append + fdatasync):
//! all of them or none. A failed commit leaves the journal as it was. [`Ledger::open`] cuts a torn tail at the last
//! whole frame, refuses a damaged middle, and rebuilds an index that is damaged, missing or ahead of the journal.
//! The index is written when an execution is accepted and when it ends; whatever it lacks is replayed from the journal.
//! Must not: decide anything.

mod frame;
mod index;
mod journal;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use frame::Frame;
pub use index::{Ended, Index, IndexError};
pub use journal::{Cursor, Journal, JournalError, Position, Reader};

use crate::bundle::ExecutionId;
use crate::sequence::apply::Illegal;
use crate::sequence::{Board, Execution, Record, Recorded, apply};
use crate::time::BootTime;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state directory cannot be written.
    #[error("failed to prepare the state directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another daemon works on it.
    #[error("the state directory {} is in use by another perigeed; stop that one, or configure another state_dir", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// The journal.
    #[error("failed to use the journal")]
    Journal(#[from] JournalError),
    /// The index, even after it was rebuilt.
    #[error("failed to use the index")]
    Index(#[from] IndexError),
    /// Records that no engine of ours would have written in this order.
    #[error("the journal does not replay")]
    Replay(#[from] Illegal),
}

/// One boot of the board, as a daemon noted it at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's identity of it.
    pub id: String,
    /// How far our boot time is ahead of the board's, in milliseconds.
    pub offset_ms: u64,
}

/// The durable state, open for writing by this process alone.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal,
    index: Option<Index>,
    index_path: PathBuf,
    starts: BTreeMap<ExecutionId, Position>,
    _lock: File,
}

/// What start-up found.
#[derive(Debug)]
pub struct Found {
    /// The state that the records amount to.
    pub board: Board,
    /// The boot in which the last daemon ran, if any ran.
    pub last_boot: Option<Boot>,
    /// The latest boot time of any record that was replayed.
    pub latest: BootTime,
    /// What was mended, in words.
    pub notes: Vec<String>,
}

impl Ledger {
    /// Opens or makes the ledger of a state directory and replays it.
    ///
    /// # Errors
    /// When the directory cannot be written, another daemon holds it, or the journal's middle is damaged.
    pub fn open(state_dir: &Path) -> Result<(Self, Found), LedgerError> {
        let directory = |path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Directory { path, source }
        };
        fs::create_dir_all(state_dir).map_err(directory(state_dir))?;
        let lock = File::create(state_dir.join("lock")).map_err(directory(state_dir))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LedgerError::InUse { path: state_dir.to_owned() },
            TryLockError::Error(source) => directory(state_dir)(source),
        })?;
        let mut notes = Vec::new();
        let journal = Journal::open(&state_dir.join("journal"), &mut notes)?;
        let index_path = state_dir.join("index");
        let index = Some(Index::open(&index_path, journal.end(), &mut notes)?);
        let mut ledger = Self { journal, index, index_path, starts: BTreeMap::new(), _lock: lock };
        let mut found = ledger.replay()?;
        found.notes = notes;
        Ok((ledger, found))
    }

    fn replay(&mut self) -> Result<Found, LedgerError> {
        let index = self.index()?;
        let mut board = Board { ended: Arc::new(index.ended()?), ..Board::default() };
        let from = index.replay_from()?;
        let mut last_boot = index.last_boot()?;
        let mut latest = BootTime::default();
        let mut reader = self.journal.reader().start_at(from)?;
        while let Some((position, frame)) = reader.next_frame()? {
            match frame {
                Frame::Started { boot, offset_ms, .. } => last_boot = Some(Boot { id: boot, offset_ms }),
                Frame::Decided { records, .. } => {
                    latest = records.iter().map(|recorded| recorded.at.boot).fold(latest, BootTime::max);
                    let unknown = |recorded: &Recorded| {
                        !board.ended.contains(&recorded.execution) || recorded.record == Record::Purged
                    };
                    let fresh: Vec<Recorded> = records.into_iter().filter(unknown).collect();
                    let ended = apply_all(&mut board, &fresh)?;
                    self.reflect(position, &fresh, &ended)?;
                }
            }
        }
        Ok(Found { board, last_boot, latest, notes: Vec::new() })
    }

    /// Notes that a daemon starts in this boot.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn started(&mut self, boot: &Boot, version: &str) -> Result<(), LedgerError> {
        let frame = Frame::Started { boot: boot.id.clone(), version: version.to_owned(), offset_ms: boot.offset_ms };
        self.journal.append(&frame)?;
        Ok(self.index()?.set_boot(boot)?)
    }

    fn index(&self) -> Result<&Index, IndexError> {
        self.index.as_ref().ok_or(IndexError::Closed)
    }

    /// Lets go of an index that failed; until [`Self::mend`] the journal does without.
    pub fn close_index(&mut self) {
        self.index = None;
    }

    /// After a failure: tries whether records can be written again, takes back what was half written, and brings an
    /// index that was closed up to the journal.
    ///
    /// # Errors
    /// When it still fails.
    pub fn mend(&mut self) -> Result<(), LedgerError> {
        self.journal.mend()?;
        if self.index.is_none() {
            let mut notes = Vec::new();
            self.index = Some(Index::open(&self.index_path, self.journal.end(), &mut notes)?);
            if let Err(error) = self.replay() {
                self.index = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Commits the records of one decision: on return they are on the medium.
    ///
    /// # Errors
    /// When they are not; the journal is then as it was before.
    pub fn commit(&mut self, records: &[Recorded]) -> Result<Position, LedgerError> {
        let first = self.journal.next_cursor();
        Ok(self.journal.append(&Frame::Decided { first, records: records.to_vec() })?)
    }

    /// Brings the index up to a commit: accepted and ended executions.
    ///
    /// # Errors
    /// When sled fails; nothing is lost, the journal has it.
    pub fn reflect(
        &mut self,
        position: Position,
        records: &[Recorded],
        ended: &[Arc<Execution>],
    ) -> Result<(), LedgerError> {
        let accepted = records.iter().filter(|recorded| matches!(recorded.record, Record::Accepted { .. }));
        self.starts.extend(accepted.clone().map(|recorded| (recorded.execution, position)));
        for recorded in accepted {
            self.index()?.accepted(recorded.execution, position)?;
        }
        for execution in ended {
            let id = execution.plan.execution;
            let start = self.starts.remove(&id).unwrap_or(position);
            self.index()?.ended_at(execution, start, position)?;
        }
        for recorded in records.iter().filter(|recorded| recorded.record == Record::Purged) {
            self.index()?.forget(recorded.execution)?;
        }
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
        Some(Queries { index: self.index.clone()?, journal: self.journal.reader() })
    }
}

fn apply_all(board: &mut Board, records: &[Recorded]) -> Result<Vec<Arc<Execution>>, Illegal> {
    let mut ended = Vec::new();
    for recorded in records {
        ended.extend(apply(board, recorded)?);
    }
    Ok(ended)
}

/// Reads what has been committed.
#[derive(Debug, Clone)]
pub struct Queries {
    index: Index,
    journal: Reader,
}

impl Queries {
    /// The index of ended executions.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Records after a cursor, oldest first, at most `limit`, with their cursors.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn events(&self, since: Cursor, limit: usize) -> Result<Vec<(Cursor, Recorded)>, JournalError> {
        let mut reader = self.journal.clone().start_at(self.journal.segment_of(since.saturating_add(1))?)?;
        let mut events = Vec::new();
        while let Some((_, frame)) = reader.next_frame()? {
            let Frame::Decided { first, records } = frame else { continue };
            events.extend((first..).zip(records).filter(|(cursor, _)| *cursor > since));
            if events.len() >= limit {
                events.truncate(limit);
                break;
            }
        }
        Ok(events)
    }

    /// Every record of one execution, oldest first.
    ///
    /// # Errors
    /// When the journal or index cannot be read.
    pub fn history(&self, id: ExecutionId) -> Result<Vec<(Cursor, Recorded)>, LedgerError> {
        let span = self.index.span(id)?;
        let Some((start, end)) = span else { return Ok(Vec::new()) };
        let mut reader = self.journal.clone().start_at(Some(start))?;
        let mut events = Vec::new();
        while let Some((position, frame)) = reader.next_frame()? {
            if let Frame::Decided { first, records } = frame {
                events.extend((first..).zip(records).filter(|(_, recorded)| recorded.execution == id));
            }
            if end.is_some_and(|end| position >= end) {
                break;
            }
        }
        Ok(events)
    }
}
