//! What the output of an earlier step says: whether a step runs, and with which pieces.
//!
//! Must not: guess; an output that cannot be used fails the step with what was found and what was expected.

use std::collections::BTreeMap;

use super::state::Verdict;
use crate::bundle::flow::{Operator, Rule, Test};
use crate::plan::Plan;
use crate::reason::{Name, Reason};

/// Longest part of an output that a message shows, in characters.
const SHOWN: usize = 40;

/// The pieces of the output that a step's jobs come from, if they do, when its condition holds; otherwise how it ends.
pub(super) fn judge(
    plan: &Plan,
    step: usize,
    outputs: &BTreeMap<usize, Result<String, Reason>>,
) -> Result<Option<Vec<String>>, Verdict> {
    let terms = &plan.steps[step].terms;
    let output = |source: usize| match outputs.get(&source) {
        Some(Ok(text)) => Ok(text.as_str()),
        Some(Err(reason)) => Err(Verdict::Failed(reason.clone())),
        None => Err(Verdict::Failed(Reason::new(Name::Internal, "an output that decides about it was not read"))),
    };
    if let Some(when) = &terms.when {
        let source = &plan.steps[when.step].id;
        let said = output(when.step)?;
        let holds = holds(&when.test, said).map_err(|why| {
            let message = format!("the output of step {source} cannot be judged: {why}");
            Verdict::Failed(Reason::new(Name::OutputUnusable, message))
        })?;
        if !holds {
            let message = format!("its condition does not hold: step {source} said `{}`", shown(trimmed(said)));
            return Err(Verdict::Skipped(Reason::new(Name::Condition, message)));
        }
    }
    let Some(fan_out) = &terms.fan_out else { return Ok(None) };
    let text = trimmed(output(fan_out.step)?);
    let pieces: Vec<String> =
        text.split(fan_out.separator.as_str()).map(str::trim).filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
    let limit = fan_out.limit as usize;
    if pieces.len() > limit {
        let source = &plan.steps[fan_out.step].id;
        let message = format!("the output of step {source} asks for {} jobs, the limit is {limit}", pieces.len());
        return Err(Verdict::Failed(Reason::new(Name::Limit, message)));
    }
    Ok(Some(pieces))
}

fn trimmed(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

fn holds(test: &Test, said: &str) -> Result<bool, String> {
    match test {
        Test::Equals(text) => Ok(trimmed(said) == text),
        Test::NotEquals(text) => Ok(trimmed(said) != text),
        Test::Any(rules) => {
            let pairs = pairs(trimmed(said))?;
            let mut any = false;
            for rule in rules {
                any |= rule_holds(rule, &pairs)?;
            }
            Ok(any)
        }
    }
}

/// `key:value,key:value`.
fn pairs(text: &str) -> Result<BTreeMap<&str, &str>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let pair = item.split_once(':').map(|(key, value)| (key.trim(), value.trim()));
            pair.ok_or_else(|| format!("found `{}`, expected key:value,key:value", shown(item)))
        })
        .collect()
}

fn rule_holds(rule: &Rule, pairs: &BTreeMap<&str, &str>) -> Result<bool, String> {
    let found = pairs.get(rule.key.as_str()).copied();
    let among = |value: &str| rule.values.iter().any(|wanted| wanted == value);
    let number = |text: &str| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("found `{}` for key `{}`, expected a number", shown(text), rule.key))
    };
    let bound = || rule.values.first().map_or_else(|| Err("a rule without a value".to_owned()), |value| number(value));
    Ok(match (rule.operator, found) {
        (Operator::Exists, found) => found.is_some(),
        (Operator::DoesNotExist, found) => found.is_none(),
        (Operator::NotIn | Operator::NotEquals, found) => found.is_none_or(|value| !among(value)),
        (Operator::In | Operator::Equals, found) => found.is_some_and(among),
        (Operator::Gt | Operator::Lt, None) => false,
        (Operator::Gt, Some(value)) => number(value)? > bound()?,
        (Operator::Lt, Some(value)) => number(value)? < bound()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(key: &str, operator: Operator, values: &[&str]) -> Test {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Test::Any(vec![Rule { key: key.to_owned(), operator, values }])
    }

    #[test]
    fn one_newline_at_the_end_does_not_count() {
        assert_eq!(holds(&Test::Equals("go".to_owned()), "go\n"), Ok(true));
        assert_eq!(holds(&Test::Equals("go".to_owned()), "go\n\n"), Ok(false));
        assert_eq!(holds(&Test::NotEquals("go".to_owned()), "no"), Ok(true));
    }

    #[test]
    fn every_operator_compares_the_value_of_its_key() {
        let said = "quality:7, phase : b";
        let table = [
            (Operator::In, &["7", "8"][..], true),
            (Operator::In, &["8"], false),
            (Operator::NotIn, &["8"], true),
            (Operator::Exists, &[], true),
            (Operator::DoesNotExist, &[], false),
            (Operator::Gt, &["6.5"], true),
            (Operator::Gt, &["7"], false),
            (Operator::Lt, &["10"], true),
            (Operator::Equals, &["7"], true),
            (Operator::NotEquals, &["7"], false),
        ];
        for (operator, values, expected) in table {
            assert_eq!(holds(&rule("quality", operator, values), said), Ok(expected), "{operator:?} {values:?}");
        }
        assert_eq!(holds(&rule("missing", Operator::Gt, &["1"]), said), Ok(false));
        assert_eq!(holds(&rule("phase", Operator::Equals, &["b"]), said), Ok(true));
    }

    #[test]
    fn an_output_that_is_not_in_pairs_or_no_number_is_told_with_what_was_found() {
        let text = holds(&rule("a", Operator::Exists, &[]), "nonsense").expect_err("no colon");
        assert_eq!(text, "found `nonsense`, expected key:value,key:value");
        let text = holds(&rule("a", Operator::Gt, &["1"]), "a:x").expect_err("no number");
        assert_eq!(text, "found `x` for key `a`, expected a number");
    }
}
