//! One Podman endpoint: typed calls, each with a deadline, each with its own connection.
//!
//! `podman-api` does what it does right; the calls it gets wrong go through our own request (create, wait, logs,
//! remove, network with options). Its errors are turned into ours at once: cloning one of them aborts the process.
//! Must not: hold a connection when nothing runs.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::body::Incoming;
use podman_api::opts::{VolumeCreateOpts, VolumeListOpts};
use podman_api::{Id, Podman};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::accounting::Manager;
use super::inspected::{self, Inspected};
use crate::sequence::orphan::Listed;
use crate::wire;

/// The API version that 4.3.1 and 5.x both speak.
pub(super) const PREFIX: &str = "/v4.3.1/libpod";
/// Deadline of a call that only looks.
pub const LOOK: Duration = Duration::from_secs(10);
/// Deadline of a call that makes, starts or removes something; networks take Podman up to some seconds.
pub const WORK: Duration = Duration::from_secs(60);
/// Longest answer that is read.
pub(super) const ANSWER_BYTES: usize = 16 << 20;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Podman does not answer: the socket is missing, refused, broke, or the deadline passed.
    #[error("podman at {socket} does not answer: {why}")]
    Unreachable {
        /// The socket.
        socket: String,
        /// Why.
        why: String,
    },
    /// Podman answered that the thing is not there.
    #[error("{0}")]
    NotFound(String),
    /// Podman answered with an error.
    #[error("podman: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
}

impl ApiError {
    /// Whether the question may be asked again.
    #[must_use]
    pub fn unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// One Podman.
#[derive(Debug, Clone)]
pub struct Endpoint {
    socket: PathBuf,
    pub(super) podman: Podman,
    groups: Arc<OnceCell<Option<Manager>>>,
}

impl Endpoint {
    /// The Podman behind a Unix socket. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), podman: Podman::unix(socket), groups: Arc::default() }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn unreachable(&self, why: impl Into<String>) -> ApiError {
        ApiError::Unreachable { socket: self.socket.display().to_string(), why: why.into() }
    }

    pub(super) async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = podman_api::Result<T>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(deadline, call).await {
            Err(_) => Err(self.unreachable(format!("no answer within {} s", deadline.as_secs()))),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(podman_api::Error::Fault { code, message })) => Err(refused(code.as_u16(), message)),
            Ok(Err(other)) => Err(self.unreachable(chain(&other))),
        }
    }

    pub(super) async fn raw(
        &self,
        deadline: Duration,
        method: Method,
        path: &str,
        body: wire::Body,
    ) -> Result<Vec<u8>, ApiError> {
        let path = format!("{PREFIX}{path}");
        let exchange = wire::exchange(&self.socket, method, &path, body, ANSWER_BYTES);
        match tokio::time::timeout(deadline, exchange).await {
            Err(_) => Err(self.unreachable(format!("no answer within {} s", deadline.as_secs()))),
            Ok(Err(error)) => Err(self.unreachable(chain(&error))),
            Ok(Ok((status, body))) if status.is_success() || status.as_u16() == 304 => Ok(body),
            Ok(Ok((status, body))) => Err(refused(status.as_u16(), message(&body))),
        }
    }

    /// The version of Podman, or why it does not answer.
    ///
    /// # Errors
    /// When it does not answer, or is a version known not to work.
    pub async fn version(&self) -> Result<String, ApiError> {
        let info = self.call(LOOK, self.podman.ping()).await?;
        let version = info.libpod_api_version;
        if version.starts_with("5.0.") {
            let message = format!(
                "version {version} cannot be used (its inspect breaks version 4 clients); use 4.3 to 4.9, or 5.2 and later"
            );
            return Err(ApiError::Refused { status: 200, message });
        }
        Ok(version)
    }

    /// The name of the network back end.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn network_backend(&self) -> Result<String, ApiError> {
        let info: Value = self.parsed(&self.raw(LOOK, Method::GET, "/info", wire::empty()).await?)?;
        Ok(info.pointer("/host/networkBackend").and_then(Value::as_str).unwrap_or("unknown").to_owned())
    }

    /// Who makes its control groups, asked once; nobody where that takes rights that it lacks.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn group_manager(&self) -> Result<Option<Manager>, ApiError> {
        let ask = || async {
            let info: Value = self.parsed(&self.raw(LOOK, Method::GET, "/info", wire::empty()).await?)?;
            let rootless = info.pointer("/host/security/rootless").and_then(Value::as_bool).unwrap_or(true);
            Ok(match info.pointer("/host/cgroupManager").and_then(Value::as_str) {
                Some("cgroupfs") if !rootless => Some(Manager::Cgroupfs),
                Some("systemd") if !rootless => Some(Manager::Systemd),
                Some(_) | None => None,
            })
        };
        self.groups.get_or_try_init(ask).await.copied()
    }

    /// Makes sure that a network is there.
    ///
    /// # Errors
    /// When it is not and cannot be made.
    pub async fn ensure_network(&self, name: &str, isolated: bool) -> Result<(), ApiError> {
        if self.call(LOOK, self.podman.networks().get(Id::from(name)).exists()).await? {
            return Ok(());
        }
        let options = if isolated { serde_json::json!({"isolate": "true"}) } else { serde_json::json!({}) };
        let network = serde_json::json!({
            "name": name, "driver": "bridge", "dns_enabled": true, "labels": {"perigee": "network"}, "options": options,
        });
        match self.raw(WORK, Method::POST, "/networks/create", wire::full(network.to_string().into_bytes())).await {
            Err(ApiError::Refused { message, .. }) if message.contains("already") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Makes sure that a volume is there and says where it is mounted on this machine.
    ///
    /// # Errors
    /// When it is not and cannot be made.
    pub async fn ensure_volume(&self, name: &str, tenant: &str) -> Result<PathBuf, ApiError> {
        if let Some(mountpoint) = self.volume(name).await? {
            return Ok(mountpoint);
        }
        let labels = [("perigee", "volume"), ("perigee.tenant", tenant)];
        let opts = VolumeCreateOpts::builder().name(name).labels(labels).build();
        match self.call(WORK, self.podman.volumes().create(&opts)).await {
            Ok(_) | Err(ApiError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let missing = || ApiError::NotFound(format!("volume {name} could not be made"));
        self.volume(name).await?.ok_or_else(missing)
    }

    /// Where a volume is mounted on this machine, if it exists.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn volume(&self, name: &str) -> Result<Option<PathBuf>, ApiError> {
        match self.call(LOOK, self.podman.volumes().get(Id::from(name)).inspect()).await {
            Ok(volume) => Ok(Some(PathBuf::from(volume.mountpoint))),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every volume of ours: name, tenant.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn volumes(&self) -> Result<Vec<(String, String)>, ApiError> {
        let volumes = self.call(LOOK, self.podman.volumes().list(&VolumeListOpts::default())).await?;
        let tenant = |labels: &std::collections::HashMap<String, String>| labels.get("perigee.tenant").cloned();
        Ok(volumes.into_iter().filter_map(|volume| Some((volume.name.clone(), tenant(&volume.labels)?))).collect())
    }

    /// Makes a container and returns its id. A warning is a failure: Podman then left something out.
    ///
    /// # Errors
    /// When it cannot be made as described.
    pub async fn create(&self, specification: &Value) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
            warnings: Option<Vec<String>>,
        }
        let body = wire::full(specification.to_string().into_bytes());
        let answer = self.raw(WORK, Method::POST, "/containers/create", body).await?;
        let created: Created = self.parsed(&answer)?;
        let warnings = created.warnings.unwrap_or_default();
        if warnings.is_empty() {
            return Ok(created.id);
        }
        self.remove(&created.id).await?;
        Err(ApiError::Refused { status: 201, message: format!("warned: {}", warnings.join("; ")) })
    }

    /// Initialises a container: network, mounts, everything but the start of its process.
    ///
    /// # Errors
    /// When it cannot be initialised.
    pub async fn init(&self, id: &str) -> Result<(), ApiError> {
        self.raw(WORK, Method::POST, &format!("/containers/{id}/init"), wire::empty()).await.map(|_| ())
    }

    /// Starts a container; one that runs already stays as it is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self, id: &str) -> Result<(), ApiError> {
        self.raw(WORK, Method::POST, &format!("/containers/{id}/start"), wire::empty()).await.map(|_| ())
    }

    /// Freezes the processes of a container.
    ///
    /// # Errors
    /// When it does not run or cannot be frozen.
    pub async fn pause(&self, id: &str) -> Result<(), ApiError> {
        self.raw(WORK, Method::POST, &format!("/containers/{id}/pause"), wire::empty()).await.map(|_| ())
    }

    /// Thaws the processes of a container.
    ///
    /// # Errors
    /// When they are not frozen or cannot be thawed.
    pub async fn unpause(&self, id: &str) -> Result<(), ApiError> {
        self.raw(WORK, Method::POST, &format!("/containers/{id}/unpause"), wire::empty()).await.map(|_| ())
    }

    /// All containers with a label, whatever their state.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn labelled(&self, label: &str) -> Result<Vec<Listed>, ApiError> {
        let filters = wire::encoded(&serde_json::json!({"label": [label]}).to_string());
        let path = format!("/containers/json?all=true&filters={filters}");
        let found: Vec<inspected::Entry> = self.parsed(&self.raw(LOOK, Method::GET, &path, wire::empty()).await?)?;
        Ok(found.into_iter().map(Listed::from).collect())
    }

    /// Sends a signal to the process of a container. One that does not run is left alone.
    ///
    /// # Errors
    /// When Podman does not answer or has another objection.
    pub async fn signal(&self, id: &str, signal: &str) -> Result<(), ApiError> {
        match self.call(LOOK, self.podman.containers().get(id).send_signal(signal)).await {
            Err(ApiError::Refused { message, .. }) if message.contains("can only kill running containers") => Ok(()),
            Err(ApiError::NotFound(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a container is, by name or id.
    ///
    /// # Errors
    /// When Podman does not answer or does not have it.
    pub async fn inspect(&self, id: &str) -> Result<Inspected, ApiError> {
        self.parsed(&self.raw(LOOK, Method::GET, &format!("/containers/{id}/json"), wire::empty()).await?)
    }

    /// The same, whole.
    ///
    /// # Errors
    /// As [`Self::inspect`].
    pub async fn inspect_whole(&self, id: &str) -> Result<Value, ApiError> {
        self.parsed(&self.raw(LOOK, Method::GET, &format!("/containers/{id}/json"), wire::empty()).await?)
    }

    /// Returns when a container has ended or is gone, or after `deadline`. Only inspect says which.
    ///
    /// # Errors
    /// When Podman breaks the connection.
    pub async fn wait(&self, id: &str, deadline: Duration) -> Result<(), ApiError> {
        let path = format!("{PREFIX}/containers/{id}/wait?condition=exited&condition=stopped&interval=100ms");
        let exchange = wire::exchange(&self.socket, Method::POST, &path, wire::empty(), ANSWER_BYTES);
        match tokio::time::timeout(deadline, exchange).await {
            Err(_) | Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.unreachable(chain(&error))),
        }
    }

    /// The console output of a container as multiplexed frames.
    ///
    /// # Errors
    /// When Podman does not answer or has none.
    pub async fn logs(&self, id: &str) -> Result<Incoming, ApiError> {
        let path = format!("{PREFIX}/containers/{id}/logs?stdout=true&stderr=true");
        match tokio::time::timeout(LOOK, wire::send(&self.socket, Method::GET, &path, wire::empty())).await {
            Err(_) => Err(self.unreachable(format!("no answer within {} s", LOOK.as_secs()))),
            Ok(Err(error)) => Err(self.unreachable(chain(&error))),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(answer.into_body()),
            Ok(Ok(answer)) => {
                let status = answer.status().as_u16();
                let body = tokio::time::timeout(LOOK, wire::collect(answer.into_body(), ANSWER_BYTES)).await;
                Err(refused(status, body.ok().and_then(Result::ok).map(|body| message(&body)).unwrap_or_default()))
            }
        }
    }

    /// Kills and removes a container; one that is not there is as good as removed. Named volumes stay.
    ///
    /// # Errors
    /// When Podman does not answer or cannot.
    pub async fn remove(&self, id: &str) -> Result<(), ApiError> {
        let path = format!("/containers/{id}?force=true&timeout=0&v=true&ignore=true");
        match self.raw(WORK, Method::DELETE, &path, wire::empty()).await {
            Err(ApiError::NotFound(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn parsed<T: for<'de> Deserialize<'de>>(&self, answer: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(answer)
            .map_err(|error| self.unreachable(format!("an answer that cannot be read: {error}")))
    }
}

pub(super) fn refused(status: u16, message: String) -> ApiError {
    if status == 404 { ApiError::NotFound(message) } else { ApiError::Refused { status, message } }
}

pub(super) fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fault {
        message: String,
    }
    serde_json::from_slice::<Fault>(body)
        .map_or_else(|_| String::from_utf8_lossy(body).trim().to_owned(), |fault| fault.message)
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
