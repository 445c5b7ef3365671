//! The keys that tie a task into its operation: dependencies, conditions, windows, retries.
//!
//! Must not: compare it with other tasks, or judge what it can read; `order` and `bundle::rules` do.

use jiff::{SignedDuration, Timestamp};

use super::fields::{Fields, named, text};
use super::finding::{Findings, did_you_mean};
use super::tree::{Node, Value};
use crate::bundle::StepId;
use crate::bundle::flow::{Condition, Edge, Flow, Mode, OnPowerLoss, Operator, Rule, Test};
use crate::bundle::limits::RETRIES;

/// Keys of every task.
pub(super) const KEYS: [&str; 7] = ["after", "when", "not_before", "not_after", "retries", "backoff", "on_power_loss"];
pub(super) const EDGE: [&str; 2] = ["step", "mode"];
pub(super) const WHEN: [&str; 4] = ["step", "equals", "not_equals", "any"];
pub(super) const RULE: [&str; 3] = ["key", "operator", "values"];
pub(super) const MODES: [(&str, Mode); 2] = [("all", Mode::All), ("each", Mode::Each)];
pub(super) const POWER_LOSS: [(&str, OnPowerLoss); 2] = [("fail", OnPowerLoss::Fail), ("rerun", OnPowerLoss::Rerun)];
pub(super) const OPERATORS: [(&str, Operator); 9] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
    ("Gt", Operator::Gt),
    ("Lt", Operator::Lt),
    ("=", Operator::Equals),
    ("==", Operator::Equals),
    ("!=", Operator::NotEquals),
];

/// Reads them. What cannot be read is left out and among the findings.
pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Flow {
    Flow {
        after: after(fields, findings),
        when: when(fields, findings),
        retries: number(fields, "retries", (0, i64::from(RETRIES)), findings).unwrap_or_default(),
        backoff_seconds: seconds(fields, "backoff", findings).unwrap_or_default(),
        on_power_loss: fields.word("on_power_loss", &POWER_LOSS, findings).unwrap_or_default(),
        not_before: time(fields, "not_before", findings),
        not_after: time(fields, "not_after", findings),
    }
}

/// A number of jobs that may be alive at once. With none allowed nothing would ever start.
pub(super) fn cap(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<u32> {
    let cap = number(fields, key, (0, i64::from(u32::MAX)), findings)?;
    if cap == 0 {
        let message = "found 0, with which nothing would ever start";
        findings.error(fields.place_of(key), fields.name(key), message, "leave it out to have no cap");
        return None;
    }
    Some(cap)
}

/// An optional whole number within bounds.
pub(super) fn number(fields: &Fields<'_>, key: &str, bounds: (i64, i64), findings: &mut Findings) -> Option<u32> {
    fields.integer(key, bounds, "", findings).and_then(|number| u32::try_from(number).ok())
}

fn after(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vec<Edge>> {
    let path = fields.name("after");
    let items = fields.list("after", findings)?.iter().enumerate();
    Some(items.filter_map(|(i, node)| edge(node, &format!("{path}[{i}]"), findings)).collect())
}

fn edge(node: &Node, path: &str, findings: &mut Findings) -> Option<Edge> {
    if !matches!(node.value, Value::Map(_)) {
        let given = text(node, path, findings)?;
        return named::<StepId>(&given, node.place, path, findings).map(|step| Edge { step, mode: Mode::All });
    }
    let item = Fields::open(node, path, findings)?;
    item.only(&EDGE, findings);
    let step = item.required_name("step", "name the step to wait for", findings);
    let mode = match item.get("mode") {
        None => Some(Mode::All),
        Some(_) => item.word("mode", &MODES, findings),
    };
    Some(Edge { step: step?, mode: mode? })
}

fn when(fields: &Fields<'_>, findings: &mut Findings) -> Option<Condition> {
    let path = fields.name("when");
    let item = Fields::open(fields.get("when")?, &path, findings)?;
    item.only(&WHEN, findings);
    let step = item.required_name("step", "name the step whose output decides", findings);
    let given: Vec<&str> = WHEN[1..].iter().copied().filter(|key| item.get(key).is_some()).collect();
    let test = match given.as_slice() {
        ["equals"] => item.text("equals", findings).map(Test::Equals),
        ["not_equals"] => item.text("not_equals", findings).map(Test::NotEquals),
        ["any"] => rules(&item, findings).map(Test::Any),
        none_or_several => {
            let found = if none_or_several.is_empty() { "none".to_owned() } else { none_or_several.join(" and ") };
            let message = format!("found {found} of equals, not_equals and any, expected one");
            findings.error(item.place(), path.as_str(), message, "say what the output must be");
            None
        }
    };
    Some(Condition { step: step?, test: test? })
}

fn rules(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vec<Rule>> {
    let path = fields.name("any");
    let items = fields.list("any", findings)?.iter().enumerate();
    let rules: Vec<Option<Rule>> = items.map(|(i, node)| rule(node, &format!("{path}[{i}]"), findings)).collect();
    rules.into_iter().collect()
}

fn rule(node: &Node, path: &str, findings: &mut Findings) -> Option<Rule> {
    let item = Fields::open(node, path, findings)?;
    item.only(&RULE, findings);
    let key = item.required_text("key", "name the key in key:value,key:value", findings);
    let operator = item.required_text("operator", "such as In, Exists, Gt or =", findings);
    let operator = operator.and_then(|given| self::operator(&item, &given, findings));
    let values = match item.get("values") {
        None => Some(Vec::new()),
        Some(_) => item.texts("values", findings).map(|texts| texts.into_iter().map(|(text, _)| text).collect()),
    };
    Some(Rule { key: key?, operator: operator?, values: values? })
}

fn operator(item: &Fields<'_>, given: &str, findings: &mut Findings) -> Option<Operator> {
    let found = OPERATORS.iter().find(|(word, _)| word.eq_ignore_ascii_case(given));
    if found.is_none() {
        let words: Vec<&str> = OPERATORS.iter().map(|(word, _)| *word).collect();
        let hint = match did_you_mean(given, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => "write one of these words".to_owned(),
        };
        let message = format!("found the text `{}`, expected one of {}", given.escape_debug(), words.join(", "));
        findings.error(item.place_of("operator"), item.name("operator"), message, hint);
    }
    found.map(|(_, operator)| *operator)
}

fn time(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<Timestamp> {
    let given = fields.text(key, findings)?;
    let time = given.parse().ok();
    if time.is_none() {
        let message = format!("found the text `{}`, expected a time in RFC 3339 with its zone", given.escape_debug());
        findings.error(fields.place_of(key), fields.name(key), message, "such as 2026-01-31T12:00:00Z");
    }
    time
}

fn seconds(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<u32> {
    let node = fields.get(key)?;
    let Value::String(given) = &node.value else {
        let message = format!("found {}, expected a duration", node.value.describe());
        findings.error(node.place, fields.name(key), message, "write its unit, such as 10s or 5m");
        return None;
    };
    let whole = given.parse::<SignedDuration>().ok().filter(|duration| duration.subsec_nanos() == 0);
    let seconds = whole.and_then(|duration| u32::try_from(duration.as_secs()).ok());
    if seconds.is_none() {
        let message = format!("found the text `{}`, expected a duration of whole seconds", given.escape_debug());
        findings.error(node.place, fields.name(key), message, "such as 10s, 5m or 1h");
    }
    seconds
}
