//! Whether the board has memory to spare for containers that are made ahead of their turn.
//!
//! Must not: keep a container from being made in its turn.

use std::fs;

use crate::reason::{Name, Reason};

/// Memory that must be left: the runtime and conmon of an initialised container take 10 MiB at most, a pod that runs may
/// want the rest.
const SPARE_KIB: u64 = 128 * 1024;

/// Whether there is none to spare. A kernel that does not say has some.
pub(super) fn is_scarce() -> bool {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_kib(&text)).is_some_and(|kib| kib < SPARE_KIB)
}

/// Why nothing is made ahead then.
pub(super) fn scarce() -> Reason {
    Reason::new(Name::StartError, "the board has no memory to spare for what is made ahead of its turn")
}

fn available_kib(meminfo: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_as_the_kernel_writes_it() {
        assert_eq!(
            available_kib("MemTotal:  8148788 kB\nMemAvailable:    7093944 kB\nBuffers: 1 kB\n"),
            Some(7_093_944)
        );
        assert_eq!(available_kib("MemTotal: 1 kB\n"), None);
    }
}
