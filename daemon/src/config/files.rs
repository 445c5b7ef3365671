//! The files that a configuration is read from, and which of them says what.
//!
//! Must not: judge a value.

use std::fs;
use std::path::{Path, PathBuf};

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

pub(super) fn read(path: &Path) -> Result<Fragment, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let parse = || {
        let value: serde_yaml::Value = serde_yaml::from_str(&text)?;
        if value.is_null() { Ok(Fragment::default()) } else { serde_yaml::from_str(&text) }
    };
    parse().map_err(|error: serde_yaml::Error| ConfigError::File {
        path: path.to_owned(),
        line: error.location().map(|location| location.line()),
        message: error.to_string(),
    })
}

pub(super) fn last_saying(key: &str, paths: &[PathBuf]) -> Option<PathBuf> {
    let says = |path: &PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let whole: serde_yaml::Value = serde_yaml::from_str(&text).ok()?;
        key.split('.').try_fold(&whole, |inner, part| inner.get(part)).map(|_| path.clone())
    };
    paths.iter().rev().find_map(says)
}
