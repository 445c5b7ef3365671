//! What a Podman that was killed leaves on the board: it is named, and stays.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Board, pod, podman, text, until};

/// Something of this test's own that looks like a leftover of Podman, and goes with it.
struct Planted(Vec<String>);

impl Planted {
    fn new(make: &[&str], remove: &[&str]) -> Self {
        run(make);
        Self(remove.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = Command::new(&self.0[0]).args(&self.0[1..]).output();
    }
}

fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

/// A process that lives in a network namespace until the test ends.
struct Inhabitant(Child);

impl Drop for Inhabitant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of `perigeed --check` about what is left over; it must be content.
fn left(board: &Board) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perigeed"));
    let output = command.arg("--check").arg("--config").arg(board.path("perigee.yaml")).output().expect("runs");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    said.lines().filter(|line| line.contains("left over: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_killed_containers_leave_is_named_with_its_remedy_and_what_is_used_is_not() {
    let mut board = Board::new();
    let id = board.submit(&pod("RUN", "p", "sleep 600", &[]));
    board.reaches(&format!("{id}.RUN.0"), "running");
    let sandbox = podman(&["inspect", "--format", "{{.NetworkSettings.SandboxKey}}", &board.containers(&id)[0]]);
    let used = PathBuf::from(sandbox).file_name().expect("a namespace").to_string_lossy().into_owned();

    let uuid = uuid::Uuid::now_v7();
    let namespace = format!("netns-{uuid}");
    let _namespace = Planted::new(&["ip", "netns", "add", &namespace], &["ip", "netns", "del", &namespace]);
    let bridge = format!("podman{}", uuid.as_u128() % 100_000_000);
    let add = ["ip", "link", "add", &bridge, "type", "bridge"];
    let _bridge = Planted::new(&add, &["ip", "link", "del", &bridge]);
    let storage = PathBuf::from(podman(&["info", "--format", "{{.Store.GraphRoot}}"]));
    let container = storage.join(format!("overlay-containers/{0}{0}", uuid.simple()));
    let shm = container.join("userdata/shm");
    fs::create_dir_all(&shm).expect("a folder");
    let shm = shm.display().to_string();
    let _folder = Planted::new(&["true"], &["rm", "-r", &container.display().to_string()]);
    let _mount = Planted::new(&["mount", "-t", "tmpfs", "shm", &shm], &["umount", &shm]);

    let named = [
        (format!("network namespace /run/netns/{namespace}"), format!("ip netns del {namespace}")),
        (format!("bridge {bridge}"), format!("ip link del {bridge}")),
        (format!("mount {shm}"), format!("umount {shm}")),
    ];
    // Other tests make and remove interfaces: a look that meets that says less.
    until("all three to be named", || {
        let said = left(&board);
        assert!(!said.contains(&used), "{used} is that of a container: {said}");
        let line = |what: &str, remedy: &str| {
            said.lines().any(|line| line.starts_with("note ") && line.contains(what) && line.contains(remedy))
        };
        named.iter().all(|(what, remedy)| line(what, remedy)).then_some(())
    });

    assert_eq!(board.leave(), Some(0));
    board.start();
    let log = || fs::read_to_string(board.path("daemon.log")).expect("a log");
    until("the warning", || log().lines().any(|line| line.contains("WARN") && line.contains(&bridge)).then_some(()));
    assert!(!log().contains(&used), "{}", log());

    let enter = Command::new("ip").args(["netns", "exec", &namespace, "sleep", "600"]).stdout(Stdio::null()).spawn();
    let _inhabitant = Inhabitant(enter.expect("runs"));
    until("a process in the namespace", || {
        let pids = Command::new("ip").args(["netns", "pids", &namespace]).output().expect("runs");
        (!pids.stdout.is_empty()).then_some(())
    });
    let said = left(&board);
    assert!(!said.contains(&namespace) && said.contains(&bridge), "a process lives there: {said}");
    assert!(PathBuf::from("/run/netns").join(&namespace).exists(), "something removed it");
    board.ask(&["stop", "--now", &id]);
}
