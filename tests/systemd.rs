//! The unit on a real systemd: a privileged container boots the image of `tests/testbed/systemd-root.sh` with what
//! `make install` puts on a board. No Podman is in it; one test gives it the test bed's.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test says what it expects, and a failed one what it saw"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use support::{Board, at, bed_environment, pod, podman, text, until};

const IMAGE: &str = "localhost/systemd:1";
const UNIT: &str = "/usr/lib/systemd/system/perigeed.service";
const CONFIG: &str = "/etc/perigee/conf.d/10-test.yaml";
const CONTROL: &str = "/run/perigee/control.sock";
const STATUS: &str = "/run/perigee/status.sock";

#[test]
fn unit_is_free_of_mistakes_and_of_needless_rights() {
    let machine = Machine::boot(&[]);
    let verified = machine.run(&["systemd-analyze", "verify", UNIT]);
    assert_eq!((verified.status.success(), text(&verified.stderr)), (true, String::new()));
    let unit = machine.sh(&format!("cat {UNIT}"));
    machine.write("/tmp/perigeed.service", &unit.replace("Type=notify", "Type=notfy"));
    let misspelt = machine.run(&["systemd-analyze", "verify", "/tmp/perigeed.service"]);
    assert!(text(&misspelt.stderr).contains("notfy"), "verify overlooks a mistake: {}", text(&misspelt.stderr));

    let exposed_above = |tenths: &str| {
        let threshold = format!("--threshold={tenths}");
        machine.run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &threshold, "perigeed.service"])
    };
    let gate = exposed_above("23");
    assert!(gate.status.success(), "{}", text(&gate.stdout));
    assert!(!exposed_above("10").status.success(), "the gate lets everything through");
}

#[test]
fn start_ends_when_the_daemon_is_ready_and_systemd_shows_its_state() {
    let machine = Machine::boot(&[]);
    assert_eq!(machine.sh("stat -c '%a %U %G' /var/lib/perigee/uplink"), "2770 root perigee", "sysusers and tmpfiles");
    machine.write(CONFIG, "control_group: perigee\n");
    let first = machine.sh("systemctl enable --now --quiet perigeed && perigee -o json status");
    let first: Value = serde_json::from_str(&first).expect("an answer at once, in JSON");
    assert!(first["version"].is_string(), "{first}");
    assert_eq!((machine.show("Type"), machine.show("ActiveState")), ("notify".to_owned(), "active".to_owned()));
    assert_eq!(machine.sh(&format!("stat -c '%a %G' {CONTROL} {STATUS}")), "660 perigee\n666 root");

    let away = "podman at /run/podman/podman.sock does not answer";
    let line = machine.status_text_with(away);
    assert!(line.starts_with("idle; "), "{line}");
    assert!(text(&machine.run(&["systemctl", "status", "perigeed"]).stdout).contains(&line), "{line}");
    let status = machine.status();
    assert_eq!(
        (&status["health"], at(&status, "/troubles/0/name")),
        (&"degraded".into(), &"engine_unreachable".into())
    );

    let entry = machine.journal().into_iter().find(|entry| entry["PERIGEE_ERROR"].is_string());
    let entry = entry.expect("an entry with a field");
    let (message, error) = (entry["MESSAGE"].as_str().expect("text"), entry["PERIGEE_ERROR"].as_str().expect("text"));
    assert!(error.contains(away) && message.contains(error), "the message does not say all: {entry:#}");
    assert_eq!((&entry["PRIORITY"], &entry["_SYSTEMD_UNIT"]), (&"4".into(), &"perigeed.service".into()));
}

#[test]
fn stop_is_clean_quick_and_takes_the_sockets_along() {
    let machine = Machine::boot(&[]);
    machine.write("/run/perigee/conf.d/10-test.yaml", "time_scale: 2\n");
    machine.sh("systemctl start perigeed");
    assert_eq!(machine.status()["time_scale"], 2);
    machine.sh("timeout 5 systemctl stop perigeed");
    assert_eq!(machine.end(), "inactive success 0");
    assert_eq!(machine.sh("find /run/perigee -type s"), "");
    machine.sh("systemctl start perigeed");
    assert_eq!(machine.status()["time_scale"], 2, "the drop-in in /run did not outlive the stop");
}

#[test]
fn sandbox_holds_inside_the_daemons_own_namespace() {
    let machine = Machine::boot(&[]);
    machine.write("/root/secret", "secret");
    machine.sh("systemctl start perigeed");
    let pid = machine.show("MainPID");
    let inside = |script: &str| machine.run(&["nsenter", "-t", &pid, "-m", "sh", "-c", script]);
    for folder in
        ["/usr/bin", "/etc", "/etc/perigee", "/run", "/run/systemd", "/var/lib", "/var/lib/containers/storage"]
    {
        let refused = inside(&format!("echo x > {folder}/trial"));
        assert!(text(&refused.stderr).contains("Read-only file system"), "{folder}: {}", text(&refused.stderr));
    }
    for folder in ["/var/lib/perigee", "/run/perigee", "/var/lib/containers/storage/volumes", "/tmp"] {
        let written = inside(&format!("echo x > {folder}/trial"));
        assert!(written.status.success(), "{folder}: {}", text(&written.stderr));
    }
    machine.sh("test -e /var/lib/perigee/trial && test ! -e /tmp/trial");
    assert!(!inside("cat /root/secret").status.success(), "/root can be seen");

    let process = machine.sh(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {process}")).trim().to_owned()
    };
    let rights =
        [("cap_chown", 0), ("cap_dac_override", 1), ("cap_fowner", 3), ("cap_kill", 5), ("cap_net_bind_service", 10)];
    let names: BTreeSet<&str> = rights.iter().map(|(name, _)| *name).collect();
    assert_eq!(machine.show("CapabilityBoundingSet").split(' ').collect::<BTreeSet<_>>(), names);
    let mask = format!("{:016x}", rights.iter().map(|(_, bit)| 1u64 << bit).sum::<u64>());
    assert_eq!((field("CapBnd"), field("CapEff")), (mask.clone(), mask));
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
    let limits = "/sys/fs/cgroup/memory/system.slice/perigeed.service/memory.limit_in_bytes \
                  /sys/fs/cgroup/system.slice/perigeed.service/memory.max";
    let limit = machine.sh(&format!("cat {limits} 2>/dev/null || true"));
    assert_eq!(limit, (512 << 20).to_string(), "one of {limits}");
}

#[test]
fn frozen_or_killed_daemon_comes_back_with_its_state() {
    let board = Board::cold("");
    let machine = Machine::boot(&[]);
    machine.override_unit("WatchdogSec=1s\nRestartSec=100ms");
    machine.sh("systemctl start perigeed");
    let id = machine.submit(&board.pack(&pod("A", "a", "true", &[])), &["--hold"]);

    let fed = || machine.show("WatchdogTimestampMonotonic");
    let before = fed();
    until("the idle daemon to feed the watchdog", || (fed() != before).then_some(()));

    for (signal, verdict) in [("STOP", "Watchdog timeout"), ("KILL", "code=killed, status=9/KILL")] {
        let pid = machine.show("MainPID");
        machine.sh(&format!("kill -s {signal} {pid}"));
        until(&format!("a new daemon after SIG{signal}"), || {
            (machine.show("SubState") == "running" && machine.show("MainPID") != pid).then_some(())
        });
        let journal = machine.sh("journalctl --no-pager -u perigeed");
        assert!(journal.contains(verdict), "SIG{signal}: {journal}");
        assert_eq!(
            machine.sh(&format!("perigee -o json status {id}")).parse::<Value>().expect("JSON")["state"],
            "held"
        );
    }
    assert_eq!(machine.show("NRestarts"), "2");
}

#[test]
fn configuration_that_cannot_be_used_ends_the_first_start_once_and_no_later_one() {
    let machine = Machine::boot(&[]);
    for (text, said) in [
        ("stop_grace_seconds: 0\n", format!("{CONFIG}: stop_grace_seconds: found 0, expected 1 to 240")),
        ("\nstop_grace: 5\n", format!("{CONFIG}:2: unknown field `stop_grace`")),
        ("control_group: nobody-knows\n", format!("{CONFIG}: control_group: there is no group `nobody-knows`")),
    ] {
        machine.write(CONFIG, text);
        machine.refuses_to_start(2, &format!("perigeed: the configuration cannot be used: {said}"));
    }
    machine.sh(&format!("rm {CONFIG} && systemctl start perigeed"));
    assert_eq!(machine.show("NRestarts"), "0");

    // It has run: a mistake in an update leaves it commandable.
    machine.write(CONFIG, "\nstop_grace: 5\n");
    machine.sh("systemctl restart perigeed");
    let said = format!("{CONFIG}:2: unknown field `stop_grace`");
    let line = machine.status_text_with(&said);
    assert!(line.contains("the last good configuration holds"), "{line}");
    assert!(at(&machine.status(), "/troubles").to_string().contains("config_invalid"));
    machine.sh(&format!("rm {CONFIG} && systemctl reload perigeed"));
    until("the trouble to be over", || {
        (!at(&machine.status(), "/troubles").to_string().contains("config_invalid")).then_some(())
    });
    assert_eq!((machine.show("ActiveState"), machine.show("NRestarts")), ("active".to_owned(), "0".to_owned()));
}

#[test]
fn state_directory_in_use_ends_the_daemon_once() {
    let machine = Machine::boot(&[]);
    machine.sh("exec 9>/var/lib/perigee/lock; flock 9; sleep infinity & echo $! > /tmp/holder");
    machine.refuses_to_start(3, "perigeed: the state directory /var/lib/perigee is in use by another perigeed");
    machine.sh("kill $(cat /tmp/holder)");
    until("the lock to be free", || {
        machine.run(&["flock", "-n", "/var/lib/perigee/lock", "true"]).status.success().then_some(())
    });
    machine.sh("systemctl start perigeed");
}

#[test]
fn reload_keeps_the_last_good_configuration_and_says_so_until_it_is_mended() {
    let machine = Machine::boot(&[]);
    machine.sh("systemctl start perigeed");
    let pid = machine.show("MainPID");
    let troubles = || at(&machine.status(), "/troubles").to_string();
    let nodes = || machine.sh("perigee -o json nodes");

    machine.write(CONFIG, "nodes:\n  gpu: {podman: tcp://elsewhere}\n");
    machine.sh("systemctl reload perigeed");
    let said = until("the trouble", || Some(troubles()).filter(|all| all.contains("config_invalid")));
    for word in [CONFIG, "nodes: gpu.podman: found `tcp://elsewhere`", "the last good configuration holds"] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
    assert!(machine.show("StatusText").contains("the last good configuration holds"), "{}", machine.show("StatusText"));
    assert!(!nodes().contains("gpu"));

    machine.write(CONFIG, "nodes:\n  gpu: {podman: 'unix:///run/gpu/podman.sock'}\n");
    machine.sh("systemctl reload perigeed");
    until("the trouble to be over", || (!troubles().contains("config_invalid")).then_some(()));
    assert!(nodes().contains("gpu"));
    machine.status_text_with("podman at /run/gpu/podman.sock does not answer");
    machine.sh(&format!("rm {CONFIG}; systemctl reload perigeed"));
    until("the removed node to be no trouble", || (!troubles().contains("/run/gpu")).then_some(()));
    assert_eq!((machine.show("MainPID"), machine.show("NRestarts")), (pid, "0".to_owned()));
}

/// Under Podman's manager `systemd` the group of an attempt is a slice, which stays until somebody stops it.
#[test]
fn slice_of_an_attempt_can_be_read_and_removed_from_inside_the_sandbox() {
    let machine = Machine::boot(&[]);
    machine.sh("systemd-run --quiet --scope --slice=perigee-trial.slice true");
    assert_eq!(machine.sh("systemctl is-active perigee-trial.slice"), "active", "a slice outlives what was in it");
    machine.override_unit(
        "ExecStartPre=sh -c 'cat /sys/fs/cgroup/*/perigee.slice/perigee-trial.slice/cgroup.procs && \
         ! mkdir /sys/fs/cgroup/memory/trial /sys/fs/cgroup/trial'\n\
         ExecStartPre=systemctl stop perigee-trial.slice",
    );
    machine.sh("systemctl start perigeed");
    assert_eq!(text(&machine.run(&["systemctl", "is-active", "perigee-trial.slice"]).stdout), "inactive");
    assert_eq!(machine.sh("find /sys/fs/cgroup -maxdepth 4 -name perigee-trial.slice"), "");
}

/// What the sandbox must let through: the socket, files of others in volumes, a port below 1024, time to stop pods.
#[test]
fn operation_flies_from_inside_the_sandbox_and_stop_waits_for_its_pods() {
    const PAYLOAD: Option<u32> = Some(1000);
    let board = Board::cold("");
    let claim = format!("{}.payload", board.tenant);
    podman(&["volume", "create", "--label", &format!("perigee.tenant={}", board.tenant), &claim]);
    let volume = PathBuf::from(podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &claim]));
    for (folder, mode, file) in [("private", 0o700, "result.txt"), ("inbox", 0o1777, "greeting.txt")] {
        let (folder, file) = (volume.join(folder), volume.join(folder).join(file));
        fs::create_dir(&folder).and_then(|()| fs::write(&file, "theirs")).expect("files of the payload");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode");
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("mode");
        [&folder, &file].iter().for_each(|path| chown(path, PAYLOAD, PAYLOAD).expect("owner"));
    }
    let volumes = volume.ancestors().nth(2).expect("Podman's folder of volumes").display().to_string();
    let machine = Machine::boot(&[(board.folder.path(), "/run/podman"), (Path::new(&volumes), &volumes)]);
    machine.override_unit(&format!("BindPaths={volumes}\nTimeoutStopSec=1s"));
    machine.write(CONFIG, &format!("network: {{name: {}}}\nstop_grace_seconds: 3\non_exit: stop\n", board.network));
    let (socket, away) = (board.path("podman.sock"), board.path("podman.away"));
    fs::rename(&socket, &away).expect("no Podman");
    machine.sh("systemctl start perigeed");
    machine.status_text_with("does not answer");
    fs::rename(&away, &socket).expect("a Podman again");

    fs::write(board.path("greeting.txt"), "ours").expect("a file to uplink");
    let port = (600..1024).rev().find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port");
    let ports = format!("ports: [{{container: 80, host: {port}}}]");
    let tasks = [
        "- {id: UP, type: dphi.space.cg2.uplink, source: [greeting.txt], destination: /inbox, volume: payload}\n",
        &pod("RUN", "runner", "cat /data/inbox/greeting.txt", &[&ports]),
        "- {id: DOWN, type: dphi.space.cg2.downlink, source: [private/result.txt], volume: payload}\n",
    ];
    let id = machine.submit(&board.pack(&tasks.concat()), &[]);
    machine.sh(&format!("perigee wait {id} --timeout 100s"));
    let status: Value = machine.sh(&format!("perigee -o json status {id}")).parse().expect("JSON");
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!(machine.sh(&format!("perigee logs {id}.RUN")), "ours");
    assert_eq!(machine.sh(&format!("tar -xOf /var/lib/perigee/downlink/{id}/DOWN.tar")), "theirs");
    assert_eq!(machine.show("StatusText"), "idle");

    // A process without a handler for SIGTERM is deaf to it as the first of its container.
    let id = machine.submit(&board.pack(&pod("DEAF", "deaf", "sleep 600", &[])), &[]);
    machine.sh(&format!("perigee wait {id}.DEAF --for running --timeout 100s"));
    machine.sh("timeout 60 systemctl stop perigeed");
    assert_eq!(machine.end(), "inactive success 0");
    assert_eq!(board.containers(&id), [""; 0]);
    machine.sh("systemctl start perigeed");
    let status: Value = machine.sh(&format!("perigee -o json status {id}")).parse().expect("JSON");
    assert_eq!((&status["state"], at(&status, "/steps/0/reason/name")), (&"failed".into(), &"stopped".into()));
}

/// What `make install` puts on a board, with the programs under test.
fn installed() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installed");
        let built = Path::new(env!("CARGO_BIN_EXE_perigeed")).parent().expect("a folder");
        let made = Command::new("make")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("MAKEFLAGS")
            .args(["install", "CARGO=true"])
            .arg(format!("BUILT={}", built.display()))
            .arg(format!("DESTDIR={}", tree.display()))
            .output()
            .expect("make runs");
        assert!(made.status.success(), "make install: {}", text(&made.stderr));
        tree
    })
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A booted container. It is removed with its test, whatever becomes of that.
struct Machine {
    id: String,
}

impl Machine {
    /// Boots with the installed files and further mounts, and waits until systemd has done with that.
    fn boot(mounts: &[(&Path, &str)]) -> Self {
        let mut arguments: Vec<String> =
            ["run", "--detach", "--systemd=always", "--privileged", "--cgroupns=private"].map(str::to_owned).into();
        for file in files_below(installed()) {
            let inside = file.strip_prefix(installed()).expect("below").display().to_string();
            arguments.push(format!("--volume={}:/{inside}:ro", file.display()));
        }
        arguments.extend(mounts.iter().map(|(from, to)| format!("--volume={}:{to}", from.display())));
        arguments.push(IMAGE.to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let machine = Self { id: podman(&arguments) };
        until("systemd to boot", || {
            let state = text(&machine.run(&["systemctl", "is-system-running"]).stdout);
            ["running", "degraded"].contains(&state.as_str()).then_some(())
        });
        machine
    }

    /// Runs a program in it.
    fn run(&self, command: &[&str]) -> Output {
        self.feed(command, b"")
    }

    fn feed(&self, command: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("podman")
            .envs(bed_environment())
            .args(["exec", "--interactive", &self.id])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("podman runs");
        child.stdin.take().expect("a pipe").write_all(input).expect("fed");
        child.wait_with_output().expect("podman ends")
    }

    /// Runs a script in it that must succeed; returns what it printed.
    fn sh(&self, script: &str) -> String {
        let output = self.run(&["sh", "-c", script]);
        assert!(output.status.success(), "`{script}`: {} {}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Writes a file in it, and the folder above.
    fn write(&self, path: &str, content: &str) {
        let script = format!("mkdir -p $(dirname {path}) && cat > {path}");
        let output = self.feed(&["sh", "-c", &script], content.as_bytes());
        assert!(output.status.success(), "{path}: {}", text(&output.stderr));
    }

    /// Adds lines to the unit's `[Service]`.
    fn override_unit(&self, lines: &str) {
        self.write("/etc/systemd/system/perigeed.service.d/test.conf", &format!("[Service]\n{lines}\n"));
        self.sh("systemctl daemon-reload");
    }

    /// A property of the unit.
    fn show(&self, property: &str) -> String {
        self.sh(&format!("systemctl show --value -p {property} perigeed"))
    }

    /// How the daemon ended: state, result, exit code.
    fn end(&self) -> String {
        ["ActiveState", "Result", "ExecMainStatus"].map(|property| self.show(property)).join(" ")
    }

    /// The status line once it contains these words.
    fn status_text_with(&self, words: &str) -> String {
        until(words, || Some(self.show("StatusText")).filter(|line| line.contains(words)))
    }

    /// What `perigee status` says.
    fn status(&self) -> Value {
        self.sh("perigee -o json status").parse().expect("JSON")
    }

    /// The journal of the unit.
    fn journal(&self) -> Vec<Value> {
        let lines = self.sh("journalctl --no-pager -o json -u perigeed");
        lines.lines().map(|line| line.parse().expect("JSON")).collect()
    }

    /// Hands in a bundle; returns its execution.
    fn submit(&self, bundle: &Path, options: &[&str]) -> String {
        let command = [&["perigee", "submit", "-"], options].concat();
        let output = self.feed(&command, &fs::read(bundle).expect("a bundle"));
        assert!(output.status.success(), "submit: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Starts the daemon, which must end with this code, say this once, and not be tried again.
    fn refuses_to_start(&self, code: u8, line: &str) {
        assert!(!self.run(&["systemctl", "start", "perigeed"]).status.success(), "it starts: {line}");
        // A unit that is to be tried again is `activating`, never `failed`.
        assert_eq!(self.end(), format!("failed exit-code {code}"), "{line}");
        assert_eq!(self.show("NRestarts"), "0", "{line}");
        let journal = self.journal();
        let said = journal.iter().filter(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with(line)));
        assert_eq!(said.count(), 1, "`{line}` in {journal:#?}");
        let status = text(&self.run(&["systemctl", "status", "--no-pager", "--full", "perigeed"]).stdout);
        assert!(status.contains(line), "{status}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", text(&self.run(&["journalctl", "--no-pager", "-u", "perigeed"]).stdout));
        }
        let remove = ["rm", "--force", "--time=0", "--volumes", &self.id];
        let removed = Command::new("podman").envs(bed_environment()).args(remove).output();
        assert!(
            std::thread::panicking() || removed.is_ok_and(|output| output.status.success()),
            "the container stayed: {}",
            self.id
        );
    }
}
