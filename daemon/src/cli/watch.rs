//! Commands that watch: until something happens, what is said, what happens.

use std::fmt::Write as _;
use std::io::Write;

use futures_util::StreamExt as _;
use serde::Deserialize;

use super::Events;
use super::asked::{Logs, StreamName, Wait, joined, named};
use super::client::{Client, parsed, pieces};
use super::exit::{Exit, Failed};
use super::operate::duration;
use super::table::{print_json, print_line, time};
use crate::view::EventLine;
use crate::wire::encoded;

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

pub(super) fn wait(client: &Client, wait: &Wait, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let timeout = wait.timeout.as_deref().map(|text| duration("--timeout", text)).transpose()?;
    let ids = named(client, &wait.which)?;
    let mut path = format!("/v1/wait?ids={}&any={}", joined(&ids), wait.any);
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

pub(super) fn logs(client: &Client, logs: &Logs, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let ids = named(client, &logs.which)?;
    let mut path = format!("/v1/logs?ids={}&follow={}", joined(&ids), logs.follow);
    if let Some(stream) = logs.stream {
        let name = match stream {
            StreamName::Stdout => "stdout",
            StreamName::Stderr => "stderr",
        };
        let _ = write!(path, "&stream={name}");
    }
    if let Some(attempt) = logs.attempt {
        let _ = write!(path, "&attempt={attempt}");
    }
    if json {
        return print_json(out, &client.get::<serde_json::Value>(&format!("{path}&format=json"))?);
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
    print_event(&parsed(data.as_bytes())?, json, out)
}

/// One line of the event stream.
pub(super) fn print_event(line: &EventLine, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    if json {
        let text = serde_json::to_string(line);
        let text = text.map_err(|error| Failed::because(Exit::Fault, "failed to print JSON", &error))?;
        return print_line(out, &text);
    }
    let detail = line.detail.as_ref().map(|detail| format!("  ({detail})")).unwrap_or_default();
    print_line(out, &format!("{}  {}  {}  {}{detail}", line.cursor, time(Some(line.at)), line.id, line.event))
}
