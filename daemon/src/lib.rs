//! Perigee: an on-board flight daemon that drives Podman, and the tool that ground and operators use.
//!
//! One law: **think, save, do, tell.** One event enters the pure core; the core answers with records and effects; the
//! records are committed; only then the effects are carried out; then the view is published. `run` shows this order.

// Core: synchronous, no I/O, no clock; `now` is an argument. `tests/tidy.rs` checks it.
pub mod bundle;
pub mod operation;
pub mod outcome;
pub mod plan;
pub mod reason;
pub mod sequence;
pub mod time;
pub mod verify;
