//! Talks to the daemon over its sockets.

use std::path::{Path, PathBuf};

use futures_util::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::exit::{Exit, Failed};
use crate::reason::Reason;
use crate::wire::{self, WireError};

const DEFAULT_SOCKET: &str = "/run/perigee/control.sock";
const STATUS_SOCKET: &str = "status.sock";
/// Longest answer that is read at once.
const ANSWER_BYTES: usize = 256 << 20;

/// A way to the daemon.
pub(super) struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// For a socket, or the default one.
    pub(super) fn new(socket: Option<PathBuf>) -> Result<Self, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failed::because(Exit::Fault, "failed to start", &error))?;
        Ok(Self { socket: socket.unwrap_or_else(|| DEFAULT_SOCKET.into()), runtime })
    }

    /// Runs asynchronous work.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Asks a question; falls back to the status socket beside the control socket.
    pub(super) async fn open(&self, path: &str) -> Result<Response<Incoming>, Failed> {
        let answer = match wire::send(&self.socket, Method::GET, path, wire::empty()).await {
            Err(WireError::Connect { source, .. }) => {
                let other = self.socket.with_file_name(STATUS_SOCKET);
                let answer = wire::send(&other, Method::GET, path, wire::empty()).await;
                answer.map_err(|_| unreachable(&self.socket, &source))
            }
            other => other.map_err(|error| broken(&error)),
        }?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = wire::collect(answer.into_body(), ANSWER_BYTES).await.map_err(|error| broken(&error))?;
        Err(refused(status, &body))
    }

    /// Asks a question and reads the JSON answer.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.block_on(async {
            let answer = self.open(path).await?;
            let body = wire::collect(answer.into_body(), ANSWER_BYTES).await.map_err(|error| broken(&error))?;
            parsed(&body)
        })
    }

    /// Asks a question and reads the answer as text.
    pub(super) fn text(&self, path: &str) -> Result<String, Failed> {
        self.block_on(async {
            let answer = self.open(path).await?;
            let body = wire::collect(answer.into_body(), ANSWER_BYTES).await.map_err(|error| broken(&error))?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        })
    }

    /// Commands; only the control socket takes that.
    pub(super) fn post(&self, path: &str, body: wire::Body) -> Result<(StatusCode, Vec<u8>), Failed> {
        self.block_on(async {
            match wire::exchange(&self.socket, Method::POST, path, body, ANSWER_BYTES).await {
                Err(WireError::Connect { source, .. }) => Err(unreachable(&self.socket, &source)),
                other => other.map_err(|error| broken(&error)),
            }
        })
    }
}

/// The pieces of an answer's body.
pub(super) fn pieces(answer: Response<Incoming>) -> impl Stream<Item = Result<Bytes, Failed>> {
    answer.into_body().into_data_stream().map(|piece| {
        piece.map_err(|error| Failed::because(Exit::Unreachable, "the daemon broke off its answer", &error))
    })
}

pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| {
        Failed::because(Exit::Fault, "the daemon's answer cannot be read; do tool and daemon have one version?", &error)
    })
}

fn unreachable(socket: &Path, source: &std::io::Error) -> Failed {
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        let message = format!("not permitted to use {}; ask for membership in the control group", socket.display());
        return Failed::because(Exit::Refused, message, source);
    }
    let message = format!("the daemon cannot be reached at {} ({source}); is perigeed running?", socket.display());
    Failed::because(Exit::Unreachable, message, source)
}

fn broken(error: &WireError) -> Failed {
    Failed::because(Exit::Unreachable, "the daemon broke off its answer", error)
}

/// The tool's exit code for an error answer.
pub(super) fn refused(status: StatusCode, body: &[u8]) -> Failed {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: Reason,
    }
    let exit = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Exit::Bad,
        StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => Exit::Refused,
        StatusCode::NOT_FOUND => Exit::NotFound,
        _ => Exit::Fault,
    };
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => Failed::new(exit, error.message),
        Err(_) => Failed::new(exit, format!("the daemon answered {status}: {}", String::from_utf8_lossy(body).trim())),
    }
}
