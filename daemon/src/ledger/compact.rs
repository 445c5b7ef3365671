//! Compaction: the closed segments become one, without the records of forgotten executions.
//!
//! ```text
//! 1. write <first>.part: compacted{until}, forgotten{…}…, started, decided…     a crash leaves a .part: removed
//! 2. flush it, rename it over <first>.journal, flush the folder                 a crash leaves old or new, both whole
//! 3. remove the other closed segments                                           what a crash leaves of them is below
//!                                                                               `until`: passed over, and removed
//! ```
//!
//! Must not: touch the open segment; copy a frame that it could not read.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::frame::{Frame, encode};
use super::journal::{Journal, remove_between};
use super::reader::{Reader, Tail};
use super::segment::{Cursor, HEADER, JournalError, VERSION, failed, header, path, segments};
use crate::bundle::ExecutionId;
use crate::medium::Medium;
use crate::sequence::Recorded;
use crate::time::BootTime;

/// Identities in one frame: it stays small enough to be read at once.
const IDENTITIES: usize = 4096;

/// Writes the closed segments anew, without the records of what is forgotten. Returns whether there were any.
pub(super) fn compact(
    journal: &Journal,
    medium: &Medium,
    forgotten: &BTreeSet<ExecutionId>,
) -> Result<bool, JournalError> {
    let dir = journal.dir();
    let open = journal.end().segment;
    let Some(first) = segments(dir)?.first().copied().filter(|first| *first < open) else { return Ok(false) };
    let target = path(dir, first);
    let part = target.with_extension("part");
    let written = write(dir, &part, medium, open, forgotten);
    if written.is_err() {
        let _ = medium.remove(&part);
    }
    written?;
    let renamed = medium.rename(&part, &target).and_then(|()| medium.flush_folder(dir));
    renamed.map_err(failed("publish", &target))?;
    remove_between(dir, medium, first, open)?;
    Ok(true)
}

fn write(
    dir: &Path,
    part: &Path,
    medium: &Medium,
    until: Cursor,
    forgotten: &BTreeSet<ExecutionId>,
) -> Result<(), JournalError> {
    let file = medium.create(part).map_err(failed("make", part))?;
    let mut out = Out { file: &file, path: part, medium, end: 0 };
    out.bytes(&header(VERSION))?;
    let mut latest = BootTime::default();
    let mut started = None;
    let mut kept = Vec::new();
    let mut frames = Reader::new(dir, Tail::Still).start_at(None)?;
    // Two walks over the segments: the first finds what belongs to the front.
    while let Some((position, frame)) = frames.next_frame()? {
        if position.segment >= until {
            break;
        }
        match frame {
            Frame::Started { .. } => started = Some(frame),
            Frame::Compacted { latest: known, .. } | Frame::Reached { boot: known } => latest = latest.max(known),
            Frame::Decided { records, .. } => {
                latest = records.iter().map(|recorded| recorded.at.boot).fold(latest, BootTime::max);
            }
            Frame::Forgotten { .. } => {}
        }
    }
    out.frame(&Frame::Compacted { until, latest })?;
    let identities: Vec<ExecutionId> = forgotten.iter().copied().collect();
    for executions in identities.chunks(IDENTITIES) {
        out.frame(&Frame::Forgotten { executions: executions.to_vec() })?;
    }
    if let Some(started) = started {
        out.frame(&started)?;
    }
    let mut frames = Reader::new(dir, Tail::Still).start_at(None)?;
    while let Some((position, frame)) = frames.next_frame()? {
        if position.segment >= until {
            break;
        }
        if let Frame::Decided { first, records } = frame {
            runs(first, records, forgotten, &mut kept);
            kept.drain(..).try_for_each(|frame| out.frame(&frame))?;
        }
    }
    medium.flush(&file).map_err(failed("flush", part))
}

/// What remains of a decision: frames whose cursors have no gaps.
fn runs(first: Cursor, records: Vec<Recorded>, forgotten: &BTreeSet<ExecutionId>, kept: &mut Vec<Frame>) {
    let mut next = None;
    for (cursor, recorded) in (first..).zip(records) {
        if forgotten.contains(&recorded.execution) {
            continue;
        }
        match kept.last_mut() {
            Some(Frame::Decided { records, .. }) if next == Some(cursor) => records.push(recorded),
            Some(_) | None => kept.push(Frame::Decided { first: cursor, records: vec![recorded] }),
        }
        next = Some(cursor + 1);
    }
}

struct Out<'a> {
    file: &'a File,
    path: &'a Path,
    medium: &'a Medium,
    end: u64,
}

impl Out<'_> {
    fn frame(&mut self, frame: &Frame) -> Result<(), JournalError> {
        self.bytes(&encode(frame)?)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.medium.write_at(self.file, bytes, self.end).map_err(failed("write", self.path))?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Bytes of the closed segments, and of all.
pub(super) fn sizes(journal: &Journal) -> Result<(u64, u64), JournalError> {
    let end = journal.end();
    let mut closed = 0;
    for segment in segments(journal.dir())?.into_iter().filter(|segment| *segment < end.segment) {
        closed += super::segment::length(journal.dir(), segment)?.saturating_sub(HEADER);
    }
    Ok((closed, closed + end.offset))
}
