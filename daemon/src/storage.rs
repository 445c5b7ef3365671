//! Shell: the ledger as the loop holds it: open or not, well or in trouble, and how it gets well again.
//!
//! A journal that cannot be written stops everything that must be recorded. An index that cannot be written stops
//! nothing: it is let go, and rebuilt from the journal as soon as that works.
//! Must not: apply records; the loop does.

use std::sync::Arc;

use tokio::sync::watch;

use crate::handle::{Trouble, TroubleName};
use crate::ledger::{Cursor, Ledger, LedgerError, Position, Queries};
use crate::run::chain;
use crate::sequence::{Execution, Recorded};

/// The ledger and its readers.
pub struct Storage {
    ledger: State,
    queries: watch::Sender<Option<Queries>>,
}

enum State {
    Closed { why: String },
    Open { ledger: Box<Ledger>, trouble: Option<Trouble> },
}

impl Storage {
    /// Not open yet; readers will find its queries here.
    #[must_use]
    pub fn closed(queries: watch::Sender<Option<Queries>>) -> Self {
        Self { ledger: State::Closed { why: "not yet opened".to_owned() }, queries }
    }

    /// Notes why it cannot be opened.
    pub fn cannot_open(&mut self, error: &LedgerError) {
        self.ledger = State::Closed { why: chain(error) };
    }

    /// Takes an open ledger.
    pub fn open(&mut self, ledger: Ledger) {
        self.queries.send_replace(ledger.queries());
        self.ledger = State::Open { ledger: Box::new(ledger), trouble: None };
    }

    /// Whether it was never opened.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.ledger, State::Closed { .. })
    }

    /// Whether nothing can be recorded.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.name == TroubleName::LedgerUnavailable)
    }

    /// What is wrong with it.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        match &self.ledger {
            State::Closed { why } => Some(unavailable(format!("{why}; nothing is accepted until it works"))),
            State::Open { trouble, .. } => trouble.clone(),
        }
    }

    /// The cursor of the newest record.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        match &self.ledger {
            State::Closed { .. } => 0,
            State::Open { ledger, .. } => ledger.cursor(),
        }
    }

    /// Commits the records of one decision.
    ///
    /// # Errors
    /// When they are not on the medium, with the reason.
    pub fn commit(&mut self, records: &[Recorded]) -> Result<Position, String> {
        match &mut self.ledger {
            State::Closed { why } => Err(why.clone()),
            State::Open { ledger, trouble } => ledger.commit(records).map_err(|error| {
                let why = chain(&error);
                *trouble = Some(unavailable(why.clone()));
                why
            }),
        }
    }

    /// Brings the index up to a commit.
    pub fn reflect(&mut self, position: Position, records: &[Recorded], ended: &[Arc<Execution>]) {
        let State::Open { ledger, trouble } = &mut self.ledger else { return };
        let Err(error) = ledger.reflect(position, records, ended) else { return };
        if trouble.is_none() {
            let message = format!("{}; what has ended is shown again when it works", chain(&error));
            tracing::error!("{message}");
            *trouble = Some(Trouble { name: TroubleName::IndexUnavailable, message });
        }
        // Its readers would meet the same error; a new one is opened when they have let go of it.
        self.queries.send_replace(None);
        ledger.close_index();
    }

    /// Tries an open ledger that is in trouble once more.
    pub fn mend(&mut self) {
        let State::Open { ledger, trouble } = &mut self.ledger else { return };
        let Some(known) = trouble else { return };
        match ledger.mend() {
            Ok(()) => {
                tracing::info!("the ledger is available again");
                *trouble = None;
                self.queries.send_replace(ledger.queries());
            }
            Err(error) => known.message = chain(&error),
        }
    }
}

fn unavailable(message: String) -> Trouble {
    Trouble { name: TroubleName::LedgerUnavailable, message }
}
