//! What a thin link has room for: a line per execution, most important first, within a budget of bytes.
//!
//! Must not: be longer than the budget.

use super::ExecutionStatus;
use crate::outcome::State;

/// Characters of an execution's id: enough to ask for it.
const ID_CHARS: usize = 13;
/// Bytes of a reason, of a trouble.
const WHY_BYTES: usize = 72;

/// A digest of at most so many bytes. Empty when not even the count of what is left out has room.
#[must_use]
pub fn digest(now: jiff::Timestamp, troubles: &[String], executions: &[ExecutionStatus], bytes: usize) -> String {
    let mut ordered: Vec<&ExecutionStatus> = executions.iter().collect();
    ordered.sort_by_key(|status| {
        let newest = status.ended_at.unwrap_or(status.received_at);
        (rank(status.state), std::cmp::Reverse(newest), status.execution)
    });
    let health = if troubles.is_empty() { "ok" } else { "degraded" };
    let live = executions.iter().filter(|status| !status.state.ended()).count();
    let head = std::iter::once(format!("{} {health}, {live} live of {}", second(now), executions.len()));
    let mut lines: Vec<String> = head.chain(troubles.iter().map(|why| format!("! {}", short(why)))).collect();
    let first = lines.len();
    lines.extend(ordered.into_iter().map(line));
    let mut fits = None;
    let mut length = 0;
    for count in 0..=lines.len() {
        let tail = tail(lines.len() - count.max(first));
        if length + tail.len() <= bytes {
            fits = Some((count, tail));
        }
        length += lines.get(count).map_or(0, |line| line.len() + 1);
    }
    let Some((count, tail)) = fits else { return String::new() };
    let mut text: String = lines[..count].iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    text.push_str(&tail);
    text
}

fn tail(left_out: usize) -> String {
    if left_out == 0 { String::new() } else { format!("+{left_out} more\n") }
}

/// What asks for somebody comes first, what went well last.
fn rank(state: State) -> u8 {
    match state {
        State::Unknown => 0,
        State::Failed | State::Quarantined => 1,
        State::Paused | State::Held | State::RequeuedHeld => 2,
        State::Requeued => 3,
        State::Running | State::Starting => 4,
        State::Waiting => 5,
        State::Skipped => 6,
        State::Succeeded => 7,
    }
}

fn line(status: &ExecutionStatus) -> String {
    let id: String = status.execution.to_string().chars().take(ID_CHARS).collect();
    let done = status.steps.iter().filter(|step| step.state.ended()).count();
    let why = status.reason.as_ref().map(ToString::to_string).or_else(|| status.waiting_for.clone());
    let why = why.map(|why| format!(" {}", short(&why))).unwrap_or_default();
    let name = format!("{}/{}", status.tenant, status.operation);
    format!("{id} {} {name} {done}/{}{why}", status.state.as_str(), status.steps.len())
}

fn short(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    let end = (0..=WHY_BYTES.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line[..end].to_owned()
}

fn second(at: jiff::Timestamp) -> String {
    let whole = jiff::TimestampRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Trunc);
    at.round(whole).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executions() -> Vec<ExecutionStatus> {
        let one = |number: u32, state: &str| {
            serde_json::from_value(serde_json::json!({
                "execution": format!("0198c0de-0000-7000-8000-{number:012}"), "operation": "o", "revision": null,
                "tenant": "t", "state": state, "reason": null, "waiting_for": "ünïcödé ".repeat(20),
                "received_at": "2026-01-01T00:00:00Z", "started_at": null, "ended_at": null, "steps": [],
            }))
            .expect("a status")
        };
        let states = ["succeeded", "waiting", "running", "failed", "unknown", "held"];
        (0..).zip(states).map(|(number, state)| one(number, state)).collect()
    }

    #[test]
    fn a_digest_is_never_longer_than_its_budget_and_says_what_is_left_out() {
        let executions = executions();
        let troubles = ["podman does not answer".to_owned()];
        let whole = digest(jiff::Timestamp::UNIX_EPOCH, &troubles, &executions, 10_000);
        assert_eq!(whole.lines().count(), 2 + executions.len());
        let mut most = 0;
        for bytes in 0..=whole.len() {
            let text = digest(jiff::Timestamp::UNIX_EPOCH, &troubles, &executions, bytes);
            assert!(text.len() <= bytes, "{bytes}: {text}");
            let told = text.lines().filter(|line| line.starts_with("0198")).count();
            assert!(told >= most, "a longer digest tells at least as much");
            most = told;
            if !text.is_empty() && told < executions.len() {
                assert!(text.ends_with(&format!("+{} more\n", executions.len() - told)), "{bytes}: {text}");
            }
        }
        assert_eq!(most, executions.len());
    }

    #[test]
    fn what_asks_for_somebody_comes_first() {
        let text = digest(jiff::Timestamp::UNIX_EPOCH, &[], &executions(), 10_000);
        let states: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(states, ["unknown", "failed", "held", "running", "waiting", "succeeded"]);
        assert!(text.starts_with("1970-01-01T00:00:00Z ok, 3 live of 6\n"), "{text}");
    }
}
