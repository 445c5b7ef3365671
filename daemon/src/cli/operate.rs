//! Commands that talk to the daemon.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use hyper::StatusCode;
use jiff::SignedDuration;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use super::client::{Client, parsed, pieces, refused};
use super::exit::{Exit, Failed};
use super::table::{dash, print, print_event, print_json, print_line, time};
use super::{Events, List, Logs, Wait};
use crate::bundle::ExecutionId;
use crate::server::DaemonStatus;
use crate::verify::Objection;
use crate::view::{EventLine, ExecutionStatus};
use crate::wire::{self, encoded};

const CHUNK: usize = 64 * 1024;

/// What the daemon says of a candidate.
#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Submitted {
    Accepted { execution: ExecutionId },
    AlreadyKnown { execution: ExecutionId },
    Rejected { reasons: Vec<Reason> },
}

#[derive(Debug, Deserialize)]
struct Reason {
    file: String,
    field: String,
    message: String,
}

pub(super) fn submit(
    client: &Client,
    bundle: &Path,
    hold: bool,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failed> {
    let (Handed::Accepted(execution) | Handed::AlreadyKnown(execution)) = hand_over(client, bundle, hold)?;
    if json {
        print_json(out, &serde_json::json!({"execution": execution}))
    } else {
        print_line(out, &execution.to_string())
    }
}

/// What the daemon did with a bundle.
pub(super) enum Handed {
    /// It will run.
    Accepted(ExecutionId),
    /// It was aboard already; nothing changed.
    AlreadyKnown(ExecutionId),
}

/// Hands a bundle to the daemon.
pub(super) fn hand_over(client: &Client, bundle: &Path, hold: bool) -> Result<Handed, Failed> {
    let cannot = |error: &std::io::Error| {
        Failed::because(Exit::Bad, format!("failed to read {}: {error}", bundle.display()), error)
    };
    let body = client.block_on(async {
        let name = if bundle == Path::new("-") { Path::new("/dev/stdin") } else { bundle };
        let mut input = tokio::fs::File::open(name).await.map_err(|error| cannot(&error))?;
        // What cannot be read at all (a folder, say) is the caller's mistake, not a broken transfer.
        let first = chunk(&mut input).await.map_err(|error| cannot(&error))?;
        Ok(wire::streamed(futures_util::stream::unfold((Some(first), input), |(first, mut input)| async move {
            let piece = match first {
                Some(first) => Ok(first),
                None => chunk(&mut input).await,
            };
            match piece {
                Ok(piece) if piece.is_empty() => None,
                piece => Some((piece.map(Into::into), (None, input))),
            }
        })))
    })?;
    let (status, answer) = client.post(&format!("/v1/bundles?hold={hold}"), body)?;
    if !status.is_success() && status != StatusCode::UNPROCESSABLE_ENTITY {
        return Err(refused(status, &answer));
    }
    match parsed(&answer)? {
        Submitted::Accepted { execution } => Ok(Handed::Accepted(execution)),
        Submitted::AlreadyKnown { execution } => Ok(Handed::AlreadyKnown(execution)),
        Submitted::Rejected { reasons } => {
            let reasons =
                reasons.into_iter().map(|r| Objection { file: r.file, field: r.field, message: r.message }).collect();
            let rejection = crate::verify::Rejection { code: 0, name: crate::reason::Name::Invalid, reasons };
            let lines = rejection.to_string().lines().fold(String::new(), |mut text, line| {
                let _ = writeln!(text, "{}: {line}", bundle.display());
                text
            });
            Err(Failed::new(Exit::Bad, lines))
        }
    }
}

/// The next bytes; none at the end.
async fn chunk(input: &mut tokio::fs::File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; CHUNK];
    let n = input.read(&mut bytes).await?;
    bytes.truncate(n);
    Ok(bytes)
}

pub(super) fn status(client: &Client, id: Option<&str>, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let Some(id) = id else { return daemon_status(client, json, out) };
    let value: serde_json::Value = client.get(&format!("/v1/executions/{}", encoded(id)))?;
    if json {
        return print_json(out, &value);
    }
    match serde_json::from_value::<ExecutionStatus>(value.clone()) {
        Ok(status) => execution_status(&status, out),
        // A step or a job: its fields, one a line.
        Err(_) => fields(&value, out),
    }
}

fn daemon_status(client: &Client, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    if json {
        return print_json(out, &client.get::<serde_json::Value>("/v1/status")?);
    }
    let status: DaemonStatus = client.get("/v1/status")?;
    print_line(out, &format!("perigeed   {}", status.version))?;
    print_line(out, &format!("health     {}", status.health))?;
    for trouble in &status.troubles {
        print_line(out, &format!("           {}", trouble.message))?;
    }
    let live: Vec<String> = status.live.iter().map(|(state, count)| format!("{count} {state}")).collect();
    print_line(out, &format!("live       {}", if live.is_empty() { "none".to_owned() } else { live.join(", ") }))?;
    print_line(out, &format!("ended      {}", status.ended))?;
    print_line(out, &format!("events     {}", status.cursor))?;
    print_line(out, &format!("time       {}, budgets run {} times as fast", time(Some(status.now)), status.time_scale))
}

fn fields(value: &serde_json::Value, out: &mut dyn Write) -> Result<(), Failed> {
    let text = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => "-".to_owned(),
        None => value.to_string(),
    };
    let empty = serde_json::Map::new();
    let rows = value.as_object().unwrap_or(&empty).iter().map(|(key, value)| vec![key.clone(), text(value)]);
    print(out, &["FIELD", "VALUE"], rows.collect())
}

fn execution_status(status: &ExecutionStatus, out: &mut dyn Write) -> Result<(), Failed> {
    print_line(out, &format!("execution  {}", status.execution))?;
    print_line(out, &format!("operation  {} of {}", status.operation, status.tenant))?;
    let why = status.reason.as_ref().map(ToString::to_string);
    let why = why.or(status.waiting_for.as_ref().map(|what| format!("waits for {what}")));
    print_line(
        out,
        &format!("state      {}{}", status.state.as_str(), why.map(|why| format!(" ({why})")).unwrap_or_default()),
    )?;
    print_line(out, &format!("received   {}", time(Some(status.received_at))))?;
    print_line(out, &format!("started    {}", time(status.started_at)))?;
    print_line(out, &format!("ended      {}\n", time(status.ended_at)))?;
    let mut rows = Vec::new();
    for step in &status.steps {
        let job = step.jobs.first();
        let why = step.message.clone().or(step.waiting_for.as_ref().map(|what| format!("waits for {what}")));
        rows.push(vec![
            step.id.to_string(),
            step.kind.clone(),
            dash(step.group),
            step.state.as_str().to_owned(),
            dash(job.and_then(|job| job.exit_code)),
            dash(job.and_then(|job| job.wall_seconds).map(|seconds| format!("{seconds:.1}"))),
            step.timeout_seconds.to_string(),
            dash(job.map(|job| job.node.to_string())),
            why.unwrap_or_default(),
        ]);
    }
    print(out, &["STEP", "KIND", "GROUP", "STATE", "EXIT", "WALL s", "BUDGET s", "NODE", "WHY"], rows)
}

#[derive(Debug, Deserialize)]
struct Listing {
    executions: Vec<crate::view::Summary>,
    more: bool,
}

pub(super) fn list(client: &Client, list: &List, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let mut path = format!("/v1/executions?limit={}", list.limit);
    if let Some(states) = &list.state {
        let _ = write!(path, "&state={}", encoded(states));
    }
    if let Some(tenant) = &list.tenant {
        let _ = write!(path, "&tenant={}", encoded(tenant.as_str()));
    }
    if let Some(since) = &list.since {
        let _ = write!(path, "&since={}", encoded(&since_instant(since)?.to_string()));
    }
    if json {
        return print_json(out, &client.get::<serde_json::Value>(&path)?);
    }
    let listing: Listing = client.get(&path)?;
    let rows = listing.executions.iter().map(|summary| {
        vec![
            summary.execution.to_string(),
            summary.tenant.to_string(),
            summary.operation.to_string(),
            summary.state.as_str().to_owned(),
            format!("{}/{}", summary.steps_ended, summary.steps_total),
            time(Some(summary.received_at)),
            time(summary.ended_at),
            dash(summary.reason.as_ref().map(|reason| reason.name)),
        ]
    });
    print(out, &["EXECUTION", "TENANT", "OPERATION", "STATE", "STEPS", "RECEIVED", "ENDED", "WHY"], rows.collect())?;
    if listing.more { print_line(out, "… and more; raise --limit or filter") } else { Ok(()) }
}

fn since_instant(text: &str) -> Result<jiff::Timestamp, Failed> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let bad = || Failed::new(Exit::Bad, format!("--since: found `{text}`, expected RFC 3339 or a duration such as 2h"));
    let ago = text.parse::<SignedDuration>().map_err(|_| bad())?;
    crate::clock::Clock::new(1).now().wall.checked_sub(ago).map_err(|_| bad())
}

pub(super) fn history(client: &Client, id: &str, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let lines: Vec<EventLine> = client.get(&format!("/v1/executions/{}/history", encoded(id)))?;
    if json {
        return print_json(out, &lines);
    }
    let rows =
        lines.into_iter().map(|line| vec![line.at.to_string(), line.id, line.event, line.detail.unwrap_or_default()]);
    print(out, &["AT", "WHAT", "EVENT", "DETAIL"], rows.collect())
}

/// How a wait came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WaitOutcome {
    Reached,
    Timeout,
    Unreachable,
}

#[derive(Debug, Deserialize)]
struct Waited {
    outcome: WaitOutcome,
    parts: Vec<WaitedPart>,
}

#[derive(Debug, Deserialize)]
struct WaitedPart {
    id: String,
    state: crate::outcome::State,
    reached: bool,
}

/// Reads a duration as people write it.
pub(super) fn duration(option: &str, text: &str) -> Result<Duration, Failed> {
    let zero = text == "0";
    let parsed = if zero {
        Some(Duration::ZERO)
    } else {
        text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok())
    };
    parsed.ok_or_else(|| {
        Failed::new(Exit::Bad, format!("{option}: found `{text}`, expected a duration such as 90s, 5m or 1h30m"))
    })
}

pub(super) fn wait(client: &Client, wait: &Wait, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let timeout = wait.timeout.as_deref().map(|text| duration("--timeout", text)).transpose()?;
    let ids = wait.ids.iter().map(|id| encoded(id)).collect::<Vec<_>>().join(",");
    let mut path = format!("/v1/wait?ids={ids}&any={}", wait.any);
    if let Some(wanted) = &wait.wanted {
        let _ = write!(path, "&for={}", encoded(wanted));
    }
    if let Some(timeout) = timeout {
        let _ = write!(path, "&timeout_ms={}", timeout.as_millis());
    }
    let value: serde_json::Value = client.get(&path)?;
    let waited: Waited = serde_json::from_value(value.clone())
        .map_err(|error| Failed::because(Exit::Fault, "the daemon's answer cannot be read", &error))?;
    if json {
        print_json(out, &value)?;
    } else {
        for part in
            waited.parts.iter().filter(|part| !wait.any || part.reached || waited.outcome != WaitOutcome::Reached)
        {
            print_line(out, &format!("{}  {}", part.id, part.state.as_str()))?;
        }
    }
    match waited.outcome {
        WaitOutcome::Reached => Ok(()),
        WaitOutcome::Timeout => Err(Failed::new(Exit::TimedOut, "timed out; nothing was stopped")),
        WaitOutcome::Unreachable => {
            Err(Failed::new(Exit::Otherwise, "ended otherwise: the wanted state cannot be reached any more"))
        }
    }
}

pub(super) fn logs(client: &Client, logs: &Logs, out: &mut dyn Write) -> Result<(), Failed> {
    let mut path = format!("/v1/executions/{}/logs?follow={}", encoded(&logs.id), logs.follow);
    if let Some(stream) = logs.stream {
        let name = match stream {
            super::StreamName::Stdout => "stdout",
            super::StreamName::Stderr => "stderr",
        };
        let _ = write!(path, "&stream={name}");
    }
    client.block_on(async {
        let mut pieces = Box::pin(pieces(client.open(&path).await?));
        while let Some(piece) = pieces.next().await {
            let written = out.write_all(&piece?).and_then(|()| out.flush());
            written.map_err(|error| Failed::because(Exit::Fault, "failed to print", &error))?;
        }
        Ok(())
    })
}

pub(super) fn events(client: &Client, events: &Events, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let since = events.since.map(|since| format!("since={since}&")).unwrap_or_default();
    let path = format!("/v1/events?{since}follow={}", events.follow);
    client.block_on(async {
        let mut pieces = Box::pin(pieces(client.open(&path).await?));
        let mut text = String::new();
        while let Some(piece) = pieces.next().await {
            text.push_str(&String::from_utf8_lossy(&piece?));
            while let Some(end) = text.find('\n') {
                let line: String = text.drain(..=end).collect();
                if let Some(data) = line.trim_end().strip_prefix("data: ") {
                    event_line(data, json, out)?;
                }
            }
        }
        Ok(())
    })
}

fn event_line(data: &str, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    if json {
        return print_line(out, data);
    }
    print_event(&parsed::<EventLine>(data.as_bytes())?, json, out)
}

/// Sends a verb for every id; each is answered, the first refusal decides the exit code.
pub(super) fn verb(client: &Client, ids: &[String], verb: &str, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let path = |id: &str| format!("/v1/executions/{}/{verb}", encoded(id));
    for_each(client, ids, path, json, out)
}

pub(super) fn acknowledge(client: &Client, ids: &[String], json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    for_each(client, ids, |id| format!("/v1/downlinks/{}/ack", encoded(id)), json, out)
}

fn for_each(
    client: &Client,
    ids: &[String],
    path: impl Fn(&str) -> String,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failed> {
    let mut failed: Option<Failed> = None;
    let mut outcomes = Vec::new();
    for id in ids {
        match client.command::<serde_json::Value>(&path(id)) {
            Ok(_) => outcomes.push((id, "ok".to_owned())),
            Err(refusal) => {
                outcomes.push((id, refusal.message.clone()));
                let line = format!("{id}: {}", refusal.message);
                match &mut failed {
                    Some(first) => first.message = format!("{}\n{line}", first.message),
                    None => failed = Some(Failed { message: line, ..refusal }),
                }
            }
        }
    }
    if json {
        let outcomes = outcomes.iter().map(|(id, outcome)| serde_json::json!({"id": id, "outcome": outcome}));
        print_json(out, &outcomes.collect::<Vec<_>>())?;
    }
    failed.map_or(Ok(()), Err)
}
