//! What has ended: how long it is kept, forgotten for ever, its room given back.
//!
//! Must not: forget an identity.

use std::collections::BTreeSet;

use super::frame::Frame;
use super::index::Ended;
use super::segment::Cursor;
use super::{Kept, Ledger, LedgerError, Start, compact};
use crate::bundle::ExecutionId;
use crate::sequence::{Execution, Recorded};
use crate::view;

/// What an identity takes in the journal, about.
const IDENTITY_BYTES: u64 = 48;
/// Identities that one frame forgets.
const FORGET_AT_ONCE: usize = 4096;

impl Ledger {
    pub(super) fn kept_from_now_on(&mut self, execution: &Execution, records: &[(Cursor, &Recorded)]) -> Ended {
        let id = execution.plan.execution;
        let own = records.iter().rfind(|(_, recorded)| recorded.execution == id);
        let (last, at) = own.map_or((0, self.latest), |(cursor, recorded)| (*cursor, recorded.at.boot));
        let start = self.live.remove(&id).unwrap_or(Start { first: last, bytes: 0 });
        let status = view::status(execution, None);
        let ended = Ended { status, first: start.first, last, ended: at, bytes: start.bytes };
        self.kept.extend([entry(&ended)]);
        ended
    }

    /// Ended executions whose records are kept, the one that ended first first.
    pub fn kept(&self) -> impl Iterator<Item = (ExecutionId, Kept)> + '_ {
        self.kept.iter().map(|((_, id), kept)| (*id, *kept))
    }

    /// Whether the records of an ended execution are kept.
    #[must_use]
    pub fn keeps(&self, id: ExecutionId) -> bool {
        self.kept().any(|(known, _)| known == id)
    }

    /// Removes the records of ended executions, for ever; their identities stay. What is live, not known or forgotten
    /// already is left as it is. Returns how many were forgotten.
    ///
    /// # Errors
    /// When it cannot be recorded; what was recorded before that is forgotten.
    pub fn forget(&mut self, ids: &BTreeSet<ExecutionId>) -> Result<usize, LedgerError> {
        let known: Vec<ExecutionId> = self.kept().map(|(id, _)| id).filter(|id| ids.contains(id)).collect();
        for executions in known.chunks(FORGET_AT_ONCE) {
            self.append(&Frame::Forgotten { executions: executions.to_vec() })?;
            self.reflect_forgotten(&executions.iter().copied().collect())?;
        }
        Ok(known.len())
    }

    pub(super) fn reflect_forgotten(&mut self, ids: &BTreeSet<ExecutionId>) -> Result<(), LedgerError> {
        let known = self.kept.len();
        self.kept.retain(|(_, id), _| !ids.contains(id));
        self.forgotten += (known - self.kept.len()) as u64;
        for id in ids {
            self.index()?.forget(*id)?;
        }
        Ok(())
    }

    /// Gives back the room of what is forgotten, when that is worth the writing. Returns the bytes of the journal
    /// before and after.
    ///
    /// # Errors
    /// When a segment cannot be read or written; the journal is then as it was.
    pub fn compact(&mut self) -> Result<Option<(u64, u64)>, LedgerError> {
        let (closed, all) = compact::sizes(&self.journal)?;
        let live: u64 = self.live.values().map(|start| start.bytes).sum();
        let kept: u64 = self.kept.values().map(|kept| kept.bytes).sum();
        let dead = all.saturating_sub(live + kept + self.forgotten * IDENTITY_BYTES);
        // At most a segment of it is in the open one, which cannot be compacted.
        let worth = closed > 0 && dead >= (all / 2).max(2 * self.segment_bytes);
        let Some(index) = self.index.as_ref().filter(|_| worth && closed != self.compaction_failed) else {
            return Ok(None);
        };
        let forgotten = index.forgotten()?;
        if let Err(error) = compact::compact(&self.journal, &self.medium, &forgotten) {
            self.compaction_failed = closed;
            return Err(error.into());
        }
        // sled gives no room back by itself (measured: 1.6 KiB for each execution that came and went).
        self.close_index();
        self.rebuild(&mut Vec::new()).inspect_err(|_| self.index = None)?;
        Ok(Some((all, compact::sizes(&self.journal)?.1)))
    }
}

pub(super) fn entry(ended: &Ended) -> ((Cursor, ExecutionId), Kept) {
    ((ended.last, ended.status.execution), Kept { ended: ended.ended, bytes: ended.bytes })
}
