//! Which Podman answers: noted at every call, and looked at again and again while one does not. While all answer
//! nothing looks: a Podman that systemd starts on demand may sleep.
//!
//! Must not: stand in the way of a call; it only remembers how the last one went.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::api::{ApiError, Endpoint};
use crate::bundle::NodeName;
use crate::config::Settings;
use crate::handle::{Handle, Trouble, TroubleName};
use crate::sequence::event::Away;

/// Pause between looks while one does not.
const PAUSE_ILL: Duration = Duration::from_secs(10);

/// The last trouble with each Podman, if the last call failed; and what is left on it that should be gone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    ill: Arc<Mutex<BTreeMap<PathBuf, String>>>,
    orphans: Arc<Mutex<Orphans>>,
    news: Arc<Notify>,
}

/// What became of orphans.
#[derive(Debug, Default)]
struct Orphans {
    removed: u64,
    left: BTreeMap<PathBuf, Vec<String>>,
}

impl Health {
    /// Notes how a call went. Returns whether that is news.
    pub fn note(&self, socket: &Path, error: Option<&ApiError>) -> bool {
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        let news = match error {
            Some(error @ ApiError::Unreachable { .. }) => {
                let why = error.to_string();
                ill.insert(socket.to_owned(), why.clone()).is_none_or(|before| before != why)
            }
            Some(ApiError::NotFound(_) | ApiError::Refused { .. }) | None => ill.remove(socket).is_some(),
        };
        if news {
            self.news.notify_one();
        }
        news
    }

    /// The nodes whose Podman does not answer, and why.
    #[must_use]
    pub fn away(&self, nodes: &BTreeMap<NodeName, PathBuf>) -> Away {
        let ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.iter().filter_map(|(node, socket)| Some((node.clone(), ill.get(socket)?.clone()))).collect()
    }

    /// Notes how many orphans were removed from a Podman, and which are left and why. Returns whether that is news.
    pub fn note_orphans(&self, socket: &Path, removed: u64, left: Vec<String>) -> bool {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        orphans.removed += removed;
        let before = match left.is_empty() {
            true => orphans.left.remove(socket).unwrap_or_default(),
            false => orphans.left.insert(socket.to_owned(), left.clone()).unwrap_or_default(),
        };
        removed > 0 || before != left
    }

    /// Orphans that were removed since the daemon started.
    #[must_use]
    pub fn orphans_removed(&self) -> u64 {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).removed
    }

    /// The troubles with the Podmans of these nodes.
    #[must_use]
    pub fn troubles(&self, nodes: &BTreeMap<NodeName, PathBuf>) -> Vec<Trouble> {
        let ours = |socket: &Path| nodes.values().any(|of| of == socket);
        let ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        let ill = ill.iter().filter(|(socket, _)| ours(socket));
        let away = ill.map(|(_, why)| Trouble { name: TroubleName::EngineUnreachable, message: why.clone() });
        let mut troubles: Vec<Trouble> = away.collect();
        let orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        let left = orphans.left.iter().filter(|(socket, _)| ours(socket)).flat_map(|(_, left)| left);
        troubles.extend(left.map(|why| Trouble { name: TroubleName::OrphanLeft, message: why.clone() }));
        troubles
    }
}

/// Looks at every Podman at the start, after each change of the configuration, and every ten seconds while one is away.
pub async fn watch(mut settings: watch::Receiver<Arc<Settings>>, health: Health, handle: Handle) {
    loop {
        let nodes = settings.borrow_and_update().nodes.clone();
        for socket in nodes.values() {
            look(socket, &health, &handle).await;
        }
        let ill = !health.away(&nodes).is_empty();
        tokio::select! {
            () = tokio::time::sleep(PAUSE_ILL), if ill => {}
            () = health.news.notified(), if !ill => tokio::time::sleep(PAUSE_ILL).await,
            changed = settings.changed() => if changed.is_err() {
                // The loop is gone: the daemon leaves.
                return;
            },
        }
    }
}

async fn look(socket: &Path, health: &Health, handle: &Handle) {
    let looked = Endpoint::new(socket).version().await;
    if !health.note(socket, looked.as_ref().err()) {
        return;
    }
    match looked {
        Err(error) if error.unreachable() => tracing::warn!(%error, "a podman is away, will look again"),
        Ok(_) | Err(_) => tracing::info!(socket = %socket.display(), "podman answers again"),
    }
    handle.health_changed().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(why: &str) -> ApiError {
        ApiError::Unreachable { socket: "/s".to_owned(), why: why.to_owned() }
    }

    #[test]
    fn only_a_change_is_news() {
        let (health, socket) = (Health::default(), Path::new("/s"));
        assert!(!health.note(socket, None), "well from the start");
        assert!(health.note(socket, Some(&away("refused"))));
        assert!(!health.note(socket, Some(&away("refused"))));
        assert!(health.note(socket, Some(&away("no answer"))), "another reason");
        let answered = ApiError::NotFound("no such container".to_owned());
        assert!(health.note(socket, Some(&answered)), "an error is an answer too");
        assert!(!health.note(socket, None));
    }

    #[test]
    fn podman_that_is_no_longer_configured_is_no_trouble() {
        let health = Health::default();
        health.note(Path::new("/s"), Some(&away("refused")));
        let node = NodeName::any_case("mpu").expect("legal");
        assert_eq!(health.troubles(&[(node.clone(), "/s".into())].into()).len(), 1);
        assert!(health.troubles(&[(node, "/t".into())].into()).is_empty());
    }

    #[test]
    fn orphan_that_is_left_is_a_trouble_until_it_is_gone() {
        let (health, socket) = (Health::default(), Path::new("/s"));
        let nodes = [(NodeName::any_case("mpu").expect("legal"), socket.to_owned())].into();
        assert!(!health.note_orphans(socket, 0, Vec::new()));
        assert!(health.note_orphans(socket, 1, vec!["busy".to_owned()]));
        assert!(!health.note_orphans(socket, 0, vec!["busy".to_owned()]));
        let [trouble] = &health.troubles(&nodes)[..] else { panic!("{:?}", health.troubles(&nodes)) };
        assert_eq!((trouble.name, trouble.message.as_str()), (TroubleName::OrphanLeft, "busy"));
        assert!(health.note_orphans(socket, 1, Vec::new()));
        assert_eq!((health.troubles(&nodes), health.orphans_removed()), (Vec::new(), 2));
    }
}
