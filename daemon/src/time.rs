//! Core: instants. Wall time is for reading; boot time is for counting.
//!
//! Must not: read a clock; `clock` does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counted time in milliseconds: CLOCK_BOOTTIME, suspend included, continued over a boot from the last record before
/// it. It never goes back, so that a budget that ran before a boot still ends after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootTime(u64);

impl BootTime {
    /// From counted milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since boot.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The instant this much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The instant this much earlier, or the boot.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is since an earlier instant; zero when that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// For reading.
    pub wall: jiff::Timestamp,
    /// For counting.
    pub boot: BootTime,
}
