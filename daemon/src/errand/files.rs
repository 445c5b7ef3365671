//! files.delete and files.move.
//!
//! Must not: follow a link in the last place of a path: it is the link that is deleted or moved.

use std::io;

use cap_std::fs::Dir;

use super::{Done, Stop, Trip};
use crate::plan::errand::{FilesDelete, FilesMove};
use crate::podman::driver::Occasion;
use crate::reason::{Name, Reason};

impl Trip<'_> {
    pub(super) async fn files_delete(&self, delete: &FilesDelete) -> Result<Done, Stop> {
        let mountpoint = self.mountpoint(&delete.node, &delete.claim).await?;
        let (sources, occasion) = (delete.sources.clone(), self.occasion);
        self.in_volume(mountpoint, move |volume| remove(volume, &sources, occasion)).await?;
        Ok(Done::good())
    }

    pub(super) async fn files_move(&self, moved: &FilesMove) -> Result<Done, Stop> {
        let mountpoint = self.mountpoint(&moved.node, &moved.claim).await?;
        let (moved, occasion) = (moved.clone(), self.occasion);
        self.in_volume(mountpoint, move |volume| rename(volume, &moved, occasion)).await?;
        Ok(Done::good())
    }
}

fn failed(doing: &str, path: &str) -> impl Fn(io::Error) -> Reason {
    let what = format!("failed to {doing} `{path}` in the volume");
    move |error| Reason::new(Name::TransferError, format!("{what}: {error}"))
}

/// Whether something of that name is there, a link that leads nowhere included.
fn there(volume: &Dir, path: &str) -> Result<bool, Reason> {
    match volume.symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

fn not_found(path: &str) -> Reason {
    Reason::new(Name::FileMissing, format!("File not found: {path}"))
}

/// Deletes all or, when one is missing, nothing. What a first try has deleted need not be there for the second.
fn remove(volume: &Dir, sources: &[String], occasion: Occasion) -> Result<(), Reason> {
    let mut left = Vec::new();
    for source in sources {
        match (there(volume, source)?, occasion) {
            (true, _) => left.push(source),
            (false, Occasion::Resumed) => {}
            (false, Occasion::Decided) => return Err(not_found(source)),
        }
    }
    for source in left {
        let fail = failed("delete", source);
        let removed = match volume.symlink_metadata(source) {
            Ok(meta) if meta.is_dir() => volume.remove_dir_all(source),
            Ok(_) => volume.remove_file(source),
            // It lay in one that was deleted before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(fail)?;
    }
    flush(volume)
}

/// Moves, and replaces nothing. After a restart, what is gone here and there at its destination has been moved.
fn rename(volume: &Dir, moved: &FilesMove, occasion: Occasion) -> Result<(), Reason> {
    let FilesMove { source, destination, .. } = moved;
    match (there(volume, source)?, there(volume, destination)?, occasion) {
        (true, false, _) => {}
        (false, true, Occasion::Resumed) => return flush(volume),
        (true, true, _) => {
            let message = format!("`{destination}` is there already; delete it first, or name another place");
            return Err(Reason::new(Name::FileExists, message));
        }
        (false, _, _) => return Err(not_found(source)),
    }
    if let Some((folder, _)) = destination.rsplit_once('/') {
        volume.create_dir_all(folder).map_err(failed("make the folder", folder))?;
    }
    volume.rename(source, volume, destination).map_err(failed("move", source))?;
    flush(volume)
}

fn flush(volume: &Dir) -> Result<(), Reason> {
    volume.open(".").and_then(|folder| folder.sync_all()).map_err(failed("flush", "."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::podman::files::open_volume;

    fn volume() -> (TempDir, Dir) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("volume")).expect("made");
        fs::create_dir(folder.path().join("outside")).expect("made");
        fs::write(folder.path().join("outside/secret"), "s").expect("written");
        fs::write(folder.path().join("volume/a"), "a").expect("written");
        symlink("../outside", folder.path().join("volume/out")).expect("linked");
        let volume = open_volume(&folder.path().join("volume")).expect("opens");
        (folder, volume)
    }

    fn moved(source: &str, destination: &str) -> FilesMove {
        let node = "mpu".parse().expect("legal");
        let (source, destination) = (source.to_owned(), destination.to_owned());
        FilesMove { node, claim: "t.v".to_owned(), source, destination }
    }

    fn name(result: Result<(), Reason>) -> Name {
        result.expect_err("refused").name
    }

    #[test]
    fn a_delete_is_all_or_nothing_and_done_twice_it_is_done() {
        let (folder, volume) = volume();
        let both = ["a".to_owned(), "gone".to_owned()];
        assert_eq!(name(remove(&volume, &both, Occasion::Decided)), Name::FileMissing);
        assert!(folder.path().join("volume/a").exists());
        assert_eq!(remove(&volume, &both, Occasion::Resumed), Ok(()));
        assert!(!folder.path().join("volume/a").exists());
        assert_eq!(remove(&volume, &both, Occasion::Resumed), Ok(()));
    }

    #[test]
    fn a_delete_takes_the_link_and_never_what_it_points_at() {
        let (folder, volume) = volume();
        assert_eq!(name(remove(&volume, &["out/secret".to_owned()], Occasion::Decided)), Name::TransferError);
        assert_eq!(remove(&volume, &["out".to_owned()], Occasion::Decided), Ok(()));
        assert!(folder.path().join("outside/secret").exists());
    }

    #[test]
    fn a_move_replaces_nothing_and_done_twice_it_is_done() {
        let (folder, volume) = volume();
        fs::write(folder.path().join("volume/b"), "b").expect("written");
        assert_eq!(name(rename(&volume, &moved("a", "b"), Occasion::Decided)), Name::FileExists);
        assert_eq!(rename(&volume, &moved("a", "new/c"), Occasion::Decided), Ok(()));
        assert_eq!(name(rename(&volume, &moved("a", "new/c"), Occasion::Decided)), Name::FileMissing);
        assert_eq!(rename(&volume, &moved("a", "new/c"), Occasion::Resumed), Ok(()));
        assert_eq!(fs::read(folder.path().join("volume/new/c")).expect("there"), b"a");
    }

    #[test]
    fn a_move_neither_leaves_the_volume_nor_brings_in_what_is_outside() {
        let (folder, volume) = volume();
        assert_eq!(name(rename(&volume, &moved("a", "out/a"), Occasion::Decided)), Name::TransferError);
        assert_eq!(name(rename(&volume, &moved("out/secret", "b"), Occasion::Decided)), Name::TransferError);
        assert!(folder.path().join("volume/a").exists() && folder.path().join("outside/secret").exists());
    }
}
