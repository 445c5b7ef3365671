//! The index: sled, rebuildable from the journal at any time, hence never trusted to be whole.
//!
//! | tree | key | value |
//! | --- | --- | --- |
//! | `meta` | `version`, `boot`, `latest` | index version; boot of the newest start; latest boot time of any record |
//! | `live` | execution | cursor of its first record |
//! | `ended` | execution | [`Ended`]: status document, cursors of its first and last record |
//! | `forgotten` | execution | nothing: its identity is all that is kept |
//! | `order` | time received, execution | nothing: the order of lists |
//!
//! Must not: call anything of sled that counts or walks on over errors.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sled::transaction::Transactional as _;
use uuid::Uuid;

use super::Boot;
use super::segment::Cursor;
use crate::bundle::ExecutionId;
use crate::medium::Medium;
use crate::time::BootTime;
use crate::view::ExecutionStatus;

const VERSION: &[u8] = b"2";
/// sled's page cache. The index is written twice per execution; it needs no more.
const CACHE_BYTES: u64 = 2 << 20;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled.
    #[error("failed to use sled")]
    Sled(#[from] sled::Error),
    /// A value that is not ours.
    #[error("failed to read a value of the index")]
    Value(#[from] serde_json::Error),
    /// A key that is not ours.
    #[error("a key of the index is not ours")]
    Key,
    /// sled undid a transaction.
    #[error("sled undid a transaction")]
    Undone,
    /// It failed and was let go of.
    #[error("the index is closed until it can be opened again")]
    Closed,
    /// sled panicked.
    #[error("sled panicked")]
    Panic,
    /// Its files.
    #[error("failed to use the files of the index")]
    Files(#[from] io::Error),
}

/// An ended execution as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// What `status` shows.
    pub status: ExecutionStatus,
    /// Cursor of its first record.
    pub first: Cursor,
    /// Cursor of its last record.
    pub last: Cursor,
    /// When it ended, in boot time: its age does not depend on the wall clock.
    pub ended: BootTime,
    /// Bytes of its records in the journal.
    pub bytes: u64,
}

/// The open index.
#[derive(Debug, Clone)]
pub struct Index {
    medium: Medium,
    /// There until it is dropped.
    trees: Option<Trees>,
}

#[derive(Debug, Clone)]
struct Trees {
    db: sled::Db,
    meta: sled::Tree,
    live: sled::Tree,
    ended: sled::Tree,
    forgotten: sled::Tree,
    order: sled::Tree,
}

impl Drop for Index {
    /// The last handle writes, and sled panics where that fails.
    fn drop(&mut self) {
        let trees = self.trees.take();
        if catch_unwind(AssertUnwindSafe(|| drop(trees))).is_err() {
            tracing::error!("sled panicked while the index was closed; it is made anew at the next start");
        }
    }
}

impl Index {
    /// Opens an index whose files are known to be whole.
    ///
    /// # Errors
    /// When it cannot be opened or is of another version.
    pub(super) fn open(path: &Path, medium: Medium) -> Result<Self, IndexError> {
        medium.pass()?;
        let open = || {
            let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
            Ok::<_, sled::Error>(Trees {
                meta: db.open_tree("meta")?,
                live: db.open_tree("live")?,
                ended: db.open_tree("ended")?,
                forgotten: db.open_tree("forgotten")?,
                order: db.open_tree("order")?,
                db,
            })
        };
        let trees = catch_unwind(AssertUnwindSafe(open)).map_err(|_| IndexError::Panic)??;
        let index = Self { medium, trees: Some(trees) };
        match index.trees()?.meta.get("version")? {
            Some(version) if version == VERSION => {}
            Some(_) => return Err(IndexError::Key),
            None => {
                index.trees()?.meta.insert("version", VERSION)?;
            }
        }
        Ok(index)
    }

    /// Makes an empty index in place of one that may be there.
    ///
    /// # Errors
    /// When the old one cannot be removed or the new one not made.
    pub(super) fn anew(path: &Path, medium: Medium) -> Result<Self, IndexError> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        Self::open(path, medium)
    }

    fn trees(&self) -> Result<&Trees, IndexError> {
        self.trees.as_ref().ok_or(IndexError::Closed)
    }

    /// Where replay must begin: at the oldest live execution.
    pub(super) fn oldest_live(&self) -> Result<Option<Cursor>, IndexError> {
        let mut oldest = None;
        for pair in &self.trees()?.live {
            let first: Cursor = serde_json::from_slice(&pair?.1)?;
            oldest = Some(oldest.map_or(first, |known: Cursor| known.min(first)));
        }
        Ok(oldest)
    }

    /// The boot noted last, and the latest boot time of any record when the index was closed.
    pub(super) fn last_boot(&self) -> Result<(Option<Boot>, BootTime), IndexError> {
        let boot = self.trees()?.meta.get("boot")?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?;
        let latest = self.trees()?.meta.get("latest")?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?;
        Ok((boot, latest.unwrap_or_default()))
    }

    /// Notes the boot that the journal's newest start frame names.
    pub(super) fn set_boot(&self, boot: &Boot) -> Result<(), IndexError> {
        self.medium.pass()?;
        self.trees()?.meta.insert("boot", serde_json::to_vec(boot)?)?;
        Ok(())
    }

    /// Writes out all that sled still holds back, before the index is sealed.
    pub(super) fn finish(&self, latest: BootTime) -> Result<(), IndexError> {
        self.medium.pass()?;
        self.trees()?.meta.insert("latest", serde_json::to_vec(&latest)?)?;
        self.trees()?.db.flush()?;
        Ok(())
    }

    /// Identities of all ended executions, those of forgotten ones included.
    pub(super) fn identities(&self) -> Result<BTreeSet<ExecutionId>, IndexError> {
        let mut ids = self.forgotten()?;
        for pair in &self.trees()?.ended {
            ids.insert(id_of(&pair?.0)?);
        }
        Ok(ids)
    }

    /// Identities of forgotten executions.
    pub(super) fn forgotten(&self) -> Result<BTreeSet<ExecutionId>, IndexError> {
        let mut ids = BTreeSet::new();
        for pair in &self.trees()?.forgotten {
            ids.insert(id_of(&pair?.0)?);
        }
        Ok(ids)
    }

    /// Every ended execution that is kept.
    pub(super) fn kept(&self) -> Result<Vec<Ended>, IndexError> {
        let mut kept = Vec::new();
        for pair in &self.trees()?.ended {
            kept.push(serde_json::from_slice(&pair?.1)?);
        }
        Ok(kept)
    }

    /// Notes an accepted execution.
    pub(super) fn accepted(&self, id: ExecutionId, first: Cursor) -> Result<(), IndexError> {
        self.medium.pass()?;
        self.trees()?.live.insert(id.as_bytes(), serde_json::to_vec(&first)?)?;
        Ok(())
    }

    /// Notes an ended execution.
    pub(super) fn ended_at(&self, ended: &Ended) -> Result<(), IndexError> {
        self.medium.pass()?;
        let id = ended.status.execution;
        let value = serde_json::to_vec(ended)?;
        let order = order_key(&ended.status);
        let trees = self.trees()?;
        (&trees.live, &trees.ended, &trees.order).transaction(|(live, trees, orders)| {
            live.remove(id.as_bytes())?;
            trees.insert(id.as_bytes(), value.as_slice())?;
            orders.insert(order.as_slice(), &[])?;
            Ok(())
        })?;
        Ok(())
    }

    /// Removes all of an ended execution but its identity.
    pub(super) fn forget(&self, id: ExecutionId) -> Result<(), IndexError> {
        self.medium.pass()?;
        let order = self.get(id)?.map(|ended| order_key(&ended.status));
        let trees = self.trees()?;
        (&trees.ended, &trees.order, &trees.forgotten).transaction(|(trees, orders, forgotten)| {
            trees.remove(id.as_bytes())?;
            if let Some(order) = &order {
                orders.remove(order.as_slice())?;
            }
            forgotten.insert(id.as_bytes(), &[])?;
            Ok(())
        })?;
        Ok(())
    }

    /// An ended execution, unless it was forgotten.
    ///
    /// # Errors
    /// When sled fails.
    pub fn get(&self, id: ExecutionId) -> Result<Option<Ended>, IndexError> {
        let bytes = self.trees()?.ended.get(id.as_bytes())?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Cursors of the first and, once ended, of the last record of an execution.
    pub(super) fn span(&self, id: ExecutionId) -> Result<Option<(Cursor, Option<Cursor>)>, IndexError> {
        if let Some(ended) = self.get(id)? {
            return Ok(Some((ended.first, Some(ended.last))));
        }
        let bytes = self.trees()?.live.get(id.as_bytes())?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?.map(|first| (first, None)))
    }

    /// Ended executions whose identity begins with these hexadecimal digits, at most two.
    ///
    /// # Errors
    /// When sled fails.
    pub fn with_prefix(&self, digits: &str) -> Result<Vec<ExecutionId>, IndexError> {
        let from = format!("{digits:0<32}");
        let Ok(from) = Uuid::parse_str(&from) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for pair in self.trees()?.ended.range(from.as_bytes().to_vec()..) {
            let id = id_of(&pair?.0)?;
            if !id.to_string().replace('-', "").starts_with(digits) || found.len() == 2 {
                break;
            }
            found.push(id);
        }
        Ok(found)
    }

    /// Ended executions, newest received first.
    ///
    /// # Errors
    /// When sled fails; the walk stops at the first error.
    pub fn newest(&self) -> impl Iterator<Item = Result<ExecutionStatus, IndexError>> + '_ {
        let mut broken = false;
        let found = self.trees.iter().flat_map(|trees| trees.order.iter().rev()).map_while(move |pair| {
            if broken {
                return None;
            }
            let found = pair.map_err(IndexError::from).and_then(|(key, _)| {
                // One that is forgotten this very moment is passed over.
                Ok(self.get(id_of(key.get(8..).unwrap_or_default())?)?.map(|ended| ended.status))
            });
            broken = found.is_err();
            Some(found.transpose())
        });
        found.flatten()
    }
}

impl From<sled::transaction::TransactionError<()>> for IndexError {
    fn from(error: sled::transaction::TransactionError<()>) -> Self {
        match error {
            sled::transaction::TransactionError::Storage(error) => Self::Sled(error),
            sled::transaction::TransactionError::Abort(()) => Self::Undone,
        }
    }
}

fn id_of(bytes: &[u8]) -> Result<ExecutionId, IndexError> {
    Uuid::from_slice(bytes).map(ExecutionId::new).map_err(|_| IndexError::Key)
}

fn order_key(status: &ExecutionStatus) -> Vec<u8> {
    let millis = u64::try_from(status.received_at.as_millisecond()).unwrap_or(0);
    let mut key = millis.to_be_bytes().to_vec();
    key.extend_from_slice(status.execution.as_bytes());
    key
}
