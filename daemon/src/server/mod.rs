//! Shell: HTTP + JSON over two Unix sockets. `status.sock` only reads; `control.sock` reads and commands.
//!
//! Answers come from snapshots and committed records: reading can neither block nor change the engine.
//! Must not: decide; verbs become events.

mod answer;
mod commands;
mod events;
mod id;
mod lists;
mod logs;
mod queries;
mod wait;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
pub use queries::DaemonStatus;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::config::Settings;
use crate::downlink::Outbox;
use crate::handle::Handle;
use crate::intake::Intake;
use crate::ledger::Queries;
use crate::reason::{Name, Reason};
use crate::server::answer::Failure;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The way to the loop.
    pub handle: Handle,
    /// The ledger's queries, once it is open.
    pub queries: watch::Receiver<Option<Queries>>,
    /// The configuration.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Where bundles go.
    pub intake: Intake,
    /// Where results wait.
    pub outbox: Outbox,
}

impl Desk {
    /// The ledger's queries, once it is open.
    fn queries(&self) -> Option<Queries> {
        self.queries.borrow().clone()
    }

    /// The ledger's queries, for answers that cannot be given without.
    fn open_queries(&self) -> Result<Queries, Failure> {
        let closed = || Reason::new(Name::LedgerUnavailable, "the ledger is not open; `perigee status` says why");
        self.queries().ok_or_else(|| Failure::unavailable(closed()))
    }
}

/// Paths that only read.
pub fn reading() -> Router<Desk> {
    Router::new()
        .route("/v1/status", get(queries::status))
        .route("/v1/executions", get(lists::list))
        .route("/v1/executions/{id}", get(queries::show))
        .route("/v1/executions/{id}/history", get(queries::history))
        .route("/v1/executions/{id}/logs", get(logs::logs))
        .route("/v1/logs", get(logs::many))
        .route("/v1/wait", get(wait::wait))
        .route("/v1/digest", get(lists::digest))
        .route("/metrics", get(lists::metrics))
        .route("/v1/events", get(events::events))
        .route("/v1/nodes", get(queries::nodes))
        .route("/v1/images", get(queries::images))
        .route("/v1/volumes", get(queries::volumes))
        .route("/v1/downlinks", get(queries::downlinks))
        .fallback(answer::no_such_path)
}

/// Paths that command, besides those that read.
pub fn commanding() -> Router<Desk> {
    reading()
        .route("/v1/bundles", post(commands::submit).layer(DefaultBodyLimit::disable()))
        .route("/v1/executions/{id}/{verb}", post(commands::verb))
        .route("/v1/downlinks/{id}/ack", post(commands::acknowledge))
}

/// Binds a socket with a file mode. A stale one is replaced; one that answers is not.
///
/// # Errors
/// When the folder cannot be written or another daemon listens there.
pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> io::Result<UnixListener> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Some(name) = group {
        let group = nix::unistd::Group::from_name(name)?;
        let group = group.ok_or_else(|| io::Error::other(format!("there is no group `{name}` (control_group)")))?;
        nix::unistd::chown(path, None, Some(group.gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Serves a router on a socket for ever.
pub async fn serve(listener: UnixListener, router: Router<Desk>, desk: Desk) {
    if let Err(error) = axum::serve(listener, router.with_state(desk)).await {
        tracing::error!(%error, "a socket stopped serving");
    }
}
