//! How the daemon leaves: at once, or when its pods have ended.
//!
//! Must not: lose what comes in meanwhile; it is committed or never answered.

use std::time::Duration;

use super::{Loop, SHUTDOWN, within};
use crate::config::OnExit;
use crate::handle::Input;
use crate::sequence::Event;
use crate::sequence::event::{Target, Verb};

/// Beyond the grace, for pods to be gone when the daemon leaves with `on_exit: stop`.
const LEAVE_MARGIN: Duration = Duration::from_secs(15);

impl Loop {
    /// Leaves: everything is committed already. Pods go on running unless configured otherwise.
    pub(super) async fn leave(mut self) {
        let settings = self.settings.borrow().clone();
        let longest = match settings.on_exit {
            OnExit::Leave => Duration::ZERO,
            OnExit::Stop => Duration::from_secs(settings.stop_grace_seconds.into()) + LEAVE_MARGIN,
        };
        self.manager.stopping(longest + SHUTDOWN);
        if settings.on_exit == OnExit::Stop {
            self.stop_all(longest).await;
        }
        self.storage.close();
    }

    async fn stop_all(&mut self, longest: Duration) {
        let live: Vec<_> = self.board.live.keys().copied().collect();
        for execution in live {
            self.step(Event::Asked { execution, target: Target::Execution, verb: Verb::Stop });
        }
        let gone = async {
            while !self.board.live.is_empty() {
                self.manager.alive();
                match within(self.pause(), self.inbox.recv()).await {
                    Ok(Some(Input::Event(event))) => self.step(event),
                    Ok(Some(Input::Command(_, reply))) => drop(reply),
                    Ok(Some(Input::Seen(attempt))) => self.seen(attempt),
                    Ok(Some(Input::HealthChanged)) => self.publish(),
                    Ok(Some(Input::Reloaded(_) | Input::Measured(_) | Input::Acknowledged | Input::Shutdown)) => {}
                    Ok(None) => return,
                    Err(_) => self.wake(),
                }
            }
        };
        if tokio::time::timeout(longest, gone).await.is_err() {
            tracing::warn!("some pods did not end in time; the next start takes them up");
        }
    }
}
