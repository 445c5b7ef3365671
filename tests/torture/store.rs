//! sled's own calls fail, one by one and for good: the index is only an index. The script runs in a child below strace,
//! which lets the n-th call of a kind on the files of the index fail.

use std::path::Path;
use std::process::{Command, Stdio};

use perigee::medium::Medium;

use crate::medium::{Model, acknowledged, is_there, run};
use crate::{each, folder, trials};

const CHILD: &str = "PERIGEE_TORTURE_STORE";
/// The calls that sled makes on its files.
const KINDS: [&str; 5] = ["pwrite64", "sync_file_range", "fsync", "pread64", "openat"];
/// The first calls on the index are those of its making; of the later ones each n-th is tried.
const STEP: usize = 7;

/// The script in a child, below strace with these options. Returns what it acknowledged.
fn under_strace(folder: &Path, options: &[String]) -> Vec<u32> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]);
    for path in ["index", "index/db", "index/conf", "index/blobs"] {
        strace.arg("-P").arg(folder.join(path));
    }
    let mut child = strace
        .args(options)
        .arg("--")
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "--nocapture",
            "store::any_call_of_the_index_may_fail_once_or_for_good_and_nothing_acknowledged_is_lost",
        ])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs: tests/testbed/up.sh installs it");
    let said = acknowledged(child.stdout.take().expect("its output"));
    let status = child.wait().expect("reaped");
    assert!(status.success(), "{options:?}: the script ended with {status}: it panicked");
    said
}

/// How often the script makes a call on the files of the index.
fn calls(kind: &str) -> usize {
    let folder = folder();
    let trace = folder.path().join("trace");
    let options = ["-o".to_owned(), trace.display().to_string(), "-e".to_owned(), format!("trace={kind}")];
    under_strace(folder.path(), &options);
    let trace = std::fs::read_to_string(&trace).expect("a trace");
    trace.lines().filter(|line| line.contains(&format!("{kind}("))).count()
}

#[test]
fn any_call_of_the_index_may_fail_once_or_for_good_and_nothing_acknowledged_is_lost() {
    if let Some(folder) = std::env::var_os(CHILD) {
        run(folder.as_ref(), &Medium::default(), &mut Model::default(), |line| println!("acknowledged {line}"));
        return;
    }
    let mut points = Vec::new();
    for kind in KINDS {
        let calls = calls(kind);
        assert!(calls > 5, "{calls} calls of {kind}: the index is written otherwise now");
        let chosen = (1..=calls).step_by(trials(STEP, 1));
        points.extend(
            chosen.flat_map(|n| [format!("{kind}:error=EIO:when={n}"), format!("{kind}:error=ENOSPC:when={n}+")]),
        );
    }
    each(&points, |fault| {
        let folder = folder();
        let kind = fault.split(':').next().expect("a call");
        let quiet = ["-o".to_owned(), "/dev/null".to_owned(), "-e".to_owned(), format!("trace={kind}")];
        let said = under_strace(folder.path(), &[&quiet[..], &["-e".to_owned(), format!("inject={fault}")]].concat());
        is_there(folder.path(), &said, fault);
    });
    println!("torture: store: {} points tried, 0 acknowledged records lost", points.len());
}
