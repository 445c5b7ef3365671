//! What the tests on real Podman share: a Podman service of their own on the test bed's store, a daemon of their own,
//! and the tool.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "each test program includes this file and uses its part of it; a test says what it expects"
)]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest that anything in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The folder of the test bed.
fn bed() -> PathBuf {
    let bed = std::env::var_os("PERIGEE_TESTBED").map(PathBuf::from);
    let bed = bed.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testbed"));
    assert!(bed.join("containers.conf").exists(), "no test bed: run `bash tests/testbed/up.sh` first (make test does)");
    bed
}

/// Environment of every podman command: the test bed's own store and configuration.
pub fn bed_environment() -> [(&'static str, PathBuf); 2] {
    let bed = bed();
    [("CONTAINERS_CONF", bed.join("containers.conf")), ("CONTAINERS_STORAGE_CONF", bed.join("storage.conf"))]
}

/// Runs podman on the test bed and returns what it printed.
pub fn podman(arguments: &[&str]) -> String {
    let output = Command::new("podman").envs(bed_environment()).args(arguments).output().expect("podman runs");
    assert!(output.status.success(), "podman {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What podman lists. A listing breaks off when another test removes something meanwhile: then it is asked for again.
pub fn listed(arguments: &[&str]) -> String {
    until("a listing", || {
        let output = Command::new("podman").envs(bed_environment()).args(arguments).output().expect("podman runs");
        output.status.success().then(|| text(&output.stdout))
    })
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// Looks again and again until a condition holds; fails when patience runs out.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    patiently(PATIENCE, look).unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Looks again and again until a condition holds or the time is over.
#[expect(clippy::disallowed_methods, reason = "a test measures its own patience")]
pub fn patiently<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = look();
        if found.is_some() || start.elapsed() > patience {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A TCP port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A Podman service of one test.
pub struct Podman {
    pub socket: PathBuf,
    child: Child,
}

impl Podman {
    /// Starts a service on a socket and waits until it listens.
    pub fn start(socket: &Path) -> Self {
        let _ = fs::remove_file(socket);
        let child = Command::new("podman")
            .envs(bed_environment())
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", socket.display()))
            // conmon leaves a file named `oom` where it is started.
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman starts");
        until("the podman service", || std::os::unix::net::UnixStream::connect(socket).ok());
        Self { socket: socket.to_owned(), child }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Freezes it: it accepts connections and never answers.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    /// Kills it; what is dead already stays dead.
    pub fn kill(&mut self) {
        if self.child.try_wait().expect("waited").is_some() {
            return;
        }
        self.thaw();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -s {name} {pid}");
}

/// A board of one test: its folders, its Podman, its daemon.
pub struct Board {
    pub folder: TempDir,
    pub podman: Podman,
    pub network: String,
    /// Its own, because all boards share the bed's volumes.
    pub tenant: String,
    /// Further environment of the daemon.
    pub environment: Vec<(&'static str, String)>,
    daemon: Option<Child>,
}

impl Board {
    /// A board whose daemon runs.
    pub fn new() -> Self {
        Self::with("")
    }

    /// A board whose daemon runs with these further lines of configuration.
    pub fn with(config: &str) -> Self {
        let mut board = Self::cold(config);
        board.start();
        board
    }

    /// A board whose daemon does not run yet.
    pub fn cold(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder");
        let podman = Podman::start(&folder.path().join("podman.sock"));
        let name = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        let tenant = format!("t{}", name.trim_start_matches("pg").to_lowercase());
        let board = Self { folder, podman, network: format!("test-{name}"), tenant, environment: vec![], daemon: None };
        board.write_config(config);
        board
    }

    /// A path below the board's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the daemon's configuration anew.
    pub fn write_config(&self, further: &str) {
        let network =
            if further.contains("network:") { String::new() } else { format!("network: {{name: {}}}\n", self.network) };
        let grace = if further.contains("stop_grace_seconds") { "" } else { "stop_grace_seconds: 5\n" };
        let exit_path = std::env::var("PERIGEE_EXIT_PATH").map(|path| format!("exit_path: {path}\n"));
        let exit_path = exit_path.ok().filter(|_| !further.contains("exit_path")).unwrap_or_default();
        let text = format!(
            "state_dir: {0}/state\nruntime_dir: {0}/run\nnodes:\n  mpu: {{podman: \"unix://{0}/podman.sock\"}}\n{grace}{network}{exit_path}{further}\n",
            self.folder.path().display()
        );
        fs::write(self.path("perigee.yaml"), text).expect("configuration");
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        until("the daemon", || self.tool(&["status"]).status.success().then_some(()));
    }

    /// Starts the daemon without waiting.
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let log = File::options().create(true).append(true).open(self.path("daemon.log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_perigeed"))
            .arg("--config")
            .arg(self.path("perigee.yaml"))
            .env("PERIGEE_LOG", "perigee=debug")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("perigeed starts");
        self.daemon = Some(child);
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    /// What its descriptors are.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("descriptors");
        let named = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        named.map(|name| name.display().to_string()).collect()
    }

    /// Kills the daemon as a crash would.
    pub fn crash(&mut self) {
        let mut child = self.daemon.take().expect("a daemon");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// Tells the daemon to leave and returns its exit code.
    pub fn leave(&mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        let mut child = self.daemon.take().expect("a daemon");
        let status = until("the daemon to leave", || child.try_wait().expect("waited"));
        status.code()
    }

    /// Runs the tool against this board.
    pub fn tool(&self, arguments: &[&str]) -> Output {
        self.tool_started(arguments).wait_with_output().expect("perigee runs")
    }

    /// Starts the tool against this board and does not wait for it.
    pub fn tool_started(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_perigee"))
            .arg("--socket")
            .arg(self.path("run/control.sock"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("perigee starts")
    }

    /// Runs the tool; it must succeed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "perigee {arguments:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Runs the tool with `-o json`; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.ask(&[&["-o", "json"], arguments].concat());
        serde_json::from_str(&printed).expect("JSON")
    }

    /// The end of the daemon's log.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("hyper")).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Packs and submits a whole operation for the board's tenant.
    pub fn submit_as(&self, operation: &str) -> String {
        let bundle = self.pack_whole(&self.tenant, operation);
        self.ask(&["submit", &bundle.display().to_string()])
    }

    /// Packs an operation, given as the YAML of its tasks, for a tenant.
    pub fn pack_for(&self, tenant: &str, tasks: &str) -> PathBuf {
        self.pack_whole(tenant, &format!("id: test\ntasks:\n{tasks}"))
    }

    /// Packs a whole operation for a tenant.
    pub fn pack_whole(&self, tenant: &str, text: &str) -> PathBuf {
        let id = uuid::Uuid::now_v7().to_string();
        let operation = self.path(&format!("op-{id}.yaml"));
        fs::write(&operation, text).expect("operation");
        let bundle = operation.with_extension("packed");
        let path = |path: &Path| path.display().to_string();
        self.ask(&["pack", &path(&operation), "--tenant", tenant, "-o", &path(&bundle)]);
        bundle
    }

    /// Packs and submits an operation file for the board's tenant; returns its execution id.
    pub fn submit_file(&self, operation: &Path, further: &[&str]) -> String {
        let bundle = self.path(&format!("{}.packed", uuid::Uuid::now_v7()));
        let (operation, bundle) = (operation.display().to_string(), bundle.display().to_string());
        let pack = ["pack", &operation, "--tenant", &self.tenant, "-o", &bundle];
        self.ask(&[&pack[..], further].concat());
        self.ask(&["submit", &bundle])
    }

    /// The output document of a step.
    pub fn output(&self, execution: &str, step: &str) -> Value {
        serde_json::from_str(&self.ask(&["output", &format!("{execution}.{step}")])).expect("JSON")
    }

    /// Packs an operation for the board's tenant.
    pub fn pack(&self, tasks: &str) -> PathBuf {
        self.pack_for(&self.tenant, tasks)
    }

    /// Packs and submits an operation for the board's tenant; returns its execution id.
    pub fn submit(&self, tasks: &str) -> String {
        self.submit_for(&self.tenant, tasks)
    }

    /// Packs and submits an operation for a tenant.
    pub fn submit_for(&self, tenant: &str, tasks: &str) -> String {
        let bundle = self.pack_for(tenant, tasks);
        self.ask(&["submit", &bundle.display().to_string()])
    }

    /// Packs an operation and submits it to be held.
    pub fn submit_held(&self, tasks: &str) -> String {
        let bundle = self.pack(tasks);
        self.ask(&["submit", "--hold", &bundle.display().to_string()])
    }

    /// Waits for the end of an execution and returns its status.
    pub fn ended(&self, id: &str) -> Value {
        let waited = self.tool(&["wait", id, "--timeout", "110s"]);
        assert!(waited.status.success(), "{}\n{}\n{}", text(&waited.stderr), self.status(id), self.log());
        self.status(id)
    }

    /// Submits an operation and waits for its end.
    pub fn fly(&self, tasks: &str) -> Value {
        let id = self.submit(tasks);
        self.ended(&id)
    }

    /// The status of an execution, step or job.
    pub fn status(&self, id: &str) -> Value {
        self.json(&["status", id])
    }

    /// Waits until an execution, step or job is in a state.
    pub fn reaches(&self, id: &str, state: &str) {
        let waited = self.tool(&["wait", id, "--for", state, "--timeout", "110s"]);
        assert!(
            waited.status.success(),
            "{id} never was {state}: {}\n{}\n{}",
            text(&waited.stderr),
            self.status(id),
            self.log()
        );
    }

    /// Names of all containers of an execution, whatever their state.
    pub fn containers(&self, id: &str) -> Vec<String> {
        let filter = format!("label=perigee.execution={id}");
        listed(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }

    /// What a file of the tenant's volume `payload` holds, if the volume and the file are there.
    pub fn in_volume(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.volume()?.join(path)).ok()
    }

    /// The folder of the tenant's volume `payload`, if it is there.
    pub fn volume(&self) -> Option<PathBuf> {
        let folder = bed().join(format!("storage/volumes/{}.payload/_data", self.tenant));
        folder.exists().then_some(folder)
    }

    /// The outbox entry of an execution.
    pub fn outbox(&self, id: &str) -> PathBuf {
        self.path("state/downlink").join(id)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("daemon log:\n{}", self.log());
        }
        // Looked up in the bed's folders first: a Podman that finds nothing costs as much as one that removes.
        let networks = begin("networks", &self.network);
        if !networks.is_empty() {
            let mine = listed(&["ps", "--all", "--quiet", "--filter", &format!("network={}", self.network)]);
            for id in mine.lines() {
                podman(&["rm", "--force", "--time=0", id]);
            }
        }
        for name in networks.iter().filter_map(|name| name.strip_suffix(".json")) {
            let _ = Command::new("podman").envs(bed_environment()).args(["network", "rm", "--force", name]).output();
        }
        // By name and without force: the same image may have another's name too, and containers of another test.
        let own = format!("localhost/{}/", self.tenant);
        let named = fs::read_to_string(bed().join("storage/overlay-images/images.json")).unwrap_or_default();
        if named.contains(&own) {
            let images = listed(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
            for name in images.lines().filter(|name| name.starts_with(&own)) {
                let _ = Command::new("podman").envs(bed_environment()).args(["rmi", name]).output();
            }
        }
        for name in begin("storage/volumes", &self.tenant) {
            let _ = Command::new("podman").envs(bed_environment()).args(["volume", "rm", &name]).output();
        }
    }
}

/// The names in a folder of the bed that begin so.
fn begin(folder: &str, with: &str) -> Vec<String> {
    let entries = fs::read_dir(bed().join(folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(with)).collect()
}

/// YAML of a pod_run task on the busybox image: `sh -c SCRIPT`, with further keys.
pub fn pod(id: &str, pod_name: &str, script: &str, further: &[&str]) -> String {
    let script = serde_json::to_string(script).expect("text");
    let mut yaml = format!(
        "- id: {id}\n  type: dphi.space.cg2.pod.run\n  pod_name: {pod_name}\n  image: {{name: busybox, tag: \"1\"}}\n  \
         command: [/bin/sh, -c]\n  args: [{script}]\n  volume: payload\n"
    );
    for line in further {
        yaml.push_str(&format!("  {line}\n"));
    }
    yaml
}

/// A field of a JSON value by pointer, as text.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}
