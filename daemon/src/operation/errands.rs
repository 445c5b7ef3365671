//! The documented task types that neither run a pod nor move files between ground and volume: keys, types, defaults.
//!
//! Must not: compare tasks with each other; `compile` does.

use super::fields::Fields;
use super::finding::{Findings, Place};
use super::pod_run;
use super::tasks::{Mention, Mentions};
use crate::bundle::errands::{
    BuildDocument, CaptureDocument, ErrandDocument, FilesDeleteDocument, FilesListDocument, FilesMoveDocument,
    ImageListDocument, ImageLoadDocument, PodDocument,
};
use crate::bundle::limits::{DEFAULT_MAX_DURATION_MINUTES, GRACE_SECONDS, LIST_DEPTH_MAX, MAX_DURATION_MINUTES};
use crate::bundle::{NodeName, PodName, StepId, VolumeName, path};

/// Levels that files.list goes down when the task does not say (documented).
const DEFAULT_DEPTH: u32 = 2;
/// Minutes an instrument may take when the task does not say.
const DEFAULT_CAPTURE_MINUTES: u32 = 10;
/// Longest name of an archive in a bundle, so that `images/NAME` fits a tar header.
pub(super) const ARCHIVE_NAME_BYTES: usize = 90;

/// The task types of this file, without their prefix.
pub(super) const TYPES: [&str; 9] = [
    "files.list",
    "files.delete",
    "files.move",
    "docker.build",
    "docker.image.list",
    "docker.image.load",
    "pod.logs",
    "pod.stop",
    "fisheye.capture",
];

/// A task of one of these types.
#[derive(Debug, Clone)]
pub struct ErrandTask {
    /// What it does.
    pub document: ErrandDocument,
    /// Budget of its step.
    pub timeout_seconds: u32,
}

/// The keys of a task type beyond those of every task.
pub(super) fn keys(short: &str) -> Option<&'static [&'static str]> {
    Some(match short {
        "files.list" => &["folder", "depth", "volume"],
        "files.delete" => &["volume", "source"],
        "files.move" => &["volume", "source", "destination"],
        "docker.build" => &["volume", "dockerfile", "context", "image", "max_duration"],
        "docker.image.list" => &["node"],
        "docker.image.load" => &["archive", "source", "volume", "image", "node", "max_duration"],
        "pod.logs" | "pod.stop" => &["pod_name", "task"],
        "fisheye.capture" => &["volume", "destination", "max_duration"],
        _ => return None,
    })
}

pub(super) fn read(
    short: &str,
    fields: &Fields<'_>,
    mentions: &mut Mentions,
    findings: &mut Findings,
) -> Option<ErrandTask> {
    let plain = |document| Some(ErrandTask { document, timeout_seconds: GRACE_SECONDS });
    match short {
        "files.list" => plain(ErrandDocument::FilesList(list(fields, findings)?)),
        "files.delete" => plain(ErrandDocument::FilesDelete(delete(fields, findings)?)),
        "files.move" => plain(ErrandDocument::FilesMove(moved(fields, findings)?)),
        "docker.build" => {
            let build = build(fields, findings)?;
            let timeout_seconds = build.max_duration_seconds + GRACE_SECONDS;
            Some(ErrandTask { document: ErrandDocument::DockerBuild(build), timeout_seconds })
        }
        "docker.image.list" => {
            let node = node(fields, mentions, findings)?;
            plain(ErrandDocument::DockerImageList(ImageListDocument { node }))
        }
        "docker.image.load" => {
            let load = load(fields, mentions, findings)?;
            let timeout_seconds = load.max_duration_seconds + GRACE_SECONDS;
            Some(ErrandTask { document: ErrandDocument::DockerImageLoad(load), timeout_seconds })
        }
        "pod.logs" => plain(ErrandDocument::PodLogs(pod(fields, findings)?)),
        "pod.stop" => plain(ErrandDocument::PodStop(pod(fields, findings)?)),
        _ => {
            let capture = capture(fields, findings)?;
            let timeout_seconds = capture.max_duration_seconds + GRACE_SECONDS;
            Some(ErrandTask { document: ErrandDocument::FisheyeCapture(capture), timeout_seconds })
        }
    }
}

fn list(fields: &Fields<'_>, findings: &mut Findings) -> Option<FilesListDocument> {
    let volume = optional_volume(fields, findings);
    let folder = match fields.get("folder") {
        Some(_) => in_volume(fields, "folder", findings),
        None => Some(String::new()),
    };
    let depth = fields.integer("depth", (1, i64::from(LIST_DEPTH_MAX)), " of levels", findings);
    let volume = volume?;
    if fields.get("folder").is_some() && volume.is_none() {
        let hint = "name the volume that the folder is in, or leave both out to list all your volumes";
        findings.error(fields.place_of("folder"), fields.name("volume"), "missing: a folder needs a volume", hint);
        return None;
    }
    let depth = depth.and_then(|depth| u32::try_from(depth).ok()).unwrap_or(DEFAULT_DEPTH);
    Some(FilesListDocument { volume, folder: folder?, depth })
}

fn delete(fields: &Fields<'_>, findings: &mut Findings) -> Option<FilesDeleteDocument> {
    let volume = volume(fields, findings);
    fields.required("source", "list the files and folders to delete", findings)?;
    let given = fields.texts("source", findings)?;
    if given.is_empty() {
        findings.error(fields.place_of("source"), fields.name("source"), "the list is empty", "name what to delete");
    }
    let sources = given.into_iter().enumerate();
    let sources = sources
        .filter_map(|(i, (text, place))| inside(&text, place, &format!("{}[{i}]", fields.name("source")), findings));
    let sources: Vec<String> = sources.collect();
    Some(FilesDeleteDocument { volume: volume?, sources })
}

fn moved(fields: &Fields<'_>, findings: &mut Findings) -> Option<FilesMoveDocument> {
    let volume = volume(fields, findings);
    let mut part = |key: &str, hint: &str| {
        let text = fields.required_text(key, hint, findings)?;
        inside(&text, fields.place_of(key), &fields.name(key), findings)
    };
    let source = part("source", "name the file or folder to move");
    let destination = part("destination", "say what it is to be called, with its folder");
    let (source, destination) = (source?, destination?);
    if source == destination || destination.starts_with(&format!("{source}/")) {
        let message = format!("`{destination}` is `{source}` itself or lies in it");
        findings.error(fields.place_of("destination"), fields.name("destination"), message, "name another place");
        return None;
    }
    Some(FilesMoveDocument { volume: volume?, source, destination })
}

fn build(fields: &Fields<'_>, findings: &mut Findings) -> Option<BuildDocument> {
    let volume = volume(fields, findings);
    let mut part = |key: &str, hint: &str| {
        fields.required(key, hint, findings)?;
        in_volume(fields, key, findings)
    };
    let dockerfile = part("dockerfile", "name the Dockerfile in the volume");
    let context = part("context", "name the folder in the volume that the build sees");
    if dockerfile.as_deref() == Some("") {
        let hint = "such as build/Dockerfile";
        findings.error(fields.place_of("dockerfile"), fields.name("dockerfile"), "names the volume itself", hint);
    }
    let image = own_image(fields, findings);
    let max_duration_seconds = seconds(fields, DEFAULT_MAX_DURATION_MINUTES, findings);
    let (dockerfile, context) = (dockerfile?, context?);
    Some(BuildDocument { volume: volume?, dockerfile, context, image: image?, max_duration_seconds })
}

fn load(fields: &Fields<'_>, mentions: &mut Mentions, findings: &mut Findings) -> Option<ImageLoadDocument> {
    let image = own_image(fields, findings);
    let max_duration_seconds = seconds(fields, DEFAULT_MAX_DURATION_MINUTES, findings);
    let node = node(fields, mentions, findings);
    let (archive, source, volume) = match (fields.get("archive"), fields.get("source")) {
        (Some(_), None) => {
            let name = archive(fields, mentions, findings)?;
            if fields.get("volume").is_some() {
                let hint = "an archive of the bundle needs no volume; remove it, or write `source:`";
                findings.error(fields.place_of("volume"), fields.name("volume"), "not with `archive`", hint);
            }
            (Some(format!("images/{name}")), None, None)
        }
        (None, Some(_)) => {
            let text = fields.required_text("source", "name the archive in the volume", findings)?;
            let source = inside(&text, fields.place_of("source"), &fields.name("source"), findings);
            if fields.get("node").is_some() {
                let hint = "the image is loaded where the volume is; remove it";
                findings.error(fields.place_of("node"), fields.name("node"), "not with `source`", hint);
            }
            (None, Some(source?), Some(volume(fields, findings)?))
        }
        (_, _) => {
            let hint = "`archive: NAME.tar` for one that flies in the bundle, `source: PATH` for one in a volume";
            findings.error(fields.place(), fields.name("archive"), "exactly one of `archive` and `source`", hint);
            return None;
        }
    };
    Some(ImageLoadDocument { node: node?, archive, volume, source, image: image?, max_duration_seconds })
}

fn archive(fields: &Fields<'_>, mentions: &mut Mentions, findings: &mut Findings) -> Option<String> {
    let name = fields.text("archive", findings)?;
    let (place, field) = (fields.place_of("archive"), fields.name("archive"));
    if !legal_archive(&name) {
        let message = format!(
            "found the text `{name}`, expected a file name of letters, digits, `.`, `_`, `-` that ends in .tar, \
             at most {ARCHIVE_NAME_BYTES} bytes"
        );
        findings.error(place, field, message, "name an archive of the folder that --images names");
        return None;
    }
    mentions.archives.push(Mention { value: name.clone(), place, field });
    Some(name)
}

/// Whether a name is one of an archive in a bundle.
#[must_use]
pub fn legal_archive(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= ARCHIVE_NAME_BYTES
        && name.ends_with(".tar")
        && name.chars().all(legal)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn pod(fields: &Fields<'_>, findings: &mut Findings) -> Option<PodDocument> {
    let hint = "name the pod, or the task that runs it";
    match (fields.get("pod_name"), fields.get("task")) {
        (Some(_), None) => {
            let name: PodName = fields.required_name("pod_name", hint, findings)?;
            Some(PodDocument { pod_name: Some(name), step: None })
        }
        (None, Some(_)) => {
            let step: StepId = fields.required_name("task", hint, findings)?;
            Some(PodDocument { pod_name: None, step: Some(step) })
        }
        (_, _) => {
            findings.error(fields.place(), fields.name("pod_name"), "exactly one of `pod_name` and `task`", hint);
            None
        }
    }
}

fn capture(fields: &Fields<'_>, findings: &mut Findings) -> Option<CaptureDocument> {
    let volume = volume(fields, findings);
    let destination = match fields.get("destination") {
        Some(_) => in_volume(fields, "destination", findings),
        None => Some(String::new()),
    };
    let max_duration_seconds = seconds(fields, DEFAULT_CAPTURE_MINUTES, findings);
    Some(CaptureDocument { volume: volume?, destination: destination?, max_duration_seconds })
}

/// An image of the tenant's own: named without a registry, because `localhost/<tenant>/` is put before it.
fn own_image(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let image = pod_run::image(fields, findings)?;
    let first = image.split_once('/').map(|(first, _)| first);
    if first.is_some_and(|first| first == "localhost" || first.contains(['.', ':'])) {
        let message = format!("`{image}` names a registry; an image of yours is kept as localhost/<tenant>/NAME:TAG");
        findings.error(fields.place_of("image"), fields.name("image.name"), message, "write the bare name");
        return None;
    }
    Some(image)
}

fn volume(fields: &Fields<'_>, findings: &mut Findings) -> Option<VolumeName> {
    fields.required_name("volume", "name the volume", findings)
}

/// Outer `None`: there, but not legal.
fn optional_volume(fields: &Fields<'_>, findings: &mut Findings) -> Option<Option<VolumeName>> {
    match fields.get("volume") {
        None => Some(None),
        Some(_) => volume(fields, findings).map(Some),
    }
}

fn node(fields: &Fields<'_>, mentions: &mut Mentions, findings: &mut Findings) -> Option<NodeName> {
    let node = pod_run::node(fields, findings)?;
    mentions.nodes.push(Mention { value: node.clone(), place: fields.place_of("node"), field: fields.name("node") });
    Some(node)
}

fn seconds(fields: &Fields<'_>, default: u32, findings: &mut Findings) -> u32 {
    let minutes = fields.integer("max_duration", (1, i64::from(MAX_DURATION_MINUTES)), " of minutes", findings);
    minutes.and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or(default) * 60
}

fn in_volume(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<String> {
    let text = fields.text(key, findings)?;
    let bad = |bad: path::BadPath| {
        let hint = "write a path inside the volume";
        findings.error(fields.place_of(key), fields.name(key), bad.to_string(), hint);
    };
    path::in_volume(&text).map_err(bad).ok()
}

/// A path below the root of a volume, without wildcards.
fn inside(text: &str, place: Place, field: &str, findings: &mut Findings) -> Option<String> {
    let plain = match path::in_volume(text) {
        Ok(plain) => plain,
        Err(bad) => {
            findings.error(place, field, bad.to_string(), "write a path inside the volume");
            return None;
        }
    };
    if plain.is_empty() {
        findings.error(place, field, format!("`{text}` is the whole volume"), "name something in it");
        return None;
    }
    if plain.contains(['*', '?', '[']) {
        let hint = "only downlink follows wildcards; name the file, or its folder";
        findings.error(place, field, format!("`{text}` holds a wildcard"), hint);
        return None;
    }
    Some(plain)
}
