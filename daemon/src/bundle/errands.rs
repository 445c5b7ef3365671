//! The blocks of `sequence.yaml` for steps that neither run a pod nor carry files of the bundle.
//!
//! Must not: judge their values; `verify` does.

use serde::{Deserialize, Serialize};

use super::{NodeName, PodName, StepId, VolumeName};

/// What an errand step does: its `task` names the block's other keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum ErrandDocument {
    /// Lists files of a volume, or the tenant's volumes.
    FilesList(FilesListDocument),
    /// Deletes files and folders.
    FilesDelete(FilesDeleteDocument),
    /// Moves or renames a file or folder.
    FilesMove(FilesMoveDocument),
    /// Builds an image.
    DockerBuild(BuildDocument),
    /// Lists the images that the tenant can use.
    DockerImageList(ImageListDocument),
    /// Loads an image archive.
    DockerImageLoad(ImageLoadDocument),
    /// Captures the console output of a pod.
    PodLogs(PodDocument),
    /// Stops a pod and captures its final state.
    PodStop(PodDocument),
    /// Takes a picture with the fisheye camera.
    FisheyeCapture(CaptureDocument),
}

/// What a files.list step lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesListDocument {
    /// The volume; without one, all volumes of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// Folder in it; empty is its root.
    pub folder: String,
    /// Levels of folders that are listed.
    pub depth: u32,
}

/// What a files.delete step deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesDeleteDocument {
    /// The volume.
    pub volume: VolumeName,
    /// Files and folders in it.
    pub sources: Vec<String>,
}

/// What a files.move step moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesMoveDocument {
    /// The volume.
    pub volume: VolumeName,
    /// File or folder in it.
    pub source: String,
    /// What it is to be called, in the same volume.
    pub destination: String,
}

/// What a docker.build step builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildDocument {
    /// The volume that dockerfile and context lie in.
    pub volume: VolumeName,
    /// The Dockerfile in it.
    pub dockerfile: String,
    /// The folder that the build sees; empty is the volume's root.
    pub context: String,
    /// `NAME:TAG` of the image; the tenant's own.
    pub image: String,
    /// Seconds until the build is broken off.
    pub max_duration_seconds: u32,
}

/// Whose images a docker.image.list step lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageListDocument {
    /// The node.
    pub node: NodeName,
}

/// What a docker.image.load step loads: an archive of the bundle, or one in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLoadDocument {
    /// The node, for an archive of the bundle.
    pub node: NodeName,
    /// Path of the archive's entry in this bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The volume that the archive lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// The archive in that volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `NAME:TAG` of the image; the tenant's own.
    pub image: String,
    /// Seconds until the load is broken off.
    pub max_duration_seconds: u32,
}

/// A pod: by its name, or by the task that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodDocument {
    /// The tenant's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<PodName>,
    /// The task of the same operation, or of another of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
}

/// Where a fisheye.capture step leaves its picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureDocument {
    /// The volume.
    pub volume: VolumeName,
    /// Folder in it; empty is its root.
    pub destination: String,
    /// Seconds that the instrument may take.
    pub max_duration_seconds: u32,
}

impl ErrandDocument {
    /// Its name in `sequence.yaml` and in status.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::FilesList(_) => "files_list",
            Self::FilesDelete(_) => "files_delete",
            Self::FilesMove(_) => "files_move",
            Self::DockerBuild(_) => "docker_build",
            Self::DockerImageList(_) => "docker_image_list",
            Self::DockerImageLoad(_) => "docker_image_load",
            Self::PodLogs(_) => "pod_logs",
            Self::PodStop(_) => "pod_stop",
            Self::FisheyeCapture(_) => "fisheye_capture",
        }
    }
}
