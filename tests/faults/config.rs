//! A configuration that cannot be used: at the first start, at a later one, at a reload.

use std::fs;
use std::process::{Command, Output};

use crate::support::{Board, at, pod, podman, signal, text, until};
use crate::{prompt_status, troubled};

/// Adds lines to the configuration; returns the number of the first.
fn add(board: &Board, lines: &str) -> usize {
    board.write_config("");
    let path = board.path("perigee.yaml");
    let before = fs::read_to_string(&path).expect("a configuration");
    fs::write(&path, format!("{before}{lines}\n")).expect("written");
    before.lines().count() + 1
}

fn perigeed(board: &Board, further: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perigeed"));
    command.arg("--config").arg(board.path("perigee.yaml")).args(further);
    command.env("PERIGEE_LOG", "off").output().expect("perigeed runs")
}

/// What the status says of the configuration.
fn said(board: &Board) -> Option<String> {
    let status = prompt_status(board);
    let troubles = at(&status, "/troubles").as_array().expect("a list");
    let trouble = troubles.iter().find(|trouble| trouble["name"] == "config_invalid")?;
    Some(trouble["message"].as_str().expect("text").to_owned())
}

#[test]
fn start_with_a_broken_configuration_takes_the_last_good_one_and_says_so_until_it_is_mended() {
    let mut board = Board::with("limits: {pids: 77}");
    assert!(!troubled(&prompt_status(&board), "config_invalid"));
    assert_eq!(board.leave(), Some(0));

    let line = add(&board, "stop_grace: 5");
    board.start();
    let why = said(&board).expect("a trouble");
    let file = board.path("perigee.yaml").display().to_string();
    for words in [
        &format!("{file}:{line}: unknown field `stop_grace`, expected one of `state_dir`"),
        "the last good configuration holds",
        &board.path("state/config-last-good.json").display().to_string(),
        "systemctl reload perigeed",
    ] {
        assert!(why.contains(words), "{why} does not say {words}");
    }
    let id = board.submit(&pod("RUN", "p", "sleep 600", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let limit = podman(&["inspect", "--format", "{{.HostConfig.PidsLimit}}", &board.containers(&id)[0]]);
    assert_eq!(limit, "77", "not the last good one");
    board.ask(&["stop", "--now", &id]);

    // A crash does not make it worse, and --check is not content with it.
    board.crash();
    let checked = perigeed(&board, &["--check"]);
    assert_eq!(checked.status.code(), Some(2), "{}", text(&checked.stdout));
    assert!(text(&checked.stderr).contains("unknown field `stop_grace`"), "{}", text(&checked.stderr));
    board.start();
    assert_eq!(said(&board), Some(why));

    // Mended, broken in another way, mended again.
    for mend in [true, false, true] {
        add(&board, if mend { "" } else { "nodes: {}" });
        signal(board.pid(), "HUP");
        until("the trouble to change", || (said(&board).is_none() == mend).then_some(()));
    }
    board.crash();
    add(&board, "limits: {pids: 1}");
    board.start();
    assert!(said(&board).is_some_and(|why| why.contains("limits.pids: found 1, expected 8 to 1048576")));
}

#[test]
fn first_start_with_a_broken_configuration_ends_with_code_2() {
    let board = Board::cold("stop_grace: 5");
    let output = perigeed(&board, &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("perigee.yaml:") && said.contains("unknown field `stop_grace`"), "{said}");
    assert!(!board.path("state").exists(), "it has begun to work");
}
