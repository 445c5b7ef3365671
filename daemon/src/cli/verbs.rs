//! Verbs: each goes to every id, is answered for every member, and the gravest refusal decides the exit code.

use std::io::Write;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::asked::{Which, named};
use super::client::{Client, parsed, refused};
use super::exit::{Exit, Failed};
use super::table::{print_json, print_line};
use crate::sequence::Outcome;
use crate::wire::{empty, encoded};

/// What came of one id.
#[derive(Debug, Serialize)]
struct Line {
    /// As it was asked for.
    id: String,
    /// `ok`, or why not.
    outcome: String,
    /// What came of each of its members.
    members: Vec<Outcome>,
}

/// The answer to a verb, whether taken or refused by all.
#[derive(Debug, Deserialize)]
struct Members {
    #[serde(default)]
    outcomes: Vec<Outcome>,
}

/// Sends a verb to every id.
pub(super) fn verb(client: &Client, which: &Which, verb: &str, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let ids = named(client, which)?;
    for_each(client, &ids, |id| format!("/v1/executions/{}/{verb}", encoded(id)), json, out)
}

/// Purges, after what is to be purged was stopped and has ended.
pub(super) fn purge(client: &Client, which: &Which, stop: bool, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let ids = named(client, which)?;
    if let Some(part) = ids.iter().find(|id| id.contains('.')) {
        return Err(Failed::new(Exit::Bad, format!("`{part}` is a part; executions are purged whole")));
    }
    for id in ids.iter().filter(|_| stop) {
        // What has ended cannot be stopped, and need not be; what is not there is told by the purge.
        let (status, body) = client.post(&format!("/v1/executions/{}/stop", encoded(id)), empty())?;
        match status {
            StatusCode::NOT_FOUND => continue,
            status if !status.is_success() && status != StatusCode::CONFLICT => return Err(refused(status, &body)),
            _ => {}
        }
        let _: serde_json::Value = client.get(&format!("/v1/wait?ids={}", encoded(id)))?;
    }
    for_each(client, &ids, |id| format!("/v1/executions/{}/purge", encoded(id)), json, out)
}

/// Removes entries of the outbox.
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
    let mut refusals: Vec<(Exit, String)> = Vec::new();
    let mut lines = Vec::new();
    for id in ids {
        let (status, body) = client.post(&path(id), empty())?;
        let members = parsed::<Members>(&body).map(|members| members.outcomes).unwrap_or_default();
        let mut outcome = "ok".to_owned();
        if !status.is_success() {
            let refusal = refused(status, &body);
            outcome.clone_from(&refusal.message);
            if members.is_empty() {
                refusals.push((refusal.exit, format!("{id}: {}", refusal.message)));
            }
        }
        for member in &members {
            match &member.refused {
                Some(why) => refusals.push((Exit::Refused, format!("{}: {why}", member.id))),
                None if json => {}
                None => print_line(out, &format!("{}  ok", member.id))?,
            }
        }
        lines.push(Line { id: id.clone(), outcome, members });
    }
    if json {
        print_json(out, &lines)?;
    }
    let Some((first, _)) = refusals.first() else { return Ok(()) };
    let text = refusals.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    Err(Failed::new(*first, text))
}
