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
    /// Start initialised containers back to back, in this order.
    Launch(Vec<(AttemptId, String)>),
    /// Report when the process of a container has ended.
    Watch(AttemptId, String),
    /// Send a signal to the process of a container.
    Signal(AttemptId, String, Signal),
    /// Keep the console output of an attempt and remove its container, whatever its state.
    Clear(AttemptId),
    /// Carry out a step that runs no pods.
    Errand {
        /// The execution.
        execution: ExecutionId,
        /// Index of the step.
        step: usize,
    },
    /// Put the report into the outbox.
    Report(ExecutionId),
}
