//! Answers of Podman that are lost, late or nonsense: a real Podman behind a line that can be cut.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::line::{Fate, Line, lined};
use crate::support::{Board, at, pod, podman, until};
use crate::{nothing_left, outbox_is_complete, prompt_status, reason};

/// A board whose daemon talks to Podman over a line.
fn board() -> (Board, Line) {
    board_with("")
}

fn board_with(config: &str) -> (Board, Line) {
    let (mut board, line) = lined(config);
    board.start();
    (board, line)
}

/// Flies a short pod while one request meets a fate; it must run exactly once and succeed.
fn flies_once_though(request: &'static str, fate: Fate) {
    // Podman is asked to wait only for a process that lives, and only where that does not tell its end itself.
    let (config, then) = match request {
        "/wait" => ("exit_path: api", "; until [ -e /data/go ]; do sleep 0.1; done"),
        _ => ("", ""),
    };
    let (board, line) = board_with(config);
    line.next(request, fate);
    let id = board.submit(&pod("RUN", "p", &format!("echo x >> /data/starts; echo said{then}"), &[]));
    until(request, || line.met().then_some(()));
    if !then.is_empty() {
        std::fs::write(board.volume().expect("a volume").join("go"), "").expect("written");
    }
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

/// Starts the container of an execution without Podman's knowledge: what a Podman leaves that is killed between the two.
fn started_unnoticed(board: &Board, line: &Line, script: &str) -> Value {
    let tenant = format!("label=perigee.tenant={}", board.tenant);
    let blow = move || {
        let id = podman(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &tenant]);
        let started = Command::new("runc").args(["start", id.trim()]).status().expect("runc runs");
        assert!(started.success());
    };
    line.next("/start ", Fate::StruckBefore(Arc::new(blow)));
    let status = board.fly(&pod("RUN", "p", script, &[]));
    assert_eq!(at(&status, "/steps/0/jobs/0/state"), "failed", "{status:#}");
    assert_eq!(reason(&status, "/steps/0/jobs/0"), "lost", "{status:#}");
    assert_eq!(board.in_volume("starts").as_deref(), Some("x\n"), "{}", board.log());
    status
}

#[test]
fn process_that_podman_started_and_forgot_is_not_started_again_and_its_fate_is_not_known() {
    let (board, line) = board();
    // One that is over when Podman is asked: it has cleaned up, and the container looks as if it were new.
    started_unnoticed(&board, &line, "echo x >> /data/starts");
    std::fs::remove_file(board.volume().expect("a volume").join("starts")).expect("removed");
    // One that lives on: nothing of it may be left.
    let status = started_unnoticed(&board, &line, "echo x >> /data/starts; sleep 600");
    let id = at(&status, "/execution").as_str().expect("an id");
    outbox_is_complete(&board, id);
    nothing_left(&board, id);
}

/// What Podman says of a container for ever, whose layer went first when a removal was broken off.
const BLIND: &str = "HTTP/1.1 500 No\r\ncontent-type: application/json\r\ncontent-length: 48\r\n\r\n\
                     {\"cause\":\"layer not known\",\"message\":\"no layer\"}";
const BROKEN_OFF: &str = "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}";

#[test]
fn container_that_podman_cannot_look_at_any_more_is_removed_and_its_execution_ends() {
    let (board, line) = board();
    line.next_and_then("DELETE ", Fate::Answered(BROKEN_OFF), "/json ", BLIND);
    let id = board.submit(&pod("RUN", "p", "echo said; exit 4", &[]));
    let status = board.ended(&id);
    assert!(line.met(), "its removal was asked for");
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 4, "{status:#}");
    assert_eq!(board.ask(&["logs", &id]), "said");
    assert!(board.log().contains("removing a container that podman cannot look at"), "{}", board.log());
    nothing_left(&board, &id);
}

#[test]
fn container_that_podman_cannot_look_at_and_that_is_another_ledgers_stays() {
    let (board, line) = board();
    let tenant = format!("label=perigee.tenant={}", board.tenant);
    let network = board.network.clone();
    // The removal happens, and at once another daemon that flies the same bundle makes its own.
    let blow = move || {
        let own = podman(&["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", &tenant]);
        let (own, name) = own.trim().split_once(' ').expect("one container");
        let execution = podman(&["inspect", "--format", "{{index .Config.Labels \"perigee.execution\"}}", own]);
        podman(&["rm", "--force", "--time=0", own]);
        let labels = [
            "perigee=container".to_owned(),
            format!("perigee.execution={}", execution.trim()),
            "perigee.ledger=018f0000-0000-7000-8000-000000000001".to_owned(),
        ];
        let [kind, execution, ledger] = labels.each_ref().map(String::as_str);
        let labels = ["--label", kind, "--label", execution, "--label", ledger];
        let make = ["create", "--name", name, "--network", &network];
        podman(&[&make[..], &labels, &["localhost/busybox:1", "true"]].concat());
    };
    line.next_and_then("DELETE ", Fate::StruckBefore(Arc::new(blow)), "/json ", BLIND);
    let id = board.submit(&pod("RUN", "p", "echo said; exit 4", &[]));
    let status = board.ended(&id);
    assert!(line.struck(), "its removal was asked for");
    assert_eq!(at(&status, "/steps/0/jobs/0/exit_code"), 4, "{status:#}");
    assert_eq!(board.containers(&id).len(), 1, "{}", board.log());
    assert!(board.log().contains("of another ledger, which is left alone"), "{}", board.log());
}
