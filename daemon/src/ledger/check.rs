//! Looks a ledger through from outside: every frame, the order of the cursors, whether it replays, and whether the
//! index agrees. Works beside a running daemon and over damage.
//!
//! Must not: change anything in the state directory, lock it, or open the index where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::frame::{FRAME_HEADER, Frame, decode, field, has_hole, whole_after};
use super::heal::wrong_byte;
use super::index::{Index, IndexError};
use super::lock;
use super::reader::{Frames, Reader, Tail};
use super::seal;
use super::segment::{Cursor, HEADER, Header, JournalError, Position, VERSION, failed, path, read_header, segments};
use super::short;
use crate::bundle::ExecutionId;
use crate::medium::Medium;
use crate::sequence::{Board, Record, Recorded, apply};

/// How often a ledger is looked through that a running daemon may have compacted meanwhile.
const TRIES: usize = 3;

/// Why a ledger cannot be looked through at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is none.
    #[error("there is no ledger in {}: it has no folder journal; name the state_dir of a daemon", .0.display())]
    Absent(PathBuf),
    /// A later version.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The state directory.
    pub directory: PathBuf,
    /// The journal version that this program writes.
    pub version: u32,
    /// Whether a daemon works on it; null when that cannot be seen.
    pub daemon: Option<bool>,
    /// Its segments, oldest first.
    pub segments: Vec<Segment>,
    /// Cursor from which on every record is there.
    pub oldest: Cursor,
    /// Cursor of the newest record.
    pub cursor: Cursor,
    /// Live executions.
    pub live: usize,
    /// Ended executions whose records are kept.
    pub kept: usize,
    /// Executions of which only the identity is kept.
    pub forgotten: usize,
    /// `agrees`, `unsealed` (it will be made anew at the next start), or `differs`.
    pub index: &'static str,
    /// What is damaged.
    pub damages: Vec<Damage>,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its file name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its size.
    pub bytes: u64,
    /// Whole frames in it.
    pub frames: usize,
    /// Records in it.
    pub records: usize,
    /// Whether it is a compacted one.
    pub compacted: bool,
}

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Whether the daemon puts it right by itself, without loss.
    pub mends: bool,
}

/// Looks a ledger through.
///
/// # Errors
/// When there is none, it is of a later version, or it cannot be read.
pub fn check(state_dir: &Path) -> Result<Report, CheckError> {
    let mut tries = 1;
    loop {
        let looked = look(state_dir);
        let unsettled = match &looked {
            Ok(report) => report.daemon != Some(false) && !report.damages.is_empty(),
            Err(CheckError::Journal(JournalError::File { .. })) => true,
            Err(_) => false,
        };
        // A daemon may be compacting: then the next look finds another, whole journal.
        if !unsettled || tries == TRIES {
            return looked;
        }
        tries += 1;
    }
}

/// The records of a ledger, for showing.
///
/// # Errors
/// When there is none, or the records after that cursor are gone.
pub fn records(state_dir: &Path, since: Option<Cursor>) -> Result<Frames, CheckError> {
    let dir = journal_of(state_dir)?;
    let reader = Reader::new(&dir, Tail::Growing);
    if let Some(since) = since {
        let oldest = reader.oldest()?;
        if since.saturating_add(1) < oldest {
            return Err(JournalError::Gone { oldest }.into());
        }
    }
    Ok(reader.start_at(since.map(|since| since.saturating_add(1)))?)
}

fn journal_of(state_dir: &Path) -> Result<PathBuf, CheckError> {
    let dir = state_dir.join("journal");
    if dir.is_dir() { Ok(dir) } else { Err(CheckError::Absent(state_dir.to_owned())) }
}

fn look(state_dir: &Path) -> Result<Report, CheckError> {
    let dir = journal_of(state_dir)?;
    let mut walk = Walk::default();
    for segment in segments(&dir)? {
        if walk.covered.is_some_and(|until| segment < until && segment > walk.first) {
            walk.notes.push(format!("segment {segment} is covered by a compacted one; the next start removes it"));
            continue;
        }
        walk.segment(&dir, segment)?;
    }
    if let Some(why) = short::missing(state_dir)? {
        walk.damage(&dir, 0, format!("the journal {why}: what was acknowledged is missing"), false);
    }
    let daemon = lock::held(&state_dir.join("lock"));
    let index = walk.index(state_dir, daemon);
    let Walk { segments, oldest, expected, board, forgotten, damages, notes, .. } = walk;
    Ok(Report {
        directory: state_dir.to_owned(),
        version: VERSION,
        daemon,
        segments,
        oldest,
        cursor: expected.unwrap_or(1).saturating_sub(1),
        live: board.live.len(),
        kept: board.ended.len().saturating_sub(forgotten.len()),
        forgotten: forgotten.len(),
        index,
        damages,
        notes,
    })
}

#[derive(Default)]
struct Walk {
    segments: Vec<Segment>,
    first: Cursor,
    oldest: Cursor,
    covered: Option<Cursor>,
    expected: Option<Cursor>,
    board: Board,
    spans: BTreeMap<ExecutionId, (Cursor, Cursor)>,
    forgotten: BTreeSet<ExecutionId>,
    end: Option<Position>,
    replays: bool,
    damages: Vec<Damage>,
    notes: Vec<String>,
}

impl Walk {
    fn damage(&mut self, file: &Path, offset: u64, what: String, mends: bool) {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        self.damages.push(Damage { file: name, offset, what, mends });
    }

    fn segment(&mut self, dir: &Path, segment: Cursor) -> Result<(), JournalError> {
        let file = path(dir, segment);
        let bytes = fs::read(&file).map_err(failed("read", &file))?;
        if self.segments.is_empty() {
            (self.first, self.oldest, self.replays) = (segment, segment, true);
        }
        let Some(header) = bytes.first_chunk::<{ HEADER as usize }>() else {
            self.notes.push(format!("{}: cut short in its header; the next start begins it anew", file.display()));
            return Ok(());
        };
        let version = match read_header(header) {
            Header::Version(version) => version,
            Header::Later(found) => return Err(JournalError::Version { path: file, found }),
            Header::Healed { version, at } => {
                self.damage(&file, at as u64, "one wrong byte in its header".to_owned(), true);
                version
            }
            Header::Foreign => {
                self.damage(&file, 0, "it does not begin like a journal".to_owned(), false);
                0
            }
        };
        if let Some(expected) = self.covered.take().or(self.expected).filter(|expected| *expected != segment) {
            self.damage(&file, 0, format!("it begins with record {segment}, but record {expected} comes next"), false);
        }
        self.expected = Some(segment);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = Segment { name, version, bytes: bytes.len() as u64, frames: 0, records: 0, compacted: false };
        self.segments.push(known);
        self.frames(&file, &bytes);
        Ok(())
    }

    fn frames(&mut self, file: &Path, bytes: &[u8]) {
        let mut at = HEADER as usize;
        while at < bytes.len() {
            let why = match decode(&bytes[at..]) {
                Ok(Some((length, frame))) => {
                    self.frame(file, at as u64, &frame);
                    at += length;
                    continue;
                }
                Ok(None) => None,
                Err(why) => Some(why),
            };
            if let Some(wrong) = wrong_byte(&bytes[at..]) {
                let what = format!("one wrong byte: it must be {:#04x}", wrong.right);
                self.damage(file, (at + wrong.at) as u64, what, true);
                let mut right = bytes[at..].to_vec();
                right[wrong.at] = wrong.right;
                if let Ok(Some((length, frame))) = decode(&right) {
                    self.frame(file, at as u64, &frame);
                    at += length;
                    continue;
                }
            }
            let Some(next) = whole_after(&bytes[at..], 0) else {
                self.tail(file, bytes, at, why);
                break;
            };
            let why = why.unwrap_or_else(|| "a frame is cut short".to_owned());
            self.damage(file, at as u64, format!("{why}; the next whole frame is {next} bytes further"), false);
            (self.replays, self.expected) = (false, None);
            at += next;
        }
        let segment = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap_or(0);
        self.end = Some(Position { segment, offset: at as u64 });
    }

    /// What is behind the last whole frame. What was never acknowledged is no damage.
    fn tail(&mut self, file: &Path, bytes: &[u8], at: usize, why: Option<String>) {
        let rest = bytes.len() - at;
        let whole = rest >= FRAME_HEADER && rest - FRAME_HEADER >= field(&bytes[at..], 0) as usize;
        match why.filter(|_| whole && !has_hole(&bytes[at..])) {
            Some(why) => self.damage(file, at as u64, format!("{why}; it is the last frame"), false),
            None => self.notes.push(format!(
                "{}: a torn tail of {rest} bytes at {at}, which was never acknowledged; the next start cuts it",
                file.display()
            )),
        }
    }

    fn frame(&mut self, file: &Path, at: u64, frame: &Frame) {
        if let Some(segment) = self.segments.last_mut() {
            segment.frames += 1;
        }
        match frame {
            Frame::Started { .. } | Frame::Reached { .. } => {}
            Frame::Compacted { until, .. } => {
                (self.covered, self.oldest) = (Some(*until), *until);
                if let Some(segment) = self.segments.last_mut() {
                    segment.compacted = true;
                }
            }
            Frame::Forgotten { executions } => {
                self.forgotten.extend(executions);
                std::sync::Arc::make_mut(&mut self.board.ended).extend(executions);
            }
            Frame::Decided { first, records } => {
                let expected = self.expected.unwrap_or(*first);
                if *first != expected && (self.covered.is_none() || *first < expected) {
                    let what = format!("record {first} is there, where record {expected} comes next");
                    self.damage(file, at, what, false);
                }
                self.expected = Some(first + records.len() as u64);
                if let Some(segment) = self.segments.last_mut() {
                    segment.records += records.len();
                }
                for (cursor, recorded) in (*first..).zip(records) {
                    self.record(file, at, cursor, recorded);
                }
            }
        }
    }

    fn record(&mut self, file: &Path, at: u64, cursor: Cursor, recorded: &Recorded) {
        let id = recorded.execution;
        if recorded.record == Record::Purged {
            self.forgotten.insert(id);
        }
        if !self.replays || self.board.ended.contains(&id) {
            return;
        }
        self.spans.entry(id).or_insert((cursor, cursor)).1 = cursor;
        if let Err(illegal) = apply(&mut self.board, recorded) {
            // What follows would only repeat it.
            self.replays = false;
            self.damage(file, at, format!("record {cursor}: {illegal}"), false);
        }
    }

    /// Compares the index with the journal, in a copy.
    fn index(&mut self, state_dir: &Path, daemon: Option<bool>) -> &'static str {
        let index = state_dir.join("index");
        let end = self.end.unwrap_or(Position { segment: 1, offset: HEADER });
        match seal::look(&index, end) {
            seal::Found::Nothing => {
                let why = if daemon == Some(true) { "while a daemon works on it" } else { "after a crash" };
                self.notes.push(format!("the index is not sealed, as is usual {why}: it was not compared"));
                return "unsealed";
            }
            seal::Found::Broken(why) => {
                self.damage(&seal::path(&index), 0, format!("the index is not as it was left: {why}"), true);
                return "differs";
            }
            seal::Found::Whole => {}
        }
        let copy = std::env::temp_dir().join(format!("perigee-check-{}", uuid::Uuid::now_v7().simple()));
        let compared = copy_folder(&index, &copy).map_err(IndexError::from).and_then(|()| self.compare(&copy));
        let _ = fs::remove_dir_all(&copy);
        match compared {
            Ok(None) => "agrees",
            Ok(Some(what)) => {
                self.damage(&index, 0, what, true);
                "differs"
            }
            Err(error) => {
                self.notes.push(format!("the index was not compared: {}", crate::run::chain(&error)));
                "unsealed"
            }
        }
    }

    fn compare(&self, copy: &Path) -> Result<Option<String>, IndexError> {
        if !self.replays {
            return Ok(None);
        }
        let index = Index::open(copy, Medium::default())?;
        if index.identities()? != *self.board.ended || index.forgotten()? != self.forgotten {
            return Ok(Some("the index and the journal do not know the same ended executions".to_owned()));
        }
        let (kept, ended) = (index.kept()?, index.ended()?);
        if kept.len() != ended.len() {
            return Ok(Some(format!("the index keeps {} ended executions and shows {}", kept.len(), ended.len())));
        }
        for ended in ended {
            let id = ended.status.execution;
            let agree = kept.get(&(ended.last, id)) == Some(&ended.kept());
            if !agree || self.spans.get(&id) != Some(&(ended.first, ended.last)) {
                return Ok(Some(format!("the index and the journal do not agree about {id}")));
            }
        }
        for id in self.board.live.keys() {
            if index.span(*id)?.map(|(first, _)| first) != self.spans.get(id).map(|(first, _)| *first) {
                return Ok(Some(format!("the index and the journal do not agree about {id}, which is live")));
            }
        }
        Ok(None)
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
