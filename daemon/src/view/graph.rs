//! What hangs together: which jobs wait for which, what program each runs, how many slots it fills.
//!
//! Must not: decide who starts; the engine does.

use serde::{Deserialize, Serialize};

use super::job_id;
use crate::bundle::StepId;
use crate::plan::{Needs, Plan, PlannedStep, Role};
use crate::sequence::Execution;

/// Jobs of one step that are listed one by one; of a larger step its name is.
const LISTED_MAX: usize = 64;
/// Label of an operation that names the program it was made for.
pub const PROGRAM_LABEL: &str = "program";
/// Label of an operation that names its batch.
pub const BATCH_LABEL: &str = "batch";

/// One thing that a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The step.
    pub step: StepId,
    /// `order` (its end, however it ended), `all` (the success of all of it), `each` (position by position).
    pub mode: String,
}

/// What a step waits for.
pub(super) fn after(plan: &Plan, step: usize) -> Vec<After> {
    let edge =
        |edge: &crate::plan::Dependency| After { step: plan.steps[edge.step].id.clone(), mode: mode(edge.needs) };
    plan.steps[step].after.iter().map(edge).collect()
}

fn mode(needs: Needs) -> String {
    match needs {
        Needs::Ended => "order",
        Needs::Success => "all",
        Needs::Each => "each",
    }
    .to_owned()
}

/// The edges of a step to others: the other step, and what the edge needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Edges {
    children: Vec<(usize, Needs)>,
    sources: Vec<(usize, Needs)>,
}

impl Edges {
    /// Those of a step.
    pub(super) fn of(plan: &Plan, step: usize) -> Self {
        let from = |planned: &PlannedStep| planned.after.iter().find(|edge| edge.step == step).map(|edge| edge.needs);
        let children = plan.steps.iter().enumerate().filter_map(|(other, planned)| Some((other, from(planned)?)));
        let sources = plan.steps[step].after.iter().map(|edge| (edge.step, edge.needs));
        Self { children: children.collect(), sources: sources.collect() }
    }

    /// The jobs (or steps) that wait for a job.
    pub(super) fn children(&self, execution: &Execution, unit: usize) -> Vec<String> {
        ends(execution, &self.children, unit)
    }

    /// The jobs (or steps) that a job waits for.
    pub(super) fn sources(&self, execution: &Execution, unit: usize) -> Vec<String> {
        ends(execution, &self.sources, unit)
    }
}

fn ends(execution: &Execution, edges: &[(usize, Needs)], unit: usize) -> Vec<String> {
    let of = |(step, needs): &(usize, Needs)| {
        let planned = &execution.plan.steps[*step];
        let jobs = match needs {
            Needs::Each => planned.unit(unit),
            Needs::Ended | Needs::Success => 0..planned.jobs().len(),
        };
        if jobs.is_empty() || jobs.len() > LISTED_MAX {
            return vec![format!("{}.{}", execution.plan.execution, planned.id)];
        }
        jobs.map(|job| job_id(execution, *step, job)).collect()
    };
    edges.iter().flat_map(of).collect()
}

/// Processes that a scheduler would count for a job: of a gang's launcher those of all its workers.
pub(super) fn slots(planned: &PlannedStep, job: usize) -> u32 {
    let (Some(gang), Some(known)) = (&planned.terms.gang, planned.jobs().get(job)) else { return 1 };
    let unit = &planned.jobs()[planned.unit(known.unit as usize)];
    let workers = unit.iter().filter(|member| member.role == Role::Worker).count();
    match known.role {
        Role::Launcher => gang.slots_per_worker.saturating_mul(u32::try_from(workers).unwrap_or(u32::MAX)),
        Role::Worker | Role::Alone => gang.slots_per_worker,
    }
}

/// The program of a job: what its operation was made for, else what its command line names.
pub(super) fn program(plan: &Plan, step: usize, job: usize) -> Option<String> {
    if let Some(label) = plan.operation.labels.get(PROGRAM_LABEL) {
        return Some(label.clone());
    }
    let pod = &plan.steps[step].jobs().get(job)?.pod;
    let words = pod.command.iter().chain(&pod.args).flatten().map(String::as_str);
    named_in(&words.collect::<Vec<_>>()).map(str::to_owned)
}

/// Of a command line the program; of an interpreter what it interprets.
fn named_in<'a>(words: &[&'a str]) -> Option<&'a str> {
    const INTERPRETERS: [&str; 11] =
        ["sh", "ash", "bash", "dash", "env", "node", "perl", "python", "python3", "Rscript", "R"];
    let (first, rest) = words.split_first()?;
    let base = first.rsplit('/').next().unwrap_or(first);
    if !INTERPRETERS.contains(&base) {
        return Some(first);
    }
    let mut rest = rest.iter().skip_while(|word| word.starts_with('-') && !["-c", "-e", "-f"].contains(*word));
    match rest.next() {
        None => Some(first),
        // The text of a script begins with the program that it runs.
        Some(&("-c" | "-e")) => rest.next().and_then(|script| script.split_whitespace().next()).or(Some(first)),
        Some(&"-f") => rest.next().copied().or(Some(first)),
        Some(word) if base == "env" => named_in(&std::iter::once(*word).chain(rest.copied()).collect::<Vec<_>>()),
        Some(word) => Some(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_an_interpreter_interprets() {
        for (words, program) in [
            (&["/bin/sh", "-c", "sleep 5; true"][..], Some("sleep")),
            (&["/bin/sh", "/data/x/My.sh", "a"], Some("/data/x/My.sh")),
            (&["R", "--no-save", "-f", "/home/u/test.R"], Some("/home/u/test.R")),
            (&["Rscript", "test.R"], Some("test.R")),
            (&["/usr/bin/env", "python3", "-u", "a.py"], Some("a.py")),
            (&["nc", "-l"], Some("nc")),
            (&["sh"], Some("sh")),
            (&["sh", "-c", ""], Some("sh")),
            (&[], None),
        ] {
            assert_eq!(named_in(words), program, "{words:?}");
        }
    }
}
