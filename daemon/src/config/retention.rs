//! The keys `retention`: what of the past is kept.
//!
//! Must not: hold a limit without bounds.

use serde::Deserialize;

use super::{ConfigError, bounded};

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetentionFragment {
    pub(super) executions: Option<usize>,
    pub(super) days: Option<u32>,
    pub(super) log_bytes: Option<u64>,
    pub(super) rejected: Option<usize>,
    pub(super) rejected_bytes: Option<u64>,
    pub(super) outbox_bytes: Option<u64>,
    pub(super) segment_bytes: Option<u64>,
}

/// What of the past is kept. Identities of executions are kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Ended executions.
    pub executions: usize,
    /// Days of running time after which an ended execution goes.
    pub days: u32,
    /// Bytes of console output of ended executions.
    pub log_bytes: u64,
    /// Rejected bundles.
    pub rejected: usize,
    /// Bytes of rejected bundles.
    pub rejected_bytes: u64,
    /// Bytes of outbox entries that the ground has not acknowledged; beyond it nothing is accepted.
    pub outbox_bytes: u64,
    /// Where segments of the journal end.
    pub segment_bytes: u64,
}

impl RetentionFragment {
    pub(super) fn overridden_by(self, over: Self) -> Self {
        Self {
            executions: over.executions.or(self.executions),
            days: over.days.or(self.days),
            log_bytes: over.log_bytes.or(self.log_bytes),
            rejected: over.rejected.or(self.rejected),
            rejected_bytes: over.rejected_bytes.or(self.rejected_bytes),
            outbox_bytes: over.outbox_bytes.or(self.outbox_bytes),
            segment_bytes: over.segment_bytes.or(self.segment_bytes),
        }
    }

    pub(super) fn settle(self) -> Result<Retention, ConfigError> {
        Ok(Retention {
            executions: bounded("retention.executions", self.executions, 1000, 1..=100_000)?,
            days: bounded("retention.days", self.days, 90, 1..=36_500)?,
            log_bytes: bounded("retention.log_bytes", self.log_bytes, 256 << 20, 4096..=1 << 40)?,
            rejected: bounded("retention.rejected", self.rejected, 32, 1..=10_000)?,
            rejected_bytes: bounded("retention.rejected_bytes", self.rejected_bytes, 1 << 30, 4096..=1 << 40)?,
            outbox_bytes: bounded("retention.outbox_bytes", self.outbox_bytes, 8 << 30, 4096..=1 << 40)?,
            segment_bytes: bounded("retention.segment_bytes", self.segment_bytes, 8 << 20, 16384..=1 << 30)?,
        })
    }
}
