//! `check --expand` and `check --graph`: what a board would make of an operation, without making anything.
//!
//! Must not: know rules; it verifies and plans as a board does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::exit::{Exit, Failed};
use super::table::{print, print_json, print_line};
use crate::bundle::document::{self, Entry, Header, OperationInfo, Sequence, Validity};
use crate::bundle::limits::FORMAT;
use crate::bundle::options::Privilege;
use crate::bundle::{Digest, ExecutionId, NodeName, Tenant};
use crate::operation::compile::Compiled;
use crate::operation::tasks::Operation;
use crate::plan::policy::Policy;
use crate::plan::{Board, Instrument, Needs, Plan, PlannedStep, plan};
use crate::verify::verify;

/// Languages that draw graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Drawing {
    /// Mermaid, as Markdown viewers draw it.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// One job that the operation would have, or a task without jobs.
#[derive(Debug, Serialize)]
struct Instance {
    id: String,
    hostname: Option<String>,
    node: Option<String>,
    unit: Option<u32>,
}

/// One dependency, between tasks or between jobs at the same position.
#[derive(Debug, Serialize)]
struct Arrow {
    from: String,
    to: String,
    needs: &'static str,
}

/// What a board with these nodes, all on one Podman, would carry out.
pub(super) fn planned(
    operation: &Operation,
    compiled: &Compiled,
    tenant: &Tenant,
    nodes: &[NodeName],
) -> Result<Plan, Failed> {
    let fault = |error: &dyn std::error::Error| Failed::because(Exit::Fault, "failed to write a document", error);
    let sequence = Sequence { parallelism: compiled.parallelism, steps: compiled.steps.clone() };
    let sequence = document::write(Sequence::PATH, &sequence).map_err(|error| fault(&error))?;
    let mut texts: BTreeMap<String, Vec<u8>> = [(Sequence::PATH.to_owned(), sequence.into_bytes())].into();
    texts.extend(compiled.manifests.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())));
    // The board measures files when it reads the bundle; here it is enough that they are there.
    let entry = |path: &String| Entry { path: path.clone(), size: 0, sha256: Digest::of(&[]) };
    let entries = texts.keys().chain(compiled.files.iter().map(|file| &file.entry)).map(entry).collect();
    let header = Header {
        format: FORMAT,
        execution: ExecutionId::new(uuid::Uuid::nil()),
        tenant: tenant.clone(),
        created: None,
        operation: OperationInfo {
            id: operation.id.clone(),
            revision: None,
            namespace: None,
            system: None,
            description: None,
            labels: BTreeMap::new(),
        },
        validity: Validity::default(),
        hold: false,
        entries,
    };
    let refused = |rejection: crate::verify::Rejection| Failed::new(Exit::Fault, rejection.to_string());
    let bundle = verify(header, &texts).map_err(refused)?;
    let own = nodes.iter().filter(|node| node.as_str() != "default");
    let nodes: BTreeMap<NodeName, String> = own.map(|node| (node.clone(), "local".to_owned())).collect();
    let Some(default_node) = nodes.keys().next().cloned() else {
        return Err(Failed::new(Exit::Fault, "there is no node"));
    };
    // What a board's operator allows is not known on the ground.
    let policy = Policy { allow: Privilege::ALL.into(), ..Policy::default() };
    // Nor which instruments it has: any will do to show the jobs.
    let fisheye = Some(Instrument { image: "instrument:any".to_owned(), command: None, node: None });
    plan(&bundle, &Board { nodes, default_node, stop_grace_seconds: 0, look_ahead: false, policy, fisheye })
        .map_err(refused)
}

/// Prints the jobs and what each waits for.
pub(super) fn expand(plan: &Plan, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let instances: Vec<Instance> = plan.steps.iter().flat_map(instances).collect();
    let arrows: Vec<Arrow> = (0..plan.steps.len()).flat_map(|step| arrows(plan, step)).collect();
    if json {
        let value = serde_json::json!({"jobs": instances, "edges": arrows, "parallelism": plan.parallelism});
        return print_json(out, &value);
    }
    let rows = instances.iter().map(|instance| {
        let step = instance.id.split('.').next().unwrap_or_default();
        let before = arrows.iter().filter(|arrow| arrow.to == instance.id || arrow.to == step);
        let before: Vec<String> = before.map(|arrow| format!("{} ({})", arrow.from, arrow.needs)).collect();
        let before = if before.is_empty() { "nothing".to_owned() } else { before.join(", ") };
        vec![instance.id.clone(), instance.hostname.clone().unwrap_or_else(|| "-".to_owned()), before]
    });
    print_line(out, &format!("{} jobs and tasks without any; nothing was made\n", instances.len()))?;
    print(out, &["JOB", "HOSTNAME", "WAITS FOR"], rows.collect())
}

fn instances(step: &PlannedStep) -> Vec<Instance> {
    if let Some(fan_out) = &step.terms.fan_out {
        let id = format!("{}.* (0 to {})", step.id, fan_out.limit);
        let hostname = Some(format!("{}-*", fan_out.template.hostname));
        return vec![Instance { id, hostname, node: Some(fan_out.template.node.to_string()), unit: None }];
    }
    if step.jobs().is_empty() {
        let node = step.node().map(ToString::to_string);
        return vec![Instance { id: step.id.to_string(), hostname: None, node, unit: None }];
    }
    let instance = |(index, job): (usize, &crate::plan::PlannedJob)| Instance {
        id: format!("{}.{}", step.id, step.label(index)),
        hostname: Some(job.hostname.to_string()),
        node: Some(job.node.to_string()),
        unit: Some(job.unit),
    };
    step.jobs().iter().enumerate().map(instance).collect()
}

fn arrows(plan: &Plan, index: usize) -> Vec<Arrow> {
    let step = &plan.steps[index];
    let mut arrows = Vec::new();
    for edge in &step.after {
        let other = &plan.steps[edge.step];
        match edge.needs {
            Needs::Ended | Needs::Success => {
                let needs = if edge.needs == Needs::Ended { "end" } else { "success" };
                arrows.push(Arrow { from: other.id.to_string(), to: step.id.to_string(), needs });
            }
            Needs::Each => {
                for unit in 0..step.units() {
                    let name = |step: &PlannedStep| {
                        step.unit(unit).map(|job| format!("{}.{}", step.id, step.label(job))).collect::<Vec<_>>()
                    };
                    for to in name(step) {
                        // The last of a unit is its launcher, whose end is the unit's.
                        let from = name(other).pop().unwrap_or_default();
                        arrows.push(Arrow { from, to, needs: "success" });
                    }
                }
            }
        }
    }
    let output =
        |source: usize| Arrow { from: plan.steps[source].id.to_string(), to: step.id.to_string(), needs: "output" };
    arrows.extend(step.sources().into_iter().map(output));
    arrows
}

/// Draws the tasks and what each waits for.
pub(super) fn draw(plan: &Plan, drawing: Drawing, out: &mut dyn Write) -> Result<(), Failed> {
    let mut text = match drawing {
        Drawing::Mermaid => "flowchart TD\n".to_owned(),
        Drawing::Dot => "digraph operation {\n".to_owned(),
    };
    for (index, step) in plan.steps.iter().enumerate() {
        let label = match (&step.terms.fan_out, step.units()) {
            (Some(fan_out), _) => format!("{} (up to {} jobs)", step.id, fan_out.limit),
            (None, 0 | 1) => step.id.to_string(),
            (None, units) => format!("{} ({units} jobs)", step.id),
        };
        let _ = match drawing {
            Drawing::Mermaid => writeln!(text, "  s{index}[\"{label}\"]"),
            Drawing::Dot => writeln!(text, "  s{index} [label=\"{label}\", shape=box];"),
        };
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let edges = step.after.iter().map(|edge| (edge.step, edge.needs));
        for (from, needs) in edges {
            let word = match needs {
                Needs::Ended => "end",
                Needs::Success => "all",
                Needs::Each => "each",
            };
            let _ = match drawing {
                Drawing::Mermaid => writeln!(text, "  s{from} -->|{word}| s{index}"),
                Drawing::Dot => writeln!(text, "  s{from} -> s{index} [label=\"{word}\"];"),
            };
        }
        for from in step.sources() {
            let _ = match drawing {
                Drawing::Mermaid => writeln!(text, "  s{from} -.->|output| s{index}"),
                Drawing::Dot => writeln!(text, "  s{from} -> s{index} [label=\"output\", style=dashed];"),
            };
        }
    }
    if drawing == Drawing::Dot {
        text.push_str("}\n");
    }
    print_line(out, text.trim_end())
}
