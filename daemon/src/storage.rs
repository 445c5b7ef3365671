//! Shell: the ledger as the loop holds it: open or not, well or in trouble, and how it gets well again.
//!
//! A journal that cannot be written stops everything that must be recorded. A full disk stops what is new: ends are
//! recorded from the reserve. An index that cannot be written stops nothing: it is let go, and made anew from the
//! journal as soon as that works.
//! Must not: apply records; the loop does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::bundle::ExecutionId;
use crate::config::Retention;
use crate::downlink::Outbox;
use crate::handle::{Trouble, TroubleName};
use crate::ledger::{Committed, Cursor, Kept, Ledger, LedgerError, Queries};
use crate::retention::{self, Past, Total};
use crate::run::chain;
use crate::sequence::{Execution, Record, Recorded};
use crate::time::BootTime;

/// The ledger and its readers.
pub struct Storage {
    ledger: State,
    queries: watch::Sender<Option<Queries>>,
    logs: Logs,
}

/// Bytes of console output of ended executions, as far as measured.
#[derive(Debug, Default)]
struct Logs {
    of: BTreeMap<ExecutionId, u64>,
    total: u64,
}

impl Logs {
    fn of(&self, id: ExecutionId) -> u64 {
        self.of.get(&id).copied().unwrap_or_default()
    }

    fn insert(&mut self, id: ExecutionId, bytes: u64) {
        self.remove(id);
        self.of.insert(id, bytes);
        self.total += bytes;
    }

    fn remove(&mut self, id: ExecutionId) {
        self.total -= self.of.remove(&id).unwrap_or_default();
    }
}

enum State {
    Closed { why: String },
    Open { ledger: Box<Ledger>, trouble: Option<Trouble>, damage: Option<Trouble> },
}

impl Storage {
    /// Not open yet; readers will find its queries here.
    #[must_use]
    pub fn closed(queries: watch::Sender<Option<Queries>>) -> Self {
        Self { ledger: State::Closed { why: "not yet opened".to_owned() }, queries, logs: Logs::default() }
    }

    /// Notes why it cannot be opened.
    pub fn cannot_open(&mut self, error: &LedgerError) {
        self.ledger = State::Closed { why: chain(error) };
    }

    /// Takes an open ledger.
    pub fn open(&mut self, ledger: Ledger) {
        self.queries.send_replace(ledger.queries());
        let trouble = ledger.is_starved().then(full);
        self.ledger = State::Open { ledger: Box::new(ledger), trouble, damage: None };
    }

    /// Whether it was never opened.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.ledger, State::Closed { .. })
    }

    /// Whether nothing can be recorded.
    #[must_use]
    pub fn fails(&self) -> bool {
        match &self.ledger {
            State::Closed { .. } => true,
            State::Open { trouble, .. } => {
                trouble.as_ref().is_some_and(|trouble| trouble.name == TroubleName::LedgerUnavailable)
            }
        }
    }

    /// What keeps it from working, to be tried again.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        match &self.ledger {
            State::Closed { why } => Some(unavailable(format!("{why}; nothing is accepted until it works"))),
            State::Open { trouble, .. } => trouble.clone(),
        }
    }

    /// All that is wrong with it.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let damage = match &self.ledger {
            State::Closed { .. } => None,
            State::Open { damage, .. } => damage.clone(),
        };
        self.trouble().into_iter().chain(damage).collect()
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
    pub fn commit(&mut self, records: &[Recorded]) -> Result<Committed, String> {
        match &mut self.ledger {
            State::Closed { why } => Err(why.clone()),
            State::Open { ledger, trouble, .. } => {
                let committed = ledger.commit(records).map_err(|error| {
                    let why = chain(&error);
                    if !matches!(error, LedgerError::Full) {
                        // With its reserve, ends can still be recorded.
                        let lives_on = error.is_full() && !ledger.is_starved();
                        *trouble = Some(if lives_on { full() } else { unavailable(why.clone()) });
                    }
                    why
                });
                if committed.is_ok() && ledger.is_starved() && trouble.is_none() {
                    tracing::error!("the disk is full; the reserve of the ledger was given up");
                    *trouble = Some(full());
                }
                committed
            }
        }
    }

    /// Notes how far boot time has come, unless something was recorded less than `pause` ago.
    pub fn reached(&mut self, now: BootTime, pause: Duration) {
        let State::Open { ledger, trouble: None, .. } = &mut self.ledger else { return };
        if now < ledger.latest().after(pause) {
            return;
        }
        if let Err(error) = ledger.reached(now) {
            let why = chain(&error);
            tracing::error!(%why, "failed to note how far time has come");
            self.ledger_fails(if error.is_full() { full() } else { unavailable(why) });
        }
    }

    /// The latest boot time that is recorded, while it works.
    #[must_use]
    pub fn latest(&self) -> Option<BootTime> {
        match &self.ledger {
            State::Open { ledger, trouble: None, .. } => Some(ledger.latest()),
            State::Open { .. } | State::Closed { .. } => None,
        }
    }

    fn ledger_fails(&mut self, why: Trouble) {
        if let State::Open { trouble, .. } = &mut self.ledger {
            *trouble = Some(why);
        }
    }

    /// Brings the index up to a commit.
    pub fn reflect(&mut self, committed: Committed, records: &[Recorded], ended: &[Arc<Execution>]) {
        let State::Open { ledger, .. } = &mut self.ledger else { return };
        let purged = records.iter().filter(|recorded| recorded.record == Record::Purged);
        purged.for_each(|recorded| self.logs.remove(recorded.execution));
        if let Err(error) = ledger.reflect(committed, records, ended) {
            self.let_index_go(&error);
        }
    }

    fn let_index_go(&mut self, error: &LedgerError) {
        let State::Open { ledger, trouble, .. } = &mut self.ledger else { return };
        if trouble.is_none() {
            let message = format!("{}; what has ended is shown again when it works", chain(error));
            tracing::error!("{message}");
            *trouble = Some(Trouble { name: TroubleName::IndexUnavailable, message });
        }
        // Its readers would meet the same error; a new one is opened when they have let go of it.
        self.queries.send_replace(None);
        ledger.close_index();
    }

    /// Tries an open ledger that is in trouble once more.
    pub fn mend(&mut self) {
        let State::Open { ledger, trouble, .. } = &mut self.ledger else { return };
        let Some(known) = trouble else { return };
        match ledger.mend() {
            Ok(()) => {
                tracing::info!("the ledger is available again");
                *trouble = None;
                self.queries.send_replace(ledger.queries());
            }
            // Something can be written again, if not much.
            Err(LedgerError::Full) => {
                *known = full();
                self.queries.send_replace(ledger.queries());
            }
            Err(error) => known.message = chain(&error),
        }
    }

    /// The ended executions of which more is kept than their identity.
    #[must_use]
    pub fn kept(&self) -> BTreeSet<ExecutionId> {
        match &self.ledger {
            State::Closed { .. } => BTreeSet::new(),
            State::Open { ledger, .. } => ledger.kept().map(|(id, _)| id).collect(),
        }
    }

    /// Notes how much room the console output of an execution takes that has just ended.
    pub fn logged(&mut self, id: ExecutionId, bytes: u64) {
        self.logs.insert(id, bytes);
    }

    /// Notes how much room the console output of many takes; some of them may be forgotten by now.
    pub fn measured(&mut self, logs: Vec<(ExecutionId, u64)>) {
        let kept = self.kept();
        logs.into_iter().filter(|(id, _)| kept.contains(id)).for_each(|(id, bytes)| self.logs.insert(id, bytes));
    }

    /// Removes what of an ended execution is kept, for ever: its records, its place in lists, its console output. Its
    /// identity stays, so that it never runs again; so does an outbox entry that the ground has not acknowledged.
    /// Returns whether there was anything to remove.
    ///
    /// # Errors
    /// When it cannot be recorded, with the reason; nothing is removed then.
    pub fn forget(&mut self, ids: &BTreeSet<ExecutionId>, outbox: &Outbox) -> Result<bool, String> {
        let State::Open { ledger, trouble, .. } = &mut self.ledger else { return Err("it is not open".to_owned()) };
        let known: BTreeSet<ExecutionId> = ledger.kept().map(|(id, _)| id).filter(|id| ids.contains(id)).collect();
        match ledger.forget(&known) {
            Ok(_) => {}
            // It is recorded: the index follows when it is made anew.
            Err(error @ LedgerError::Index(_)) => self.let_index_go(&error),
            Err(error) => {
                let why = chain(&error);
                *trouble = Some(unavailable(why.clone()));
                return Err(why);
            }
        }
        for id in &known {
            self.logs.remove(*id);
            if let Err(error) = outbox.forget(*id) {
                tracing::warn!(execution = %id, %error, "failed to remove the logs of a forgotten execution");
            }
        }
        Ok(!known.is_empty())
    }

    /// When the first of what is kept becomes too old.
    #[must_use]
    pub fn too_old_at(&self, limits: &Retention) -> Option<BootTime> {
        let State::Open { ledger, trouble: None, .. } = &self.ledger else { return None };
        ledger.kept().next().map(|(_, kept)| retention::too_old_at(kept.ended, limits))
    }

    /// Lets go of what is beyond the limits, and gives its room back to the disk.
    pub fn tend(&mut self, limits: &Retention, now: BootTime, outbox: &Outbox) {
        let State::Open { ledger, trouble: None, .. } = &self.ledger else { return };
        let oldest = ledger.kept().next().map(|(_, kept)| kept.ended);
        let total = Total { executions: ledger.kept_count(), log_bytes: self.logs.total, oldest };
        if !retention::is_within(&total, now, limits) {
            self.let_surplus_go(limits, now, outbox);
        }
        self.compact();
    }

    fn let_surplus_go(&mut self, limits: &Retention, now: BootTime, outbox: &Outbox) {
        let State::Open { ledger, .. } = &self.ledger else { return };
        let past = |(id, kept): (ExecutionId, Kept)| Past { id, ended: kept.ended, log_bytes: self.logs.of(id) };
        let kept: Vec<Past> = ledger.kept().map(past).collect();
        let gone = retention::surplus(&kept, now, limits);
        if !gone.is_empty() {
            match self.forget(&gone, outbox) {
                Ok(_) => tracing::info!(executions = gone.len(), "forgot ended executions beyond the limits"),
                Err(why) => tracing::error!(%why, "failed to forget ended executions"),
            }
        }
    }

    fn compact(&mut self) {
        let State::Open { ledger, trouble: None, damage } = &mut self.ledger else { return };
        match ledger.compact() {
            Ok(None) => {}
            Ok(Some((before, after))) => {
                tracing::info!(before, after, "compacted the journal");
                *damage = None;
                self.queries.send_replace(ledger.queries());
            }
            Err(error @ LedgerError::Index(_)) => self.let_index_go(&error),
            Err(error) => {
                let message = format!("{}; old records stay until it is mended", chain(&error));
                tracing::error!(%message, "failed to compact the journal");
                *damage = Some(Trouble { name: TroubleName::JournalDamaged, message });
            }
        }
    }

    /// Closes the ledger in good order.
    pub fn close(&mut self) {
        self.queries.send_replace(None);
        let closed = State::Closed { why: "the daemon is leaving".to_owned() };
        if let State::Open { ledger, .. } = std::mem::replace(&mut self.ledger, closed)
            && let Err(error) = ledger.close()
        {
            tracing::warn!(why = chain(&error), "the index is not sealed; the next start makes it anew");
        }
    }
}

fn unavailable(message: String) -> Trouble {
    Trouble { name: TroubleName::LedgerUnavailable, message }
}

fn full() -> Trouble {
    let message = "No space left on the disk of state_dir: nothing is accepted, ends are recorded; make room there \
                   (acknowledge outbox entries), nothing else is needed";
    Trouble { name: TroubleName::DiskFull, message: message.to_owned() }
}
