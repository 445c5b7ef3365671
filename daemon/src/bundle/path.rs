//! Paths as tenants and bundles write them: always inside something, never above it.
//!
//! Must not: touch the file system; links are the business of whoever opens the path.

/// A path that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Empty text.
    #[error("path is empty")]
    Empty,
    /// `..` would leave the volume or folder.
    #[error("path `{0}` leaves its root with `..`")]
    Parent(String),
    /// A control character or a backslash.
    #[error("path `{0}` has a character that is not allowed (control characters, `\\`)")]
    Character(String),
    /// Longer than any file system takes.
    #[error("path is longer than {MAX} bytes")]
    Long,
}

pub(crate) const MAX: usize = 1024;

/// Brings a path to its plain relative form: `/x`, `./x`, `x/` and `x` all name `x`; the root is empty.
///
/// # Errors
/// When the path is empty, too long, has `..` or a forbidden character.
pub fn relative(text: &str) -> Result<String, BadPath> {
    if text.is_empty() {
        return Err(BadPath::Empty);
    }
    if text.len() > MAX {
        return Err(BadPath::Long);
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(BadPath::Character(text.escape_debug().to_string()));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(BadPath::Parent(text.to_owned()));
    }
    Ok(parts.join("/"))
}

/// A path inside a volume. Pods see the volume at `/data`, so an absolute `/data/x` means the volume's `x`.
///
/// # Errors
/// As [`relative`].
pub fn in_volume(text: &str) -> Result<String, BadPath> {
    let plain = relative(text)?;
    if !text.starts_with('/') {
        return Ok(plain);
    }
    match plain.strip_prefix("data") {
        Some("") => Ok(String::new()),
        Some(rest) if rest.starts_with('/') => Ok(rest[1..].to_owned()),
        Some(_) | None => Ok(plain),
    }
}

/// The last part of a plain path.
#[must_use]
pub fn base_name(plain: &str) -> &str {
    plain.rsplit('/').next().unwrap_or(plain)
}

/// Joins two plain paths, either of which may be the root.
#[must_use]
pub fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_is_one_path() {
        for text in ["a/b", "/a/b", "./a/b", "a//b/", "/./a/b/."] {
            assert_eq!(relative(text).as_deref(), Ok("a/b"));
        }
        assert_eq!(relative("/").as_deref(), Ok(""));
    }

    #[test]
    fn nothing_leaves_its_root() {
        for text in ["..", "a/../b", "/../etc", "a/.."] {
            assert!(matches!(relative(text), Err(BadPath::Parent(_))), "{text}");
        }
        assert!(relative("a\nb").is_err());
        assert!(relative("").is_err());
    }

    #[test]
    fn data_prefix_is_the_volume_root() {
        assert_eq!(in_volume("/data/config").as_deref(), Ok("config"));
        assert_eq!(in_volume("/data").as_deref(), Ok(""));
        assert_eq!(in_volume("/database").as_deref(), Ok("database"));
        assert_eq!(in_volume("data/config").as_deref(), Ok("data/config"));
    }
}
