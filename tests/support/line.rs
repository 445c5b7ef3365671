//! A line between a daemon and Podman. Harm is done on it to one request: the next that holds some words, or the n-th.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test program includes this file and uses its part of it; a test says what it expects"
)]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::{Board, Podman};

/// Longest head of a request.
const HEAD: usize = 64 * 1024;

/// Strikes somebody.
pub type Blow = Arc<dyn Fn() + Send + Sync>;

/// What becomes of a request.
#[derive(Clone)]
pub enum Fate {
    /// It reaches Podman; its answer is lost.
    AnswerLost,
    /// The line breaks at once; Podman gets the request a while later.
    Late(Duration),
    /// It never reaches Podman; this is the answer.
    Answered(&'static str),
    /// Somebody is struck; the request never reaches Podman.
    StruckBefore(Blow),
    /// Somebody is struck; the request was on its way already.
    StruckAmid(Blow),
    /// Somebody is struck when Podman has answered; the answer is lost.
    StruckBehind(Blow),
}

/// The request that meets a fate.
enum Which {
    /// The next whose first line holds this text.
    Holding(&'static str),
    /// The one after so many others.
    After(usize),
}

type Rule = Arc<Mutex<Option<(Which, Fate)>>>;

/// A line to Podman.
pub struct Line {
    rule: Rule,
    struck: Arc<AtomicBool>,
    path: PathBuf,
}

impl Line {
    /// A line from a socket of its own to Podman's.
    pub fn between(path: PathBuf, podman: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("bound");
        let (rule, struck) = (Rule::default(), Arc::<AtomicBool>::default());
        let shared = (rule.clone(), struck.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let ((rule, struck), podman) = (shared.clone(), podman.clone());
                std::thread::spawn(move || carry(client, &podman, &rule, &struck));
            }
        });
        Self { rule, struck, path }
    }

    /// The next request that holds these words meets this fate.
    pub fn next(&self, request: &'static str, fate: Fate) {
        self.set(Some((Which::Holding(request), fate)));
    }

    /// The n-th request from now on, counted from 1, meets this fate.
    pub fn nth(&self, n: usize, fate: Fate) {
        self.set(Some((Which::After(n - 1), fate)));
    }

    /// Nothing happens to any request any more. Returns whether somebody was struck before.
    pub fn calm(&self) -> bool {
        let due = self.rule.lock().unwrap_or_else(PoisonError::into_inner).take();
        if due.is_none() {
            crate::support::until("the blow that is on its way", || self.struck().then_some(()));
        }
        due.is_none()
    }

    /// Whether the blow has fallen.
    pub fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    fn set(&self, rule: Option<(Which, Fate)>) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = rule;
    }

    /// Whether the request has come.
    pub fn met(&self) -> bool {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A board that is not started yet, with its Podman behind a line.
pub fn lined(config: &str) -> (Board, Line) {
    let mut board = Board::cold(config);
    board.podman = Podman::start(&board.path("real.sock"));
    let _ = std::fs::remove_file(board.path("podman.sock"));
    let line = Line::between(board.path("podman.sock"), board.path("real.sock"));
    (board, line)
}

/// The fate of a request with this first line.
fn judge(rule: &Rule, line: &str) -> Option<Fate> {
    let mut rule = rule.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it = match &mut *rule {
        None => false,
        Some((Which::Holding(words), _)) => line.contains(*words),
        Some((Which::After(0), _)) => true,
        Some((Which::After(others), _)) => {
            *others -= 1;
            false
        }
    };
    if is_it { rule.take().map(|(_, fate)| fate) } else { None }
}

/// The head of a request, with as much of its body as came along, and its first line. The connection carries this
/// request only: the next one comes with another.
fn head(client: &mut UnixStream) -> Option<(Vec<u8>, String)> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        let n = client.read(&mut piece).ok().filter(|n| *n > 0 && request.len() < HEAD)?;
        request.extend_from_slice(&piece[..n]);
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    request.splice(end..end, *b"\r\nConnection: close");
    Some((request, line))
}

fn carry(mut client: UnixStream, podman: &Path, rule: &Rule, struck: &AtomicBool) {
    let strike = |blow: Blow| {
        blow();
        struck.store(true, Ordering::SeqCst);
    };
    let Some((request, line)) = head(&mut client) else { return };
    let forward = |request: &[u8]| -> Option<UnixStream> {
        let mut server = UnixStream::connect(podman).ok()?;
        server.write_all(request).ok()?;
        Some(server)
    };
    // Podman has done it when it answers.
    let answered = |mut server: UnixStream| server.read(&mut [0; 1]);
    match judge(rule, &line) {
        None => {
            let Some(server) = forward(&request) else { return };
            join(client, server);
        }
        Some(Fate::AnswerLost) => {
            let _ = forward(&request).map(answered);
        }
        Some(Fate::Late(pause)) => {
            drop(client);
            std::thread::sleep(pause);
            let _ = forward(&request).map(answered);
        }
        Some(Fate::Answered(answer)) => {
            let _ = client.write_all(answer.as_bytes());
        }
        Some(Fate::StruckBefore(blow)) => strike(blow),
        Some(Fate::StruckAmid(blow)) => {
            let server = forward(&request);
            strike(blow);
            if let Some(server) = server {
                join(client, server);
            }
        }
        Some(Fate::StruckBehind(blow)) => {
            let _ = forward(&request).map(answered);
            strike(blow);
        }
    }
}

/// Carries what both say until Podman has said all.
fn join(mut client: UnixStream, mut server: UnixStream) {
    let (Ok(mut up), Ok(mut down)) = (client.try_clone(), server.try_clone()) else { return };
    let rest = std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = rest.join();
}
