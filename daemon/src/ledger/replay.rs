//! What a start makes of the journal: the board, and an index that agrees with it.
//!
//! Must not: trust an index that is not as it was sealed.

use std::sync::Arc;

use super::frame::Frame;
use super::index::{Index, IndexError};
use super::past::entry;
use super::reader::{Reader, Tail};
use super::segment::Cursor;
use super::{Boot, Ledger, LedgerError, seal};
use crate::sequence::record::Reset;
use crate::sequence::{Board, Record, Recorded, apply};
use crate::time::BootTime;

/// What start-up found.
#[derive(Debug)]
pub struct Found {
    /// The state that the records amount to.
    pub board: Board,
    /// The boot in which the last daemon ran, if any ran.
    pub last_boot: Option<Boot>,
    /// The latest boot time of any record.
    pub latest: BootTime,
    /// Whether the last daemon left in good order: it had sealed the index.
    pub left_well: bool,
    /// What was mended, in words.
    pub notes: Vec<String>,
}

impl Found {
    /// The boot of a start with this identity, and the reset that the last daemon ended with, if it did not just leave.
    /// After a boot our boot time goes on from the newest record, so that budgets keep what they have consumed.
    #[must_use]
    pub fn boot(&self, id: String) -> (Boot, Option<Reset>) {
        let (offset_ms, reset) = match &self.last_boot {
            None => (0, None),
            Some(last) if last.id != id => (self.latest.as_millis(), Some(Reset::Boot)),
            Some(last) => (last.offset_ms, (!self.left_well).then_some(Reset::Crash)),
        };
        (Boot { id, offset_ms }, reset)
    }
}

/// The index that a start finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sealed {
    /// It is as it was sealed, and open.
    Trusted,
    /// It was sealed, and is not as it was.
    Broken,
    /// The last daemon did not get to seal it.
    Never,
}

impl Ledger {
    /// Opens the index if it is as it was sealed. The seal is taken off: from here on it changes.
    pub(super) fn open_sealed_index(&mut self, notes: &mut Vec<String>) -> Result<Sealed, LedgerError> {
        let why = match seal::look(&self.index_path, self.journal.end()) {
            seal::Found::Nothing => return Ok(Sealed::Never),
            seal::Found::Broken(why) => Some(why),
            seal::Found::Whole => None,
        };
        seal::remove(&self.medium, &self.index_path).map_err(IndexError::from)?;
        let why = match why {
            Some(why) => why,
            None => match Index::open(&self.index_path, self.medium.clone()) {
                Ok(index) => {
                    self.index = Some(index);
                    return Ok(Sealed::Trusted);
                }
                Err(error) => crate::run::chain(&error),
            },
        };
        notes.push(format!("the index was not as it was left ({why}); it is made anew from the journal"));
        Ok(Sealed::Broken)
    }

    /// Makes the index anew from the journal.
    pub(super) fn rebuild(&mut self, notes: &mut Vec<String>) -> Result<Found, LedgerError> {
        self.index = None;
        self.index = Some(Index::anew(&self.index_path, self.medium.clone())?);
        self.replay(notes)
    }

    /// Reads what the index does not hold: the records of live executions; of all, when it is new.
    pub(super) fn replay(&mut self, notes: &mut Vec<String>) -> Result<Found, LedgerError> {
        let index = self.index()?;
        let mut board = Board { ended: Arc::new(index.identities()?), ..Board::default() };
        let known = index.kept()?;
        let (mut last_boot, latest) = index.last_boot()?;
        let from = index.oldest_live()?;
        self.latest = latest;
        self.live.clear();
        self.kept = known.iter().map(entry).collect();
        // An index that knows of executions and of none that is live has nothing to read again but the newest.
        let from = if board.ended.is_empty() { from } else { from.or(Some(self.journal.next_cursor())) };
        let mut frames = Reader::new(self.journal.dir(), Tail::Still).start_at(from)?;
        while let Some((position, frame)) = frames.next_frame()? {
            match frame {
                Frame::Started { boot, offset_ms, .. } => last_boot = Some(Boot { id: boot, offset_ms }),
                Frame::Decided { first, records } => {
                    let bytes = frames.position().offset - position.offset;
                    self.replay_decision(&mut board, first, &records, bytes)?;
                }
                Frame::Forgotten { executions } => {
                    Arc::make_mut(&mut board.ended).extend(&executions);
                    self.reflect_forgotten(&executions.into_iter().collect())?;
                }
                Frame::Compacted { latest: boot, .. } | Frame::Reached { boot } => self.latest = self.latest.max(boot),
            }
        }
        self.journal.heal(frames.healed(), notes)?;
        self.forgotten = board.ended.len().saturating_sub(self.kept.len()) as u64;
        if let Some(boot) = &last_boot {
            self.index()?.set_boot(boot)?;
        }
        Ok(Found { board, last_boot, latest: self.latest, left_well: false, notes: Vec::new() })
    }

    /// What has ended was applied before, or its beginning is gone: its records are passed over.
    fn replay_decision(
        &mut self,
        board: &mut Board,
        first: Cursor,
        records: &[Recorded],
        bytes: u64,
    ) -> Result<(), LedgerError> {
        let fresh =
            |recorded: &Recorded| !board.ended.contains(&recorded.execution) || recorded.record == Record::Purged;
        let fresh: Vec<(Cursor, &Recorded)> = (first..).zip(records).filter(|(_, recorded)| fresh(recorded)).collect();
        let mut ended = Vec::new();
        for (_, recorded) in &fresh {
            ended.extend(apply(board, recorded)?);
        }
        self.reflect_records(&fresh, bytes, &ended)
    }
}
