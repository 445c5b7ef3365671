//! The rows P1 to P19 of the requirements, each on real Podman; `docs/requirements.md` maps row to test.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use support::{Board, at, free_port, pod, podman, text, until};

fn state(status: &Value) -> &str {
    at(status, "/state").as_str().expect("a state")
}

fn step<'a>(status: &'a Value, id: &str) -> &'a Value {
    let steps = at(status, "/steps").as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {status:#}"))
}

fn reason(part: &Value) -> &str {
    at(part, "/reason/name").as_str().unwrap_or_default()
}

fn instant(part: &Value, field: &str) -> jiff::Timestamp {
    part[field].as_str().unwrap_or_else(|| panic!("no {field} in {part:#}")).parse().expect("RFC 3339")
}

fn seconds(part: &Value) -> f64 {
    at(part, "/jobs/0/wall_seconds").as_f64().expect("wall seconds")
}

/// A pod that goes on until somebody makes the file `/data/NAME`.
fn until_file(name: &str) -> String {
    format!("while [ ! -e /data/{name} ]; do sleep 0.05; done")
}

fn make_in_volume(board: &Board, name: &str) {
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(format!("{mountpoint}/{name}"), b"").expect("written");
}

#[test]
fn p1_pod_runs_with_command_args_env_and_its_volume_at_data() {
    let board = Board::new();
    let write = pod("WRITE", "writer", "echo $LOG_LEVEL > /data/x", &["env: [{name: LOG_LEVEL, value: info}]"]);
    let read = pod("READ", "reader", &format!("cat /data/x; {}", until_file("go")), &[]);
    let id = board.submit(&(write + &read));
    board.reaches(&format!("{id}.READ"), "running");
    let container = at(&board.status(&format!("{id}.READ.0")), "/container").as_str().expect("a name").to_owned();
    let mounts: Value =
        serde_json::from_str(&podman(&["inspect", "--format", "{{json .Mounts}}", &container])).expect("JSON");
    assert_eq!(at(&mounts, "/0/Destination"), "/data");
    assert_eq!(at(&mounts, "/0/Name"), &format!("{}.payload", board.tenant));
    make_in_volume(&board, "go");
    assert_eq!(state(&board.ended(&id)), "succeeded");
    assert_eq!(board.ask(&["logs", &format!("{id}.READ")]), "info");
}

#[test]
fn p1_safe_defaults_are_seen_from_inside() {
    let board = Board::new();
    let id = board.submit(&pod("LOOK", "look", "cat /proc/self/status; ulimit -n; cat /proc/self/cgroup", &[]));
    assert_eq!(state(&board.ended(&id)), "succeeded");
    let seen = board.ask(&["logs", &id]);
    assert!(seen.contains("NoNewPrivs:\t1"), "{seen}");
    // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, NET_BIND_SERVICE.
    assert!(seen.contains("CapEff:\t00000000000004eb") && seen.contains("CapBnd:\t00000000000004eb"), "{seen}");
    assert!(seen.contains("\n4096"), "{seen}");
}

#[test]
fn p2_command_replaces_entrypoint_and_args_replace_cmd() {
    let board = Board::new();
    let run = |id: &str, keys: &str| {
        format!(
            "- id: {id}\n  type: dphi.space.cg2.pod.run\n  pod_name: p\n  image: {{name: ep, tag: \"1\"}}\n  volume: payload\n{keys}"
        )
    };
    let tasks = [
        run("NEITHER", ""),
        run("ARGS", "  args: [a, b]\n"),
        run("COMMAND", "  command: [/bin/echo, only]\n"),
        run("BOTH", "  command: [/bin/echo, c]\n  args: [d]\n"),
    ];
    let id = board.submit(&tasks.concat());
    assert_eq!(state(&board.ended(&id)), "succeeded");
    for (step, said) in [("NEITHER", "EP defcmd"), ("ARGS", "EP a b"), ("COMMAND", "only"), ("BOTH", "c d")] {
        assert_eq!(board.ask(&["logs", &format!("{id}.{step}")]), said, "{step}");
    }
}

#[test]
fn p3_missing_tag_is_refused_naming_step_and_field() {
    let board = Board::new();
    let operation = board.path("op.yaml");
    fs::write(
        &operation,
        "id: x\ntasks:\n- id: RUN\n  type: dphi.space.cg2.pod.run\n  pod_name: p\n  image: {name: busybox}\n  volume: payload\n",
    )
    .expect("written");
    let path = operation.display().to_string();
    let packed =
        board.tool(&["pack", &path, "--tenant", &board.tenant, "-o", &board.path("x.bundle").display().to_string()]);
    assert_eq!(packed.status.code(), Some(2));
    let said = text(&packed.stderr);
    assert!(said.contains("op.yaml:6:") && said.contains("tasks[0].image.tag: missing"), "{said}");
    assert!(!board.path("x.bundle").exists() && !board.path("x.bundle.part").exists());
}

#[test]
fn p4_image_must_be_aboard_and_is_never_pulled() {
    let board = Board::new();
    let missing = pod("RUN", "p", "true", &[]).replace("busybox", "localhost/nope");
    let id = board.submit(&missing);
    let status = board.ended(&id);
    assert_eq!((state(&status), reason(step(&status, "RUN"))), ("failed", "image_missing"));
    assert!(at(step(&status, "RUN"), "/message").as_str().is_some_and(|said| said.contains("localhost/nope:1")));
    assert_eq!(board.containers(&id), Vec::<String>::new());
}

#[test]
fn p5_node_is_read_in_any_case_and_unknown_ones_are_refused() {
    let board = Board::new();
    let run = |i: usize, node: &str| pod(&format!("RUN{i}"), "p", "true", &[&format!("node: {node}")]);
    let id = board
        .submit(&["Mpu", "mpu", "MPU", "default"].iter().enumerate().map(|(i, node)| run(i, node)).collect::<String>());
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded");
    for i in 0..4 {
        assert_eq!(at(step(&status, &format!("RUN{i}")), "/jobs/0/node"), "mpu");
    }
    let operation = board.path("cpu.yaml");
    fs::write(&operation, format!("id: x\ntasks:\n{}", run(0, "cpu"))).expect("written");
    let checked = board.tool(&["check", &operation.display().to_string()]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("unknown node `cpu`; did you mean `mpu`?"), "{}", text(&checked.stderr));
    let elsewhere = board.pack(&run(0, "Gpu"));
    let refused = board.tool(&["submit", &elsewhere.display().to_string()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("unknown node `gpu`, this board has: mpu, default"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn p6_two_concurrent_pods_of_one_name_are_refused() {
    let board = Board::new();
    let operation = board.path("twins.yaml");
    let tasks = pod("A", "twin", "true", &["merge: true"]) + &pod("B", "twin", "true", &["merge: true"]);
    fs::write(&operation, format!("id: x\ntasks:\n{tasks}")).expect("written");
    let checked = board.tool(&["check", &operation.display().to_string()]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("tasks[1].pod_name"), "{}", text(&checked.stderr));
    let one_after_the_other = pod("A", "twin", "true", &[]) + &pod("B", "twin", "true", &[]);
    assert_eq!(state(&board.fly(&one_after_the_other)), "succeeded");
}

#[test]
fn p7_pod_answers_at_tenant_and_pod_name() {
    let board = Board::new();
    let name = format!("{}-tcp-server", board.tenant);
    let server = pod("SERVER", "tcp-server", "nc -l -p 23456 -e /bin/echo hello", &["merge: true"]);
    let ask = format!(
        "until nc {name} 23456 < /dev/null > /data/got 2> /dev/null && grep hello /data/got; do sleep 0.1; done; hostname; nslookup {name}"
    );
    let client = pod("CLIENT", "tcp-client", &ask, &["merge: true"]);
    let id = board.submit(&(server + &client));
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded", "{status:#}");
    let said = board.ask(&["logs", &format!("{id}.CLIENT")]);
    assert!(said.starts_with(&format!("hello\n{}-tcp-client\n", board.tenant)), "{said}");
    // Podman 5 registers a hostname twice; it is the same address then.
    let answers: BTreeSet<&str> =
        said.lines().skip_while(|line| !line.contains(&name)).filter(|line| line.starts_with("Address")).collect();
    assert_eq!(answers.len(), 1, "one name, one address: {said}");
}

#[test]
fn p8_isolated_tenants_neither_see_nor_reach_each_other() {
    let mut board = Board::cold("");
    board.write_config(&format!("network: {{name: {}, isolation: tenant}}", board.network));
    board.start();
    let other = format!("{}b", board.tenant);
    let server = board.submit(&pod(
        "SERVER",
        "server",
        &format!("nc -ll -p 8000 -e /bin/echo hello & {}", until_file("go")),
        &[],
    ));
    board.reaches(&format!("{server}.SERVER"), "running");
    let container = board.containers(&server).remove(0);
    let address =
        podman(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &container]);
    let name = format!("{}-server", board.tenant);
    let near = board.submit(&pod(
        "NEAR",
        "near",
        &format!("until nc {address} 8000 < /dev/null | grep hello; do sleep 0.1; done"),
        &[],
    ));
    assert_eq!(state(&board.ended(&near)), "succeeded", "the tenant's own pods reach it");
    let look = format!("nslookup {name} && exit 1; nc -w 3 {address} 8000 < /dev/null && exit 2; exit 0");
    let far = board.submit_for(&other, &pod("FAR", "far", &look, &[]));
    let status = board.ended(&far);
    assert_eq!(state(&status), "succeeded", "{status:#}\n{}", board.ask(&["logs", &far]));
    make_in_volume(&board, "go");
    board.ended(&server);
    podman(&["volume", "rm", "--force", &format!("{other}.payload")]);
}

#[test]
fn p9_host_port_reaches_the_pod_and_a_taken_one_fails_the_step() {
    let board = Board::new();
    let port = free_port();
    let ports = format!("ports: [{{container: 8000, host: {port}, protocol: tcp}}]");
    let serve = format!("nc -ll -p 8000 -e /bin/echo hello & {}", until_file("go"));
    let first = board.submit(&pod("SERVE", "server", &serve, &[&ports]));
    board.reaches(&format!("{first}.SERVE"), "running");
    let said = until("the pod to answer on the host port", || {
        let mut said = String::new();
        TcpStream::connect(("127.0.0.1", port)).ok()?.read_to_string(&mut said).ok()?;
        (!said.is_empty()).then_some(said)
    });
    assert_eq!(said, "hello\n");
    let second = board.submit(&pod("CLASH", "other", "true", &[&ports]));
    let status = board.ended(&second);
    assert_eq!((state(&status), reason(step(&status, "CLASH"))), ("failed", "port_in_use"));
    assert!(at(step(&status, "CLASH"), "/message").as_str().is_some_and(|said| said.contains(&port.to_string())));
    assert_eq!(board.containers(&second), Vec::<String>::new());
    make_in_volume(&board, "go");
    assert_eq!(state(&board.ended(&first)), "succeeded");
    let again = board.fly(&pod("AGAIN", "again", "true", &[&ports]));
    assert_eq!(state(&again), "succeeded", "the port is free again: {again:#}");
}

#[test]
fn p10_p11_p14_each_merged_pod_has_its_own_time_and_result() {
    // In real time: one minute is what the row asks for.
    let board = Board::new();
    let polite = "trap 'echo bye > /data/bye; exit 0' TERM; while :; do sleep 0.1; done";
    let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
    let tasks = [
        pod("POLITE", "polite", polite, &["merge: true", "max_duration: 1"]),
        pod("STUBBORN", "stubborn", stubborn, &["merge: true", "max_duration: 1"]),
        pod("QUICK", "quick", "sleep 1", &["merge: true", "max_duration: 2"]),
    ];
    let id = board.submit(&tasks.concat());
    let status = board.ended(&id);
    assert_eq!(state(&status), "failed");
    for (name, budget) in [("POLITE", 360), ("STUBBORN", 360), ("QUICK", 420)] {
        assert_eq!(at(step(&status, name), "/timeout_seconds"), budget, "{name}");
    }
    let polite = step(&status, "POLITE");
    assert_eq!((state(polite), reason(polite)), ("failed", "timeout"), "although it ended with 0");
    assert_eq!(at(polite, "/jobs/0/exit_code"), 0);
    assert_eq!(board.in_volume("bye").as_deref(), Some("bye\n"));
    assert!((60.0..62.0).contains(&seconds(polite)), "{polite:#}");
    let stubborn = step(&status, "STUBBORN");
    assert_eq!((state(stubborn), reason(stubborn)), ("failed", "timeout"));
    assert_eq!(at(stubborn, "/jobs/0/exit_code"), 137);
    assert!((65.0..68.0).contains(&seconds(stubborn)), "TERM at 60 s, KILL after a grace of 5 s: {stubborn:#}");
    assert_eq!(state(step(&status, "QUICK")), "succeeded");
}

#[test]
fn p10_a_pod_without_max_duration_is_not_unlimited() {
    let board = Board::with("time_scale: 60");
    let id = board.submit(&pod("FOREVER", "forever", "while :; do sleep 0.1; done", &[]));
    let status = board.ended(&id);
    assert_eq!((state(&status), reason(step(&status, "FOREVER"))), ("failed", "timeout"));
    assert_eq!(at(step(&status, "FOREVER"), "/timeout_seconds"), 3900);
    assert_eq!(at(&board.json(&["status"]), "/time_scale"), 60);
}

#[test]
fn p12_group_is_prepared_together_and_started_together() {
    let board = Board::new();
    let name = format!("{}-server", board.tenant);
    // It answers until the client has its reply: a connection that breaks off must not be the last.
    let serve = format!("nc -ll -p 8000 -e /bin/echo reply & {}", until_file("done"));
    let server = pod("SERVER", "server", &serve, &["merge: true"]);
    let ask = format!(
        "until nc {name} 8000 < /dev/null > /data/got 2> /dev/null && grep reply /data/got; do sleep 0.1; done"
    );
    let ask = format!("{ask}; touch /data/done");
    let client = pod("CLIENT", "client", &ask, &["merge: true"]);
    let id = board.submit(&(server + &client));
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded");
    assert_eq!(board.ask(&["logs", &format!("{id}.CLIENT")]), "reply");
    let started = |name: &str| instant(&step(&status, name)["jobs"][0], "started_at");
    let apart = started("CLIENT").duration_since(started("SERVER")).abs();
    assert!(apart.as_secs() < 2, "{apart:?}");
    let history = board.json(&["history", &id]);
    let place = |event: &str, last: bool| {
        let mut found =
            history.as_array().expect("events").iter().enumerate().filter(|(_, line)| line["event"] == event);
        if last { found.next_back() } else { found.next() }.expect(event).0
    };
    assert!(place("prepared", true) < place("launching", false), "both containers exist before either starts");
}

#[test]
fn p12_a_step_between_them_ends_the_group() {
    let board = Board::new();
    let first = pod("FIRST", "first", "sleep 0.3; echo x > /data/x", &["merge: true"]);
    let between = "- id: BETWEEN\n  type: dphi.space.cg2.downlink\n  source: [x]\n  volume: payload\n";
    let second = pod("SECOND", "second", "true", &["merge: true"]);
    let status = board.fly(&format!("{first}{between}{second}"));
    assert_eq!(state(&status), "succeeded", "{status:#}");
    let job = |name: &str| step(&status, name)["jobs"][0].clone();
    assert!(instant(&job("SECOND"), "started_at") >= instant(&job("FIRST"), "ended_at"));
    assert!(step(&status, "FIRST")["group"].is_null() && step(&status, "SECOND")["group"].is_null());
}

#[test]
fn p13_a_lone_merge_changes_nothing() {
    let board = Board::new();
    let pack = |name: &str, further: &[&str]| {
        let operation = board.path(&format!("{name}.yaml"));
        fs::write(&operation, format!("id: x\ntasks:\n{}", pod("RUN", "p", "true", further))).expect("written");
        let bundle = board.path(&format!("{name}.packed")).display().to_string();
        let execution = "0198c0de-0000-7000-8000-000000000013";
        let operation = operation.display().to_string();
        board.ask(&["pack", &operation, "--tenant", &board.tenant, "--execution", execution, "-o", &bundle]);
        fs::read(bundle).expect("packed")
    };
    assert_eq!(
        pack("lone", &["merge: true"]),
        pack("plain", &[]),
        "the bundles, hence the journals, are the same bytes"
    );
    let status = board.fly(&pod("RUN", "p", "true", &["merge: true"]));
    assert_eq!(state(&status), "succeeded");
    assert!(step(&status, "RUN")["group"].is_null());
}

#[test]
fn p15_a_step_starts_after_the_one_before_has_ended() {
    let board = Board::new();
    let status = board.fly(&(pod("ONE", "one", "sleep 0.5", &[]) + &pod("TWO", "two", "true", &[])));
    let job = |name: &str| step(&status, name)["jobs"][0].clone();
    assert!(instant(&job("TWO"), "started_at") >= instant(&job("ONE"), "ended_at"), "{status:#}");
}

#[test]
fn p16_on_failure_decides_about_the_steps_after() {
    let board = Board::new();
    let stop = board.submit(&(pod("ONE", "one", "exit 3", &["on_failure: stop"]) + &pod("TWO", "two", "true", &[])));
    let status = board.ended(&stop);
    assert_eq!((state(&status), reason(&status)), ("failed", "exit"));
    assert_eq!(at(step(&status, "ONE"), "/jobs/0/exit_code"), 3);
    assert_eq!((state(step(&status, "TWO")), reason(step(&status, "TWO"))), ("skipped", "sequence_stopped"));
    assert_eq!(at(step(&status, "TWO"), "/jobs/0/started_at"), &Value::Null, "nothing of it has run");
    let go_on = board.fly(&(pod("ONE", "one", "exit 3", &["on_failure: continue"]) + &pod("TWO", "two", "true", &[])));
    assert_eq!(state(step(&go_on, "TWO")), "succeeded");
    assert_eq!(state(&go_on), "failed", "a step that failed is not forgotten");
}

#[test]
fn p17_status_is_true_without_a_message_or_false_with_one() {
    let board = Board::new();
    let status = board.fly(&(pod("GOOD", "good", "true", &[]) + &pod("BAD", "bad", "exit 7", &[])));
    let (good, bad) = (step(&status, "GOOD"), step(&status, "BAD"));
    assert_eq!((good["status"].as_bool(), good["message"].is_null()), (Some(true), true));
    assert_eq!((bad["status"].as_bool(), bad["message"].as_str()), (Some(false), Some("exit code 7")));
    assert_eq!(at(good, "/jobs/0/views/clustergate2"), "SUCCESS");
    assert_eq!(at(bad, "/jobs/0/views/drmaa2"), "Failed");
}

#[test]
fn p18_uplinked_files_are_there_before_the_pod() {
    let board = Board::new();
    fs::write(board.path("hello.sh"), "echo uplinked $1\n").expect("written");
    fs::create_dir(board.path("nested")).expect("made");
    fs::write(board.path("nested/config.yaml"), "a: 1\n").expect("written");
    let uplink = |id: &str, source: &str, to: &str| {
        format!(
            "- id: {id}\n  type: dphi.space.cg2.uplink\n  source: [{source}]\n  destination: {to}\n  volume: payload\n"
        )
    };
    let tasks = [
        uplink("UP", "hello.sh", "/"),
        uplink("CONFIG", "nested/config.yaml", "/data/config"),
        pod("RUN", "run", "sh /data/hello.sh well; cat /data/config/config.yaml", &[]),
    ];
    let id = board.submit(&tasks.concat());
    assert_eq!(state(&board.ended(&id)), "succeeded");
    assert_eq!(board.ask(&["logs", &id]), "uplinked well\na: 1");
}

#[test]
fn p19_history_lists_each_transition_in_order() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "run", "true", &[]));
    board.ended(&id);
    let history = board.json(&["history", &id]);
    let lines = history.as_array().expect("events");
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().expect("an event")).collect();
    let expected = [
        "accepted",
        "started",
        "preparing",
        "image",
        "prepared",
        "launching",
        "running",
        "succeeded",
        "succeeded",
        "cleared",
        "settled",
        "ended",
    ];
    assert_eq!(events, expected);
    let times: Vec<jiff::Timestamp> = lines.iter().map(|line| instant(line, "at")).collect();
    assert!(times.is_sorted(), "{times:?}");
    let cursors: Vec<u64> = lines.iter().map(|line| line["cursor"].as_u64().expect("a cursor")).collect();
    assert!(cursors.windows(2).all(|pair| pair[1] == pair[0] + 1), "{cursors:?}");
    let job = board.json(&["history", &format!("{id}.RUN.0")]);
    assert_eq!(job.as_array().map(Vec::len), Some(6), "of one job only: {job:#}");
}

#[test]
fn manifests_are_pods_that_kube_play_accepts_unchanged() {
    let board = Board::new();
    let port = free_port();
    let ports = format!("ports: [{{container: 80, host: {port}}}]");
    let tasks = pod("A", "kube-a", "echo a > /data/a", &["merge: true", &ports, "env: [{name: YES, value: 'yes'}]"])
        + &pod("B", "kube-b", "test yes = yes", &["merge: true"]);
    let bundle = board.pack(&tasks);
    let folder = board.path("unpacked");
    fs::create_dir(&folder).expect("made");
    tar::Archive::new(fs::File::open(&bundle).expect("bundle")).unpack(&folder).expect("a plain tar");
    let manifest =
        fs::read_dir(folder.join("manifests")).expect("manifests").next().expect("one").expect("readable").path();
    let path = manifest.display().to_string();
    podman(&["network", "create", &board.network]);
    podman(&["kube", "play", "--network", &board.network, &path]);
    for name in ["kube-a", "kube-b"] {
        let container = format!("{}-{name}-main", board.tenant);
        assert_eq!(podman(&["wait", &container]), "0", "{name}");
    }
    assert_eq!(board.in_volume("a").as_deref(), Some("a\n"));
    podman(&["kube", "down", &path]);
}

#[test]
fn replay_compares_states_codes_files_and_logs() {
    let board = Board::new();
    let tasks = pod("RUN", "run", "echo result 42; echo data > /data/out.txt", &[])
        + "- id: DOWN\n  type: dphi.space.cg2.downlink\n  source: ['*.txt']\n  volume: payload\n";
    let expectation = board.path("expect.yaml");
    let junit = board.path("junit.xml");
    let run = |expected: &str| {
        let bundle = board.pack(&tasks);
        let name = bundle.file_name().expect("a name").to_string_lossy().into_owned();
        fs::write(&expectation, expected.replace("BUNDLE", &name)).expect("written");
        let paths = [&bundle, &expectation, &junit].map(|path| path.display().to_string());
        (board.tool(&["replay", &paths[0], "--expect", &paths[1], "--junit", &paths[2]]), paths)
    };
    let good = "executions:\n- bundle: BUNDLE\n  state: succeeded\n  steps: {RUN: {exit_code: 0}}\n  files:\n  \
                - {step: DOWN, path: out.txt, sha256: 6667b2d1aab6a00caa5aee5af8ad9f1465e567abf1c209d15727d57b3e8f6e5f}\n  logs:\n  \
                - {step: RUN, matches: 'result \\d+'}\n";
    let (held, paths) = run(good);
    assert!(held.status.success(), "{}{}", text(&held.stdout), text(&held.stderr));
    assert!(!fs::read_to_string(&junit).expect("a report").contains("<failure"));
    let again = board.tool(&["replay", &paths[0]]);
    assert_eq!(again.status.code(), Some(3), "a bundle is not run twice: {}", text(&again.stderr));
    let bad = good.replace("exit_code: 0", "exit_code: 5").replace("6667b2d1", "00000000").replace("result", "Result");
    let (differs, _) = run(&bad);
    assert_eq!(differs.status.code(), Some(6));
    let said = text(&differs.stdout);
    for difference in ["expected exit code 5, found 0", "expected sha256 00000000", "expected a match of `Result"] {
        assert!(said.contains(difference), "{difference} in {said}");
    }
    assert_eq!(fs::read_to_string(&junit).expect("a report").matches("<failure").count(), 3);
}

#[test]
fn outbox_entry_is_complete_and_goes_when_acknowledged() {
    let board = Board::new();
    let tasks = pod(
        "RUN",
        "run",
        "mkdir /data/d; echo one > /data/d/a.json; echo two > /data/d/b.json; echo no > /data/d/c.txt; echo oops >&2",
        &[],
    ) + "- id: DOWN\n  type: dphi.space.cg2.downlink\n  source: ['d/*.json']\n  destination: /results\n  volume: payload\n";
    let id = board.submit(&tasks);
    assert_eq!(state(&board.ended(&id)), "succeeded");
    let entry = board.outbox(&id);
    let report: Value = serde_json::from_slice(&fs::read(entry.join("report.json")).expect("a report")).expect("JSON");
    assert_eq!(at(&report, "/state"), "succeeded");
    assert!(report["ended_at"].is_string() && report["perigee"].is_string());
    let names: Vec<&str> = at(&report, "/downlinks/0/files")
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|f| f["path"].as_str())
        .collect();
    assert_eq!(names, ["d/a.json", "d/b.json"]);
    assert_eq!(at(&report, "/downlinks/0/destination"), "/results");
    for file in at(&report, "/files").as_array().expect("files") {
        let path = entry.join(file["path"].as_str().expect("a path"));
        let printed = Command::new("sha256sum").arg(&path).output().expect("sha256sum runs");
        assert!(text(&printed.stdout).starts_with(file["sha256"].as_str().expect("a digest")), "{}", path.display());
        assert_eq!(fs::metadata(&path).expect("there").len(), file["size"].as_u64().expect("a size"));
    }
    assert_eq!(fs::read_to_string(entry.join("logs/RUN.0.stderr")).expect("kept"), "oops\n");
    let listed = board.json(&["downlink", "list"]);
    assert_eq!(at(&listed, "/0/execution"), id.as_str());
    board.ask(&["downlink", "ack", &id]);
    assert!(!entry.exists());
    assert_eq!(board.tool(&["downlink", "ack", &id]).status.code(), Some(4));
}

#[test]
fn downlink_of_a_missing_file_or_of_a_way_out_fails_naming_it() {
    let board = Board::new();
    let down = |source: &str| {
        format!("- id: DOWN\n  type: dphi.space.cg2.downlink\n  source: ['{source}']\n  volume: payload\n")
    };
    for source in ["nope.txt", "*.none"] {
        let status = board.fly(&down(source));
        let failed = step(&status, "DOWN");
        assert_eq!((state(failed), reason(failed)), ("failed", "file_missing"));
        assert!(failed["message"].as_str().is_some_and(|said| said.contains(source)), "{failed:#}");
    }
    let plant =
        pod("PLANT", "plant", "ln -sf /etc/passwd /data/link; ln -sf ../../../../../../etc/passwd /data/up", &[]);
    for link in ["link", "up"] {
        let status = board.fly(&(plant.clone() + &down(link)));
        let failed = step(&status, "DOWN");
        assert_eq!((state(failed), reason(failed)), ("failed", "transfer_error"), "{failed:#}");
        assert!(failed["message"].as_str().is_some_and(|said| said.contains(link)), "{failed:#}");
    }
}

#[test]
fn stop_is_graceful_and_stop_now_is_not() {
    let board = Board::new();
    let polite = "trap 'exit 5' TERM; while :; do sleep 0.05; done";
    let gentle = board.submit(&(pod("RUN", "run", polite, &[]) + &pod("AFTER", "after", "true", &[])));
    board.reaches(&format!("{gentle}.RUN"), "running");
    board.ask(&["stop", &gentle]);
    let status = board.ended(&gentle);
    assert_eq!((state(&status), reason(&status)), ("failed", "stopped"));
    assert_eq!(at(step(&status, "RUN"), "/jobs/0/exit_code"), 5);
    assert_eq!(reason(step(&status, "AFTER")), "stopped");
    let hard = board.submit(&pod("RUN", "run", polite, &[]));
    board.reaches(&format!("{hard}.RUN"), "running");
    board.ask(&["stop", "--now", &hard]);
    assert_eq!(at(step(&board.ended(&hard), "RUN"), "/jobs/0/exit_code"), 137);
    assert_eq!(board.tool(&["stop", &hard]).status.code(), Some(3), "what has ended cannot be stopped");
}

#[test]
fn logs_keep_streams_apart_while_running_and_after() {
    let board = Board::new();
    let script = format!("echo out; echo err >&2; {}; echo last", until_file("go"));
    let id = board.submit(&pod("RUN", "run", &script, &[]));
    board.reaches(&format!("{id}.RUN"), "running");
    until("the first lines", || (board.ask(&["logs", &id]).lines().count() == 2).then_some(()));
    assert_eq!(board.ask(&["logs", &id, "--stream", "stderr"]), "err");
    let mut follow = Command::new(env!("CARGO_BIN_EXE_perigee"))
        .arg("--socket")
        .arg(board.path("run/control.sock"))
        .args(["logs", &id, "--follow"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("perigee runs");
    make_in_volume(&board, "go");
    assert_eq!(state(&board.ended(&id)), "succeeded");
    let mut followed = String::new();
    follow.stdout.take().expect("piped").read_to_string(&mut followed).expect("text");
    assert!(follow.wait().expect("ended").success());
    assert_eq!(followed, "out\nerr\nlast\n");
    assert_eq!(board.ask(&["logs", &id, "--stream", "stdout"]), "out\nlast");
}

#[test]
fn a_flood_of_output_is_bounded_and_says_so() {
    let board = Board::with("limits: {log_bytes: 65536}");
    let id =
        board.submit(&pod("FLOOD", "flood", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done", &[]));
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded");
    assert_eq!(at(step(&status, "FLOOD"), "/jobs/0/logs_truncated"), true);
    let said = board.ask(&["logs", &id]);
    assert!(said.len() < 70_000 && said.starts_with("perigeed: older output was dropped"), "{} bytes", said.len());
    assert!(said.ends_with("line 19999"), "the newest output is kept");
}

#[test]
fn events_can_be_resumed_after_a_cursor() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "run", "true", &[]));
    board.ended(&id);
    let all = board.ask(&["events", "-o", "json"]);
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let cursor = lines[3]["cursor"].as_u64().expect("a cursor").to_string();
    let rest = board.ask(&["events", "-o", "json", "--since", &cursor]);
    assert_eq!(rest.lines().count(), lines.len() - 4);
    assert!(rest.lines().next().is_some_and(|line| line.contains("\"cursor\":5")), "{rest}");
}

#[test]
fn api_answers_plain_http_on_both_sockets() {
    let board = Board::new();
    let get = |socket: &str, request: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(board.path(socket)).expect("connected");
        stream
            .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    };
    assert!(get("run/status.sock", "GET /v1/status").starts_with("HTTP/1.1 200"));
    assert!(get("run/control.sock", "GET /v1/executions").starts_with("HTTP/1.1 200"));
    let refused = get("run/status.sock", "POST /v1/executions/0198c0de-0000-7000-8000-000000000001/stop");
    assert!(refused.starts_with("HTTP/1.1 404") && refused.contains("commands need control.sock"), "{refused}");
    let unknown = get("run/status.sock", "GET /v1/executions/0198c0de-0000-7000-8000-000000000001");
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("\"error\""), "{unknown}");
}
