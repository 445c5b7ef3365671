//! Shell: effects become libpod calls, answers become events. All knowledge of Podman stays in this folder.
//!
//! [`api`] is one endpoint with a deadline round every call; [`create`] the container that flies and the proof that
//! its hardening arrived; [`driver`] carries out effects: [`prepare`] makes containers, `report` files reports,
//! [`files`] guards volumes, [`images`] knows whose an image is, `clear` removes what is left of an attempt, `turns`
//! keeps making and clearing apart; `launch` starts, `watch` notices ends, by the `process` itself where it can be held;
//! [`console`] keeps output and `export` writes it into volumes; [`accounting`] reads what an attempt used; [`health`]
//! knows which Podman answers; [`orphans`] removes what no execution wants any more; [`leftovers`] names what a Podman
//! that was killed left, [`board`] looks for it.
//! Must not: decide what an answer means for a step; `outcome` does.

pub mod accounting;
pub mod api;
pub mod board;
mod clear;
pub mod console;
pub mod create;
pub mod driver;
mod export;
pub mod failure;
pub mod files;
mod freeze;
pub mod gang;
pub mod health;
pub mod images;
mod inspected;
mod launch;
pub mod leftovers;
mod memory;
pub mod orphans;
mod pinned;
pub mod prepare;
mod process;
mod report;
mod turns;
mod watch;

pub use api::{ApiError, Endpoint};
pub use driver::Driver;
pub use health::Health;
