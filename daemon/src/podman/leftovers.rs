//! What a Podman that was killed leaves on the board without a container: network namespaces, bridges, veths, mounts.
//!
//! Nothing of it is removed by us: it may be another's. It is named, with the command that removes it.
//! Must not: look by itself ([`super::board`] does), or name what a container may still use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was seen of the board and of its Podmans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The network namespaces of `/run/netns` that are named as Podman names them.
    pub namespaces: BTreeMap<String, Users>,
    /// Network interfaces.
    pub links: Vec<Link>,
    /// Where something is mounted.
    pub mounts: Vec<PathBuf>,
    /// What the Podmans of the configuration know of.
    pub podmans: Known,
}

/// Whether a process lives in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// At least one.
    Some,
    /// None.
    None,
    /// Not every process may be looked at.
    Hidden,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge with so many ports.
    Bridge(usize),
    /// A port of this bridge, whose other end is in the same namespace.
    LoosePort(String),
    /// Anything else.
    Other,
}

/// What Podmans know of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Names of the network namespaces of their containers.
    pub namespaces: BTreeSet<String>,
    /// Interfaces of their networks.
    pub bridges: BTreeSet<String>,
    /// Ids of their containers, those of other tools in the same storage included.
    pub containers: BTreeSet<String>,
    /// Folders of their storages.
    pub storages: BTreeSet<PathBuf>,
}

/// Something without a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub what: String,
    /// The command that removes it.
    pub remedy: String,
}

/// All that is certainly without a container.
#[must_use]
pub fn leftovers(facts: &Facts) -> Vec<Leftover> {
    let namespaces = facts
        .namespaces
        .iter()
        .filter(|(name, users)| **users == Users::None && !facts.podmans.namespaces.contains(*name));
    let namespaces = namespaces.map(|(name, _)| Leftover {
        what: format!("network namespace /run/netns/{name}"),
        remedy: format!("ip netns del {name}"),
    });
    let links = facts.links.iter().filter_map(|link| left_link(link, &facts.podmans));
    let mounts = facts.mounts.iter().filter(|mount| is_left(mount, &facts.podmans));
    let mounts = mounts.map(|mount| Leftover {
        what: format!("mount {}", mount.display()),
        remedy: format!("umount {}", mount.display()),
    });
    namespaces.chain(links).chain(mounts).collect()
}

/// The network namespaces of which it cannot be told from here.
#[must_use]
pub fn untold(facts: &Facts) -> usize {
    let hidden =
        |(name, users): &(&String, &Users)| **users == Users::Hidden && !facts.podmans.namespaces.contains(*name);
    facts.namespaces.iter().filter(hidden).count()
}

fn left_link(link: &Link, known: &Known) -> Option<Leftover> {
    let what = match &link.kind {
        LinkKind::Bridge(0) if is_podmans(&link.name) && !known.bridges.contains(&link.name) => "bridge",
        LinkKind::LoosePort(bridge) if is_podmans(bridge) => "veth",
        LinkKind::Bridge(_) | LinkKind::LoosePort(_) | LinkKind::Other => return None,
    };
    let name = &link.name;
    Some(Leftover { what: format!("{what} {name}"), remedy: format!("ip link del {name}") })
}

/// `podman0`, `podman1`, …
fn is_podmans(bridge: &str) -> bool {
    let number = bridge.strip_prefix("podman");
    number.is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

/// Whether a mount is the shared memory of a container that its storage does not know. Layers are not judged: an image
/// may be mounted without a container.
fn is_left(mount: &Path, known: &Known) -> bool {
    let Some(inside) = known.storages.iter().find_map(|storage| mount.strip_prefix(storage).ok()) else { return false };
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    let [driver, id, userdata, shm] = &parts[..] else { return false };
    let container = id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit());
    driver.ends_with("-containers")
        && userdata == "userdata"
        && shm == "shm"
        && container
        && !known.containers.contains(id.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const GONE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn link(name: &str, kind: LinkKind) -> Link {
        Link { name: name.to_owned(), kind }
    }

    fn facts() -> Facts {
        Facts {
            podmans: Known {
                namespaces: ["netns-known".to_owned()].into(),
                bridges: ["podman1".to_owned()].into(),
                containers: [LIVE.to_owned()].into(),
                storages: ["/store".into()].into(),
            },
            ..Facts::default()
        }
    }

    fn remedies(facts: &Facts) -> Vec<String> {
        leftovers(facts).into_iter().map(|left| left.remedy).collect()
    }

    #[test]
    fn namespace_is_left_when_no_container_knows_it_and_no_process_lives_in_it() {
        let namespaces = [
            ("netns-known", Users::None),
            ("netns-left", Users::None),
            ("netns-anothers", Users::Some),
            ("netns-hidden", Users::Hidden),
        ];
        let namespaces = namespaces.map(|(name, users)| (name.to_owned(), users)).into();
        let facts = Facts { namespaces, ..facts() };
        assert_eq!(remedies(&facts), ["ip netns del netns-left"]);
        assert_eq!(untold(&facts), 1);
    }

    #[test]
    fn bridge_is_left_when_it_is_podmans_has_no_port_and_belongs_to_no_network() {
        let links = [
            ("podman0", LinkKind::Bridge(0)),
            ("podman1", LinkKind::Bridge(0)),
            ("podman2", LinkKind::Bridge(1)),
            ("podmanx", LinkKind::Bridge(0)),
            ("podman", LinkKind::Bridge(0)),
            ("br0", LinkKind::Bridge(0)),
            ("podman3", LinkKind::Other),
            ("veth0", LinkKind::LoosePort("podman2".to_owned())),
            ("veth1", LinkKind::LoosePort("br0".to_owned())),
            ("veth2", LinkKind::Other),
        ];
        let links = links.into_iter().map(|(name, kind)| link(name, kind)).collect();
        assert_eq!(remedies(&Facts { links, ..facts() }), ["ip link del podman0", "ip link del veth0"]);
    }

    #[test]
    fn mount_is_left_when_its_storage_does_not_know_its_container() {
        let of = |driver: &str, id: &str| PathBuf::from(format!("/store/{driver}/{id}/userdata/shm"));
        let mounts = vec![
            of("overlay-containers", GONE),
            of("overlay-containers", LIVE),
            of("overlay-containers", "short"),
            of("overlay", GONE),
            PathBuf::from(format!("/store/overlay/{GONE}/merged")),
            PathBuf::from(format!("/elsewhere/overlay-containers/{GONE}/userdata/shm")),
            PathBuf::from("/store/overlay"),
        ];
        let left = format!("umount /store/overlay-containers/{GONE}/userdata/shm");
        assert_eq!(remedies(&Facts { mounts, ..facts() }), [left]);
    }
}
