//! The errand steps of a bundle: their paths, images, archives and times are legal.
//!
//! Must not: know this board; `plan` does.

use super::{Check, VerifiedWork, image_is_tagged};
use crate::bundle::document::StepDocument;
use crate::bundle::errands::{ErrandDocument, ImageLoadDocument};
use crate::bundle::limits::LIST_DEPTH_MAX;

impl Check<'_> {
    pub(super) fn errand(&mut self, step: &StepDocument, errand: &ErrandDocument, field: &str) -> Option<VerifiedWork> {
        match errand {
            ErrandDocument::FilesList(list) => {
                self.plain(&list.folder, field, "errand.folder");
                if list.depth == 0 || list.depth > LIST_DEPTH_MAX {
                    let message = format!("found {}, expected 1 to {LIST_DEPTH_MAX} levels", list.depth);
                    self.step_objection(field, "errand.depth", message);
                }
                if list.volume.is_none() && !list.folder.is_empty() {
                    self.step_objection(field, "errand.volume", "missing: a folder needs a volume");
                }
            }
            ErrandDocument::FilesDelete(delete) => {
                if delete.sources.is_empty() {
                    self.step_objection(field, "errand.sources", "the list is empty");
                }
                delete.sources.iter().for_each(|source| self.inside(source, field, "errand.sources"));
            }
            ErrandDocument::FilesMove(moved) => {
                self.inside(&moved.source, field, "errand.source");
                self.inside(&moved.destination, field, "errand.destination");
            }
            ErrandDocument::DockerBuild(build) => {
                self.inside(&build.dockerfile, field, "errand.dockerfile");
                self.plain(&build.context, field, "errand.context");
                self.own_image(&build.image, field);
                self.duration(step, build.max_duration_seconds, field);
            }
            ErrandDocument::DockerImageLoad(load) => {
                self.own_image(&load.image, field);
                self.duration(step, load.max_duration_seconds, field);
                self.archive(load, field);
            }
            ErrandDocument::PodLogs(pod) | ErrandDocument::PodStop(pod) => {
                if pod.pod_name.is_some() == pod.step.is_some() {
                    self.step_objection(field, "errand.pod_name", "exactly one of `pod_name` and `step` must be there");
                }
            }
            ErrandDocument::FisheyeCapture(capture) => {
                self.plain(&capture.destination, field, "errand.destination");
                self.duration(step, capture.max_duration_seconds, field);
            }
            ErrandDocument::DockerImageList(_) => {}
        }
        Some(VerifiedWork::Errand(errand.clone()))
    }

    fn inside(&mut self, text: &str, field: &str, key: &str) {
        if text.is_empty() {
            self.step_objection(field, key, "names the volume itself");
        }
        self.plain(text, field, key);
    }

    /// Kept below the tenant's own name, so it must not bring a registry.
    fn own_image(&mut self, image: &str, field: &str) {
        let first = image.split_once('/').map(|(first, _)| first);
        let qualified = first.is_some_and(|first| first == "localhost" || first.contains(['.', ':']));
        let plain = !image.contains("..") && !image.contains("//") && !image.starts_with(['/', '.', '-']);
        let lower = image.rsplit_once(':').is_some_and(|(name, _)| !name.contains(|c: char| c.is_ascii_uppercase()));
        if !image_is_tagged(image) || qualified || !plain || !lower {
            let message = format!("found `{image}`, expected NAME:TAG in lower case, without a registry");
            self.step_objection(field, "errand.image", message);
        }
    }

    fn duration(&mut self, step: &StepDocument, seconds: u32, field: &str) {
        if seconds == 0 || seconds > step.timeout_seconds {
            let longest = step.timeout_seconds;
            let message = format!("found {seconds}, expected 1 to {longest} seconds (the step's budget)");
            self.step_objection(field, "errand.max_duration_seconds", message);
        }
    }

    fn archive(&mut self, load: &ImageLoadDocument, field: &str) {
        match (&load.archive, &load.source, &load.volume) {
            (Some(archive), None, None) => {
                let there = self.header.entries.iter().any(|entry| entry.path == *archive);
                if !archive.starts_with("images/") || !there {
                    let message = format!("`{archive}` is not an image of this bundle");
                    self.step_objection(field, "errand.archive", message);
                }
                self.files.insert(archive.clone());
            }
            (None, Some(source), Some(_)) => self.inside(source, field, "errand.source"),
            (_, _, _) => {
                let message = "`archive`, or `source` and `volume`, must be there";
                self.step_objection(field, "errand.archive", message);
            }
        }
    }
}
