//! Core: what a bundle is. Its vocabulary ([`names`], [`limits`]), its documents ([`document`],
//! [`flow`], [`manifest`], [`options`]), what holds in and between them for ground and board alike ([`rules`], [`graph`], [`fan`]),
//! and its byte form ([`write`], [`read`]).
//!
//! Must not: decide whether a bundle makes sense on this board; that is `verify` and `plan`.

pub mod document;
pub mod fan;
pub mod flow;
pub mod graph;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod options;
pub mod path;
pub mod read;
pub mod rules;
pub mod write;

pub use document::DocumentError;
pub use names::{Digest, ExecutionId, Hostname, NodeName, OperationId, PodName, StepId, Tenant, User, VolumeName};
