//! What holds within one step that has a flow or jobs, whoever wrote it.
//!
//! Ground and board share it: the ground shows a [`Flaw`] at its line, the board refuses the bundle with it.
//! Must not: compare steps; [`super::graph`] does.

use super::document::{PodRunDocument, StepDocument};
use super::fan;
use super::flow::{Array, Condition, Flow, FromOutput, GangDocument, Jobs, OnPowerLoss, Operator, Rule, Test};
use super::graph::{Flaw, Units};
use super::limits::{BACKOFF_SECONDS, JOBS, MAX_TIMEOUT_SECONDS, PLAN_BYTES, RETRIES, SLOTS, WORKERS};
use super::manifest::{Container, DATA};
use super::path;

/// Seconds that the workers of a gang may run longer than their launcher, so that its own end comes first.
pub const WORKERS_OUTLIVE_SECONDS: u32 = 60;
/// Names each member of an array; the tenant cannot set it.
pub const TASK_ID: &str = "TASK_ID";
/// Where the members of a gang find each other.
pub const MPI: &str = "/etc/mpi";

/// Everything that is wrong within a step, but for its manifest.
#[must_use]
pub fn flaws(step: &StepDocument) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    flow(&step.flow, &mut flaws);
    let Some(run) = &step.pod_run else {
        errand(&step.flow, &mut flaws);
        return flaws;
    };
    if let Some(jobs) = &run.jobs {
        self::jobs(jobs, &mut flaws);
        output_files(run, jobs, &mut flaws);
        if let Some(gang) = &jobs.gang {
            self::gang(gang, jobs, &mut flaws);
            budget(step, run, &mut flaws);
        }
    }
    flaws
}

/// What a step may not have because it starts together with others of its merge group.
#[must_use]
pub fn grouped(step: &StepDocument) -> Vec<Flaw> {
    let jobs = step.pod_run.as_ref().and_then(|run| run.jobs.as_ref());
    let has = |part: fn(&Jobs) -> bool| jobs.is_some_and(part);
    let table = [
        (step.flow.retries > 0, "flow.retries", "its members start together and could not be tried again alone"),
        (step.flow.on_power_loss == OnPowerLoss::Rerun, "flow.on_power_loss", "its members could not run again alone"),
        (step.flow.when.is_some(), "flow.when", "its members start together, or none of them does"),
        (has(|jobs| jobs.array.is_some()), "pod_run.jobs.array", "its members start together, one job each"),
        (has(|jobs| !jobs.commands.is_empty()), "pod_run.jobs.commands", "its members start together, one job each"),
        (
            has(|jobs| jobs.from_output.is_some()),
            "pod_run.jobs.from_output",
            "its members start together, one job each",
        ),
        (has(|jobs| jobs.gang.is_some()), "pod_run.jobs.gang", "a gang starts together by itself"),
    ];
    let met = table.into_iter().filter(|(met, ..)| *met);
    met.map(|(_, field, why)| Flaw::new(field, format!("not in a merge group: {why}"), "remove it, or `merge`"))
        .collect()
}

/// What a member of a merge group says of its window that the first member does not.
#[must_use]
pub fn window_of_member(member: &Flow, first: &Flow) -> Option<Flaw> {
    let differs = |own: Option<jiff::Timestamp>, first: Option<jiff::Timestamp>| own.is_some() && own != first;
    let field = if differs(member.not_before, first.not_before) {
        "flow.not_before"
    } else if differs(member.not_after, first.not_after) {
        "flow.not_after"
    } else {
        return None;
    };
    let message = "differs from that of the first member of its merge group, which starts as one";
    Some(Flaw::new(field, message, "write it at the first member only, or alike at all of them"))
}

/// What the pod of a step may not have because of its jobs.
#[must_use]
pub fn of_pod(jobs: &Jobs, pod: &Container) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let listed = !jobs.commands.is_empty() || jobs.from_output.is_some();
    if listed && (pod.command.is_some() || pod.args.is_some()) {
        let field = if pod.command.is_some() { "command" } else { "args" };
        let message = "not together with a list of commands, which are run by `/bin/sh -c`";
        flaws.push(Flaw::new(field, message, "keep one of them"));
    }
    if jobs.array.is_some() && pod.env.iter().any(|variable| variable.name == TASK_ID) {
        let message = format!("`{TASK_ID}` is set by the array");
        flaws.push(Flaw::new("env", message, "give the variable another name"));
    }
    if jobs.overlap() && !pod.ports.is_empty() {
        let message = "several jobs that may be alive at once cannot share a host port";
        flaws.push(Flaw::new("ports", message, "remove the ports, or write `max_parallel: 1`"));
    }
    flaws
}

fn flow(flow: &Flow, flaws: &mut Vec<Flaw>) {
    let mut wrong = |field: &str, message: String, hint: &str| flaws.push(Flaw::new(field, message, hint));
    if flow.retries > RETRIES {
        wrong("flow.retries", format!("found {}, expected 0 to {RETRIES}", flow.retries), "retry less often");
    }
    if flow.backoff_seconds > BACKOFF_SECONDS {
        let message = format!("found {} s, expected at most {BACKOFF_SECONDS} s", flow.backoff_seconds);
        wrong("flow.backoff_seconds", message, "wait less; each further pause is twice as long");
    }
    if flow.backoff_seconds > 0 && flow.retries == 0 {
        wrong("flow.backoff_seconds", "there are no retries to wait for".to_owned(), "write `retries`, or remove it");
    }
    if let (Some(first), Some(last)) = (flow.not_before, flow.not_after)
        && first >= last
    {
        let message = format!("{last} is not later than not_before, {first}");
        wrong("flow.not_after", message, "give it a time to start in");
    }
    if let Some(Condition { test: Test::Any(rules), .. }) = &flow.when {
        if rules.is_empty() {
            wrong("flow.when.any", "the list is empty".to_owned(), "write at least one rule");
        }
        for (i, one) in rules.iter().enumerate() {
            flaws.extend(rule(&format!("flow.when.any[{i}]"), one));
        }
    }
}

fn rule(field: &str, rule: &Rule) -> Option<Flaw> {
    if rule.key.is_empty() || rule.key.contains([':', ',']) || rule.key.trim() != rule.key {
        let message = format!("key `{}` cannot be found in key:value,key:value", rule.key.escape_debug());
        return Some(Flaw::new(format!("{field}.key"), message, "name one key"));
    }
    let expected = match rule.operator {
        Operator::In | Operator::NotIn if rule.values.is_empty() => "at least one value",
        Operator::Exists | Operator::DoesNotExist if !rule.values.is_empty() => "no value",
        Operator::Gt | Operator::Lt
            if rule.values.len() != 1 || !rule.values[0].parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            "one value, a number"
        }
        Operator::Equals | Operator::NotEquals if rule.values.len() != 1 => "one value",
        Operator::In
        | Operator::NotIn
        | Operator::Exists
        | Operator::DoesNotExist
        | Operator::Gt
        | Operator::Lt
        | Operator::Equals
        | Operator::NotEquals => return None,
    };
    let message = format!("found {}, this operator takes {expected}", listed(&rule.values));
    Some(Flaw::new(format!("{field}.values"), message, "see docs/operation-file.md for the operators"))
}

/// Several jobs would replace each other's file.
fn output_files(run: &PodRunDocument, jobs: &Jobs, flaws: &mut Vec<Flaw>) {
    if jobs.units() == Units::Known(1) {
        return;
    }
    for (key, file) in [("stdout", &run.options.stdout), ("stderr", &run.options.stderr)] {
        if file.is_some() {
            let message = "each of its jobs would replace the file of the one before";
            let hint = "write files from the commands themselves, or read `perigee logs`";
            flaws.push(Flaw::new(format!("pod_run.options.{key}"), message, hint));
        }
    }
}

fn listed(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().take(5).map(|value| format!("`{}`", value.escape_debug())).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

fn errand(flow: &Flow, flaws: &mut Vec<Flaw>) {
    const HINT: &str = "only pod.run tasks are tried again";
    if flow.retries > 0 {
        flaws.push(Flaw::new("flow.retries", "this task runs no pod", HINT));
    }
    if flow.on_power_loss == OnPowerLoss::Rerun {
        flaws.push(Flaw::new("flow.on_power_loss", "this task runs no pod", HINT));
    }
}

fn jobs(jobs: &Jobs, flaws: &mut Vec<Flaw>) {
    const FIELDS: [&str; 3] = ["array", "commands", "from_output"];
    let given = [jobs.array.is_some(), !jobs.commands.is_empty(), jobs.from_output.is_some()];
    let given: Vec<&str> = FIELDS.into_iter().zip(given).filter(|(_, given)| *given).map(|(name, _)| name).collect();
    if let [first, second, ..] = given.as_slice() {
        let message = format!("`{first}` and `{second}` both say what the jobs are");
        flaws.push(Flaw::new(format!("pod_run.jobs.{second}"), message, "keep one of them"));
    }
    if let Some(array) = jobs.array {
        self::array(array, flaws);
    }
    if jobs.commands.len() > JOBS {
        let message = format!("found {} commands, the limit is {JOBS} jobs", jobs.commands.len());
        flaws.push(Flaw::new("pod_run.jobs.commands", message, "use fewer, or several operations"));
    }
    let nul = |text: &String| text.is_empty() || text.contains('\0');
    if let Some(at) = jobs.commands.iter().position(nul) {
        let message = "a command that is empty, or holds a zero character";
        flaws.push(Flaw::new(format!("pod_run.jobs.commands[{at}]"), message, "write what `sh -c` is to run"));
    }
    if let Some(from) = &jobs.from_output {
        from_output(from, flaws);
    }
    match jobs.max_parallel {
        Some(0) => {
            let message = "found 0, with which nothing would ever start";
            flaws.push(Flaw::new("pod_run.jobs.max_parallel", message, "leave it out to have no cap"));
        }
        Some(_) if given.is_empty() => {
            let message = "there is one job only";
            flaws.push(Flaw::new("pod_run.jobs.max_parallel", message, "remove it, or write an array or commands"));
        }
        Some(_) | None => {}
    }
}

fn array(array: Array, flaws: &mut Vec<Flaw>) {
    let Array { begin, end, step } = array;
    if step == 0 {
        let message = "found 0, expected at least 1";
        flaws.push(Flaw::new("pod_run.jobs.array.step", message, "leave it out to count by 1"));
    } else if begin > end {
        let message = format!("begin is {begin} and end is {end}: there is no job");
        flaws.push(Flaw::new("pod_run.jobs.array.end", message, "let end be begin or more"));
    } else if array.count() > JOBS {
        let message = format!("found {} jobs, the limit is {JOBS}", array.count());
        flaws.push(Flaw::new("pod_run.jobs.array", message, "use fewer, or several operations"));
    }
}

fn from_output(from: &FromOutput, flaws: &mut Vec<Flaw>) {
    if from.separator.is_empty() {
        let hint = "such as a space, a comma, or \"\\n\"";
        flaws.push(Flaw::new("pod_run.jobs.from_output.separator", "the text is empty", hint));
    }
    if from.command.is_empty() || from.command.contains('\0') {
        let message = "a command that is empty, or holds a zero character";
        flaws.push(Flaw::new("pod_run.jobs.from_output.command", message, "write what `sh -c` is to run"));
    }
    if let Some(number) = fan::numbers(&from.command).into_iter().find(|number| *number != "1") {
        let message =
            format!("`${{{number}}}` names nothing: a piece of the output is `${{1}}`, its position `${{item}}`");
        flaws.push(Flaw::new("pod_run.jobs.from_output.command", message, "write `${1}` or `${item}`"));
    }
}

fn gang(gang: &GangDocument, jobs: &Jobs, flaws: &mut Vec<Flaw>) {
    let mut wrong = |field: &str, message: String, hint: &str| {
        flaws.push(Flaw::new(format!("pod_run.jobs.gang.{field}"), message, hint))
    };
    if !(1..=WORKERS).contains(&gang.workers) {
        wrong("workers", format!("found {}, expected 1 to {WORKERS}", gang.workers), "a gang has workers");
    }
    if !(1..=SLOTS).contains(&gang.slots_per_worker) {
        let message = format!("found {}, expected 1 to {SLOTS}", gang.slots_per_worker);
        wrong("slots_per_worker", message, "as many as a worker runs processes");
    }
    let inside = |folder: &str| gang.ssh_dir == folder || gang.ssh_dir.starts_with(&format!("{folder}/"));
    let plain =
        path::relative(&gang.ssh_dir).is_ok_and(|plain| !plain.is_empty() && gang.ssh_dir == format!("/{plain}"));
    if !plain || inside(DATA) || inside(MPI) {
        let message =
            format!("found `{}`, expected an absolute path outside {DATA} and {MPI}", gang.ssh_dir.escape_debug());
        wrong("ssh_dir", message, "such as /root/.ssh or /home/mpi/.ssh");
    }
    if !jobs.commands.is_empty() || jobs.from_output.is_some() {
        let message = "not together with a list of commands: the launcher has its own".to_owned();
        wrong("workers", message, "use `array` to have several gangs");
    }
    if jobs.array.is_some_and(|array| array.count().saturating_mul(jobs.members()) > JOBS) {
        let gangs = jobs.array.map_or(0, Array::count);
        let message = format!("{gangs} gangs of {} are more than {JOBS} jobs", jobs.members());
        wrong("workers", message, "use fewer, or several operations");
    }
}

fn budget(step: &StepDocument, run: &PodRunDocument, flaws: &mut Vec<Flaw>) {
    let least = run.max_duration_seconds.saturating_add(WORKERS_OUTLIVE_SECONDS);
    if step.timeout_seconds < least {
        let message = format!(
            "found {}, expected {least} to {MAX_TIMEOUT_SECONDS} seconds: workers run {WORKERS_OUTLIVE_SECONDS} s longer",
            step.timeout_seconds
        );
        flaws.push(Flaw::new("timeout_seconds", message, "give the step more time"));
    }
}

/// Everything that is wrong with the jobs of all steps together.
#[must_use]
pub fn in_all(steps: &[&StepDocument], weights: &[u64]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let (known, each) = fan::allotment(steps.iter().copied());
    if known > JOBS {
        let message = format!("found {known} jobs in all, the limit of an execution is {JOBS}");
        flaws.push(Flaw::new("", message, "split the operation"));
    } else if steps.iter().any(|step| fan::units(step) == Units::Asked) && each == 0 {
        let message = format!("{known} jobs leave none of {JOBS} to the steps whose jobs an output asks for");
        flaws.push(Flaw::new("", message, "split the operation"));
    }
    let bytes = steps.iter().zip(weights).map(|(step, weight)| expanded_bytes(step, *weight, each));
    let bytes = bytes.fold(0_u64, u64::saturating_add);
    if bytes > PLAN_BYTES {
        let message = format!("all jobs together would take {bytes} bytes, the limit is {PLAN_BYTES}");
        flaws.push(Flaw::new("", message, "use fewer jobs, or shorter commands and environments"));
    }
    flaws
}

/// Bytes that one job of this pod takes, about.
#[must_use]
pub fn weight(pod: &Container) -> u64 {
    let lists = [&pod.command, &pod.args].into_iter().flatten().flatten().map(|text| text.len() + 3);
    let env = pod.env.iter().map(|variable| variable.name.len() + variable.value.len() + 22);
    let ports = pod.ports.iter().map(|_| 60);
    let bytes: usize = lists.chain(env).chain(ports).sum();
    (bytes + pod.image.len()) as u64 + JOB_BYTES
}

/// What a job takes besides what its tenant writes.
const JOB_BYTES: u64 = 512;

/// Bytes that the jobs of a step take at most, when one takes so many.
fn expanded_bytes(step: &StepDocument, one: u64, limit: usize) -> u64 {
    let Some(jobs) = step.pod_run.as_ref().and_then(|run| run.jobs.as_ref()) else { return one };
    let times = |count: usize| one.saturating_mul(count as u64);
    match (jobs.units(), &jobs.from_output) {
        (Units::Known(units), _) => {
            let commands: usize = jobs.commands.iter().map(String::len).sum();
            times(units.saturating_mul(jobs.members())).saturating_add(commands as u64)
        }
        (Units::Asked | Units::Errand | Units::Unread, Some(from)) => {
            let pieces = fan::numbers(&from.command).len().saturating_mul(super::limits::OUTPUT_BYTES) as u64;
            let commands = (from.command.len() as u64).saturating_mul(limit as u64);
            times(limit).saturating_add(commands).saturating_add(pieces)
        }
        (Units::Asked | Units::Errand | Units::Unread, None) => one,
    }
}
