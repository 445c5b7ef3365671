//! When the engine must wake, and why. Counted in boot time.
//!
//! Must not: sleep; the loop does.

use std::time::Duration;

use super::state::{Board, Execution, JobState, Signal, StepState};
use crate::time::{BootTime, Timestamp};

/// Kept between SIGKILL and the end of a step's budget, for the exit to be noticed.
const KILL_MARGIN: Duration = Duration::from_secs(10);

/// What a deadline asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A process is to be told to end.
    Tell {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
        /// What it is to be told.
        signal: Signal,
    },
    /// A step's budget has run out.
    Budget {
        /// Index of the step.
        step: usize,
    },
}

/// The next instant at which something is due, and what.
#[must_use]
pub fn next(board: &Board) -> Option<(BootTime, Due)> {
    board.live.values().flat_map(|execution| all(execution)).min_by_key(|(at, _)| *at)
}

/// What of an execution is due at an instant.
#[must_use]
pub fn due(execution: &Execution, now: BootTime) -> Vec<Due> {
    all(execution).into_iter().filter(|(at, _)| *at <= now).map(|(_, due)| due).collect()
}

fn all(execution: &Execution) -> Vec<(BootTime, Due)> {
    let mut deadlines = Vec::new();
    for (index, step) in execution.steps.iter().enumerate() {
        let StepState::Active { since } = &step.state else { continue };
        let planned = &execution.plan.steps[index];
        let budget = since.boot.after(Duration::from_secs(planned.timeout_seconds.into()));
        for (job, known) in step.jobs.iter().enumerate() {
            let longest = Duration::from_secs(planned.jobs()[job].max_duration_seconds.into());
            let grace = Duration::from_secs(execution.plan.stop_grace_seconds.into());
            deadlines.extend(
                tell(&known.state, longest, grace, budget)
                    .map(|(at, signal)| (at, Due::Tell { step: index, job, signal })),
            );
        }
        deadlines.push((budget, Due::Budget { step: index }));
    }
    deadlines
}

/// `max_duration` counts from the start of the process; TERM, grace and KILL fit inside the budget even when the
/// preparation was slow.
fn tell(state: &JobState, longest: Duration, grace: Duration, budget: BootTime) -> Option<(BootTime, Signal)> {
    let last_kill = budget.before(KILL_MARGIN);
    match state {
        JobState::Running { started: Timestamp { boot, .. }, .. } => {
            Some((boot.after(longest).min(last_kill.before(grace)), Signal::Term))
        }
        JobState::Stopping { signal: Signal::Term, told, .. } => {
            Some((told.boot.after(grace).min(last_kill), Signal::Kill))
        }
        JobState::Stopping { signal: Signal::Kill, .. }
        | JobState::Waiting
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. }
        | JobState::Ended { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::sequence::state::{Job, StopCause};

    const TERM: Due = Due::Tell { step: 0, job: 0, signal: Signal::Term };
    const KILL: Due = Due::Tell { step: 0, job: 0, signal: Signal::Kill };
    const BUDGET: Due = Due::Budget { step: 0 };

    #[test]
    fn term_comes_max_duration_after_the_start_of_the_process() {
        let known = execution(300, running(40));
        assert_eq!(next_of(&known), (100, TERM));
        assert_eq!(due(&known, seconds(99)), []);
        assert_eq!(due(&known, seconds(100)), [TERM]);
        assert_eq!(due(&known, seconds(300)), [TERM, BUDGET]);
    }

    #[test]
    fn kill_comes_a_grace_after_term_and_nothing_after_kill_but_the_budget() {
        let known = execution(300, stopping(Signal::Term, 100));
        assert_eq!(next_of(&known), (110, KILL));
        assert_eq!(due(&known, seconds(110)), [KILL]);
        assert_eq!(next_of(&execution(300, stopping(Signal::Kill, 110))), (300, BUDGET));
    }

    #[test]
    fn after_a_slow_preparation_term_and_kill_still_fit_inside_the_budget() {
        let known = execution(300, running(280));
        assert_eq!(next_of(&known), (280, TERM), "300 - 10 to notice the exit - 10 grace");
        let known = execution(300, running(270));
        assert_eq!(next_of(&known), (280, TERM));
        assert_eq!(next_of(&execution(300, stopping(Signal::Term, 280))), (290, KILL));
        assert_eq!(next_of(&execution(300, stopping(Signal::Term, 285))), (290, KILL), "told late, killed in time");
    }

    #[test]
    fn a_budget_shorter_than_the_grace_tells_at_once() {
        assert_eq!(next_of(&execution(15, running(1))), (0, TERM));
        assert_eq!(next_of(&execution(5, stopping(Signal::Term, 2))), (0, KILL));
    }

    #[test]
    fn before_the_start_of_the_process_only_the_budget_counts() {
        let container = || "c".to_owned();
        let states = [
            JobState::Waiting,
            JobState::Preparing,
            JobState::Prepared { container: container() },
            JobState::Launching { container: container(), stop: None },
        ];
        for state in states {
            assert_eq!(next_of(&execution(300, state)), (300, BUDGET));
        }
    }

    #[test]
    fn a_step_that_is_not_active_has_no_deadline_and_the_earliest_of_all_comes_first() {
        let mut waiting = execution(300, JobState::Waiting);
        waiting.steps[0].state = StepState::Waiting;
        assert_eq!(next(&board([waiting.clone()])), None);
        let mut sooner = execution(300, running(20));
        Arc::make_mut(&mut sooner.plan).execution = crate::bundle::ExecutionId::new(uuid::Uuid::max());
        let all = board([execution(300, running(40)), sooner]);
        assert_eq!(next(&all), Some((seconds(80), TERM)));
    }

    fn seconds(seconds: u64) -> BootTime {
        BootTime::from_millis(seconds * 1000)
    }

    fn at(instant: u64) -> Timestamp {
        Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: seconds(instant) }
    }

    fn running(started: u64) -> JobState {
        JobState::Running { container: "c".to_owned(), started: at(started) }
    }

    fn stopping(signal: Signal, told: u64) -> JobState {
        let cause = StopCause::Timeout;
        JobState::Stopping { container: "c".to_owned(), started: at(0), cause, signal, told: at(told) }
    }

    fn board<const N: usize>(known: [Execution; N]) -> Board {
        Board {
            live: known.into_iter().map(|known| (known.plan.execution, std::sync::Arc::new(known))).collect(),
            ..Board::default()
        }
    }

    fn next_of(known: &Execution) -> (u64, Due) {
        let (instant, due) = next(&board([known.clone()])).expect("it is active");
        (instant.since(seconds(0)).as_secs(), due)
    }

    /// One step that is active since 0, of one pod with a `max_duration` of 60 s and a grace of 10 s.
    fn execution(budget: u32, state: JobState) -> Execution {
        let job = serde_json::json!({"pod_name": "p", "hostname": "t-p", "node": "mpu", "max_duration_seconds": 60,
            "pod": {"image": "a:1", "command": null, "args": null, "env": [], "ports": [], "claim": "t.v"}});
        let plan: Plan = serde_json::from_value(serde_json::json!({
            "execution": "0198c0de-0000-7000-8000-000000000001", "tenant": "t", "stop_grace_seconds": 10,
            "operation": {"id": "o", "revision": null, "namespace": null, "system": null, "description": null,
                "labels": {}},
            "steps": [{"id": "S", "on_failure": "stop", "timeout_seconds": budget, "group": null, "after": [],
                "work": {"pod_run": {"jobs": [job]}}}],
        }))
        .expect("a plan");
        let mut known = Execution::new(Arc::new(plan), false, at(0));
        known.steps[0].state = StepState::Active { since: at(0) };
        known.steps[0].jobs[0] = Job { attempt: 1, state };
        known
    }
}
