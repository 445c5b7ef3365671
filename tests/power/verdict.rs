//! What a computer tells after a cut, held against what had been acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::flight::{Flight, Known, Verb};

/// Everything that was told about one disk.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    lines: Vec<String>,
}

/// What is told of one execution.
struct Told<'a> {
    line: Option<&'a Value>,
    report: Option<&'a Value>,
    events: BTreeSet<(String, String)>,
}

impl Verdict {
    pub(crate) fn of(lines: Vec<String>) -> Self {
        Self { lines }
    }

    /// The rest of each line that begins with this word.
    fn said(&self, word: &str) -> Vec<&str> {
        let after =
            |line: &'_ str| line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        self.lines.iter().filter(|line| after(line)).map(|line| line[word.len()..].trim()).collect()
    }

    fn documents(&self, word: &str) -> Vec<Value> {
        let parsed = |text: &&str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(*text));
        self.said(word).iter().map(parsed).collect()
    }

    /// What is wrong; nothing, if all that was acknowledged is there.
    pub(crate) fn complaints(&self, flight: &Flight) -> Vec<String> {
        let mut wrong = self.of_the_board(flight);
        wrong.extend(self.of_the_records());
        let list = self.documents("list");
        let listed = list.first().and_then(|list| list["executions"].as_array()).cloned().unwrap_or_default();
        let (reports, records) = (self.documents("report"), self.documents("record"));
        let is = |value: &Value, id: &str| value["execution"] == id;
        for known in &flight.known {
            let id = known.id.as_str();
            let told = Told {
                line: listed.iter().find(|line| is(line, id)),
                report: reports.iter().find(|report| is(report, id)),
                events: events_of(&records, id),
            };
            let found = of_an_execution(known, &told);
            wrong.extend(found.into_iter().map(|what| format!("{id}, {:?}: {what}", known.done)));
        }
        wrong
    }

    /// The file system, the ledger as a whole, the start.
    fn of_the_board(&self, flight: &Flight) -> Vec<String> {
        let mut wrong = Vec::new();
        let acknowledged = flight.known.iter().any(Known::was_submitted);
        for word in ["unmountable", "failed"] {
            wrong.extend(self.said(word).iter().map(|rest| format!("{word} {rest}")));
        }
        wrong.extend(
            self.said("fsck").iter().filter(|code| **code != "0").map(|code| format!("e2fsck ends with {code}")),
        );
        let check = self.said("check").concat();
        // Before the first acceptance the cut may have come before there was a ledger.
        let absent = check.starts_with("4 ") && !acknowledged;
        if !check.starts_with("0 ") && !absent {
            wrong.push(format!("the ledger's check ends with {check:?}"));
        }
        let open = self.said("open").concat();
        if acknowledged && !open.contains("reset=Some(Boot)") {
            wrong.push(format!("the boot was not noticed: {open:?}"));
        }
        let status = self.documents("status");
        let troubles = status.first().and_then(|status| status["troubles"].as_array());
        // There is no Podman, and there need not be one for all this.
        if !troubles.is_some_and(|all| all.iter().all(|trouble| trouble["name"] == "engine_unreachable")) {
            wrong.push(format!("troubles: {status:?}"));
        }
        if let Some(known) = flight.purged() {
            let again = self.said("again").into_iter().find(|said| said.starts_with(&known.id)).unwrap_or_default();
            if !again.contains(" 0 ") || !again.contains("was known already") {
                wrong.push(format!("{} was purged, and when it comes again: {again:?}", known.id));
            }
        }
        wrong
    }

    /// Cursors go up, and nothing of what happens once is there twice.
    fn of_the_records(&self) -> Vec<String> {
        const ONCE: [&str; 6] = ["accepted", "released", "halted", "settled", "ended", "purged"];
        let mut wrong = Vec::new();
        let records = self.documents("record");
        let cursors: Vec<Option<u64>> = records.iter().map(|record| record["cursor"].as_u64()).collect();
        if cursors.windows(2).any(|pair| pair[0] >= pair[1]) || cursors.contains(&None) {
            wrong.push(format!("cursors do not go up: {cursors:?}"));
        }
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for record in &records {
            *seen.entry((record["id"].to_string(), record["event"].to_string())).or_default() += 1;
        }
        for ((id, event), times) in seen {
            if times > 1 && ONCE.contains(&event.trim_matches('"')) {
                wrong.push(format!("{id} is {event} {times} times"));
            }
        }
        wrong
    }
}

/// The events of an execution and its parts, each with whose it is.
fn events_of(records: &[Value], id: &str) -> BTreeSet<(String, String)> {
    let own = records.iter().filter_map(|record| {
        let (part, event) = (record["id"].as_str()?, record["event"].as_str()?);
        Some((part.strip_prefix(id)?.to_owned(), event.to_owned()))
    });
    own.collect()
}

/// What is wrong with one execution: each thing that was acknowledged is there, nothing that was never asked for.
fn of_an_execution(known: &Known, told: &Told<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{what}; it is told as {:?}", told.line));
        }
    };
    let has = |part: &str, event: &str| told.events.contains(&(part.to_owned(), event.to_owned()));
    let listed = told.line.is_some();
    let state = told.line.and_then(|line| line["state"].as_str()).unwrap_or("absent");
    let ended = told.line.is_some_and(|line| !line["ended_at"].is_null());
    let tried = known.may_have(Verb::Submit) || known.may_have(Verb::SubmitHeld);
    must(tried || !listed, "nobody has submitted it");
    must(!known.did(Verb::Purge) || !listed, "it was purged and is there");
    if known.may_have(Verb::Purge) && !listed {
        // What is purged has no state any more; its results wait for the ground all the same.
    } else if known.was_submitted() {
        must(listed, "it was accepted and is lost");
        must(has("", "accepted"), "the ledger has no record of its acceptance");
        must(!known.did(Verb::Stop) || ended, "it was stopped and has not ended");
        must(!known.did(Verb::Stop) || has("", "halted"), "the ledger has no record that it was stopped");
        must(known.may_have(Verb::Stop) || !ended, "it has ended and nobody has stopped it");
        let waits = known.did(Verb::SubmitHeld) && !known.may_have(Verb::Release) && !known.may_have(Verb::Stop);
        must(!waits || state == "held", "it was submitted to be held and is not");
        must(!known.did(Verb::Release) || state != "held", "it was released and is held");
        must(!known.did(Verb::HoldStep) || has(".S1.0", "held"), "a step of it was held and is not");
    }
    let results = known.did(Verb::Wait) && !known.may_have(Verb::Acknowledge);
    let whole = told.report.is_some_and(|report| report["state"] == "failed" && report["reason"]["name"] == "stopped");
    must(!results || whole, "its end was told and its report is not in the outbox, or damaged");
    must(!known.did(Verb::Acknowledge) || told.report.is_none(), "its results were acknowledged and are there");
    wrong
}
