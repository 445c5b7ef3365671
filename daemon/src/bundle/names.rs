//! The names things have: executions, tenants, steps, volumes, pods, nodes, digests.
//!
//! A value of one of these types has passed its grammar, so nothing downstream checks again.
//! Must not: know what the named things do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Longest DNS label (RFC 1035), hence longest joined hostname, in bytes.
pub const DNS_LABEL_MAX: usize = 63;

/// A name that does not follow its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{given}` is not legal: {rule}")]
pub struct BadName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

impl BadName {
    /// What the grammar asks for.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

/// The nearest of the known words, when one is near.
#[must_use]
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.75;
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&given.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

fn label(text: &str, extra: &[char], upper: bool) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || (upper && c.is_ascii_uppercase());
    !text.is_empty()
        && text.len() <= DNS_LABEL_MAX
        && text.chars().all(|c| alphanumeric(c) || extra.contains(&c))
        && text.starts_with(alphanumeric)
        && text.ends_with(|c| alphanumeric(c) || (c == '_' && extra.contains(&c)))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $legal:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let legal: fn(&str) -> bool = $legal;
                if legal(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(BadName { what: $what, given: text.chars().take(80).collect(), rule: $rule })
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Who owns an operation; prefix of its pods' hostnames.
    Tenant,
    "tenant",
    "lower-case letters, digits and `-`, starting and ending with a letter or digit, at most 63 characters",
    |text| label(text, &['-'], false)
);

name!(
    /// The name a tenant gives a pod; `<tenant>-<pod_name>` is its hostname.
    PodName,
    "pod name",
    "lower-case letters, digits and `-`, starting and ending with a letter or digit, at most 63 characters",
    |text| label(text, &['-'], false)
);

name!(
    /// A joined hostname, `<tenant>-<pod_name>`: one DNS label.
    Hostname,
    "hostname",
    "a DNS label of at most 63 characters; shorten the tenant or the pod name",
    |text| label(text, &['-'], false)
);

name!(
    /// Identity of a step within its execution: the `id` of the task it was compiled from.
    StepId,
    "step id",
    "letters, digits, `_` and `-`, starting with a letter or digit, at most 63 characters",
    |text| label(text, &['-', '_'], true)
);

name!(
    /// A tenant's name for one of their volumes.
    VolumeName,
    "volume name",
    "letters, digits, `_` and `-`, starting with a letter or digit, at most 63 characters",
    |text| label(text, &['-', '_'], true)
);

name!(
    /// A node in lower case: the key of the board's node table.
    NodeName,
    "node",
    "letters, digits and `-`, at most 63 characters",
    |text| label(text, &['-'], false)
);

name!(
    /// The name of an operation.
    OperationId,
    "operation id",
    "letters, digits, `_`, `-` and `.`, starting with a letter or digit, at most 63 characters",
    |text| label(text, &['-', '_', '.'], true)
);

name!(
    /// Who a process is in its container: `uid`, `uid:gid`, or names that its image knows.
    User,
    "user",
    "a uid, uid:gid or name, such as 1000, 1000:1000 or nobody; each part a number up to 4294967294 or a name of at most 32 characters",
    |text| {
        let part = |text: &str| match text.chars().all(|c| c.is_ascii_digit()) {
            // The last number means "nobody in particular" to the kernel.
            true => text.parse::<u32>().is_ok_and(|id| id != u32::MAX),
            false => {
                text.len() <= 32
                    && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            }
        };
        let mut parts = text.splitn(2, ':');
        parts.all(|text| !text.is_empty() && part(text))
    }
);

impl User {
    /// As numbers, where it is written so: what Kubernetes can say.
    #[must_use]
    pub fn numbers(&self) -> Option<(u32, Option<u32>)> {
        match self.0.split_once(':') {
            None => Some((self.0.parse().ok()?, None)),
            Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        }
    }

    /// Whether it is the container's root, who alone keeps capabilities.
    #[must_use]
    pub fn is_root(&self) -> bool {
        let name = self.0.split(':').next().unwrap_or_default();
        name == "root" || name.parse() == Ok(0_u32)
    }
}

impl NodeName {
    /// Reads a node in any case, as operations write it (`Mpu`, `MPU`, `mpu`).
    ///
    /// # Errors
    /// When the lower-cased text does not follow the grammar.
    pub fn any_case(text: &str) -> Result<Self, BadName> {
        text.to_lowercase().parse()
    }
}

impl Hostname {
    /// Joins a tenant and a pod name.
    ///
    /// # Errors
    /// When the joined name is longer than a DNS label.
    pub fn join(tenant: &Tenant, pod: &PodName) -> Result<Self, BadName> {
        format!("{tenant}-{pod}").parse()
    }
}

/// Identity of one run of a bundle, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(Uuid);

impl ExecutionId {
    /// Wraps a UUID.
    #[must_use]
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The last twelve hexadecimal digits: the part of a UUID that is random in every version, used in container names.
    #[must_use]
    pub fn short(&self) -> String {
        let hex = self.0.simple().to_string();
        hex[hex.len() - 12..].to_owned()
    }

    /// The sixteen bytes, for keys.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

impl FromStr for ExecutionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of bytes at hand.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Digest of what a hasher has seen.
    #[must_use]
    pub fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let legal = text.len() == 64
            && text.as_bytes().chunks_exact(2).zip(bytes.iter_mut()).all(|(pair, byte)| {
                nibble(pair[0]).zip(nibble(pair[1])).map(|(high, low)| *byte = high << 4 | low).is_some()
            });
        if legal {
            return Ok(Self(bytes));
        }
        Err(BadName {
            what: "digest",
            given: text.chars().take(80).collect(),
            rule: "64 lower-case hexadecimal digits",
        })
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_grammar() {
        let pod = |text: &str| text.parse::<PodName>();
        assert!(pod("tcp-server").is_ok());
        for bad in ["", "Tcp", "a_b", "-a", "a-", "a.b", &"a".repeat(64)] {
            assert!(pod(bad).is_err(), "{bad} was taken");
        }
        assert!("POD_RUN_1".parse::<StepId>().is_ok());
        assert!("a.b".parse::<StepId>().is_err(), "a dot would make `<execution>.<step>` ambiguous");
        assert!("a.b".parse::<VolumeName>().is_err(), "a dot would make `<tenant>.<volume>` ambiguous");
    }

    #[test]
    fn users_are_numbers_or_names_and_only_root_is_root() {
        for (text, numbers, root) in [
            ("1000", Some((1000, None)), false),
            ("1000:20", Some((1000, Some(20))), false),
            ("0", Some((0, None)), true),
            ("00:5", Some((0, Some(5))), true),
            ("root:wheel", None, true),
            ("www-data", None, false),
            ("app:100", None, false),
        ] {
            let user: User = text.parse().expect(text);
            assert_eq!((user.numbers(), user.is_root()), (numbers, root), "{text}");
        }
        for bad in ["", ":", "a:", ":a", "1:2:3", "-1", "4294967295", "a b", "99999999999", "a/b"] {
            assert!(bad.parse::<User>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn node_is_read_in_any_case() {
        assert_eq!(NodeName::any_case("MpU").ok(), "mpu".parse().ok());
    }

    #[test]
    fn joined_hostname_is_bounded() {
        let tenant: Tenant = "a".repeat(40).parse().expect("legal");
        let pod: PodName = "b".repeat(23).parse().expect("legal");
        assert!(Hostname::join(&tenant, &pod).is_err());
    }

    #[test]
    fn digest_round_trips_and_refuses_other_text() {
        let digest = Digest::of(b"perigee");
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        assert!(Digest::try_from("A".repeat(64)).is_err());
        assert!(Digest::try_from(String::new()).is_err());
    }
}
