//! Shell: how everything else talks to the loop: inputs go in through a bounded queue, snapshots come out.
//!
//! Must not: wait for the loop while holding anything the loop could want.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bundle::ExecutionId;
use crate::clock::Clock;
use crate::config::Settings;
use crate::outcome::{self, State};
use crate::reason::{Name, Reason};
use crate::sequence::event::Away;
use crate::sequence::orphan::LedgerId;
use crate::sequence::{AttemptId, Board, Event, Execution, Outcome, Refusal};
use crate::view::Around;

/// Inputs that may wait for the loop. Each live job has at most a few on the way.
pub const QUEUE: usize = 1024;

/// What the loop is fed with.
#[derive(Debug)]
pub enum Input {
    /// From the driver: nobody waits for an answer.
    Event(Event),
    /// From an operator: somebody waits.
    Command(Event, oneshot::Sender<Result<Vec<Outcome>, Answer>>),
    /// From the driver: Podman has told how a process is that a start has taken up.
    Seen(AttemptId),
    /// A Podman went away or came back.
    HealthChanged,
    /// The ground acknowledged an outbox entry.
    Acknowledged,
    /// Bytes of console output of ended executions.
    Measured(Vec<(ExecutionId, u64)>),
    /// The configuration was read again, or could not be.
    Reloaded(Result<Box<Settings>, String>),
    /// Persist and leave.
    Shutdown,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// The engine refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The daemon cannot do it now.
    #[error(transparent)]
    Unavailable(#[from] Reason),
}

/// Something that keeps the daemon from doing all it should, with the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which kind.
    pub name: TroubleName,
    /// What is wrong and what to do.
    pub message: String,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleName {
    /// The ledger cannot be opened or written.
    LedgerUnavailable,
    /// Room is left for the ends of executions alone.
    DiskFull,
    /// A closed segment of the journal is damaged: what is in it cannot be compacted.
    JournalDamaged,
    /// The outbox holds as much as it may: nothing is accepted before the ground acknowledges some of it.
    OutboxFull,
    /// The index cannot be written; it is made anew as soon as that works.
    IndexUnavailable,
    /// The configuration could not be read again; the last good one holds.
    ConfigInvalid,
    /// A Podman does not answer.
    EngineUnreachable,
    /// A container that no execution wants any more cannot be removed.
    OrphanLeft,
    /// An execution is in quarantine.
    Quarantined,
}

impl Trouble {
    /// That an execution is in quarantine, if it is.
    #[must_use]
    pub fn of_quarantine(execution: &Execution) -> Option<Self> {
        let (plan, reason) = (&execution.plan, outcome::quarantine(execution)?);
        let whose = format!("execution {} ({}/{})", plan.execution, plan.tenant, plan.operation.id);
        Some(Self { name: TroubleName::Quarantined, message: format!("{whose} is in quarantine: {}", reason.message) })
    }
}

impl TroubleName {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::LedgerUnavailable,
        Self::DiskFull,
        Self::JournalDamaged,
        Self::OutboxFull,
        Self::IndexUnavailable,
        Self::ConfigInvalid,
        Self::EngineUnreachable,
        Self::OrphanLeft,
        Self::Quarantined,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::DiskFull => "disk_full",
            Self::JournalDamaged => "journal_damaged",
            Self::OutboxFull => "outbox_full",
            Self::IndexUnavailable => "index_unavailable",
            Self::ConfigInvalid => "config_invalid",
            Self::EngineUnreachable => "engine_unreachable",
            Self::OrphanLeft => "orphan_left",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Everything the outside may see, at one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Grows with every publication.
    pub generation: u64,
    /// Cursor of the newest record.
    pub cursor: u64,
    /// The ledger that the engine's state is of, while it is open and can be written; else nothing is known for sure.
    pub ledger: Option<LedgerId>,
    /// The engine's state.
    pub board: Board,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
    /// Nodes whose Podman does not answer.
    pub away: Away,
    /// Orphans that were removed since the daemon started.
    pub orphans_removed: u64,
    /// The clock that the state counts by.
    pub clock: Clock,
}

impl Snapshot {
    /// What surrounds an execution of it.
    #[must_use]
    pub fn around(&self) -> Around<'_> {
        Around { board: &self.board, away: &self.away, now: self.clock.now() }
    }

    /// One line for `systemctl status`.
    #[must_use]
    pub fn line(&self) -> String {
        let count = |wanted: State| self.board.live.values().filter(|e| outcome::execution_state(e) == wanted).count();
        let (running, waiting, held) = (count(State::Running), count(State::Waiting), count(State::Held));
        let mut line = match running + waiting + held {
            0 => "idle".to_owned(),
            _ => format!("{running} running, {waiting} waiting, {held} held"),
        };
        for trouble in &self.troubles {
            line.push_str("; ");
            line.push_str(&trouble.message);
        }
        line
    }
}

/// The way to the loop.
#[derive(Debug, Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Input>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Handle {
    /// A handle on a loop.
    #[must_use]
    pub fn new(inbox: mpsc::Sender<Input>, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { inbox, snapshots }
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// A receiver of snapshots.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Reports that Podman has told of an attempt; waits while the queue is full.
    pub async fn seen(&self, attempt: AttemptId) {
        // The loop is gone only when the process ends: nobody is left to tell.
        let _ = self.inbox.send(Input::Seen(attempt)).await;
    }

    /// Reports how much room console output takes; waits on its thread while the queue is full.
    pub fn measured(&self, logs: Vec<(ExecutionId, u64)>) {
        // The loop is gone only when the process ends: nobody is left to tell.
        let _ = self.inbox.blocking_send(Input::Measured(logs));
    }

    /// Reports an event; waits while the queue is full.
    pub async fn report(&self, event: Event) {
        // The loop is gone only when the process ends: nobody is left to tell.
        let _ = self.inbox.send(Input::Event(event)).await;
    }

    /// Reports that a Podman went away or came back.
    pub async fn health_changed(&self) {
        // As above.
        let _ = self.inbox.send(Input::HealthChanged).await;
    }

    /// Reports that the ground acknowledged an outbox entry.
    pub async fn acknowledged(&self) {
        // As above.
        let _ = self.inbox.send(Input::Acknowledged).await;
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// When it is refused or cannot be done now.
    pub async fn ask(&self, event: Event) -> Result<Vec<Outcome>, Answer> {
        let (reply, answer) = oneshot::channel();
        self.inbox.try_send(Input::Command(event, reply)).map_err(|_| unavailable("the daemon is busy; ask again"))?;
        answer.await.map_err(|_| unavailable("the daemon is shutting down"))?
    }
}

fn unavailable(message: &str) -> Answer {
    Answer::Unavailable(Reason::new(Name::LedgerUnavailable, message))
}
