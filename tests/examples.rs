//! Every operation file below docs/examples, packed and flown as it stands on real Podman, each on a board of its own.
//!
//! A new example is found by itself. One that needs something special has a row in `NEEDS`.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;
use support::{Board, at, bed_environment, free_port, podman, until};

/// Boards that fly at once.
const BOARDS: usize = 4;

/// What an example needs besides busybox and python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Its client dials the tenant of the documentation, and its port must be free here.
    TenantAndPort,
    /// A free port.
    Port,
    /// The folder with image archives.
    Archives,
    /// An instrument of the board.
    Instrument,
    /// The other example ends it.
    EndedBy(&'static str),
    /// Flown with the example that it ends.
    Ends,
    /// `tests/mpi.rs` flies it, when asked for.
    Mpi,
}

const NEEDS: [(&str, Need); 7] = [
    ("tcp/tcp-demo.yaml", Need::TenantAndPort),
    ("pod-run/pod-run.yaml", Need::Port),
    ("image-load/image-load.yaml", Need::Archives),
    ("fisheye/fisheye.yaml", Need::Instrument),
    ("pods/service.yaml", Need::EndedBy("pods/watch.yaml")),
    ("pods/watch.yaml", Need::Ends),
    ("jobs/gang.yaml", Need::Mpi),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples")
}

/// Every operation file, by its path below the folder.
fn examples() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match entry.is_dir() {
                true => walk(&entry, found),
                false => found.extend(entry.extension().is_some_and(|it| it == "yaml").then_some(entry)),
            }
        }
    }
    let mut found = Vec::new();
    walk(&folder(), &mut found);
    let names = found.iter().map(|path| path.strip_prefix(folder()).expect("below it").display().to_string());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn need(name: &str) -> Option<Need> {
    NEEDS.iter().find(|(of, _)| *of == name).map(|(_, need)| *need)
}

#[test]
fn every_example_is_listed_and_every_need_has_its_example() {
    let examples = examples();
    assert!(examples.len() > 10, "{examples:?}");
    let list = fs::read_to_string(folder().join("README.md")).expect("a list");
    let listed: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    for example in &examples {
        assert!(listed.contains(&example.as_str()), "docs/examples/README.md does not list {example}");
    }
    for name in listed.into_iter().chain(NEEDS.map(|(name, _)| name)) {
        assert!(examples.iter().any(|example| example == name), "there is no example {name}");
    }
}

#[test]
fn every_example_flies_to_its_end() {
    let waiting = Mutex::new(examples());
    std::thread::scope(|scope| {
        for _ in 0..BOARDS {
            scope.spawn(|| {
                let next = || waiting.lock().ok()?.pop();
                while let Some(name) = next() {
                    fly(&name);
                }
            });
        }
    });
}

fn fly(name: &str) {
    let image = format!("localhost/example-fisheye-{}:1", std::process::id());
    let (mut config, mut replaced, mut further) = (String::new(), Vec::new(), Vec::new());
    match need(name) {
        Some(Need::Ends | Need::Mpi) => return,
        Some(Need::TenantAndPort) => replaced.push(("host: 23456", format!("host: {}", free_port()))),
        Some(Need::Port) => replaced.push(("host: 8080", format!("host: {}", free_port()))),
        Some(Need::Archives) => {
            let [(_, configuration), _] = bed_environment();
            let images = configuration.parent().expect("the bed").join("images");
            further.extend(["--images".to_owned(), images.display().to_string()]);
        }
        Some(Need::Instrument) => {
            let adapter = folder().join("fisheye/adapter").display().to_string();
            let how = ["--quiet", "--network", "none", "--pull-never", "--isolation", "oci"];
            podman(&[&["build"], &how[..], &["-t", &image, &adapter]].concat());
            config = format!("instruments:\n  fisheye: {{image: \"{image}\"}}");
        }
        Some(Need::EndedBy(_)) | None => {}
    }
    let board = Board::with(&config);
    if need(name) == Some(Need::TenantAndPort) {
        replaced.push(("client1", board.tenant.clone()));
    }
    let id = submit(&board, name, &replaced, &further);
    if let Some(Need::EndedBy(other)) = need(name) {
        board.reaches(&format!("{id}.SERVE.0"), "running");
        let other = submit(&board, other, &[], &[]);
        assert_eq!(board.ended(&other)["state"], "succeeded");
        let ended = board.ended(&id);
        assert_eq!(at(&ended, "/steps/0/reason/name"), "stopped", "{name}: {ended:#}");
        return;
    }
    let ended = board.ended(&id);
    assert_eq!(ended["state"], "succeeded", "{name}: {ended:#}");
    let steps = at(&ended, "/steps").as_array().expect("steps");
    assert!(steps.iter().all(|step| step["state"] == "succeeded"), "{name}: {ended:#}");
    left_behind(&board, &id, name, &ended);
    if need(name) == Some(Need::Instrument) {
        podman(&["rmi", &image]);
    }
}

/// Packs and submits an example, its files from the folder beside it.
fn submit(board: &Board, name: &str, replaced: &[(&str, String)], further: &[String]) -> String {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).expect("readable");
    let flown = replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name} has no `{from}`");
        text.replace(from, to)
    });
    let operation = board.path(path.file_name().expect("a name").to_str().expect("text"));
    fs::write(&operation, flown).expect("written");
    let files = path.parent().expect("a folder").display().to_string();
    let mut arguments = vec!["--files", &files];
    arguments.extend(further.iter().map(String::as_str));
    board.submit_file(&operation, &arguments)
}

/// What an example is there to show.
fn left_behind(board: &Board, id: &str, name: &str, ended: &Value) {
    let logs = |part: &str| board.ask(&["logs", &format!("{id}.{part}")]);
    let file = |path: &str| board.in_volume(path).unwrap_or_else(|| panic!("{name} left no {path}"));
    match name {
        "tcp/tcp-demo.yaml" => {
            assert!(logs("POD_RUN_TCP_CLIENT").contains("server received: hello from tcp client"));
            assert!(board.outbox(id).join("DOWNLINK.tar").exists());
        }
        "pod-run/pod-run.yaml" => assert_eq!(file("hello-from-space.txt"), "info /data/config/config.yaml\n"),
        "pod-run/options.yaml" => {
            let written = "the output files";
            assert_eq!(until(written, || board.in_volume("job/out.txt")), "1000\n/tmp\nhello\n");
            assert_eq!(until(written, || board.in_volume("job/errors.txt")), "and errors\n");
            assert_eq!(at(ended, "/steps/1/jobs").as_array().map(Vec::len), Some(5));
            assert_eq!(file("member-9"), "member 9\n");
        }
        "kubegene/whole.yaml" | "kubegene/iterate.yaml" => {
            assert_eq!(["a.0", "a.1", "b.0", "b.1"].map(logs), ["a1", "a2", "b1", "b2"]);
            // Of all jobs of `a`, or of the one at the same position.
            let before: &[usize] = if name.ends_with("whole.yaml") { &[0, 1] } else { &[1] };
            let time = |step: usize, job: usize, key: &str| {
                at(ended, &format!("/steps/{step}/jobs/{job}/{key}")).as_str().expect("a time").to_owned()
            };
            assert!(before.iter().all(|job| time(0, *job, "ended_at") <= time(1, 1, "started_at")), "{ended:#}");
        }
        "kubegene/volume.yaml" => {
            let unpacked = std::process::Command::new("tar")
                .args(["-xOf", &board.outbox(id).join("DOWNLINK.tar").display().to_string()])
                .output()
                .expect("tar runs");
            let text = support::text(&unpacked.stdout);
            let firsts: Vec<&str> = text.lines().map(|line| &line[..1]).collect();
            assert_eq!(firsts, ["a", "a", "b", "b"], "{text}");
        }
        "build/build.yaml" => assert_eq!(logs("RUN"), "built on board"),
        "image-load/image-load.yaml" => assert_eq!(logs("RUN"), "loaded on board"),
        _ => {}
    }
}
