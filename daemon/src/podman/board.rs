//! Looks at the board and at its Podmans for what `leftovers` judges.
//!
//! Must not: change anything, or take what it may not see for what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::api::{ApiError, Endpoint, LOOK};
use super::driver::SETTLE;
use super::leftovers::{Facts, Known, Leftover, Link, LinkKind, Users, leftovers, untold};
use crate::bundle::NodeName;
use crate::config::Settings;
use crate::wire;

const NAMESPACES: &str = "/run/netns";
const LINKS: &str = "/sys/class/net";
const MOUNTS: &str = "/proc/self/mountinfo";
const PROCESSES: &str = "/proc";
/// Looks at the start, while a Podman does not answer.
const TRIES: u32 = 5;

/// What two looks, some time apart, both found to be without a container; and the namespaces of which it cannot be told.
///
/// # Errors
/// When a Podman does not answer: what its containers use is not known then.
pub async fn look(nodes: &BTreeMap<NodeName, PathBuf>) -> Result<(Vec<Leftover>, usize), ApiError> {
    let facts = facts(nodes).await?;
    let first = leftovers(&facts);
    if first.is_empty() {
        return Ok((first, untold(&facts)));
    }
    // What is just being made, or just going away, is another at the second look.
    tokio::time::sleep(SETTLE).await;
    let mut second = leftovers(&self::facts(nodes).await?);
    second.retain(|left| first.contains(left));
    Ok((second, untold(&facts)))
}

/// Warns of what is left, once, at the start. A listing breaks off when a container goes meanwhile: then it looks again.
pub async fn warn(settings: watch::Receiver<Arc<Settings>>) {
    let nodes = settings.borrow().nodes.clone();
    let mut found = look(&nodes).await;
    for _ in 1..TRIES {
        if found.is_err() {
            tokio::time::sleep(SETTLE).await;
            found = look(&nodes).await;
        }
    }
    match found {
        Ok((left, untold)) => {
            for Leftover { what, remedy } in left {
                tracing::warn!(
                    what,
                    remedy,
                    "something is left of a container that does not exist; nothing removes it"
                );
            }
            if untold > 0 {
                tracing::info!(
                    namespaces = untold,
                    "whether a process uses some network namespaces cannot be seen; `perigeed --check` as root tells"
                );
            }
        }
        Err(error) => tracing::info!(%error, "failed to look for what killed containers left"),
    }
}

async fn facts(nodes: &BTreeMap<NodeName, PathBuf>) -> Result<Facts, ApiError> {
    let read = || (namespaces(), links(Path::new(LINKS)), mounts());
    let (namespaces, links, mounts) = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    // Taken afterwards: whatever was made meanwhile is known, and not among what was seen.
    let mut podmans = Known::default();
    for endpoint in nodes.values().collect::<BTreeSet<_>>().into_iter().map(|socket| Endpoint::new(socket)) {
        let containers = containers(&endpoint, &mut podmans).await?;
        if namespaces.values().any(|users| *users != Users::Some) {
            sandboxes(&endpoint, &containers, &mut podmans).await?;
        }
        podmans.containers.extend(containers);
    }
    Ok(Facts { namespaces, links, mounts, podmans })
}

/// The containers of a Podman; its storage and its networks are noted.
async fn containers(endpoint: &Endpoint, known: &mut Known) -> Result<Vec<String>, ApiError> {
    let info = get(endpoint, "/info").await?;
    known.storages.extend(info.pointer("/store/graphRoot").and_then(Value::as_str).map(PathBuf::from));
    let networks = get(endpoint, "/networks/json").await?;
    known.bridges.extend(column(&networks, "network_interface"));
    let containers = get(endpoint, "/containers/json?all=true&external=true").await?;
    Ok(column(&containers, "Id").collect())
}

/// The texts that the lines of a listing have under a key.
fn column<'a>(listing: &'a Value, key: &'static str) -> impl Iterator<Item = String> + 'a {
    let lines = listing.as_array().into_iter().flatten();
    lines.filter_map(move |line| line.get(key)).filter_map(Value::as_str).map(str::to_owned)
}

/// Notes the network namespaces of containers. One that goes away meanwhile has none, nor has another tool's.
async fn sandboxes(endpoint: &Endpoint, containers: &[String], known: &mut Known) -> Result<(), ApiError> {
    for id in containers {
        match endpoint.inspect_whole(id).await {
            Ok(found) => {
                let sandbox = found.pointer("/NetworkSettings/SandboxKey").and_then(Value::as_str);
                let name = sandbox.and_then(|sandbox| Path::new(sandbox).file_name());
                known.namespaces.extend(name.map(|name| name.to_string_lossy().into_owned()));
            }
            Err(ApiError::NotFound(_) | ApiError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn get(endpoint: &Endpoint, path: &str) -> Result<Value, ApiError> {
    endpoint.parsed(&endpoint.raw(LOOK, Method::GET, path, wire::empty()).await?)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn namespaces() -> BTreeMap<String, Users> {
    let names: Vec<String> =
        names(Path::new(NAMESPACES)).into_iter().filter(|name| name.starts_with("netns-")).collect();
    if names.is_empty() {
        return BTreeMap::new();
    }
    let (used, whole) = used_namespaces();
    let users = |name: &str| match fs::metadata(Path::new(NAMESPACES).join(name)) {
        Ok(seen) if used.contains(&(seen.dev(), seen.ino())) => Users::Some,
        Ok(_) if whole => Users::None,
        Ok(_) | Err(_) => Users::Hidden,
    };
    names.into_iter().map(|name| (name.clone(), users(&name))).collect()
}

/// The namespaces that processes live in, and whether every process could be looked at.
fn used_namespaces() -> (BTreeSet<(u64, u64)>, bool) {
    let mut used = BTreeSet::new();
    // Where processes are hidden from us the first one is, too.
    let mut whole = Path::new(PROCESSES).join("1").exists();
    for name in names(Path::new(PROCESSES)).into_iter().filter(|name| name.chars().all(|c| c.is_ascii_digit())) {
        match fs::metadata(Path::new(PROCESSES).join(&name).join("ns/net")) {
            Ok(seen) => {
                used.insert((seen.dev(), seen.ino()));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => whole &= lives_here(&name),
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    (used, whole)
}

/// Whether a process sees the interfaces that we see. They may change between two readings.
fn lives_here(process: &str) -> bool {
    const TRIES: u32 = 5;
    let interfaces = |process: &str| {
        let table = fs::read_to_string(Path::new(PROCESSES).join(process).join("net/dev")).ok()?;
        let names = table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
        Some(names.collect::<Vec<_>>())
    };
    (0..TRIES).any(|_| interfaces(process).is_some_and(|seen| interfaces("self") == Some(seen)))
}

fn links(root: &Path) -> Vec<Link> {
    let number =
        |name: &str, file: &str| fs::read_to_string(root.join(name).join(file)).ok()?.trim().parse::<u32>().ok();
    let all = names(root);
    let here: BTreeSet<u32> = all.iter().filter_map(|name| number(name, "ifindex")).collect();
    let kind = |name: &str| {
        let folder = root.join(name);
        if folder.join("bridge").exists() {
            return LinkKind::Bridge(names(&folder.join("brif")).len());
        }
        let bridge = fs::read_link(folder.join("master")).ok();
        let bridge = bridge.and_then(|bridge| Some(bridge.file_name()?.to_string_lossy().into_owned()));
        let (own, other) = (number(name, "ifindex"), number(name, "iflink"));
        match bridge {
            // An end that is in another namespace may have a number that one here has, too: then both ends say so.
            Some(bridge) if own != other && other.is_some_and(|other| is_peer(root, &all, &here, own, other)) => {
                LinkKind::LoosePort(bridge)
            }
            Some(_) | None => LinkKind::Other,
        }
    };
    all.iter().map(|name| Link { name: name.clone(), kind: kind(name) }).collect()
}

/// Whether the interface with the number `other` is here and names ours as its other end.
fn is_peer(root: &Path, all: &[String], here: &BTreeSet<u32>, own: Option<u32>, other: u32) -> bool {
    let number =
        |name: &str, file: &str| fs::read_to_string(root.join(name).join(file)).ok()?.trim().parse::<u32>().ok();
    here.contains(&other)
        && all.iter().any(|name| number(name, "ifindex") == Some(other) && number(name, "iflink") == own)
}

/// The fifth field of a line; `\040` and the like stand for what would end it.
fn mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string(MOUNTS).unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}
