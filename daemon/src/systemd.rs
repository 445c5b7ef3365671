//! Shell: the service manager. READY, STATUS and STOPPING; the watchdog is fed by the loop and nobody else.
//!
//! Must not: run a thread or timer of its own.

use std::time::Duration;

use sd_notify::NotifyState;

/// Longest status line: systemd ignores messages of more than 4096 bytes, and a character has up to four.
const STATUS_CHARS: usize = 1000;

/// Talks to systemd, if it started us.
#[derive(Debug)]
pub struct Manager {
    watchdog: Option<Duration>,
    last_status: String,
}

impl Manager {
    /// Reads from the environment what systemd wants.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), last_status: String::new() }
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }

    /// The sockets are open and the ledger was tried.
    pub fn ready(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// The daemon leaves, and that may take this long.
    pub fn stopping(&self, longest: Duration) {
        let longest = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        self.notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest)]);
    }

    /// The loop turns.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.notify(&[NotifyState::Watchdog]);
        }
    }

    /// How long the loop may sleep: a third of what the watchdog allows.
    #[must_use]
    pub fn watchdog_pause(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| allowed / 3)
    }

    /// One line on what goes on, told when it changes.
    pub fn status(&mut self, line: &str) {
        if line != self.last_status {
            self.notify(&[NotifyState::Status(&one_line(line))]);
            line.clone_into(&mut self.last_status);
        }
    }
}

/// What systemd takes as a status: a line feed would begin another message.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_stays_one_message_of_a_size_that_systemd_takes() {
        assert_eq!(one_line("idle; bad\nWATCHDOG=trigger"), "idle; bad WATCHDOG=trigger");
        assert_eq!(one_line(&"é".repeat(STATUS_CHARS + 1)), "é".repeat(STATUS_CHARS));
    }
}
