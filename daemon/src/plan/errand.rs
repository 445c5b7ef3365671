//! Steps that run no pods: what each of them needs to be carried out, its node resolved.
//!
//! Must not: say how; `errand` does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::planner::Planner;
use super::{PlannedJob, PodSpec, Role, Work};
use crate::bundle::errands::{BuildDocument, CaptureDocument, ErrandDocument, ImageLoadDocument, PodDocument};
use crate::bundle::manifest::{DATA, Variable, claim};
use crate::bundle::options::Options;
use crate::bundle::path::join;
use crate::bundle::{Hostname, NodeName, PodName, StepId, Tenant, VolumeName};

/// The name that a picture-taking pod goes by: two captures of a tenant wait for each other.
const FISHEYE_POD: &str = "fisheye";

/// What a step that runs no pods does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// Places files of the bundle.
    Uplink(Transfer),
    /// Collects files of the volume.
    Downlink(Transfer),
    /// Lists files.
    FilesList(FilesList),
    /// Deletes files and folders.
    FilesDelete(FilesDelete),
    /// Moves a file or folder.
    FilesMove(FilesMove),
    /// Builds an image.
    Build(Build),
    /// Lists the images that the tenant can use.
    ImageList(ImageList),
    /// Loads an image archive.
    ImageLoad(ImageLoad),
    /// Captures the console output of a pod.
    PodLogs(PodChoice),
    /// Stops a pod and captures its final state.
    PodStop(PodChoice),
}

/// Files between the board and a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The node whose Podman holds the volume.
    pub node: NodeName,
    /// The tenant's name for it.
    pub volume: VolumeName,
    /// Its Podman name.
    pub claim: String,
    /// Entries of the bundle to place, or paths and wildcards to collect.
    pub sources: Vec<String>,
    /// Folder in the volume, or of the namespace on the ground.
    pub destination: String,
}

/// Files to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesList {
    /// The node whose Podman holds the volume; without a volume all are looked at.
    pub node: NodeName,
    /// Podman name of the volume; without one, all volumes of the tenant.
    pub claim: Option<String>,
    /// Folder in it.
    pub folder: String,
    /// Levels of folders.
    pub depth: u32,
}

/// Files to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesDelete {
    /// The node whose Podman holds the volume.
    pub node: NodeName,
    /// Podman name of the volume.
    pub claim: String,
    /// Files and folders in it.
    pub sources: Vec<String>,
}

/// A file to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesMove {
    /// The node whose Podman holds the volume.
    pub node: NodeName,
    /// Podman name of the volume.
    pub claim: String,
    /// Where it is.
    pub source: String,
    /// Where it goes.
    pub destination: String,
}

/// An image to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The node whose Podman holds the volume, and will hold the image.
    pub node: NodeName,
    /// Podman name of the volume.
    pub claim: String,
    /// The Dockerfile in it.
    pub dockerfile: String,
    /// The folder that the build sees.
    pub context: String,
    /// `NAME:TAG` as the tenant writes it.
    pub image: String,
    /// Seconds until the build is broken off.
    pub max_duration_seconds: u32,
}

/// Images to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageList {
    /// Whose.
    pub node: NodeName,
}

/// An image archive to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLoad {
    /// Where the image goes.
    pub node: NodeName,
    /// Where the archive is.
    pub archive: Archive,
    /// `NAME:TAG` as the tenant writes it.
    pub image: String,
    /// Seconds until the load is broken off.
    pub max_duration_seconds: u32,
}

/// Where an image archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Archive {
    /// An entry of the bundle.
    Bundle(String),
    /// A file of a volume.
    Volume {
        /// Podman name of the volume.
        claim: String,
        /// Path in it.
        path: String,
    },
}

/// Which pod is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodChoice {
    /// The one of this name.
    Name(PodName),
    /// The one that a step runs.
    Step(StepId),
}

/// A camera or the like: the image that drives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    /// `NAME:TAG`, the operator's.
    pub image: String,
    /// Replaces its ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// The node that it is at; none is the default node.
    pub node: Option<NodeName>,
}

impl Errand {
    /// The node that it needs, where it is known before it runs.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Uplink(transfer) | Self::Downlink(transfer) => Some(&transfer.node),
            Self::FilesList(list) => Some(&list.node),
            Self::FilesDelete(delete) => Some(&delete.node),
            Self::FilesMove(moved) => Some(&moved.node),
            Self::Build(build) => Some(&build.node),
            Self::ImageList(list) => Some(&list.node),
            Self::ImageLoad(load) => Some(&load.node),
            Self::PodLogs(_) | Self::PodStop(_) => None,
        }
    }

    /// Its name, as status has it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Uplink(_) => "uplink",
            Self::Downlink(_) => "downlink",
            Self::FilesList(_) => "files_list",
            Self::FilesDelete(_) => "files_delete",
            Self::FilesMove(_) => "files_move",
            Self::Build(_) => "docker_build",
            Self::ImageList(_) => "docker_image_list",
            Self::ImageLoad(_) => "docker_image_load",
            Self::PodLogs(_) => "pod_logs",
            Self::PodStop(_) => "pod_stop",
        }
    }
}

/// What a tenant's own image is called in Podman: nobody else's can be named so.
#[must_use]
pub fn own_reference(tenant: &Tenant, image: &str) -> String {
    format!("localhost/{tenant}/{image}")
}

impl Planner<'_> {
    pub(super) fn errand(
        &mut self,
        index: usize,
        document: &ErrandDocument,
        homes: &BTreeMap<VolumeName, NodeName>,
    ) -> Option<Work> {
        let tenant = &self.bundle.header().tenant;
        let home = |volume: &VolumeName| homes.get(volume).unwrap_or(&self.board.default_node).clone();
        Some(Work::Errand(match document {
            ErrandDocument::FilesList(list) => Errand::FilesList(FilesList {
                node: list.volume.as_ref().map_or_else(|| self.board.default_node.clone(), home),
                claim: list.volume.as_ref().map(|volume| claim(tenant, volume)),
                folder: list.folder.clone(),
                depth: list.depth,
            }),
            ErrandDocument::FilesDelete(delete) => Errand::FilesDelete(FilesDelete {
                node: home(&delete.volume),
                claim: claim(tenant, &delete.volume),
                sources: delete.sources.clone(),
            }),
            ErrandDocument::FilesMove(moved) => Errand::FilesMove(FilesMove {
                node: home(&moved.volume),
                claim: claim(tenant, &moved.volume),
                source: moved.source.clone(),
                destination: moved.destination.clone(),
            }),
            ErrandDocument::DockerBuild(build) => Errand::Build(planned_build(build, tenant, home(&build.volume))),
            ErrandDocument::DockerImageList(list) => {
                Errand::ImageList(ImageList { node: self.node(index, &list.node)? })
            }
            ErrandDocument::DockerImageLoad(load) => {
                let node = match &load.volume {
                    Some(volume) => home(volume),
                    None => self.node(index, &load.node)?,
                };
                Errand::ImageLoad(planned_load(load, &self.bundle.header().tenant, node)?)
            }
            ErrandDocument::PodLogs(pod) => Errand::PodLogs(chosen(pod)?),
            ErrandDocument::PodStop(pod) => Errand::PodStop(chosen(pod)?),
            ErrandDocument::FisheyeCapture(capture) => return self.capture(index, capture),
        }))
    }

    /// The node of the instrument that a task needs, if this board has one.
    pub(super) fn fisheye_node(&self) -> Option<NodeName> {
        let instrument = self.board.fisheye.as_ref()?;
        Some(instrument.node.clone().unwrap_or_else(|| self.board.default_node.clone()))
    }

    /// A capture is a pod of the instrument's image that leaves its picture in the tenant's volume.
    fn capture(&mut self, index: usize, capture: &CaptureDocument) -> Option<Work> {
        let (Some(instrument), Some(node)) = (&self.board.fisheye, self.fisheye_node()) else {
            let message = "this board has no fisheye camera: its configuration names no `instruments.fisheye`";
            self.object(index, "errand.task", message.to_owned());
            return None;
        };
        let header = self.bundle.header();
        let pod_name: PodName = FISHEYE_POD.parse().ok()?;
        let hostname = match Hostname::join(&header.tenant, &pod_name) {
            Ok(hostname) => hostname,
            Err(bad) => {
                self.object(index, "errand.task", bad.to_string());
                return None;
            }
        };
        let step = &self.bundle.steps()[index].document.id;
        let env = [
            ("PERIGEE_INSTRUMENT", FISHEYE_POD.to_owned()),
            ("PERIGEE_DESTINATION", format!("{DATA}/{}", join(&capture.destination, ""))),
            ("PERIGEE_NAME", format!("{FISHEYE_POD}-{}-{step}", header.execution.short())),
        ];
        let pod = PodSpec {
            image: instrument.image.clone(),
            command: instrument.command.clone(),
            args: None,
            env: env.into_iter().map(|(name, value)| Variable { name: name.to_owned(), value }).collect(),
            ports: Vec::new(),
            claim: claim(&header.tenant, &capture.volume),
            options: Options::default(),
        };
        let max_duration_seconds = capture.max_duration_seconds;
        let (label, unit, role) = (String::new(), 0, Role::Alone);
        let job = PlannedJob { label, unit, role, pod_name, hostname, node, max_duration_seconds, pod };
        Some(Work::PodRun { jobs: vec![job] })
    }
}

fn planned_build(build: &BuildDocument, tenant: &Tenant, node: NodeName) -> Build {
    Build {
        node,
        claim: claim(tenant, &build.volume),
        dockerfile: build.dockerfile.clone(),
        context: build.context.clone(),
        image: build.image.clone(),
        max_duration_seconds: build.max_duration_seconds,
    }
}

fn planned_load(load: &ImageLoadDocument, tenant: &Tenant, node: NodeName) -> Option<ImageLoad> {
    let archive = match (&load.archive, &load.volume, &load.source) {
        (Some(entry), ..) => Archive::Bundle(entry.clone()),
        (None, Some(volume), Some(path)) => Archive::Volume { claim: claim(tenant, volume), path: path.clone() },
        (None, ..) => return None,
    };
    Some(ImageLoad { node, archive, image: load.image.clone(), max_duration_seconds: load.max_duration_seconds })
}

fn chosen(pod: &PodDocument) -> Option<PodChoice> {
    let name = pod.pod_name.clone().map(PodChoice::Name);
    name.or_else(|| pod.step.clone().map(PodChoice::Step))
}
