//! The files that a configuration is read from, and which of them says what.
//!
//! Must not: judge a value.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, Fragment};

/// Files and directories that are read when `--config` does not name one file.
const MAIN_FILE: &str = "/etc/perigee/perigee.yaml";
const DROP_INS: [&str; 3] = ["/usr/lib/perigee/conf.d", "/run/perigee/conf.d", "/etc/perigee/conf.d"];

pub(super) fn standard_files() -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    let main = PathBuf::from(MAIN_FILE);
    if main.exists() {
        files.push(main);
    }
    for dir in DROP_INS {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(ConfigError::Read { path: dir.into(), source }),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| ConfigError::Read { path: dir.into(), source })?.path();
            if path.extension().is_some_and(|ext| ext == "yaml") {
                found.push(path);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// A file of a configuration, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

pub(super) fn read(path: &Path) -> Result<Text, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    Ok(Text { path: path.to_owned(), text })
}

pub(super) fn parse(Text { path, text }: &Text) -> Result<Fragment, ConfigError> {
    let parse = || {
        let value: serde_yaml::Value = serde_yaml::from_str(text)?;
        if value.is_null() { Ok(Fragment::default()) } else { serde_yaml::from_str(text) }
    };
    parse().map_err(|error: serde_yaml::Error| ConfigError::File {
        path: path.clone(),
        line: error.location().map(|location| location.line()),
        message: error.to_string(),
    })
}

/// The last file that says something of a key, and what.
pub(super) fn last_saying<'a>(key: &str, texts: &'a [Text]) -> Option<(&'a Path, serde_yaml::Value)> {
    let says = |Text { path, text }: &'a Text| {
        let whole: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
        let said = key.split('.').try_fold(&whole, |inner, part| inner.get(part))?;
        Some((path.as_path(), said.clone()))
    };
    texts.iter().rev().find_map(says)
}
