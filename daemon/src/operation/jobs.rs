//! The keys of a `pod.run` task that say how many jobs it has: arrays, command lists, pieces of an output.
//!
//! Must not: judge what it can read; `bundle::rules` does.

use super::fields::Fields;
use super::finding::Findings;
use super::flow::{cap, number};
use super::iterate;
use crate::bundle::flow::{Array, FromOutput, Jobs};
use crate::bundle::limits::TASK_ID;

/// Keys of a `pod.run` task, besides those of the pod.
pub(super) const KEYS: [&str; 6] = ["array", "commands", "commands_iter", "from_output", "max_parallel", "gang"];
pub(super) const ARRAY: [&str; 4] = ["begin", "end", "step", "max_parallel"];
pub(super) const FROM_OUTPUT: [&str; 3] = ["step", "separator", "command"];

/// Reads them. Absent: one job.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Jobs> {
    if !KEYS.iter().any(|key| fields.get(key).is_some()) {
        return None;
    }
    let (array, of_array) = array(fields, findings).unzip();
    let beside = cap(fields, "max_parallel", findings);
    if beside.is_some() && fields.get("array").is_some() {
        let message = "the cap of an array stands in the array";
        findings.error(fields.place_of("max_parallel"), fields.name("max_parallel"), message, "move it into `array`");
    }
    let mut commands = commands(fields, findings);
    commands.extend(iterate::read(fields, findings));
    Some(Jobs {
        array,
        commands,
        from_output: from_output(fields, findings),
        gang: None,
        max_parallel: of_array.flatten().or(beside),
    })
}

fn array(fields: &Fields<'_>, findings: &mut Findings) -> Option<(Array, Option<u32>)> {
    const LARGEST: i64 = TASK_ID as i64;
    let path = fields.name("array");
    let item = Fields::open(fields.get("array")?, &path, findings)?;
    item.only(&ARRAY, findings);
    for key in ["begin", "end"] {
        item.required(key, "write the first and the last TASK_ID", findings);
    }
    let begin = number(&item, "begin", (0, LARGEST), findings);
    let end = number(&item, "end", (0, LARGEST), findings);
    let step = match item.get("step") {
        None => Some(1),
        Some(_) => number(&item, "step", (1, LARGEST), findings),
    };
    let max_parallel = cap(&item, "max_parallel", findings);
    Some((Array { begin: begin?, end: end?, step: step? }, max_parallel))
}

fn commands(fields: &Fields<'_>, findings: &mut Findings) -> Vec<String> {
    let Some(texts) = fields.texts("commands", findings) else { return Vec::new() };
    if fields.list("commands", findings).is_some_and(<[_]>::is_empty) {
        let hint = "write at least one command, or remove the key";
        findings.error(fields.place_of("commands"), fields.name("commands"), "the list is empty", hint);
    }
    texts.into_iter().map(|(text, _)| text).collect()
}

fn from_output(fields: &Fields<'_>, findings: &mut Findings) -> Option<FromOutput> {
    let path = fields.name("from_output");
    let item = Fields::open(fields.get("from_output")?, &path, findings)?;
    item.only(&FROM_OUTPUT, findings);
    let step = item.required_name("step", "name the step whose output is taken to pieces", findings);
    let command = item.required_text("command", "write what each job runs; `${1}` is its piece", findings);
    let separator = item.text("separator", findings).unwrap_or_else(|| " ".to_owned());
    Some(FromOutput { step: step?, separator, command: command? })
}
