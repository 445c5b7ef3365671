//! Core: what a bundle is. Its vocabulary ([`names`], [`limits`]), its documents ([`document`],
//! [`flow`], [`manifest`], [`options`]) and its byte form ([`write`], [`read`]).
//!
//! Must not: decide whether a bundle makes sense on this board; that is `verify` and `plan`.

pub mod document;
pub mod flow;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod options;
pub mod path;
pub mod read;
pub mod write;

pub use document::DocumentError;
pub use names::{Digest, ExecutionId, Hostname, NodeName, OperationId, PodName, StepId, Tenant, User, VolumeName};
