//! Shell: configuration. A [`Fragment`] is what one file may say, [`Settings`] is what holds.
//!
//! Drop-ins are merged in order, later ones win key by key. Unknown keys are refused.
//! Must not: hold a default that `config/perigee.yaml` does not show.

mod files;
mod instruments;
mod last_good;
mod limits;
mod policy;
mod retention;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use files::Text;
use instruments::{InstrumentsFragment, settle_fisheye};
pub use last_good::{Loaded, holds};
use limits::LimitsFragment;
use serde::Deserialize;

use self::policy::PolicyFragment;
pub use self::retention::Retention;
use self::retention::RetentionFragment;
use crate::bundle::NodeName;
use crate::plan::policy::Policy;
use crate::plan::{Board, Instrument};

/// Where the state is unless a file says otherwise.
const STATE_DIR: &str = "/var/lib/perigee";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not legal.
    #[error("{}{}: {message}", path.display(), .line.map(|l| format!(":{l}")).unwrap_or_default())]
    File {
        /// Which.
        path: PathBuf,
        /// Line, where known.
        line: Option<usize>,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Values that make no sense together.
    #[error("{}{key}: {message}", file.as_ref().map(|f| format!("{}: ", f.display())).unwrap_or_default())]
    Value {
        /// The last file that says something of this key, if any does.
        file: Option<PathBuf>,
        /// Which key.
        key: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

/// What one file may say. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fragment {
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    uplink_dir: Option<PathBuf>,
    default_node: Option<String>,
    nodes: Option<BTreeMap<String, NodeFragment>>,
    image_prefixes: Option<Vec<String>>,
    network: NetworkFragment,
    stop_grace_seconds: Option<u32>,
    time_scale: Option<u32>,
    limits: LimitsFragment,
    policy: PolicyFragment,
    retention: RetentionFragment,
    control_group: Option<String>,
    on_exit: Option<OnExit>,
    exit_path: Option<ExitPath>,
    look_ahead: Option<bool>,
    instruments: InstrumentsFragment,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFragment {
    podman: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NetworkFragment {
    name: Option<String>,
    isolation: Option<Isolation>,
}

/// Who shares a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// All tenants share one network.
    Shared,
    /// Each tenant has its own, isolated from the others.
    Tenant,
}

/// What becomes of running pods when the daemon is told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExit {
    /// They go on; the next start takes them up.
    Leave,
    /// Their executions are stopped first.
    Stop,
}

/// How the end of a process is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitPath {
    /// By a descriptor of the process itself where that can be held, else by Podman's wait call.
    Auto,
    /// By Podman's wait call alone.
    Api,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Ledger, staged bundles, logs, outbox.
    pub state_dir: PathBuf,
    /// Sockets.
    pub runtime_dir: PathBuf,
    /// Watched for bundles.
    pub uplink_dir: PathBuf,
    /// What `default` means.
    pub default_node: NodeName,
    /// Each node's Podman socket.
    pub nodes: BTreeMap<NodeName, PathBuf>,
    /// Where bare image names are looked up after `localhost/`.
    pub image_prefixes: Vec<String>,
    /// Name of the shared network, prefix of the tenants' own.
    pub network: String,
    /// Who shares it.
    pub isolation: Isolation,
    /// Seconds from SIGTERM to SIGKILL.
    pub stop_grace_seconds: u32,
    /// How much faster than the board's clock budgets run: 1 in flight, more on a rig.
    pub time_scale: u32,
    /// Bytes of one bundle, uncompressed.
    pub bundle_bytes: u64,
    /// Bytes of console output kept of each job.
    pub log_bytes: u64,
    /// Processes in one pod.
    pub pids: i64,
    /// What of the past is kept.
    pub retention: Retention,
    /// Bytes that one downlink task may collect.
    pub downlink_bytes: u64,
    /// Resets in a row at which an execution may be running before it goes into quarantine; 0: it never does.
    pub resets: u32,
    /// Running time that a power cut may leave uncounted at most.
    pub uncounted: Duration,
    /// What pods may ask for.
    pub policy: Policy,
    /// Group whose members may use the control socket.
    pub control_group: Option<String>,
    /// What becomes of running pods when the daemon leaves.
    pub on_exit: OnExit,
    /// How the end of a process is noticed.
    pub exit_path: ExitPath,
    /// Whether containers are made ahead of the turn of their jobs.
    pub look_ahead: bool,
    /// The fisheye camera, if there is one.
    pub fisheye: Option<Instrument>,
}

impl Settings {
    /// Reads one file, or the main file and the drop-ins.
    ///
    /// # Errors
    /// Names the file, line and key of the first thing that is wrong.
    pub fn load(only: Option<&Path>) -> Result<Self, ConfigError> {
        Loaded::read(only).map(|loaded| loaded.settings)
    }

    fn merge(texts: &[Text]) -> Result<Self, ConfigError> {
        let mut merged = Fragment::default();
        for text in texts {
            merged = merged.overridden_by(files::parse(text)?);
        }
        let settled = merged.settle().and_then(Self::with_its_group);
        settled.map_err(|error| match error {
            ConfigError::Value { file: None, key, message } => {
                let file = files::last_saying(key, texts).map(|(path, _)| path.to_owned());
                ConfigError::Value { file, key, message }
            }
            other @ (ConfigError::Read { .. } | ConfigError::File { .. } | ConfigError::Value { .. }) => other,
        })
    }

    /// A group that is not there is found before the sockets are.
    fn with_its_group(self) -> Result<Self, ConfigError> {
        if let Some(name) = &self.control_group
            && !nix::unistd::Group::from_name(name).is_ok_and(|group| group.is_some())
        {
            return Err(value("control_group", format!("there is no group `{name}`; make it, or choose another")));
        }
        Ok(self)
    }

    /// Takes over from the settings that hold what changes at a start alone. Returns the keys that wait for one.
    pub fn keep_until_restart(&mut self, old: &Self) -> Vec<&'static str> {
        fn keep<T: PartialEq + Clone>(key: &'static str, new: &mut T, old: &T) -> Option<&'static str> {
            let differs = new != old;
            new.clone_from(old);
            differs.then_some(key)
        }
        let kept = [
            keep("state_dir", &mut self.state_dir, &old.state_dir),
            keep("runtime_dir", &mut self.runtime_dir, &old.runtime_dir),
            keep("uplink_dir", &mut self.uplink_dir, &old.uplink_dir),
            keep("control_group", &mut self.control_group, &old.control_group),
            keep("time_scale", &mut self.time_scale, &old.time_scale),
            keep("retention.segment_bytes", &mut self.retention.segment_bytes, &old.retention.segment_bytes),
        ];
        kept.into_iter().flatten().collect()
    }

    /// What of it a plan depends on.
    #[must_use]
    pub fn board(&self) -> Board {
        Board {
            nodes: self.nodes.iter().map(|(name, socket)| (name.clone(), socket.display().to_string())).collect(),
            default_node: self.default_node.clone(),
            stop_grace_seconds: self.stop_grace_seconds,
            look_ahead: self.look_ahead,
            fisheye: self.fisheye.clone(),
            policy: self.policy.clone(),
        }
    }
}

impl Fragment {
    fn overridden_by(self, over: Self) -> Self {
        let nodes = match (self.nodes, over.nodes) {
            (Some(mut nodes), Some(more)) => {
                nodes.extend(more);
                Some(nodes)
            }
            (nodes, more) => more.or(nodes),
        };
        Self {
            state_dir: over.state_dir.or(self.state_dir),
            runtime_dir: over.runtime_dir.or(self.runtime_dir),
            uplink_dir: over.uplink_dir.or(self.uplink_dir),
            default_node: over.default_node.or(self.default_node),
            nodes,
            image_prefixes: over.image_prefixes.or(self.image_prefixes),
            network: NetworkFragment {
                name: over.network.name.or(self.network.name),
                isolation: over.network.isolation.or(self.network.isolation),
            },
            stop_grace_seconds: over.stop_grace_seconds.or(self.stop_grace_seconds),
            time_scale: over.time_scale.or(self.time_scale),
            limits: self.limits.overridden_by(over.limits),
            policy: self.policy.overridden_by(over.policy),
            retention: self.retention.overridden_by(over.retention),
            control_group: over.control_group.or(self.control_group),
            on_exit: over.on_exit.or(self.on_exit),
            exit_path: over.exit_path.or(self.exit_path),
            look_ahead: over.look_ahead.or(self.look_ahead),
            instruments: over.instruments.or(self.instruments),
        }
    }

    fn settle(self) -> Result<Settings, ConfigError> {
        let nodes = settle_nodes(self.nodes)?;
        let asked = self.default_node.unwrap_or_else(|| "mpu".to_owned());
        let default_node = NodeName::any_case(&asked).ok().filter(|name| nodes.contains_key(name));
        let default_node = default_node.ok_or_else(|| {
            let known: Vec<&str> = nodes.keys().map(NodeName::as_str).collect();
            value("default_node", format!("`{asked}` is not among the nodes: {}", known.join(", ")))
        })?;
        let fisheye =
            settle_fisheye(self.instruments.fisheye, &nodes, self.image_prefixes.as_deref().unwrap_or_default())?;
        let state_dir = self.state_dir.unwrap_or_else(|| STATE_DIR.into());
        Ok(Settings {
            uplink_dir: self.uplink_dir.unwrap_or_else(|| state_dir.join("uplink")),
            state_dir,
            runtime_dir: self.runtime_dir.unwrap_or_else(|| "/run/perigee".into()),
            default_node,
            nodes,
            image_prefixes: self.image_prefixes.unwrap_or_default(),
            network: settle_network(self.network.name)?,
            isolation: self.network.isolation.unwrap_or(Isolation::Shared),
            // TERM, grace and KILL must fit into the 300 s that a budget has beyond max_duration.
            stop_grace_seconds: bounded("stop_grace_seconds", self.stop_grace_seconds, 30, 1..=240)?,
            time_scale: bounded("time_scale", self.time_scale, 1, 1..=1000)?,
            bundle_bytes: bounded("limits.bundle_bytes", self.limits.bundle_bytes, 8 << 30, 4096..=1 << 40)?,
            log_bytes: bounded("limits.log_bytes", self.limits.log_bytes, 1 << 20, 4096..=1 << 30)?,
            pids: bounded("limits.pids", self.limits.pids, 1024, 8..=1 << 20)?,
            retention: self.retention.settle()?,
            downlink_bytes: bounded("limits.downlink_bytes", self.limits.downlink_bytes, 1 << 30, 1..=1 << 40)?,
            resets: bounded("limits.resets", self.limits.resets, 3, 0..=100)?,
            uncounted: Duration::from_secs(
                bounded("limits.uncounted_seconds", self.limits.uncounted_seconds, 60, 1..=3600)?.into(),
            ),
            policy: self.policy.settle()?,
            control_group: self.control_group,
            on_exit: self.on_exit.unwrap_or(OnExit::Leave),
            exit_path: self.exit_path.unwrap_or(ExitPath::Auto),
            look_ahead: self.look_ahead.unwrap_or(true),
            fisheye,
        })
    }
}

fn value(key: &'static str, message: String) -> ConfigError {
    ConfigError::Value { file: None, key, message }
}

fn bounded<T: PartialOrd + std::fmt::Display + Copy>(
    key: &'static str,
    given: Option<T>,
    default: T,
    bounds: std::ops::RangeInclusive<T>,
) -> Result<T, ConfigError> {
    let chosen = given.unwrap_or(default);
    if bounds.contains(&chosen) {
        return Ok(chosen);
    }
    Err(value(key, format!("found {chosen}, expected {} to {}", bounds.start(), bounds.end())))
}

fn settle_nodes(given: Option<BTreeMap<String, NodeFragment>>) -> Result<BTreeMap<NodeName, PathBuf>, ConfigError> {
    const DEFAULT_SOCKET: &str = "unix:///run/podman/podman.sock";
    let given =
        given.unwrap_or_else(|| [("mpu".to_owned(), NodeFragment { podman: DEFAULT_SOCKET.to_owned() })].into());
    let mut nodes = BTreeMap::new();
    for (name, node) in given {
        let legal = NodeName::any_case(&name).map_err(|bad| value("nodes", bad.to_string()))?;
        if legal.as_str() == "default" {
            return Err(value("nodes", "`default` is not a node; set default_node".to_owned()));
        }
        let socket = node.podman.strip_prefix("unix://").filter(|path| path.starts_with('/'));
        let socket = socket.ok_or_else(|| {
            value("nodes", format!("{name}.podman: found `{}`, expected unix:///path/to/podman.sock", node.podman))
        })?;
        if nodes.insert(legal, PathBuf::from(socket)).is_some() {
            return Err(value("nodes", format!("`{name}` is there twice, in another case")));
        }
    }
    if nodes.is_empty() {
        return Err(value("nodes", "the table is empty; name at least one node".to_owned()));
    }
    Ok(nodes)
}

fn settle_network(given: Option<String>) -> Result<String, ConfigError> {
    let name = given.unwrap_or_else(|| "perigee".to_owned());
    // A tenant's own network is `<name>-<tenant>`; Podman's names take letters, digits, `_`, `.` and `-`.
    let legal =
        !name.is_empty() && name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if legal && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(name);
    }
    Err(value("network.name", format!("found `{name}`, expected letters, digits, `_`, `.` and `-`")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn fragment(path: &Path) -> Fragment {
        files::parse(&files::read(path).expect("readable")).expect("legal")
    }

    fn settle(text: &str) -> Result<Settings, String> {
        let fragment: Fragment = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        fragment.settle().map_err(|e| e.to_string())
    }

    #[test]
    fn an_instrument_is_named_in_full_and_is_no_tenants() {
        let with =
            |image: &str, more: &str| settle(&format!("instruments: {{fisheye: {{image: \"{image}\"}}}}\n{more}"));
        assert!(with("localhost/fisheye:1", "").is_ok_and(|settings| settings.fisheye.is_some()));
        for image in ["fisheye:1", "localhost/fisheye"] {
            assert!(with(image, "").is_err_and(|why| why.contains("expected a full name")), "{image}");
        }
        assert!(with("localhost/team/fisheye:1", "").is_err_and(|why| why.contains("a tenant's by its name")));
        assert!(with("localhost/team/fisheye:1", "image_prefixes: [localhost/team]").is_ok());
        let elsewhere = settle("instruments: {fisheye: {image: \"localhost/a:1\", node: moon}}");
        assert!(elsewhere.is_err_and(|why| why.contains("not among the nodes")));
    }

    #[test]
    fn shipped_file_says_exactly_the_defaults() {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/perigee.yaml");
        let shipped = fragment(Path::new(shipped)).settle().expect("legal");
        assert_eq!(shipped, Fragment::default().settle().expect("legal"));
    }

    #[test]
    fn every_default_is_shown_in_the_shipped_file() {
        let shipped = fragment(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/perigee.yaml")));
        let Fragment { state_dir, runtime_dir, uplink_dir, default_node, nodes, image_prefixes, .. } = shipped.clone();
        assert!(state_dir.is_some() && runtime_dir.is_some() && uplink_dir.is_some());
        assert!(default_node.is_some() && nodes.is_some() && image_prefixes.is_some());
        assert!(shipped.stop_grace_seconds.is_some() && shipped.time_scale.is_some() && shipped.on_exit.is_some());
        assert!(shipped.exit_path.is_some() && shipped.look_ahead.is_some());
        assert!(shipped.network.name.is_some() && shipped.network.isolation.is_some());
        let limits = shipped.limits;
        assert!(limits.bundle_bytes.is_some() && limits.log_bytes.is_some() && limits.pids.is_some());
        assert!(limits.downlink_bytes.is_some() && limits.resets.is_some());
        assert!(limits.uncounted_seconds.is_some());
        let kept = shipped.retention;
        assert!(kept.executions.is_some() && kept.days.is_some() && kept.log_bytes.is_some());
        assert!(kept.rejected.is_some() && kept.rejected_bytes.is_some());
        assert!(kept.outbox_bytes.is_some() && kept.segment_bytes.is_some());
    }

    #[test]
    fn wrong_values_name_their_key() {
        for (text, key) in [
            ("stop_grace_seconds: 0", "stop_grace_seconds"),
            ("default_node: gpu", "default_node"),
            ("nodes: {mpu: {podman: /run/x}}", "nodes"),
            ("nodes: {}", "nodes"),
            ("nodes: {default: {podman: 'unix:///x'}}", "nodes"),
            ("network: {name: 'a b'}", "network.name"),
            ("stat_dir: /x", "stat_dir"),
            ("limits: {pidz: 3}", "pidz"),
            ("limits: {resets: 101}", "limits.resets"),
            ("policy: {cpu: {max: 0}}", "policy.cpu.max"),
            ("policy: {allow: [all]}", "all"),
            ("retention: {executions: 0}", "retention.executions"),
            ("retention: {segment_bytes: 1}", "retention.segment_bytes"),
        ] {
            let error = settle(text).expect_err(text);
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn wrong_value_names_the_file_that_says_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let paths = [
            file("a.yaml", "{time_scale: 2, limits: {pids: 9}}"),
            file("b.yaml", "{limits: {pids: 1}}"),
            file("c.yaml", "{limits: {log_bytes: 8192}}"),
        ];
        let texts = paths.each_ref().map(|path| files::read(path).expect("readable"));
        let error = Settings::merge(&texts).expect_err("illegal").to_string();
        assert_eq!(error, format!("{}: limits.pids: found 1, expected 8 to 1048576", paths[1].display()));
    }

    #[test]
    fn group_that_is_not_there_is_refused() {
        let settings = Fragment { control_group: Some("no such group".to_owned()), ..Fragment::default() };
        let error = settings.settle().and_then(Settings::with_its_group).expect_err("refused").to_string();
        assert!(error.contains("control_group: there is no group `no such group`"), "{error}");
    }

    #[test]
    fn later_fragment_wins_key_by_key() {
        let first: Fragment =
            serde_yaml::from_str("{time_scale: 2, limits: {pids: 10}, nodes: {mpu: {podman: 'unix:///a'}}}")
                .expect("legal");
        let second: Fragment =
            serde_yaml::from_str("{limits: {log_bytes: 8192}, nodes: {GPU: {podman: 'unix:///b'}}}").expect("legal");
        let settings = first.overridden_by(second).settle().expect("legal");
        assert_eq!((settings.time_scale, settings.pids, settings.log_bytes, settings.nodes.len()), (2, 10, 8192, 2));
    }
}
