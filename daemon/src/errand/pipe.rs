//! A body that a blocking thread writes while a request sends it: never the whole of it in memory.
//!
//! Must not: buffer more than a few pieces.

use std::io::{self, Write};

use futures_util::stream;
use hyper::body::Bytes;
use tokio::sync::mpsc;

use crate::wire;

/// Pieces on their way at once, of at most `PIECE_BYTES` each.
const PIECES: usize = 8;
const PIECE_BYTES: usize = 64 * 1024;

/// The end that is written.
#[derive(Debug)]
pub(super) struct Pipe(mpsc::Sender<io::Result<Bytes>>);

/// A pipe and the body that comes out of it. The writer fails when the request is gone.
pub(super) fn pipe() -> (Pipe, wire::Body) {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
    (Pipe(sender), wire::streamed(pieces))
}

impl Pipe {
    /// Breaks the request off: what was sent so far must not be taken for the whole.
    pub(super) fn break_off(&self) {
        // A request that is gone needs no breaking off.
        let _ = self.0.blocking_send(Err(io::ErrorKind::InvalidData.into()));
    }
}

impl Write for &Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe)).map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
