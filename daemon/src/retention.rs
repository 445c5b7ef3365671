//! Shell: what of the past is kept. Picks what must go; the ledger, the outbox and intake let it go.
//!
//! Age is counted in running time of the board: a wall clock that jumps makes nothing older.
//! Must not: pick anything that is live or that the ground has not acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bundle::ExecutionId;
use crate::config::Retention;
use crate::time::BootTime;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An ended execution that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Which.
    pub id: ExecutionId,
    /// When it ended.
    pub ended: BootTime,
    /// Bytes of its console output.
    pub log_bytes: u64,
}

/// All ended executions that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub executions: usize,
    /// Bytes of their console output.
    pub log_bytes: u64,
    /// When the first of them ended.
    pub oldest: Option<BootTime>,
}

/// Whether none of them must go: the question that is asked after every end, at no cost that grows with them.
#[must_use]
pub fn is_within(total: &Total, now: BootTime, limits: &Retention) -> bool {
    let too_old = total.oldest.is_some_and(|ended| is_too_old(ended, now, limits));
    total.executions <= limits.executions && total.log_bytes <= limits.log_bytes && !too_old
}

fn is_too_old(ended: BootTime, now: BootTime, limits: &Retention) -> bool {
    now.since(ended) > DAY * limits.days
}

/// The ended executions that must go. `kept` begins with the one that ended first.
#[must_use]
pub fn surplus(kept: &[Past], now: BootTime, limits: &Retention) -> BTreeSet<ExecutionId> {
    let too_many = kept.len().saturating_sub(limits.executions);
    let mut excess = kept.iter().map(|past| past.log_bytes).sum::<u64>().saturating_sub(limits.log_bytes);
    let mut gone = BTreeSet::new();
    for (at, past) in kept.iter().enumerate() {
        let too_old = is_too_old(past.ended, now, limits);
        if at >= too_many && excess == 0 && !too_old {
            continue;
        }
        excess = excess.saturating_sub(past.log_bytes);
        gone.insert(past.id);
    }
    gone
}

/// The first instant at which what ended then is too old.
#[must_use]
pub fn too_old_at(ended: BootTime, limits: &Retention) -> BootTime {
    ended.after(DAY * limits.days + Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(executions: usize, days: u32, log_bytes: u64) -> Retention {
        let (rejected, rejected_bytes, outbox_bytes, segment_bytes) = (1, 1, 1, 1);
        Retention { executions, days, log_bytes, rejected, rejected_bytes, outbox_bytes, segment_bytes }
    }

    fn past() -> Vec<Past> {
        (1..=5u32)
            .map(|n| Past {
                id: format!("0198c0de-0000-7000-8000-{n:012}").parse().expect("a UUID"),
                ended: BootTime::default().after(DAY * n),
                log_bytes: u64::from(n) * 10,
            })
            .collect()
    }

    fn gone(now_days: u32, limits: &Retention) -> Vec<usize> {
        let gone = surplus(&past(), BootTime::default().after(DAY * now_days), limits);
        past().iter().enumerate().filter(|(_, past)| gone.contains(&past.id)).map(|(at, _)| at).collect()
    }

    #[test]
    fn all_is_within_the_limits_exactly_when_nothing_must_go() {
        let cases =
            [(5, 5, 10, 150), (5, 4, 10, 150), (5, 5, 10, 149), (11, 5, 10, 150), (12, 5, 10, 150), (12, 4, 3, 9)];
        for (now, executions, days, log_bytes) in cases {
            let (now, limits) = (BootTime::default().after(DAY * now), limits(executions, days, log_bytes));
            let total = Total { executions: 5, log_bytes: 150, oldest: Some(past()[0].ended) };
            assert_eq!(
                is_within(&total, now, &limits),
                surplus(&past(), now, &limits).is_empty(),
                "{now:?} {limits:?}"
            );
        }
    }

    #[test]
    fn what_is_beyond_the_count_goes_oldest_first() {
        assert_eq!(gone(5, &limits(5, 100, 1000)), Vec::<usize>::new());
        assert_eq!(gone(5, &limits(3, 100, 1000)), [0, 1]);
    }

    #[test]
    fn what_is_older_than_the_days_goes() {
        assert_eq!(gone(12, &limits(9, 10, 1000)), [0]);
        assert_eq!(gone(11, &limits(9, 10, 1000)), Vec::<usize>::new());
    }

    #[test]
    fn the_instant_of_being_too_old_is_the_first_at_which_it_goes() {
        let (first, limits) = (past()[0], limits(9, 10, 1000));
        let due = too_old_at(first.ended, &limits);
        assert_eq!(surplus(&past(), due, &limits).len(), 1);
        assert_eq!(surplus(&past(), due.before(Duration::from_millis(1)), &limits).len(), 0);
    }

    #[test]
    fn logs_go_with_their_executions_until_the_rest_fits() {
        assert_eq!(gone(5, &limits(9, 100, 150)), Vec::<usize>::new());
        assert_eq!(gone(5, &limits(9, 100, 149)), [0]);
        assert_eq!(gone(5, &limits(9, 100, 90)), [0, 1, 2]);
        assert_eq!(gone(5, &limits(9, 100, 0)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn time_that_seems_to_run_backwards_makes_nothing_older() {
        assert_eq!(gone(0, &limits(9, 1, 1000)), Vec::<usize>::new());
    }
}
