//! Shell: the service manager. READY, STATUS and STOPPING; the watchdog is fed by the loop and nobody else.
//!
//! Must not: run a thread or timer of its own.

use std::time::Duration;

use sd_notify::NotifyState;

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

    /// The daemon leaves.
    pub fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
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
            self.notify(&[NotifyState::Status(line)]);
            line.clone_into(&mut self.last_status);
        }
    }
}
