//! Exit codes of `perigee`: documented, never reused.

use std::fmt;
use std::process::ExitCode;

/// What an exit code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// A fault of ours.
    Fault = 1,
    /// Bad usage, operation, bundle or configuration.
    Bad = 2,
    /// Illegal in this state, policy, permission, limit.
    Refused = 3,
    /// There is no such thing.
    NotFound = 4,
    /// Time ran out.
    TimedOut = 5,
    /// A wait cannot be fulfilled any more; a replay differs.
    Otherwise = 6,
    /// The daemon cannot be reached.
    Unreachable = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked: an exit code and one line (or several findings, a line each).
#[derive(Debug)]
pub(super) struct Failed {
    /// The code.
    pub(super) exit: Exit,
    /// For stderr.
    pub(super) message: String,
    /// Its cause, shown with `-v`.
    pub(super) cause: Option<String>,
}

impl Failed {
    /// A failure without a cause.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), cause: None }
    }

    /// A failure with its cause.
    pub(super) fn because(exit: Exit, message: impl Into<String>, cause: &dyn std::error::Error) -> Self {
        Self { exit, message: message.into(), cause: Some(crate::run::chain(cause)) }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
