//! One daemon at a time works on a state directory.
//!
//! Must not: wait for a daemon that works.

use std::fs::{File, TryLockError};
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
