//! The index: sled, rebuildable from the journal at any time, hence never trusted to be whole.
//!
//! | tree | key | value |
//! | --- | --- | --- |
//! | `meta` | `version`, `position`, `boot` | index version; the frame it reflects |
//! | `live` | execution | where its first frame begins |
//! | `ended` | execution | [`Ended`]: status document, first and last frame |
//! | `order` | time received, execution | nothing: the order of lists |
//!
//! Must not: call anything of sled that counts or walks on over errors.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sled::transaction::Transactional as _;
use uuid::Uuid;

use super::Boot;
use super::journal::Position;
use crate::bundle::ExecutionId;
use crate::sequence::Execution;
use crate::view::{self, ExecutionStatus};

const VERSION: &[u8] = b"1";
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
    /// A damaged index could not be put aside.
    #[error("failed to move the damaged index aside")]
    Aside(#[source] std::io::Error),
}

/// An ended execution as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// What `status` shows.
    pub status: ExecutionStatus,
    /// Where its first frame begins.
    pub first: Position,
    /// Where its last frame begins.
    pub last: Position,
}

/// The open index.
#[derive(Debug, Clone)]
pub struct Index {
    db: sled::Db,
    meta: sled::Tree,
    live: sled::Tree,
    ended: sled::Tree,
    order: sled::Tree,
}

impl Index {
    /// Opens the index; a damaged one, or one that knows more than the journal, is put aside and begun anew.
    ///
    /// # Errors
    /// When not even a new one can be made.
    pub fn open(path: &Path, journal_end: Position, notes: &mut Vec<String>) -> Result<Self, IndexError> {
        let why = match Self::try_open(path) {
            Ok(index) => match index.position() {
                Ok(Some(position)) if position >= journal_end => "it knows more than the journal".to_owned(),
                Ok(_) => return Ok(index),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let aside = path.with_extension("damaged");
        let _ = std::fs::remove_dir_all(&aside);
        std::fs::rename(path, &aside).map_err(IndexError::Aside)?;
        notes.push(format!(
            "the index was damaged ({why}); it is kept as {} and rebuilt from the journal",
            aside.display()
        ));
        Self::try_open(path)
    }

    fn try_open(path: &Path) -> Result<Self, IndexError> {
        let open = || sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open();
        let db = catch_unwind(AssertUnwindSafe(open)).map_err(|_| IndexError::Panic)??;
        let index = Self {
            meta: db.open_tree("meta")?,
            live: db.open_tree("live")?,
            ended: db.open_tree("ended")?,
            order: db.open_tree("order")?,
            db,
        };
        match index.meta.get("version")? {
            Some(version) if version == VERSION => {}
            Some(_) => return Err(IndexError::Key),
            None => {
                index.meta.insert("version", VERSION)?;
            }
        }
        Ok(index)
    }

    fn position(&self) -> Result<Option<Position>, IndexError> {
        let bytes = self.meta.get("position")?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Where replay must begin: at the oldest live execution, or at the frame that the index reflects.
    pub(super) fn replay_from(&self) -> Result<Option<Position>, IndexError> {
        let mut from = self.position()?;
        for pair in &self.live {
            let position: Position = serde_json::from_slice(&pair?.1)?;
            from = from.map(|known| known.min(position));
        }
        Ok(from)
    }

    /// The boot noted last.
    pub(super) fn last_boot(&self) -> Result<Option<Boot>, IndexError> {
        Ok(self.meta.get("boot")?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Notes the boot that the journal's newest start frame names.
    pub(super) fn set_boot(&self, boot: &Boot) -> Result<(), IndexError> {
        self.meta.insert("boot", serde_json::to_vec(boot)?)?;
        self.db.flush()?;
        Ok(())
    }

    /// Identities of all ended executions.
    pub(super) fn ended(&self) -> Result<BTreeSet<ExecutionId>, IndexError> {
        let mut ids = BTreeSet::new();
        for pair in &self.ended {
            ids.insert(id_of(&pair?.0)?);
        }
        Ok(ids)
    }

    /// Notes an accepted execution.
    pub(super) fn accepted(&self, id: ExecutionId, at: Position) -> Result<(), IndexError> {
        let position = serde_json::to_vec(&at)?;
        (&self.meta, &self.live).transaction(|(meta, live)| {
            live.insert(id.as_bytes(), position.as_slice())?;
            meta.insert("position", position.as_slice())?;
            Ok(())
        })?;
        self.db.flush()?;
        Ok(())
    }

    /// Notes an ended execution.
    pub(super) fn ended_at(&self, execution: &Execution, first: Position, last: Position) -> Result<(), IndexError> {
        let id = execution.plan.execution;
        let first = match self.live.get(id.as_bytes())? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => first,
        };
        let ended = Ended { status: view::status(execution, None), first, last };
        let value = serde_json::to_vec(&ended)?;
        let position = serde_json::to_vec(&last)?;
        let order = order_key(&ended.status);
        (&self.meta, &self.live, &self.ended, &self.order).transaction(|(meta, live, trees, orders)| {
            live.remove(id.as_bytes())?;
            trees.insert(id.as_bytes(), value.as_slice())?;
            orders.insert(order.as_slice(), &[])?;
            meta.insert("position", position.as_slice())?;
            Ok(())
        })?;
        self.db.flush()?;
        Ok(())
    }

    /// Forgets an ended execution but for its identity: an empty value.
    pub(super) fn forget(&self, id: ExecutionId) -> Result<(), IndexError> {
        let Some(known) = self.get(id)? else { return Ok(()) };
        let order = order_key(&known.status);
        (&self.ended, &self.order).transaction(|(trees, orders)| {
            trees.insert(id.as_bytes(), &[])?;
            orders.remove(order.as_slice())?;
            Ok(())
        })?;
        self.db.flush()?;
        Ok(())
    }

    /// An ended execution, unless it was purged.
    ///
    /// # Errors
    /// When sled fails.
    pub fn get(&self, id: ExecutionId) -> Result<Option<Ended>, IndexError> {
        let bytes = self.ended.get(id.as_bytes())?.filter(|bytes| !bytes.is_empty());
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// First and, once ended, last frame of an execution.
    pub(super) fn span(&self, id: ExecutionId) -> Result<Option<(Position, Option<Position>)>, IndexError> {
        if let Some(ended) = self.get(id)? {
            return Ok(Some((ended.first, Some(ended.last))));
        }
        let bytes = self.live.get(id.as_bytes())?;
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
        for pair in self.ended.range(from.as_bytes().to_vec()..) {
            let (key, value) = pair?;
            let id = id_of(&key)?;
            if value.is_empty() {
                continue;
            }
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
        self.order.iter().rev().map_while(move |pair| {
            if broken {
                return None;
            }
            let found = pair.map_err(IndexError::from).and_then(|(key, _)| {
                let id = id_of(key.get(8..).unwrap_or_default())?;
                Ok(self.get(id)?.ok_or(IndexError::Key)?.status)
            });
            broken = found.is_err();
            Some(found)
        })
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
