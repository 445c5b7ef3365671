//! What is measured and what is measured beside it: a board with its daemon, the same Podman by hand, an image whose
//! process stamps its first and its last instruction.
//!
//! Must not: judge.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hyper::Method;
use perigee::wire;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::machine;
use crate::support::{Board, at, bed_environment, listed, podman, text};

/// The log as it is in flight, where there is no wish to see more.
const LOG: &str = "info";

/// The image of the stamping process; goes when this goes.
pub struct Image {
    name: String,
}

impl Image {
    /// Compiles the process and makes an image of it alone.
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("stamp");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/stamp.c");
        let compiled = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).output();
        let compiled = compiled.expect("the C compiler that cargo links with");
        assert!(compiled.status.success(), "cc: {}", text(&compiled.stderr));
        let archive = folder.path().join("root.tar");
        let mut root = tar::Builder::new(File::create(&archive).expect("a file"));
        root.append_path_with_name(&program, "stamp").and_then(|()| root.finish()).expect("an archive");
        let name = format!("bench-stamp-{}", std::process::id());
        let reference = format!("localhost/{name}:1");
        podman(&["import", "--quiet", "-c", "ENTRYPOINT [\"/stamp\"]", &archive.display().to_string(), &reference]);
        Self { name }
    }

    fn reference(&self) -> String {
        format!("localhost/{}:1", self.name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("podman").envs(bed_environment()).args(["rmi", "--force", &self.reference()]).output();
    }
}

/// When a stamped process began and ended, in boot time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stamp {
    /// Its first instruction.
    pub start: i128,
    /// Its last.
    pub end: i128,
}

/// A board and its Podman, warm.
pub struct Rig<'a> {
    pub board: Board,
    image: &'a Image,
    runtime: Runtime,
    stamps: PathBuf,
    made: Cell<usize>,
}

impl<'a> Rig<'a> {
    /// A board that has flown a pod already: its network and its volume are there.
    pub fn new(image: &'a Image) -> Self {
        Self::prepared(image, "", |_| {})
    }

    /// The same with further configuration and with something that is done before its daemon starts.
    pub fn prepared(image: &'a Image, config: &str, prepare: impl FnOnce(&Board)) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut board = Board::cold(config);
        prepare(&board);
        board.environment.push(("PERIGEE_LOG", LOG.to_owned()));
        board.start();
        let mut rig = Self { board, image, runtime, stamps: PathBuf::new(), made: Cell::new(0) };
        rig.fly(&rig.task("WARM", "warm", 0));
        let volumes = listed(&["volume", "ls", "--format", "{{.Name}} {{.Mountpoint}}"]);
        let claim = rig.claim();
        let folder = volumes.lines().find_map(|line| line.strip_prefix(&format!("{claim} "))).expect("the volume");
        rig.stamps = Path::new(folder).join("stamps");
        rig
    }

    /// The folder of the tenant's volume.
    pub fn volume(&self) -> &Path {
        self.stamps.parent().unwrap_or(Path::new("/"))
    }

    /// The Podman volume of the board's tenant.
    fn claim(&self) -> String {
        format!("{}.payload", self.board.tenant)
    }

    /// The Podman service's process.
    pub fn service(&self) -> u32 {
        self.board.podman.pid()
    }

    /// YAML of a task whose pod lives so many milliseconds.
    pub fn task(&self, id: &str, name: &str, ms: u32) -> String {
        format!(
            "- {{id: {id}, type: dphi.space.cg2.pod.run, pod_name: {}, image: {{name: {}, tag: \"1\"}}, \
             command: [/stamp], args: [{name}, \"{ms}\"], volume: payload}}\n",
            id.to_lowercase(),
            self.image.name
        )
    }

    /// The same as a member of a merge group.
    pub fn member(&self, id: &str, name: &str, ms: u32) -> String {
        self.task(id, name, ms).replace("volume: payload}", "volume: payload, merge: true}")
    }

    /// Flies tasks to their end, which must be good; their execution.
    pub fn fly(&self, tasks: &str) -> String {
        let bundle = self.board.pack(tasks);
        let id = self.board.ask(&["submit", &bundle.display().to_string()]);
        self.ended(&id);
        id
    }

    /// Waits for a good end.
    pub fn ended(&self, id: &str) {
        let waited = self.board.tool(&["wait", id, "--timeout", "300s"]);
        assert!(waited.status.success(), "{}\n{}", text(&waited.stderr), self.board.log());
        let status = self.board.status(id);
        assert_eq!(status["state"], "succeeded", "{status:#}");
    }

    /// Waits for an end, good or not.
    pub fn over(&self, id: &str) {
        let waited = self.board.tool(&["wait", id, "--timeout", "300s"]);
        assert!(waited.status.code().is_some_and(|code| code != 1), "{}", text(&waited.stderr));
    }

    /// When something was first said of a part of an execution, in boot time: (part, event) as in `history`.
    pub fn history(&self, id: &str) -> BTreeMap<(String, String), i128> {
        let mut found = BTreeMap::new();
        for line in self.board.json(&["history", id]).as_array().expect("lines") {
            let word = |key: &str| line[key].as_str().expect("text");
            let part = word("id").strip_prefix(id).unwrap_or_default().trim_start_matches('.').to_owned();
            let when = machine::of_wall(word("at").parse().expect("an instant"));
            found.entry((part, word("event").to_owned())).or_insert(when);
        }
        found
    }

    /// All stamps so far, by name.
    pub fn stamps(&self) -> BTreeMap<String, Stamp> {
        let mut found: BTreeMap<String, Stamp> = BTreeMap::new();
        for line in fs::read_to_string(&self.stamps).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, what, when] = words[..] else { panic!("no stamp: {line}") };
            let stamp = found.entry(name.to_owned()).or_default();
            let when = when.parse().expect("a number");
            if what == "start" { stamp.start = when } else { stamp.end = when }
        }
        found
    }

    /// The stamps of these names, in this order; all must be there.
    pub fn stamped(&self, names: &[String]) -> Vec<Stamp> {
        let all = self.stamps();
        names.iter().map(|name| *all.get(name).unwrap_or_else(|| panic!("no stamp of {name}"))).collect()
    }

    /// A `podman run` on the same network with the same volume.
    pub fn podman_run(&self, options: &[&str], name: &str, ms: u32) -> Child {
        let volume = format!("{}:/data", self.claim());
        Command::new("podman")
            .envs(bed_environment())
            .args([&["run", "--network", &self.board.network, "-v", &volume], options].concat())
            .args([&self.image.reference(), name, &ms.to_string()])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("podman starts")
    }

    /// A document for `podman kube play`: one pod of one container, as much like ours as that form allows.
    pub fn manifest(&self, name: &str, ms: u32) -> String {
        let document = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{}-{name}", self.board.tenant)},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "c", "image": self.image.reference(), "args": [name, ms.to_string()],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": self.claim()}}],
            },
        });
        format!("---\n{document}\n")
    }

    /// `podman kube play` of documents.
    pub fn kube_play(&self, documents: &str) {
        self.made.set(self.made.get() + 1);
        let file = self.board.path(&format!("play-{}.yaml", self.made.get()));
        fs::write(&file, documents).expect("a file");
        podman(&["kube", "play", "--network", &self.board.network, &file.display().to_string()]);
    }

    /// The container of a played pod.
    pub fn played(&self, name: &str) -> String {
        format!("{}-{name}-c", self.board.tenant)
    }

    /// Removes played pods.
    pub fn unplay(&self, names: &[String]) {
        let pods: Vec<String> = names.iter().map(|name| format!("{}-{name}", self.board.tenant)).collect();
        let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
        podman(&[&["pod", "rm", "--force", "--time=0"], &pods[..]].concat());
    }

    /// A bare request to Podman's service, on a connection of its own.
    pub fn bare(&self, method: Method, path: &str, body: &Value) -> Value {
        self.runtime.block_on(self.request(method, path, body))
    }

    async fn request(&self, method: Method, path: &str, body: &Value) -> Value {
        const MOST: usize = 1 << 20;
        let path = format!("/v4.3.1/libpod/containers/{path}");
        let body = wire::full(body.to_string().into_bytes());
        let (status, answer) =
            wire::exchange(&self.board.podman.socket, method, &path, body, MOST).await.expect("podman answers");
        assert!(status.is_success(), "{path}: {status} {}", text(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Makes a container by the bare API.
    pub fn create(&self, name: &str, ms: u32) -> String {
        let made = json!({
            "name": format!("{}-{name}", self.board.tenant), "image": self.image.reference(),
            "command": [name, ms.to_string()], "netns": {"nsmode": "bridge"},
            "Networks": {&self.board.network: {}}, "volumes": [{"Name": self.claim(), "Dest": "/data"}],
        });
        at(&self.bare(Method::POST, "create", &made), "/Id").as_str().expect("an id").to_owned()
    }

    /// Asks something of several containers at once.
    pub fn all(&self, ids: &[String], verb: &str) {
        let paths: Vec<String> = ids.iter().map(|id| format!("{id}/{verb}")).collect();
        let asked = paths.iter().map(|path| self.request(Method::POST, path, &Value::Null));
        self.runtime.block_on(futures_util::future::join_all(asked));
    }

    /// Waits for the end of a container by the bare API.
    pub fn wait(&self, id: &str) {
        let how = "wait?condition=exited&condition=stopped&interval=10ms";
        self.bare(Method::POST, &format!("{id}/{how}"), &Value::Null);
    }

    /// Removes containers by the bare API.
    pub fn remove(&self, ids: &[String]) {
        for id in ids {
            self.bare(Method::DELETE, &format!("{id}?force=true&timeout=0"), &Value::Null);
        }
    }

    /// Asks the daemon something, over and over, on a connection each; how long each answer took, in milliseconds.
    pub fn questions(&self, paths: &[String], times: usize) -> Vec<f64> {
        const MOST: usize = 16 << 20;
        let socket = self.board.path("run/status.sock");
        let ask = |path: &String| {
            let start = machine::now();
            let asked = wire::exchange(&socket, Method::GET, path, wire::empty(), MOST);
            let (status, _) = self.runtime.block_on(asked).expect("an answer");
            assert!(status.is_success(), "{path}: {status}");
            machine::since(start)
        };
        (0..times).flat_map(|_| paths.iter().map(ask)).collect()
    }
}

impl Drop for Rig<'_> {
    fn drop(&mut self) {
        // What a measurement that failed left; the board removes the rest.
        let pods = listed(&["pod", "ls", "--format", "{{.Name}}"]);
        let own = format!("{}-", self.board.tenant);
        for name in pods.lines().filter(|name| name.starts_with(&own)) {
            let _ = Command::new("podman")
                .envs(bed_environment())
                .args(["pod", "rm", "--force", "--time=0", name])
                .output();
        }
    }
}
