//! Shell: log lines on their way to journald. The message says it all, because that is what `journalctl` shows; each
//! field stands beside it once more, for searching: `journalctl PERIGEE_EXECUTION=…`.
//!
//! Must not: make the daemon wait. What journald does not take in time is lost.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const JOURNALD: &str = "/run/systemd/journal/socket";
/// Longest wait for journald to take one line.
const PATIENCE: Duration = Duration::from_millis(100);
/// Longest value of a field; an entry must fit into one datagram.
const VALUE_BYTES: usize = 16 << 10;

/// The journal of the service that this process is.
#[derive(Debug)]
pub struct Journald {
    socket: UnixDatagram,
}

impl Journald {
    /// The journal, if systemd has connected our standard error to it.
    #[must_use]
    pub fn of_this_service() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
        if stream != format!("{}:{}", stderr.dev(), stderr.ino()) {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journald {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let entry = line.entry(*event.metadata().level(), event.metadata().target());
        // There is nowhere to complain to.
        let _ = self.socket.send_to(&entry, JOURNALD);
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field.name(), format!("{value:?}"));
    }
}

impl Line {
    fn note(&mut self, name: &'static str, value: String) {
        match name {
            "message" => self.message = value,
            _ => self.fields.push((name, value)),
        }
    }

    /// The entry in journald's native protocol.
    fn entry(&self, level: Level, target: &str) -> Vec<u8> {
        let mut message = self.message.clone();
        for (name, value) in &self.fields {
            message.push_str(&format!(" {name}={value}"));
        }
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", &message);
        put(&mut entry, "PRIORITY", priority(level));
        put(&mut entry, "SYSLOG_IDENTIFIER", "perigeed");
        put(&mut entry, "PERIGEE_TARGET", target);
        for (name, value) in &self.fields {
            let name = name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            put(&mut entry, &format!("PERIGEE_{name}"), value);
        }
        entry
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// A value goes with its length, so that no line feed in it can begin another field.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value.as_bytes()[..cut(value)];
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// Where a value ends; in the middle of a character it would be binary data to journald.
fn cut(value: &str) -> usize {
    let longest = value.len().min(VALUE_BYTES);
    (0..=longest).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an entry as journald does.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').expect("a name");
            let (name, rest) = (&entry[..end], &entry[end + 1..]);
            let length = u64::from_le_bytes(rest[..8].try_into().expect("a length")) as usize;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            found.push((text(name), text(&rest[8..8 + length])));
            assert_eq!(rest[8 + length], b'\n');
            entry = &rest[9 + length..];
        }
        found
    }

    #[test]
    fn message_says_all_and_no_value_can_forge_a_field() {
        let line = Line { message: "bundle rejected".to_owned(), fields: vec![("why", "bad\nPRIORITY=0".to_owned())] };
        let found = fields(&line.entry(Level::WARN, "perigee::intake"));
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            found,
            [
                ("MESSAGE", "bundle rejected why=bad\nPRIORITY=0"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "perigeed"),
                ("PERIGEE_TARGET", "perigee::intake"),
                ("PERIGEE_WHY", "bad\nPRIORITY=0"),
            ]
        );
    }

    #[test]
    fn long_value_is_cut_between_characters() {
        let line = Line { message: format!("x{}", "é".repeat(VALUE_BYTES)), fields: Vec::new() };
        let found = fields(&line.entry(Level::INFO, "t"));
        assert_eq!(found[0].1.len(), VALUE_BYTES - 1);
    }
}
