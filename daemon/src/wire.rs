//! Shell: HTTP/1.1 requests over a Unix socket, one connection each; used towards Podman and by the tool.
//!
//! Must not: know what is asked.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use futures_util::Stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nobody listens.
    #[error("failed to connect to {socket}")]
    Connect {
        /// The socket.
        socket: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The exchange broke.
    #[error("the connection to {socket} broke")]
    Exchange {
        /// The socket.
        socket: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The request cannot be expressed.
    #[error("`{0}` is not a legal request")]
    Request(String),
    /// An answer longer than is sane.
    #[error("the answer is longer than {0} bytes")]
    Long(usize),
}

/// A request body.
pub type Body = BoxBody<Bytes, io::Error>;

fn never(never: Infallible) -> io::Error {
    match never {}
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(never).boxed()
}

/// A body at hand.
#[must_use]
pub fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(never).boxed()
}

/// A body that comes in pieces.
pub fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static) -> Body {
    StreamBody::new(futures_util::StreamExt::map(pieces, |piece| piece.map(Frame::data))).boxed()
}

/// Sends one request and returns the answer's head; its body is read by the caller.
///
/// # Errors
/// When nobody listens or the exchange breaks. An HTTP error status is an answer, not an error.
pub async fn send(socket: &Path, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, WireError> {
    send_as(socket, method, path, "application/json", body).await
}

/// The same with a body of another type.
///
/// # Errors
/// As [`send`].
pub async fn send_as(
    socket: &Path,
    method: Method,
    path: &str,
    content_type: &str,
    body: Body,
) -> Result<Response<Incoming>, WireError> {
    let name = || socket.display().to_string();
    let stream = UnixStream::connect(socket).await.map_err(|source| WireError::Connect { socket: name(), source })?;
    let broken = |source| WireError::Exchange { socket: name(), source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "connection ended");
        }
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", content_type)
        .body(body)
        .map_err(|_| WireError::Request(path.to_owned()))?;
    sender.send_request(request).await.map_err(broken)
}

/// Reads an answer's body to its end, at most `limit` bytes.
///
/// # Errors
/// When it breaks or is too long.
pub async fn collect(mut body: Incoming, limit: usize) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| WireError::Exchange { socket: "the socket".to_owned(), source })?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if bytes.len() > limit {
            return Err(WireError::Long(limit));
        }
    }
    Ok(bytes)
}

/// Sends one request and reads the whole answer, at most `limit` bytes.
///
/// # Errors
/// As [`send`] and [`collect`].
pub async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Body,
    limit: usize,
) -> Result<(StatusCode, Vec<u8>), WireError> {
    let answer = send(socket, method, path, body).await?;
    let status = answer.status();
    Ok((status, collect(answer.into_body(), limit).await?))
}

/// Percent-encodes a query value.
#[must_use]
pub fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
