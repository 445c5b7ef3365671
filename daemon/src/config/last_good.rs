//! The last good configuration: a copy of the files that a daemon came up with. A start with files that cannot be used
//! takes it, so that a mistake in an update leaves a board that can be commanded.
//!
//! Must not: hide that; whoever takes the copy is told why, and shows it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, Text};
use super::{ConfigError, STATE_DIR, Settings};
use crate::bundle::Digest;
use crate::disk;
use crate::run::chain;

/// Where it is, in the state directory.
const FILE: &str = "config-last-good.json";
/// Its form.
const FORMAT: u32 = 1;
/// Set by systemd for `StateDirectory=`: absolute paths, with colons between them.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// A configuration and the files that say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What holds.
    pub settings: Settings,
    texts: Vec<Text>,
    /// The file of `--config`; none for the standard files.
    only: Option<PathBuf>,
}

/// The copy as a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    /// Another daemon's copy, of another `--config`, is none of ours.
    only: Option<PathBuf>,
    files: Vec<Text>,
    /// Of the files: a wrong bit must not become a setting.
    sha256: Digest,
}

impl Loaded {
    /// Reads one file, or the main file and the drop-ins.
    ///
    /// # Errors
    /// Names the file, line and key of the first thing that is wrong.
    pub fn read(only: Option<&Path>) -> Result<Self, ConfigError> {
        let paths = only.map_or_else(files::standard_files, |path| Ok(vec![path.to_owned()]))?;
        let texts = paths.iter().map(|path| files::read(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { settings: Settings::merge(&texts)?, texts, only: only.map(absolute) })
    }

    /// The same, or the last good configuration and why the files cannot be used.
    ///
    /// # Errors
    /// As [`Self::read`], when there is no last good one.
    pub fn for_start(only: Option<&Path>) -> Result<(Self, Option<String>), ConfigError> {
        let systemds = std::env::var(STATE_DIRECTORY).unwrap_or_default();
        Self::read(only).map(|loaded| (loaded, None)).or_else(|error| Self::instead_of(only, &systemds, error))
    }

    fn instead_of(
        only: Option<&Path>,
        systemds: &str,
        error: ConfigError,
    ) -> Result<(Self, Option<String>), ConfigError> {
        for path in state_dirs(only, systemds).iter().map(|folder| folder.join(FILE)) {
            match Self::kept(&path, only) {
                Ok(Some(loaded)) => {
                    let why = holds(&format!("{}; taken from {}", chain(&error), path.display()));
                    return Ok((loaded, Some(why)));
                }
                Ok(None) => {}
                Err(why) => tracing::warn!("the last good configuration in {} cannot be used: {why}", path.display()),
            }
        }
        Err(error)
    }

    fn kept(path: &Path, only: Option<&Path>) -> Result<Option<Self>, String> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if kept.format != FORMAT {
            return Err(format!("found format {}, expected {FORMAT}", kept.format));
        }
        if kept.only != only.map(absolute) {
            return Err("it is that of a daemon with another --config".to_owned());
        }
        if digest(&kept.files).map_err(|error| error.to_string())? != kept.sha256 {
            return Err("it is damaged: its digest does not fit".to_owned());
        }
        let settings = Settings::merge(&kept.files).map_err(|error| chain(&error))?;
        Ok(Some(Self { settings, texts: kept.files, only: kept.only }))
    }

    /// Keeps a copy in the state directory of the daemon that runs with it, unless it is there already.
    ///
    /// # Errors
    /// When it cannot be written; the copy is then as before.
    pub fn keep(&self, state_dir: &Path) -> io::Result<()> {
        let sha256 = digest(&self.texts)?;
        let kept = Kept { format: FORMAT, only: self.only.clone(), files: self.texts.clone(), sha256 };
        let bytes = serde_json::to_vec_pretty(&kept)?;
        let path = state_dir.join(FILE);
        if fs::read(&path).is_ok_and(|known| known == bytes) { Ok(()) } else { disk::write_durably(&path, &bytes) }
    }
}

/// What the outside is told while the files cannot be used.
#[must_use]
pub fn holds(why: &str) -> String {
    format!("{why}; the last good configuration holds; mend the file, then `systemctl reload perigeed`")
}

/// Where a copy may be: where the files say, as far as they can be read at all, then where systemd says, then where it
/// is by default.
fn state_dirs(only: Option<&Path>, systemds: &str) -> Vec<PathBuf> {
    let paths = only.map_or_else(|| files::standard_files().unwrap_or_default(), |path| vec![path.to_owned()]);
    let texts: Vec<Text> = paths.iter().filter_map(|path| files::read(path).ok()).collect();
    let said = files::last_saying("state_dir", &texts).and_then(|(_, said)| said.as_str().map(PathBuf::from));
    let systemds = systemds.split(':').filter(|path| !path.is_empty()).map(PathBuf::from);
    said.into_iter().chain(systemds).chain([PathBuf::from(STATE_DIR)]).collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn digest(files: &[Text]) -> io::Result<Digest> {
    Ok(Digest::of(&serde_json::to_vec(files)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file that says `text` besides its state directory, which is the same folder.
    fn board(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("perigee.yaml");
        says(&file, folder.path(), text);
        (folder, file)
    }

    fn says(file: &Path, state_dir: &Path, text: &str) {
        fs::write(file, format!("state_dir: {}\n{text}\n", state_dir.display())).expect("written");
    }

    #[test]
    fn file_that_cannot_be_used_is_named_and_the_last_good_one_holds() {
        let (folder, file) = board("stop_grace_seconds: 7");
        Loaded::read(Some(&file)).expect("legal").keep(folder.path()).expect("kept");
        for (broken, said) in [
            ("stop_grace: 5", format!("{}:2: unknown field `stop_grace`", file.display())),
            ("stop_grace_seconds: 0", "stop_grace_seconds: found 0, expected 1 to 240".to_owned()),
        ] {
            says(&file, folder.path(), broken);
            let (loaded, why) = Loaded::for_start(Some(&file)).expect("the last good one");
            assert_eq!(loaded.settings.stop_grace_seconds, 7);
            let why = why.expect("a reason");
            assert!(why.contains(&said) && why.contains("the last good configuration holds"), "{why}");
        }
        says(&file, folder.path(), "stop_grace_seconds: 8");
        let (loaded, why) = Loaded::for_start(Some(&file)).expect("legal");
        assert_eq!((loaded.settings.stop_grace_seconds, why), (8, None));
    }

    #[test]
    fn state_directory_of_a_file_that_says_nothing_any_more_is_systemds() {
        let (folder, file) = board("stop_grace_seconds: 7");
        Loaded::read(Some(&file)).expect("legal").keep(folder.path()).expect("kept");
        fs::write(&file, "state_dir: [\n").expect("written");
        let error = || Loaded::read(Some(&file)).expect_err("broken");
        assert!(Loaded::instead_of(Some(&file), "", error()).is_err());
        let systemds = format!("/nowhere:{}", folder.path().display());
        let (loaded, _) = Loaded::instead_of(Some(&file), &systemds, error()).expect("the last good one");
        assert_eq!(loaded.settings.stop_grace_seconds, 7);
        fs::remove_file(&file).expect("removed");
        assert!(Loaded::instead_of(Some(&file), &systemds, error()).is_ok(), "a file that is gone");
    }

    #[test]
    fn copy_that_is_damaged_or_of_another_file_is_not_taken() {
        let (folder, file) = board("stop_grace_seconds: 7");
        let copy = folder.path().join(FILE);
        Loaded::read(Some(&file)).expect("legal").keep(folder.path()).expect("kept");
        let whole = fs::read_to_string(&copy).expect("a copy");
        let other = folder.path().join("other.yaml");
        says(&other, folder.path(), "stop_grace: 5");
        assert!(Loaded::for_start(Some(&other)).is_err(), "another daemon's");
        says(&file, folder.path(), "stop_grace: 5");
        for damaged in [
            whole.replace("seconds: 7", "seconds: 6"),
            whole.replace("\"format\": 1", "\"format\": 2"),
            whole[..whole.len() / 2].to_owned(),
            String::new(),
        ] {
            fs::write(&copy, damaged).expect("written");
            let error = Loaded::for_start(Some(&file)).expect_err("nothing to take").to_string();
            assert!(error.contains("unknown field `stop_grace`"), "{error}");
        }
        fs::write(&copy, whole).expect("written");
        assert!(Loaded::for_start(Some(&file)).is_ok(), "else the rest shows nothing");
    }
}
