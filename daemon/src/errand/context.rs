//! The context of a build: a folder of a volume as a tar stream.
//!
//! Must not: follow links; they are packed as links, and only the build's own root gives them a meaning.

use std::io::{self, Write};

use cap_std::fs::Dir;

use crate::bundle::path::join;
use crate::podman::files;
use crate::reason::{Name, Reason};

/// Files and folders of one context.
const ENTRIES_MAX: usize = 20_000;
/// Bytes of one context.
const CONTEXT_BYTES: u64 = 4 << 30;
/// Folders below the context.
const DEPTH_MAX: usize = 64;
/// Read by the builder itself, outside the build's root: these must be plain files.
const READ_BY_THE_BUILDER: [&str; 2] = [".dockerignore", ".containerignore"];

/// A folder of a volume, walked.
pub(super) struct Context {
    entries: Vec<Entry>,
    /// Bytes of all its files.
    pub(super) bytes: u64,
}

struct Entry {
    /// Path in the context.
    path: String,
    kind: Kind,
}

enum Kind {
    Folder,
    File,
    Link,
}

fn failed(path: &str) -> impl Fn(io::Error) -> Reason {
    let what = format!("failed to read `{path}` of the build's context");
    move |error| {
        let missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Reason::new(if missing { Name::FileMissing } else { Name::TransferError }, format!("{what}: {error}"))
    }
}

/// Walks the folder of a context.
pub(super) fn walk(volume: &Dir, folder: &str) -> Result<Context, Reason> {
    let mut context = Context { entries: Vec::new(), bytes: 0 };
    let mut due = vec![(String::new(), 0)];
    while let Some((path, depth)) = due.pop() {
        let at = join(folder, &path);
        let at = if at.is_empty() { "." } else { &at };
        for item in volume.read_dir(at).map_err(failed(at))? {
            let item = item.map_err(failed(at))?;
            let name = item.file_name().into_string();
            let name = name.map_err(|name| bad(&format!("`{}` in `{at}`: its name is not UTF-8", name.display())))?;
            let meta = item.metadata().map_err(failed(at))?;
            let path = join(&path, &name);
            let kind = kind(&path, &meta)?;
            if let Kind::Folder = kind {
                due.push((path.clone(), depth + 1));
            }
            context.bytes += if let Kind::File = kind { meta.len() } else { 0 };
            context.entries.push(Entry { path, kind });
            within_limits(&context, depth)?;
        }
    }
    context.entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(context)
}

fn bad(what: &str) -> Reason {
    Reason::new(Name::TransferError, what)
}

fn within_limits(context: &Context, depth: usize) -> Result<(), Reason> {
    let limit = |what: &str| Err(Reason::new(Name::Limit, format!("the build's context has more than {what}")));
    if context.entries.len() > ENTRIES_MAX {
        return limit(&format!("{ENTRIES_MAX} files and folders"));
    }
    if context.bytes > CONTEXT_BYTES {
        return limit(&format!("{CONTEXT_BYTES} bytes"));
    }
    if depth > DEPTH_MAX {
        return limit(&format!("{DEPTH_MAX} levels of folders"));
    }
    Ok(())
}

fn kind(path: &str, meta: &cap_std::fs::Metadata) -> Result<Kind, Reason> {
    match meta.file_type() {
        kind if kind.is_dir() => Ok(Kind::Folder),
        kind if kind.is_file() => Ok(Kind::File),
        kind if kind.is_symlink() && !READ_BY_THE_BUILDER.contains(&path) => Ok(Kind::Link),
        _ => Err(bad(&format!("`{path}` of the build's context is neither file, folder nor a link that may be there"))),
    }
}

/// Streams a context. The Dockerfile lies in it under `dockerfile`, whatever the folder holds there.
pub(super) fn stream(
    volume: &Dir,
    folder: &str,
    context: &Context,
    (dockerfile, text): (&str, &str),
    output: impl Write,
) -> Result<(), Reason> {
    let broken = |error: io::Error| bad(&format!("the build's context could not be sent: {error}"));
    let mut builder = tar::Builder::new(output);
    for Entry { path, kind } in context.entries.iter().filter(|entry| entry.path != dockerfile) {
        let at = join(folder, path);
        let mut header = tar::Header::new_gnu();
        match kind {
            Kind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                header.set_mode(mode(&volume.metadata(&at).map_err(failed(&at))?));
                builder.append_data(&mut header, path, io::empty()).map_err(broken)?;
            }
            Kind::Link => {
                let target = volume.read_link_contents(&at).map_err(failed(&at))?;
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                builder.append_link(&mut header, path, target).map_err(broken)?;
            }
            Kind::File => {
                let file = files::open_file(volume, &at).map_err(failed(&at))?;
                let meta = file.metadata().map_err(failed(&at))?;
                header.set_size(meta.len());
                header.set_mode(mode(&meta));
                builder.append_data(&mut header, path, io::Read::take(file, meta.len())).map_err(broken)?;
            }
        }
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, dockerfile, text.as_bytes()).map_err(broken)?;
    builder.into_inner().and_then(|mut output| output.flush()).map_err(broken)
}

fn mode(meta: &cap_std::fs::Metadata) -> u32 {
    cap_std::fs::MetadataExt::mode(meta) & 0o777
}
