//! The reserve: room that the ledger gives up when the disk is full, so that ends can be recorded all the same.
//!
//! Must not: be given up for anything new; what is accepted on a full disk may never be able to end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::medium::Medium;

/// Room for the ends of the most executions that may be live, and for some of their reports.
pub(super) const RESERVE_BYTES: u64 = 4 << 20;

/// The reserve of a state directory.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    medium: Medium,
    held: bool,
}

impl Reserve {
    /// The reserve of a state directory; whether it is there is seen at once.
    pub(super) fn of(state_dir: &Path, bytes: u64, medium: Medium) -> Self {
        let path = state_dir.join("reserve");
        let held = fs::metadata(&path).is_ok_and(|found| found.len() == bytes);
        Self { path, bytes, medium, held }
    }

    /// Whether it is there.
    pub(super) fn held(&self) -> bool {
        self.held
    }

    /// Takes up the room again.
    ///
    /// # Errors
    /// When there is not so much.
    pub(super) fn make(&mut self) -> io::Result<()> {
        if self.held {
            return Ok(());
        }
        let part = self.path.with_extension("part");
        let made = self.medium.create(&part).and_then(|file| {
            self.medium.allocate(&file, self.bytes)?;
            self.medium.flush(&file)?;
            self.medium.rename(&part, &self.path)
        });
        if made.is_err() {
            // What it half took is wanted by others.
            let _ = self.medium.remove(&part);
        }
        self.held = made.is_ok();
        made
    }

    /// Gives the room up. Returns whether there was any to give.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn give_up(&mut self) -> io::Result<bool> {
        if !self.held {
            return Ok(false);
        }
        self.medium.remove(&self.path)?;
        self.held = false;
        Ok(true)
    }
}
