//! Verbs, waits and lists, on real Podman: what operators ask and what becomes of it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod support;

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Board, at, listed, pod, podman, text, until};

/// Ends when somebody makes this file.
const UNTIL_GO: &str = "while [ ! -e /data/go ]; do sleep 0.1; done";
/// An execution that nobody has.
const UNKNOWN: &str = "0198c0de-0000-7000-8000-000000000099";

fn go(board: &Board) {
    make(board, "go");
}

/// Makes a file in the tenant's volume.
fn make(board: &Board, name: &str) {
    let claim = format!("{}.payload", board.tenant);
    let at = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    std::fs::write(std::path::Path::new(&at).join(name), "").expect("written");
}

fn state<'a>(board: &Board, id: &str, store: &'a mut Value) -> &'a str {
    *store = board.status(id);
    at(store, "/state").as_str().expect("a state")
}

fn is(board: &Board, id: &str) -> String {
    state(board, id, &mut Value::Null).to_owned()
}

/// The container of a step's only job.
fn container_of(board: &Board, id: &str, step: &str) -> String {
    at(&board.status(&format!("{id}.{step}.0")), "/container").as_str().expect("a name").to_owned()
}

fn refused(output: &Output, says: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(says), "{says} is not in {}", text(&output.stderr));
}

#[expect(clippy::disallowed_methods, reason = "a test measures how long an answer takes")]
fn timed(work: impl FnOnce() -> Output) -> (Output, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

#[test]
fn t1_pause_freezes_a_pod_and_resume_lets_it_go_on() {
    let board = Board::new();
    let count = "i=0; while [ ! -e /data/go ]; do i=$((i+1)); echo $i > /data/count; sleep 0.1; done";
    let id = board.submit(&pod("RUN", "counter", count, &[]));
    let counted = || board.in_volume("count").and_then(|count| count.trim().parse::<u32>().ok()).unwrap_or(0);
    until("the first counts", || (counted() > 2).then_some(()));
    assert_eq!(board.ask(&["pause", &id]), format!("{id}.RUN.0  ok"));
    board.reaches(&id, "paused");
    let container = board.containers(&id).pop().expect("a container");
    assert_eq!(podman(&["inspect", "--format", "{{.State.Status}}", &container]), "paused");
    let frozen = counted();
    // As long as another pod lives that counts its time itself.
    assert_eq!(at(&board.fly(&pod("OTHER", "other", "sleep 0.7", &[])), "/state"), "succeeded");
    assert_eq!(counted(), frozen, "nothing moves while it is frozen");
    let job = board.status(&format!("{id}.RUN.0"));
    assert_eq!(at(&job, "/views/drmaa2"), "Suspended");
    assert!(at(&job, "/paused_seconds").as_f64().expect("seconds") > 0.5, "{job:#}");
    board.ask(&["resume", &id]);
    until("it to go on", || (counted() > frozen).then_some(()));
    go(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}");
    assert!(at(&status, "/steps/0/jobs/0/paused_seconds").as_f64().expect("seconds") > 0.5);
}

#[test]
fn t2_a_verb_that_is_not_legal_is_refused_and_changes_nothing() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "pod", UNTIL_GO, &[]));
    let started = board.tool(&["wait", &format!("{id}.RUN"), "--for", "running", "--timeout", "60s"]);
    assert!(started.status.success());
    refused(&board.tool(&["resume", &id]), "is running");
    refused(&board.tool(&["hold", &id]), "is running");
    refused(&board.tool(&["purge", &id]), "is running");
    board.ask(&["pause", &id]);
    board.reaches(&id, "paused");
    refused(&board.tool(&["pause", &id]), "is paused");
    refused(&board.tool(&["purge", &id]), "is paused");
    assert_eq!(is(&board, &id), "paused", "a refusal changes nothing");
    assert_eq!(podman(&["inspect", "--format", "{{.State.Status}}", &container_of(&board, &id, "RUN")]), "paused");
    board.ask(&["resume", &id]);
    go(&board);
    board.ended(&id);
    for verb in ["pause", "resume", "hold", "release", "stop"] {
        refused(&board.tool(&[verb, &id]), "ended");
    }
    assert_eq!(board.tool(&["pause", UNKNOWN]).status.code(), Some(4));
}

#[test]
fn t3_a_paused_pod_can_be_stopped_with_grace_and_at_once() {
    let board = Board::new();
    let graceful = "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.1; done";
    let gentle = board.submit(&pod("RUN", "gentle", graceful, &[]));
    let hard = board.submit(&pod("RUN", "hard", "sleep 100", &[]));
    until("the trap", || board.ask(&["logs", &gentle]).contains("ready").then_some(()));
    board.reaches(&format!("{hard}.RUN"), "running");
    board.ask(&["pause", &gentle, &hard]);
    board.reaches(&gentle, "paused");
    board.reaches(&hard, "paused");
    board.ask(&["stop", &gentle]);
    board.ask(&["stop", "--now", &hard]);
    for (id, code) in [(&gentle, 0), (&hard, 137)] {
        let status = board.ended(id);
        let job = at(&status, "/steps/0/jobs/0");
        assert_eq!((at(job, "/state"), at(job, "/reason/name")), (&"failed".into(), &"stopped".into()), "{job:#}");
        assert_eq!(at(job, "/exit_code"), code, "{job:#}");
    }
    assert!(board.ask(&["logs", &gentle]).contains("bye"), "it was thawed to hear SIGTERM");
}

#[test]
fn t4_a_held_step_stays_held_until_its_release() {
    let board = Board::new();
    let id = board.submit(&(pod("A", "a", UNTIL_GO, &[]) + &pod("B", "b", "echo ran", &[])));
    board.reaches(&format!("{id}.A"), "running");
    board.ask(&["hold", &format!("{id}.B")]);
    assert_eq!(is(&board, &format!("{id}.B.0")), "held");
    go(&board);
    board.reaches(&format!("{id}.A"), "succeeded");
    // The daemon has had its chance, for two seconds: it has flown another pod meanwhile.
    assert_eq!(at(&board.fly(&pod("OTHER", "other", "sleep 2", &[])), "/state"), "succeeded");
    assert_eq!(is(&board, &format!("{id}.B")), "held");
    assert!(board.containers(&id).iter().all(|name| !name.contains(".B.")), "what is held has no container");
    board.ask(&["release", &format!("{id}.B")]);
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
    assert_eq!(board.ask(&["logs", &format!("{id}.B")]), "ran");
}

#[test]
fn t5_a_waiting_step_that_is_stopped_never_gets_a_container() {
    let board = Board::new();
    let id = board.submit(&(pod("A", "a", UNTIL_GO, &[]) + &pod("B", "b", "true", &["on_failure: continue"])));
    board.reaches(&format!("{id}.A"), "running");
    board.ask(&["stop", &format!("{id}.B")]);
    let step = board.status(&format!("{id}.B"));
    assert_eq!((at(&step, "/state"), at(&step, "/reason/name")), (&"failed".into(), &"stopped".into()), "{step:#}");
    go(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/steps/1/jobs/0/attempt"), 0);
    assert_eq!(at(&status, "/steps/1/jobs/0/container"), &Value::Null);
}

#[test]
fn t6_l4_each_state_on_podman_has_its_word_in_every_view() {
    let board = Board::new();
    let step = |id: &str, script: &str, after: &str| {
        pod(id, &id.to_lowercase(), script, &["on_failure: continue", &format!("after: [{after}]")])
    };
    let tasks = [
        step("ZERO", "true", ""),
        step("SEVEN", "exit 7", ""),
        step("KILLED", "sleep 100", ""),
        step("GONE", "sleep 100", ""),
        step("FROZEN", UNTIL_GO, ""),
        step("RUNS", UNTIL_GO, ""),
        step("NOIMAGE", "true", "").replace("name: busybox", "name: nope"),
        step("HELD", "true", "RUNS"),
        step("WAITS", "true", "RUNS"),
        step("AFTER", "true", "SEVEN"),
    ];
    let id = board.submit(&tasks.concat());
    for name in ["KILLED", "GONE", "FROZEN", "RUNS"] {
        board.reaches(&format!("{id}.{name}"), "running");
    }
    podman(&["kill", &container_of(&board, &id, "KILLED")]);
    podman(&["rm", "--force", "--time=0", &container_of(&board, &id, "GONE")]);
    board.ask(&["pause", &format!("{id}.FROZEN")]);
    board.ask(&["hold", &format!("{id}.HELD")]);
    board.reaches(&format!("{id}.FROZEN"), "paused");
    for name in ["ZERO", "SEVEN", "KILLED", "GONE", "NOIMAGE", "AFTER"] {
        assert!(board.tool(&["wait", &format!("{id}.{name}"), "--timeout", "100s"]).status.success());
    }
    for (name, state, reason, words) in [
        ("WAITS", "waiting", "", ["CREATED", "Queued", "Pending", ""]),
        ("HELD", "held", "", ["SCHEDULED", "QueuedHeld", "Pending", ""]),
        ("RUNS", "running", "", ["RUNNING", "Running", "Running", "Running"]),
        ("FROZEN", "paused", "", ["RUNNING", "Suspended", "Running", "Running"]),
        ("ZERO", "succeeded", "", ["SUCCESS", "Done", "Succeeded", "Succeeded"]),
        ("SEVEN", "failed", "exit", ["FAILED", "Failed", "Failed", "Failed"]),
        ("KILLED", "failed", "exit", ["FAILED", "Failed", "Failed", "Failed"]),
        ("GONE", "failed", gone(&board, &id), ["FAILED", "Failed", "Failed", "Failed"]),
        ("NOIMAGE", "failed", "image_missing", ["FAILED", "Failed", "Failed", "Failed"]),
        ("AFTER", "skipped", "dependency", ["FAILED", "Failed", "Failed", "Failed"]),
    ] {
        let job = board.status(&format!("{id}.{name}.0"));
        let word = |view: &str| job["views"][view].as_str().unwrap_or_default().to_owned();
        assert_eq!(job["state"], state, "{name}: {job:#}");
        assert_eq!(job["reason"]["name"].as_str().unwrap_or_default(), reason, "{name}: {job:#}");
        assert_eq!(["clustergate2", "drmaa2", "kubernetes", "kubegene"].map(word), words, "{name}");
    }
    let groups = board.json(&["status", "--group", &id]);
    let count = |phase: &str| groups[phase]["Jobs"].as_array().map(Vec::len);
    let counts = ["Pending", "Running", "Succeeded", "Failed"].map(count);
    assert_eq!(counts, [Some(2), Some(2), Some(1), Some(5)], "{groups:#}");
    board.ask(&["stop", "--now", &id]);
    board.ended(&id);
}

/// A removal by force kills first: the end of the process may be seen before its container is gone.
fn gone(board: &Board, id: &str) -> &'static str {
    let job = board.status(&format!("{id}.GONE.0"));
    if job["exit_code"] == 137 { "exit" } else { "lost" }
}

#[test]
fn t7_a_container_that_somebody_removed_is_never_a_success() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "pod", "sleep 100", &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    let container = board.containers(&id).pop().expect("a container");
    podman(&["rm", "--force", "--time=0", &container]);
    let status = board.ended(&id);
    let job = at(&status, "/steps/0/jobs/0");
    assert_eq!(at(job, "/state"), "failed", "{status:#}");
    // As above.
    let seen = (at(job, "/reason/name").as_str().unwrap_or_default(), at(job, "/exit_code").as_i64());
    assert!([("lost", None), ("exit", Some(137))].contains(&seen), "{status:#}");
}

#[test]
fn t8_wait_has_four_outcomes_with_a_code_each() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "pod", UNTIL_GO, &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    let (output, took) = timed(|| board.tool(&["wait", &id, "--timeout", "1s"]));
    assert_eq!(output.status.code(), Some(5));
    assert!((1.0..1.9).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(text(&output.stdout), format!("{id}  running"), "the last look is told");
    let (output, took) = timed(|| board.tool(&["wait", &id, "--timeout", "0"]));
    assert_eq!(output.status.code(), Some(5));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(board.tool(&["wait", &id, "--for", "started", "--timeout", "0"]).status.code(), Some(0));
    assert_eq!(board.tool(&["wait", UNKNOWN, "--timeout", "1s"]).status.code(), Some(4));
    go(&board);
    assert_eq!(board.tool(&["wait", &id]).status.code(), Some(0));
    let failing = board.submit(&pod("RUN", "failing", "exit 1", &[]));
    let waited = board.tool(&["wait", &failing, "--for", "succeeded", "--timeout", "100s"]);
    assert_eq!(waited.status.code(), Some(6), "it is told at once that it cannot get there");
    assert_eq!(board.tool(&["wait", &failing, "--for", "started"]).status.code(), Some(0), "it really ran");
    let missing = "- id: RUN\n  type: dphi.space.cg2.pod.run\n  pod_name: p\n  image: {name: nope, tag: \"1\"}\n  volume: payload\n";
    let missing = board.submit(missing);
    assert_eq!(board.tool(&["wait", &missing, "--for", "started"]).status.code(), Some(6), "it never ran");
}

#[test]
fn t9_wait_any_returns_at_the_first() {
    let board = Board::new();
    let long = board.submit(&pod("RUN", "long", "sleep 100", &[]));
    let short = board.submit(&pod("RUN", "short", "sleep 1", &[]));
    let waited = board.ask(&["wait", "--any", &long, &short]);
    assert_eq!(waited, format!("{short}  succeeded"));
    board.ask(&["stop", "--now", &long]);
}

#[test]
fn t18_a_verb_on_several_is_answered_by_each_of_them() {
    let board = Board::new();
    let merged = &["merge: true"];
    let tasks = pod("A", "a", UNTIL_GO, merged) + &pod("B", "b", UNTIL_GO, merged) + &pod("C", "c", "true", &[]);
    let id = board.submit(&tasks);
    for step in ["A", "B"] {
        board.reaches(&format!("{id}.{step}"), "running");
    }
    let output = board.tool(&["pause", &id]);
    assert_eq!(output.status.code(), Some(3), "one of them was refused");
    assert_eq!(text(&output.stdout), format!("{id}.A.0  ok\n{id}.B.0  ok"));
    assert!(text(&output.stderr).contains(&format!("{id}.C.0 is waiting")), "{}", text(&output.stderr));
    let group = format!("{id}.group:1");
    assert_eq!(board.tool(&["wait", &group, "--for", "paused", "--timeout", "60s"]).status.code(), Some(0));
    assert_eq!(board.json(&["status", &group]).as_array().map(Vec::len), Some(2));
    let answer = board.json(&["resume", &group]);
    assert_eq!(at(&answer, "/0/members").as_array().map(Vec::len), Some(2), "{answer:#}");
    assert_eq!(board.tool(&["pause", &format!("{id}.group:7")]).status.code(), Some(4));
    go(&board);
    assert_eq!(at(&board.ended(&id), "/state"), "succeeded");
}

#[test]
fn t19_purge_forgets_what_has_ended_and_leaves_the_volume() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "pod", &format!("echo said; echo kept > /data/kept; {UNTIL_GO}"), &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    refused(&board.tool(&["purge", &id]), "running");
    go(&board);
    board.ended(&id);
    assert_eq!(board.tool(&["purge", &format!("{id}.RUN")]).status.code(), Some(2), "executions are purged whole");
    board.ask(&["purge", &id]);
    assert_eq!(board.containers(&id), [""; 0]);
    assert_eq!(board.in_volume("kept").as_deref(), Some("kept\n"));
    for command in ["status", "logs", "wait", "history", "purge"] {
        assert_eq!(board.tool(&[command, &id]).status.code(), Some(4), "{command}");
    }
    assert!(!board.path("state/logs").join(&id).exists());
    assert_eq!(board.ask(&["list"]).lines().count(), 1, "the heading");
}

#[test]
fn t20_the_list_has_every_state_and_no_foreign_container() {
    let board = Board::new();
    let paused = board.submit(&pod("RUN", "paused", "sleep 100", &[]));
    let ended = board.submit(&pod("RUN", "ended", "true", &[]));
    board.reaches(&format!("{paused}.RUN"), "running");
    board.ask(&["pause", &paused]);
    board.reaches(&paused, "paused");
    board.ended(&ended);
    let foreign = format!("{}-foreign", board.tenant);
    podman(&["create", "--name", &foreign, "--network", &board.network, "localhost/busybox:1", "true"]);
    let list = board.json(&["list"]);
    let found: Vec<(&str, &str)> = at(&list, "/executions")
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| (line["execution"].as_str().expect("an id"), line["state"].as_str().expect("a state")))
        .collect();
    assert_eq!(found, [(ended.as_str(), "succeeded"), (paused.as_str(), "paused")], "newest first");
    assert_eq!(board.tool(&["status", &foreign]).status.code(), Some(2), "it is no id of ours");
    podman(&["rm", &foreign]);
    board.ask(&["stop", "--now", &paused]);
}

#[test]
fn t21_images_are_those_that_podman_has() {
    let board = Board::new();
    // Other tests make and remove images meanwhile: both lists are read until they agree.
    until("both lists to agree", || {
        let ours = board.json(&["images"]);
        let lines = ours.as_array().expect("images").iter().map(|line| {
            assert!(line["size"].as_u64().is_some_and(|bytes| bytes > 0), "{line:#}");
            assert!(line["created"].is_string() && line["node"] == "mpu", "{line:#}");
            let word = |key: &str| line[key].as_str().expect("text").to_owned();
            format!("{} {} sha256:{}", word("repository"), word("tag"), word("id").trim_start_matches("sha256:"))
        });
        let mut ours: Vec<String> = lines.collect();
        let theirs = listed(&["images", "--no-trunc", "--format", "{{.Repository}} {{.Tag}} {{.ID}}"]);
        let mut theirs: Vec<&str> = theirs.lines().filter(|line| !line.starts_with("<none>")).collect();
        ours.sort();
        theirs.sort_unstable();
        (ours == theirs && theirs.iter().any(|line| line.starts_with("localhost/busybox 1 "))).then_some(())
    });
}

#[test]
fn t22_podman_is_asked_at_the_socket_of_the_configuration_and_a_wrong_one_is_named() {
    let board = Board::new();
    let socket = board.path("podman.sock").display().to_string();
    let nodes = board.json(&["nodes"]);
    assert!(nodes[0]["socket"].as_str().is_some_and(|told| told.contains(&socket)), "{nodes:#}");
    assert_eq!(nodes[0]["state"], "up", "{nodes:#}");
    let check = |path: &str| {
        let file = board.path("other.yaml");
        let state = board.path("other").display().to_string();
        let text = format!("state_dir: {state}\nruntime_dir: {state}\nnodes: {{mpu: {{podman: \"unix://{path}\"}}}}\n");
        std::fs::write(&file, text).expect("written");
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_perigeed"));
        program.args(["--check", "--config"]).arg(&file).output().expect("perigeed runs")
    };
    let good = check(&socket);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    let bad = check("/nowhere/podman.sock");
    assert_eq!(bad.status.code(), Some(3));
    let said = text(&bad.stdout);
    let line = said.lines().find(|line| line.starts_with("FAIL node mpu:")).expect("a line");
    assert!(line.contains("/nowhere/podman.sock"), "{line}");
}

#[test]
fn t23_filters_of_the_list_combine_with_and() {
    let board = Board::new();
    let label = |name: &str, batch: &str, step: &str, end: &str| {
        let tasks = pod(step, &format!("p{name}"), end, &[]);
        board.submit_as(&format!("id: {name}\nlabels: {{batch: {batch}, kind: test}}\ntasks:\n{tasks}"))
    };
    let one = label("one", "x", "A", "true");
    let two = label("two", "x", "B", "exit 1");
    let three = label("three", "y", "A", "true");
    for id in [&one, &two, &three] {
        board.ended(id);
    }
    let ids = |filter: &[&str]| {
        let list = board.json(&[&["list"], filter].concat());
        let mut ids: Vec<String> = at(&list, "/executions")
            .as_array()
            .expect("a list")
            .iter()
            .map(|line| line["execution"].as_str().expect("an id").to_owned())
            .collect();
        ids.sort();
        ids
    };
    let of = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&["--batch", "x"]), of(&[&one, &two]));
    assert_eq!(ids(&["--batch", "x", "--state", "failed"]), of(&[&two]));
    assert_eq!(ids(&["--step", "A"]), of(&[&one, &three]));
    assert_eq!(ids(&["--step", "A", "--label", "batch=y", "--label", "kind=test"]), of(&[&three]));
    assert_eq!(ids(&["--operation", "two"]), of(&[&two]));
    assert_eq!(ids(&["--operation", "two", "--step", "A"]), of(&[]));
    assert_eq!(ids(&["--tenant", "nobody"]), of(&[]));
    assert_eq!(ids(&["--since", "1h", "--tenant", &board.tenant]), of(&[&one, &two, &three]));
    assert_eq!(board.tool(&["list", "--label", "batch"]).status.code(), Some(2));
}

#[test]
fn d12_several_executions_are_purged_in_one_call_and_a_running_one_is_refused() {
    let board = Board::new();
    let ended: Vec<String> =
        (0..3).map(|n| board.submit(&pod("RUN", &format!("p{n}"), "echo x >> /data/kept", &[]))).collect();
    for id in &ended {
        board.ended(id);
    }
    let running = board.submit(&pod("RUN", "running", "sleep 100", &[]));
    board.reaches(&format!("{running}.RUN"), "running");
    let output = board.tool(&["purge", &ended[0], &running, &ended[1], &ended[2]]);
    refused(&output, "is running");
    assert_eq!(text(&output.stdout).lines().count(), 3, "the others are purged");
    for id in &ended {
        assert_eq!(board.tool(&["status", id]).status.code(), Some(4));
        assert_eq!(board.containers(id), [""; 0]);
    }
    assert_eq!(board.in_volume("kept").as_deref(), Some("x\nx\nx\n"), "volumes stay");
    board.ask(&["purge", "--stop", &running]);
    assert_eq!(board.containers(&running), [""; 0]);
    let all = listed(&["ps", "--all", "--quiet", "--filter", &format!("network={}", board.network)]);
    assert_eq!(all, "", "nothing is left on the network");
}

#[test]
fn t18_members_of_an_array_are_listed_and_paused_those_that_run() {
    let board = Board::new();
    let id = board.submit(&pod("ARR", "arr", UNTIL_GO, &["array: {begin: 1, end: 11, step: 2, max_parallel: 2}"]));
    for member in ["1", "3"] {
        board.reaches(&format!("{id}.ARR.{member}"), "running");
    }
    let step = board.status(&format!("{id}.ARR"));
    let ids: Vec<&str> =
        at(&step, "/jobs").as_array().expect("jobs").iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(ids, [1, 3, 5, 7, 9, 11].map(|member| format!("{id}.ARR.{member}")));
    let output = board.tool(&["pause", &format!("{id}.ARR")]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout).lines().count(), 2, "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr).lines().count(), 4, "{}", text(&output.stderr));
    board.reaches(&format!("{id}.ARR.3"), "paused");
    board.ask(&["hold", &format!("{id}.ARR.7")]);
    board.ask(&["stop", &format!("{id}.ARR.9")]);
    board.ask(&["resume", &format!("{id}.ARR.1"), &format!("{id}.ARR.3")]);
    go(&board);
    board.reaches(&format!("{id}.ARR.11"), "succeeded");
    assert_eq!(is(&board, &format!("{id}.ARR.7")), "held");
    board.ask(&["release", &format!("{id}.ARR.7")]);
    let status = board.ended(&id);
    assert!(at(&status, "/message").as_str().is_some_and(|text| text.contains("job ARR.9")), "{status:#}");
    let listed: Vec<&str> =
        at(&status, "/steps/0/jobs").as_array().expect("jobs").iter().filter_map(|job| job["state"].as_str()).collect();
    assert_eq!(listed, ["succeeded", "succeeded", "succeeded", "succeeded", "failed", "succeeded"]);
}

/// A gang whose members wait for each other through the volume.
fn gang(board: &Board) -> String {
    let further = [
        "gang:",
        "  workers: 2",
        "  slots_per_worker: 2",
        "  worker: {command: [/bin/sh, -c], args: [\"while true; do sleep 0.1; done\"]}",
    ];
    board.submit(&pod("GANG", "pi", UNTIL_GO, &further))
}

#[test]
fn g11_a_gang_that_is_stopped_ends_with_all_its_members_and_is_kept() {
    let board = Board::new();
    let id = gang(&board);
    board.reaches(&format!("{id}.GANG"), "running");
    board.ask(&["stop", &id]);
    let (waited, took) = timed(|| board.tool(&["wait", &id, "--timeout", "100s"]));
    assert!(waited.status.success() && took < Duration::from_secs(10), "a grace of 5 s, and all has ended: {took:?}");
    let status = board.ended(&id);
    let jobs = at(&status, "/steps/0/jobs").as_array().expect("jobs");
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job["state"] == "failed" && job["reason"]["name"] == "stopped"), "{status:#}");
    assert_eq!(at(&status, "/reason/name"), "stopped");
}

#[test]
fn g12_g13_a_gang_runs_when_all_of_it_runs_and_tells_its_slots() {
    let board = Board::new();
    let id = gang(&board);
    let waited = board.tool(&["wait", &format!("{id}.GANG.launcher"), "--for", "running", "--timeout", "100s"]);
    assert!(waited.status.success());
    let step = board.status(&format!("{id}.GANG"));
    assert_eq!(at(&step, "/state"), "running");
    let jobs = at(&step, "/jobs").as_array().expect("jobs");
    assert!(jobs.iter().all(|job| job["state"] == "running" && job["ended_at"].is_null()), "{step:#}");
    let launcher = board.status(&format!("{id}.GANG.launcher"));
    assert_eq!((at(&launcher, "/slots"), at(&launcher, "/exit_code")), (&4.into(), &Value::Null), "{launcher:#}");
    let paused = board.tool(&["pause", &format!("{id}.GANG")]);
    assert_eq!(
        text(&paused.stdout).lines().next().map(str::to_owned),
        Some(format!("{id}.GANG.launcher  ok")),
        "it goes first"
    );
    board.reaches(&format!("{id}.GANG"), "paused");
    board.ask(&["resume", &format!("{id}.GANG")]);
    go(&board);
    let status = board.ended(&id);
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}");
    let groups = board.json(&["status", "--group", &id]);
    assert_eq!(at(&groups, "/Succeeded/Jobs").as_array().map(Vec::len), Some(1), "told as its launcher: {groups:#}");
}
