//! Core: why something failed, was skipped or refused: a closed, documented set with stable codes.
//!
//! Codes are classes compatible with the F Prime command responses that Clustergate-2 shows: 2 validation,
//! 3 format, 4 execution, 5 busy, 10 to 16 images. Names tell the members of a class apart and are never reused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// The process ended with a code other than 0.
    Exit,
    /// The kernel killed the process for its memory.
    Oom,
    /// `max_duration` or the step's budget ran out.
    Timeout,
    /// An operator stopped it.
    Stopped,
    /// The image is not aboard.
    ImageMissing,
    /// The command is not in the image.
    CommandNotFound,
    /// The command cannot run on this processor.
    ExecFormat,
    /// A host port is taken.
    PortInUse,
    /// The image does not know the user or group.
    UserMissing,
    /// The working directory is not in the image.
    WorkdirMissing,
    /// The container could not be made or started, for another reason.
    StartError,
    /// Another member of its group could not be started.
    GroupMember,
    /// A step it depends on did not succeed.
    Dependency,
    /// An earlier step failed and its `on_failure` is `stop`.
    SequenceStopped,
    /// Its `when` does not hold, or that of a step it depends on.
    Condition,
    /// It had not started by its `not_after`.
    Window,
    /// The output of an earlier step cannot be used as it must be.
    OutputUnusable,
    /// Podman says that the container is gone.
    Lost,
    /// Power was lost while it ran.
    LostPower,
    /// Its execution was running at too many resets in a row.
    Quarantined,
    /// Podman did not answer until the budget ran out.
    EngineUnreachable,
    /// A file to collect is not there.
    FileMissing,
    /// Something is there already that would be lost.
    FileExists,
    /// A file could not be placed, collected, listed, moved or deleted.
    TransferError,
    /// The disk has not enough room.
    NoSpace,
    /// The tenant has no such pod.
    PodMissing,
    /// The image archive is not there.
    TarfileMissing,
    /// The file is no image archive that can be loaded.
    TarfileInvalid,
    /// An image could not be loaded.
    ImageLoadFailed,
    /// The Dockerfile is not there.
    DockerfileMissing,
    /// A build failed.
    BuildFailed,
    /// The operation or bundle makes no sense on this board.
    Invalid,
    /// The bytes are not a bundle.
    Format,
    /// The verb is not legal in this state.
    InvalidState,
    /// The daemon cannot record what it would do.
    LedgerUnavailable,
    /// A named limit is reached.
    Limit,
    /// A fault of ours.
    Internal,
}

impl Name {
    /// Every name, for documentation and tests.
    pub const ALL: [Self; 37] = [
        Self::Exit,
        Self::Oom,
        Self::Timeout,
        Self::Stopped,
        Self::ImageMissing,
        Self::CommandNotFound,
        Self::ExecFormat,
        Self::PortInUse,
        Self::UserMissing,
        Self::WorkdirMissing,
        Self::StartError,
        Self::GroupMember,
        Self::Dependency,
        Self::SequenceStopped,
        Self::Condition,
        Self::Window,
        Self::OutputUnusable,
        Self::Lost,
        Self::LostPower,
        Self::Quarantined,
        Self::EngineUnreachable,
        Self::FileMissing,
        Self::FileExists,
        Self::TransferError,
        Self::NoSpace,
        Self::PodMissing,
        Self::TarfileMissing,
        Self::TarfileInvalid,
        Self::ImageLoadFailed,
        Self::DockerfileMissing,
        Self::BuildFailed,
        Self::Invalid,
        Self::Format,
        Self::InvalidState,
        Self::LedgerUnavailable,
        Self::Limit,
        Self::Internal,
    ];

    /// The stable code of its class.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Invalid | Self::InvalidState | Self::Limit => 2,
            Self::Format => 3,
            Self::LedgerUnavailable => 5,
            Self::TarfileMissing => 10,
            Self::TarfileInvalid => 11,
            Self::BuildFailed => 12,
            Self::DockerfileMissing => 13,
            Self::ExecFormat => 14,
            Self::ImageLoadFailed => 16,
            Self::Exit
            | Self::Oom
            | Self::Timeout
            | Self::Stopped
            | Self::ImageMissing
            | Self::CommandNotFound
            | Self::PortInUse
            | Self::UserMissing
            | Self::WorkdirMissing
            | Self::StartError
            | Self::GroupMember
            | Self::Dependency
            | Self::SequenceStopped
            | Self::Condition
            | Self::Window
            | Self::OutputUnusable
            | Self::Lost
            | Self::LostPower
            | Self::Quarantined
            | Self::EngineUnreachable
            | Self::FileMissing
            | Self::FileExists
            | Self::TransferError
            | Self::NoSpace
            | Self::PodMissing
            | Self::Internal => 4,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A reason with its story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{name}: {message}")]
#[serde(from = "Stored")]
pub struct Reason {
    /// Stable code of the class.
    pub code: u32,
    /// Which one.
    pub name: Name,
    /// One line for a person.
    pub message: String,
}

#[derive(Deserialize)]
struct Stored {
    name: Name,
    message: String,
}

impl From<Stored> for Reason {
    fn from(stored: Stored) -> Self {
        Self::new(stored.name, stored.message)
    }
}

impl Reason {
    /// Longest message that is kept, in bytes.
    pub const MESSAGE_BYTES: usize = 1024;

    /// Makes a reason; the message becomes one bounded line.
    #[must_use]
    pub fn new(name: Name, message: impl Into<String>) -> Self {
        let mut message: String = message.into().split_whitespace().collect::<Vec<_>>().join(" ");
        if message.len() > Self::MESSAGE_BYTES {
            let mut end = Self::MESSAGE_BYTES;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        Self { code: name.code(), name, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case_and_messages_one_bounded_line() {
        assert_eq!(Name::ImageMissing.to_string(), "image_missing");
        let reason = Reason::new(Name::Exit, "a\nb".repeat(2000));
        assert!(!reason.message.contains('\n') && reason.message.len() <= Reason::MESSAGE_BYTES + '…'.len_utf8());
    }
}
