//! Commands that list what there is: nodes, images, volumes, the outbox.

use std::io::Write;

use serde::Deserialize;

use super::client::Client;
use super::exit::{Exit, Failed};
use super::table::{dash, print, print_json, time};
use crate::downlink::OutboxEntry;

fn rows<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
    json: bool,
    out: &mut dyn Write,
    heading: &[&str],
    row: impl Fn(T) -> Vec<String>,
) -> Result<(), Failed> {
    let value: serde_json::Value = client.get(path)?;
    if json {
        return print_json(out, &value);
    }
    let lines: Vec<T> = serde_json::from_value(value)
        .map_err(|error| Failed::because(Exit::Fault, "the daemon's answer cannot be read", &error))?;
    print(out, heading, lines.into_iter().map(row).collect())
}

pub(super) fn nodes(client: &Client, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    #[derive(Deserialize)]
    struct Node {
        node: String,
        default: bool,
        socket: String,
        state: String,
        version: Option<String>,
        message: Option<String>,
        jobs: usize,
    }
    rows(
        client,
        "/v1/nodes",
        json,
        out,
        &["NODE", "DEFAULT", "STATE", "PODMAN", "JOBS", "SOCKET", "WHY"],
        |node: Node| {
            let default = if node.default { "yes" } else { "" };
            vec![
                node.node,
                default.to_owned(),
                node.state,
                dash(node.version),
                node.jobs.to_string(),
                node.socket,
                node.message.unwrap_or_default(),
            ]
        },
    )
}

pub(super) fn images(client: &Client, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    #[derive(Deserialize)]
    struct Image {
        node: String,
        repository: String,
        tag: String,
        id: String,
        created: Option<jiff::Timestamp>,
        size: u64,
    }
    rows(client, "/v1/images", json, out, &["NODE", "REPOSITORY", "TAG", "ID", "CREATED", "BYTES"], |image: Image| {
        let short: String = image.id.chars().take(12).collect();
        vec![image.node, image.repository, image.tag, short, time(image.created), image.size.to_string()]
    })
}

pub(super) fn volumes(client: &Client, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    #[derive(Deserialize)]
    struct Volume {
        node: String,
        tenant: String,
        volume: String,
    }
    rows(client, "/v1/volumes", json, out, &["NODE", "TENANT", "VOLUME"], |volume: Volume| {
        vec![volume.node, volume.tenant, volume.volume]
    })
}

pub(super) fn downlinks(client: &Client, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let heading = ["EXECUTION", "TENANT", "OPERATION", "STATE", "ENDED", "FILES", "BYTES", "PATH"];
    rows(client, "/v1/downlinks", json, out, &heading, |entry: OutboxEntry| {
        vec![
            entry.execution.to_string(),
            entry.tenant,
            entry.operation,
            entry.state.as_str().to_owned(),
            time(entry.ended_at),
            entry.files.len().to_string(),
            entry.bytes.to_string(),
            entry.path.display().to_string(),
        ]
    })
}

/// The document as the board keeps it.
pub(super) fn output(client: &Client, id: &str, out: &mut dyn Write) -> Result<(), Failed> {
    let document: serde_json::Value = client.get(&format!("/v1/executions/{}/output", crate::wire::encoded(id)))?;
    print_json(out, &document)
}
