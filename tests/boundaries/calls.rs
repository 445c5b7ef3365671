//! Stops a daemon at its system calls that change files, counts them over all its threads, and kills it at the n-th.
//!
//! The daemon is the one that flies: nothing in it knows of this. Decision 0041 says why this is not left to strace.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The calls that are counted: those that flush, and those that change names, take them away, or cut.
#[cfg(target_arch = "x86_64")]
const CHANGES: &[libc::c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_ftruncate,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGES: &[libc::c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_ftruncate,
];

/// On which side of a call the daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The call is not made.
    Before,
    /// The call was made; the daemon does not hear of it.
    Behind,
}

/// A daemon that is killed at one of its calls.
pub(crate) struct Trap {
    pid: u32,
    met: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    tracer: Option<JoinHandle<()>>,
}

impl Trap {
    /// Kills a daemon at the n-th such call from now on, counted from 1.
    pub(crate) fn nth(pid: u32, n: usize, side: Side) -> Self {
        let (met, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (ready, is_ready) = channel();
        let mut tracer = Tracer { left: n, side, met: met.clone(), over: over.clone(), inside: BTreeMap::new() };
        // Only the thread that has begun to trace may go on with it.
        let thread = std::thread::spawn(move || tracer.trace(raw(pid), &ready));
        is_ready.recv().expect("the daemon can be traced");
        Self { pid, met, over, tracer: Some(thread) }
    }

    /// Whether it has come to that call.
    pub(crate) fn met(&self) -> bool {
        self.met.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the tracer, which then lets go; it changes nothing for a daemon that runs.
        let _ = kill(raw(self.pid), Signal::SIGCONT);
        let ended = self.tracer.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the tracer failed");
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a process id"))
}

struct Tracer {
    left: usize,
    side: Side,
    met: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    /// The threads that are in a call, and whether it is the one.
    inside: BTreeMap<Pid, bool>,
}

impl Tracer {
    /// Ends with the death of the daemon or when it is told to; the kernel then lets go of all threads. It never waits
    /// for that death: whoever started the daemon does.
    fn trace(&mut self, pid: Pid, ready: &Sender<()>) {
        seize_all(pid);
        ready.send(()).expect("somebody waits");
        loop {
            // Only for what this thread traces: the children of other threads are theirs.
            let status = waitpid(None::<Pid>, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).expect("a stop");
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let goes_on = match status {
                WaitStatus::PtraceSyscall(thread) => {
                    if self.is_the_one(thread) {
                        kill(pid, Signal::SIGKILL).expect("killed");
                        self.met.store(true, Ordering::SeqCst);
                        return;
                    }
                    ptrace::syscall(thread, None)
                }
                WaitStatus::PtraceEvent(thread, ..) => ptrace::syscall(thread, None),
                WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal),
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    assert!(thread != pid, "the daemon ended by itself: {status:?}");
                    self.inside.remove(&thread);
                    Ok(())
                }
                WaitStatus::Continued(_) | WaitStatus::StillAlive => Ok(()),
            };
            // A thread may end at any moment.
            assert!(matches!(goes_on, Ok(()) | Err(nix::Error::ESRCH)), "{goes_on:?}");
        }
    }

    /// Counts what a thread is about to do, or has just done.
    fn is_the_one(&mut self, thread: Pid) -> bool {
        if let Some(one) = self.inside.remove(&thread) {
            return one;
        }
        let counts = number(thread).is_some_and(|number| CHANGES.contains(&number));
        if counts {
            self.left = self.left.saturating_sub(1);
        }
        let one = counts && self.left == 0 && !self.inside.values().any(|one| *one);
        if one && self.side == Side::Before {
            return true;
        }
        self.inside.insert(thread, one);
        false
    }
}

/// The number of the call that a stopped thread is in.
fn number(thread: Pid) -> Option<libc::c_long> {
    let registers = ptrace::getregs(thread).ok()?;
    #[cfg(target_arch = "x86_64")]
    let number = registers.orig_rax;
    #[cfg(target_arch = "aarch64")]
    let number = registers.regs[8];
    #[cfg(target_arch = "riscv64")]
    let number = registers.a7;
    libc::c_long::try_from(number).ok()
}

/// Takes hold of every thread of a process; those that come later come with it.
fn seize_all(pid: Pid) {
    let mut seized = 0;
    loop {
        let before = seized;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        let names = threads.flatten().filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        for thread in names.map(Pid::from_raw) {
            let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
            // One that is held already says no.
            if ptrace::seize(thread, options).is_ok() && ptrace::interrupt(thread).is_ok() {
                seized += 1;
            }
        }
        if seized == before {
            break;
        }
    }
    assert!(seized > 0, "no thread of {pid} can be traced");
}
