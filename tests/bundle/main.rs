//! Bundles on the public API: their byte form, what refuses to be one, and what verification and planning say.
#![expect(clippy::expect_used, reason = "a helper that fails must fail its test")]

mod archive;
mod damage;
mod flow;
mod planning;
mod sample;
mod verification;
