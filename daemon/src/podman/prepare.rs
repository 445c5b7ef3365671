//! Makes and initialises the container of an attempt: all of the start but the start.
//!
//! Must not: leave a container behind when it says that it could not make one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use serde_json::Value;

use super::accounting::Group;
use super::api::{ApiError, Endpoint};
use super::create::Container;
use super::driver::{Driver, SETTLE};
use super::turns::Turn;
use super::{failure, files, gang, memory};
use crate::bundle::manifest::{Port, Protocol};
use crate::config::Isolation;
use crate::plan::PlannedJob;
use crate::reason::{Name, Reason};
use crate::sequence::event::Report;
use crate::sequence::image::Image;
use crate::sequence::orphan::{self, LedgerId};
use crate::sequence::state::{Ahead, AttemptId, JobState};
use crate::sequence::{Board, Execution};
use crate::view;

/// Tries to make a container while an earlier request for it may still be on its way.
const TRIES_IN_DOUBT: u32 = 4;

impl Driver {
    /// Prepares an attempt for as long as that is wanted, and tells how it went.
    pub(super) async fn prepare(&self, execution: &Execution, attempt: AttemptId, turn: Turn) {
        let job = Self::job(execution, attempt);
        let ahead = execution.ahead(&attempt).is_some();
        let report = match self.endpoint(&job.node) {
            Ok(_) if ahead && memory::is_scarce() => Report::NotMadeAhead(memory::scarce()),
            Err(reason) => Report::NotPrepared(reason),
            Ok(endpoint) => match self.prepare_at(endpoint, execution, attempt, &turn).await {
                None => return,
                Some(Report::NotPrepared(reason)) if ahead => Report::NotMadeAhead(reason),
                Some(report) => report,
            },
        };
        turn.settled();
        self.tell(attempt, report).await;
    }

    /// What an earlier request of ours still does can get in the way of a later one: then another try is due.
    async fn prepare_at(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
        turn: &Turn,
    ) -> Option<Report> {
        let wanted = |board: &Board| {
            matches!(board.job(&attempt).map(|job| &job.state), Some(JobState::Preparing))
                || board.ahead(&attempt).is_some_and(Ahead::stands)
        };
        let mut tries = TRIES_IN_DOUBT;
        loop {
            let made = self.answered(endpoint, wanted, || async {
                let made = self.try_from_image(endpoint, execution, attempt).await;
                if made.as_ref().is_err_and(ApiError::unreachable) {
                    turn.unanswered();
                }
                made
            });
            let report = match made.await? {
                Ok(report @ (Report::Prepared { .. } | Report::ImageLost(_))) => return Some(report),
                Ok(report) => report,
                Err(error) => Report::NotPrepared(failure::reason(&error)),
            };
            tries -= 1;
            if tries == 0 || !turn.in_doubt() || !wanted(&self.handle.snapshot().board) {
                return Some(report);
            }
            tracing::warn!(?report, "failed to prepare a container where one was being made before, will try again");
            tokio::time::sleep(SETTLE).await;
        }
    }

    pub(super) async fn try_prepare(
        &self,
        endpoint: &Endpoint,
        execution: &Execution,
        attempt: AttemptId,
    ) -> Result<Result<(String, Image), Reason>, ApiError> {
        let job = Self::job(execution, attempt);
        let name = view::container_name(execution, &attempt);
        if let Err(reason) = self.make_way(endpoint, &name).await? {
            return Ok(Err(reason));
        }
        let image = match self.image_of(endpoint, execution, job).await? {
            Ok(image) => image,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(reason) = job.pod.ports.iter().find_map(port_trouble) {
            return Ok(Err(reason));
        }
        let network = self.network(endpoint, execution).await?;
        let mountpoint = endpoint.ensure_volume(&job.pod.claim, execution.plan.tenant.as_str()).await?;
        let binds = match self.gang_files(execution, attempt).await {
            Ok(binds) => binds,
            Err(reason) => return Ok(Err(reason)),
        };
        let group = endpoint.group_manager().await?.map(|manager| Group::of(manager, &attempt));
        let container = Container {
            group: group.as_ref().map(Group::parent),
            name: &name,
            image: &image.id,
            network: &network,
            labels: labels(execution, attempt, self.ledger()),
            binds: &binds,
            pids: self.settings.pids,
            log_bytes: self.settings.log_bytes,
            job,
        };
        let id = create(endpoint, &name, &container.specification()).await?;
        let missing = container.missing(&endpoint.inspect_whole(&id).await?);
        if !missing.is_empty() {
            endpoint.remove(&id).await?;
            let message = format!("podman left out: {}", missing.join(", "));
            return Ok(Err(Reason::new(Name::StartError, message)));
        }
        match endpoint.init(&id).await {
            Ok(()) => {
                open_to_user(&mountpoint, job);
                Ok(Ok((id, image)))
            }
            Err(error) if error.unreachable() => Err(error),
            Err(error) => {
                endpoint.remove(&id).await?;
                if let Some(group) = group {
                    group.remove_soon();
                }
                Ok(Err(with_leaks(failure::reason(&error), &job.pod.ports)))
            }
        }
    }

    /// Removes what an earlier try has left under a name, unless it has run or is not ours.
    async fn make_way(&self, endpoint: &Endpoint, name: &str) -> Result<Result<(), Reason>, ApiError> {
        match endpoint.inspect(name).await {
            Ok(found) if found.is_anothers(self.ledger()) => {
                let message = format!("a container {name} is that of another ledger on this podman; it is left alone");
                Ok(Err(Reason::new(Name::StartError, message)))
            }
            Ok(found) if found.state.has_started() => {
                let message = format!("a container {name} has run already; it is not run twice");
                Ok(Err(Reason::new(Name::StartError, message)))
            }
            // By its id: by its name, a removal that comes late would take the next one.
            Ok(found) => endpoint.remove(&found.id).await.map(Ok),
            Err(ApiError::NotFound(_)) => Ok(Ok(())),
            // Not an image that is damaged: whatever is in the way is cleared with the attempt.
            Err(ApiError::Refused { message, .. }) => {
                let message = format!("podman cannot look at a container {name}, which is in the way: {message}");
                Ok(Err(Reason::new(Name::StartError, message)))
            }
            Err(error) => Err(error),
        }
    }

    /// What the container sees of its gang. One at a time: the first member makes it for all.
    async fn gang_files(&self, execution: &Execution, attempt: AttemptId) -> Result<Vec<gang::Bind>, Reason> {
        let _turn = self.network_turn.lock().await;
        gang::binds(&self.outbox, execution, attempt)
            .map_err(|error| Reason::new(Name::StartError, format!("failed to write the files of the gang: {error}")))
    }

    async fn network(&self, endpoint: &Endpoint, execution: &Execution) -> Result<String, ApiError> {
        let (name, isolated) = match self.settings.isolation {
            Isolation::Shared => (self.settings.network.clone(), false),
            Isolation::Tenant => (format!("{}-{}", self.settings.network, execution.plan.tenant), true),
        };
        // One at a time: two pods of a group must not both make it.
        let _turn = self.network_turn.lock().await;
        endpoint.ensure_network(&name, isolated).await?;
        Ok(name)
    }
}

/// Makes a container. A Podman that was killed while it made one may have left its storage behind: nobody knows of that
/// container, and its name is taken.
async fn create(endpoint: &Endpoint, name: &str, specification: &Value) -> Result<String, ApiError> {
    let taken = match endpoint.create(specification).await {
        Err(ApiError::Refused { message, status }) => (message, status),
        other => return other,
    };
    let owner = taken.0.split_once(" is already in use by ").and_then(|(_, rest)| rest.split(['.', ' ', ':']).next());
    let leftover = owner.filter(|id| id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()));
    let Some(leftover) = leftover.filter(|_| taken.0.contains(name)) else {
        return Err(ApiError::Refused { message: taken.0, status: taken.1 });
    };
    if endpoint.inspect(leftover).await.is_ok() {
        return Err(ApiError::Refused { message: taken.0, status: taken.1 });
    }
    tracing::warn!(container = name, leftover, "removing the storage that a container left without being one");
    endpoint.remove(leftover).await?;
    endpoint.create(specification).await
}

fn labels(execution: &Execution, attempt: AttemptId, ledger: Option<LedgerId>) -> BTreeMap<&'static str, String> {
    let own = [
        (orphan::KIND, orphan::CONTAINER.to_owned()),
        (orphan::EXECUTION, execution.plan.execution.to_string()),
        ("perigee.tenant", execution.plan.tenant.to_string()),
        (orphan::STEP, execution.plan.steps[attempt.step].id.to_string()),
        (orphan::JOB, attempt.job.to_string()),
        (orphan::ATTEMPT, attempt.attempt.to_string()),
    ];
    own.into_iter().chain(ledger.map(|ledger| (orphan::LEDGER, ledger.to_string()))).collect()
}

/// Not before the container is initialised: at the first mount Podman gives a volume the mode of the image's folder.
fn open_to_user(mountpoint: &Path, job: &PlannedJob) {
    let user = job.pod.options.user.as_ref().filter(|user| !user.is_root());
    if let Some(Err(error)) = user.map(|_| files::open_to_all(mountpoint)) {
        tracing::warn!(volume = %job.pod.claim, %error, "failed to open a volume to a user that is not root");
    }
}

fn shown(port: &Port) -> String {
    let address = port.host_ip.map(|address| format!("{address}:")).unwrap_or_default();
    format!("{address}{}/{}", port.host_port, port.protocol.lower_case())
}

/// A start that failed may leave Podman's service listening on the host ports: whoever wants them next must know why.
fn with_leaks(reason: Reason, ports: &[Port]) -> Reason {
    let held: Vec<String> = ports.iter().filter(|port| !port_is_free(port)).map(shown).collect();
    if held.is_empty() {
        return reason;
    }
    let message = format!(
        "host port {} is still held by podman, restart its service to free it; {}",
        held.join(", "),
        reason.message
    );
    Reason::new(reason.name, message)
}

fn port_is_free(port: &Port) -> bool {
    port_trouble(port).is_none()
}

/// Asked before Podman is: a launch that fails on a taken port leaves Podman's service listening on its others.
fn port_trouble(port: &Port) -> Option<Reason> {
    let address = (port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED), port.host_port);
    let bound = match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    let error = bound.err()?;
    if error.kind() == std::io::ErrorKind::AddrNotAvailable {
        let message = format!("host_ip {} is not an address of this board", address.0);
        return Some(Reason::new(Name::StartError, message));
    }
    let message = format!("host port {} is taken; free it, then send the operation again", shown(port));
    Some(Reason::new(Name::PortInUse, message))
}
