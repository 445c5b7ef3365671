//! A whole computer in QEMU, emulated in software. Its disks are files, its power is a process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Longest that the computer may be silent. It is emulated, and shares two processors with others.
const PATIENCE: Duration = Duration::from_secs(240);
/// Bytes of a disk.
const DISK: u64 = 64 << 20;
/// What is in every order.
const FUNCTIONS: &str = include_str!("guest.sh");

/// A folder that goes away, on the disk where things are built.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("power").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Kernel and initramfs with the programs under test, made once.
fn parts() -> &'static Path {
    static PARTS: OnceLock<PathBuf> = OnceLock::new();
    PARTS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("qemu");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed/qemu.sh");
        let made = Command::new("bash")
            .arg(script)
            .arg(&folder)
            .args([env!("CARGO_BIN_EXE_perigee"), env!("CARGO_BIN_EXE_perigeed")])
            .output()
            .expect("bash runs");
        assert!(made.status.success(), "no QEMU to cut the power of: {}", String::from_utf8_lossy(&made.stderr));
        folder
    })
}

/// Runs a program of the system, which must succeed.
fn run(program: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output().expect("it runs");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An empty file of this size.
pub(crate) fn blank(path: &Path, bytes: u64) {
    File::create(path).and_then(|file| file.set_len(bytes)).expect("room");
}

/// A disk with an empty file system.
pub(crate) fn disk(path: &Path) {
    parts(); // which installs what makes file systems
    blank(path, DISK);
    let path = path.display().to_string();
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0", &path]);
}

/// A copy of a disk that takes no more room than it.
pub(crate) fn copy(from: &Path, to: &Path) {
    run("cp", &["--sparse=always", &from.display().to_string(), &to.display().to_string()]);
}

/// A computer whose power is on.
pub(crate) struct Machine {
    qemu: Child,
    said: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    /// Switches on a computer that carries out orders, which `/dev/vda` brings with these files. The disks are
    /// `/dev/vdc` and so on.
    pub(crate) fn boot(folder: &Path, orders: &str, files: &[&Path], disks: &[&Path]) -> Self {
        let parts = parts();
        let (archive, console) = (folder.join("orders.tar"), folder.join("console"));
        write_orders(&archive, orders, files);
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", "512", "-nodefaults"]);
        command.args(["-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(parts.join("vmlinuz")).arg("-initrd").arg(parts.join("initramfs"));
        // On a busy machine an emulated timer is late, which the kernel would take for a broken one.
        command.args(["-append", "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off no_timer_check"]);
        command.args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"]);
        let programs = parts.join("programs");
        let fixed = [(archive.as_path(), "on"), (&programs, "on")];
        for (number, (disk, readonly)) in fixed.into_iter().chain(disks.iter().map(|disk| (*disk, "off"))).enumerate() {
            let file = format!("file={},readonly={readonly}", disk.display());
            let drive = format!("if=none,id=disk{number},format=raw,cache=writeback,{file}");
            command.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive=disk{number}")]);
        }
        let errors = File::create(folder.join("qemu")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut qemu = command.spawn().expect("qemu-system-x86_64 starts");
        let said = listen(qemu.stdout.take().expect("piped"));
        Self { qemu, said, console }
    }

    /// The next thing that it says, without the `@`; nothing when its power is off.
    pub(crate) fn next(&self) -> Option<String> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the computer says nothing any more:\n{}", self.console()),
        }
    }

    /// Everything that it says until, and with, a line that begins so.
    pub(crate) fn until(&self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.next();
            let line = line.unwrap_or_else(|| panic!("power off before `{end}`: {lines:#?}\n{}", self.console()));
            let last = line.starts_with(end);
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// Cuts the power and returns what it had still said.
    pub(crate) fn cut(mut self) -> Vec<String> {
        self.qemu.kill().expect("killed");
        self.qemu.wait().expect("reaped");
        std::iter::from_fn(|| self.next()).collect()
    }

    /// What its kernel has said.
    pub(crate) fn console(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn write_orders(archive: &Path, orders: &str, files: &[&Path]) {
    let script = archive.with_file_name("orders.sh");
    fs::write(&script, format!("{FUNCTIONS}\n{orders}")).expect("orders");
    let mut tar = tar::Builder::new(File::create(archive).expect("an archive"));
    for file in files.iter().chain([&script.as_path()]) {
        tar.append_path_with_name(file, file.file_name().expect("a name")).expect("room");
    }
    tar.into_inner().expect("room");
}

/// Whole lines only: what the cut tore in two was not said.
fn listen(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (tell, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) && line.ends_with(b"\n") {
            let text = String::from_utf8_lossy(&line);
            let told = text.trim_end().strip_prefix("@ ").map(|text| tell.send(text.to_owned()));
            if told.is_some_and(|told| told.is_err()) {
                return;
            }
            line.clear();
        }
    });
    said
}
