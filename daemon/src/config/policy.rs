//! The `policy` part of a configuration: what pods may ask for.
//!
//! Must not: judge a pod; `plan::policy` does.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::{ConfigError, value};
use crate::bundle::limits::{CPU_MILLIS_MAX, CPU_MILLIS_MIN, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN};
use crate::bundle::options::{Privilege, cpu_millis, cpu_text, memory_bytes, memory_text};
use crate::plan::policy::{Bounds, Policy};

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyFragment {
    cpu: BoundsFragment,
    memory: BoundsFragment,
    images: Option<Vec<String>>,
    allow: Option<BTreeSet<Privilege>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BoundsFragment {
    min: Option<Amount>,
    max: Option<Amount>,
    default: Option<Amount>,
}

/// A number, or a text such as `64m`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Amount {
    Whole(u64),
    Decimal(f64),
    Text(String),
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Decimal(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// One resource: its keys, how its amounts are read and shown, and what is legal anywhere.
struct Resource {
    keys: [&'static str; 3],
    read: fn(&str) -> Option<u64>,
    shown: fn(u64) -> String,
    legal: RangeInclusive<u64>,
}

const CPU: Resource = Resource {
    keys: ["policy.cpu.min", "policy.cpu.max", "policy.cpu.default"],
    read: cpu_millis,
    shown: cpu_text,
    legal: CPU_MILLIS_MIN..=CPU_MILLIS_MAX,
};

const MEMORY: Resource = Resource {
    keys: ["policy.memory.min", "policy.memory.max", "policy.memory.default"],
    read: memory_bytes,
    shown: memory_text,
    legal: MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX,
};

impl PolicyFragment {
    pub(super) fn overridden_by(self, over: Self) -> Self {
        Self {
            cpu: self.cpu.overridden_by(over.cpu),
            memory: self.memory.overridden_by(over.memory),
            images: over.images.or(self.images),
            allow: over.allow.or(self.allow),
        }
    }

    pub(super) fn settle(self) -> Result<Policy, ConfigError> {
        let pattern = |text: &String| {
            glob::Pattern::new(text)
                .map_err(|bad| value("policy.images", format!("`{text}` is not a legal pattern: {}", bad.msg)))
        };
        Ok(Policy {
            cpu: self.cpu.settle(&CPU)?,
            memory: self.memory.settle(&MEMORY)?,
            images: self.images.map(|images| images.iter().map(pattern).collect()).transpose()?,
            allow: self.allow.unwrap_or_default(),
        })
    }
}

impl BoundsFragment {
    fn overridden_by(self, over: Self) -> Self {
        Self { min: over.min.or(self.min), max: over.max.or(self.max), default: over.default.or(self.default) }
    }

    fn settle(self, resource: &Resource) -> Result<Bounds, ConfigError> {
        let [min, max, default] = resource.keys;
        let bounds = Bounds {
            min: amount(self.min, min, resource)?,
            max: amount(self.max, max, resource)?,
            default: amount(self.default, default, resource)?,
        };
        let shown = resource.shown;
        let least = bounds.min.unwrap_or(*resource.legal.start());
        let most = bounds.max.unwrap_or(*resource.legal.end());
        if least > most {
            return Err(value(max, format!("found {}, which is less than {min}, {}", shown(most), shown(least))));
        }
        match bounds.default.filter(|chosen| !(least..=most).contains(chosen)) {
            Some(chosen) => {
                Err(value(default, format!("found {}, expected {} to {}", shown(chosen), shown(least), shown(most))))
            }
            None => Ok(bounds),
        }
    }
}

fn amount(given: Option<Amount>, key: &'static str, resource: &Resource) -> Result<Option<u64>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    let read = (resource.read)(&given.to_string()).filter(|amount| resource.legal.contains(amount));
    let (least, most) = ((resource.shown)(*resource.legal.start()), (resource.shown)(*resource.legal.end()));
    read.map(Some).ok_or_else(|| value(key, format!("found {given}, expected {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(text: &str) -> Result<Policy, String> {
        let fragment: PolicyFragment = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        fragment.settle().map_err(|e| e.to_string())
    }

    #[test]
    fn amounts_are_read_as_operations_write_them() {
        let policy =
            settle("{cpu: {min: 0.05, max: 2, default: '0.5'}, memory: {max: 1g, min: 8388608}}").expect("legal");
        assert_eq!(policy.cpu, Bounds { min: Some(50), max: Some(2000), default: Some(500) });
        assert_eq!(policy.memory, Bounds { min: Some(8 << 20), max: Some(1 << 30), default: None });
    }

    #[test]
    fn nothing_said_allows_all_that_is_legal_and_no_privilege() {
        assert_eq!(settle("{}"), Ok(Policy::default()));
        assert_eq!(settle("{cpu: {max: null}, images: null, allow: []}"), Ok(Policy::default()));
    }

    #[test]
    fn wrong_values_name_their_key_and_what_was_expected() {
        for (text, said) in [
            ("{cpu: {min: 0}}", "policy.cpu.min: found 0, expected 0.001 to 1024"),
            ("{cpu: {max: 2m}}", "policy.cpu.max: found 2m, expected 0.001 to 1024"),
            ("{memory: {min: 1m}}", "policy.memory.min: found 1m, expected 6m to 1024g"),
            (
                "{memory: {min: 64m, max: 32m}}",
                "policy.memory.max: found 32m, which is less than policy.memory.min, 64m",
            ),
            ("{cpu: {max: 1, default: 2}}", "policy.cpu.default: found 2, expected 0.001 to 1"),
            ("{images: ['a[b']}", "policy.images: `a[b` is not a legal pattern"),
            ("{allow: [root]}", "unknown variant `root`"),
            ("{cpus: 1}", "unknown field `cpus`"),
        ] {
            let error = settle(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn later_fragment_wins_key_by_key() {
        let read = |text: &str| serde_yaml::from_str::<PolicyFragment>(text).expect("legal");
        let merged =
            read("{cpu: {max: 1, min: 0.5}, allow: [host_uts]}").overridden_by(read("{cpu: {max: 2}, allow: []}"));
        let policy = merged.settle().expect("legal");
        assert_eq!((policy.cpu.max, policy.cpu.min, policy.allow.len()), (Some(2000), Some(500), 0));
    }
}
