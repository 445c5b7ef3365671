//! Shell: builds the daemon from its settings, wires signals, runs it.
//!
//! Must not: do anything that `run`, `intake` or `server` should.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::{ConfigError, Loaded, Settings};
use crate::downlink::Outbox;
use crate::handle::{Handle, Input, QUEUE, Snapshot};
use crate::intake::Intake;
use crate::ledger::LedgerError;
use crate::plan::Instrument;
use crate::podman::leftovers::Leftover;
use crate::podman::orphans::Orphans;
use crate::podman::{Endpoint, Health, board, health};
use crate::run::{Loop, Parts, SHUTDOWN, chain};
use crate::server::{self, Desk};
use crate::systemd::Manager;

/// Read-only to whoever may enter the runtime directory.
const STATUS_MODE: u32 = 0o666;
/// Commands are for the daemon's user and its group.
const CONTROL_MODE: u32 = 0o660;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The ledger is another daemon's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A socket.
    #[error("failed to listen on {}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime or signals.
    #[error("failed to {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl DaemonError {
    /// Exit code: 2 configuration, 3 refused (in use), 1 a fault.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Ledger(_) => 3,
            Self::Socket { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => 3,
            Self::Socket { .. } | Self::System { .. } => 1,
        }
    }
}

fn system(doing: &'static str) -> impl Fn(std::io::Error) -> DaemonError {
    move |source| DaemonError::System { doing, source }
}

/// Runs the daemon until it is told to leave.
///
/// # Errors
/// When it cannot start. Everything that fails later is degraded operation, visible in its status.
pub fn run(config: Option<PathBuf>) -> Result<(), DaemonError> {
    let (loaded, trouble) = Loaded::for_start(config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let result = runtime.block_on(serve(loaded, trouble, config));
    runtime.shutdown_timeout(SHUTDOWN);
    result
}

async fn serve(loaded: Loaded, trouble: Option<String>, config: Option<PathBuf>) -> Result<(), DaemonError> {
    if let Some(why) = &trouble {
        tracing::error!(%why, "the configuration cannot be used");
    }
    let good = trouble.is_none();
    let settings = loaded.settings.clone();
    let clock = Clock::new(settings.time_scale);
    let (inbox, inputs) = mpsc::channel(QUEUE);
    let (snapshots, seen) = watch::channel(Arc::new(Snapshot::default()));
    let handle = Handle::new(inbox.clone(), seen);
    let settings = Arc::new(settings);
    let health = Health::default();
    let (settings_out, settings_in) = watch::channel(settings.clone());
    let (queries_out, queries_in) = watch::channel(None);
    let mut engine = Loop::new(Parts {
        clock,
        settings: settings_out,
        queries: queries_out,
        inbox: inputs,
        snapshots,
        handle: handle.clone(),
        health: health.clone(),
        manager: Manager::from_environment(),
        config_trouble: trouble,
    });
    engine.open()?;
    let intake = Intake::new(settings_in.clone(), handle.clone(), clock);
    let outbox = Outbox::new(&settings.state_dir);
    let desk = Desk {
        handle: handle.clone(),
        queries: queries_in.clone(),
        settings: settings_in.clone(),
        intake: intake.clone(),
        outbox,
    };
    // Before anybody can know that it runs: a signal that nobody handles would end it.
    forward_signals(inbox, config, settings.state_dir.clone())?;
    listen(&settings, &desk)?;
    if good {
        keep(&loaded, &settings.state_dir);
    }
    tokio::spawn(watch_uplink(intake));
    tokio::spawn(Orphans::new(settings_in.clone(), health.clone(), handle.clone(), queries_in).watch());
    tokio::spawn(board::warn(settings_in.clone()));
    tokio::spawn(health::watch(settings_in, health, handle));
    engine.run().await;
    for name in ["status.sock", "control.sock"] {
        // A socket that stays behind is replaced at the next start.
        let _ = std::fs::remove_file(settings.runtime_dir.join(name));
    }
    Ok(())
}

fn listen(settings: &Settings, desk: &Desk) -> Result<(), DaemonError> {
    let group = settings.control_group.as_deref();
    for (name, mode, group, router) in [
        ("status.sock", STATUS_MODE, None, server::reading()),
        ("control.sock", CONTROL_MODE, group, server::commanding()),
    ] {
        let path = settings.runtime_dir.join(name);
        let listener = server::bind(&path, mode, group).map_err(|source| DaemonError::Socket { path, source })?;
        tokio::spawn(server::serve(listener, router, desk.clone()));
    }
    Ok(())
}

/// Keeps a configuration that the daemon runs with for a start with one that cannot be used.
fn keep(loaded: &Loaded, state_dir: &Path) {
    if let Err(error) = loaded.keep(state_dir) {
        tracing::warn!(%error, "failed to keep a copy of the configuration; a start with a broken one needs it");
    }
}

/// Reads the configuration again.
fn reread(config: Option<&Path>, state_dir: &Path) -> Result<Box<Settings>, String> {
    let loaded = Loaded::read(config).map_err(|error| chain(&error))?;
    keep(&loaded, state_dir);
    Ok(Box::new(loaded.settings))
}

/// Signals become inputs of the loop, in the order in which they came.
fn forward_signals(inbox: mpsc::Sender<Input>, config: Option<PathBuf>, state_dir: PathBuf) -> Result<(), DaemonError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(system("handle signals"))?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let forward = move || {
        for signal in signals.forever() {
            let input = match signal {
                SIGHUP => Input::Reloaded(reread(config.as_deref(), &state_dir)),
                _ => Input::Shutdown,
            };
            if inbox.blocking_send(input).is_err() {
                return;
            }
        }
    };
    thread.spawn(forward).map(|_| ()).map_err(system("start a thread"))
}

async fn watch_uplink(intake: Intake) {
    const RETRY: Duration = Duration::from_secs(10);
    loop {
        match intake.watch().await {
            Ok(()) => tracing::warn!("the uplink directory was removed or moved; it is made again"),
            Err(error) => {
                tracing::error!(%error, "the uplink directory cannot be watched, will try again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// One diagnostic of `perigeed --check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it means for the daemon.
    pub grade: Grade,
    /// What was looked at and found.
    pub line: String,
}

/// What a diagnostic means for the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It keeps the daemon from nothing, and somebody should look at it.
    Note,
    /// It keeps the daemon from doing its work.
    Bad,
}

impl Diagnostic {
    fn judged(good: bool, line: String) -> Self {
        Self { grade: if good { Grade::Good } else { Grade::Bad }, line }
    }

    fn note(line: String) -> Self {
        Self { grade: Grade::Note, line }
    }
}

/// Looks at the configuration and its surroundings without starting anything.
///
/// # Errors
/// When the configuration itself cannot be used.
pub fn check(config: Option<&Path>) -> Result<Vec<Diagnostic>, DaemonError> {
    let settings = Settings::load(config)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("start the runtime"))?;
    let mut found = vec![Diagnostic::judged(true, "configuration: legal".to_owned())];
    for (key, folder) in [
        ("state_dir", &settings.state_dir),
        ("runtime_dir", &settings.runtime_dir),
        ("uplink_dir", &settings.uplink_dir),
    ] {
        found.push(writable(key, folder));
    }
    for (node, socket) in &settings.nodes {
        let looked = runtime.block_on(Endpoint::new(socket).version());
        found.push(match looked {
            Ok(version) => Diagnostic::judged(true, format!("node {node}: podman {version} answers")),
            Err(error) => Diagnostic::judged(false, format!("node {node}: {error}")),
        });
        if let Ok(helper) = runtime.block_on(Endpoint::new(socket).network_backend()) {
            let good = helper == "netavark";
            let advice = if good { "" } else { "; pods find each other by name only with netavark and aardvark-dns" };
            found.push(Diagnostic::judged(good, format!("node {node}: network back end {helper}{advice}")));
        }
    }
    found.extend(settings.fisheye.as_ref().map(|fisheye| instrument(&settings, fisheye, &runtime)));
    found.extend(left(&settings, &runtime));
    Ok(found)
}

/// What killed Podmans left on the board.
fn left(settings: &Settings, runtime: &tokio::runtime::Runtime) -> Vec<Diagnostic> {
    let (left, untold) = match runtime.block_on(board::look(&settings.nodes)) {
        Ok(found) => found,
        Err(error) => return vec![Diagnostic::note(format!("left over: cannot be told: {error}"))],
    };
    let hidden =
        format!("left over: of {untold} network namespaces it cannot be told, run this as root on the board itself");
    let mut found: Vec<Diagnostic> = left
        .into_iter()
        .map(|Leftover { what, remedy }| {
            Diagnostic::note(format!("left over: {what}, of no container; if nobody needs it: `{remedy}`"))
        })
        .chain((untold > 0).then(|| Diagnostic::note(hidden)))
        .collect();
    if found.is_empty() {
        found.push(Diagnostic::judged(true, "left over: nothing of containers that do not exist".to_owned()));
    }
    found
}

/// Whether the image of the instrument is where it will be wanted.
fn instrument(settings: &Settings, fisheye: &Instrument, runtime: &tokio::runtime::Runtime) -> Diagnostic {
    let node = fisheye.node.as_ref().unwrap_or(&settings.default_node);
    let what = format!("instruments.fisheye: image {} on node {node}", fisheye.image);
    let endpoint = settings.nodes.get(node).map(|socket| Endpoint::new(socket));
    match endpoint.map(|endpoint| runtime.block_on(endpoint.image_id(&fisheye.image))) {
        Some(Ok(Some(_))) => Diagnostic::judged(true, format!("{what}: aboard")),
        Some(Ok(None)) | None => Diagnostic::judged(false, format!("{what}: missing; load it")),
        Some(Err(error)) => Diagnostic::judged(false, format!("{what}: {error}")),
    }
}

/// Whether a folder can be written: as it is, or made below the nearest one that exists.
fn writable(key: &str, folder: &Path) -> Diagnostic {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let trial = existing.join(format!(".perigee-check-{}", std::process::id()));
    let written = std::fs::write(&trial, b"").and_then(|()| std::fs::remove_file(&trial));
    match written {
        Ok(()) => Diagnostic::judged(true, format!("{key}: {} can be written", folder.display())),
        Err(error) => Diagnostic::judged(false, format!("{key}: {} cannot be written: {error}", folder.display())),
    }
}
