//! The rows G1 to G18 of the requirements on real Podman: workers, their launcher, and what binds them.
//!
//! G1, G6, G8 and G10 with a real MPI are in `tests/mpi.rs`; here their stand-ins.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::fs;

use serde_json::Value;
use support::{Board, at, listed, podman, text, until};

/// A worker that says its name to whoever dials, and ends when it is told to.
const SERVE: &str = "trap 'exit 0' TERM; (while :; do hostname | nc -l -p 2222; done) & wait";
/// Dials every host of the hostfile until it answers.
const DIAL: &str = "for h in $(cut -d' ' -f1 /etc/mpi/hostfile); do \
    n=; while [ -z \"$n\" ]; do n=$(nc $h 2222 </dev/null); done; echo said $n; done";
const WAIT: &str = "trap 'exit 0' TERM; sleep 600 & wait";

/// A gang of busybox pods: the launcher's script, the workers', further keys of the task and of the gang.
fn gang(id: &str, launcher: &str, worker: &str, keys: (&str, &str)) -> String {
    let quoted = |script: &str| serde_json::to_string(script).expect("text");
    let (task, gang) = keys;
    format!(
        "- id: {id}\n  type: dphi.space.cg2.pod.run\n  pod_name: pi\n  image: {{name: busybox, tag: \"1\"}}\n  \
         command: [/bin/sh, -c]\n  args: [{}]\n  volume: payload\n{task}  gang:\n    workers: 2\n{gang}    worker:\n      \
         command: [/bin/sh, -c]\n      args: [{}]\n",
        quoted(launcher),
        quoted(worker)
    )
}

fn reason(part: &Value) -> &str {
    at(part, "/reason/name").as_str().unwrap_or_default()
}

fn jobs(status: &Value) -> &Vec<Value> {
    at(status, "/steps/0/jobs").as_array().expect("jobs")
}

/// Refuses to pack: what the tool says.
fn refused(board: &Board, tasks: &str) -> String {
    let operation = board.path("refused.yaml");
    fs::write(&operation, format!("id: test\ntasks:\n{tasks}")).expect("written");
    let (from, to) = (operation.display().to_string(), board.path("refused.bundle").display().to_string());
    let packed = board.tool(&["pack", &from, "--tenant", &board.tenant, "-o", &to]);
    assert_eq!(packed.status.code(), Some(2), "{}", text(&packed.stdout));
    assert!(!board.path("refused.bundle").exists());
    text(&packed.stderr)
}

#[test]
fn g2_g3_g4_workers_and_launcher_find_each_other() {
    let board = Board::new();
    let look = format!(
        "{DIAL}; cat /etc/mpi/hostfile; /etc/mpi/discover_hosts.sh; ls -l /etc/mpi/hostfile /root/.ssh | cut -c1-10; env | sort"
    );
    let id = board.submit(&gang("PI", &look, SERVE, ("", "    slots_per_worker: 2\n")));
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    let said = board.ask(&["logs", &format!("{id}.PI.launcher")]);
    let worker = |number: usize| format!("{}-pi-worker-{number}", board.tenant);
    for number in 0..2 {
        let name = worker(number);
        assert!(said.contains(&format!("said {name}")), "{said}");
        assert!(said.contains(&format!("{name} slots=2\n")) && said.contains(&format!("\n{name}\n")), "{said}");
    }
    assert!(said.contains("-r--r--r--"), "{said}");
    for variable in [
        "K_MPI_JOB_ROLE=launcher",
        "OMPI_MCA_orte_keep_fqdn_hostnames=true",
        "OMPI_MCA_orte_default_hostfile=/etc/mpi/hostfile",
        "OMPI_MCA_orte_set_default_slots=2",
        "NVIDIA_VISIBLE_DEVICES=\n",
        "NVIDIA_DRIVER_CAPABILITIES=\n",
    ] {
        assert!(format!("{said}\n").contains(variable), "{variable}: {said}");
    }
    assert!(said.contains("OMPI_MCA_plm_rsh_args=-o ConnectionAttempts=10"), "{said}");
}

#[test]
fn g3_g4_each_implementation_has_its_hostfile_and_its_variables() {
    let board = Board::new();
    let look = "cat /etc/mpi/hostfile; env";
    let of = |id: &str, mpi: &str| {
        let keys = format!("    slots_per_worker: 2\n    mpi: {mpi}\n    launcher_as_worker: true\n");
        gang(id, look, WAIT, ("", &keys))
    };
    let id = board.submit(&(of("INTEL", "intel") + &of("MPICH", "mpich")));
    assert_eq!(board.ended(&id)["state"], "succeeded");
    let said = |step: &str| board.ask(&["logs", &format!("{id}.{step}.launcher")]) + "\n";
    let (intel, mpich) = (said("INTEL"), said("MPICH"));
    for said in [&intel, &mpich] {
        let hosts = ["launcher", "worker-0", "worker-1"].map(|part| format!("{}-pi-{part}:2\n", board.tenant));
        assert!(said.starts_with(&hosts.concat()), "{said}");
        assert!(!said.contains("OMPI_") && !said.contains("NVIDIA_"), "{said}");
    }
    for line in
        ["I_MPI_HYDRA_HOST_FILE=/etc/mpi/hostfile\n", "I_MPI_PERHOST=2\n", "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS="]
    {
        assert!(intel.contains(line), "{line}: {intel}");
    }
    for line in ["\nHYDRA_HOST_FILE=/etc/mpi/hostfile\n", "\nHYDRA_LAUNCH_EXTRA_ARGS="] {
        assert!(mpich.contains(line), "{line}: {mpich}");
    }
}

#[test]
fn g4_worker_knows_its_part() {
    let board = Board::new();
    let wait = "while [ ! -s /data/role ]; do sleep 0.05; done";
    let role = format!("echo $K_MPI_JOB_ROLE > /data/role; {WAIT}");
    let id = board.submit(&gang("PI", wait, &role, ("", "")));
    assert_eq!(board.ended(&id)["state"], "succeeded");
    assert_eq!(board.in_volume("role").as_deref(), Some("worker\n"));
}

#[test]
fn g5_keys_are_fresh_read_only_and_gone_with_the_execution() {
    let board = Board::new();
    let look = "cat /root/.ssh/id_rsa.pub; cmp /root/.ssh/id_rsa.pub /root/.ssh/authorized_keys && echo same; \
                (echo x >> /root/.ssh/authorized_keys) 2>/dev/null || echo read-only; head -c 35 /root/.ssh/id_rsa";
    let id = board.submit(&(gang("A", look, WAIT, ("", "")) + &gang("B", look, WAIT, ("", ""))));
    assert_eq!(board.ended(&id)["state"], "succeeded");
    let said = |step: &str| board.ask(&["logs", &format!("{id}.{step}.launcher")]);
    let (first, second) = (said("A"), said("B"));
    for said in [&first, &second] {
        assert!(said.starts_with("ssh-ed25519 ") && said.contains("same\nread-only"), "{said}");
        assert!(said.contains("-----BEGIN OPENSSH PRIVATE KEY-----"), "{said}");
    }
    assert_ne!(first.lines().next(), second.lines().next());
    until("the keys to be gone", || (!board.path("state/gangs").join(&id).exists()).then_some(()));
    for folder in ["state/journal", "state/index"] {
        for file in fs::read_dir(board.path(folder)).expect("a folder").filter_map(Result::ok) {
            let bytes = fs::read(file.path()).unwrap_or_default();
            assert!(!text(&bytes).contains("OPENSSH PRIVATE KEY"), "a key in {}", file.path().display());
        }
    }
    assert!(!fs::read_to_string(board.path("daemon.log")).expect("a log").contains("OPENSSH PRIVATE KEY"));
}

#[test]
fn g6_launcher_that_fails_fails_the_gang_and_says_how() {
    let board = Board::new();
    let ended = board.fly(&gang("PI", "echo not enough slots; exit 1", WAIT, ("", "")));
    assert_eq!((at(&ended, "/state"), reason(at(&ended, "/steps/0"))), (&"failed".into(), "exit"), "{ended:#}");
}

#[test]
fn g7_of_a_gang_that_cannot_be_made_nothing_remains() {
    let board = Board::new();
    let operation = gang("PI", "true", WAIT, ("", ""))
        .replace("    worker:\n", "    worker:\n      image: {name: nope, tag: \"1\"}\n");
    let id = board.submit(&operation);
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "failed");
    assert_eq!(reason(at(&ended, "/steps/0")), "image_missing", "{ended:#}");
    assert_eq!(board.containers(&id), [""; 0]);
    assert!(jobs(&ended).iter().all(|job| job["started_at"].is_null()), "{ended:#}");
}

#[test]
fn g8_worker_that_dies_is_named_and_the_launcher_decides() {
    let board = Board::new();
    let wait = "while [ ! -e /data/go ]; do sleep 0.05; done; exit 255";
    let id = board.submit(&gang("PI", wait, WAIT, ("", "")));
    board.reaches(&format!("{id}.PI"), "running");
    let worker = at(&board.status(&format!("{id}.PI.worker-1")), "/container").as_str().expect("a name").to_owned();
    podman(&["kill", &worker]);
    board.reaches(&format!("{id}.PI.worker-1"), "failed");
    assert_eq!(board.status(&id)["state"], "running", "a worker decides nothing");
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(format!("{mountpoint}/go"), b"").expect("written");
    let ended = board.ended(&id);
    assert_eq!((at(&ended, "/state"), at(&ended, "/steps/0/jobs/2/exit_code")), (&"failed".into(), &255.into()));
    assert_eq!(at(&ended, "/steps/0/jobs/1/signal"), 9, "{ended:#}");
    let message = "job PI.launcher: exit code 255; worker-1: exit code 137 (128 + signal 9)";
    assert_eq!(at(&ended, "/steps/0/message"), message, "{ended:#}");
}

#[test]
fn g9_clean_up_policy_decides_what_is_kept_until_the_purge() {
    let board = Board::new();
    // Worker 0 ends by itself, worker 1 lives until it is told.
    let worker = format!("case $(hostname) in *-0) exit 0;; esac; {WAIT}");
    let launcher = "while [ ! -e /data/go ]; do sleep 0.05; done";
    for (policy, kept) in [("running", vec!["worker-0"]), ("all", vec![])] {
        let id = board.submit(&gang("PI", launcher, &worker, ("", &format!("    clean: {policy}\n"))));
        board.reaches(&format!("{id}.PI.launcher"), "running");
        board.reaches(&format!("{id}.PI.worker-0"), "succeeded");
        let claim = format!("{}.payload", board.tenant);
        let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
        fs::write(format!("{mountpoint}/go"), b"").expect("written");
        let ended = board.ended(&id);
        assert_eq!(ended["state"], "succeeded", "{ended:#}");
        assert_eq!(reason(at(&ended, "/steps/0/jobs/1")), "stopped");
        let left: Vec<String> =
            board.containers(&id).iter().map(|name| name.split('.').nth(2).expect("a label").to_owned()).collect();
        assert_eq!(left, kept, "{policy}");
        board.ask(&["purge", &id]);
        until("the purge", || board.containers(&id).is_empty().then_some(()));
        fs::remove_file(format!("{mountpoint}/go")).expect("removed");
    }
}

#[test]
fn g9_with_none_the_workers_go_on_to_their_own_end_and_are_kept() {
    let board = Board::new();
    let worker = "while [ ! -e /data/end ]; do sleep 0.05; done";
    let id = board.submit(&gang("PI", "true", worker, ("", "    clean: none\n")));
    board.reaches(&format!("{id}.PI.launcher"), "succeeded");
    assert_eq!(at(&board.status(&format!("{id}.PI.worker-0")), "/state"), "running");
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(format!("{mountpoint}/end"), b"").expect("written");
    assert_eq!(board.ended(&id)["state"], "succeeded");
    assert_eq!(board.containers(&id).len(), 2);
    board.ask(&["purge", &id]);
    until("the purge", || board.containers(&id).is_empty().then_some(()));
}

#[test]
fn g10_gang_is_frozen_and_thawed_as_a_whole() {
    let board = Board::new();
    let count = "i=0; while [ ! -e /data/go ]; do i=$((i+1)); echo $i > /data/count; sleep 0.05; done";
    let id = board.submit(&gang("PI", count, WAIT, ("", "")));
    board.reaches(&format!("{id}.PI"), "running");
    until("the count", || board.in_volume("count"));
    board.ask(&["pause", &format!("{id}.PI")]);
    board.reaches(&format!("{id}.PI.launcher"), "paused");
    board.reaches(&format!("{id}.PI.worker-1"), "paused");
    let count = || board.in_volume("count").unwrap_or_default();
    let before = count();
    let paused =
        listed(&["ps", "--filter", &format!("label=perigee.execution={id}"), "--filter", "status=paused", "--quiet"]);
    assert_eq!(paused.lines().count(), 3);
    assert_eq!(count(), before, "what is frozen does not count");
    board.ask(&["resume", &format!("{id}.PI")]);
    until("it to count on", || (count() != before).then_some(()));
    let claim = format!("{}.payload", board.tenant);
    let mountpoint = podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]);
    fs::write(format!("{mountpoint}/go"), b"").expect("written");
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    assert!(at(&ended, "/steps/0/jobs/2/paused_seconds").as_f64().expect("seconds") > 0.0);
}

#[test]
fn g11_g12_g13_gang_runs_when_all_of_it_does_and_is_stopped_whole() {
    let board = Board::new();
    let id = board.submit(&gang("PI", WAIT, WAIT, ("", "    slots_per_worker: 2\n")));
    board.reaches(&format!("{id}.PI"), "running");
    let running = board.status(&id);
    assert!(jobs(&running).iter().all(|job| job["state"] == "running" && job["ended_at"].is_null()), "{running:#}");
    let slots = |role: &str| {
        let mine = jobs(&running).iter().filter(|job| job["role"] == role);
        mine.map(|job| job["slots"].as_u64().expect("slots")).sum::<u64>()
    };
    assert_eq!(slots("worker"), 4);
    board.ask(&["stop", &format!("{id}.PI")]);
    let ended = board.ended(&id);
    assert_eq!(reason(at(&ended, "/steps/0")), "stopped", "{ended:#}");
    assert!(jobs(&ended).iter().all(|job| reason(job) == "stopped"), "{ended:#}");
    assert_eq!(board.containers(&id), [""; 0]);
}

#[test]
fn g14_g15_parts_have_their_own_image_user_folder_volume_and_limits() {
    let board = Board::new();
    let look = "id -u; pwd; (echo x > /data/x) 2>/dev/null || echo read-only; \
                cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
    let worker = format!("{look}; {WAIT}");
    let task = "  user: 1000\n  workdir: /tmp\n  volume_read_only: true\n  resources: {cpu: 1}\n";
    let dial = format!("{look}; sleep 1");
    let operation = gang("PI", &dial, &worker, (task, ""))
        .replace("    worker:\n", "    worker:\n      image: {name: ep, tag: \"1\"}\n      resources: {cpu: 2}\n");
    let id = board.submit(&operation);
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    let said = |member: &str| board.ask(&["logs", &format!("{id}.PI.{member}")]);
    assert_eq!(said("launcher"), "1000\n/tmp\nread-only\n100000");
    assert_eq!(said("worker-0"), "1000\n/tmp\nread-only\n200000");
}

#[test]
fn g16_array_of_gangs_runs_one_at_a_time_and_all_members_know_its_number() {
    let board = Board::new();
    let launcher =
        "for n in 0 1; do while [ ! -e /data/$TASK_ID.$n ]; do sleep 0.05; done; done; echo launcher $TASK_ID";
    let worker = format!("touch /data/$TASK_ID.$(hostname | tail -c 2); {WAIT}");
    let task = "  array: {begin: 1, end: 3, max_parallel: 1}\n";
    let id = board.submit(&gang("PI", launcher, &worker, (task, "")));
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    assert_eq!(jobs(&ended).len(), 9);
    for number in 1..=3 {
        assert_eq!(board.ask(&["logs", &format!("{id}.PI.{number}.launcher")]), format!("launcher {number}"));
    }
    let times = |number: usize, key: &str| {
        let mine = jobs(&ended).iter().filter(|job| job["unit"] == number);
        mine.map(|job| job[key].as_str().expect("a time").to_owned()).collect::<Vec<_>>()
    };
    for number in 0..2 {
        let last = times(number, "ended_at").into_iter().max();
        assert!(last <= times(number + 1, "started_at").into_iter().min(), "two gangs at once: {ended:#}");
    }
}

#[test]
fn g17_g18_gang_without_workers_or_with_too_long_names_is_refused_naming_the_field() {
    let board = Board::new();
    let whole = gang("PI", "true", WAIT, ("", ""));
    let said = refused(&board, &whole.replace("    workers: 2\n", ""));
    assert!(said.contains("gang.workers") && said.contains("missing"), "{said}");
    let said = refused(&board, &whole.replace("workers: 2", "workers: 0"));
    assert!(said.contains("gang.workers"), "{said}");
    let said = refused(&board, &whole.replace("  image: {name: busybox, tag: \"1\"}\n", ""));
    assert!(said.contains("image") && said.contains("missing"), "{said}");
    let long = "p".repeat(60 - board.tenant.len() - 1);
    let said = refused(&board, &whole.replace("pod_name: pi", &format!("pod_name: {long}")));
    assert!(said.contains("tasks[0].pod_name") && said.contains("63"), "{said}");
}
