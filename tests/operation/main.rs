//! The tenant's operation file on the public API: what it means, and what is said of what it cannot mean.
#![expect(clippy::expect_used, reason = "a helper that fails must fail its test")]

mod documented;
mod errands;
mod findings;
mod ground;
mod groups;
mod iterate;
mod jobs;
mod limits;
mod options;
mod order;
mod schema;
mod transfers;
