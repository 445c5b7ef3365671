//! Files between the board and a volume. Everything goes through a handle on the volume's folder that cannot be left:
//! not by `..`, not by a link that a tenant planted.
//!
//! Must not: follow a path that a tenant named outside that handle.

use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use serde::{Deserialize, Serialize};

use crate::bundle::Digest;
use crate::bundle::path::{base_name, join};
use crate::disk::Hashing;
use crate::reason::{Name, Reason};

/// Files that one downlink task may collect: a wildcard over more is a mistake.
pub const FILES_MAX: usize = 10_000;
/// Folders below the volume that a named folder is followed into.
const DEPTH_MAX: usize = 32;

fn failed(doing: &str, path: &str) -> impl Fn(io::Error) -> Reason {
    let what = format!("failed to {doing} `{path}` in the volume");
    move |error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        Reason::new(if missing { Name::FileMissing } else { Name::TransferError }, format!("{what}: {error}"))
    }
}

/// Opens the folder of a volume.
///
/// # Errors
/// When it is not there: the volume lives on another machine, or Podman's storage is broken.
pub fn open_volume(mountpoint: &Path) -> Result<Dir, Reason> {
    Dir::open_ambient_dir(mountpoint, ambient_authority()).map_err(|error| {
        Reason::new(Name::TransferError, format!("failed to open the volume at {}: {error}", mountpoint.display()))
    })
}

/// Lets every user of a tenant's pods make files in the root of its volume, which Podman makes for root alone.
///
/// # Errors
/// When its mode cannot be changed.
pub fn open_to_all(mountpoint: &Path) -> io::Result<()> {
    const ALL: u32 = 0o777;
    let mode = std::fs::metadata(mountpoint)?.permissions().mode();
    if mode & ALL == ALL { Ok(()) } else { std::fs::set_permissions(mountpoint, Permissions::from_mode(ALL)) }
}

/// Places files into a folder of the volume: each is written beside its place, flushed and renamed.
///
/// # Errors
/// Names the file and the cause; files placed before it stay.
pub fn place(volume: &Dir, destination: &str, sources: &[PathBuf]) -> Result<(), Reason> {
    make_folder(volume, destination)?;
    for source in sources {
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let target = join(destination, &name);
        File::open(source)
            .and_then(|mut input| replace(volume, destination, &name, &mut input))
            .map_err(failed("place", &target))?;
    }
    flush_folder(volume, destination)
}

/// Writes one file of the volume, replacing what is there, in the same way.
///
/// # Errors
/// Names the file and the cause; what was there stays.
pub fn write(volume: &Dir, path: &str, mut content: &[u8]) -> Result<(), Reason> {
    let name = base_name(path);
    let folder = path.strip_suffix(name).unwrap_or_default().trim_end_matches('/');
    make_folder(volume, folder)?;
    replace(volume, folder, name, &mut content).map_err(failed("write", path))?;
    flush_folder(volume, folder)
}

fn make_folder(volume: &Dir, folder: &str) -> Result<(), Reason> {
    if folder.is_empty() {
        return Ok(());
    }
    volume.create_dir_all(folder).map_err(failed("make the folder", folder))
}

fn replace(volume: &Dir, folder: &str, name: &str, content: &mut dyn io::Read) -> io::Result<()> {
    let part = join(folder, &format!(".{name}.perigee-part"));
    let written = (|| {
        // What lies there is a rest of ours, or a trap: a pipe would never take the first byte.
        let _ = volume.remove_file(&part);
        let mut output = volume.open_with(&part, OpenOptions::new().write(true).create_new(true))?;
        io::copy(content, &mut output)?;
        output.sync_all()?;
        volume.rename(&part, volume, join(folder, name))
    })();
    if written.is_err() {
        let _ = volume.remove_file(&part);
    }
    written
}

fn flush_folder(volume: &Dir, folder: &str) -> Result<(), Reason> {
    let folder = if folder.is_empty() { "." } else { folder };
    let flushed = volume.open(folder).and_then(|folder| folder.sync_all());
    flushed.map_err(failed("flush the folder", folder))
}

/// What a downlink task collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Name of the archive in the outbox entry.
    pub archive: String,
    /// MIME type of the archive.
    pub content_type: String,
    /// Bytes of the archive.
    pub content_length: u64,
    /// SHA-256 of the archive.
    pub sha256: Digest,
    /// Folder of the namespace on the ground that the files are for.
    pub destination: String,
    /// The files in the archive, by path in the volume.
    pub files: Vec<CollectedFile>,
}

/// One collected file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedFile {
    /// Path in the volume and in the archive.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// Collects files of a volume into one tar archive, flushed. Each source must match at least one file.
///
/// # Errors
/// Names the source or file and the cause; the archive is then to be thrown away.
pub fn collect(volume: &Dir, sources: &[String], archive: &Path, limit: u64) -> Result<Vec<CollectedFile>, Reason> {
    let mut paths = Vec::new();
    for source in sources {
        let found = matches(volume, source)?;
        if found.is_empty() {
            return Err(Reason::new(Name::FileMissing, format!("File not found: {source}")));
        }
        paths.extend(found);
    }
    paths.sort();
    paths.dedup();
    if paths.len() > FILES_MAX {
        let message = format!("{} files match, the limit of a downlink task is {FILES_MAX}", paths.len());
        return Err(Reason::new(Name::Limit, message));
    }
    let output =
        |error: io::Error| Reason::new(Name::TransferError, format!("failed to write {}: {error}", archive.display()));
    let mut builder = tar::Builder::new(File::create(archive).map_err(output)?);
    let mut files = Vec::new();
    let mut left = limit;
    for path in paths {
        let file = append(volume, &path, &mut builder, &mut left)?;
        files.push(file);
    }
    builder.into_inner().and_then(|file| file.sync_all()).map_err(output)?;
    Ok(files)
}

fn append(volume: &Dir, path: &str, builder: &mut tar::Builder<File>, left: &mut u64) -> Result<CollectedFile, Reason> {
    let fail = failed("collect", path);
    // A named pipe must not block us; regular files ignore the flag.
    let mut options = OpenOptions::new();
    options.read(true);
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, nix::fcntl::OFlag::O_NONBLOCK.bits());
    let input = volume.open_with(path, &options).map_err(&fail)?;
    let meta = input.metadata().map_err(&fail)?;
    if !meta.is_file() {
        return Err(Reason::new(Name::TransferError, format!("`{path}` in the volume is not a regular file")));
    }
    let size = meta.len();
    *left = left.checked_sub(size).ok_or_else(|| {
        Reason::new(
            Name::Limit,
            format!(
                "the files are larger than a downlink task may collect; `{path}` has {size} bytes, {left} were left"
            ),
        )
    })?;
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    let modified =
        meta.modified().ok().and_then(|time| time.into_std().duration_since(std::time::SystemTime::UNIX_EPOCH).ok());
    header.set_mtime(modified.map_or(0, |since| since.as_secs()));
    let mut hashing = Hashing::new(input.take(size));
    builder.append_data(&mut header, path, &mut hashing).map_err(&fail)?;
    let (seen, sha256) = hashing.finish();
    if seen != size {
        return Err(Reason::new(Name::TransferError, format!("`{path}` in the volume changed while it was collected")));
    }
    Ok(CollectedFile { path: path.to_owned(), size, sha256 })
}

/// The files that a source names: itself, everything below it when it is a folder, or what its wildcards match.
fn matches(volume: &Dir, source: &str) -> Result<Vec<String>, Reason> {
    let mut found = vec![String::new()];
    for part in source.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            if part.contains(['*', '?', '[']) {
                next.extend(matching_names(volume, folder, part)?);
            } else {
                next.push(join(folder, part));
            }
        }
        found = next;
    }
    let mut files = Vec::new();
    for path in found {
        expand(volume, &path, source, 0, &mut files)?;
    }
    Ok(files)
}

fn matching_names(volume: &Dir, folder: &str, part: &str) -> Result<Vec<String>, Reason> {
    const SHELL: glob::MatchOptions =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let pattern =
        glob::Pattern::new(part).map_err(|bad| Reason::new(Name::TransferError, format!("`{part}`: {}", bad.msg)))?;
    let mut names = Vec::new();
    for name in names_in(volume, folder)? {
        if pattern.matches_with(base_name(&name), SHELL) {
            names.push(name);
        }
    }
    Ok(names)
}

fn names_in(volume: &Dir, folder: &str) -> Result<Vec<String>, Reason> {
    let at = if folder.is_empty() { "." } else { folder };
    let entries = match volume.read_dir(at) {
        Ok(entries) => entries,
        // A wildcard may pass over files and gaps, as in a shell.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed("list", at)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", at))?;
        if names.len() > FILES_MAX {
            return Err(Reason::new(Name::Limit, format!("`{at}` has more than {FILES_MAX} entries")));
        }
        names.push(join(folder, &entry.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

fn expand(volume: &Dir, path: &str, source: &str, depth: usize, files: &mut Vec<String>) -> Result<(), Reason> {
    let at = if path.is_empty() { "." } else { path };
    let meta = match volume.metadata(at) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Reason::new(Name::FileMissing, format!("File not found: {source}")));
        }
        Err(error) => return Err(failed("collect", at)(error)),
    };
    if !meta.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > DEPTH_MAX {
        return Err(Reason::new(Name::Limit, format!("`{path}` is deeper than {DEPTH_MAX} folders")));
    }
    for name in names_in(volume, path)? {
        // Links to folders are not followed into: they may go round in circles.
        let link = volume.symlink_metadata(&name).map_err(failed("collect", &name))?.is_symlink();
        if !(link && volume.metadata(&name).is_ok_and(|meta| meta.is_dir())) {
            expand(volume, &name, source, depth + 1, files)?;
        }
        if files.len() > FILES_MAX {
            return Err(Reason::new(Name::Limit, format!("`{source}` names more than {FILES_MAX} files")));
        }
    }
    Ok(())
}
