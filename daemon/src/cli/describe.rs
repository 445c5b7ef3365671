//! One execution for people: its steps as a table, or everything with the graph.

use std::collections::BTreeMap;
use std::io::Write;

use super::client::Client;
use super::exit::{Exit, Failed};
use super::table::{dash, print, print_json, print_line, time};
use crate::plan::Role;
use crate::view::{ExecutionStatus, JobStatus, StepStatus};
use crate::wire::encoded;

/// Everything, with the graph.
pub(super) fn describe(client: &Client, id: &str, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let value: serde_json::Value = client.get(&format!("/v1/executions/{}", encoded(id)))?;
    if json {
        return print_json(out, &value);
    }
    let status = serde_json::from_value::<ExecutionStatus>(value);
    let status = status.map_err(|_| Failed::new(Exit::Bad, format!("`{id}` is not an execution; see `status`")))?;
    head(&status, out)?;
    for (key, value) in &status.labels {
        print_line(out, &format!("label      {key}={value}"))?;
    }
    for step in &status.steps {
        print_line(out, "")?;
        described(&status, step, out)?;
    }
    Ok(())
}

fn described(status: &ExecutionStatus, step: &StepStatus, out: &mut dyn Write) -> Result<(), Failed> {
    let why = step.message.clone().or(step.waiting_for.as_ref().map(|what| format!("waits for {what}")));
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    print_line(out, &format!("step       {}: {}{why}", step.id, step.state.as_str()))?;
    let budget = format!("kind {}, budget {} s", step.kind, step.timeout_seconds);
    let group = step.group.map(|group| format!(", group {group}")).unwrap_or_default();
    print_line(out, &format!("           {budget}{group}"))?;
    if !step.after.is_empty() {
        let after = step.after.iter().map(|after| format!("{} ({})", after.step, after.mode)).collect::<Vec<_>>();
        print_line(out, &format!("after      {}", after.join(", ")))?;
    }
    if step.jobs.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for job in &step.jobs {
        *counts.entry(job.state.as_str()).or_default() += 1;
    }
    let counts = counts.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ");
    print_line(out, &format!("jobs       {} in all: {counts}", step.jobs.len()))?;
    let prefix = format!("{}.", status.execution);
    let short = |id: &str| id.strip_prefix(&prefix).unwrap_or(id).to_owned();
    let row = |job: &JobStatus| {
        let children = job.children.iter().map(|id| short(id)).collect::<Vec<_>>();
        vec![
            short(&job.id),
            job.state.as_str().to_owned(),
            dash(job.exit_code),
            job.attempt.to_string(),
            dash(job.wall_seconds.map(|seconds| format!("{seconds:.1}"))),
            job.node.to_string(),
            job.hostname.to_string(),
            if children.is_empty() { "-".to_owned() } else { format!("-> {}", children.join(", ")) },
        ]
    };
    let heading = ["JOB", "STATE", "EXIT", "ATTEMPT", "WALL s", "NODE", "HOSTNAME", "CHILDREN"];
    print(out, &heading, step.jobs.iter().map(row).collect())
}

pub(super) fn execution(status: &ExecutionStatus, out: &mut dyn Write) -> Result<(), Failed> {
    head(status, out)?;
    print_line(out, "")?;
    let mut rows = Vec::new();
    for step in &status.steps {
        // One job speaks for its step, a launcher for its gang; of several nobody does.
        let job = match step.jobs.as_slice() {
            [only] => Some(only),
            [first, ..] => step
                .jobs
                .iter()
                .find(|job| job.role == Role::Launcher && step.unit(first.unit).count() == step.jobs.len()),
            [] => None,
        };
        let why = step.message.clone().or(step.waiting_for.as_ref().map(|what| format!("waits for {what}")));
        rows.push(vec![
            step.id.to_string(),
            step.kind.clone(),
            dash(step.group),
            step.state.as_str().to_owned(),
            dash(job.and_then(|job| job.exit_code)),
            dash(job.and_then(|job| job.wall_seconds).map(|seconds| format!("{seconds:.1}"))),
            step.timeout_seconds.to_string(),
            dash(step.jobs.first().map(|job| job.node.to_string())),
            why.unwrap_or_default(),
        ]);
    }
    print(out, &["STEP", "KIND", "GROUP", "STATE", "EXIT", "WALL s", "BUDGET s", "NODE", "WHY"], rows)
}

fn head(status: &ExecutionStatus, out: &mut dyn Write) -> Result<(), Failed> {
    print_line(out, &format!("execution  {}", status.execution))?;
    print_line(out, &format!("operation  {} of {}", status.operation, status.tenant))?;
    let why = status.reason.as_ref().map(ToString::to_string).or_else(|| status.message.clone());
    let why = why.or(status.waiting_for.as_ref().map(|what| format!("waits for {what}")));
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    print_line(out, &format!("state      {}{why}", status.state.as_str()))?;
    print_line(out, &format!("received   {}", time(Some(status.received_at))))?;
    print_line(out, &format!("started    {}", time(status.started_at)))?;
    print_line(out, &format!("ended      {}", time(status.ended_at)))
}
