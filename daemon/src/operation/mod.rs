//! Core: the tenant's operation file. [`tree`] reads YAML with places, [`fields`] reads keys and collects findings,
//! [`tasks`] is the documented Clustergate-2 form, [`compile`] turns tasks into the parts of a bundle,
//! [`schema`] tells editors the form.
//!
//! Every finding is reported at once; ground and board use this same code.
//! Must not: open the files an operation names; the caller answers what they are.

pub mod compile;
pub mod errands;
pub mod fields;
pub mod finding;
pub mod flow;
pub mod gang;
mod iterate;
pub mod jobs;
mod options;
mod order;
pub mod pod_run;
mod pods;
pub mod schema;
pub mod tasks;
pub mod tree;

pub use finding::{Finding, Findings, Severity};
pub use tasks::{Operation, Task};
