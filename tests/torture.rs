//! The ledger under torture: every call to the medium goes wrong in turn, every file is damaged, many executions come
//! and go. What was acknowledged must be there afterwards, every time.
//!
//! The default form takes well under a minute; `PERIGEE_TORTURE=long` (`make torture`) tries more of everything.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it expects and what it has tried")]

#[path = "torture/damage.rs"]
mod damage;
#[path = "torture/medium.rs"]
mod medium;
#[path = "support/script.rs"]
mod script;
#[path = "torture/soak.rs"]
mod soak;
#[path = "torture/store.rs"]
mod store;
mod support;
#[path = "support/trials.rs"]
mod trials;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use perigee::ledger::{Found, Ledger, LedgerError};
use perigee::medium::Medium;
use tempfile::TempDir;
use trials::{scattered, trials};

/// Longest that opening a ledger of a few executions may take, damaged or not.
const HANG: Duration = Duration::from_secs(20);
/// Threads that try points at once.
const THREADS: usize = 4;

/// A folder in memory where there is one: what is tried here is the order of calls, not the disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("torture").tempdir_in(base).expect("a folder")
}

fn layout(medium: Medium) -> perigee::ledger::Layout {
    perigee::ledger::Layout { segment_bytes: 2048, reserve_bytes: 4096, medium }
}

/// Opens a ledger in a thread of its own: a hang and a panic are told apart and end the test.
fn open_guarded(folder: &Path) -> Result<(Ledger, Found), LedgerError> {
    let (tell, told) = mpsc::channel();
    let path: PathBuf = folder.to_owned();
    std::thread::spawn(move || {
        loop {
            match Ledger::open_with(&path, layout(Medium::default())) {
                // A process that another test starts this very moment has our lock until it begins.
                Err(LedgerError::InUse { .. }) => std::thread::yield_now(),
                opened => {
                    // Nobody waits any more when it took too long.
                    let _ = tell.send(opened);
                    return;
                }
            }
        }
    });
    match told.recv_timeout(HANG) {
        Ok(opened) => opened,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("opening hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("opening panics"),
    }
}

/// Tries many points, some at once; the first that fails ends the test.
fn each<T: Sync>(points: &[T], attempt: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    attempt(point);
                }
            });
        }
    });
}
