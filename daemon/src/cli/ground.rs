//! Commands of the ground: check, pack, inspect. They need no daemon; they call the core that flies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Exit, Failed};
use super::table::{dash, print, print_json, print_line};
use super::{Check, Ground, Pack, expand};
use crate::bundle::document::{self, Entry, Header, OperationInfo, Sequence, Validity};
use crate::bundle::limits::{FORMAT, GRACE_SECONDS};
use crate::bundle::read;
use crate::bundle::write::{archive, measure};
use crate::bundle::{ExecutionId, NodeName, OperationId, Tenant};
use crate::operation::compile::{Compiled, PackedFile, SourceFile, Surroundings, compile};
use crate::operation::finding::{Finding, Findings};
use crate::operation::pod_run::DOCUMENTED_NODES;
use crate::operation::schema;
use crate::operation::tasks::{Operation, read as read_operation};
use crate::verify;

/// Tenant that `check` assumes for hostnames.
const ANY_TENANT: &str = "tenant";
/// Uncompressed bytes that `inspect` reads: a bundle larger than this flies nowhere.
const INSPECT_BYTES: u64 = 1 << 40;
const ZSTD_LEVEL: i32 = 9;

struct Examined {
    operation: Operation,
    compiled: Compiled,
    folder: PathBuf,
    images: PathBuf,
    warnings: Vec<Finding>,
}

/// Reads and compiles an operation; every finding at once.
fn examine(path: &Path, tenant: &Tenant, ground: &Ground) -> Result<Examined, Failed> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failed::because(Exit::Bad, format!("failed to read {}: {error}", path.display()), &error))?;
    let folder = ground.files.clone().unwrap_or_else(|| beside(path));
    let mut findings = Findings::default();
    let nodes = known_nodes(ground)?;
    let default_id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<OperationId>().ok());
    let operation = read_operation(&text, default_id, &mut findings);
    let look = |source: &str| source_file(&folder.join(source));
    let images = ground.images.clone().unwrap_or_else(|| beside(path));
    let archive = |name: &str| source_file(&images.join(name));
    let shown = folder.display().to_string();
    let around = Surroundings { tenant, nodes: &nodes, files: Some(&look), folder: &shown, images: Some(&archive) };
    let compiled = operation.as_ref().map(|operation| compile(operation, &around, &mut findings)).transpose();
    let compiled = compiled.map_err(|error| Failed::because(Exit::Fault, "failed to write a manifest", &error))?;
    let fatal = findings.fatal();
    let findings = findings.sorted();
    match (operation, compiled) {
        (Some(operation), Some(compiled)) if !fatal => {
            Ok(Examined { operation, compiled, folder, images, warnings: findings })
        }
        (_, _) => Err(Failed::new(Exit::Bad, rendered(path, &findings))),
    }
}

/// Prints the form of operation files.
pub(super) fn schema(out: &mut dyn Write) -> Result<(), Failed> {
    print_line(out, schema::printed().trim_end())
}

/// The folder that a file is in.
fn beside(path: &Path) -> PathBuf {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }
}

fn rendered(path: &Path, findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| format!("{}:{finding}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

fn known_nodes(ground: &Ground) -> Result<Vec<NodeName>, Failed> {
    let documented = DOCUMENTED_NODES.iter().map(|name| (*name).to_owned());
    documented
        .chain(ground.nodes.iter().cloned())
        .map(|name| NodeName::any_case(&name).map_err(|bad| Failed::new(Exit::Bad, format!("--node: {bad}"))))
        .collect()
}

fn source_file(path: &Path) -> SourceFile {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => SourceFile::File { bytes: meta.len() },
        Ok(_) => SourceFile::NotAFile,
        Err(_) => SourceFile::Missing,
    }
}

/// A line of `check`.
#[derive(Debug, Serialize)]
struct StepLine {
    id: String,
    kind: String,
    group: Option<u32>,
    hostname: Option<String>,
    node: Option<String>,
    max_duration_seconds: Option<u32>,
    grace_seconds: u32,
    timeout_seconds: u32,
    on_failure: document::OnFailure,
}

pub(super) fn check(check: &Check, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let tenant = match &check.tenant {
        Some(tenant) => tenant.clone(),
        None => {
            ANY_TENANT.parse().map_err(|bad| Failed::because(Exit::Fault, "the default tenant is not legal", &bad))?
        }
    };
    let examined = examine(&check.operation, &tenant, &check.ground)?;
    if check.expand || check.graph.is_some() {
        let nodes = known_nodes(&check.ground)?;
        let plan = expand::planned(&examined.operation, &examined.compiled, &tenant, &nodes)?;
        return match check.graph {
            Some(drawing) => expand::draw(&plan, drawing, out),
            None => expand::expand(&plan, json, out),
        };
    }
    let lines: Vec<StepLine> = examined.compiled.steps.iter().zip(&examined.compiled.groups).map(step_line).collect();
    if json {
        let value =
            serde_json::json!({"operation": examined.operation.id, "steps": lines, "warnings": examined.warnings});
        return print_json(out, &value);
    }
    for warning in &examined.warnings {
        print_line(out, &format!("{}:{warning}", check.operation.display()))?;
    }
    print_line(out, &format!("operation {}: {} steps\n", examined.operation.id, lines.len()))?;
    let rows = lines.into_iter().map(|line| {
        let budget = match line.max_duration_seconds {
            Some(seconds) => format!("{} = {seconds} + {}", line.timeout_seconds, line.grace_seconds),
            None => line.timeout_seconds.to_string(),
        };
        let policy = match line.on_failure {
            document::OnFailure::Stop => "stop",
            document::OnFailure::Continue => "continue",
        };
        vec![line.id, line.kind, dash(line.group), dash(line.hostname), dash(line.node), budget, policy.to_owned()]
    });
    print(out, &["STEP", "KIND", "GROUP", "HOSTNAME", "NODE", "BUDGET s", "ON FAILURE"], rows.collect())
}

fn step_line((step, group): (&document::StepDocument, &Option<u32>)) -> StepLine {
    let run = step.pod_run.as_ref();
    StepLine {
        id: step.id.to_string(),
        kind: step.name().to_owned(),
        group: *group,
        hostname: run.map(|run| run.pod.to_string()),
        node: run.map(|run| run.node.to_string()),
        max_duration_seconds: run.map(|run| run.max_duration_seconds),
        grace_seconds: GRACE_SECONDS,
        timeout_seconds: step.timeout_seconds,
        on_failure: step.on_failure,
    }
}

pub(super) fn pack(pack: &Pack, out: &mut dyn Write) -> Result<(), Failed> {
    let examined = examine(&pack.operation, &pack.tenant, &pack.ground)?;
    for warning in &examined.warnings {
        // Standard output carries the execution id and nothing else.
        let _ = writeln!(io::stderr(), "perigee: {}:{warning}", pack.operation.display());
    }
    let fault = |error: &dyn std::error::Error| Failed::because(Exit::Fault, "failed to write a document", error);
    let sequence = Sequence { parallelism: examined.compiled.parallelism, steps: examined.compiled.steps.clone() };
    let sequence = document::write(Sequence::PATH, &sequence).map_err(|error| fault(&error))?;
    let mut texts: BTreeMap<String, Vec<u8>> = [(Sequence::PATH.to_owned(), sequence.into_bytes())].into();
    texts.extend(examined.compiled.manifests.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())));
    let from = |folder: &PathBuf, file: &PackedFile| (file.entry.clone(), folder.join(&file.source));
    // `files/` sorts before `images/`, as the archive has them.
    let files = examined.compiled.files.iter().map(|file| from(&examined.folder, file));
    let images = examined.compiled.images.iter().map(|file| from(&examined.images, file));
    let sources: BTreeMap<String, PathBuf> = files.chain(images).collect();
    let header = header(pack, &examined.operation, entries(&texts, &sources)?)?;
    let execution = header.execution;
    write_bundle(pack, &header, &texts, &sources)?;
    print_line(out, &execution.to_string())
}

/// Sequence first, then manifests, then files, each sorted.
fn entries(texts: &BTreeMap<String, Vec<u8>>, sources: &BTreeMap<String, PathBuf>) -> Result<Vec<Entry>, Failed> {
    let failed =
        |path: &str, error: &io::Error| Failed::because(Exit::Bad, format!("failed to read {path}: {error}"), error);
    let sequence = texts.get_key_value(Sequence::PATH);
    let manifests = texts.iter().filter(|(path, _)| *path != Sequence::PATH);
    let mut entries = Vec::new();
    for (path, bytes) in sequence.into_iter().chain(manifests) {
        entries.push(measure(path, bytes.as_slice()).map_err(|error| failed(path, &error))?);
    }
    for (path, source) in sources {
        let shown = source.display().to_string();
        let content = File::open(source).map_err(|error| failed(&shown, &error))?;
        entries.push(measure(path, content).map_err(|error| failed(&shown, &error))?);
    }
    Ok(entries)
}

fn header(pack: &Pack, operation: &Operation, entries: Vec<Entry>) -> Result<Header, Failed> {
    Ok(Header {
        format: FORMAT,
        execution: pack.execution.unwrap_or_else(|| ExecutionId::new(uuid::Uuid::now_v7())),
        tenant: pack.tenant.clone(),
        created: match pack.created {
            Some(created) => Some(created),
            None => source_date_epoch()?,
        },
        operation: OperationInfo {
            id: operation.id.clone(),
            revision: pack.revision,
            namespace: operation.namespace.clone(),
            system: operation.system.clone(),
            description: operation.description.clone(),
            labels: operation.labels.clone(),
        },
        validity: Validity { not_before: pack.valid_from, not_after: pack.valid_until },
        hold: pack.hold,
        entries,
    })
}

/// The reproducible-builds convention: seconds since 1970 in SOURCE_DATE_EPOCH.
fn source_date_epoch() -> Result<Option<jiff::Timestamp>, Failed> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse::<i64>().ok());
    let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map(Some).ok_or_else(|| Failed::new(Exit::Bad, "SOURCE_DATE_EPOCH: expected seconds since 1970"))
}

fn write_bundle(
    pack: &Pack,
    header: &Header,
    texts: &BTreeMap<String, Vec<u8>>,
    sources: &BTreeMap<String, PathBuf>,
) -> Result<(), Failed> {
    let failed = |error: &dyn std::error::Error| {
        Failed::because(
            Exit::Bad,
            format!("failed to write {}: {}", pack.output.display(), crate::run::chain(error)),
            error,
        )
    };
    // Beside its place first: a bundle that is cut short must not look like one.
    let mut part = pack.output.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut open = |entry: &Entry| -> io::Result<Box<dyn Read>> {
        match (texts.get(&entry.path), sources.get(&entry.path)) {
            (Some(bytes), _) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            (None, Some(source)) => Ok(Box::new(File::open(source)?)),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    };
    let written = (|| {
        let file = BufWriter::new(File::create(&part).map_err(|error| failed(&error))?);
        if !pack.zstd {
            let mut file = file;
            return archive(&mut file, header, &mut open).map_err(|error| failed(&error));
        }
        let mut encoder = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL).map_err(|error| failed(&error))?;
        encoder.include_checksum(true).map_err(|error| failed(&error))?;
        archive(&mut encoder, header, &mut open).map_err(|error| failed(&error))?;
        encoder.finish().and_then(|mut file| file.flush()).map_err(|error| failed(&error))
    })();
    let renamed = written.and_then(|()| fs::rename(&part, &pack.output).map_err(|error| failed(&error)));
    if renamed.is_err() {
        let _ = fs::remove_file(&part);
    }
    renamed
}

pub(super) fn inspect(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let bad = |error: &dyn std::error::Error| {
        Failed::because(Exit::Bad, format!("{}: {}", path.display(), crate::run::chain(error)), error)
    };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| bad(&error))?)
    };
    let mut texts = BTreeMap::new();
    let mut keep = |_: &Header, entry: &Entry, content: &mut dyn Read| -> io::Result<()> {
        if !entry.path.ends_with(".yaml") || entry.path.starts_with("files/") {
            return io::copy(content, &mut io::sink()).map(|_| ());
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        texts.insert(entry.path.clone(), bytes);
        Ok(())
    };
    let header = read::archive(BufReader::new(input), INSPECT_BYTES, &mut keep).map_err(|error| bad(&error))?;
    let bundle = verify::verify(header, &texts).map_err(|rejection| {
        let lines = rejection.to_string().lines().map(|line| format!("{}: {line}", path.display())).collect::<Vec<_>>();
        Failed::new(Exit::Bad, lines.join("\n"))
    })?;
    let steps: Vec<&document::StepDocument> = bundle.steps().iter().map(|step| &step.document).collect();
    if json {
        return print_json(out, &serde_json::json!({"bundle": bundle.header(), "steps": steps}));
    }
    describe(bundle.header(), &steps, out)
}

fn describe(header: &Header, steps: &[&document::StepDocument], out: &mut dyn Write) -> Result<(), Failed> {
    print_line(out, &format!("execution  {}", header.execution))?;
    print_line(out, &format!("tenant     {}", header.tenant))?;
    print_line(out, &format!("operation  {} revision {}", header.operation.id, dash(header.operation.revision)))?;
    print_line(out, &format!("created    {}", dash(header.created)))?;
    print_line(
        out,
        &format!("valid      {} to {}\n", dash(header.validity.not_before), dash(header.validity.not_after)),
    )?;
    let rows = steps.iter().map(|step| {
        let line = step_line((step, &None));
        let manifest = step.pod_run.as_ref().map(|run| run.manifest.clone());
        vec![line.id, line.kind, line.timeout_seconds.to_string(), dash(line.hostname), dash(manifest)]
    });
    print(out, &["STEP", "KIND", "BUDGET s", "HOSTNAME", "MANIFEST"], rows.collect())?;
    print_line(out, "")?;
    let rows =
        header.entries.iter().map(|entry| vec![entry.path.clone(), entry.size.to_string(), entry.sha256.to_string()]);
    print(out, &["ENTRY", "BYTES", "SHA-256"], rows.collect())
}
