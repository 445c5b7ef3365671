//! What is to be done in the world, after its records are committed. Imperatives.
//!
//! Effects may be carried out twice: everything they make is named after (execution, step, job, attempt).
//! Must not: carry what the plan already says.

use super::state::{AttemptId, Signal};
use crate::bundle::ExecutionId;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make and initialise the container of an attempt.
    Prepare(AttemptId),
    /// Start initialised containers, all at once.
    Launch(Vec<(AttemptId, String)>),
    /// Report when the process of a container has ended.
    Watch(AttemptId, String),
    /// Send a signal to the process of a container.
    Signal(AttemptId, String, Signal),
    /// Freeze the processes of containers, in this order.
    Pause(Vec<(AttemptId, String)>),
    /// Thaw them, in this order.
    Resume(Vec<(AttemptId, String)>),
    /// Keep the console output of an attempt, whatever its state, and its container as the disposal says.
    Clear(AttemptId, Disposal),
    /// Read the outputs that decide about a step.
    Read {
        /// The execution.
        execution: ExecutionId,
        /// Index of the step.
        step: usize,
    },
    /// Do the work of a step that runs no pods.
    Errand {
        /// The execution.
        execution: ExecutionId,
        /// Index of the step.
        step: usize,
    },
    /// Put the report into the outbox.
    Report(ExecutionId),
    /// Forget an ended execution: what is left of it on its nodes and on disk.
    Purge(ExecutionId),
}

/// What becomes of the container of an attempt that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposal {
    /// It is removed.
    Remove,
    /// It is kept until the execution is purged.
    Keep,
}
