//! One daemon at a time works on a state directory.
//!
//! Must not: wait for a daemon that works.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Tries to take the lock, and the pause between two: 0.2 s in all.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock. A process that its holder was just starting may hold it for an instant longer: it is asked for again.
pub(super) fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    lock.try_lock()
}

/// Whether somebody holds a lock on a file, as the kernel lists them: to try the lock could keep a daemon from starting.
pub(super) fn held(lock: &Path) -> Option<bool> {
    let Ok(known) = fs::metadata(lock) else { return Some(false) };
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let inode = format!(":{}", known.ino());
    let ours = |line: &&str| line.contains(" FLOCK ") && line.split_whitespace().any(|word| word.ends_with(&inode));
    Some(locks.lines().any(|line| ours(&line)))
}
