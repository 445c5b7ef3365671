//! Shell: the outbox. One entry per ended execution, complete or absent, until the ground acknowledges it.
//!
//! ```text
//! <state_dir>/logs/<execution>/<container>.console     console output, until purge
//! <state_dir>/outputs/<execution>/<step>.json           output documents of errands, until purge
//! <state_dir>/bundles/<execution>/                     files of the accepted bundle, until the end
//! <state_dir>/gangs/<execution>/                       hostfiles and keys of its gangs, until the end
//! <state_dir>/outgoing/<execution>/                    an entry in the making
//! <state_dir>/downlink/<execution>/                    the entry: report.json, <step>.tar, outputs/<step>.json, logs/<step>.<job>.stdout|stderr
//! ```
//!
//! Must not: publish an entry before all of it is on the medium.

mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
/// What is kept of an execution until it is forgotten.
const KEPT: [&str; 2] = ["logs", "outputs"];
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
    /// Room of the entries that wait for a pass: what is in one never changes.
    rooms: Arc<Mutex<BTreeMap<OsString, u64>>>,
}

impl Outbox {
    /// The outbox of a state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), rooms: Arc::default() }
    }

    /// Where the console output of a container is kept.
    #[must_use]
    pub fn console_path(&self, id: ExecutionId, container: &str) -> PathBuf {
        self.state_dir.join("logs").join(id.to_string()).join(format!("{container}.console"))
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

    /// Where the output document of a step is kept.
    #[must_use]
    pub fn output_path(&self, id: ExecutionId, step: &StepId) -> PathBuf {
        self.state_dir.join("outputs").join(id.to_string()).join(format!("{step}.json"))
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
    ) -> Result<Collected, Reason> {
        let folder = self.outgoing(id);
        let listing = listing(&folder, step);
        let failed =
            |error: io::Error| Reason::new(Name::TransferError, format!("failed to write the outbox: {error}"));
        if let Some(bytes) = read_if_there(&listing).map_err(failed)? {
            return serde_json::from_slice(&bytes).map_err(|error| failed(error.into()));
        }
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
        disk::write_durably(&listing, &bytes).map_err(failed)?;
        Ok(collected)
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
        // One that is there was finished before a crash; the listings that it was made from may be gone.
        if !outgoing.join(REPORT).exists() {
            self.write_report(execution, &outgoing)?;
        }
        disk::remove_folder(&outgoing.join(LISTINGS))?;
        disk::sync_folder(&outgoing.join("logs"))?;
        fs::create_dir_all(self.state_dir.join("downlink"))?;
        disk::publish_folder(&outgoing, &entry)
    }

    fn write_report(&self, execution: &Execution, outgoing: &Path) -> io::Result<()> {
        let mut downlinks = Vec::new();
        let mut files = Vec::new();
        for planned in &execution.plan.steps {
            if let Some(bytes) = read_if_there(&listing(outgoing, &planned.id))? {
                let collected: Collected = serde_json::from_slice(&bytes)?;
                files.push(EntryFile {
                    path: collected.archive.clone(),
                    size: collected.content_length,
                    sha256: collected.sha256,
                });
                downlinks.push(StepDownlink { step: planned.id.clone(), collected });
            }
        }
        files.extend(self.export_outputs(execution, outgoing)?);
        files.extend(self.export_logs(execution, outgoing)?);
        let report = ReportDocument {
            perigee: env!("CARGO_PKG_VERSION").to_owned(),
            operation_info: execution.plan.operation.clone(),
            status: ended_status(execution),
            downlinks,
            files,
        };
        disk::write_durably(&outgoing.join(REPORT), &serde_json::to_vec_pretty(&report)?)
    }

    fn export_outputs(&self, execution: &Execution, folder: &Path) -> io::Result<Vec<EntryFile>> {
        let mut files = Vec::new();
        for planned in &execution.plan.steps {
            let kept = self.output_path(execution.plan.execution, &planned.id);
            let Some(bytes) = read_if_there(&kept)? else { continue };
            let path = format!("outputs/{}.json", planned.id);
            disk::write_durably(&folder.join(&path), &bytes)?;
            files.push(EntryFile { path, size: bytes.len() as u64, sha256: Digest::of(&bytes) });
        }
        Ok(files)
    }

    fn export_logs(&self, execution: &Execution, folder: &Path) -> io::Result<Vec<EntryFile>> {
        let id = execution.plan.execution;
        let mut files = Vec::new();
        for (step, part) in execution.steps.iter().enumerate() {
            for (job, known) in part.jobs.iter().enumerate().filter(|(_, known)| known.began.is_some()) {
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
        let folder = self.state_dir.join("downlink");
        let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let names: BTreeSet<OsString> = entries.map(|entry| entry.file_name()).collect();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.retain(|name, _| names.contains(name));
        for name in names {
            rooms.entry(name).or_insert_with_key(|name| disk::room_of(&folder.join(name)));
        }
        rooms.values().sum()
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

    /// The console output and the output documents of an execution.
    fn kept(&self, id: ExecutionId) -> [PathBuf; 2] {
        KEPT.map(|folder| self.state_dir.join(folder).join(id.to_string()))
    }

    /// The room that the console output and the output documents of an execution take.
    #[must_use]
    pub fn log_bytes(&self, id: ExecutionId) -> u64 {
        self.kept(id).iter().map(|folder| disk::room_of(folder)).sum()
    }

    /// Removes what is kept of a forgotten execution: its console output and its output documents. An entry that waits for a pass stays.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, id: ExecutionId) -> io::Result<()> {
        self.kept(id).iter().try_for_each(|folder| disk::remove_folder(folder))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::sequence::state::Verdict;
    use crate::time::{BootTime, Timestamp};

    const AT: Timestamp = Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(0) };

    fn settled() -> Execution {
        let plan: Plan = serde_json::from_value(serde_json::json!({
            "execution": "0198c0de-0000-7000-8000-000000000001", "tenant": "t", "stop_grace_seconds": 10,
            "operation": {"id": "o", "revision": null, "namespace": null, "system": null, "description": null,
                "labels": {}},
            "steps": [{"id": "DOWN", "on_failure": "stop", "timeout_seconds": 300, "group": null, "after": [],
                "work": {"downlink": {"node": "mpu", "volume": "v", "claim": "t.v", "sources": ["a"], "destination": ""}}}],
        }))
        .expect("a plan");
        let mut known = Execution::new(Arc::new(plan), false, AT);
        known.phase = Phase::Settled { verdict: Verdict::Succeeded, at: AT };
        known
    }

    #[test]
    fn report_that_was_finished_before_a_crash_keeps_what_it_was_made_from() {
        let dir = tempfile::tempdir().expect("a folder");
        let (outbox, known) = (Outbox::new(dir.path()), settled());
        let id = known.plan.execution;
        let outgoing = outbox.outgoing(id);
        fs::create_dir_all(outgoing.join(LISTINGS)).expect("made");
        fs::write(outgoing.join("DOWN.tar"), b"archive").expect("written");
        let collected = serde_json::json!({"archive": "DOWN.tar",
            "content_type": "application/x-tar", "content_length": 7, "sha256": Digest::of(b"archive"),
            "destination": "", "files": []});
        let collected: Collected = serde_json::from_value(collected).expect("what a step collected");
        let bytes = serde_json::to_vec(&collected).expect("JSON");
        fs::write(listing(&outgoing, &known.plan.steps[0].id), bytes).expect("written");
        // The cut comes after the listings are gone and before the entry is published.
        fs::write(dir.path().join("downlink"), b"in the way").expect("written");
        outbox.file(&known).expect_err("it cannot be published");
        assert!(!outgoing.join(LISTINGS).exists());
        fs::remove_file(dir.path().join("downlink")).expect("removed");
        outbox.file(&known).expect("published");
        let report = fs::read(outbox.entry(id).join(REPORT)).expect("a report");
        let report: ReportDocument = serde_json::from_slice(&report).expect("JSON");
        assert_eq!(report.downlinks.len(), 1);
        assert!(report.files.iter().any(|file| file.path == "DOWN.tar"));
    }
}
