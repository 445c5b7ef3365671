//! Numbers for those who collect them: OpenMetrics text.
//!
//! Must not: carry what a tenant wrote; names of nodes and states are ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is counted, at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Version of perigeed.
    pub version: String,
    /// Live executions by state.
    pub executions: BTreeMap<&'static str, usize>,
    /// Executions that have ended, purged ones included.
    pub ended: usize,
    /// Jobs of live executions by state.
    pub jobs: BTreeMap<&'static str, usize>,
    /// Troubles by kind.
    pub troubles: BTreeMap<&'static str, usize>,
    /// Cursor of the newest record.
    pub cursor: u64,
    /// Orphans that were removed since the daemon started.
    pub orphans_removed: u64,
    /// Entries of the outbox; absent when it cannot be read.
    pub outbox: Option<(usize, u64)>,
    /// Whether each node's Podman answered when it was asked last.
    pub nodes: BTreeMap<String, bool>,
}

impl Metrics {
    /// The media type of [`Self::text`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// As OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        family(&mut text, "perigee_build", "info", "The daemon.");
        let _ = writeln!(text, "perigee_build_info{{version=\"{}\"}} 1", self.version);
        family(&mut text, "perigee_executions", "gauge", "Live executions by state.");
        labelled(&mut text, "perigee_executions", "state", &self.executions);
        family(&mut text, "perigee_executions_ended", "gauge", "Executions that have ended, purged ones included.");
        let _ = writeln!(text, "perigee_executions_ended {}", self.ended);
        family(&mut text, "perigee_jobs", "gauge", "Jobs of live executions by state.");
        labelled(&mut text, "perigee_jobs", "state", &self.jobs);
        family(&mut text, "perigee_troubles", "gauge", "What keeps the daemon from doing all it should, by kind.");
        labelled(&mut text, "perigee_troubles", "name", &self.troubles);
        family(&mut text, "perigee_ledger_cursor", "gauge", "Cursor of the newest record.");
        let _ = writeln!(text, "perigee_ledger_cursor {}", self.cursor);
        family(&mut text, "perigee_orphans_removed", "counter", "Orphans removed since the daemon started.");
        let _ = writeln!(text, "perigee_orphans_removed_total {}", self.orphans_removed);
        if let Some((entries, bytes)) = self.outbox {
            family(&mut text, "perigee_outbox_entries", "gauge", "Entries that wait for a pass.");
            let _ = writeln!(text, "perigee_outbox_entries {entries}");
            text.push_str("# UNIT perigee_outbox_bytes bytes\n");
            family(&mut text, "perigee_outbox_bytes", "gauge", "Bytes of these entries.");
            let _ = writeln!(text, "perigee_outbox_bytes {bytes}");
        }
        family(
            &mut text,
            "perigee_podman_up",
            "gauge",
            "Whether the Podman of a node answered when it was asked last.",
        );
        let up: BTreeMap<&str, usize> = self.nodes.iter().map(|(node, up)| (node.as_str(), usize::from(*up))).collect();
        labelled(&mut text, "perigee_podman_up", "node", &up);
        text.push_str("# EOF\n");
        text
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

fn labelled(text: &mut String, name: &str, label: &str, values: &BTreeMap<&str, usize>) {
    for (key, value) in values {
        let _ = writeln!(text, "{name}{{{label}=\"{key}\"}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_open_metrics_text_that_ends_with_eof() {
        let metrics = Metrics {
            version: "1".to_owned(),
            executions: [("running", 2)].into(),
            nodes: [("mpu".to_owned(), true), ("gpu".to_owned(), false)].into(),
            orphans_removed: 3,
            outbox: Some((1, 10)),
            ..Metrics::default()
        };
        let text = metrics.text();
        for line in [
            "perigee_executions{state=\"running\"} 2",
            "perigee_podman_up{node=\"gpu\"} 0",
            "perigee_podman_up{node=\"mpu\"} 1",
            "perigee_outbox_bytes 10",
            "perigee_orphans_removed_total 3",
            "perigee_build_info{version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
