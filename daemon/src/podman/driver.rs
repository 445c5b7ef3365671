//! Carries out effects: each in a task of its own, each ending in an event for the loop.
//!
//! A call that Podman does not answer is tried again for as long as the engine still wants its result; the engine's
//! own deadlines end that. Effects may come twice: every path looks before it makes, starts or removes.
//! Must not: decide; it answers with facts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::api::{ApiError, Endpoint};
use super::clear::{Rest, try_clear};
use super::export::Written;
use super::freeze::told;
use super::health::Health;
use super::turns::{Starts, Turns};
use crate::bundle::NodeName;
use crate::config::Settings;
use crate::downlink::Outbox;
use crate::errand::LoadedAgain;
use crate::handle::Handle;
use crate::ledger::Queries;
use crate::plan::PlannedJob;
use crate::reason::{Name, Reason};
use crate::sequence::effect::Disposal;
use crate::sequence::event::Report;
use crate::sequence::orphan::LedgerId;
use crate::sequence::state::{Ahead, AttemptId, Freeze, JobState, Logs, Remains, Signal};
use crate::sequence::{Board, Effect, Event, Execution};
use crate::view;

/// Pauses between tries of a call that Podman does not answer.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(200);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(5);
/// For a request that Podman got and did not answer to have its effect, once Podman answers others.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// Why an effect is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It was decided just now.
    Decided,
    /// It was decided before this daemon started: what the one before asked Podman for may still be on its way.
    Resumed,
}

/// Carries out effects on the nodes.
#[derive(Debug, Clone)]
pub struct Driver {
    pub(crate) settings: Arc<Settings>,
    nodes: BTreeMap<NodeName, Endpoint>,
    pub(super) network_turn: Arc<tokio::sync::Mutex<()>>,
    turns: Turns,
    starts: Starts,
    pub(super) written: Written,
    health: Health,
    pub(crate) loaded_again: LoadedAgain,
    pub(crate) outbox: Outbox,
    pub(crate) handle: Handle,
    queries: watch::Receiver<Option<Queries>>,
    ledger: Option<LedgerId>,
}

impl Driver {
    /// A driver for the nodes of a configuration.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        outbox: Outbox,
        health: Health,
        handle: Handle,
        queries: watch::Receiver<Option<Queries>>,
    ) -> Self {
        let nodes = settings.nodes.iter().map(|(name, socket)| (name.clone(), Endpoint::new(socket))).collect();
        Self {
            settings,
            nodes,
            network_turn: Arc::default(),
            turns: Turns::default(),
            starts: Starts::default(),
            written: Written::default(),
            health,
            loaded_again: LoadedAgain::default(),
            outbox,
            handle,
            queries,
            ledger: None,
        }
    }

    /// The same driver for this ledger: what it makes is labelled with it.
    #[must_use]
    pub fn of_ledger(&self, ledger: LedgerId) -> Self {
        Self { ledger: Some(ledger), ..self.clone() }
    }

    /// The ledger that it works for, once that is open.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerId> {
        self.ledger
    }

    /// The same driver with another configuration; what is on the way goes on with the old one.
    #[must_use]
    pub fn reconfigured(&self, settings: Arc<Settings>) -> Self {
        let fresh =
            Self::new(settings, self.outbox.clone(), self.health.clone(), self.handle.clone(), self.queries.clone());
        let (turns, starts, written) = (self.turns.clone(), self.starts.clone(), self.written.clone());
        Self { turns, starts, written, loaded_again: self.loaded_again.clone(), ledger: self.ledger, ..fresh }
    }

    /// Time as the configuration counts it, in time of this machine.
    pub(crate) fn real(&self, seconds: u32) -> Duration {
        Duration::from_secs(seconds.into()) / self.settings.time_scale.max(1)
    }

    /// Begins to carry out an effect and returns at once.
    pub fn carry_out(&self, effect: Effect, board: &Board, occasion: Occasion) {
        let id = match &effect {
            Effect::Prepare(attempt)
            | Effect::Watch(attempt, _)
            | Effect::Signal(attempt, ..)
            | Effect::Clear(attempt, _) => Some(attempt.execution),
            Effect::Launch(members) | Effect::Pause(members) | Effect::Resume(members) => {
                members.first().map(|(attempt, _)| attempt.execution)
            }
            Effect::Read { execution, .. }
            | Effect::Errand { execution, .. }
            | Effect::Report(execution)
            | Effect::Purge(execution) => Some(*execution),
        };
        if let Effect::Purge(id) = effect {
            let driver = self.clone();
            tokio::spawn(async move { driver.purge(id).await });
            return;
        }
        let Some(execution) = id.and_then(|id| board.live.get(&id)).cloned() else {
            tracing::error!(?effect, "an effect of an execution that is not live");
            return;
        };
        let driver = self.clone();
        if let Effect::Prepare(attempt) = effect {
            let turn = self.turns.begin(attempt, occasion);
            tokio::spawn(async move { driver.prepare(&execution, attempt, turn).await });
            return;
        }
        if let Effect::Launch(members) = effect {
            let start = self.starts.begin();
            tokio::spawn(async move { driver.launch(&execution, members, (occasion, start)).await });
            return;
        }
        tokio::spawn(async move {
            match effect {
                Effect::Prepare(_) | Effect::Launch(_) | Effect::Purge(_) => {}
                Effect::Watch(attempt, container) => {
                    driver.watch(&execution, attempt, &container, occasion).await;
                    if occasion == Occasion::Resumed {
                        driver.handle.seen(attempt).await;
                    }
                }
                Effect::Signal(attempt, container, signal) => {
                    driver.signal(&execution, attempt, &container, signal).await
                }
                Effect::Pause(members) => driver.freeze(&execution, members, Freeze::Frozen).await,
                Effect::Resume(members) => driver.freeze(&execution, members, Freeze::Thawing).await,
                Effect::Clear(attempt, disposal) => driver.clear(&execution, attempt, (disposal, occasion)).await,
                Effect::Read { step, .. } => driver.read_outputs(&execution, step).await,
                Effect::Errand { step, .. } => driver.errand(&execution, step, occasion).await,
                Effect::Report(id) => driver.report(id, &execution).await,
            }
        });
    }

    pub(super) async fn tell(&self, attempt: AttemptId, report: Report) {
        self.handle.report(Event::Reported(attempt, report)).await;
    }

    pub(super) fn job(execution: &Execution, attempt: AttemptId) -> &PlannedJob {
        &execution.plan.steps[attempt.step].jobs()[attempt.job]
    }

    /// What has ended, while the index is open.
    pub(crate) fn queries(&self) -> Option<Queries> {
        self.queries.borrow().clone()
    }

    /// Every Podman once, however many nodes share it.
    pub(crate) fn podmans(&self) -> Vec<&Endpoint> {
        let by_socket: BTreeMap<&std::path::Path, &Endpoint> =
            self.nodes.values().map(|one| (one.socket(), one)).collect();
        by_socket.into_values().collect()
    }

    pub(crate) fn endpoint(&self, node: &NodeName) -> Result<&Endpoint, Reason> {
        let gone = || Reason::new(Name::EngineUnreachable, format!("node `{node}` is no longer in the configuration"));
        self.nodes.get(node).ok_or_else(gone)
    }

    /// Every Podman of the configuration.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.nodes.values()
    }

    /// Calls until Podman answers or nobody wants the answer any more (`None`).
    pub(crate) async fn answered<T, F: Future<Output = Result<T, ApiError>>>(
        &self,
        endpoint: &Endpoint,
        wanted: impl Fn(&Board) -> bool,
        call: impl Fn() -> F,
    ) -> Option<Result<T, ApiError>> {
        let mut pause = RETRY_FIRST;
        loop {
            let result = call().await;
            if self.health.note(endpoint.socket(), result.as_ref().err()) {
                self.handle.health_changed().await;
            }
            match result {
                Err(error) if error.unreachable() => {
                    tracing::warn!(socket = %endpoint.socket().display(), %error, "podman does not answer, will try again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                    if !wanted(&self.handle.snapshot().board) {
                        return None;
                    }
                }
                other => return Some(other),
            }
        }
    }

    async fn signal(&self, execution: &Execution, attempt: AttemptId, container: &str, signal: Signal) {
        let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { return };
        let word = match signal {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
        };
        let wanted = |board: &Board| matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Stopping { signal: told, .. }) if *told == signal);
        if let Some(Err(error)) = self.answered(endpoint, wanted, || told(endpoint, container, word)).await {
            tracing::error!(%container, %error, "failed to send SIG{word}");
        }
    }

    async fn clear(&self, execution: &Execution, attempt: AttemptId, (disposal, occasion): (Disposal, Occasion)) {
        let job = Self::job(execution, attempt);
        let endpoint = match self.endpoint(&job.node) {
            Ok(endpoint) => endpoint,
            Err(reason) => {
                // Nobody can get at it any more; an execution must not wait for that.
                tracing::error!(%reason, "a container was left behind");
                return self.tell(attempt, Report::Cleared(Logs::default())).await;
            }
        };
        let owed = |board: &Board| {
            let state = board.job(&attempt).map(|job| &job.state);
            matches!(
                state,
                Some(
                    JobState::Ended { remains: Remains::Owed, .. } | JobState::Requeued { remains: Remains::Owed, .. }
                )
            ) || board.ahead(&attempt) == Some(&Ahead::Owed)
        };
        let name = view::container_name(execution, &attempt);
        let kept = self.outbox.console_path(execution.plan.execution, &name);
        let export = !self.written.take(attempt);
        let (limit, ledger) = (self.settings.log_bytes, self.ledger);
        let rest = Rest { attempt, name: &name, kept: &kept, limit, pod: &job.pod, export, disposal, ledger };
        let mut pause = RETRY_FIRST;
        // What an unanswered request makes comes after a first look that finds nothing.
        let mut on_the_way = self.turns.ended(attempt).await || occasion == Occasion::Resumed;
        self.starts.over().await;
        loop {
            let cleared = self.answered(endpoint, owed, || try_clear(endpoint, &rest));
            match cleared.await {
                None => return,
                Some(Ok(Ok(_))) if std::mem::take(&mut on_the_way) => {
                    tokio::time::sleep(SETTLE).await;
                    continue;
                }
                Some(Ok(Ok(logs))) => return self.tell(attempt, Report::Cleared(logs)).await,
                Some(Ok(Err(error))) => {
                    tracing::error!(container = %name, %error, "failed to keep console output, will try again")
                }
                Some(Err(error)) => {
                    tracing::error!(container = %name, %error, "failed to clear a container, will try again")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
            if !owed(&self.handle.snapshot().board) {
                return;
            }
        }
    }
}
