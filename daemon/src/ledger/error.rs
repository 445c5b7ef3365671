//! Why the ledger cannot be used.
//!
//! Must not: hide which part of it failed.

use std::io;
use std::path::PathBuf;

use super::index::IndexError;
use super::segment::JournalError;
use crate::sequence::apply::Illegal;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state directory cannot be written.
    #[error("failed to prepare the state directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another daemon works on it.
    #[error("the state directory {} is in use by another perigeed; stop that one, or configure another state_dir", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// Files of the journal are gone, or cut.
    #[error(
        "the journal {} {why}: what was acknowledged is missing; put its files back from a copy, or go on without: move \
         `journal/`, `index/` and `index.seal` away",
        path.display()
    )]
    Short {
        /// Where it is.
        path: PathBuf,
        /// What shows it.
        why: String,
    },
    /// The journal.
    #[error("failed to use the journal")]
    Journal(#[from] JournalError),
    /// The index, even after it was made anew.
    #[error("failed to use the index")]
    Index(#[from] IndexError),
    /// Records that no engine of ours would have written in this order.
    #[error("the journal does not replay")]
    Replay(#[from] Illegal),
    /// There is room for ends alone.
    #[error(
        "No space left on the disk of the ledger; its reserve is kept for the ends of executions, and nothing is \
         accepted until there is room again"
    )]
    Full,
}

impl LedgerError {
    /// Whether it failed for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Journal(error) => error.is_full(),
            Self::Directory { source, .. } => crate::disk::is_full(source),
            Self::InUse { .. } | Self::Short { .. } | Self::Index(_) | Self::Replay(_) => false,
        }
    }
}
