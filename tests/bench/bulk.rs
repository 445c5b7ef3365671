//! A gibibyte: verified beside `sha256sum`, taken in beside a copy, loaded beside `podman load`; and the memory of it.
//!
//! Must not: keep more than one image of that size at a time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Found;
use crate::figures::{Goal, Row, Series};
use crate::machine::{self, ms};
use crate::rig::{Image, Rig};
use crate::support::{at, podman, until};

const BYTES: usize = 1 << 30;
const BLOCK: usize = 1 << 20;
const ROUNDS: usize = 3;

/// What the archive calls its image; of this process, since the store may be another's, too.
fn reference() -> String {
    format!("localhost/bench-bulk-{}:1", std::process::id())
}

/// Writes and digests.
struct Digesting<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes that no compressor makes smaller.
struct Noise(u64);

impl io::Read for Noise {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for word in into.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
        Ok(into.len())
    }
}

fn header(bytes: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header
}

/// An image archive of one layer of a gibibyte, as `podman save` writes it.
fn archive(folder: &Path) -> io::Result<PathBuf> {
    let layer = folder.join("layer");
    let digesting =
        Digesting { inner: io::BufWriter::with_capacity(BLOCK, File::create(&layer)?), digest: Sha256::new() };
    let mut tree = tar::Builder::new(digesting);
    tree.append_data(&mut header(BYTES), "noise", io::Read::take(Noise(0x9e37_79b9_7f4a_7c15), BYTES as u64))?;
    let mut written = tree.into_inner()?;
    written.flush()?;
    let digest: String = written.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [reference()], "Layers": ["layer.tar"]}]);
    let path = folder.join("bulk.tar");
    let mut whole = tar::Builder::new(io::BufWriter::with_capacity(BLOCK, File::create(&path)?));
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        let text = document.to_string();
        whole.append_data(&mut header(text.len()), name, text.as_bytes())?;
    }
    whole.append_file("layer.tar", &mut File::open(&layer)?)?;
    whole.into_inner()?.flush()?;
    fs::remove_file(layer)?;
    Ok(path)
}

/// Milliseconds that a program takes.
fn timed(command: &mut Command) -> f64 {
    let start = machine::now();
    let status = command.stdout(Stdio::null()).status().expect("it starts");
    assert!(status.success(), "{command:?}: {status}");
    machine::since(start)
}

/// Runs something and returns by how many megabytes the daemon's memory rose above what it was before.
fn rise(rig: &Rig<'_>, act: impl FnOnce()) -> f64 {
    machine::forget_peak(rig.board.pid());
    let before = machine::peak_mb(rig.board.pid());
    act();
    machine::peak_mb(rig.board.pid()) - before
}

/// A bundle of a gibibyte: the reading alone, and the way in.
pub fn verify(image: &Image) -> Found {
    let rig = Rig::new(image);
    archive(rig.board.folder.path()).expect("an archive");
    let operation = rig.board.path("bulk.yaml");
    let task = "{id: LOAD, type: dphi.space.cg2.docker.image.load, archive: bulk.tar, image: {name: bulk, tag: \"1\"}}";
    fs::write(&operation, format!("id: bulk\ntasks:\n- {task}\n")).expect("written");
    let (operation, bundle) = (operation.display().to_string(), rig.board.path("state/uplink/bulk.part"));
    let packed = bundle.display().to_string();
    let execution = rig.board.ask(&["pack", &operation, "--tenant", &rig.board.tenant, "-o", &packed]);
    let (mut read, mut digested) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        read.push(timed(Command::new(env!("CARGO_BIN_EXE_perigee")).arg("inspect").arg(&bundle)));
        digested.push(timed(Command::new("sha256sum").arg(&bundle)));
    }
    let mut copy = Command::new("dd");
    copy.args(["bs=1M", "conv=fsync", "status=none"]).arg(format!("if={packed}"));
    let copied = timed(copy.arg(format!("of={}", rig.board.path("copy").display())));
    fs::remove_file(rig.board.path("copy")).expect("removed");
    let mut taken = 0.0;
    let risen = rise(&rig, || {
        let start = machine::now();
        // A hold on the whole board is not there: the load begins at once and is not waited for.
        fs::rename(&bundle, bundle.with_extension("bundle")).expect("renamed");
        until("the bundle to be taken", || rig.board.tool(&["status", &execution]).status.success().then_some(()));
        taken = machine::since(start);
    });
    rig.over(&execution);
    let row = Row::of("bundle of 1 GiB: `perigee inspect` (reads and verifies all of it), ms", Series::of(read));
    let intake = Row::of(
        "the same bundle: in the uplink directory → accepted (verified, unpacked, flushed), ms",
        Series::of([taken]),
    );
    let rows = vec![
        row.beside("`sha256sum`", Series::of(digested)).goal(Goal::Within(1.0 / 0.9)),
        intake.beside("`dd conv=fsync` of it", Series::of([copied])),
        Row::of("the daemon's memory above idle meanwhile (intake), at most, MB", Series::of([risen]))
            .goal(Goal::AtMost(16.0)),
    ];
    Found { rows, notes: vec![] }
}

/// An image archive of a gibibyte.
pub fn load(image: &Image) -> Found {
    let rig = Rig::new(image);
    let path = archive(rig.volume()).expect("an archive");
    let task = "- {id: LOAD, type: dphi.space.cg2.docker.image.load, source: bulk.tar, volume: payload, \
                image: {name: bulk, tag: \"1\"}}\n";
    let (mut ours, mut other, mut rises) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        rises.push(rise(&rig, || {
            let execution = rig.fly(task);
            let history = rig.history(&execution);
            let when = |event: &str| history[&("LOAD".to_owned(), event.to_owned())];
            ours.push(ms(when("started"), when("succeeded")));
        }));
        let shown = podman(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=*/*/bulk"]);
        let own = shown.lines().find(|name| name.contains(&rig.board.tenant)).expect("our image");
        podman(&["rmi", own]);

        let start = machine::now();
        podman(&["load", "--quiet", "--input", &path.display().to_string()]);
        other.push(machine::since(start));
        podman(&["rmi", &reference()]);
    }
    let status = rig.board.json(&["status"]);
    assert_eq!(at(&status, "/health"), "ok", "{status:#}");
    let row = Row::of("image load of 1 GiB, ms", Series::of(ours)).beside("`podman load`", Series::of(other));
    let memory = Row::of("the daemon's memory above idle meanwhile (load), at most, MB", Series::of(rises));
    Found { rows: vec![row.goal(Goal::Within(1.1)), memory.goal(Goal::AtMost(16.0))], notes: vec![] }
}
