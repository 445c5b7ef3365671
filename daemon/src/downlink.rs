//! Shell: the outbox. One entry per ended execution, complete or absent, until the ground acknowledges it.
//!
//! ```text
//! <state_dir>/logs/<execution>/<container>.console     console output, until purge
//! <state_dir>/bundles/<execution>/                     files of the accepted bundle, until the end
//! <state_dir>/gangs/<execution>/                       hostfiles and keys of its gangs, until the end
//! <state_dir>/outgoing/<execution>/                    an entry in the making
//! <state_dir>/downlink/<execution>/                    the entry: report.json, <step>.tar, logs/<step>.<job>.stdout|stderr
//! ```
//!
//! Must not: publish an entry before all of it is on the medium.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use crate::bundle::document::OperationInfo;
use crate::bundle::{Digest, ExecutionId, StepId};
use crate::disk;
use crate::plan::Transfer;
use crate::podman::console::{self, Stream};
use crate::podman::files::{self, Collected};
use crate::reason::{Name, Reason};
use crate::sequence::Execution;
use crate::sequence::state::{AttemptId, Phase};
use crate::view::{self, ExecutionStatus};

const REPORT: &str = "report.json";
const LISTINGS: &str = ".listings";

/// The report of an execution: its status, what flew it, and every file of the entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportDocument {
    /// Version of perigeed.
    pub perigee: String,
    /// What the bundle said of its operation.
    pub operation_info: OperationInfo,
    /// How it went.
    #[serde(flatten)]
    pub status: ExecutionStatus,
    /// What each downlink step collected.
    pub downlinks: Vec<StepDownlink>,
    /// Every other file of the entry.
    pub files: Vec<EntryFile>,
}

/// What a downlink step collected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDownlink {
    /// The step.
    pub step: StepId,
    /// Its archive and the files in it.
    #[serde(flatten)]
    pub collected: Collected,
}

/// One file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFile {
    /// Path in the entry.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// A line of `downlink list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// The execution.
    pub execution: ExecutionId,
    /// Its operation.
    pub operation: String,
    /// Who owns it.
    pub tenant: String,
    /// How it ended.
    pub state: crate::outcome::State,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Bytes of all files.
    pub bytes: u64,
    /// The folder to transfer.
    pub path: PathBuf,
    /// Its files, the report first.
    pub files: Vec<EntryFile>,
}

/// The outbox of a state directory.
#[derive(Debug, Clone)]
pub struct Outbox {
    state_dir: PathBuf,
}

impl Outbox {
    /// The outbox of a state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    /// Where the console output of a container is kept.
    #[must_use]
    pub fn console_path(&self, id: ExecutionId, container: &str) -> PathBuf {
        self.logs(id).join(format!("{container}.console"))
    }

    /// Where the files of an accepted bundle are.
    #[must_use]
    pub fn bundle_folder(&self, id: ExecutionId) -> PathBuf {
        self.state_dir.join("bundles").join(id.to_string())
    }

    /// Where the files of its gangs are, keys included; they live as long as the execution.
    #[must_use]
    pub fn gang_folder(&self, id: ExecutionId) -> PathBuf {
        self.state_dir.join("gangs").join(id.to_string())
    }

    fn outgoing(&self, id: ExecutionId) -> PathBuf {
        self.state_dir.join("outgoing").join(id.to_string())
    }

    fn entry(&self, id: ExecutionId) -> PathBuf {
        self.state_dir.join("downlink").join(id.to_string())
    }

    /// Collects the files of a downlink step into its archive. Done before, it is not done again.
    ///
    /// # Errors
    /// Names the source or file and the cause; nothing of the archive stays.
    pub fn collect(
        &self,
        id: ExecutionId,
        step: &StepId,
        transfer: &Transfer,
        volume: &Dir,
        limit: u64,
    ) -> Result<(), Reason> {
        let folder = self.outgoing(id);
        let listing = listing(&folder, step);
        if listing.exists() {
            return Ok(());
        }
        let failed =
            |error: io::Error| Reason::new(Name::TransferError, format!("failed to write the outbox: {error}"));
        fs::create_dir_all(&folder).map_err(failed)?;
        let archive = format!("{step}.tar");
        let part = folder.join(format!("{archive}.part"));
        let files = files::collect(volume, &transfer.sources, &part, limit).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?;
        let (content_length, sha256) = disk::digest(&part).map_err(failed)?;
        fs::rename(&part, folder.join(&archive)).map_err(failed)?;
        let content_type = "application/x-tar".to_owned();
        let destination = format!("/{}", transfer.destination);
        let collected = Collected { archive, content_type, content_length, sha256, destination, files };
        let bytes = serde_json::to_vec(&collected).map_err(|error| failed(error.into()))?;
        disk::write_durably(&listing, &bytes).map_err(failed)
    }

    /// Completes and publishes the entry of an execution. Done before, it is not done again.
    ///
    /// # Errors
    /// When something cannot be written; nothing is published then.
    pub fn file(&self, execution: &Execution) -> io::Result<()> {
        let id = execution.plan.execution;
        let (outgoing, entry) = (self.outgoing(id), self.entry(id));
        if entry.exists() {
            return Ok(());
        }
        fs::create_dir_all(outgoing.join("logs"))?;
        let mut downlinks = Vec::new();
        let mut files = Vec::new();
        for planned in &execution.plan.steps {
            if let Some(bytes) = read_if_there(&listing(&outgoing, &planned.id))? {
                let collected: Collected = serde_json::from_slice(&bytes)?;
                files.push(EntryFile {
                    path: collected.archive.clone(),
                    size: collected.content_length,
                    sha256: collected.sha256,
                });
                downlinks.push(StepDownlink { step: planned.id.clone(), collected });
            }
        }
        files.extend(self.export_logs(execution, &outgoing)?);
        let report = ReportDocument {
            perigee: env!("CARGO_PKG_VERSION").to_owned(),
            operation_info: execution.plan.operation.clone(),
            status: ended_status(execution),
            downlinks,
            files,
        };
        disk::write_durably(&outgoing.join(REPORT), &serde_json::to_vec_pretty(&report)?)?;
        disk::remove_folder(&outgoing.join(LISTINGS))?;
        disk::sync_folder(&outgoing.join("logs"))?;
        fs::create_dir_all(self.state_dir.join("downlink"))?;
        disk::publish_folder(&outgoing, &entry)
    }

    fn export_logs(&self, execution: &Execution, folder: &Path) -> io::Result<Vec<EntryFile>> {
        let id = execution.plan.execution;
        let mut files = Vec::new();
        for (step, part) in execution.steps.iter().enumerate() {
            for (job, known) in part.jobs.iter().enumerate().filter(|(_, known)| known.attempt > 0) {
                let attempt = AttemptId { execution: id, step, job, attempt: known.attempt };
                let kept = self.console_path(id, &view::container_name(execution, &attempt));
                let Some(frames) = read_if_there(&kept)? else { continue };
                for (stream, suffix) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
                    let bytes = console::text(&frames, Some(stream));
                    let path = format!("logs/{}.{job}.{suffix}", execution.plan.steps[step].id);
                    disk::write_durably(&folder.join(&path), &bytes)?;
                    files.push(EntryFile { path, size: bytes.len() as u64, sha256: Digest::of(&bytes) });
                }
            }
        }
        Ok(files)
    }

    /// The entries that wait for a pass, oldest execution first.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub fn list(&self) -> io::Result<Vec<OutboxEntry>> {
        let folder = self.state_dir.join("downlink");
        let names = match fs::read_dir(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for name in names {
            let path = name?.path();
            let Some(report) = read_if_there(&path.join(REPORT))? else { continue };
            let document: ReportDocument = match serde_json::from_slice(&report) {
                Ok(document) => document,
                Err(error) => {
                    tracing::warn!(entry = %path.display(), %error, "an outbox entry whose report cannot be read is not listed");
                    continue;
                }
            };
            let own = EntryFile { path: REPORT.to_owned(), size: report.len() as u64, sha256: Digest::of(&report) };
            let files: Vec<EntryFile> = std::iter::once(own).chain(document.files).collect();
            entries.push(OutboxEntry {
                execution: document.status.execution,
                operation: document.status.operation.to_string(),
                tenant: document.status.tenant.to_string(),
                state: document.status.state,
                ended_at: document.status.ended_at,
                bytes: files.iter().map(|file| file.size).sum(),
                path,
                files,
            });
        }
        entries.sort_by_key(|entry| (entry.ended_at, entry.execution));
        Ok(entries)
    }

    /// Removes an entry that the ground has. Returns whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn acknowledge(&self, id: ExecutionId) -> io::Result<bool> {
        let entry = self.entry(id);
        if !entry.exists() {
            return Ok(false);
        }
        // Out of the list at once, then at leisure: a cut between the two leaves nothing half in the list.
        let gone = self.state_dir.join("outgoing").join(format!("{id}.acknowledged"));
        fs::create_dir_all(self.state_dir.join("outgoing"))?;
        disk::remove_folder(&gone)?;
        fs::rename(&entry, &gone)?;
        disk::sync_folder(&self.state_dir.join("downlink"))?;
        disk::remove_folder(&gone)?;
        Ok(true)
    }

    /// The room that all entries take which wait for a pass.
    #[must_use]
    pub fn room(&self) -> u64 {
        disk::room_of(&self.state_dir.join("downlink"))
    }

    /// Why nothing more is taken in, when the entries take as much room as they may.
    #[must_use]
    pub fn full(&self, most: u64) -> Option<String> {
        let room = self.room();
        (room > most).then(|| {
            format!(
                "the outbox takes {room} bytes, the limit is {most} (retention.outbox_bytes): nothing is accepted \
                 before some of it is acknowledged (`perigee downlink ack ID`)"
            )
        })
    }

    fn logs(&self, id: ExecutionId) -> PathBuf {
        self.state_dir.join("logs").join(id.to_string())
    }

    /// The room that the console output of an execution takes.
    #[must_use]
    pub fn log_bytes(&self, id: ExecutionId) -> u64 {
        disk::room_of(&self.logs(id))
    }

    /// Removes what is kept of a forgotten execution: its console output. An entry that waits for a pass stays.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, id: ExecutionId) -> io::Result<()> {
        disk::remove_folder(&self.logs(id))
    }

    /// Removes the console output of executions that a crash kept from being forgotten wholly.
    pub fn sweep_logs(&self, forgotten: impl Fn(ExecutionId) -> bool) {
        let folders = fs::read_dir(self.state_dir.join("logs")).into_iter().flatten().filter_map(Result::ok);
        for id in folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|id| forgotten(*id)) {
            if let Err(error) = self.forget(id) {
                tracing::warn!(execution = %id, %error, "failed to remove the logs of a forgotten execution");
            }
        }
    }

    /// Removes what a crash left: half-received candidates, files and half-made entries of executions that are not live.
    /// What cannot be removed is said and left.
    pub fn sweep(&self, live: impl Fn(ExecutionId) -> bool) {
        let wanted = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.parse().is_ok_and(&live)
        };
        for folder in ["staging", "outgoing", "bundles", "gangs"] {
            let entries = fs::read_dir(self.state_dir.join(folder)).into_iter().flatten();
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| !wanted(path)) {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                match removed {
                    Ok(()) => tracing::info!(path = %path.display(), "removed what a crash left"),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "failed to remove what a crash left"),
                }
            }
        }
    }

    /// Removes what an ended execution needs no more: the files of its bundle.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn tidy(&self, id: ExecutionId) -> io::Result<()> {
        disk::remove_folder(&self.gang_folder(id))?;
        disk::remove_folder(&self.bundle_folder(id))
    }
}

/// The status as it will be when the execution has ended: the report is the last thing before that.
fn ended_status(execution: &Execution) -> ExecutionStatus {
    let mut copy = execution.clone();
    if let Phase::Settled { verdict, at } = &execution.phase {
        copy.phase = Phase::Ended { verdict: verdict.clone(), at: *at };
    }
    view::status(&copy, None)
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the listing of a downlink step waits for the report: apart from what the entry will hold.
fn listing(outgoing: &Path, step: &StepId) -> PathBuf {
    outgoing.join(LISTINGS).join(format!("{step}.json"))
}
