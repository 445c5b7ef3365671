//! Attempts that a start has taken up and Podman has not told of yet. An end that came in time, while no daemon ran, must
//! be known before deadlines are judged.
//!
//! Must not: hold deadlines back for ever; a Podman may be away.

use std::collections::BTreeSet;

use crate::sequence::{AttemptId, Effect};
use crate::time::BootTime;

/// Those attempts, and how long they are waited for.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    attempts: BTreeSet<AttemptId>,
    until: BootTime,
}

impl Unseen {
    /// The attempts that are being watched anew.
    pub(super) fn of(owed: &[Effect], until: BootTime) -> Self {
        let watched = owed.iter().filter_map(|effect| match effect {
            Effect::Watch(attempt, _) => Some(*attempt),
            Effect::Prepare(_)
            | Effect::Launch(_)
            | Effect::Signal(..)
            | Effect::Pause(_)
            | Effect::Resume(_)
            | Effect::Clear(..)
            | Effect::Read { .. }
            | Effect::Errand { .. }
            | Effect::Report(_)
            | Effect::Purge(_) => None,
        });
        Self { attempts: watched.collect(), until }
    }

    /// Podman has told of one. Returns whether it was the last.
    pub(super) fn seen(&mut self, attempt: AttemptId) -> bool {
        self.attempts.remove(&attempt) && self.attempts.is_empty()
    }

    /// Until when deadlines are not judged, while they are not.
    pub(super) fn until(&self) -> Option<BootTime> {
        (!self.attempts.is_empty()).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_wait_until_the_last_of_what_is_watched_was_seen() {
        let id = |step| AttemptId {
            execution: "0198c0de-0000-7000-8000-000000000001".parse().expect("a UUID"),
            step,
            job: 0,
            attempt: 1,
        };
        let owed = [Effect::Watch(id(0), "a".to_owned()), Effect::Prepare(id(1)), Effect::Watch(id(2), "c".to_owned())];
        let until = BootTime::from_millis(7);
        let mut unseen = Unseen::of(&owed, until);
        assert_eq!(unseen.until(), Some(until));
        assert!(!unseen.seen(id(0)) && !unseen.seen(id(1)));
        assert_eq!(unseen.until(), Some(until));
        assert!(unseen.seen(id(2)));
        assert_eq!(unseen.until(), None);
        assert!(!unseen.seen(id(2)), "once");
    }
}
