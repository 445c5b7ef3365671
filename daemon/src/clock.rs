//! Shell: the clocks of the board, read together.
//!
//! Must not: be read by the core.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::{BootTime, Timestamp};

/// Reads wall and boot time. A rig can let boot time run faster; after a boot it goes on from where it was last recorded.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    scale: u32,
    offset: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Clock {
    /// A clock whose boot time runs `scale` times as fast as the board's.
    #[must_use]
    pub fn new(scale: u32) -> Self {
        Self { scale, offset: Duration::ZERO }
    }

    /// The same clock, its boot time ahead of the board's by what earlier boots have consumed.
    #[must_use]
    pub fn continued(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }

    /// Both clocks, now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place where time enters")]
    pub fn now(&self) -> Timestamp {
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let boot = BootTime::default().after(boot.saturating_mul(self.scale)).after(self.offset);
        Timestamp { wall: jiff::Timestamp::now(), boot }
    }

    /// How long to sleep until a boot time, on the board's own clock.
    #[must_use]
    pub fn until(&self, at: BootTime) -> Duration {
        at.since(self.now().boot) / self.scale
    }
}

/// Identity of this boot, or an empty text where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
