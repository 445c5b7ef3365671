//! What the operator of a board allows pods to ask for: bounds, images, privileges.
//!
//! Must not: know how a bundle is verified; it judges one pod at a time.

use std::collections::BTreeSet;

use crate::bundle::options::{Options, Privilege, cpu_text, memory_text};

/// What a board allows. The default allows all that is legal, but no privilege.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Of the processor time, in thousandths of a processor.
    pub cpu: Bounds,
    /// Of the memory, in bytes.
    pub memory: Bounds,
    /// Patterns of `NAME:TAG`; absent: every image.
    pub images: Option<Vec<glob::Pattern>>,
    /// Privileges that may be asked for.
    pub allow: BTreeSet<Privilege>,
}

/// Bounds of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Least that may be asked for.
    pub min: Option<u64>,
    /// Most that may be asked for.
    pub max: Option<u64>,
    /// What a pod gets that does not ask; without it the most, if that is said.
    pub default: Option<u64>,
}

/// One thing that is not allowed: the field of the bundle, and what was found and is allowed.
pub type Breach = (&'static str, String);

impl Policy {
    /// The options of a pod as this board grants them.
    ///
    /// # Errors
    /// Every breach at once.
    pub fn grant(&self, image: &str, asked: &Options) -> Result<Options, Vec<Breach>> {
        let mut breaches = Vec::new();
        self.image(image, &mut breaches);
        for privilege in asked.privileges.iter().filter(|privilege| !self.allow.contains(privilege)) {
            let allowed: Vec<&str> = self.allow.iter().map(|privilege| privilege.as_str()).collect();
            let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            let message =
                format!("`{}` is not allowed, the policy of this board allows: {allowed}", privilege.asked_as());
            breaches.push(("options.privileges", message));
        }
        let cpu = self.cpu.judged(asked.cpu_millis, ("resources.cpu", cpu_text));
        let memory = self.memory.judged(asked.memory_bytes, ("resources.memory", memory_text));
        breaches.extend(cpu.as_ref().err().map(|message| ("options.cpu_millis", message.clone())));
        breaches.extend(memory.as_ref().err().map(|message| ("options.memory_bytes", message.clone())));
        match (cpu, memory) {
            (Ok(cpu_millis), Ok(memory_bytes)) if breaches.is_empty() => {
                Ok(Options { cpu_millis, memory_bytes, ..asked.clone() })
            }
            (Ok(_) | Err(_), Ok(_) | Err(_)) => Err(breaches),
        }
    }

    fn image(&self, image: &str, breaches: &mut Vec<Breach>) {
        // A `*` stays within one part of a name, so that `python*` does not let `python/other:1` in.
        const PARTS: glob::MatchOptions = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let Some(patterns) = &self.images else { return };
        if !patterns.iter().any(|pattern| pattern.matches_with(image, PARTS)) {
            let patterns: Vec<&str> = patterns.iter().map(glob::Pattern::as_str).collect();
            let allowed = if patterns.is_empty() { "none".to_owned() } else { patterns.join(", ") };
            breaches.push(("image", format!("`image` is `{image}`, the policy of this board allows: {allowed}")));
        }
    }
}

impl Bounds {
    fn judged(self, asked: Option<u64>, (key, shown): (&str, fn(u64) -> String)) -> Result<Option<u64>, String> {
        let Some(asked) = asked else { return Ok(self.default.or(self.max)) };
        let low = self.min.is_some_and(|min| asked < min);
        let high = self.max.is_some_and(|max| asked > max);
        if !low && !high {
            return Ok(Some(asked));
        }
        let allowed = match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{} to {}", shown(min), shown(max)),
            (Some(min), None) => format!("at least {}", shown(min)),
            (None, Some(max)) => format!("at most {}", shown(max)),
            (None, None) => "all".to_owned(),
        };
        Err(format!("`{key}` is {}, the policy of this board allows {allowed}", shown(asked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            cpu: Bounds { min: Some(100), max: Some(2000), default: Some(500) },
            memory: Bounds { max: Some(1 << 30), ..Bounds::default() },
            images: Some(
                ["python:*", "localhost/team/*:1"].map(|text| glob::Pattern::new(text).expect("legal")).into(),
            ),
            allow: [Privilege::HostUts].into(),
        }
    }

    #[test]
    fn whoever_asks_for_nothing_gets_the_default_or_the_most() {
        let granted = policy().grant("python:3.10", &Options::default()).expect("allowed");
        assert_eq!((granted.cpu_millis, granted.memory_bytes), (Some(500), Some(1 << 30)));
        assert_eq!(Policy::default().grant("any/thing:1", &Options::default()), Ok(Options::default()));
    }

    #[test]
    fn every_breach_says_what_was_found_and_what_is_allowed() {
        let asked = Options {
            cpu_millis: Some(4000),
            memory_bytes: Some(2 << 30),
            privileges: Privilege::ALL.into(),
            ..Options::default()
        };
        let breaches = policy().grant("python/other:1", &asked).expect_err("not allowed");
        let all: Vec<String> = breaches.into_iter().map(|(field, message)| format!("{field}: {message}")).collect();
        let privilege = |asked: &str| {
            format!("options.privileges: `{asked}` is not allowed, the policy of this board allows: host_uts")
        };
        assert_eq!(
            all,
            [
                "image: `image` is `python/other:1`, the policy of this board allows: python:*, localhost/team/*:1"
                    .to_owned(),
                privilege("privileged: true"),
                privilege("ipc: host"),
                privilege("pid: host"),
                "options.cpu_millis: `resources.cpu` is 4, the policy of this board allows 0.1 to 2".to_owned(),
                "options.memory_bytes: `resources.memory` is 2g, the policy of this board allows at most 1g".to_owned(),
            ]
        );
    }
}
