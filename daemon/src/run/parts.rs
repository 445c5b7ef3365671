//! What the loop is made of.
//!
//! Must not: do anything.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::Settings;
use crate::handle::{Handle, Input, Snapshot};
use crate::ledger::Queries;
use crate::podman::Health;
use crate::systemd::Manager;

/// What the loop is made of.
pub struct Parts {
    /// The clock.
    pub clock: Clock,
    /// The configuration, published to all who use it.
    pub settings: watch::Sender<Arc<Settings>>,
    /// Where the queries go once the ledger is open.
    pub queries: watch::Sender<Option<Queries>>,
    /// Where inputs come from.
    pub inbox: mpsc::Receiver<Input>,
    /// Where snapshots go.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// The way back to the inbox, for the driver.
    pub handle: Handle,
    /// Trouble with Podman, noted by the driver.
    pub health: Health,
    /// The service manager.
    pub manager: Manager,
    /// Why the last good configuration holds, where it does.
    pub config_trouble: Option<String>,
}
