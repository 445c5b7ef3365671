//! Shell: the loop. **Think, save, do, tell**: `Loop::think_save_do_tell` shows the order and no other code may change it.
//!
//! Must not: wait for anything but its inbox and its next deadline.

mod leave;
mod parts;
mod past;
mod unseen;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::{self, Clock};
use crate::config::{self, Settings};
use crate::downlink::Outbox;
use crate::handle::{Answer, Handle, Input, Snapshot, Trouble, TroubleName};
use crate::ledger::{Layout, Ledger, LedgerError, identity};
pub use crate::podman::api::chain;
use crate::podman::driver::Occasion;
use crate::podman::{Driver, Health};
use crate::reason::{Name, Reason};
use crate::sequence::event::Away;
use crate::sequence::{AttemptId, Board, Effect, Event, Outcome, Record, Refusal, apply, deadline, decide, resume};
use crate::storage::Storage;
use crate::systemd::Manager;
use crate::time::Timestamp;
pub use parts::Parts;
use unseen::Unseen;

/// Pause before a ledger that failed is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(2);
/// Least pause before what has become too old is looked for; what cannot be forgotten must not keep the loop awake.
const TEND_PAUSE: Duration = Duration::from_secs(60);
/// Reports that may wait for a ledger that fails: all jobs of all live executions end up here at worst.
const STUCK_MAX: usize = 4096;
/// How long deadlines wait after a start for Podman to tell how what was running is; about one call.
const TAKE_UP: Duration = Duration::from_secs(15);
/// What is still on the way when the loop has ended gets this long.
pub const SHUTDOWN: Duration = Duration::from_secs(5);

/// The daemon's heart.
pub struct Loop {
    clock: Clock,
    settings: watch::Sender<Arc<Settings>>,
    storage: Storage,
    board: Board,
    driver: Driver,
    handle: Handle,
    health: Health,
    outbox: Outbox,
    inbox: mpsc::Receiver<Input>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    stuck: VecDeque<Event>,
    unseen: Unseen,
    /// Whether the daemon before left in good order, as far as the ledger could tell.
    left_well: bool,
    /// When the latest decision was drawn.
    decided: Timestamp,
    config_trouble: Option<String>,
    outbox_trouble: Option<String>,
    manager: Manager,
}

impl Loop {
    /// A loop that has not opened its ledger.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let settings = parts.settings.borrow().clone();
        let outbox = Outbox::new(&settings.state_dir);
        let driver = Driver::new(
            settings,
            outbox.clone(),
            parts.health.clone(),
            parts.handle.clone(),
            parts.queries.subscribe(),
        );
        Self {
            decided: parts.clock.now(),
            clock: parts.clock,
            settings: parts.settings,
            storage: Storage::closed(parts.queries),
            board: Board::default(),
            driver,
            handle: parts.handle,
            health: parts.health,
            outbox,
            inbox: parts.inbox,
            snapshots: parts.snapshots,
            stuck: VecDeque::new(),
            unseen: Unseen::default(),
            left_well: false,
            config_trouble: parts.config_trouble,
            outbox_trouble: None,
            manager: parts.manager,
        }
    }

    /// Opens the ledger and takes up what it says. `InUse` is final; every other failure is tried again while running.
    ///
    /// # Errors
    /// When another daemon works on the same state directory.
    pub fn open(&mut self) -> Result<(), LedgerError> {
        match self.try_open() {
            Ok(()) => {
                self.outbox.sweep(|id| self.board.live.contains_key(&id));
                self.tend();
            }
            Err(error @ LedgerError::InUse { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(why = chain(&error), "the ledger is not available; serving status only");
                self.storage.cannot_open(&error);
            }
        }
        self.publish();
        Ok(())
    }

    fn try_open(&mut self) -> Result<(), LedgerError> {
        let settings = self.settings.borrow().clone();
        let layout = Layout { segment_bytes: settings.retention.segment_bytes, ..Layout::default() };
        let (mut ledger, mut found) = Ledger::open_with(&settings.state_dir, layout)?;
        // Should the rest fail, the next try finds a ledger that nobody has left.
        self.left_well |= found.left_well;
        found.left_well = self.left_well;
        let (boot, reset) = found.boot(clock::boot_id());
        self.clock = self.clock.continued(Duration::from_millis(boot.offset_ms));
        ledger.started(&boot, env!("CARGO_PKG_VERSION"))?;
        // Behind the first record: a journal without any, beside an identity, is one that was lost.
        let ledger_id = identity::of(&settings.state_dir, &mut found.notes);
        for note in &found.notes {
            tracing::warn!("{note}");
        }
        let board = found.board;
        tracing::info!(live = board.live.len(), ended = board.ended.len(), ?reset, "ledger open");
        self.board = board;
        self.storage.open(ledger);
        self.driver = self.driver.of_ledger(ledger_id);
        if let Some(cause) = reset {
            self.step(Event::Reset { cause, limit: settings.resets });
        }
        self.measure_logs();
        let owed = resume::resume(&self.board);
        let scale = self.settings.borrow().time_scale.max(1);
        self.unseen = Unseen::of(&owed, self.clock.now().boot.after(TAKE_UP * scale));
        self.publish();
        self.carry_out(owed, Occasion::Resumed);
        if self.unseen.until().is_none() {
            self.catch_up();
        }
        Ok(())
    }

    /// Draws the consequences that a crash may have cut off, and those of time.
    fn catch_up(&mut self) {
        self.unseen = Unseen::default();
        self.step(Event::TimePassed(self.away()));
    }

    /// Runs until it is told to leave.
    pub async fn run(mut self) {
        self.manager.ready();
        loop {
            self.manager.alive();
            let input = within(self.pause(), self.inbox.recv()).await;
            match input {
                Ok(None | Some(Input::Shutdown)) => break,
                Ok(Some(Input::Event(event))) => self.step(event),
                Ok(Some(Input::Command(event, reply))) => {
                    let answer = self.think_save_do_tell(event);
                    // Nobody may be waiting any more; what was asked is done all the same.
                    let _ = reply.send(answer);
                }
                Ok(Some(Input::HealthChanged)) => self.publish(),
                Ok(Some(Input::Acknowledged)) => {
                    self.tend();
                    self.publish();
                }
                Ok(Some(Input::Seen(attempt))) => self.seen(attempt),
                Ok(Some(Input::Measured(logs))) => {
                    self.storage.measured(logs);
                    self.tend();
                }
                Ok(Some(Input::Reloaded(result))) => self.reload(result),
                Err(_) => self.wake(),
            }
        }
        self.leave().await;
    }

    fn seen(&mut self, attempt: AttemptId) {
        if self.unseen.seen(attempt) {
            self.catch_up();
        }
    }

    /// Until the next deadline, the next try of a ledger in trouble, the watchdog, or the day on which something of the
    /// past is too old; `None` when only an input can change anything. What is due waits for a ledger that fails: it could
    /// not be recorded.
    fn pause(&self) -> Option<Duration> {
        let deadline = deadline::next(&self.board, self.decided).map(|(at, _)| at);
        let deadline = self.unseen.until().or(deadline).map(|at| self.clock.until(at));
        let deadline = deadline.filter(|_| !self.storage.fails());
        let retry = self.storage.trouble().map(|_| LEDGER_RETRY);
        let uncounted = deadline::consumes(&self.board).then(|| self.storage.latest()).flatten();
        let uncounted = uncounted.map(|latest| self.clock.until(latest.after(self.settings.borrow().uncounted)));
        let too_old = self.storage.too_old_at(&self.settings.borrow().retention);
        let too_old = too_old.map(|at| self.clock.until(at).max(TEND_PAUSE));
        [deadline, retry, uncounted, self.manager.watchdog_pause(), too_old].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        if self.storage.trouble().is_some() {
            self.recover();
        }
        if self.storage.fails() {
            return;
        }
        if deadline::consumes(&self.board) {
            let uncounted = self.settings.borrow().uncounted;
            self.storage.reached(self.clock.now().boot, uncounted);
        }
        self.tend();
        for event in std::mem::take(&mut self.stuck) {
            self.step(event);
        }
        let now = self.clock.now().boot;
        match self.unseen.until() {
            Some(until) if now < until => {}
            Some(_) => self.catch_up(),
            None if deadline::next(&self.board, self.decided).is_some_and(|(at, _)| at <= now) => {
                self.step(Event::TimePassed(self.away()));
            }
            None => {}
        }
    }

    /// Tries a ledger in trouble once more.
    fn recover(&mut self) {
        if !self.storage.is_closed() {
            self.storage.mend();
        } else if let Err(error) = self.try_open() {
            self.storage.cannot_open(&error);
        } else {
            tracing::info!("the ledger is available again");
        }
        self.publish();
    }

    /// Handles an event that nobody waits for. One that cannot be recorded now is kept and tried again.
    fn step(&mut self, event: Event) {
        let kept = event.clone();
        match self.think_save_do_tell(event) {
            Ok(_) => {}
            Err(Answer::Refused(refusal @ (Refusal::Stale { .. } | Refusal::Late(_)))) => {
                tracing::debug!(%refusal, "a report changed nothing");
            }
            Err(Answer::Refused(refusal)) => tracing::error!(%refusal, event = ?kept, "an event was refused"),
            Err(Answer::Unavailable(reason)) => {
                tracing::error!(%reason, "an event could not be recorded, will try again");
                if self.stuck.len() < STUCK_MAX && !matches!(kept, Event::TimePassed(_)) {
                    self.stuck.push_back(kept);
                }
            }
        }
    }

    fn think_save_do_tell(&mut self, event: Event) -> Result<Vec<Outcome>, Answer> {
        // A medium that flushes slowly has the whole of the watchdog's time for each decision.
        self.manager.alive();
        // Think.
        let now = self.clock.now();
        let decision = decide(&self.board, event, now)?;
        // Save.
        self.save(&decision.records)?;
        self.decided = now;
        // What is done looks in the snapshot whether it is still wanted: it must find the decision there.
        self.publish();
        // Do.
        self.carry_out(decision.effects, Occasion::Decided);
        // Tell.
        Ok(decision.outcomes)
    }

    fn save(&mut self, records: &[crate::sequence::Recorded]) -> Result<(), Answer> {
        if records.is_empty() {
            return Ok(());
        }
        let position = self.storage.commit(records).map_err(|why| {
            self.publish();
            Answer::Unavailable(Reason::new(Name::LedgerUnavailable, why))
        })?;
        let mut ended = Vec::new();
        for recorded in records {
            match apply(&mut self.board, recorded) {
                Ok(over) => ended.extend(over),
                Err(illegal) => tracing::error!(%illegal, "a committed record does not apply"),
            }
        }
        self.storage.reflect(position, records, &ended);
        let purged: Vec<_> = records.iter().filter(|recorded| recorded.record == Record::Purged).collect();
        let tends = !ended.is_empty() || !purged.is_empty();
        purged.into_iter().for_each(|recorded| self.forget(recorded.execution));
        for execution in ended {
            let id = execution.plan.execution;
            self.storage.logged(id, self.outbox.log_bytes(id));
            if let Err(error) = self.outbox.tidy(id) {
                tracing::warn!(execution = %id, %error, "failed to remove the files of a bundle");
            }
        }
        if tends {
            self.tend();
        }
        Ok(())
    }

    fn carry_out(&self, effects: Vec<Effect>, occasion: Occasion) {
        // Starts first: somebody waits for a process.
        let (starts, others): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Launch(_)));
        for effect in starts.into_iter().chain(others) {
            tracing::debug!(?effect, "do");
            self.driver.carry_out(effect, &self.board, occasion);
        }
    }

    fn publish(&mut self) {
        let generation = self.snapshots.borrow().generation + 1;
        let cursor = self.storage.cursor();
        let (board, troubles, away) = (self.board.clone(), self.troubles(), self.away());
        let ledger = self.driver.ledger().filter(|_| !self.storage.fails());
        let orphans_removed = self.health.orphans_removed();
        let snapshot =
            Snapshot { generation, cursor, ledger, board, troubles, away, orphans_removed, clock: self.clock };
        self.manager.status(&snapshot.line());
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    fn away(&self) -> Away {
        self.health.away(&self.settings.borrow().nodes)
    }

    fn troubles(&self) -> Vec<Trouble> {
        let config = self.config_trouble.clone().map(|why| (TroubleName::ConfigInvalid, why));
        let engines = self.health.troubles(&self.settings.borrow().nodes);
        let outbox = self.outbox_trouble.clone().map(|why| (TroubleName::OutboxFull, why));
        let others = config.into_iter().chain(outbox).map(|(name, message)| Trouble { name, message });
        let quarantined = self.board.live.values().filter_map(|execution| Trouble::of_quarantine(execution));
        self.storage.troubles().into_iter().chain(others).chain(engines).chain(quarantined).collect()
    }

    fn reload(&mut self, result: Result<Box<Settings>, String>) {
        match result {
            Ok(mut settings) => {
                let old = self.settings.borrow().clone();
                for key in settings.keep_until_restart(&old) {
                    tracing::warn!(key, "a change of this key takes effect at the next start");
                }
                self.config_trouble = None;
                let settings = Arc::new(*settings);
                self.settings.send_replace(settings.clone());
                self.driver = self.driver.reconfigured(settings);
                self.tend();
                tracing::info!("configuration reloaded");
            }
            Err(why) => {
                tracing::error!(%why, "the configuration cannot be used; the last good one holds");
                self.config_trouble = Some(config::holds(&why));
            }
        }
        self.publish();
    }
}

/// Waits for as long as that, or for ever.
async fn within<T>(pause: Option<Duration>, work: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    match pause {
        Some(pause) => tokio::time::timeout(pause, work).await,
        None => Ok(work.await),
    }
}
