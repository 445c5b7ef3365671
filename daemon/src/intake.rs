//! Shell: candidates come in through the uplink directory or the socket; each is verified, staged, flushed,
//! committed, and only then acknowledged.
//!
//! One at a time: a bundle that is verified while another takes its place would be judged against an old state.
//! Only regular files are looked into: a link could lead anywhere, a pipe could keep us waiting for ever.
//! Must not: leave anything of a refused bundle but itself and its reason.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{EventMask, Inotify, WatchMask};
use nix::fcntl::OFlag;
use serde::Serialize;
use tokio::sync::{Mutex, watch};

use crate::bundle::document::{Entry, Header};
use crate::bundle::read::{self, ReadError};
use crate::bundle::{ExecutionId, Tenant};
use crate::clock::Clock;
use crate::config::Settings;
use crate::disk;
use crate::downlink::Outbox;
use crate::handle::{Answer, Handle, TroubleName};
use crate::plan;
use crate::reason::{Name, Reason};
use crate::sequence::{Event, Refusal};
use crate::verify::{self, Rejection, VerifiedBundle};

/// Pause before a bundle that could not be taken is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Characters of a rejected bundle's own name that are kept; a name of ours beside it must fit into 255 bytes.
const STEM_CHARS: usize = 50;

/// Room for some events; more are read in a further look.
const EVENT_BYTES: usize = 1024;

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is committed and will run.
    Accepted {
        /// Its execution.
        execution: ExecutionId,
        /// Its owner.
        tenant: Tenant,
    },
    /// Its execution is aboard already; nothing changed.
    AlreadyKnown {
        /// Its execution.
        execution: ExecutionId,
    },
    /// It is not a bundle, or not one for this board.
    Rejected(Rejection),
    /// The daemon cannot take it now; it is worth another try.
    Unavailable(Reason),
}

/// Takes bundles in.
#[derive(Debug, Clone)]
pub struct Intake {
    settings: watch::Receiver<Arc<Settings>>,
    handle: Handle,
    outbox: Outbox,
    clock: Clock,
    turn: Arc<Mutex<()>>,
    state_dir: PathBuf,
}

impl Intake {
    /// An intake for a state directory.
    #[must_use]
    pub fn new(settings: watch::Receiver<Arc<Settings>>, handle: Handle, clock: Clock) -> Self {
        let state_dir = settings.borrow().state_dir.clone();
        Self { outbox: Outbox::new(&state_dir), settings, handle, clock, turn: Arc::default(), state_dir }
    }

    /// A new file for a candidate that comes in pieces.
    ///
    /// # Errors
    /// When the staging directory cannot be written.
    pub fn stage(&self) -> Result<(Staged, File), Reason> {
        if let Some(reason) = self.closed() {
            return Err(reason);
        }
        let folder = self.state_dir.join("staging");
        let path = folder.join(format!("{}.bundle", uuid::Uuid::now_v7()));
        let file = fs::create_dir_all(&folder).and_then(|()| File::create(&path));
        let failed = |error| format!("failed to stage the bundle in {}: {error}", folder.display());
        let file = file.map_err(|error| Reason::new(Name::LedgerUnavailable, failed(error)))?;
        Ok((Staged(path), file))
    }

    /// Why nothing is taken in for want of room, if so: what little there is is kept for what has been taken in.
    fn closed(&self) -> Option<Reason> {
        let snapshot = self.handle.snapshot();
        if let Some(full) = snapshot.troubles.iter().find(|trouble| trouble.name == TroubleName::DiskFull) {
            return Some(Reason::new(Name::LedgerUnavailable, full.message.clone()));
        }
        let most = self.settings.borrow().retention.outbox_bytes;
        self.outbox.full(most).map(|why| Reason::new(Name::Limit, why))
    }

    /// Takes a candidate that has come in whole. Who handed it over may go away meanwhile: it is taken all the same.
    pub async fn take_staged(&self, staged: Staged, hold: bool) -> Outcome {
        let intake = self.clone();
        let taken = tokio::spawn(async move { intake.take(staged.0.clone(), hold).await });
        taken.await.unwrap_or_else(|error| unavailable(Name::Internal, error.to_string()))
    }

    /// Takes one candidate: verify, stage, commit. The candidate file is left alone. Must run to its end.
    async fn take(&self, candidate: PathBuf, hold: bool) -> Outcome {
        let _turn = self.turn.lock().await;
        if let Some(reason) = self.closed() {
            return Outcome::Unavailable(reason);
        }
        let settings = self.settings.borrow().clone();
        let staging = self.state_dir.join("staging").join("unpacked");
        let now = self.clock.now().wall;
        let unpacking = (staging.clone(), settings.bundle_bytes);
        let unpacked = tokio::task::spawn_blocking(move || unpack(&candidate, &unpacking.0, unpacking.1, now));
        let bundle = match unpacked.await {
            Ok(Ok(bundle)) => bundle,
            Ok(Err(outcome)) => return self.discard(&staging, outcome),
            Err(error) => return self.discard(&staging, unavailable(Name::Internal, error.to_string())),
        };
        let id = bundle.header().execution;
        let snapshot = self.handle.snapshot();
        if snapshot.board.live.contains_key(&id) || snapshot.board.ended.contains(&id) {
            return self.discard(&staging, Outcome::AlreadyKnown { execution: id });
        }
        let plan = match plan::plan(&bundle, &settings.board()) {
            Ok(plan) => plan,
            Err(rejection) => return self.discard(&staging, Outcome::Rejected(rejection)),
        };
        let home = self.outbox.bundle_folder(id);
        if let Err(error) = settle(&staging, &home) {
            return self.discard(&staging, storage(&error));
        }
        let held = hold || bundle.header().hold;
        let tenant = plan.tenant.clone();
        match self.handle.ask(Event::Submitted { plan: Arc::new(plan), held }).await {
            Ok(_) => Outcome::Accepted { execution: id, tenant },
            Err(Answer::Refused(Refusal::AlreadyKnown(id))) => Outcome::AlreadyKnown { execution: id },
            Err(Answer::Refused(refusal)) => self.discard(&home, Outcome::Unavailable(refusal.reason())),
            Err(Answer::Unavailable(reason)) => self.discard(&home, Outcome::Unavailable(reason)),
        }
    }

    fn discard(&self, folder: &Path, outcome: Outcome) -> Outcome {
        if let Err(error) = disk::remove_folder(folder) {
            tracing::warn!(folder = %folder.display(), %error, "failed to remove what a candidate left");
        }
        outcome
    }

    /// Watches the uplink directory until it is removed or moved. Bundles that are there already come first.
    ///
    /// # Errors
    /// When the directory cannot be made or watched.
    pub async fn watch(&self) -> io::Result<()> {
        let folder = self.settings.borrow().uplink_dir.clone();
        fs::create_dir_all(&folder)?;
        let inotify = Inotify::init()?;
        let arrivals = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO;
        inotify.watches().add(&folder, arrivals | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF)?;
        let mut arrivals = inotify.into_event_stream([0; EVENT_BYTES])?;
        loop {
            // What arrived is read off the directory itself; an event only says that something did.
            let pause = if self.scan(&folder).await { RETRY } else { Duration::MAX };
            // Without an arrival in time, the scan is due all the same.
            let Ok(arrival) = tokio::time::timeout(pause, arrivals.next()).await else { continue };
            let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
            if arrival.transpose()?.is_none_or(|arrival| arrival.mask.intersects(gone)) {
                return Ok(());
            }
        }
    }

    /// Takes every bundle of the directory, oldest name first. Returns whether some had to stay.
    async fn scan(&self, folder: &Path) -> bool {
        let mut left = false;
        let mut found: Vec<PathBuf> = match fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "failed to list the uplink directory");
                return true;
            }
        };
        found.retain(|path| path.extension().is_some_and(|extension| extension == "bundle"));
        found.sort();
        for path in found {
            let outcome = self.take(path.clone(), false).await;
            if let Err(error) = self.conclude(&path, &outcome) {
                tracing::error!(bundle = %path.display(), %error, "failed to put a bundle away");
                left = true;
            }
            left |= matches!(outcome, Outcome::Unavailable(_));
        }
        left
    }

    fn conclude(&self, path: &Path, outcome: &Outcome) -> io::Result<()> {
        let name = path.display();
        match outcome {
            Outcome::Accepted { execution, tenant } => {
                tracing::info!(bundle = %name, %execution, %tenant, "bundle accepted");
                fs::remove_file(path)
            }
            Outcome::AlreadyKnown { execution } => {
                tracing::info!(bundle = %name, %execution, "bundle already known");
                fs::remove_file(path)
            }
            Outcome::Rejected(rejection) => {
                tracing::warn!(bundle = %name, %rejection, "bundle rejected");
                self.reject(path, rejection)
            }
            Outcome::Unavailable(reason) => {
                tracing::error!(bundle = %name, %reason, "bundle left in the uplink directory, will be tried again");
                Ok(())
            }
        }
    }

    /// Moves a bundle to `rejected/` as it is, its reason beside it; the oldest go when there are too many.
    fn reject(&self, path: &Path, rejection: &Rejection) -> io::Result<()> {
        let folder = self.state_dir.join("rejected");
        fs::create_dir_all(&folder)?;
        let mut stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        stem = stem.chars().take(STEM_CHARS).collect();
        let unique = format!("{}-{stem}", uuid::Uuid::now_v7().simple());
        disk::write_durably(&folder.join(format!("{unique}.json")), &serde_json::to_vec_pretty(rejection)?)?;
        let target = folder.join(format!("{unique}.bundle"));
        if let Err(error) = fs::rename(path, &target) {
            if !fs::symlink_metadata(path)?.is_file() {
                return Err(error);
            }
            fs::copy(path, &target)?;
            fs::remove_file(path)?;
        }
        self.forget_oldest(&folder)
    }

    /// The newest stays, whatever its size.
    fn forget_oldest(&self, folder: &Path) -> io::Result<()> {
        let limits = self.settings.borrow().retention.clone();
        // A bundle goes with its reason: both have one name.
        let mut rejected: BTreeMap<OsString, Vec<PathBuf>> = BTreeMap::new();
        for path in fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()) {
            rejected.entry(path.file_stem().unwrap_or_default().to_owned()).or_default().push(path);
        }
        let room_of = |paths: &Vec<PathBuf>| paths.iter().map(|path| disk::room_of(path)).sum::<u64>();
        let mut room: u64 = rejected.values().map(room_of).sum();
        while rejected.len() > 1 && (rejected.len() > limits.rejected || room > limits.rejected_bytes) {
            let Some((_, oldest)) = rejected.pop_first() else { break };
            room = room.saturating_sub(room_of(&oldest));
            oldest.iter().try_for_each(|path| match fs::symlink_metadata(path)?.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            })?;
        }
        Ok(())
    }
}

/// A candidate that came in pieces; the file goes with this.
#[derive(Debug)]
pub struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "failed to remove a staged candidate");
        }
    }
}

fn unavailable(name: Name, message: String) -> Outcome {
    Outcome::Unavailable(Reason::new(name, message))
}

fn storage(error: &io::Error) -> Outcome {
    unavailable(Name::LedgerUnavailable, format!("failed to store the bundle: {error}"))
}

/// Reads a candidate once: its texts into memory, its files into the staging folder, flushed.
fn unpack(candidate: &Path, staging: &Path, limit: u64, now: jiff::Timestamp) -> Result<VerifiedBundle, Outcome> {
    disk::remove_folder(staging).map_err(|error| storage(&error))?;
    fs::create_dir_all(staging).map_err(|error| storage(&error))?;
    let file = open(candidate)?;
    let mut texts = BTreeMap::new();
    let mut store = |_: &Header, entry: &Entry, content: &mut dyn Read| -> io::Result<()> {
        if entry.path.starts_with("files/") || entry.path.starts_with("images/") {
            return store_file(&staging.join(&entry.path), content);
        }
        let mut bytes = Vec::new();
        if entry.path.ends_with(".yaml") {
            content.read_to_end(&mut bytes)?;
            texts.insert(entry.path.clone(), bytes);
            return Ok(());
        }
        io::copy(content, &mut io::sink()).map(|_| ())
    };
    let header = read::archive(BufReader::new(file), limit, &mut store).map_err(|error| refused(&error))?;
    within_validity(&header, now)?;
    verify::verify(header, &texts).map_err(Outcome::Rejected)
}

/// Opens a candidate if it is a regular file, without following a link or waiting for a writer.
fn open(candidate: &Path) -> Result<File, Outcome> {
    let no_bundle = || Outcome::Rejected(Rejection::one(Name::Format, "", "", "not a regular file".to_owned()));
    let unreadable = |error: io::Error| unavailable(Name::Internal, format!("failed to open the bundle: {error}"));
    if !fs::symlink_metadata(candidate).map_err(unreadable)?.is_file() {
        return Err(no_bundle());
    }
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(candidate).map_err(unreadable)?;
    // It may have been replaced since.
    if file.metadata().map_err(unreadable)?.is_file() { Ok(file) } else { Err(no_bundle()) }
}

fn store_file(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = File::create(path)?;
    io::copy(content, &mut file)?;
    file.sync_all()?;
    disk::sync_folder(folder)
}

/// Bytes that are no bundle are rejected for good; a disk that cannot take them is worth another try.
fn refused(error: &ReadError) -> Outcome {
    match error {
        // An error that is not the system's is the decompressor's: these bytes will never be a bundle.
        ReadError::Io { source, .. } if source.raw_os_error().is_none() => {
            let message = format!("the bundle cannot be decompressed: {source}; transfer it again");
            Outcome::Rejected(Rejection::one(Name::Format, "", "", message))
        }
        ReadError::Io { doing, source } => unavailable(Name::LedgerUnavailable, format!("failed to {doing}: {source}")),
        ReadError::Document(_) | ReadError::Listing(_) => {
            Outcome::Rejected(Rejection::one(Name::Format, Header::PATH, "", error.to_string()))
        }
        ReadError::Truncated { .. }
        | ReadError::Trailing { .. }
        | ReadError::Header { .. }
        | ReadError::Order { .. }
        | ReadError::Damaged { .. }
        | ReadError::Limit { .. } => Outcome::Rejected(Rejection::one(Name::Format, "", "", error.to_string())),
    }
}

fn within_validity(header: &Header, now: jiff::Timestamp) -> Result<(), Outcome> {
    let outside = |field: &str, message: String| {
        Err(Outcome::Rejected(Rejection::one(Name::Invalid, Header::PATH, field, message)))
    };
    match (header.validity.not_before, header.validity.not_after) {
        (Some(from), _) if now < from => outside("validity.not_before", format!("valid from {from}, it is {now}")),
        (_, Some(until)) if now > until => outside("validity.not_after", format!("valid until {until}, it is {now}")),
        (_, _) => Ok(()),
    }
}

/// Gives the staged folder its place. What an earlier, uncommitted try left there goes.
fn settle(staging: &Path, home: &Path) -> io::Result<()> {
    disk::remove_folder(home)?;
    fs::create_dir_all(home.parent().unwrap_or(Path::new(".")))?;
    disk::publish_folder(staging, home)
}
