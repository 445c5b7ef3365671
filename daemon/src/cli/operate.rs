//! Commands that talk to the daemon.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hyper::StatusCode;
use jiff::SignedDuration;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use super::asked::{List, Status, members};
use super::client::{Client, parsed, refused};
use super::describe;
use super::exit::{Exit, Failed};
use super::table::{dash, print, print_json, print_line, time};
use crate::bundle::ExecutionId;
use crate::server::DaemonStatus;
use crate::verify::Objection;
use crate::view::{EventLine, ExecutionStatus, grouped};
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
    let (execution, known) = match hand_over(client, bundle, hold)? {
        Handed::Accepted(execution) => (execution, false),
        Handed::AlreadyKnown(execution) => (execution, true),
    };
    if known {
        // Standard output holds the id and nothing else. Nobody may be reading.
        let _ = writeln!(
            std::io::stderr(),
            "perigee: execution {execution} was known already: nothing was changed, and it does not run again"
        );
    }
    if json {
        print_json(out, &serde_json::json!({"execution": execution, "already_known": known}))
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

pub(super) fn status(client: &Client, asked: &Status, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let mut ids = asked.ids.clone();
    if let Some(batch) = &asked.batch {
        ids.extend(members(client, batch)?);
    }
    let one = |id: &String| client.get::<serde_json::Value>(&format!("/v1/executions/{}", encoded(id)));
    if asked.group {
        return phases(&ids, one, json, out);
    }
    match ids.as_slice() {
        [] => daemon_status(client, json, out),
        [id] if asked.batch.is_none() => {
            let value = one(id)?;
            if json {
                return print_json(out, &value);
            }
            match serde_json::from_value::<ExecutionStatus>(value.clone()) {
                Ok(status) => describe::execution(&status, out),
                // A step or a job: its fields, one a line; of a group or a gang those of each.
                Err(_) => match value.as_array() {
                    None => fields(&value, out),
                    Some(parts) => parts.iter().try_for_each(|part| {
                        fields(part, out)?;
                        print_line(out, "")
                    }),
                },
            }
        }
        ids => {
            let values = ids.iter().map(one).collect::<Result<Vec<_>, _>>()?;
            if json {
                return print_json(out, &values);
            }
            let text = |value: &serde_json::Value, key: &str| dash(value[key].as_str());
            let rows = ids.iter().zip(&values).map(|(id, value)| {
                vec![id.clone(), text(value, "state"), text(value, "ended_at"), text(value, "message")]
            });
            print(out, &["ID", "STATE", "ENDED", "WHY"], rows.collect())
        }
    }
}

/// Jobs by phase, of executions.
fn phases(
    ids: &[String],
    one: impl Fn(&String) -> Result<serde_json::Value, Failed>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failed> {
    if ids.is_empty() {
        return Err(Failed::new(Exit::Bad, "--group needs executions: name some, or a --batch"));
    }
    let mut executions = Vec::new();
    for id in ids {
        let whole = serde_json::from_value::<ExecutionStatus>(one(id)?);
        executions.push(whole.map_err(|_| Failed::new(Exit::Bad, format!("--group: `{id}` is not an execution")))?);
    }
    let phases = grouped(&executions);
    if json {
        return print_json(out, &phases);
    }
    let jobs = phases.iter().flat_map(|(phase, group)| group.jobs.iter().map(move |job| (phase, job)));
    let rows = jobs.map(|(phase, job)| vec![phase.clone(), job.id.clone(), dash(job.path.as_ref())]);
    print(out, &["PHASE", "JOB", "PATH"], rows.collect())
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
    for (key, value) in [("step", &list.step), ("operation", &list.operation), ("batch", &list.batch)] {
        if let Some(value) = value {
            let _ = write!(path, "&{key}={}", encoded(value));
        }
    }
    for label in &list.labels {
        let _ = write!(path, "&label={}", encoded(label));
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

pub(super) fn digest(client: &Client, bytes: Option<usize>, out: &mut dyn Write) -> Result<(), Failed> {
    let query = bytes.map(|bytes| format!("?bytes={bytes}")).unwrap_or_default();
    let text = client.text(&format!("/v1/digest{query}"))?;
    // Not a byte more than was asked for.
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failed::because(Exit::Fault, "failed to print", &error))
}
