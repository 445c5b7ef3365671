//! What a pod may ask for beyond the documented keys, and what is known of what it used, on real Podman.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Board, at, free_port, pod, podman, text, until};

fn state(status: &Value) -> &str {
    at(status, "/state").as_str().expect("a state")
}

fn step<'a>(status: &'a Value, id: &str) -> &'a Value {
    let steps = at(status, "/steps").as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {status:#}"))
}

fn job<'a>(status: &'a Value, id: &str) -> &'a Value {
    at(step(status, id), "/jobs/0")
}

fn reason<'a>(status: &'a Value, id: &str) -> &'a str {
    at(step(status, id), "/reason/name").as_str().unwrap_or_default()
}

fn message<'a>(status: &'a Value, id: &str) -> &'a str {
    at(step(status, id), "/message").as_str().unwrap_or_default()
}

/// A pod that goes on until somebody makes the file `/data/go`.
const UNTIL_GO: &str = "while [ ! -e /data/go ]; do sleep 0.05; done";

fn volume(board: &Board) -> PathBuf {
    let claim = format!("{}.payload", board.tenant);
    podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]).into()
}

fn go(board: &Board) {
    fs::write(volume(board).join("go"), b"").expect("written");
}

fn inspect(board: &Board, id: &str) -> Value {
    let container = at(&board.status(id), "/container").as_str().expect("a name").to_owned();
    let all: Value = serde_json::from_str(&podman(&["inspect", &container])).expect("JSON");
    all[0].clone()
}

/// Every control group of an execution that is still there.
fn groups(id: &str) -> Vec<PathBuf> {
    fn below(folder: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().contains(name) {
                found.push(entry.path());
            } else if depth > 0 {
                below(&entry.path(), name, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), &id.replace('-', ""), 2, &mut found);
    found
}

/// A value of the control group that a pod is in: version 1 or 2.
fn in_group(board: &Board, id: &str, one: &str, two: &str) -> String {
    let parent = at(&inspect(board, id), "/HostConfig/CgroupParent").as_str().expect("a parent").to_owned();
    let container = at(&inspect(board, id), "/Id").as_str().expect("an id").to_owned();
    let root = Path::new("/sys/fs/cgroup");
    let (controller, file) = one.split_once('/').expect("controller and file");
    let group = format!("{}/libpod-{container}", parent.trim_start_matches('/'));
    let first = root.join(controller).join(&group).join(file);
    let second = root.join(group).join(two);
    let value = fs::read_to_string(&first).or_else(|_| fs::read_to_string(&second));
    value.unwrap_or_else(|error| panic!("{} or {}: {error}", first.display(), second.display())).trim().to_owned()
}

fn refused(board: &Board, tasks: &str) -> String {
    let bundle = board.pack(tasks);
    let answer = board.tool(&["submit", &bundle.display().to_string()]);
    assert_eq!(answer.status.code(), Some(2), "{}", text(&answer.stdout));
    text(&answer.stderr)
}

#[test]
fn t10_times_are_in_order_and_a_running_job_has_no_end() {
    let board = Board::new();
    let mut tasks: String = (0..6).map(|n| pod(&format!("TRUE{n}"), "p", "true", &[])).collect();
    tasks += &pod("FAILS", "p", "exit 1", &["on_failure: continue"]);
    tasks += &pod("KILLED", "p", "sh -c 'kill -9 $$'; exit $?", &["on_failure: continue", "user: 1000"]);
    tasks += &pod("RUNS", "p", UNTIL_GO, &[]);
    let id = board.submit(&tasks);
    board.reaches(&format!("{id}.RUNS"), "running");
    let status = board.status(&id);
    let runs = job(&status, "RUNS");
    assert_eq!((&runs["ended_at"], &runs["cpu_seconds"]), (&Value::Null, &Value::Null));
    assert!(runs["wall_seconds"].as_f64().is_some_and(|lived| (0.0..100.0).contains(&lived)), "{runs:#}");
    assert_eq!((&runs["stdout_bytes"], &runs["signal"]), (&Value::Null, &Value::Null));
    go(&board);
    let status = board.ended(&id);
    for step in at(&status, "/steps").as_array().expect("steps") {
        let job = &step["jobs"][0];
        let time = |key: &str| job[key].as_str().expect(key).parse::<jiff::Timestamp>().expect("RFC 3339");
        assert!(time("started_at") <= time("ended_at"), "{job:#}");
        assert!(job["wall_seconds"].as_f64().is_some_and(|wall| wall >= 0.0), "{job:#}");
        assert_eq!((&job["slots"], &job["machines"]), (&1.into(), &serde_json::json!(["mpu"])));
        assert_eq!(job["owner"], board.tenant.as_str());
    }
    assert_eq!(job(&status, "FAILS")["exit_code"], 1);
    assert_eq!(job(&status, "FAILS")["signal"], Value::Null);
    let killed = job(&status, "KILLED");
    assert_eq!((&killed["exit_code"], &killed["signal"], &killed["user"]), (&137.into(), &9.into(), &"1000".into()));
    assert_eq!(reason(&status, "KILLED"), "exit", "137 alone is no death for memory");
}

#[test]
fn t11_processor_time_is_known_after_the_end_and_nothing_of_its_group_stays() {
    let board = Board::new();
    let busy = "read now rest < /proc/uptime; s=${now%%.*}; while read now rest < /proc/uptime; [ $((${now%%.*} - s)) -lt 3 ]; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; done";
    let tasks = pod("BUSY", "busy", busy, &["resources: {cpu: 0.5}"]) + &pod("IDLE", "idle", "sleep 2", &[]);
    let id = board.submit(&tasks);
    board.reaches(&format!("{id}.BUSY"), "running");
    assert!(!groups(&id).is_empty(), "a running pod has a group");
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded", "{status:#}");
    let cpu = |name: &str| job(&status, name)["cpu_seconds"].as_f64().expect("processor time");
    assert!((0.5..2.2).contains(&cpu("BUSY")), "two to three seconds of half a processor: {}", cpu("BUSY"));
    assert!(cpu("IDLE") < 0.1, "{}", cpu("IDLE"));
    assert_eq!(board.containers(&id), [""; 0]);
    until("the groups to go", || groups(&id).is_empty().then_some(()));
    let report: Value =
        serde_json::from_slice(&fs::read(board.outbox(&id).join("report.json")).expect("a report")).expect("JSON");
    assert_eq!(job(&report, "BUSY")["cpu_seconds"], job(&status, "BUSY")["cpu_seconds"]);
}

#[test]
fn t11_group_of_a_pod_that_cannot_start_goes_too() {
    let board = Board::new();
    let id = board.submit(&pod("RUN", "p", "true", &["user: nobody-knows"]));
    assert_eq!(reason(&board.ended(&id), "RUN"), "user_missing");
    until("the groups to go", || groups(&id).is_empty().then_some(()));
}

#[test]
fn t12_user_and_workdir_are_the_pods() {
    let board = Board::new();
    let look = "id -u; id -g; pwd; hostname; grep Cap /proc/self/status; echo mine > /data/of-$(id -u)";
    let tasks = pod("NUMBERS", "p", look, &["user: 1000:1001", "workdir: /tmp"])
        + &pod("NUMBER", "p", look, &["user: 1000"])
        + &pod("NAME", "p", look, &["user: root", "workdir: /data"]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded", "{status:#}");
    let said = |step: &str| board.ask(&["logs", &format!("{id}.{step}")]);
    let hostname = format!("{}-p", board.tenant);
    assert!(said("NUMBERS").starts_with(&format!("1000\n1001\n/tmp\n{hostname}\n")), "{}", said("NUMBERS"));
    assert!(said("NUMBERS").contains("CapEff:\t0000000000000000"), "a user that is not root: {}", said("NUMBERS"));
    assert!(said("NUMBERS").contains("CapBnd:\t0000000000000000"), "{}", said("NUMBERS"));
    assert!(said("NUMBER").starts_with("1000\n"), "{}", said("NUMBER"));
    assert!(
        said("NAME").starts_with("0\n0\n/data\n") && said("NAME").contains("CapEff:\t00000000000004eb"),
        "{}",
        said("NAME")
    );
    assert_eq!(job(&status, "NUMBERS")["user"], "1000:1001");
    assert_eq!(job(&status, "NAME")["user"], "root");
    assert_eq!(board.in_volume("of-1000").as_deref(), Some("mine\n"), "such a user can still write into the volume");
}

#[test]
fn t12_unknown_user_and_missing_workdir_are_start_errors_that_say_so() {
    let board = Board::new();
    let run = |id: &str, key: &str| pod(id, "p", "true", &["on_failure: continue", key]);
    let tasks = run("USER", "user: nobody-knows")
        + &run("GROUP", "user: '1000:no-group'")
        + &run("FOLDER", "workdir: /no/such/folder")
        + &run("FILE", "workdir: /etc/passwd");
    let status = board.fly(&tasks);
    for (step, name, words) in [
        ("USER", "user_missing", "unable to find user nobody-knows"),
        ("GROUP", "user_missing", "unable to find group no-group"),
        ("FOLDER", "workdir_missing", "workdir \"/no/such/folder\" does not exist"),
        ("FILE", "workdir_missing", "workdir \"/etc/passwd\""),
    ] {
        assert_eq!(reason(&status, step), name, "{status:#}");
        assert!(message(&status, step).contains(words), "{}", message(&status, step));
        assert_eq!((&job(&status, step)["started_at"], &job(&status, step)["exit_code"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn t13_port_with_an_address_of_the_host_is_reachable_there_only() {
    let board = Board::new();
    let port = free_port();
    let ports = format!("ports: [{{container: 8000, host: {port}, host_ip: 127.0.0.1}}]");
    let serve = format!("nc -ll -p 8000 -e /bin/echo hello & {UNTIL_GO}");
    let id = board.submit(&pod("SERVE", "serve", &serve, &[&ports]));
    board.reaches(&format!("{id}.SERVE"), "running");
    let hello = |address: &str| {
        let mut said = String::new();
        TcpStream::connect((address, port)).and_then(|mut stream| stream.read_to_string(&mut said)).map(|_| said)
    };
    until("the pod to answer", || hello("127.0.0.1").ok().filter(|said| said == "hello\n"));
    let bindings = inspect(&board, &format!("{id}.SERVE.0"));
    assert_eq!(at(&bindings, "/HostConfig/PortBindings/8000~1tcp/0/HostIp"), "127.0.0.1");
    let elsewhere = podman(&["network", "inspect", "--format", "{{(index .Subnets 0).Gateway}}", &board.network]);
    assert!(hello(&elsewhere).is_err(), "it answers at {elsewhere} too");
    go(&board);
    assert_eq!(state(&board.ended(&id)), "succeeded");
}

#[test]
fn t13_probe_of_a_taken_port_looks_at_its_address() {
    let board = Board::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let run = |id: &str, ip: &str| {
        let ports = format!("ports: [{{container: 80, host: {port}, host_ip: {ip}}}]");
        pod(id, "p", "true", &["on_failure: continue", &ports])
    };
    let status = board.fly(&(run("TAKEN", "127.0.0.1") + &run("FREE", "127.0.0.2") + &run("FOREIGN", "192.0.2.1")));
    assert_eq!(reason(&status, "TAKEN"), "port_in_use");
    assert!(message(&status, "TAKEN").contains(&format!("host port 127.0.0.1:{port}/tcp is taken")), "{status:#}");
    assert_eq!(at(step(&status, "FREE"), "/state"), "succeeded", "{status:#}");
    assert_eq!(reason(&status, "FOREIGN"), "start_error");
    assert!(message(&status, "FOREIGN").contains("host_ip 192.0.2.1 is not an address of this board"), "{status:#}");
}

#[test]
fn t14_privileges_are_refused_unless_the_policy_allows_them() {
    let board = Board::with("policy: {allow: [host_uts]}");
    for (key, found) in [("privileged: true", "privileged"), ("ipc: host", "host_ipc"), ("pid: host", "host_pid")] {
        let said = refused(&board, &pod("RUN", "p", "true", &[key]));
        let expected = format!(
            "steps[0].pod_run.options.privileges: step RUN: `{key}` is not allowed, the policy of this board allows: host_uts"
        );
        assert!(said.contains(&expected), "{found}: {said}");
    }
    let allowed = board.submit(&pod("RUN", "p", "hostname", &["uts: host"]));
    assert_eq!(state(&board.ended(&allowed)), "succeeded");
    assert_eq!(board.ask(&["logs", &allowed]), fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim());
}

#[test]
fn t14_allowed_privileges_are_applied_each_by_itself() {
    let board = Board::with("policy: {allow: [privileged, host_ipc, host_uts, host_pid]}");
    let look = "for n in ipc uts pid; do readlink /proc/self/ns/$n; done; grep -E 'CapEff|NoNew' /proc/self/status";
    let tasks = pod("NONE", "p", look, &["ipc: private"])
        + &pod("IPC", "p", look, &["ipc: host"])
        + &pod("UTS", "p", look, &["uts: host"])
        + &pod("PID", "p", look, &["pid: host"])
        + &pod("PRIVILEGED", "p", look, &["privileged: true"]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded", "{status:#}");
    let mine = ["ipc", "uts", "pid"].map(|name| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace"));
    for (step, shared) in [
        ("NONE", [false, false, false]),
        ("IPC", [true, false, false]),
        ("UTS", [false, true, false]),
        ("PID", [false, false, true]),
        ("PRIVILEGED", [false, false, false]),
    ] {
        let said = board.ask(&["logs", &format!("{id}.{step}")]);
        let lines: Vec<&str> = said.lines().collect();
        let seen: Vec<bool> = lines.iter().zip(&mine).map(|(line, mine)| Path::new(line) == mine).collect();
        assert_eq!(seen, shared, "{step}: {said} {mine:?}");
        assert_eq!(said.contains("CapEff:\t00000000000004eb") && said.contains("NoNewPrivs:\t1"), step != "PRIVILEGED");
    }
}

#[test]
fn t14_restart_is_not_offered() {
    let board = Board::new();
    let operation = board.path("op.yaml");
    fs::write(&operation, format!("id: x\ntasks:\n{}", pod("RUN", "p", "true", &["restart: always"])))
        .expect("written");
    let checked = board.tool(&["check", &operation.display().to_string()]);
    assert_eq!(checked.status.code(), Some(2));
    let said = text(&checked.stderr);
    assert!(said.contains("tasks[0].restart: `restart` is not offered") && said.contains("use `retries`"), "{said}");
}

#[test]
fn t15_console_output_is_written_into_the_volume_each_stream_for_itself() {
    let board = Board::new();
    let files = ["stdout: logs/deep/out.txt", "stderr: /data/err.txt"];
    let tasks =
        pod("RUN", "p", "echo out; echo err >&2; echo more; exit 3", &[&files[..], &["on_failure: continue"]].concat())
            + &pod(
                "READ",
                "another",
                "cat /data/logs/deep/out.txt /data/err.txt; echo changed > /data/logs/deep/out.txt",
                &[],
            )
            + &pod("AGAIN", "p", "echo short", &["stdout: err.txt", "user: 1000"]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(board.ask(&["logs", &format!("{id}.READ")]), "out\nmore\nerr", "{status:#}");
    assert_eq!(board.in_volume("err.txt").as_deref(), Some("short\n"), "replaced, not appended to");
    assert_eq!(board.in_volume("logs/deep/out.txt").as_deref(), Some("changed\n"), "written once");
    let run = job(&status, "RUN");
    assert_eq!((&run["stdout_bytes"], &run["stderr_bytes"]), (&9.into(), &4.into()));
}

#[test]
fn t15_output_file_never_leads_out_of_the_volume_and_the_log_is_kept() {
    let mut board = Board::new();
    let secret = board.path("secret.txt");
    fs::write(&secret, "untouched").expect("written");
    board.submit(&pod("WARM", "p", "true", &[]));
    let volume = until("the volume", || {
        let name = format!("{}.payload", board.tenant);
        let found = support::listed(&["volume", "ls", "--format", "{{.Name}} {{.Mountpoint}}"]);
        found.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(PathBuf::from))
    });
    symlink(board.folder.path(), volume.join("out")).expect("a link");
    symlink(&secret, volume.join("direct.txt")).expect("a link");
    fs::create_dir(volume.join("folder")).expect("made");
    let run = |id: &str, file: &str| pod(id, "p", "echo said", &[&format!("stdout: {file}")]);
    let id = board.submit(&(run("OUT", "out/secret.txt") + &run("DIRECT", "direct.txt") + &run("FOLDER", "folder")));
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded", "{status:#}");
    assert_eq!(fs::read_to_string(&secret).expect("there"), "untouched");
    assert_eq!(fs::read_to_string(volume.join("direct.txt")).expect("there"), "said\n", "the link is replaced");
    for step in ["OUT", "DIRECT", "FOLDER"] {
        assert_eq!(board.ask(&["logs", &format!("{id}.{step}")]), "said", "{step}");
    }
    let log = fs::read_to_string(board.path("daemon.log")).expect("a log");
    assert_eq!(log.matches("failed to write console output into the volume").count(), 2, "{log}");
    board.leave();
}

#[test]
fn g14_read_only_volume_cannot_be_written_to() {
    let board = Board::new();
    let script = "cat /data/x; if echo y > /data/x; then exit 9; fi";
    let tasks = pod("WRITE", "p", "echo mine > /data/x", &[])
        + &pod("READ", "p", script, &["volume_read_only: true", "stdout: said.txt"]);
    let id = board.submit(&tasks);
    let status = board.ended(&id);
    assert_eq!(state(&status), "succeeded", "{status:#}");
    assert_eq!(board.in_volume("x").as_deref(), Some("mine\n"));
    assert_eq!(board.in_volume("said.txt").as_deref(), Some("mine\n"), "the daemon is not the pod");
    assert!(board.ask(&["logs", &format!("{id}.READ")]).contains("Read-only file system"));
}

#[test]
fn d14_l11_resources_are_seen_in_the_control_group() {
    let board = Board::with("policy: {cpu: {max: 2}, memory: {default: 96m, max: 1g}}");
    let tasks = pod("ASKS", "p", UNTIL_GO, &["merge: true", "resources: {cpu: 0.5, memory: 64m}"])
        + &pod("GETS", "q", UNTIL_GO, &["merge: true"])
        + &pod("LITTLE", "r", UNTIL_GO, &["merge: true", "resources: {cpu: 0.005, memory: 33554432}"]);
    let id = board.submit(&tasks);
    let cpu = |job: &str| {
        let quota = in_group(&board, job, "cpu/cpu.cfs_quota_us", "cpu.max");
        let period = in_group(&board, job, "cpu/cpu.cfs_period_us", "cpu.max");
        if quota == period { quota } else { format!("{quota} {period}") }
    };
    for (step, quota, bytes) in [
        ("ASKS", "50000 100000", 64_u64 << 20),
        ("GETS", "200000 100000", 96 << 20),
        ("LITTLE", "5000 1000000", 32 << 20),
    ] {
        board.reaches(&format!("{id}.{step}"), "running");
        let job = format!("{id}.{step}.0");
        assert_eq!(cpu(&job), quota, "{step}");
        assert_eq!(in_group(&board, &job, "memory/memory.limit_in_bytes", "memory.max"), bytes.to_string(), "{step}");
    }
    go(&board);
    assert_eq!(state(&board.ended(&id)), "succeeded");
}

#[test]
fn d14_death_for_memory_is_told_from_other_deaths() {
    let board = Board::new();
    let python = |id: &str, code: &str, more: &[&str]| {
        let task = pod(id, "p", "", &[&["on_failure: continue"], more].concat());
        task.replace("{name: busybox, tag: \"1\"}", "{name: python, tag: \"3.10\"}")
            .replace("command: [/bin/sh, -c]", "command: [python3, -c]")
            .replace("args: [\"\"]", &format!("args: [{}]", serde_json::to_string(code).expect("text")))
    };
    let eat = "x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096])";
    let die = "import os, signal, time; pid = os.fork()\nif pid: os.waitpid(pid, 0); os._exit(137)\nos._exit(0)";
    let tasks = python("EATS", eat, &["resources: {memory: 48m}"])
        + &python("DIES", die, &["resources: {memory: 256m}"])
        + &python("FITS", eat, &["resources: {memory: 320m}"]);
    let status = board.fly(&tasks);
    assert_eq!(reason(&status, "EATS"), "oom", "{status:#}");
    assert_eq!(job(&status, "EATS")["signal"], 9);
    assert_eq!(reason(&status, "DIES"), "exit", "{status:#}");
    assert_eq!(at(step(&status, "FITS"), "/state"), "succeeded", "{status:#}");
}

#[test]
fn l11_what_the_policy_does_not_allow_is_refused_with_both_numbers() {
    let board = Board::with(
        "policy: {cpu: {min: 0.1, max: 2}, memory: {min: 16m, max: 128m}, images: ['busybox:*', 'localhost/team/*:1']}",
    );
    let resources = |text: &str| pod("RUN", "p", "true", &[&format!("resources: {{{text}}}")]);
    for (tasks, expected) in [
        (resources("cpu: 4"), "cpu_millis: step RUN: `resources.cpu` is 4, the policy of this board allows 0.1 to 2"),
        (resources("cpu: 0.05"), "`resources.cpu` is 0.05, the policy of this board allows 0.1 to 2"),
        (resources("memory: 1g"), "`resources.memory` is 1g, the policy of this board allows 16m to 128m"),
        (resources("memory: 8m"), "`resources.memory` is 8m, the policy of this board allows 16m to 128m"),
        (
            pod("RUN", "p", "true", &[]).replace("busybox", "ep"),
            "image: step RUN: `image` is `ep:1`, the policy of this board allows: busybox:*, localhost/team/*:1",
        ),
    ] {
        let said = refused(&board, &tasks);
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(at(&board.json(&["list"]), "/executions").as_array().map(Vec::len), Some(0), "nothing was taken");
    let id = board.submit(&resources("cpu: 2, memory: 128m"));
    assert_eq!(state(&board.ended(&id)), "succeeded");
}

#[test]
fn manifests_with_every_option_are_pods_that_kube_play_accepts_unchanged() {
    let board = Board::new();
    let port = free_port();
    let ports = format!("ports: [{{container: 80, host: {port}, host_ip: 127.0.0.1}}]");
    let options = [
        ports.as_str(),
        "user: 1000:1000",
        "workdir: /tmp",
        "resources: {cpu: 0.5, memory: 64m}",
        "ipc: host",
        "pid: host",
        "uts: host",
        "volume_read_only: true",
        "stdout: out.txt",
    ];
    let tasks = pod("A", "kube-a", "test $(id -u) = 1000 && test $(pwd) = /tmp && ! touch /data/x", &options);
    let bundle = board.pack(&tasks);
    let folder = board.path("unpacked");
    fs::create_dir(&folder).expect("made");
    tar::Archive::new(fs::File::open(&bundle).expect("bundle")).unpack(&folder).expect("a plain tar");
    let manifest =
        fs::read_dir(folder.join("manifests")).expect("manifests").next().expect("one").expect("readable").path();
    let path = manifest.display().to_string();
    podman(&["network", "create", &board.network]);
    podman(&["kube", "play", "--network", &board.network, &path]);
    let container = format!("{}-kube-a-main", board.tenant);
    assert_eq!(podman(&["wait", &container]), "0");
    podman(&["kube", "down", &path]);
}
