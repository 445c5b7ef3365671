//! Carries out effects: each in a task of its own, each ending in an event for the loop.
//!
//! A call that Podman does not answer is tried again for as long as the engine still wants its result; the engine's
//! own deadlines end that. Effects may come twice: every path looks before it makes, starts or removes.
//! Must not: decide; it answers with facts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::api::{ApiError, Endpoint, Inspected};
use super::console::{self, ConsoleError};
use super::create::Container;
use super::health::Health;
use super::{failure, files};
use crate::bundle::manifest::{Port, Protocol};
use crate::bundle::{ExecutionId, NodeName};
use crate::config::{Isolation, Settings};
use crate::downlink::Outbox;
use crate::handle::Handle;
use crate::plan::{PlannedJob, Transfer};
use crate::reason::{Name, Reason};
use crate::sequence::event::Report;
use crate::sequence::state::{AttemptId, Exit, Filing, JobState, Logs, Phase, Remains, Signal, StepState};
use crate::sequence::{Board, Effect, Event, Execution};
use crate::view;

/// Pauses between tries of a call that Podman does not answer.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// One wait for an exit; then inspect is asked, in case the wait was lost on Podman's side.
const WAIT: Duration = Duration::from_secs(30);
/// Pause when a wait ended and the process still lives.
const WAIT_PAUSE: Duration = Duration::from_millis(50);

/// Carries out effects on the nodes.
#[derive(Debug, Clone)]
pub struct Driver {
    settings: Arc<Settings>,
    nodes: BTreeMap<NodeName, Endpoint>,
    networks: Arc<tokio::sync::Mutex<BTreeSet<(PathBuf, String)>>>,
    health: Health,
    outbox: Outbox,
    handle: Handle,
}

impl Driver {
    /// A driver for the nodes of a configuration.
    #[must_use]
    pub fn new(settings: Arc<Settings>, outbox: Outbox, health: Health, handle: Handle) -> Self {
        let nodes = settings.nodes.iter().map(|(name, socket)| (name.clone(), Endpoint::new(socket))).collect();
        Self { settings, nodes, networks: Arc::default(), health, outbox, handle }
    }

    /// Begins to carry out an effect and returns at once.
    pub fn carry_out(&self, effect: Effect, board: &Board) {
        let id = match &effect {
            Effect::Prepare(attempt)
            | Effect::Watch(attempt, _)
            | Effect::Signal(attempt, ..)
            | Effect::Clear(attempt) => Some(attempt.execution),
            Effect::Launch(members) => members.first().map(|(attempt, _)| attempt.execution),
            Effect::Place { execution, .. } | Effect::Collect { execution, .. } | Effect::Report(execution) => {
                Some(*execution)
            }
        };
        let Some(execution) = id.and_then(|id| board.live.get(&id)).cloned() else {
            tracing::error!(?effect, "an effect of an execution that is not live");
            return;
        };
        let driver = self.clone();
        tokio::spawn(async move {
            match effect {
                Effect::Prepare(attempt) => driver.prepare(&execution, attempt).await,
                Effect::Launch(members) => driver.launch(&execution, members).await,
                Effect::Watch(attempt, container) => driver.watch(&execution, attempt, &container).await,
                Effect::Signal(attempt, container, signal) => {
                    driver.signal(&execution, attempt, &container, signal).await
                }
                Effect::Clear(attempt) => driver.clear(&execution, attempt).await,
                Effect::Place { step, .. } => driver.transfer(&execution, step).await,
                Effect::Collect { step, .. } => driver.transfer(&execution, step).await,
                Effect::Report(id) => driver.report(id, &execution).await,
            }
        });
    }

    async fn tell(&self, attempt: AttemptId, report: Report) {
        self.handle.report(Event::Reported(attempt, report)).await;
    }

    fn job(execution: &Execution, attempt: AttemptId) -> &PlannedJob {
        &execution.plan.steps[attempt.step].jobs()[attempt.job]
    }

    fn endpoint(&self, node: &NodeName) -> Result<&Endpoint, Reason> {
        let gone = || Reason::new(Name::EngineUnreachable, format!("node `{node}` is no longer in the configuration"));
        self.nodes.get(node).ok_or_else(gone)
    }

    /// Calls until Podman answers or nobody wants the answer any more (`None`).
    async fn answered<T, F: Future<Output = Result<T, ApiError>>>(
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

    async fn prepare(&self, execution: &Execution, attempt: AttemptId) {
        let job = Self::job(execution, attempt);
        let report = match self.endpoint(&job.node) {
            Err(reason) => Report::NotPrepared(reason),
            Ok(endpoint) => {
                let wanted =
                    |board: &Board| matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Preparing));
                let made = self.answered(endpoint, wanted, || self.try_prepare(endpoint, execution, attempt));
                match made.await {
                    None => return,
                    Some(Ok(Ok(container))) => Report::Prepared { container },
                    Some(Ok(Err(reason))) => Report::NotPrepared(reason),
                    Some(Err(error)) => Report::NotPrepared(failure::reason(&error)),
                }
            }
        };
        self.tell(attempt, report).await;
    }

    async fn try_prepare(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
    ) -> Result<Result<String, Reason>, ApiError> {
        let job = Self::job(execution, attempt);
        let name = view::container_name(execution, &attempt);
        match endpoint.inspect(&name).await {
            Ok(found) if found.state.has_started() => {
                let message = format!("a container {name} has run already; it is not run twice");
                return Ok(Err(Reason::new(Name::StartError, message)));
            }
            Ok(_) => endpoint.remove(&name).await?,
            Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let image = match self.image(endpoint, &job.pod.image).await? {
            Ok(image) => image,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(taken) = job.pod.ports.iter().find(|port| !port_is_free(port)) {
            let message = format!("host port {}/{} is taken", taken.host_port, taken.protocol.lower_case());
            return Ok(Err(Reason::new(Name::PortInUse, message)));
        }
        let network = self.network(endpoint, execution).await?;
        endpoint.ensure_volume(&job.pod.claim, execution.plan.tenant.as_str()).await?;
        let container = Container {
            name: &name,
            image: &image,
            network: &network,
            labels: labels(execution, attempt),
            pids: self.settings.pids,
            log_bytes: self.settings.log_bytes,
            job,
        };
        let id = endpoint.create(&container.specification()).await?;
        let missing = container.missing(&endpoint.inspect_whole(&id).await?);
        if !missing.is_empty() {
            endpoint.remove(&id).await?;
            let message = format!("podman left out: {}", missing.join(", "));
            return Ok(Err(Reason::new(Name::StartError, message)));
        }
        match endpoint.init(&id).await {
            Ok(()) => Ok(Ok(id)),
            Err(error) if error.unreachable() => Err(error),
            Err(error) => {
                endpoint.remove(&id).await?;
                Ok(Err(failure::reason(&error)))
            }
        }
    }

    /// The id of the image that flies: looked up by name, never pulled.
    async fn image(&self, endpoint: &Endpoint, reference: &str) -> Result<Result<String, Reason>, ApiError> {
        let candidates = image_candidates(reference, &self.settings.image_prefixes);
        for candidate in &candidates {
            if let Some(id) = endpoint.image_id(candidate).await? {
                return Ok(Ok(id));
            }
        }
        let message =
            format!("no image `{reference}` aboard, looked for {}; load it, nothing is pulled", candidates.join(", "));
        Ok(Err(Reason::new(Name::ImageMissing, message)))
    }

    async fn network(&self, endpoint: &Endpoint, execution: &Execution) -> Result<String, ApiError> {
        let (name, isolated) = match self.settings.isolation {
            Isolation::Shared => (self.settings.network.clone(), false),
            Isolation::Tenant => (format!("{}-{}", self.settings.network, execution.plan.tenant), true),
        };
        let mut known = self.networks.lock().await;
        let key = (endpoint.socket().to_owned(), name.clone());
        if !known.contains(&key) {
            endpoint.ensure_network(&name, isolated).await?;
            known.insert(key);
        }
        Ok(name)
    }

    async fn launch(&self, execution: &Execution, members: Vec<(AttemptId, String)>) {
        // Look at all before starting any: the starts then follow each other without a pause.
        let mut ready = Vec::new();
        for (attempt, container) in members {
            let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { continue };
            let launching = move |board: &Board| {
                matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Launching { .. }))
            };
            let found = self.answered(endpoint, launching, || endpoint.inspect(&container)).await;
            match found {
                None => {}
                Some(Ok(found)) if found.state.has_started() => self.tell(attempt, Report::Started).await,
                Some(Ok(_)) => ready.push((attempt, container, endpoint)),
                Some(Err(ApiError::NotFound(_))) => self.tell(attempt, Report::Lost).await,
                Some(Err(error)) => self.tell(attempt, Report::NotStarted(failure::reason(&error))).await,
            }
        }
        for (attempt, container, endpoint) in ready {
            let report = self.start(endpoint, attempt, &container).await;
            if let Some(report) = report {
                self.tell(attempt, report).await;
            }
        }
    }

    /// Starts a container. When the answer to that is lost, inspect says whether its process has lived.
    async fn start(&self, endpoint: &Endpoint, attempt: AttemptId, container: &str) -> Option<Report> {
        let Err(error) = endpoint.start(container).await else {
            return Some(Report::Started);
        };
        let launching =
            |board: &Board| matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Launching { .. }));
        let found = self.answered(endpoint, launching, || endpoint.inspect(container)).await?;
        Some(match found {
            Ok(found) if found.state.has_started() => Report::Started,
            Ok(_) if error.unreachable() => match endpoint.start(container).await {
                Ok(()) => Report::Started,
                Err(again) => Report::NotStarted(failure::reason(&again)),
            },
            Ok(_) => Report::NotStarted(failure::reason(&error)),
            Err(ApiError::NotFound(_)) => Report::Lost,
            Err(_) => Report::NotStarted(failure::reason(&error)),
        })
    }

    async fn watch(&self, execution: &Execution, attempt: AttemptId, container: &str) {
        let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { return };
        let living = |board: &Board| {
            matches!(
                board.job(&attempt).map(|job| &job.state),
                Some(JobState::Running { .. } | JobState::Stopping { .. })
            )
        };
        loop {
            let looked = self.answered(endpoint, living, || async {
                endpoint.wait(container, WAIT).await?;
                endpoint.inspect(container).await
            });
            match looked.await {
                None => return,
                Some(Ok(found)) if found.state.alive() || !found.state.has_started() => {
                    tokio::time::sleep(WAIT_PAUSE).await
                }
                Some(Ok(Inspected { state, .. })) => {
                    let exit = Exit { code: state.exit_code, oom: state.oom_killed };
                    return self.tell(attempt, Report::Exited(exit)).await;
                }
                Some(Err(ApiError::NotFound(_))) => return self.tell(attempt, Report::Lost).await,
                Some(Err(error)) => {
                    tracing::warn!(%container, %error, "failed to look at a container, will look again");
                    tokio::time::sleep(RETRY_MAX).await;
                }
            }
            if !living(&self.handle.snapshot().board) {
                return;
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
        if let Some(Err(error)) = self.answered(endpoint, wanted, || endpoint.signal(container, word)).await {
            tracing::error!(%container, %error, "failed to send SIG{word}");
        }
    }

    async fn clear(&self, execution: &Execution, attempt: AttemptId) {
        let Ok(endpoint) = self.endpoint(&Self::job(execution, attempt).node) else { return };
        let owed = |board: &Board| {
            let state = board.job(&attempt).map(|job| &job.state);
            matches!(state, Some(JobState::Ended { remains: Remains::Owed, .. }))
        };
        let name = view::container_name(execution, &attempt);
        let kept = self.outbox.console_path(execution.plan.execution, &name);
        let limit = self.settings.log_bytes;
        let mut pause = RETRY_FIRST;
        loop {
            let cleared = self.answered(endpoint, owed, || try_clear(endpoint, &name, &kept, limit));
            match cleared.await {
                None => return,
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

    async fn transfer(&self, execution: &Execution, step: usize) {
        let id = execution.plan.execution;
        let active = |board: &Board| {
            let state = board.live.get(&id).map(|execution| &execution.steps[step].state);
            matches!(state, Some(StepState::Active { .. }))
        };
        let (transfer, collects) = match &execution.plan.steps[step].work {
            crate::plan::Work::Uplink(transfer) => (transfer, false),
            crate::plan::Work::Downlink(transfer) => (transfer, true),
            crate::plan::Work::PodRun { .. } => return,
        };
        let volume = match self.endpoint(&transfer.node) {
            Err(reason) => Err(reason),
            Ok(endpoint) => {
                let tenant = execution.plan.tenant.as_str();
                let asked = self.answered(endpoint, active, || endpoint.ensure_volume(&transfer.claim, tenant));
                match asked.await {
                    None => return,
                    Some(result) => result.map_err(|error| failure::reason(&error)),
                }
            }
        };
        let result = match volume {
            Err(reason) => Err(reason),
            Ok(mountpoint) => self.move_files(execution, step, transfer.clone(), mountpoint, collects).await,
        };
        self.handle.report(Event::Transferred { execution: id, step, result }).await;
    }

    async fn move_files(
        &self,
        execution: &Execution,
        step: usize,
        transfer: Transfer,
        mountpoint: PathBuf,
        collects: bool,
    ) -> Result<(), Reason> {
        let id = execution.plan.execution;
        let step_id = execution.plan.steps[step].id.clone();
        let (outbox, limit) = (self.outbox.clone(), self.settings.downlink_bytes);
        let files = self.outbox.bundle_folder(id);
        let work = tokio::task::spawn_blocking(move || {
            let volume = files::open_volume(&mountpoint)?;
            if collects {
                return outbox.collect(id, &step_id, &transfer, &volume, limit);
            }
            let sources: Vec<PathBuf> = transfer.sources.iter().map(|entry| files.join(entry)).collect();
            files::place(&volume, &transfer.destination, &sources)
        });
        work.await.unwrap_or_else(|error| Err(Reason::new(Name::Internal, error.to_string())))
    }

    async fn report(&self, id: ExecutionId, execution: &Arc<Execution>) {
        let mut pause = RETRY_FIRST;
        // Space may come back when the ground acknowledges entries; but an execution must end.
        for last in [false, false, false, false, true] {
            let (outbox, copy) = (self.outbox.clone(), execution.clone());
            let filed = tokio::task::spawn_blocking(move || outbox.file(&copy)).await;
            let error = match filed {
                Ok(Ok(())) => return self.handle.report(Event::Filed { execution: id, filing: Filing::Filed }).await,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(execution = %id, %error, "failed to file a report");
            if last {
                let filing = Filing::Failed(Reason::new(Name::TransferError, error));
                return self.handle.report(Event::Filed { execution: id, filing }).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
            let phase = self.handle.snapshot().board.live.get(&id).map(|known| known.phase.clone());
            if !matches!(phase, Some(Phase::Settled { .. })) {
                return;
            }
        }
    }
}

/// Keeps the console output of a container, then removes it; one that lives is killed first.
async fn try_clear(
    endpoint: &Endpoint,
    name: &str,
    kept: &Path,
    limit: u64,
) -> Result<Result<Logs, ConsoleError>, ApiError> {
    let mut found = match endpoint.inspect(name).await {
        Ok(found) => found,
        Err(ApiError::NotFound(_)) => return Ok(Ok(console::kept(kept))),
        Err(error) => return Err(error),
    };
    if found.state.alive() {
        endpoint.signal(&found.id, "KILL").await?;
        endpoint.wait(&found.id, super::api::LOOK).await?;
        found = endpoint.inspect(name).await?;
    }
    let logs = console::keep(endpoint, &found, kept, limit).await;
    if logs.is_ok() {
        endpoint.remove(&found.id).await?;
    }
    Ok(logs)
}

fn labels(execution: &Execution, attempt: AttemptId) -> BTreeMap<&'static str, String> {
    [
        ("perigee", "container".to_owned()),
        ("perigee.execution", execution.plan.execution.to_string()),
        ("perigee.tenant", execution.plan.tenant.to_string()),
        ("perigee.step", execution.plan.steps[attempt.step].id.to_string()),
        ("perigee.job", attempt.job.to_string()),
        ("perigee.attempt", attempt.attempt.to_string()),
    ]
    .into()
}

/// Where an image may be: a qualified name stands as it is, a bare one is local first, then under the prefixes.
#[must_use]
pub fn image_candidates(reference: &str, prefixes: &[String]) -> Vec<String> {
    let first = reference.split_once('/').map(|(first, _)| first);
    let qualified = first.is_some_and(|first| first == "localhost" || first.contains(['.', ':']));
    if qualified {
        return vec![reference.to_owned()];
    }
    let prefixes = prefixes.iter().map(|prefix| prefix.trim_end_matches('/'));
    std::iter::once("localhost").chain(prefixes).map(|prefix| format!("{prefix}/{reference}")).collect()
}

/// Asked before Podman is: a launch that fails on a taken port leaves Podman's service listening on its others.
fn port_is_free(port: &Port) -> bool {
    let address = ("0.0.0.0", port.host_port);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).is_ok(),
        Protocol::Udp => UdpSocket::bind(address).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_image_is_looked_up_locally_then_under_each_prefix() {
        let prefixes = ["board:5000".to_owned(), "board:5000/mirror/".to_owned()];
        let names = image_candidates("python:3.10", &prefixes);
        assert_eq!(names, ["localhost/python:3.10", "board:5000/python:3.10", "board:5000/mirror/python:3.10"]);
        assert_eq!(image_candidates("team/app:1", &[]), ["localhost/team/app:1"]);
    }

    #[test]
    fn qualified_image_stands_as_it_is() {
        let prefixes = ["board:5000".to_owned()];
        for name in ["localhost/a:1", "board:5000/a:1", "quay.example/a/b:1"] {
            assert_eq!(image_candidates(name, &prefixes), [name]);
        }
    }
}
