//! The image that flies, on real Podman: what its name meant first and no other; loaded once more from the bundle when
//! Podman has lost or damaged it.
//!
//! Every test makes images of its own, whose content nothing else shares, and damages nothing but them.

#![allow(clippy::expect_used, missing_docs, reason = "a test says what it expects")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Board, at, bed_environment, podman, text, until};

/// Until the file is there, which the test makes when it has done what it does in between.
const WAIT: &str = "until [ -e /data/go ]; do sleep 0.05; done";

/// An archive `app.tar` of an image that says `word`, and its id. It is not aboard afterwards.
fn archive(board: &Board, file: &str, word: &str) -> String {
    let name = made(board, word);
    let path = board.path(file).display().to_string();
    podman(&["save", "--quiet", "--format", "docker-archive", "-o", &path, &name]);
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", &name]);
    podman(&["rmi", &name]);
    id
}

/// Makes an image that says `word` and returns its name; its layer is nobody else's.
fn made(board: &Board, word: &str) -> String {
    let root = board.path(&format!("root-{word}"));
    fs::create_dir_all(root.join("bin")).expect("a folder");
    let busybox =
        podman(&["image", "inspect", "--format", "{{index .GraphDriver.Data \"UpperDir\"}}", "localhost/busybox:1"]);
    fs::copy(Path::new(&busybox).join("bin/busybox"), root.join("bin/busybox")).expect("busybox");
    for applet in ["sh", "sleep", "cat"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    fs::write(root.join("word"), word).expect("written");
    fs::write(root.join("whose"), &board.tenant).expect("written");
    let tar = board.path(&format!("root-{word}.tar")).display().to_string();
    let status = Command::new("tar").args(["-C", &root.display().to_string(), "-cf", &tar, "."]).status();
    assert!(status.expect("tar runs").success());
    let name = format!("localhost/{}/made-{word}:1", board.tenant);
    podman(&["import", "--quiet", &tar, &name]);
    name
}

fn own(board: &Board) -> String {
    format!("localhost/{}/app:1", board.tenant)
}

/// A pod of the own image that says its word.
fn pod(id: &str, script: &str, further: &[&str]) -> String {
    support::pod(id, &id.to_lowercase(), &format!("{script}; cat /word"), further).replace("name: busybox", "name: app")
}

fn load(id: &str, file: &str) -> String {
    format!(
        "- id: {id}\n  type: dphi.space.cg2.docker.image.load\n  archive: {file}\n  image: {{name: app, tag: \"1\"}}\n"
    )
}

/// Nothing is made before its image is lost.
const IN_TURN: &str = "look_ahead: false";

/// Packs the tasks with the archives beside them and submits them.
fn submit(board: &Board, tasks: &[String]) -> String {
    let operation = board.path("operation.yaml");
    fs::write(&operation, format!("id: images\ntasks:\n{}", tasks.concat())).expect("written");
    board.submit_file(&operation, &["--images", &board.folder.path().display().to_string()])
}

/// Waits until the first pod lives, does something, and lets it end.
fn meanwhile(board: &mut Board, execution: &str, step: &str, act: impl FnOnce(&mut Board)) {
    board.reaches(&format!("{execution}.{step}.0"), "running");
    act(board);
    fs::write(board.volume().expect("a volume").join("go"), "").expect("written");
}

fn job<'a>(status: &'a Value, id: &str) -> &'a Value {
    let steps = at(status, "/steps").as_array().expect("steps");
    let step = steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id} in {status:#}"));
    at(step, "/jobs/0")
}

fn reason<'a>(status: &'a Value, id: &str) -> (&'a str, &'a str) {
    let reason = &job(status, id)["reason"];
    (reason["name"].as_str().unwrap_or_default(), reason["message"].as_str().unwrap_or_default())
}

fn said(board: &Board, execution: &str, step: &str) -> String {
    board.ask(&["logs", &format!("{execution}.{step}")])
}

fn reloads(board: &Board, execution: &str) -> usize {
    board.ask(&["history", execution]).matches("loaded again from the bundle, once").count()
}

fn remove(board: &Board) {
    until("the image to be free", || {
        let removed = Command::new("podman").envs(bed_environment()).args(["rmi", &own(board)]).output();
        removed.expect("podman runs").status.success().then_some(())
    });
}

#[test]
fn a_tag_that_is_moved_between_two_attempts_is_told_and_what_it_means_now_never_runs() {
    let mut board = Board::new();
    let (first, second) = (made(&board, "first"), made(&board, "second"));
    podman(&["tag", &first, &own(&board)]);
    let script = format!("echo run >> /data/runs; {WAIT}; false ||");
    let execution = submit(&board, &[pod("RUN", &format!("{script} exit 1"), &["retries: 2"])]);
    meanwhile(&mut board, &execution, "RUN", |board| {
        podman(&["tag", &second, &own(board)]);
        // What the name means is in the ledger.
        board.crash();
        board.start();
    });
    let status = board.ended(&execution);
    let (name, message) = reason(&status, "RUN");
    let id = |name: &str| podman(&["image", "inspect", "--format", "{{.Id}}", name]);
    assert_eq!(name, "image_changed", "{status:#}");
    for part in [own(&board), id(&first), id(&second), "send the operation again".to_owned()] {
        assert!(message.contains(&part), "{part} is not in: {message}");
    }
    assert_eq!(job(&status, "RUN")["attempt"], 2, "it is not tried again");
    assert_eq!(board.in_volume("runs").as_deref(), Some("run\n"), "only the first image ever ran");
}

#[test]
fn what_is_made_ahead_runs_what_its_name_meant_when_the_execution_met_it() {
    let mut board = Board::with("look_ahead: true");
    let (first, second) = (made(&board, "first"), made(&board, "second"));
    podman(&["tag", &first, &own(&board)]);
    let execution = submit(&board, &[pod("ONE", WAIT, &[]), pod("TWO", "true", &[])]);
    meanwhile(&mut board, &execution, "ONE", |board| {
        let made = || board.ask(&["history", &execution]).contains("prepared_ahead").then_some(());
        until("the container of the second step", made);
        podman(&["tag", &second, &own(board)]);
    });
    let status = board.ended(&execution);
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!(said(&board, &execution, "TWO"), "first");
    assert_eq!(job(&status, "TWO")["image"], job(&status, "ONE")["image"]);
}

#[test]
fn a_step_that_loads_the_name_anew_changes_what_runs() {
    let board = Board::new();
    let (first, second) = (archive(&board, "first.tar", "first"), archive(&board, "second.tar", "second"));
    let tasks =
        [load("LOAD", "first.tar"), pod("ONE", "true", &[]), load("AGAIN", "second.tar"), pod("TWO", "true", &[])];
    let execution = submit(&board, &tasks);
    let status = board.ended(&execution);
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!((said(&board, &execution, "ONE"), said(&board, &execution, "TWO")), ("first".into(), "second".into()));
    assert_eq!(
        (&job(&status, "ONE")["image"], &job(&status, "TWO")["image"]),
        (&first.as_str().into(), &second.into())
    );
    // Nobody calls it by a name any more.
    podman(&["rmi", &first]);
}

#[test]
fn an_image_of_the_bundle_that_is_removed_is_loaded_again_once() {
    let mut board = Board::with(IN_TURN);
    let id = archive(&board, "app.tar", "first");
    let waiting =
        |step: &str| pod(step, &format!("{WAIT}; rm /data/go"), &[]).replace("rm /data/go", "busybox rm /data/go");
    // The first pod is another image's: what a load has made is known before it runs.
    let tasks = [
        load("LOAD", "app.tar"),
        support::pod("FIRST", "first", &format!("{WAIT}; rm /data/go"), &[]),
        waiting("SECOND"),
        pod("THIRD", "true", &[]),
    ];
    let execution = submit(&board, &tasks);
    meanwhile(&mut board, &execution, "FIRST", |board| remove(board));
    meanwhile(&mut board, &execution, "SECOND", |board| {
        board.crash();
        podman(&["untag", &own(board), &own(board)]);
        board.start();
    });
    let status = board.ended(&execution);
    assert_eq!(said(&board, &execution, "SECOND"), "first");
    assert_eq!(job(&status, "SECOND")["image"], id, "the same image as before");
    let (name, message) = reason(&status, "THIRD");
    assert_eq!(name, "image_missing", "{status:#}");
    for part in [own(&board).as_str(), &id, "loaded again from images/app.tar of the bundle once already"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    assert_eq!(reloads(&board, &execution), 1);
    podman(&["rmi", "--ignore", &id]);
}

#[test]
fn an_image_that_did_not_come_with_the_bundle_and_is_removed_is_missing_and_said_to_have_been_there() {
    let mut board = Board::with(IN_TURN);
    let name = made(&board, "first");
    podman(&["tag", &name, &own(&board)]);
    let execution = submit(&board, &[pod("ONE", WAIT, &[]), pod("TWO", "true", &[])]);
    meanwhile(&mut board, &execution, "ONE", |board| drop(podman(&["untag", &own(board), &own(board)])));
    let status = board.ended(&execution);
    let (reason, message) = reason(&status, "TWO");
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", &name]);
    assert_eq!(reason, "image_missing", "{status:#}");
    for part in [own(&board), format!("with id {id}"), "it did not come with the bundle".to_owned()] {
        assert!(message.contains(&part), "{part} is not in: {message}");
    }
}

/// Takes the layer of the own image out of Podman's store, as a failing medium would; `whole` its folder, too.
fn damage(board: &Board, whole: bool) {
    let layer = podman(&["image", "inspect", "--format", "{{index .GraphDriver.Data \"UpperDir\"}}", &own(board)]);
    assert!(fs::read_to_string(Path::new(&layer).join("whose")).is_ok_and(|whose| whose == board.tenant), "not ours");
    let layer = Path::new(&layer);
    fs::remove_dir_all(if whole { layer.parent().expect("a folder") } else { layer }).expect("removed");
}

#[test]
fn a_damaged_image_of_the_bundle_is_loaded_again_once_also_for_pods_that_start_together() {
    let mut board = Board::with(IN_TURN);
    let id = archive(&board, "app.tar", "first");
    let group = |step: &str| pod(step, "true", &["merge: true"]);
    let tasks = [
        load("LOAD", "app.tar"),
        support::pod("FIRST", "first", &format!("{WAIT}; rm /data/go"), &[]),
        group("ONE"),
        group("TWO"),
        group("THREE"),
        support::pod("FOURTH", "fourth", &format!("{WAIT}; rm /data/go"), &[]),
        pod("LAST", "true", &[]),
    ];
    let execution = submit(&board, &tasks);
    meanwhile(&mut board, &execution, "FIRST", |board| damage(board, false));
    meanwhile(&mut board, &execution, "FOURTH", |board| damage(board, true));
    let status = board.ended(&execution);
    for step in ["ONE", "TWO", "THREE"] {
        assert_eq!(said(&board, &execution, step), "first", "{status:#}");
        assert_eq!(job(&status, step)["image"], id);
    }
    assert_eq!(reloads(&board, &execution), 1);
    let (name, message) = reason(&status, "LAST");
    assert_eq!(name, "image_damaged", "{status:#}");
    assert!(message.contains("loaded again from images/app.tar of the bundle once already"), "{message}");
    let log = fs::read_to_string(board.path("daemon.log")).expect("a log");
    assert_eq!(log.matches("loading it again, once").count(), 1, "{}", text(log.as_bytes()));
    podman(&["rmi", &own(&board)]);
}
