//! Core: the engine. One [`event`] and the [`state`] go in; [`decide`](decide()) answers with [`record`]s and
//! [`effect`]s. Records are committed before any effect is carried out, and [`apply`](apply()) turns them into the next
//! state: live and on recovery alike. [`resume`] names the effects that a restarted daemon still owes.
//!
//! A job's life is drawn in `job`. A step is `Waiting` (`Held`), `Active` or `Ended`; an execution `Held`, `Open`,
//! `Quarantined`, `Settled` (its report is due) or `Ended`.
//! Must not: do anything, know Podman, read a clock.

pub mod ahead;
pub mod apply;
mod attempt;
pub mod cascade;
pub mod deadline;
pub mod decide;
mod draft;
pub mod effect;
pub mod event;
mod gate;
pub mod image;
mod images;
mod job;
mod judge;
pub mod orphan;
pub mod record;
mod reset;
pub mod resume;
pub mod state;
mod unit;
mod verbs;

pub use apply::apply;
pub use decide::{Decision, decide};
pub use effect::Effect;
pub use event::{Event, Outcome, Refusal};
pub use gate::RERUNS_MAX;
pub use record::{Record, Recorded};
pub use state::{AttemptId, Board, Execution};
