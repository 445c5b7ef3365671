//! The keys `limits`: what one bundle, one job, one pod, one downlink task and one power cut may take.
//!
//! Must not: judge values; the bounds of all keys stand together in `config.rs`.

use serde::Deserialize;

/// What one file may say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsFragment {
    pub(super) bundle_bytes: Option<u64>,
    pub(super) log_bytes: Option<u64>,
    pub(super) pids: Option<i64>,
    pub(super) downlink_bytes: Option<u64>,
    pub(super) resets: Option<u32>,
    pub(super) uncounted_seconds: Option<u32>,
}

impl LimitsFragment {
    pub(super) fn overridden_by(self, over: Self) -> Self {
        Self {
            bundle_bytes: over.bundle_bytes.or(self.bundle_bytes),
            log_bytes: over.log_bytes.or(self.log_bytes),
            pids: over.pids.or(self.pids),
            downlink_bytes: over.downlink_bytes.or(self.downlink_bytes),
            resets: over.resets.or(self.resets),
            uncounted_seconds: over.uncounted_seconds.or(self.uncounted_seconds),
        }
    }
}
