//! Shell: the way to the medium for files that the ledger must not lose. Every change of them goes through here.
//!
//! A test gives a [`Fault`]; then one chosen call goes wrong. Without one this is the file system and nothing else.
//! Must not: be given a fault by anything but a test.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::posix_fallocate;

/// What goes wrong at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing of it happens; the next one succeeds.
    Fails,
    /// Half of what it should write is written, then it fails; the next one succeeds.
    Short,
    /// The disk is full from here on: what takes room fails, what gives room back succeeds.
    Full,
    /// The power goes before it: nothing of it happens, nor anything after it.
    Cut,
    /// The power goes in the midst of it.
    CutHalfway,
    /// The power goes before it and takes along what was not flushed: bytes that were written, and new names.
    CutUnflushed,
    /// The process is killed before it.
    Kill,
}

#[derive(Debug)]
struct Script {
    fault: Fault,
    at: u64,
    calls: u64,
    /// The file that was written last, and where in it begins what is not flushed yet.
    unflushed: Option<(File, u64)>,
    /// Names that were given and are not flushed yet: the old one, the new one, what had the new one before.
    renamed: Vec<(PathBuf, PathBuf, PathBuf)>,
}

impl Script {
    /// What a cut takes along when it takes along what was not flushed.
    fn lose_unflushed(&mut self) {
        if let Some((file, from)) = self.unflushed.take() {
            let _ = file.set_len(from);
        }
        for (from, to, before) in self.renamed.drain(..).rev() {
            let _ = fs::rename(&to, &from);
            let _ = fs::rename(&before, &to);
        }
    }
}

/// The way to the medium.
#[derive(Debug, Clone, Default)]
pub struct Medium {
    script: Option<Arc<Mutex<Script>>>,
}

/// What a call is to do.
enum Turn {
    Whole,
    Half(io::Error),
    Nothing(io::Error),
}

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Room,
    NoRoom,
}

impl Medium {
    /// A medium whose call number `at`, counted from 0, goes wrong.
    #[must_use]
    pub fn with_fault(fault: Fault, at: u64) -> Self {
        Self {
            script: Some(Arc::new(Mutex::new(Script { fault, at, calls: 0, unflushed: None, renamed: Vec::new() }))),
        }
    }

    /// How many calls a medium with a fault has seen.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let script = self.script.as_ref().map(|script| script.lock().unwrap_or_else(PoisonError::into_inner));
        script.map_or(0, |script| script.calls)
    }

    fn turn(&self, needs: Needs) -> Turn {
        let Some(script) = &self.script else { return Turn::Whole };
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let call = script.calls;
        script.calls += 1;
        let due = call == script.at;
        let past = call > script.at;
        let failed = || io::Error::from_raw_os_error(nix::libc::EIO);
        match script.fault {
            Fault::Fails if due => Turn::Nothing(failed()),
            Fault::Short if due => Turn::Half(failed()),
            Fault::Full if (due || past) && needs == Needs::Room => {
                Turn::Half(io::Error::from_raw_os_error(nix::libc::ENOSPC))
            }
            Fault::Cut | Fault::CutHalfway | Fault::CutUnflushed if past => Turn::Nothing(failed()),
            Fault::CutUnflushed if due => {
                script.lose_unflushed();
                Turn::Nothing(failed())
            }
            Fault::Cut if due => Turn::Nothing(failed()),
            Fault::CutHalfway if due => Turn::Half(failed()),
            Fault::Kill if due => {
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                Turn::Nothing(failed())
            }
            Fault::Fails
            | Fault::Short
            | Fault::Full
            | Fault::Cut
            | Fault::CutHalfway
            | Fault::CutUnflushed
            | Fault::Kill => Turn::Whole,
        }
    }

    fn whole(&self, needs: Needs) -> io::Result<()> {
        match self.turn(needs) {
            Turn::Whole => Ok(()),
            Turn::Half(error) | Turn::Nothing(error) => Err(error),
        }
    }

    /// What of a file is not flushed from now on: everything behind an offset, or nothing.
    fn note_unflushed(&self, file: &File, from: Option<u64>) {
        let Some(script) = &self.script else { return };
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = script.unflushed.take().map(|(_, earlier)| earlier);
        if let (Some(from), Ok(file)) = (from, file.try_clone()) {
            script.unflushed = Some((file, earlier.map_or(from, |earlier| earlier.min(from))));
        }
    }

    /// Keeps what a name stood for until the name is flushed.
    fn note_renamed(&self, from: &Path, to: &Path) {
        let Some(script) = &self.script else { return };
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        if script.fault == Fault::CutUnflushed {
            let before = to.with_extension("before");
            let _ = fs::hard_link(to, &before);
            script.renamed.push((from.to_owned(), to.to_owned(), before));
        }
    }

    fn note_names_flushed(&self) {
        let Some(script) = &self.script else { return };
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, _, before) in script.renamed.drain(..) {
            let _ = fs::remove_file(before);
        }
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// When not all of them could be written.
    pub fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let turn = self.turn(Needs::Room);
        self.note_unflushed(file, Some(offset));
        match turn {
            Turn::Whole => file.write_all_at(bytes, offset),
            Turn::Half(error) => file.write_all_at(&bytes[..bytes.len() / 2], offset).and(Err(error)),
            Turn::Nothing(error) => Err(error),
        }
    }

    /// Waits until a file's bytes are on the medium.
    ///
    /// # Errors
    /// When they are not.
    pub fn flush(&self, file: &File) -> io::Result<()> {
        self.whole(Needs::NoRoom)?;
        self.note_unflushed(file, None);
        file.sync_all()
    }

    /// Waits until a file's bytes are on the medium, and of what is known about it only its length.
    ///
    /// # Errors
    /// When they are not.
    pub fn flush_data(&self, file: &File) -> io::Result<()> {
        self.whole(Needs::NoRoom)?;
        self.note_unflushed(file, None);
        file.sync_data()
    }

    /// Waits until the names in a folder are on the medium.
    ///
    /// # Errors
    /// When they are not.
    pub fn flush_folder(&self, folder: &Path) -> io::Result<()> {
        self.whole(Needs::NoRoom)?;
        self.note_names_flushed();
        File::open(folder)?.sync_all()
    }

    /// Cuts a file to a length.
    ///
    /// # Errors
    /// When it could not be cut.
    pub fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.whole(Needs::NoRoom)?;
        file.set_len(length)
    }

    /// Makes an empty file, in place of one that is there.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        self.whole(Needs::Room)?;
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Gives a file room of its own.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.whole(Needs::Room)?;
        Ok(posix_fallocate(file, 0, i64::try_from(bytes).unwrap_or(i64::MAX))?)
    }

    /// Renames a file, over one that is there.
    ///
    /// # Errors
    /// When it could not be renamed.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(Needs::NoRoom)?;
        self.note_renamed(from, to);
        fs::rename(from, to)
    }

    /// Removes a file; one that is not there is as good as removed.
    ///
    /// # Errors
    /// When it could not be removed.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.whole(Needs::NoRoom)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// A change that something else makes, such as the index.
    ///
    /// # Errors
    /// When it is its turn to fail.
    pub fn pass(&self) -> io::Result<()> {
        self.whole(Needs::Room)
    }
}
