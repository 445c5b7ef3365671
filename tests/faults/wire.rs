//! Answers of Podman that are lost, late or nonsense: a real Podman behind a line that can be cut.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::{Board, Podman, at, pod, until};
use crate::{nothing_left, outbox_is_complete, prompt_status};

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It reaches Podman; its answer is lost.
    AnswerLost,
    /// The line breaks at once; Podman gets the request a while later.
    Late(Duration),
    /// It never reaches Podman; this is the answer.
    Answered(&'static str),
}

/// The next request whose first line holds this text, and its fate.
type Rule = Arc<Mutex<Option<(&'static str, Fate)>>>;

/// A line to Podman.
struct Line {
    rule: Rule,
    path: PathBuf,
}

impl Line {
    fn between(path: PathBuf, podman: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("bound");
        let rule = Rule::default();
        let shared = rule.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rule, podman) = (shared.clone(), podman.clone());
                std::thread::spawn(move || carry(client, &podman, &rule));
            }
        });
        Self { rule, path }
    }

    fn next(&self, request: &'static str, fate: Fate) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some((request, fate));
    }

    /// Whether the request has come.
    fn met(&self) -> bool {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Carries one connection. Requests of the daemon fit into one piece: head, then a short body.
fn carry(mut client: UnixStream, podman: &PathBuf, rule: &Rule) {
    let mut request = vec![0; 64 * 1024];
    let Ok(n) = client.read(&mut request) else { return };
    request.truncate(n);
    let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    let fate = {
        let mut rule = rule.lock().unwrap_or_else(PoisonError::into_inner);
        if rule.as_ref().is_some_and(|(words, _)| line.contains(words)) {
            rule.take().map(|(_, fate)| fate)
        } else {
            None
        }
    };
    let forward = |request: &[u8]| -> Option<UnixStream> {
        let mut server = UnixStream::connect(podman).ok()?;
        server.write_all(request).ok()?;
        Some(server)
    };
    match fate {
        None => {
            let Some(mut server) = forward(&request) else { return };
            let (Ok(mut up), Ok(mut down)) = (client.try_clone(), server.try_clone()) else { return };
            let rest = std::thread::spawn(move || {
                let _ = std::io::copy(&mut up, &mut down);
                let _ = down.shutdown(Shutdown::Write);
            });
            let _ = std::io::copy(&mut server, &mut client);
            let _ = client.shutdown(Shutdown::Both);
            let _ = rest.join();
        }
        Some(Fate::AnswerLost) => {
            // Podman has done it when it answers; the answer goes no further.
            let Some(mut server) = forward(&request) else { return };
            let _ = server.read(&mut [0; 1]);
        }
        Some(Fate::Late(pause)) => {
            drop(client);
            std::thread::sleep(pause);
            if let Some(mut server) = forward(&request) {
                let _ = server.read(&mut [0; 1]);
            }
        }
        Some(Fate::Answered(answer)) => {
            let _ = client.write_all(answer.as_bytes());
        }
    }
}

/// A board whose daemon talks to Podman over a line.
fn board() -> (Board, Line) {
    let mut board = Board::cold("");
    board.podman = Podman::start(&board.path("real.sock"));
    let _ = std::fs::remove_file(board.path("podman.sock"));
    let line = Line::between(board.path("podman.sock"), board.path("real.sock"));
    board.start();
    (board, line)
}

/// Flies a short pod while one request meets a fate; it must run exactly once and succeed.
fn flies_once_though(request: &'static str, fate: Fate) {
    let (board, line) = board();
    line.next(request, fate);
    let id = board.submit(&pod("RUN", "p", "echo x >> /data/starts; echo said", &[]));
    until(request, || line.met().then_some(()));
    prompt_status(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "succeeded", "{request}: {status:#}\n{}", board.log());
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"), "{request}");
    assert_eq!(board.ask(&["logs", &id]), "said", "{request}");
    outbox_is_complete(&board, &id);
    nothing_left(&board, &id);
    until("the trouble to go", || (at(&prompt_status(&board), "/health") == "ok").then_some(()));
}

#[test]
fn lost_answer_to_any_request_changes_nothing() {
    std::thread::scope(|scope| {
        for requests in
            [["/images/", "/containers/create", "/init", "/start "], ["/json ", "/wait", "/logs", "DELETE "]]
        {
            scope.spawn(move || requests.map(|request| flies_once_though(request, Fate::AnswerLost)));
        }
    });
}

#[test]
fn request_that_reaches_podman_late_makes_nothing_happen_twice() {
    const LATE: Fate = Fate::Late(Duration::from_millis(900));
    std::thread::scope(|scope| {
        for requests in [["/containers/create", "/init"], ["/start", "DELETE "]] {
            scope.spawn(move || requests.map(|request| flies_once_though(request, LATE)));
        }
    });
}

#[test]
fn nonsense_of_podman_is_no_answer_and_is_asked_again() {
    const NONSENSE: [&str; 4] = [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"Id\": 5}",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"Id\": \"x",
        "SMTP ready\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n[[[[",
    ];
    std::thread::scope(|scope| {
        for answers in [&NONSENSE[..2], &NONSENSE[2..]] {
            scope.spawn(move || answers.iter().for_each(|answer| flies_once_though("/json ", Fate::Answered(answer))));
        }
    });
}

#[test]
fn nonsense_at_the_creation_of_a_container_leaves_none_behind() {
    let (board, line) = board();
    line.next("/containers/create", Fate::Answered("HTTP/1.1 500 No\r\ncontent-length: 7\r\n\r\n<html/>"));
    let id = board.submit(&pod("RUN", "p", "echo x >> /data/starts", &[]));
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "failed");
    assert_eq!(at(&status, "/steps/0/reason/name"), "start_error");
    assert!(at(&status, "/steps/0/message").as_str().is_some_and(|said| said.contains("<html/>")), "{status:#}");
    nothing_left(&board, &id);
}
