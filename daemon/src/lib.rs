//! Perigee: an on-board flight daemon that drives Podman, and the tool that ground and operators use.
//!
//! One law: **think, save, do, tell.** One event enters the pure core; the core answers with records and effects; the
//! records are committed; only then the effects are carried out; then whoever asked is told. [`run`] shows this order.

// Core: synchronous, no I/O, no clock; `now` is an argument. `tests/tidy.rs` checks it.
pub mod bundle; // what flies: names, documents, byte form
pub mod operation; // the tenant's YAML: tasks, findings, compilation into a bundle
pub mod outcome; // what an end means
pub mod plan; // a verified bundle on this board: steps as data
pub mod reason; // the closed set of coded reasons
pub mod sequence; // the engine: decide, apply, resume
pub mod time; // instants on two clocks
pub mod verify; // documents that agree with each other
pub mod view; // what the outside sees

// Shell: carries things in and out.
pub mod cli; // the tool
pub mod clock; // reads the clocks
pub mod config; // fragments become settings
pub mod daemon; // builds and wires the daemon
pub mod disk; // files that survive a power cut
pub mod downlink; // the outbox
pub mod errand; // steps that run no pods
pub mod handle; // the way to the loop
pub mod intake; // candidates become accepted bundles
pub mod journald; // log lines
pub mod ledger; // journal and index
pub mod medium; // changes of files, each of which a test may let fail
pub mod podman; // effects become libpod calls
pub mod retention; // what of the past is kept
pub mod run; // the loop
pub mod server; // two sockets
pub mod storage; // the ledger as the loop holds it
pub mod systemd; // the service manager
pub mod wire; // HTTP over Unix sockets
