//! `run`: one program as an execution of its own. Writes the operation, packs it, submits it.
//!
//! Must not: know rules of flight; the operation that it writes is checked like every other.

use std::fs;
use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failed};
use super::table::{print_json, print_line};
use super::{Ground, Pack, ground, operate};
use crate::bundle::names::DNS_LABEL_MAX;
use crate::bundle::{ExecutionId, Tenant};
use crate::view::{BATCH_LABEL, PROGRAM_LABEL};

/// Characters of a UUID, and the hyphen before it.
const UUID_SUFFIX: usize = 37;
/// Characters that tell the pods of one program apart, and the hyphen before them.
const POD_SUFFIX: usize = 9;
/// Longest first line of a program that is read for its interpreter.
const FIRST_LINE: u64 = 256;

/// One program, run once.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The program: a file here, which flies along; with --aboard a path in the image.
    program: String,
    /// Its arguments.
    #[arg(last = true)]
    args: Vec<String>,
    /// The image it runs in.
    #[arg(long, value_name = "NAME:TAG")]
    image: String,
    /// Who flies it.
    #[arg(long)]
    tenant: Tenant,
    /// The batch it belongs to [default: one of its own].
    #[arg(long, value_name = "LABEL")]
    batch: Option<String>,
    /// The volume at /data; the program is placed there in a folder of its own.
    #[arg(long, default_value = "programs")]
    volume: String,
    /// Where it runs.
    #[arg(long, default_value = "default")]
    node: String,
    /// Minutes that it may run.
    #[arg(long, value_name = "MINUTES")]
    max_duration: Option<u32>,
    /// The program is in the image.
    #[arg(long)]
    aboard: bool,
    /// Accept it, but wait for `release`.
    #[arg(long)]
    hold: bool,
}

/// A folder that is gone when nobody needs it any more.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn run(client: &Client, run: &Run, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let uuid = uuid::Uuid::now_v7();
    let base = base(&run.program);
    let name = label(base, DNS_LABEL_MAX - UUID_SUFFIX);
    let job_id = format!("{name}-{uuid}");
    let batch_id = run.batch.clone().unwrap_or_else(|| format!("{base}-{}", uuid::Uuid::now_v7()));
    let execution = ExecutionId::new(uuid);
    let random = execution.short();
    let room = DNS_LABEL_MAX.saturating_sub(run.tenant.as_str().len() + 1 + POD_SUFFIX);
    let pod_name = format!("{}-{}", label(base, room.min(name.len())), &random[random.len() + 1 - POD_SUFFIX..]);
    let operation = json!({
        "id": name,
        "labels": {BATCH_LABEL: batch_id, PROGRAM_LABEL: run.program},
        "tasks": tasks(run, &job_id, &pod_name)?,
    });
    let scratch = Scratch(std::env::temp_dir().join(format!("perigee-{uuid}")));
    let (file, bundle) = (scratch.0.join("operation.yaml"), scratch.0.join("run.bundle"));
    let failed = |error: std::io::Error| {
        Failed::because(Exit::Fault, format!("failed to write below {}: {error}", scratch.0.display()), &error)
    };
    let text = serde_yaml::to_string(&operation);
    let text = text.map_err(|error| Failed::because(Exit::Fault, "failed to write the operation", &error))?;
    fs::create_dir(&scratch.0).and_then(|()| fs::write(&file, text)).map_err(failed)?;
    let folder = Path::new(&run.program).parent().map(Path::to_owned);
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."));
    let pack = Pack {
        operation: file,
        tenant: run.tenant.clone(),
        ground: Ground { files: Some(folder), nodes: vec![run.node.clone()] },
        execution: Some(execution),
        revision: None,
        created: None,
        valid_from: None,
        valid_until: None,
        hold: false,
        zstd: false,
        output: bundle.clone(),
    };
    ground::pack(&pack, &mut std::io::sink())?;
    operate::hand_over(client, &bundle, run.hold)?;
    if json {
        return print_json(out, &json!({"job_id": job_id, "batch_id": batch_id}));
    }
    print_line(out, &format!("job_id     {job_id}"))?;
    print_line(out, &format!("batch_id   {batch_id}"))
}

/// The uplink of the program, unless it is aboard, and the pod that runs it.
fn tasks(run: &Run, job_id: &str, pod_name: &str) -> Result<Vec<Value>, Failed> {
    let (image, tag) = run.image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).ok_or_else(|| {
        Failed::new(Exit::Bad, format!("--image: found `{}`, expected NAME:TAG; nothing is pulled", run.image))
    })?;
    let mut tasks = Vec::new();
    let mut command: Vec<String> = vec![run.program.clone()];
    if !run.aboard {
        let path = Path::new(&run.program);
        let file = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file());
        let file = file.ok_or_else(|| {
            Failed::new(Exit::Bad, format!("{}: no such file; a program in the image needs --aboard", run.program))
        })?;
        command = interpreter(path)?;
        command.push(format!("/data/{job_id}/{file}"));
        tasks.push(json!({
            "id": "PROGRAM", "type": "dphi.space.cg2.uplink", "source": [file],
            "destination": format!("/data/{job_id}"), "volume": run.volume,
        }));
    }
    let mut pod = json!({
        "id": "RUN", "type": "dphi.space.cg2.pod.run", "pod_name": pod_name,
        "image": {"name": image, "tag": tag}, "command": command, "args": run.args,
        "volume": run.volume, "node": run.node,
    });
    if let (Some(minutes), Some(fields)) = (run.max_duration, pod.as_object_mut()) {
        fields.insert("max_duration".to_owned(), minutes.into());
    }
    tasks.push(pod);
    Ok(tasks)
}

/// What the first line of a program asks for, else the shell.
fn interpreter(program: &Path) -> Result<Vec<String>, Failed> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| {
        Failed::because(Exit::Bad, format!("failed to read {}: {error}", program.display()), &error)
    };
    let mut line = Vec::new();
    let file = fs::File::open(program).map_err(failed)?;
    BufReader::new(file.take(FIRST_LINE)).read_until(b'\n', &mut line).map_err(failed)?;
    let line = String::from_utf8_lossy(&line);
    let words: Vec<String> =
        line.strip_prefix("#!").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    Ok(if words.is_empty() { vec!["/bin/sh".to_owned()] } else { words })
}

/// The base name of a path up to its first dot.
fn base(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    match file.split('.').next() {
        Some("") | None => "program",
        Some(base) => base,
    }
}

/// A name as a DNS label of at most so many characters: lower case, and `-` for whatever is no letter or digit.
fn label(name: &str, longest: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(plain).collect();
    let text: String = text.trim_matches('-').chars().take(longest).collect();
    let text = text.trim_end_matches('-');
    if text.is_empty() { "p".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_called_after_its_program_by_a_legal_label() {
        for (path, named) in [
            ("test_program.R", "test-program"),
            ("/home/u/My.Prog_2.sh", "my"),
            ("Prog_2", "prog-2"),
            ("_a_.sh", "a"),
            (".profile", "program"),
            ("ünï.sh", "n"),
            ("___", "p"),
            ("a_very_long_name_that_goes_on_and_on.sh", "a-very-long-name-that-goes"),
        ] {
            let name = label(base(path), DNS_LABEL_MAX - UUID_SUFFIX);
            assert_eq!(name, named, "{path}");
            assert!(format!("{name}-{}", uuid::Uuid::nil()).len() <= DNS_LABEL_MAX);
            assert!(
                named.parse::<crate::bundle::OperationId>().is_ok() && named.parse::<crate::bundle::PodName>().is_ok()
            );
        }
        assert_eq!(base("/x/test_program.R"), "test_program");
    }
}
