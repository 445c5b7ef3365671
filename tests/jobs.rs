//! Arrays, command lists, dependencies, conditions and retries on real Podman: rows T14, T16, T17 and D1 to D17 of the
//! requirements; `docs/requirements.md` maps row to test.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Board, at, listed, pod, podman, text, until};

/// YAML of a pod_run task on the busybox image, with nothing but these further keys.
fn task(id: &str, pod_name: &str, further: &[&str]) -> String {
    let mut yaml = format!(
        "- id: {id}\n  type: dphi.space.cg2.pod.run\n  pod_name: {pod_name}\n  image: {{name: busybox, tag: \"1\"}}\n  \
         volume: payload\n"
    );
    for line in further {
        yaml.push_str(&format!("  {line}\n"));
    }
    yaml
}

/// A task with one job for each command.
fn commands(id: &str, commands: &[&str], further: &[&str]) -> String {
    let commands = format!("commands: {}", serde_json::to_string(commands).expect("text"));
    task(id, &id.to_lowercase(), &[&[commands.as_str()], further].concat())
}

fn state(status: &Value) -> &str {
    at(status, "/state").as_str().expect("a state")
}

fn step<'a>(status: &'a Value, id: &str) -> &'a Value {
    let steps = at(status, "/steps").as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {status:#}"))
}

fn job<'a>(status: &'a Value, id: &str, index: usize) -> &'a Value {
    at(step(status, id), &format!("/jobs/{index}"))
}

fn reason(part: &Value) -> &str {
    at(part, "/reason/name").as_str().unwrap_or_default()
}

fn instant(part: &Value, field: &str) -> jiff::Timestamp {
    part[field].as_str().unwrap_or_else(|| panic!("no {field} in {part:#}")).parse().expect("RFC 3339")
}

/// Whether a job started only after another had ended.
fn follows(later: &Value, earlier: &Value) -> bool {
    instant(later, "started_at") >= instant(earlier, "ended_at")
}

/// What `check` says of tasks that it refuses.
fn refused(board: &Board, tasks: &str) -> String {
    let operation = board.path("refused.yaml");
    std::fs::write(&operation, format!("id: test\ntasks:\n{tasks}")).expect("operation");
    let output = board.tool(&["check", &operation.display().to_string()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    text(&output.stderr)
}

/// The largest number of jobs that were alive at once, by their times.
fn most_alive(jobs: &[&Value]) -> usize {
    let alive = |when: jiff::Timestamp| {
        jobs.iter().filter(|job| instant(job, "started_at") <= when && when < instant(job, "ended_at")).count()
    };
    jobs.iter().map(|job| alive(instant(job, "started_at"))).max().unwrap_or(0)
}

fn all_jobs(status: &Value) -> Vec<&Value> {
    let steps = at(status, "/steps").as_array().expect("steps");
    steps.iter().flat_map(|step| step["jobs"].as_array().expect("jobs")).collect()
}

#[test]
fn t14_a_pod_that_fails_is_tried_again_as_often_as_it_may_and_then_has_failed() {
    let board = Board::new();
    let id =
        board.submit(&pod("TRY", "try", "echo $(($(cat /data/n 2>/dev/null) + 1)) > /data/n; exit 3", &["retries: 2"]));
    let status = board.ended(&id);
    assert_eq!((state(&status), reason(step(&status, "TRY"))), ("failed", "exit"));
    assert_eq!(board.in_volume("n").as_deref(), Some("3\n"), "it ran three times");
    assert_eq!((&job(&status, "TRY", 0)["attempt"], &job(&status, "TRY", 0)["exit_code"]), (&3.into(), &3.into()));
    let history = board.ask(&["history", &id]);
    assert_eq!(history.matches("requeued").count(), 2, "{history}");
}

#[test]
fn d14_a_retry_that_succeeds_ends_the_trying_and_what_follows_runs() {
    let board = Board::new();
    let script = "if [ -e /data/x ]; then exit 0; else touch /data/x; exit 1; fi";
    let tasks =
        pod("TRY", "try", script, &["retries: 5", "backoff: 1s"]) + &pod("NEXT", "next", "true", &["after: [TRY]"]);
    let status = board.fly(&tasks);
    assert_eq!(state(&status), "succeeded");
    assert_eq!(job(&status, "TRY", 0)["attempt"], 2);
    assert!(follows(job(&status, "NEXT", 0), job(&status, "TRY", 0)));
}

#[test]
fn t16_an_array_runs_once_for_each_id_and_nothing_else() {
    let board = Board::new();
    let id = board.submit(&pod(
        "ARRAY",
        "array",
        "echo $(hostname) > /data/$TASK_ID",
        &["array: {begin: 1, end: 7, step: 3}"],
    ));
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded");
    for member in 0..=8 {
        let expected = [1, 4, 7].contains(&member).then(|| format!("{}-array-{member}\n", board.tenant));
        assert_eq!(board.in_volume(&member.to_string()), expected, "{member}");
    }
    let ids: Vec<&str> = all_jobs(&status).iter().map(|job| at(job, "/id").as_str().expect("an id")).collect();
    assert_eq!(ids, [1, 4, 7].map(|member| format!("{id}.ARRAY.{member}")));
}

#[test]
fn t17_never_more_members_are_alive_than_the_cap_allows() {
    let board = Board::new();
    let id = board.submit(&pod("CAPPED", "capped", "sleep 0.5", &["array: {begin: 1, end: 6, max_parallel: 2}"]));
    let filter = format!("label=perigee.execution={id}");
    until("the end", || {
        let alive = listed(&["ps", "--quiet", "--filter", &filter]);
        assert!(alive.lines().count() <= 2, "Podman runs {alive}");
        (board.status(&id)["ended_at"].is_string()).then_some(())
    });
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded");
    let jobs = all_jobs(&status);
    assert_eq!(jobs.len(), 6);
    assert!(most_alive(&jobs) <= 2, "{status:#}");
}

#[test]
fn t17_a_member_that_is_paused_keeps_its_place() {
    let board = Board::new();
    let wait = "while [ ! -e /data/go ]; do sleep 0.05; done";
    let id = board.submit(&pod("CAPPED", "capped", wait, &["array: {begin: 0, end: 1, max_parallel: 1}"]));
    board.reaches(&format!("{id}.CAPPED.0"), "running");
    board.ask(&["pause", &format!("{id}.CAPPED.0")]);
    board.reaches(&format!("{id}.CAPPED.0"), "paused");
    // The daemon has had its chance: it has flown another pod meanwhile.
    assert_eq!(state(&board.fly(&pod("OTHER", "other", "true", &[]))), "succeeded");
    assert_eq!(board.containers(&id).len(), 1, "Podman has the paused one only");
    assert_eq!(state(&board.status(&format!("{id}.CAPPED.1"))), "waiting");
    board.ask(&["resume", &format!("{id}.CAPPED.0")]);
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    std::fs::write(format!("{mountpoint}/go"), b"").expect("written");
    assert_eq!(state(&board.ended(&id)), "succeeded");
}

#[test]
fn d1_each_command_is_a_job_with_a_container_of_its_own() {
    let board = Board::new();
    let wait = "while [ ! -e /data/go ]; do sleep 0.05; done; echo";
    let id = board.submit(&commands("A", &[&format!("{wait} one"), &format!("{wait} two")], &[]));
    for job in ["0", "1"] {
        board.reaches(&format!("{id}.A.{job}"), "running");
    }
    let mut names: Vec<String> = board.containers(&id);
    names.sort();
    assert!(names.len() == 2 && names[0].contains(".A.0.") && names[1].contains(".A.1."), "{names:?}");
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    std::fs::write(format!("{mountpoint}/go"), b"").expect("written");
    assert_eq!(state(&board.ended(&id)), "succeeded");
    assert_eq!(board.ask(&["logs", &format!("{id}.A.0")]), "one");
    assert_eq!(board.ask(&["logs", &format!("{id}.A.1")]), "two");
}

#[test]
fn d2_all_waits_for_every_job_of_the_other_step() {
    let board = Board::new();
    let tasks = commands("A", &["true", "sleep 1"], &[]) + &commands("B", &["true", "true"], &["after: [A]"]);
    let status = board.fly(&tasks);
    assert_eq!(state(&status), "succeeded");
    for (later, earlier) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        assert!(follows(job(&status, "B", later), job(&status, "A", earlier)), "{status:#}");
    }
}

#[test]
fn d3_each_waits_for_the_job_at_the_same_position_only() {
    let board = Board::new();
    let until = "while [ ! -e /data/b0 ]; do sleep 0.05; done";
    let tasks = commands("A", &["true", until], &[])
        + &commands("B", &["touch /data/b0", "true"], &["after: [{step: A, mode: each}]"]);
    let status = board.fly(&tasks);
    // A.1 ends only because B.0 ran beside it.
    assert_eq!(state(&status), "succeeded");
    assert!(instant(job(&status, "A", 1), "ended_at") >= instant(job(&status, "B", 0), "started_at"));
    assert!(follows(job(&status, "B", 0), job(&status, "A", 0)));
    assert!(follows(job(&status, "B", 1), job(&status, "A", 1)));
}

#[test]
fn d4_a_diamond_runs_in_one_of_its_legal_orders() {
    let board = Board::new();
    let tasks = pod("A", "a", "true", &[])
        + &pod("D", "d", "true", &["after: [B, C]"])
        + &pod("B", "b", "sleep 0.3", &["after: [A]"])
        + &pod("C", "c", "true", &["after: [A]"]);
    let status = board.fly(&tasks);
    assert_eq!(state(&status), "succeeded");
    for (later, earlier) in [("B", "A"), ("C", "A"), ("D", "B"), ("D", "C")] {
        assert!(follows(job(&status, later, 0), job(&status, earlier, 0)), "{later} after {earlier}: {status:#}");
    }
}

#[test]
fn d5_unequal_numbers_for_each_are_refused_with_both() {
    let board = Board::new();
    let tasks = commands("A", &["true", "true"], &[])
        + &commands("B", &["true", "true", "true"], &["after: [{step: A, mode: each}]"]);
    let said = refused(&board, &tasks);
    assert!(said.contains("`A` has 2 and `B` has 3, but each pairs them by position"), "{said}");
}

#[test]
fn d6_circles_selves_unknown_and_doubled_names_are_all_told_in_one_answer() {
    let board = Board::new();
    let tasks = pod("A", "a", "true", &["after: [B]"])
        + &pod("B", "b", "true", &["after: [A]"])
        + &pod("SELF", "self", "true", &["after: [SELF]"])
        + &pod("LOST", "lost", "true", &["after: [NOWHERE]"])
        + &pod("LOST", "twice", "true", &["after: []"]);
    let said = refused(&board, &tasks);
    for part in [
        "the steps wait for each other: A -> B -> A",
        "step `SELF` would wait for itself",
        "there is no step `NOWHERE`",
        "task id `LOST` is there twice",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn d9_a_failure_starts_nothing_more_and_what_runs_is_followed_to_its_end() {
    let board = Board::new();
    let tasks = commands("A", &["sleep 4", "exit 1"], &[])
        + &commands("B", &["true", "true"], &["after: [{step: A, mode: each}]"]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(state(&status), "failed");
    assert_eq!((state(job(&status, "A", 0)), state(job(&status, "A", 1))), ("succeeded", "failed"));
    assert!(job(&status, "A", 0)["ended_at"].is_string());
    let step_b = step(&status, "B");
    assert_eq!((state(step_b), reason(step_b)), ("skipped", "sequence_stopped"));
    assert!(all_jobs(&status)[2..].iter().all(|job| job["container"].is_null()), "{status:#}");
    assert!(at(&status, "/message").as_str().is_some_and(|message| message.contains("A.1")), "{status:#}");
    assert!(status["started_at"].is_string() && status["ended_at"].is_string());
}

#[test]
fn d10_with_continue_only_the_position_that_failed_is_skipped() {
    let board = Board::new();
    let tasks = commands("A", &["true", "exit 1"], &["on_failure: continue"])
        + &commands("B", &["true", "true"], &["after: [{step: A, mode: each}]", "on_failure: continue"]);
    let status = board.fly(&tasks);
    assert_eq!(state(job(&status, "B", 0)), "succeeded");
    assert_eq!((state(job(&status, "B", 1)), reason(job(&status, "B", 1))), ("skipped", "dependency"));
    assert_eq!(state(&status), "failed");
}

#[test]
fn d11_jobs_of_steps_that_follow_each_other_append_to_one_file_in_their_order() {
    let board = Board::new();
    let line = |name: &str| format!("echo {name} >> /data/lines");
    let tasks =
        commands("A", &[&line("a1"), &line("a2")], &[]) + &commands("B", &[&line("b1"), &line("b2")], &["after: [A]"]);
    let id = board.submit(&tasks);
    assert_eq!(state(&board.ended(&id)), "succeeded");
    board.ask(&["purge", &id]);
    let lines = board.in_volume("lines").expect("a file that outlives its execution");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[..2].iter().all(|line| line.starts_with('a')) && lines[2..].iter().all(|line| line.starts_with('b')));
}

#[test]
fn d13_never_more_jobs_of_an_execution_are_alive_than_its_cap_allows() {
    let board = Board::new();
    let roots: String =
        (0..4).map(|i| commands(&format!("R{i}"), &["sleep 0.3", "sleep 0.3"], &["after: []"])).collect();
    let status = board.fly(&format!("{roots}parallelism: 3\n"));
    assert_eq!(state(&status), "succeeded");
    let jobs = all_jobs(&status);
    assert_eq!(jobs.len(), 8);
    assert!(most_alive(&jobs) <= 3, "{status:#}");
    // Whoever waits for a place is prepared by the decision that frees it.
    let history = board.json(&["history", at(&status, "/execution").as_str().expect("an id")]);
    let times = |event: &str| -> Vec<&str> {
        let lines = history.as_array().expect("events").iter().filter(|line| line["event"] == event);
        lines.map(|line| line["at"].as_str().expect("a time")).collect()
    };
    let (prepared, ends) = (times("preparing"), times("succeeded"));
    assert_eq!(prepared.len(), 8);
    assert!(prepared[3..].iter().all(|time| ends.contains(time)), "{history:#}");
    let said = refused(&board, &format!("{}parallelism: 0\n", pod("A", "a", "true", &[])));
    assert!(said.contains("parallelism: found 0, with which nothing would ever start"), "{said}");
}

#[test]
fn d15_generated_commands_run_with_their_positions() {
    let board = Board::new();
    let iter = "commands_iter: {command: \"echo ${1} ${2} > /data/${item}\", vars: [[s1, s2], \"range(0,2)\"]}";
    assert_eq!(state(&board.fly(&task("GEN", "gen", &[iter]))), "succeeded");
    let said: Vec<Option<String>> = (0..5).map(|item| board.in_volume(&item.to_string())).collect();
    let line = |text: &str| Some(format!("{text}\n"));
    assert_eq!(said, [line("s1 0"), line("s1 1"), line("s2 0"), line("s2 1"), None]);
}

#[test]
fn d16_an_output_decides_how_many_jobs_there_are() {
    let board = Board::new();
    let tasks = pod("A", "a", "echo 1 3", &[])
        + &task("B", "b", &["from_output: {step: A, separator: \" \", command: \"echo got ${1} at ${item}\"}"])
        + &pod("C", "c", "true", &["after: [B]"]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded");
    assert_eq!(at(step(&status, "B"), "/jobs").as_array().map(Vec::len), Some(2));
    assert_eq!(board.ask(&["logs", &format!("{id}.B.0")]), "got 1 at 0");
    assert_eq!(board.ask(&["logs", &format!("{id}.B.1")]), "got 3 at 1");
    assert!(follows(job(&status, "C", 0), job(&status, "B", 1)));
}

#[test]
fn d16_an_output_that_asks_for_too_much_fails_the_step_with_the_limit() {
    let board = Board::new();
    let tasks = pod("A", "a", "seq 1 2000 | tr '\\n' ' '", &[])
        + &task("B", "b", &["from_output: {step: A, command: \"echo ${1}\"}"]);
    let status = board.fly(&tasks);
    assert_eq!((state(&status), reason(step(&status, "B"))), ("failed", "limit"));
    let message = at(step(&status, "B"), "/message").as_str().unwrap_or_default();
    assert!(message.contains("2000") && message.contains("1023"), "{message}");
}

#[test]
fn d17_a_condition_that_does_not_hold_skips_its_step_and_what_depends_on_it_and_no_more() {
    let board = Board::new();
    let tasks = pod("SAY", "say", "echo go", &[])
        + &pod("RUNS", "runs", "true", &["after: [SAY]", "when: {step: SAY, equals: go}"])
        + &pod("SKIPPED", "skipped", "true", &["after: [SAY]", "when: {step: SAY, not_equals: go}"])
        + &pod("BEHIND", "behind", "true", &["after: [SKIPPED]"]);
    let down = "- id: DOWN\n  type: dphi.space.cg2.downlink\n  source: [nothing]\n  volume: payload\n  after: [SAY]\n  \
                when: {step: SAY, equals: stay}\n";
    let status = board.fly(&(tasks + down));
    assert_eq!(state(&status), "succeeded", "{status:#}");
    assert_eq!(state(step(&status, "RUNS")), "succeeded");
    for id in ["SKIPPED", "BEHIND", "DOWN"] {
        assert_eq!((state(step(&status, id)), reason(step(&status, id))), ("skipped", "condition"), "{id}");
    }
}

#[test]
fn d18_expanding_shows_jobs_and_edges_and_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let operation = folder.path().join("op.yaml");
    let tasks = commands("A", &["true", "true"], &[])
        + &commands("B", &["true", "true"], &["after: [{step: A, mode: each}]"])
        + &pod("C", "c", "true", &["after: [B]"]);
    std::fs::write(&operation, format!("id: test\ntasks:\n{tasks}")).expect("operation");
    let tool = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_perigee")).arg("check").arg(&operation).args(arguments).output();
        let output = output.expect("perigee runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = tool(&["--expand"]);
    for part in ["A.0", "tenant-b-1", "A.1 (success)", "B (success)", "nothing was made"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let json: Value = serde_json::from_str(&tool(&["--expand", "-o", "json"])).expect("JSON");
    assert_eq!(at(&json, "/jobs").as_array().map(Vec::len), Some(5));
    assert_eq!(at(&json, "/edges/1"), &serde_json::json!({"from": "A.1", "to": "B.1", "needs": "success"}));
    assert!(tool(&["--graph=mermaid"]).contains("s0 -->|each| s1"));
    assert!(tool(&["--graph=dot"]).contains("s1 -> s2 [label=\"all\"];"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a window is said in wall time")]
fn a_window_that_has_passed_skips_its_step_and_one_to_come_is_waited_for() {
    let board = Board::new();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let tasks = pod("LATE", "late", "true", &["not_after: 2020-01-01T00:00:00Z", "on_failure: continue"])
        + &pod("SOON", "soon", "true", &[&format!("not_before: {soon}")]);
    let status = board.fly(&tasks);
    assert_eq!((state(step(&status, "LATE")), reason(step(&status, "LATE"))), ("skipped", "window"));
    assert_eq!(state(step(&status, "SOON")), "succeeded");
    assert!(instant(job(&status, "SOON", 0), "started_at") >= soon, "{status:#}");
}
