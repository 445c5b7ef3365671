//! What the tool says and with which code it exits when something is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{Board, at, pod, text, until};
use crate::{refuses, timed};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

#[test]
fn unknown_short_and_ambiguous_ids_are_told_apart() {
    let board = Board::new();
    let hold = |n: u32| {
        let bundle = board.path(&format!("{n}.packed")).display().to_string();
        let operation = board.path(&format!("{n}.yaml"));
        fs::write(&operation, format!("id: test\ntasks:\n{}", pod("RUN", "p", "true", &[]))).expect("operation");
        let id = format!("0189aaaa-0000-7000-8000-00000000000{n}");
        let operation = operation.display().to_string();
        board.ask(&["pack", &operation, "--tenant", &board.tenant, "--execution", &id, "-o", &bundle]);
        board.ask(&["submit", "--hold", &bundle])
    };
    let (first, _) = (hold(1), hold(2));
    for command in ["status", "history", "logs", "wait", "stop", "release"] {
        refuses(&board.tool(&[command, UNKNOWN]), 4, &[UNKNOWN]);
        refuses(&board.tool(&[command, "0189aa"]), 2, &["0189aa", "several"]);
        refuses(&board.tool(&[command, "0189a"]), 2, &["0189a", "6"]);
        refuses(&board.tool(&[command, &format!("{first}.NOPE")]), 4, &["NOPE"]);
        refuses(&board.tool(&[command, &format!("{first}.RUN.7")]), 4, &["RUN.7"]);
    }
    refuses(&board.tool(&["downlink", "ack", UNKNOWN]), 4, &[UNKNOWN]);
    assert_eq!(at(&board.status(&first), "/state"), "held");
}

#[test]
fn wrong_usage_exits_2() {
    let board = Board::cold("");
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["status", "--nope"],
        &["stop"],
        &["wait"],
        &["-o", "xml", "status"],
        &["submit"],
        &["pack", "operation.yaml"],
    ] {
        let output = board.tool(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn daemon_that_does_not_run_is_unreachable_for_every_command() {
    let mut board = Board::cold("");
    let bundle = board.pack(&pod("RUN", "p", "true", &[])).display().to_string();
    let every = |board: &Board| {
        for arguments in [
            &["status"][..],
            &["list"],
            &["nodes"],
            &["images"],
            &["volumes"],
            &["downlink"],
            &["events"],
            &["wait", UNKNOWN],
            &["logs", UNKNOWN],
            &["stop", UNKNOWN],
            &["release", UNKNOWN],
            &["downlink", "ack", UNKNOWN],
            &["submit", &bundle],
        ] {
            refuses(&board.tool(arguments), 7, &["control.sock", "perigeed"]);
        }
    };
    every(&board);
    // A crashed daemon leaves its sockets behind: nobody listens, which is the same.
    board.start();
    board.crash();
    assert!(board.path("run/control.sock").exists());
    every(&board);
}

#[test]
fn submit_of_a_file_that_is_not_there_names_it() {
    let board = Board::new();
    refuses(&board.tool(&["submit", "/nowhere/a.bundle"]), 2, &["/nowhere/a.bundle"]);
    refuses(&board.tool(&["submit", "/tmp"]), 2, &["/tmp"]);
}

#[test]
fn wait_tells_reached_from_timed_out_from_unreachable() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "p", "sleep 600", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let (output, took) = timed(|| board.tool(&["wait", &id, "--timeout", "1s"]));
    refuses(&output, 5, &["timed out"]);
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "a wait of 1 s took {took:?}");
    let (output, took) = timed(|| board.tool(&["wait", &id, "--timeout", "0"]));
    refuses(&output, 5, &["timed out"]);
    assert!(took < Duration::from_secs(1), "a look took {took:?}");
    let reached = board.tool(&["wait", &id, "--for", "running", "--timeout", "0"]);
    assert_eq!(reached.status.code(), Some(0), "{}", text(&reached.stderr));

    board.ask(&["stop", "--now", &id]);
    board.ended(&id);
    let (output, took) = timed(|| board.tool(&["wait", &id, "--for", "succeeded", "--timeout", "60s"]));
    refuses(&output, 6, &["cannot be reached"]);
    assert!(took < Duration::from_secs(2), "what is out of reach took {took:?}");
    refuses(&board.tool(&["wait", &id, "--for", "nonsense"]), 2, &["nonsense"]);
    refuses(&board.tool(&["wait", &id, "--timeout", "soon"]), 2, &["soon"]);
    refuses(&board.tool(&["stop", &id]), 3, &["ended"]);
    refuses(&board.tool(&["release", &id]), 3, &["ended"]);
}

/// Open connections to the control socket.
fn connections(board: &Board) -> usize {
    let socket = board.path("run/control.sock").display().to_string();
    let table = fs::read_to_string("/proc/net/unix").expect("a table");
    // Flags 00010000: it listens.
    table.lines().filter(|line| line.ends_with(&socket) && !line.contains(" 00010000 ")).count()
}

#[test]
fn wait_hears_that_the_daemon_went_away() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", "sleep 600", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let waiting = tool_of(&board, "root", &["wait", &id]).spawn().expect("perigee runs");
    // The question is on its way when the daemon has a connection that outlives a look.
    until("the wait to be asked", || connections(&board).gt(&0).then_some(()));
    board.crash();
    let output = waiting.wait_with_output().expect("output");
    refuses(&output, 7, &["daemon"]);
    board.start();
    board.ask(&["stop", "--now", &id]);
    board.ended(&id);
}

/// The tool, run by a user; a copy of it where that user may read it.
fn tool_of(board: &Board, user: &str, arguments: &[&str]) -> Command {
    let copy = board.path("perigee");
    if !copy.exists() {
        fs::copy(env!("CARGO_BIN_EXE_perigee"), &copy).expect("a copy of the tool");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", if user == "root" { "root" } else { "nogroup" }, "--clear-groups"]);
    command.arg(copy).arg("--socket").arg(board.path("run/control.sock")).args(arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

#[test]
fn user_without_permission_may_ask_and_may_not_command() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "p", "true", &[]));
    board.ended(&id);
    let bundle = board.pack(&pod("RUN", "p", "true", &[])).display().to_string();
    // The folder of the test is root's alone: let everybody pass, but not into the control socket.
    fs::set_permissions(board.folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let nobody =
        |arguments: &[&str]| -> Output { tool_of(&board, "nobody", arguments).output().expect("setpriv runs") };
    for arguments in [&["stop", &id][..], &["release", &id], &["submit", &bundle], &["downlink", "ack", &id]] {
        refuses(&nobody(arguments), 3, &["control.sock", "permi"]);
    }
    let known = board.json(&["list"]);
    assert_eq!(known["executions"].as_array().map(Vec::len), Some(1), "nothing was submitted: {known:#}");
    for arguments in [&["status"][..], &["status", &id], &["list"], &["history", &id], &["nodes"], &["downlink"]] {
        let output = nobody(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn errors_are_one_line_and_the_cause_comes_with_v() {
    let board = Board::cold("");
    refuses(&board.tool(&["status"]), 7, &["control.sock"]);
    let said = text(&board.tool(&["-v", "status"]).stderr);
    assert!(said.lines().nth(1).is_some_and(|line| line.starts_with("perigee: cause: ")), "{said}");
}
