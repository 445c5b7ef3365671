//! What operators see, on real Podman: programs and batches, phases, logs, records, the digest, metrics.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use support::{Board, at, pod, podman, text, until};

const UNTIL_GO: &str = "while [ ! -e /data/go ]; do sleep 0.1; done";

/// Makes a file in a volume of the tenant.
fn make(board: &Board, volume: &str, name: &str) {
    let claim = format!("{}.{volume}", board.tenant);
    let at = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(std::path::Path::new(&at).join(name), "").expect("written");
}

/// Runs a program of ours as an execution of its own.
fn run(board: &Board, program: &str, further: &[&str]) -> (String, String) {
    let path = board.path(program).display().to_string();
    let common = ["run", &path, "--image", "busybox:1", "--tenant", &board.tenant];
    let answer = board.json(&[&common[..], further].concat());
    let field = |name: &str| answer[name].as_str().expect("an id").to_owned();
    (field("job_id"), field("batch_id"))
}

fn get(board: &Board, path: &str) -> String {
    let mut stream = UnixStream::connect(board.path("run/status.sock")).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn grouped(board: &Board, ids: &[&str]) -> Value {
    board.json(&[&["status", "--group"], ids].concat())
}

#[test]
fn l1_a_program_is_run_and_its_job_id_and_batch_id_are_unique() {
    let board = Board::new();
    fs::write(board.path("test_program.R"), "#!/bin/sh\necho ran $1\n").expect("written");
    let (job, batch) = run(&board, "test_program.R", &["--", "well"]);
    let uuid = job.strip_prefix("test-program-").expect("called after its program");
    assert!(uuid::Uuid::parse_str(uuid).is_ok(), "{job}");
    let other = batch.strip_prefix("test_program-").expect("called after its program, as it stands");
    assert!(uuid::Uuid::parse_str(other).is_ok() && other != uuid, "{batch}");
    let status = board.ended(&job);
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}\n{}", board.ask(&["logs", &job]));
    assert_eq!(board.ask(&["logs", &format!("{job}.RUN")]), "ran well");
    assert_eq!(board.json(&["status", "--batch", &batch]).as_array().map(Vec::len), Some(1));
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let (job, batch) = run(&board, "test_program.R", &["--hold"]);
        assert!(seen.insert(job) && seen.insert(batch));
    }
    let (_, given) = run(&board, "test_program.R", &["--hold", "--batch", "mine"]);
    assert_eq!(given, "mine");
}

#[test]
fn l2_a_job_id_is_a_legal_label_and_the_path_is_kept() {
    let board = Board::new();
    fs::write(board.path("My.Prog_2.sh"), "true\n").expect("written");
    let (job, batch) = run(&board, "My.Prog_2.sh", &[]);
    assert!(job.starts_with("my-") && job.len() <= 63, "{job}");
    assert!(batch.starts_with("My-"), "{batch}");
    let status = board.ended(&job);
    let path = board.path("My.Prog_2.sh").display().to_string();
    assert_eq!(at(&status, "/labels/program"), path.as_str());
    assert_eq!(at(&status, "/steps/1/jobs/0/program"), path.as_str());
    let wrong = job.replacen("my-", "other-", 1);
    assert_eq!(board.tool(&["status", &wrong]).status.code(), Some(4), "the name must be its own");
}

#[test]
fn l3_l4_jobs_are_told_by_phase_and_only_phases_that_occur() {
    let board = Board::new();
    fs::write(board.path("wait.sh"), "while [ ! -e /data/go ]; do sleep 0.1; done\n").expect("written");
    let (job, _) = run(&board, "wait.sh", &["--hold"]);
    let expected = |phase: &str, found: &Value| {
        let entry = json!([{"id": format!("{job}.RUN.0"), "path": board.path("wait.sh").display().to_string()}]);
        assert_eq!(found.as_object().map(|phases| phases.keys().collect::<Vec<_>>()), Some(vec![&phase.to_owned()]));
        assert_eq!(found[phase]["Jobs"], entry, "{found:#}");
        assert!(found[phase]["Description"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(found[phase].as_object().map(serde_json::Map::len), Some(2));
    };
    expected("Pending", &grouped(&board, &[&job]));
    board.ask(&["release", &job]);
    board.reaches(&format!("{job}.RUN"), "running");
    expected("Running", &grouped(&board, &[&job]));
    make(&board, "programs", "go");
    board.ended(&job);
    expected("Succeeded", &grouped(&board, &[&job]));
    let failed = board.fly(&pod("RUN", "failed", "exit 1", &[]));
    let id = at(&failed, "/execution").as_str().expect("an id");
    let phases = grouped(&board, &[&job, id]);
    assert_eq!(
        phases.as_object().map(|phases| phases.keys().cloned().collect()),
        Some(vec!["Failed".to_owned(), "Succeeded".to_owned()])
    );
    assert_eq!(phases["Failed"]["Jobs"][0]["path"], "exit", "of a shell's script the first word");
}

#[test]
fn l5_l8_a_batch_is_waited_for_told_and_read_as_a_whole() {
    let board = Board::new();
    for n in 0..3 {
        fs::write(
            board.path(&format!("p{n}.sh")),
            format!("echo said {n}\nprintf end\n[ {n} = 0 ] || exit 0\n{UNTIL_GO}\n"),
        )
        .expect("written");
    }
    let jobs: Vec<String> = (0..3).map(|n| run(&board, &format!("p{n}.sh"), &["--batch", "all"]).0).collect();
    let waited = board.tool(&["wait", "--batch", "all", "--timeout", "2s"]);
    assert_eq!(waited.status.code(), Some(5));
    assert_eq!(text(&waited.stdout).lines().count(), 3, "the last look is told: {}", text(&waited.stdout));
    make(&board, "programs", "go");
    assert_eq!(board.tool(&["wait", "--batch", "all", "--timeout", "100s"]).status.code(), Some(0));
    assert_eq!(board.tool(&["wait", "--batch", "none"]).status.code(), Some(4), "an unknown batch is not complete");
    let status = board.json(&["status", "--group", "--batch", "all"]);
    let told: BTreeSet<&str> =
        at(&status, "/Succeeded/Jobs").as_array().expect("jobs").iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(
        told,
        jobs.iter().map(|job| format!("{job}.RUN.0")).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );
    let logs = board.json(&["logs", "--batch", "all"]);
    let logs = logs.as_array().expect("logs");
    assert_eq!(logs.len(), 3);
    for (n, log) in logs.iter().enumerate() {
        assert_eq!(log["log"], json!([format!("said {n}"), "end"]), "the unfinished last line is kept");
        let uuid = &jobs[n][jobs[n].len() - 36..];
        assert_eq!(log["job_id"], format!("{uuid}.RUN.0"));
    }
    let shown = board.ask(&["logs", "--batch", "all"]);
    assert_eq!(shown.matches("==> ").count(), 3, "{shown}");
    board.ask(&["purge", "--batch", "all"]);
    assert_eq!(board.tool(&["status", "--batch", "all"]).status.code(), Some(4));
}

#[test]
fn l6_a_log_has_all_lines_in_order_per_stream_and_outlives_the_container() {
    let board = Board::new();
    let id = board.submit(&pod(
        "RUN",
        "pod",
        &format!("echo o1; echo e1 >&2; echo o2; {UNTIL_GO}; echo o3; printf end"),
        &[],
    ));
    until("the first lines", || (board.ask(&["logs", &id]).lines().count() == 3).then_some(()));
    let follow = board.tool_started(&["logs", &id, "--follow", "--stream", "stdout"]);
    make(&board, "payload", "go");
    let followed = follow.wait_with_output().expect("followed");
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "o1\no2\no3\nend");
    board.ended(&id);
    assert_eq!(board.containers(&id), [""; 0]);
    assert_eq!(board.json(&["logs", &id, "--stream", "stdout"])[0]["log"], json!(["o1", "o2", "o3", "end"]));
    assert_eq!(board.json(&["logs", &id, "--stream", "stderr"])[0]["log"], json!(["e1"]));
    assert_eq!(board.ask(&["logs", &id, "--attempt", "1", "--stream", "stderr"]), "e1");
    assert_eq!(board.tool(&["logs", &id, "--attempt", "2"]).status.code(), Some(4));
}

#[test]
fn l6_several_are_followed_at_once_each_under_its_name() {
    let board = Board::new();
    let merged = &["merge: true"];
    let script = |name: &str| format!("echo {name}1; {UNTIL_GO}; echo {name}2");
    let id = board.submit(&(pod("A", "a", &script("a"), merged) + &pod("B", "b", &script("b"), merged)));
    for step in ["A", "B"] {
        until("the first line", || board.ask(&["logs", &format!("{id}.{step}")]).contains('1').then_some(()));
    }
    let follow = board.tool_started(&["logs", &id, "--follow"]);
    make(&board, "payload", "go");
    let followed = text(&follow.wait_with_output().expect("followed").stdout);
    for name in ["A", "B"] {
        let mut mine = Vec::new();
        let mut current = "";
        for line in followed.lines() {
            match line.strip_prefix("==> ") {
                Some(heading) => current = heading,
                None if current == format!("{id}.{name}.0 <==") => mine.push(line),
                None => {}
            }
        }
        let low = name.to_lowercase();
        assert_eq!(mine, [format!("{low}1"), format!("{low}2")], "{followed}");
    }
}

#[test]
fn l7_a_pod_that_could_not_start_says_why_in_its_log() {
    let board = Board::new();
    let tasks = "- id: RUN\n  type: dphi.space.cg2.pod.run\n  pod_name: p\n  image: {name: busybox, tag: \"1\"}\n  command: [/no/such]\n  volume: payload\n";
    let status = board.fly(tasks);
    let id = at(&status, "/execution").as_str().expect("an id");
    let said = board.ask(&["logs", id]);
    assert!(said.starts_with("perigeed: command_not_found: ") && said.lines().count() == 1, "{said}");
    let lines = board.json(&["logs", id]);
    assert_eq!(at(&lines, "/0/log").as_array().map(Vec::len), Some(1), "{lines:#}");
}

#[test]
fn d8_an_execution_says_how_it_went_and_names_the_instance_that_failed() {
    let board = Board::new();
    let well = board.fly(&pod("RUN", "well", "true", &[]));
    assert_eq!(at(&well, "/message"), "execution has run successfully");
    assert!(at(&well, "/started_at").is_string() && at(&well, "/ended_at").is_string());
    let job = at(&well, "/steps/0/jobs/0");
    assert!(at(job, "/submitted_at").is_string() && at(job, "/slots") == 1, "{job:#}");
    let badly = board.fly(&(pod("A", "a", "exit 3", &["on_failure: stop"]) + &pod("B", "b", "true", &[])));
    assert!(at(&badly, "/message").as_str().is_some_and(|text| text.contains("step A: exit code 3")), "{badly:#}");
    assert_eq!(at(&badly, "/steps/0/jobs/0/children/0").as_str(), at(&badly, "/steps/1/jobs/0/id").as_str());
    let id = at(&badly, "/execution").as_str().expect("an id");
    let described = board.ask(&["describe", id]);
    for part in ["A.0", "-> B.0", "after      A (order)", "1 failed", "1 skipped"] {
        assert!(described.contains(part), "{part} is not in\n{described}");
    }
}

#[test]
fn l9_a_job_that_fails_is_tried_once() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "once", &format!("{UNTIL_GO}; exit 1"), &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    let container = board.containers(&id).pop().expect("a container");
    let restarts = podman(&["inspect", "--format", "{{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}", &container]);
    assert!(["0", "0 no"].contains(&restarts.as_str()), "{restarts}");
    make(&board, "payload", "go");
    let status = board.ended(&id);
    assert_eq!((at(&status, "/state"), at(&status, "/steps/0/jobs/0/attempt")), (&"failed".into(), &1.into()));
    let history = board.json(&["history", &id]);
    let times = |event: &str| history.as_array().expect("events").iter().filter(|line| line["event"] == event).count();
    assert_eq!((times("preparing"), times("running"), times("requeued")), (1, 1, 0), "{history:#}");
}

#[test]
fn a_digest_fits_its_budget_and_tells_failures_first() {
    let board = Board::new();
    let well = board.fly(&pod("RUN", "well", "true", &[]));
    let badly = board.fly(&pod("RUN", "badly", "exit 1", &[]));
    let digest = board.ask(&["digest"]);
    let first = |status: &Value| at(status, "/execution").as_str().expect("an id")[..13].to_owned();
    let lines: Vec<&str> = digest.lines().collect();
    assert_eq!(lines.len(), 3, "{digest}");
    assert!(lines[1].starts_with(&first(&badly)) && lines[2].starts_with(&first(&well)), "{digest}");
    for bytes in ["0", "10", "60", "120"] {
        let output = board.tool(&["digest", "--bytes", bytes]);
        assert!(output.status.success());
        assert!(output.stdout.len() <= bytes.parse().expect("a number"), "{}", text(&output.stdout));
    }
    assert!(board.ask(&["digest", "--bytes", "60"]).ends_with(" more"));
}

#[test]
fn metrics_are_served_as_open_metrics() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "pod", "sleep 100", &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    let answer = get(&board, "/metrics");
    let head = answer.to_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{answer}");
    for line in [
        "perigee_executions{state=\"running\"} 1",
        "perigee_jobs{state=\"running\"} 1",
        "perigee_podman_up{node=\"mpu\"} 1",
        "perigee_outbox_entries 0",
        "# EOF",
    ] {
        assert!(answer.lines().any(|known| known == line), "{line} is not in\n{answer}");
    }
    board.ask(&["stop", "--now", &id]);
}

#[test]
fn events_call_jobs_by_their_names() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "pod", UNTIL_GO, &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    board.ask(&["pause", &id]);
    board.reaches(&id, "paused");
    board.ask(&["resume", &id]);
    make(&board, "payload", "go");
    board.ended(&id);
    let history = board.json(&["history", &format!("{id}.RUN.0")]);
    let events: Vec<&str> =
        history.as_array().expect("events").iter().filter_map(|line| line["event"].as_str()).collect();
    let expected = [
        "preparing",
        "prepared",
        "launching",
        "running",
        "pausing",
        "paused",
        "resuming",
        "resumed",
        "succeeded",
        "cleared",
    ];
    assert_eq!(events, expected);
}

#[test]
fn d7_children_and_instances_of_command_lists_are_told() {
    let board = Board::new();
    let list = |id: &str, commands: &str, further: &str| {
        format!(
            "- id: {id}\n  type: dphi.space.cg2.pod.run\n  pod_name: {id}\n  image: {{name: busybox, tag: \"1\"}}\n  \
             commands: [{commands}]\n  volume: payload\n  {further}\n"
        )
    };
    let tasks = list("a", "echo 1, exit 1", "on_failure: continue")
        + &list("b", "echo 1, echo 2", "after: [{step: a, mode: each}]")
        + &list("c", "echo 1, echo 2", "after: [a]");
    let status = board.fly(&tasks);
    let id = at(&status, "/execution").as_str().expect("an id");
    let named = |names: &[&str]| json!(names.iter().map(|name| format!("{id}.{name}")).collect::<Vec<_>>());
    assert_eq!(at(&status, "/steps/0/jobs/0/children"), &named(&["b.0", "c.0", "c.1"]), "{status:#}");
    assert_eq!(at(&status, "/steps/1/jobs/1/after"), &named(&["a.1"]));
    assert_eq!(at(&status, "/message"), "job a.1: exit code 1");
    assert_eq!(at(&status, "/steps/1/jobs/0/state"), "succeeded", "each waits for its own");
    assert_eq!(at(&status, "/steps/2/after/0"), &json!({"step": "a", "mode": "all"}));
    assert_eq!(board.ask(&["logs", &format!("{id}.b.0")]), "1");
    let described = board.ask(&["describe", id]);
    assert!(described.contains("-> b.0, c.0, c.1") && described.contains("1 failed, 1 succeeded"), "{described}");
}

#[test]
fn every_attempt_of_a_job_can_be_read() {
    let board = Board::new();
    let script = "echo x >> /data/tries; wc -l < /data/tries; [ $(wc -l < /data/tries) = 2 ]";
    let status = board.fly(&pod("RUN", "pod", script, &["retries: 2"]));
    assert_eq!(at(&status, "/state"), "succeeded", "{status:#}");
    assert_eq!(at(&status, "/steps/0/jobs/0/attempt"), 2);
    let id = at(&status, "/execution").as_str().expect("an id");
    assert_eq!(board.ask(&["logs", id]), "2");
    assert_eq!(board.ask(&["logs", id, "--attempt", "1"]), "1");
    assert_eq!(board.ask(&["logs", id, "--attempt", "2"]), "2");
    assert_eq!(board.tool(&["logs", id, "--attempt", "3"]).status.code(), Some(4));
}
