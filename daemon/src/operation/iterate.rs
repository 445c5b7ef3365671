//! `commands_iter`: one command for each row of values, or for each combination of them.
//!
//! Must not: fly; what it makes are plain commands.

use super::fields::{Fields, text};
use super::finding::Findings;
use super::tree::{Node, Plain, Value};
use crate::bundle::fan::{filled, numbers};
use crate::bundle::limits::{JOBS, TEXT_ENTRY_BYTES};

pub(super) const KEYS: [&str; 3] = ["command", "vars", "rows"];

/// The commands that it stands for; none when it is not there or cannot be read.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Vec<String> {
    let path = fields.name("commands_iter");
    let item = fields.get("commands_iter").and_then(|node| Fields::open(node, &path, findings));
    item.and_then(|item| expanded(&item, findings)).unwrap_or_default()
}

fn expanded(item: &Fields<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    item.only(&KEYS, findings);
    let command = item.required_text("command", "write what each job runs; `${1}` is the first value", findings);
    let rows = match (item.get("vars"), item.get("rows")) {
        (Some(_), None) => combined(item, findings),
        (None, Some(_)) => rows(item, findings),
        (Some(_), Some(_)) | (None, None) => {
            let message = "expected either `vars` or `rows`";
            findings.error(item.place(), item.name("vars"), message, "list the values of each variable in `vars`");
            None
        }
    };
    let (command, rows) = (command?, rows?);
    let width = rows.iter().map(Vec::len).min().unwrap_or(0);
    let unknown = |number: &&str| !number.parse::<usize>().is_ok_and(|number| (1..=width).contains(&number));
    if let Some(number) = numbers(&command).into_iter().find(unknown) {
        let message = format!("`${{{number}}}` names no value, each row has {width}");
        findings.error(item.place_of("command"), item.name("command"), message, "the first value is `${1}`");
        return None;
    }
    let mut bytes = 0;
    let mut commands = Vec::new();
    for (position, row) in rows.iter().enumerate() {
        let values: Vec<&str> = row.iter().map(String::as_str).collect();
        let command = filled(&command, &values, position);
        bytes += command.len() as u64;
        if bytes > TEXT_ENTRY_BYTES {
            let message = format!("its commands would have more than {TEXT_ENTRY_BYTES} bytes together");
            findings.error(item.place(), item.name("command"), message, "move data into files");
            return None;
        }
        commands.push(command);
    }
    Some(commands)
}

/// Every combination of the values of each variable; the last varies fastest.
fn combined(item: &Fields<'_>, findings: &mut Findings) -> Option<Vec<Vec<String>>> {
    let path = item.name("vars");
    let nodes = item.list("vars", findings)?;
    let lists: Vec<Option<(u64, Vec<String>)>> =
        nodes.iter().enumerate().map(|(i, node)| values(node, &format!("{path}[{i}]"), findings)).collect();
    let lists: Vec<(u64, Vec<String>)> = lists.into_iter().collect::<Option<_>>()?;
    let count = lists.iter().map(|(count, _)| *count).fold(1, u64::saturating_mul);
    bounded(if lists.is_empty() { 0 } else { count }, item, "vars", findings)?;
    let mut rows: Vec<Vec<String>> = vec![Vec::new()];
    for (_, list) in &lists {
        let longer = |row: &Vec<String>, value: &String| row.iter().chain([value]).cloned().collect();
        rows = rows.iter().flat_map(|row| list.iter().map(move |value| longer(row, value))).collect();
    }
    Some(rows)
}

fn rows(item: &Fields<'_>, findings: &mut Findings) -> Option<Vec<Vec<String>>> {
    let path = item.name("rows");
    let nodes = item.list("rows", findings)?;
    bounded(nodes.len() as u64, item, "rows", findings)?;
    let rows: Vec<Option<Vec<String>>> =
        nodes.iter().enumerate().map(|(i, node)| list(node, &format!("{path}[{i}]"), findings)).collect();
    rows.into_iter().collect()
}

fn bounded(count: u64, item: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<()> {
    if (1..=JOBS as u64).contains(&count) {
        return Some(());
    }
    let message = format!("it stands for {count} jobs, expected 1 to {JOBS}");
    findings.error(item.place_of(key), item.name(key), message, "list fewer values, but at least one each");
    None
}

/// A list of values, or a range of numbers; and how many they are, because not more are made than may be.
fn values(node: &Node, path: &str, findings: &mut Findings) -> Option<(u64, Vec<String>)> {
    let Value::String(given) = &node.value else {
        return list(node, path, findings).map(|values| (values.len() as u64, values));
    };
    let Some((start, end, step)) = range(given) else {
        let message = format!("found the text `{}`, expected a list or range(start,end[,step])", given.escape_debug());
        findings.error(node.place, path, message, "such as [a, b] or \"range(0,4)\"; the end is not part of it");
        return None;
    };
    let span = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
    let values = (start..end).step_by(step).take(JOBS).map(|number| number.to_string());
    Some((span.div_ceil(step as u64), values.collect()))
}

fn range(given: &str) -> Option<(i64, i64, usize)> {
    let inner = given.trim().strip_prefix("range(")?.strip_suffix(')')?;
    let numbers: Vec<i64> = inner.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    match numbers.as_slice() {
        [start, end] => Some((*start, *end, 1)),
        [start, end, step] => Some((*start, *end, usize::try_from(*step).ok().filter(|step| *step > 0)?)),
        _ => None,
    }
}

fn list(node: &Node, path: &str, findings: &mut Findings) -> Option<Vec<String>> {
    let Value::List(items) = &node.value else {
        let message = format!("found {}, expected a list", node.value.describe());
        findings.error(node.place, path, message, "write `[a, b]`");
        return None;
    };
    let values = items.iter().enumerate().map(|(i, item)| match &item.value {
        // A whole number flies as it is written; `3.10` would not.
        Value::Plain(Plain::Integer(_), raw) => Some(raw.clone()),
        Value::Plain(..) | Value::String(_) | Value::List(_) | Value::Map(_) => {
            text(item, &format!("{path}[{i}]"), findings)
        }
    });
    values.collect()
}
