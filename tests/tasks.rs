//! Every documented task type besides pod.run, on real Podman; the examples; and what a volume, a Dockerfile or an archive
//! can do wrong.

#![allow(clippy::expect_used, missing_docs, reason = "a test says what it expects")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Board, at, bed_environment, listed, pod, podman, text, until};

const TYPE: &str = "dphi.space.cg2";

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(path)
}

fn bed(path: &str) -> PathBuf {
    let [(_, configuration), _] = bed_environment();
    configuration.parent().expect("the bed").join(path)
}

fn started(config: &str) -> Board {
    Board::with(config)
}

/// A task on the volume `payload` with further keys, whose failure stops nothing.
fn task(id: &str, kind: &str, further: &str) -> String {
    format!("- id: {id}\n  type: {TYPE}.{kind}\n  on_failure: continue\n  {}\n", further.replace("; ", "\n  "))
}

fn step<'a>(status: &'a Value, id: &str) -> &'a Value {
    let steps = at(status, "/steps").as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id} in {status:#}"))
}

fn name<'a>(status: &'a Value, id: &str) -> &'a str {
    at(step(status, id), "/reason/name").as_str().unwrap_or_else(|| panic!("{id} has no reason: {status:#}"))
}

fn message<'a>(status: &'a Value, id: &str) -> &'a str {
    at(step(status, id), "/message").as_str().unwrap_or_default()
}

fn id(status: &Value) -> &str {
    at(status, "/execution").as_str().expect("an id")
}

fn succeeded(board: &Board, execution: &str) -> Value {
    let status = board.ended(execution);
    assert_eq!(status["state"], "succeeded", "{status:#}\n{}", board.log());
    status
}

fn names(files: &Value) -> Vec<&str> {
    files.as_array().expect("a list").iter().map(|file| file["name"].as_str().expect("a name")).collect()
}

#[test]
fn the_files_example_flies_and_leaves_documented_outputs() {
    let board = started("");
    let execution = board.submit_file(&example("files/files.yaml"), &[]);
    let status = succeeded(&board, &execution);
    let list = board.output(&execution, "LIST");
    assert_eq!(names(&list["files"]), ["inbox"]);
    let file = at(&list, "/files/0/contents/0");
    assert_eq!((&file["type"], &file["name"], &file["size"]), (&json!("file"), &json!("notes.txt"), &json!("25")));
    assert_eq!(file["time"].as_str().map(|time| time.split('-').count()), Some(5));
    assert_eq!(list["uri"], format!("{execution}/outputs/LIST.json"));
    assert_eq!((&list["contentType"], &list["status"]), (&json!("application/json"), &json!(true)));
    assert_eq!(list["contentLength"], *at(step(&status, "LIST"), "/output/bytes"));
    let all = board.output(&execution, "LIST_ALL");
    assert_eq!(names(&all["files"]), ["payload"]);
    assert!(at(&all, "/files/0/contents").to_string().contains("\"2026\""), "{all:#}");
    let collected = board.output(&execution, "COLLECT");
    assert_eq!(at(&collected, "/files/0/path"), "/results/archive/2026/notes.txt");
    assert_eq!(
        (&collected["contentType"], &collected["uri"]),
        (&json!("application/x-tar"), &json!(format!("{execution}/COLLECT.tar")))
    );
    let archive = fs::metadata(board.outbox(&execution).join("COLLECT.tar")).expect("the archive");
    assert_eq!(collected["contentLength"], archive.len());
    let packed = fs::read(board.outbox(&execution).join("outputs/LIST.json")).expect("in the entry");
    assert_eq!(serde_json::from_slice::<Value>(&packed).expect("JSON"), list);
    assert_eq!(packed.len(), usize::try_from(list["contentLength"].as_u64().expect("a length")).expect("short"));
    assert!(board.in_volume("archive/2026/notes.txt").is_none() && board.in_volume("inbox/notes.txt").is_none());
    let none = board.tool(&["output", &format!("{execution}.DELETE")]);
    assert_eq!(none.status.code(), Some(4), "{}", text(&none.stderr));
}

#[test]
fn files_that_are_missing_or_in_the_way_fail_by_name_and_nothing_is_lost() {
    let board = started("");
    let tasks = [
        task("NO_VOLUME", "files.list", "volume: elsewhere; folder: /"),
        pod("MAKE", "make", "echo a > /data/a; echo b > /data/b", &[]),
        task("NO_FILE", "files.delete", "volume: payload; source: [a, nothing]"),
        task("NO_SOURCE", "files.move", "volume: payload; source: nothing; destination: c"),
        task("IN_THE_WAY", "files.move", "volume: payload; source: a; destination: b"),
        task("NO_FOLDER", "files.list", "volume: payload; folder: nothing"),
        task("NO_TARFILE", "docker.image.load", "volume: payload; source: x.tar; image: {name: x, tag: \"1\"}"),
        task(
            "NO_DOCKERFILE",
            "docker.build",
            "volume: payload; dockerfile: D; context: /; image: {name: x, tag: \"1\"}",
        ),
        task("NO_POD", "pod.logs", "pod_name: nobody"),
        task("NO_TASK", "pod.stop", "task: NO_FILE"),
    ];
    let status = board.fly(&tasks.concat());
    for (task, reason, code) in [
        ("NO_VOLUME", "file_missing", 4),
        ("NO_FILE", "file_missing", 4),
        ("NO_SOURCE", "file_missing", 4),
        ("IN_THE_WAY", "file_exists", 4),
        ("NO_FOLDER", "file_missing", 4),
        ("NO_TARFILE", "tarfile_missing", 10),
        ("NO_DOCKERFILE", "dockerfile_missing", 13),
        ("NO_POD", "pod_missing", 4),
        ("NO_TASK", "pod_missing", 4),
    ] {
        assert_eq!(name(&status, task), reason, "{status:#}");
        assert_eq!(at(step(&status, task), "/reason/code"), code, "{task}");
    }
    assert_eq!((board.in_volume("a").as_deref(), board.in_volume("b").as_deref()), (Some("a\n"), Some("b\n")));
    assert_eq!(message(&status, "NO_FILE"), "File not found: nothing");
}

#[test]
fn links_that_lead_out_of_a_volume_are_refused_and_never_followed() {
    let board = started("");
    fs::write(board.path("up.txt"), "x").expect("written");
    fs::write(board.path("outside.txt"), "outside").expect("written");
    let outside = board.path("").display().to_string();
    let script = format!(
        "cd /data; ln -s {outside} out; ln -s {outside}outside.txt f; ln -s ../../../../../../../etc up; echo in > in"
    );
    let tasks = [
        pod("MAKE", "make", &script, &[]),
        task("UPLINK", "uplink", "volume: payload; source: [up.txt]; destination: out"),
        task("DOWNLINK", "downlink", "volume: payload; source: [out/outside.txt]"),
        task("DOWNLINK_FILE", "downlink", "volume: payload; source: [f]"),
        task("LIST", "files.list", "volume: payload; folder: up"),
        task("DELETE", "files.delete", "volume: payload; source: [out/outside.txt]"),
        task("MOVE_IN", "files.move", "volume: payload; source: out/outside.txt; destination: mine"),
        task("MOVE_OUT", "files.move", "volume: payload; source: in; destination: out/in"),
        task("LOAD", "docker.image.load", "volume: payload; source: f; image: {name: x, tag: \"1\"}"),
        task("BUILD", "docker.build", "volume: payload; dockerfile: f; context: /; image: {name: x, tag: \"1\"}"),
        task("CONTEXT", "docker.build", "volume: payload; dockerfile: in; context: out; image: {name: x, tag: \"1\"}"),
        task("ALL", "files.list", "volume: payload; folder: /; depth: 9"),
        task("DELETE_LINK", "files.delete", "volume: payload; source: [out]"),
    ];
    let status = board.fly(&tasks.concat());
    for task in
        ["UPLINK", "DOWNLINK", "DOWNLINK_FILE", "LIST", "DELETE", "MOVE_IN", "MOVE_OUT", "LOAD", "BUILD", "CONTEXT"]
    {
        assert_eq!(step(&status, task)["state"], "failed", "{task}: {status:#}");
    }
    assert!(message(&status, "LIST").contains("outside"), "{}", message(&status, "LIST"));
    assert!(!board.path("in").exists() && fs::read(board.path("up.txt")).expect("there") == b"x");
    assert_eq!(fs::read_to_string(board.path("outside.txt")).expect("there"), "outside");
    let all = board.output(id(&status), "ALL");
    let links: Vec<&str> =
        at(&all, "/files").as_array().expect("files").iter().filter_map(|file| file["type"].as_str()).collect();
    assert_eq!(links, ["link", "file", "link", "link"], "{all:#}");
    assert_eq!(step(&status, "DELETE_LINK")["state"], "succeeded", "{status:#}");
}

#[test]
fn a_volume_with_very_many_files_is_listed_up_to_the_limit_and_says_so() {
    let board = started("");
    let script = "mkdir /data/full /data/next; echo > /data/next/x; cd /data/full; i=0; while [ $i -lt 10050 ]; do : > $i; i=$((i+1)); done";
    let status = board
        .fly(&[pod("MAKE", "make", script, &[]), task("LIST", "files.list", "volume: payload; folder: /")].concat());
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!(at(step(&status, "LIST"), "/output/truncated"), true);
    let list = board.output(id(&status), "LIST");
    assert_eq!((names(&list["files"]), &list["truncated"]), (vec!["full", "next"], &json!(true)));
    assert!(list["note"].as_str().is_some_and(|note| note.contains("10000 entries")), "{}", list["note"]);
    assert_eq!(at(&list, "/files/0/contents").as_array().map(Vec::len), Some(9998));
}

#[test]
fn the_build_example_flies_and_the_image_is_the_tenants_own() {
    let board = started("");
    let execution = board.submit_file(&example("build/build.yaml"), &[]);
    succeeded(&board, &execution);
    assert_eq!(board.ask(&["logs", &format!("{execution}.RUN")]), "built on board");
    let build = board.output(&execution, "BUILD");
    let own = format!("localhost/{}/greeter", board.tenant);
    assert_eq!((&build["status"], at(&build, "/image/repository")), (&json!("SUCCESS"), &json!(own)));
    assert!(at(&build, "/log_tail").to_string().contains("COPY greet.py"), "{build:#}");
    let images = board.output(&execution, "IMAGES");
    let lines = at(&images, "/images").as_array().expect("images");
    let line = lines.iter().find(|line| line["repository"] == own).unwrap_or_else(|| panic!("{images:#}"));
    assert_eq!((&line["tag"], &line["id"]), (&json!("1.0"), at(&build, "/image/id")));
    assert!(line["created"].is_string() && line["size"].as_u64().is_some_and(|size| size > 1000));
    // Another tenant neither sees nor runs nor builds on it.
    let other = format!("{}x", board.tenant);
    let tasks = [
        task("IMAGES", "docker.image.list", "description: what I see"),
        pod("RUN", "other", "true", &[]).replace("name: busybox, tag: \"1\"", &format!("name: {own}, tag: \"1.0\"")),
    ];
    let status = board.ended(&board.submit_for(&other, &tasks.concat()));
    assert_eq!(at(step(&status, "RUN"), "/jobs/0/reason/name"), "image_missing", "{status:#}");
    assert!(!board.output(id(&status), "IMAGES").to_string().contains(&own));
}

/// Places a Dockerfile and builds it; returns the status.
fn built(board: &Board, dockerfile: &str, further: &str) -> Value {
    board.ended(&building(board, dockerfile, further))
}

fn building(board: &Board, dockerfile: &str, further: &str) -> String {
    fs::write(board.path("Dockerfile"), dockerfile).expect("written");
    let build =
        format!("volume: payload; dockerfile: b/Dockerfile; context: b; image: {{name: x, tag: \"1\"}}{further}");
    let tasks = [
        task("UP", "uplink", "volume: payload; source: [Dockerfile]; destination: b"),
        task("BUILD", "docker.build", &build),
    ];
    board.submit(&tasks.concat())
}

#[test]
fn a_build_that_asks_for_the_network_or_for_what_is_not_aboard_fails_and_says_so() {
    let board = started("");
    let interfaces = "FROM busybox:1\nRUN ls /sys/class/net | grep -v lo && echo REACHED; wget -q -T 2 http://192.0.2.1/x || { echo no way out; false; }\n";
    let status = built(&board, interfaces, "");
    assert_eq!((name(&status, "BUILD"), at(step(&status, "BUILD"), "/reason/code")), ("build_failed", &json!(12)));
    let said = message(&status, "BUILD");
    assert!(said.contains("no network") && said.contains("no way out"), "{said}");
    let log = board.output(id(&status), "BUILD");
    assert_eq!(log["status"], "FAILED");
    assert!(!log["log_tail"].to_string().contains("\"REACHED\""), "{log:#}");
    let status = built(&board, "FROM busybox:1\nADD http://192.0.2.1/x /x\n", "");
    assert!(
        message(&status, "BUILD").contains("b/Dockerfile: line 2: ADD `http://192.0.2.1/x` would fetch"),
        "{status:#}"
    );
    let status = built(&board, "FROM alpine:3.19\n", "");
    assert_eq!(name(&status, "BUILD"), "image_missing", "{status:#}");
    let status = built(&board, "FROM busybox:1\nRUN echo the last word; false\n", "");
    assert!(message(&status, "BUILD").contains("its last line: the last word"), "{status:#}");
}

/// Whether a process with this word among its arguments lives.
fn lives(word: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
}

#[test]
fn a_build_that_does_not_end_is_broken_off_by_stop_and_nothing_of_it_lives_on() {
    let board = started("");
    let word = format!("{}", 4_000_000 + std::process::id());
    let execution = building(&board, &format!("FROM busybox:1\nRUN echo begun; sleep {word}\n"), "");
    until("the build", || lives(&word).then_some(()));
    board.ask(&["stop", &execution]);
    let status = board.ended(&execution);
    assert_eq!(name(&status, "BUILD"), "stopped", "{status:#}");
    until("the end of its process", || (!lives(&word)).then_some(()));
    let left = || listed(&["ps", "--all", "--external", "--format", "{{.Names}} {{.Image}}"]);
    until("its working container to go", || (!left().contains("busybox-working-container")).then_some(()));
}

#[test]
fn a_build_that_does_not_end_is_broken_off_when_its_time_is_over_and_keeps_its_log() {
    let board = started("time_scale: 20");
    let word = format!("{}", 5_000_000 + std::process::id());
    let status =
        built(&board, &format!("FROM busybox:1\nRUN echo begun; trap '' TERM; sleep {word}\n"), "; max_duration: 1");
    assert_eq!(name(&status, "BUILD"), "timeout", "{status:#}");
    assert!(board.output(id(&status), "BUILD")["log_tail"].to_string().contains("begun"));
    assert!(!lives(&word));
}

#[test]
fn a_build_goes_on_after_a_crash_of_the_daemon_and_is_done_once() {
    let mut board = started("");
    let word = format!("{}", 6_000_000 + std::process::id());
    let script = format!("FROM busybox:1\nRUN [ -e /sys/none ] || sleep 3; echo {word}\n");
    let execution = building(&board, &script, "");
    until("the build", || (board.status(&execution)["steps"][1]["state"] == "running").then_some(()));
    board.crash();
    board.start();
    succeeded(&board, &execution);
}

#[test]
fn the_image_example_flies_and_an_archive_can_replace_nobody_elses_image() {
    let board = started("");
    let before = podman(&["image", "inspect", "--format", "{{.Id}}", "localhost/busybox:1"]);
    let images = bed("images").display().to_string();
    let execution = board.submit_file(&example("image-load/image-load.yaml"), &["--images", &images]);
    succeeded(&board, &execution);
    assert_eq!(board.ask(&["logs", &format!("{execution}.RUN")]), "loaded on board");
    let own = format!("localhost/{}/shell:1", board.tenant);
    assert_eq!(at(&board.output(&execution, "LOAD"), "/image/reference"), &json!(own));
    assert_eq!(podman(&["image", "inspect", "--format", "{{.Id}}", "localhost/busybox:1"]), before);
    assert_eq!(podman(&["image", "inspect", "--format", "{{.Id}}", &own]), before, "the same image by another name");
}

#[test]
fn an_archive_in_a_volume_is_loaded_and_one_that_is_none_fails_by_name() {
    let board = started("");
    let oci = board.path("oci.tar").display().to_string();
    podman(&["save", "--quiet", "--format", "oci-archive", "-o", &oci, "localhost/ep:1"]);
    fs::write(board.path("bad.tar"), "no archive".repeat(300)).expect("written");
    let whole = fs::read(&oci).expect("readable");
    fs::write(board.path("half.tar"), &whole[..whole.len() / 2]).expect("written");
    let load = |id: &str, file: &str| {
        task(id, "docker.image.load", &format!("volume: payload; source: {file}; image: {{name: app, tag: \"1\"}}"))
    };
    let tasks = [
        task("UP", "uplink", "volume: payload; source: [oci.tar, bad.tar, half.tar]"),
        load("BAD", "bad.tar"),
        load("HALF", "half.tar"),
        load("GOOD", "/data/oci.tar"),
    ];
    let status = board.fly(&tasks.concat());
    for task in ["BAD", "HALF"] {
        assert_eq!(
            (name(&status, task), at(step(&status, task), "/reason/code")),
            ("tarfile_invalid", &json!(11)),
            "{status:#}"
        );
    }
    assert_eq!(step(&status, "GOOD")["state"], "succeeded", "{status:#}");
    let own = format!("localhost/{}/app:1", board.tenant);
    assert_eq!(podman(&["image", "inspect", "--format", "{{index .Config.Entrypoint 0}}", &own]), "echo");
}

#[test]
fn a_missing_archive_is_found_on_the_ground_and_an_unused_one_does_not_fly() {
    let board = Board::cold("");
    let operation = example("image-load/image-load.yaml").display().to_string();
    let packed = board.tool(&["check", &operation]);
    assert_eq!(packed.status.code(), Some(2));
    let said = text(&packed.stderr);
    assert!(
        said.contains("image-load.yaml:6:14: error: tasks[0].archive: no archive `busybox.tar`")
            && said.contains("--images"),
        "{said}"
    );
}

#[test]
fn the_pods_examples_fly_and_capture_what_a_pod_of_another_operation_did() {
    let board = started("");
    let service = board.submit_file(&example("pods/service.yaml"), &[]);
    board.reaches(&format!("{service}.SERVE.0"), "running");
    until("its first words", || board.ask(&["logs", &service]).contains("up").then_some(()));
    let watch = board.submit_file(&example("pods/watch.yaml"), &[]);
    succeeded(&board, &watch);
    let logs = board.output(&watch, "LOGS");
    assert_eq!((&logs["stdout"], at(&logs, "/pod/state")), (&json!("up\n"), &json!("running")));
    let stop = board.output(&watch, "STOP");
    assert_eq!((at(&stop, "/pod/state"), at(&stop, "/pod/exit_code")), (&json!("failed"), &json!(0)), "{stop:#}");
    assert_eq!(at(&stop, "/pod/reason/name"), "stopped");
    assert_eq!(stop["stdout"], "up\nasked to end\n");
    board.ended(&service);
    // What has ended is kept: its logs and its final state can still be had, by its task too; by its tenant only.
    let tasks = [task("LOGS", "pod.logs", "task: SERVE"), task("STOP", "pod.stop", "pod_name: service")].concat();
    let again = board.fly(&tasks);
    assert_eq!(again["state"], "succeeded", "{again:#}");
    assert_eq!(board.output(id(&again), "LOGS")["stdout"], "up\nasked to end\n");
    let other = board.ended(&board.submit_for(&format!("{}x", board.tenant), &tasks));
    assert_eq!((name(&other, "LOGS"), name(&other, "STOP")), ("pod_missing", "pod_missing"));
}

#[test]
fn the_fisheye_example_flies_through_the_sample_adapter() {
    let image = format!("localhost/fisheye-{}:1", std::process::id());
    let adapter = example("fisheye/adapter").display().to_string();
    podman(&["build", "--quiet", "--network", "none", "--pull-never", "--isolation", "oci", "-t", &image, &adapter]);
    let config = format!("instruments:\n  fisheye: {{image: \"{image}\"}}");
    let board = started(&config);
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_perigeed"))
        .args(["--check", "--config"])
        .arg(board.path("perigee.yaml"))
        .output()
        .expect("perigeed runs");
    assert!(
        text(&checked.stdout).contains(&format!("instruments.fisheye: image {image} on node mpu: aboard")),
        "{checked:?}"
    );
    let execution = board.submit_file(&example("fisheye/fisheye.yaml"), &[]);
    let status = succeeded(&board, &execution);
    let collected = board.output(&execution, "COLLECT");
    let path = at(&collected, "/files/0/path").as_str().expect("a path");
    assert!(path.starts_with("/pictures/pictures/fisheye-") && path.ends_with("-CAPTURE.png"), "{path}");
    assert!(at(&collected, "/files/0/size").as_u64().is_some_and(|size| size > 1000), "{status:#}");
    podman(&["rmi", &image]);
}

#[test]
fn a_capture_without_an_instrument_is_refused_at_intake() {
    let board = started("");
    let bundle = board.path("fisheye.packed").display().to_string();
    board.ask(&[
        "pack",
        &example("fisheye/fisheye.yaml").display().to_string(),
        "--tenant",
        &board.tenant,
        "-o",
        &bundle,
    ]);
    let refused = board.tool(&["submit", &bundle]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("instruments.fisheye"), "{}", text(&refused.stderr));
}
