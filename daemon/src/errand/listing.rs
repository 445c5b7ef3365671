//! files.list: a bounded tree of what is in a volume, widest first, so that a full folder hides nothing beside it.
//!
//! Must not: follow links; a link is listed as such.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use cap_std::fs::Dir;
use serde::Serialize;
use serde_json::json;

use super::{Done, Stop, Trip};
use crate::bundle::path::join;
use crate::plan::errand::FilesList;
use crate::reason::{Name, Reason};

/// Entries that one listing holds.
const LISTING_MAX: usize = 10_000;
/// Bytes of their names: a listing is sent over a thin link.
const NAME_BYTES: usize = 1 << 20;

/// One line of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    /// As text: the documented form.
    size: String,
    /// `YYYY-MM-DD-HH-MM`, UTC: the documented form.
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<Vec<Entry>>,
}

/// What a listing may still hold.
struct Room {
    entries: usize,
    bytes: usize,
    cut: bool,
}

impl Room {
    fn take(&mut self, name: &str) -> bool {
        match (self.entries.checked_sub(1), self.bytes.checked_sub(name.len())) {
            (Some(entries), Some(bytes)) => (self.entries, self.bytes) = (entries, bytes),
            (_, _) => self.cut = true,
        }
        !self.cut
    }
}

impl Trip<'_> {
    pub(super) async fn files_list(&self, list: &FilesList) -> Result<Done, Stop> {
        let room = Room { entries: LISTING_MAX, bytes: NAME_BYTES, cut: false };
        let (files, room) = match &list.claim {
            Some(claim) => {
                let mountpoint = self.mountpoint(&list.node, claim).await?;
                let (folder, depth, mut room) = (list.folder.clone(), list.depth, room);
                self.in_volume(mountpoint, move |volume| Ok((tree(volume, &folder, depth, &mut room)?, room))).await?
            }
            None => self.tenant_root(list.depth, room).await?,
        };
        let cut = room.cut;
        let note = cut
            .then(|| format!("cut short at {LISTING_MAX} entries or {NAME_BYTES} bytes of names; list a folder of it"));
        Ok(Done::good().with(json!({"files": files, "note": note})).cut(cut))
    }

    /// All volumes of the tenant, of every Podman, as folders.
    async fn tenant_root(&self, depth: u32, mut room: Room) -> Result<(Vec<Entry>, Room), Stop> {
        let prefix = format!("{}.", self.execution.plan.tenant);
        let mut root = Vec::new();
        for endpoint in self.driver.podmans() {
            let mut volumes = self.ask(endpoint, || endpoint.volumes()).await?;
            volumes.sort();
            for (claim, _) in volumes.iter().filter(|(_, tenant)| tenant == self.execution.plan.tenant.as_str()) {
                let Some(name) = claim.strip_prefix(&prefix).filter(|name| room.take(name)) else { continue };
                let Some(mountpoint) = self.ask(endpoint, || endpoint.volume(claim)).await? else { continue };
                let mut left = room;
                let (entry, after) = self
                    .in_volume(mountpoint, move |volume| {
                        let contents = if depth > 1 { Some(tree(volume, "", depth - 1, &mut left)?) } else { None };
                        let meta = volume.dir_metadata().map_err(failed("."))?;
                        Ok((Entry { contents, ..entry(String::new(), &meta) }, left))
                    })
                    .await?;
                room = after;
                root.push(Entry { name: name.to_owned(), ..entry });
            }
        }
        Ok((root, room))
    }
}

fn failed(path: &str) -> impl Fn(io::Error) -> Reason {
    let what = format!("failed to list `{path}` in the volume");
    move |error| {
        let missing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Reason::new(if missing { Name::FileMissing } else { Name::TransferError }, format!("{what}: {error}"))
    }
}

/// The entries below a folder, as deep as asked, as far as there is room.
fn tree(volume: &Dir, folder: &str, depth: u32, room: &mut Room) -> Result<Vec<Entry>, Reason> {
    let mut levels: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut due: VecDeque<(String, u32)> = [(folder.to_owned(), 1)].into();
    while let Some((path, level)) = due.pop_front() {
        let entries = match entries(volume, &path, room) {
            // Below the folder that was asked for, a pod may be at work: what goes meanwhile is no failure.
            Err(reason) if path != folder && reason.name == Name::FileMissing => continue,
            other => other?,
        };
        if level < depth {
            let folders = entries.iter().filter(|entry| entry.kind == "directory");
            due.extend(folders.map(|entry| (join(&path, &entry.name), level + 1)));
        }
        levels.insert(path, entries);
    }
    Ok(assembled(folder, &mut levels).unwrap_or_default())
}

fn assembled(path: &str, levels: &mut BTreeMap<String, Vec<Entry>>) -> Option<Vec<Entry>> {
    let mut entries = levels.remove(path)?;
    for entry in entries.iter_mut().filter(|entry| entry.kind == "directory") {
        entry.contents = assembled(&join(path, &entry.name), levels);
    }
    Some(entries)
}

fn entries(volume: &Dir, path: &str, room: &mut Room) -> Result<Vec<Entry>, Reason> {
    let at = if path.is_empty() { "." } else { path };
    let mut found = Vec::new();
    if room.cut {
        return Ok(found);
    }
    for item in volume.read_dir(at).map_err(failed(at))? {
        let item = item.map_err(failed(at))?;
        let name = item.file_name().to_string_lossy().into_owned();
        let meta = match item.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed(at))?,
        };
        if !room.take(&name) {
            break;
        }
        found.push(entry(name, &meta));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn entry(name: String, meta: &cap_std::fs::Metadata) -> Entry {
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_file() => "file",
        kind if kind.is_symlink() => "link",
        _ => "other",
    };
    let modified = meta.modified().ok().and_then(|time| jiff::Timestamp::try_from(time.into_std()).ok());
    let time = modified.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y-%m-%d-%H-%M").to_string();
    Entry { kind, name, size: meta.len().to_string(), time, contents: None }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::podman::files::open_volume;

    fn room(entries: usize) -> Room {
        Room { entries, bytes: NAME_BYTES, cut: false }
    }

    fn names(entries: &[Entry]) -> Vec<String> {
        let below = |entry: &Entry| entry.contents.as_deref().map(names).map(|names| format!("/({})", names.join(" ")));
        entries.iter().map(|entry| format!("{}{}", entry.name, below(entry).unwrap_or_default())).collect()
    }

    #[test]
    fn a_tree_is_as_deep_as_asked_and_lists_links_without_following_them() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("a/b/c")).expect("made");
        fs::write(folder.path().join("a/f"), "1234").expect("written");
        symlink("/etc", folder.path().join("etc")).expect("linked");
        let volume = open_volume(folder.path()).expect("opens");
        let listed = |at: &str, depth| tree(&volume, at, depth, &mut room(100));
        assert_eq!(names(&listed("", 1).expect("listed")), ["a", "etc"]);
        assert_eq!(names(&listed("", 2).expect("listed")), ["a/(b f)", "etc"]);
        let deep = listed("a", 9).expect("listed");
        assert_eq!(names(&deep), ["b/(c/())", "f"]);
        assert_eq!((deep[1].size.as_str(), deep[1].kind), ("4", "file"));
        assert_eq!(listed("", 2).expect("listed")[1].kind, "link");
        assert_eq!(listed("nowhere", 2).expect_err("refused").name, Name::FileMissing);
        assert_eq!(listed("a/f", 2).expect_err("refused").name, Name::FileMissing);
        assert_eq!(listed("etc", 2).expect_err("refused").name, Name::TransferError);
    }

    #[test]
    fn a_full_folder_is_cut_short_and_hides_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("full")).expect("made");
        fs::create_dir_all(folder.path().join("next")).expect("made");
        (0..20).for_each(|n| fs::write(folder.path().join(format!("full/{n}")), "").expect("written"));
        let volume = open_volume(folder.path()).expect("opens");
        let mut little = room(10);
        let found = tree(&volume, "", 2, &mut little).expect("listed");
        assert!(little.cut);
        assert_eq!(found.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["full", "next"]);
        assert_eq!(found[0].contents.as_ref().map(Vec::len), Some(8));
        let mut enough = room(22);
        tree(&volume, "", 2, &mut enough).expect("listed");
        assert!(!enough.cut);
    }
}
