//! Replays bundles on a rig: submits them one after another to the same daemon that flies, waits, and compares what
//! came out with what is expected.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use regex_lite::Regex;
use serde::Deserialize;

use super::Replay;
use super::client::Client;
use super::exit::{Exit, Failed};
use super::operate::{Handed, duration, hand_over};
use super::watch::WaitOutcome;
use super::table::{print_json, print_line};
use crate::bundle::{Digest, ExecutionId};
use crate::downlink::OutboxEntry;
use crate::outcome::State;
use crate::reason::Name;
use crate::view::ExecutionStatus;

/// Most of one output file that a pattern is looked for in.
const OUTPUT_BYTES: u64 = 64 << 20;

/// The expectation file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    executions: Vec<Expected>,
}

/// What is expected of one bundle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// File name of the bundle.
    bundle: String,
    /// How the execution ends.
    #[serde(default = "succeeded")]
    state: State,
    /// How steps end.
    #[serde(default)]
    steps: BTreeMap<String, ExpectedStep>,
    /// What downlink steps collected.
    #[serde(default)]
    files: Vec<ExpectedFile>,
    /// What jobs printed.
    #[serde(default)]
    logs: Vec<ExpectedLog>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedStep {
    #[serde(default = "succeeded")]
    state: State,
    exit_code: Option<i64>,
    reason: Option<Name>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedFile {
    step: String,
    path: String,
    sha256: Option<Digest>,
    matches: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedLog {
    step: String,
    #[serde(default)]
    job: usize,
    #[serde(default = "stdout")]
    stream: String,
    matches: String,
}

fn succeeded() -> State {
    State::Succeeded
}

fn stdout() -> String {
    "stdout".to_owned()
}

/// One comparison: what was compared, and the difference if there is one.
#[derive(Debug, Clone, serde::Serialize)]
struct Comparison {
    bundle: String,
    what: String,
    difference: Option<String>,
}

pub(super) fn replay(client: &Client, replay: &Replay, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let expectation = replay.expect.as_deref().map(read_expectation).transpose()?;
    let timeout = duration("--timeout", &replay.timeout)?;
    let bundles = bundles(&replay.bundles)?;
    if let Some(expectation) = &expectation {
        all_named(expectation, &bundles)?;
    }
    let mut comparisons = Vec::new();
    for bundle in &bundles {
        let name = file_name(bundle);
        let expected = expectation.iter().flat_map(|e| &e.executions).find(|expected| expected.bundle == name);
        let default = Expected {
            bundle: name.clone(),
            state: State::Succeeded,
            steps: BTreeMap::new(),
            files: vec![],
            logs: vec![],
        };
        let results = one(client, bundle, expected.unwrap_or(&default), timeout)?;
        for (what, difference) in results {
            if !json {
                let verdict = difference.as_ref().map_or_else(|| "ok".to_owned(), |text| format!("DIFFERS: {text}"));
                print_line(out, &format!("{name}  {what}  {verdict}"))?;
            }
            comparisons.push(Comparison { bundle: name.clone(), what, difference });
        }
    }
    if json {
        print_json(out, &comparisons)?;
    }
    if let Some(path) = &replay.junit {
        write_junit(path, &comparisons)?;
    }
    let differences = comparisons.iter().filter(|comparison| comparison.difference.is_some()).count();
    match differences {
        0 => Ok(()),
        n => Err(Failed::new(Exit::Otherwise, format!("{n} of {} comparisons differ", comparisons.len()))),
    }
}

fn read_expectation(path: &Path) -> Result<Expectation, Failed> {
    let bad = |message: String| Failed::new(Exit::Bad, format!("{}: {message}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let expectation: Expectation = serde_yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    for expected in &expectation.executions {
        if let Some(file) = expected.files.iter().find(|file| file.sha256.is_none() && file.matches.is_none()) {
            return Err(bad(format!("{}: file `{}`: expected sha256 or matches", expected.bundle, file.path)));
        }
        let patterns = expected.files.iter().filter_map(|file| file.matches.as_ref());
        for pattern in patterns.chain(expected.logs.iter().map(|log| &log.matches)) {
            Regex::new(pattern).map_err(|error| bad(format!("{}: `{pattern}`: {error}", expected.bundle)))?;
        }
    }
    Ok(expectation)
}

/// An expectation for a bundle that is not replayed would silently hold.
fn all_named(expectation: &Expectation, bundles: &[PathBuf]) -> Result<(), Failed> {
    let replayed: Vec<String> = bundles.iter().map(|bundle| file_name(bundle)).collect();
    match expectation.executions.iter().find(|expected| !replayed.contains(&expected.bundle)) {
        None => Ok(()),
        Some(missing) => {
            let message = format!(
                "something is expected of `{}`, which is not among the bundles: {}",
                missing.bundle,
                replayed.join(", ")
            );
            Err(Failed::new(Exit::Bad, message))
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn bundles(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    let mut bundles = Vec::new();
    for path in given {
        let bad = |error: &std::io::Error| {
            Failed::because(Exit::Bad, format!("failed to read {}: {error}", path.display()), error)
        };
        if !fs::metadata(path).map_err(|error| bad(&error))?.is_dir() {
            bundles.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| bad(&error))? {
            let entry = entry.map_err(|error| bad(&error))?.path();
            if entry.extension().is_some_and(|extension| extension == "bundle") {
                found.push(entry);
            }
        }
        if found.is_empty() {
            return Err(Failed::new(Exit::Bad, format!("{} holds no *.bundle", path.display())));
        }
        found.sort();
        bundles.extend(found);
    }
    Ok(bundles)
}

type Results = Vec<(String, Option<String>)>;

fn one(client: &Client, bundle: &Path, expected: &Expected, timeout: Duration) -> Result<Results, Failed> {
    let execution = match hand_over(client, bundle, false)? {
        Handed::Accepted(execution) => execution,
        Handed::AlreadyKnown(execution) => {
            let message = format!(
                "{}: execution {execution} was run before; replay on a fresh state directory",
                bundle.display()
            );
            return Err(Failed::new(Exit::Refused, message));
        }
    };
    #[derive(Deserialize)]
    struct Waited {
        outcome: WaitOutcome,
    }
    let waited: Waited = client.get(&format!("/v1/wait?ids={execution}&timeout_ms={}", timeout.as_millis()))?;
    if waited.outcome == WaitOutcome::Timeout {
        let message = format!("{}: execution {execution} did not end within {} s", bundle.display(), timeout.as_secs());
        return Err(Failed::new(Exit::TimedOut, message));
    }
    let status: ExecutionStatus = client.get(&format!("/v1/executions/{execution}"))?;
    let mut results =
        vec![("state".to_owned(), differs(expected.state.as_str(), &described(status.state, status.reason.as_ref())))];
    for (id, step) in &expected.steps {
        results.push((format!("step {id}"), step_difference(&status, id, step)));
    }
    if !expected.files.is_empty() || !expected.logs.is_empty() {
        let entry = outbox_entry(client, execution)?;
        for file in &expected.files {
            results.push((format!("file {}:{}", file.step, file.path), file_difference(&entry, file)));
        }
        for log in &expected.logs {
            results.push((format!("log {}.{} {}", log.step, log.job, log.stream), log_difference(&entry, log)));
        }
    }
    Ok(results)
}

fn described(state: State, reason: Option<&crate::reason::Reason>) -> String {
    match reason {
        Some(reason) => format!("{} ({reason})", state.as_str()),
        None => state.as_str().to_owned(),
    }
}

/// The difference in words: the first word of what was found must be what was expected.
fn differs(expected: &str, found: &str) -> Option<String> {
    (found.split(' ').next() != Some(expected)).then(|| format!("expected {expected}, found {found}"))
}

fn step_difference(status: &ExecutionStatus, id: &str, expected: &ExpectedStep) -> Option<String> {
    let Some(step) = status.steps.iter().find(|step| step.id.as_str() == id) else {
        return Some("expected this step, found none of that id".to_owned());
    };
    let found_code = step.jobs.first().and_then(|job| job.exit_code);
    let found_reason = step.reason.as_ref().map(|reason| reason.name);
    let shown = |code: Option<i64>| code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    let mut differences = Vec::new();
    differences.extend(differs(expected.state.as_str(), &described(step.state, step.reason.as_ref())));
    if expected.exit_code.is_some() && expected.exit_code != found_code {
        differences.push(format!("expected exit code {}, found {}", shown(expected.exit_code), shown(found_code)));
    }
    if let Some(reason) = expected.reason.filter(|reason| Some(*reason) != found_reason) {
        let found = found_reason.map_or_else(|| "none".to_owned(), |name| name.to_string());
        differences.push(format!("expected reason {reason}, found {found}"));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

fn outbox_entry(client: &Client, execution: ExecutionId) -> Result<OutboxEntry, Failed> {
    let entries: Vec<OutboxEntry> = client.get("/v1/downlinks")?;
    let entry = entries.into_iter().find(|entry| entry.execution == execution);
    entry.ok_or_else(|| {
        Failed::new(Exit::NotFound, format!("the outbox has no entry of {execution}; was it acknowledged?"))
    })
}

fn file_difference(entry: &OutboxEntry, expected: &ExpectedFile) -> Option<String> {
    let archive = entry.path.join(format!("{}.tar", expected.step));
    match from_archive(&archive, &expected.path) {
        Err(error) => Some(format!("failed to read {}: {error}", archive.display())),
        Ok(None) => Some("expected this file, the archive has none of that path".to_owned()),
        Ok(Some(content)) => {
            let found = Digest::of(&content);
            if let Some(digest) = expected.sha256.filter(|digest| *digest != found) {
                return Some(format!("expected sha256 {digest}, found {found}"));
            }
            expected.matches.as_ref().and_then(|pattern| no_match(pattern, &content))
        }
    }
}

fn from_archive(archive: &Path, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(File::open(archive)?);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path()?.as_os_str() == path {
            let mut content = Vec::new();
            entry.take(OUTPUT_BYTES).read_to_end(&mut content)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn log_difference(entry: &OutboxEntry, expected: &ExpectedLog) -> Option<String> {
    let path = entry.path.join(format!("logs/{}.{}.{}", expected.step, expected.job, expected.stream));
    match fs::read(&path) {
        Err(error) => Some(format!("failed to read {}: {error}", path.display())),
        Ok(content) => no_match(&expected.matches, &content),
    }
}

fn no_match(pattern: &str, content: &[u8]) -> Option<String> {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(content);
    let found = Regex::new(pattern).is_ok_and(|regex| regex.is_match(&text));
    let start: String = text.chars().take(SHOWN).collect();
    (!found).then(|| format!("expected a match of `{pattern}`, found `{}`", start.escape_debug()))
}

fn write_junit(path: &Path, comparisons: &[Comparison]) -> Result<(), Failed> {
    let mut report = Report::new("perigee replay");
    let mut suites: Vec<TestSuite> = Vec::new();
    for comparison in comparisons {
        let status = match &comparison.difference {
            None => TestCaseStatus::success(),
            Some(difference) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(difference.clone());
                status
            }
        };
        let case = TestCase::new(comparison.what.clone(), status);
        match suites.iter_mut().find(|suite| suite.name.as_str() == comparison.bundle) {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(comparison.bundle.clone());
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    let failed = |error: &dyn std::error::Error| {
        Failed::because(Exit::Fault, format!("failed to write {}: {error}", path.display()), error)
    };
    let text = report.to_string().map_err(|error| failed(&error))?;
    fs::write(path, text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_names_both_sides() {
        assert_eq!(differs("succeeded", "succeeded"), None);
        assert_eq!(
            differs("succeeded", "failed (exit: exit code 3)").as_deref(),
            Some("expected succeeded, found failed (exit: exit code 3)")
        );
        assert!(no_match("^hello$", b"good bye").is_some());
        assert_eq!(no_match("hel+o", b"say hello"), None);
    }
}
