//! Reads what has been committed, beside the loop that goes on to commit.
//!
//! Must not: take a compaction that happens meanwhile for damage.

use super::LedgerError;
use super::frame::Frame;
use super::index::Index;
use super::reader::Reader;
use super::segment::{Cursor, JournalError};
use crate::bundle::ExecutionId;
use crate::sequence::Recorded;

/// How often a walk begins anew that a compaction pulled a segment away from: each takes seconds to come about.
const TRIES: usize = 3;

/// Reads what has been committed.
#[derive(Debug, Clone)]
pub struct Queries {
    index: Index,
    journal: Reader,
}

impl Queries {
    pub(super) fn new(index: Index, journal: Reader) -> Self {
        Self { index, journal }
    }

    /// The index of ended executions.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The cursor after which a stream of events begins: the one that is asked for, or that of the oldest event kept.
    ///
    /// # Errors
    /// When events after it are gone, naming the oldest that is kept; when the journal cannot be read.
    pub fn resume(&self, since: Option<Cursor>) -> Result<Cursor, JournalError> {
        let oldest = self.journal.oldest()?;
        let since = since.unwrap_or(oldest - 1);
        if since + 1 < oldest { Err(JournalError::Gone { oldest }) } else { Ok(since) }
    }

    /// Records after a cursor, oldest first, at most `limit`, with their cursors.
    ///
    /// # Errors
    /// When events after it are gone; when the journal cannot be read.
    pub fn events(&self, since: Cursor, limit: usize) -> Result<Vec<(Cursor, Recorded)>, JournalError> {
        again(|| {
            self.resume(Some(since))?;
            let mut frames = self.journal.start_at(Some(since.saturating_add(1)))?;
            let mut events = Vec::new();
            while let Some((_, frame)) = frames.next_frame()? {
                let Frame::Decided { first, records } = frame else { continue };
                events.extend((first..).zip(records).filter(|(cursor, _)| *cursor > since));
                if events.len() >= limit {
                    events.truncate(limit);
                    break;
                }
            }
            match events.first() {
                Some((cursor, _)) if *cursor != since + 1 => Err(JournalError::Gone { oldest: self.journal.oldest()? }),
                Some(_) | None => Ok(events),
            }
        })
    }

    /// Every record of one execution, oldest first.
    ///
    /// # Errors
    /// When the journal or index cannot be read.
    pub fn history(&self, id: ExecutionId) -> Result<Vec<(Cursor, Recorded)>, LedgerError> {
        let Some((start, end)) = self.index.span(id)? else { return Ok(Vec::new()) };
        let records = again(|| {
            let mut frames = self.journal.start_at(Some(start))?;
            let mut events = Vec::new();
            while let Some((_, frame)) = frames.next_frame()? {
                let Frame::Decided { first, records } = frame else { continue };
                events.extend((first..).zip(records).filter(|(_, recorded)| recorded.execution == id));
                if end.is_some_and(|end| frames.expected().is_some_and(|next| next > end)) {
                    break;
                }
            }
            Ok(events)
        });
        Ok(records?)
    }
}

/// Walks once more when the journal looked damaged: a compaction may have been under way.
fn again<T>(walk: impl Fn() -> Result<T, JournalError>) -> Result<T, JournalError> {
    let mut tries = 1;
    loop {
        match walk() {
            Err(JournalError::Damaged { .. } | JournalError::File { .. }) if tries < TRIES => tries += 1,
            other => return other,
        }
    }
}
