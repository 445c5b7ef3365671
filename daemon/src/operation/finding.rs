//! Findings: what is wrong with an operation, where, and what to do about it.
//!
//! Must not: stop at the first.

use std::fmt;

use serde::Serialize;

pub use crate::bundle::names::did_you_mean;

/// A place in the operation file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Place {
    /// The start of the file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// Whether a finding forbids flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The operation is refused.
    Error,
    /// The operation flies, but somebody should know.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// Where it starts.
    #[serde(flatten)]
    pub place: Place,
    /// The field, such as `tasks[1].image.tag`; empty for the whole file.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: ", self.place.line, self.place.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.message, self.hint)
    }
}

/// All findings of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds an error.
    pub fn error(
        &mut self,
        place: Place,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (field, message, hint) = (field.into(), message.into(), hint.into());
        self.0.push(Finding { severity: Severity::Error, place, field, message, hint });
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        place: Place,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (field, message, hint) = (field.into(), message.into(), hint.into());
        self.0.push(Finding { severity: Severity::Warning, place, field, message, hint });
    }

    /// Whether any of them forbids flight.
    #[must_use]
    pub fn fatal(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// In the order of the file.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.place);
        self.0
    }
}
