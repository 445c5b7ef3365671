//! When the engine must wake, and why. Counted in boot time.
//!
//! Must not: sleep; the loop does.

use std::time::Duration;

use super::state::{Ahead, Board, Execution, Hold, JobState, Remains, Signal, StepState};
use crate::time::{BootTime, Timestamp};

/// Kept between SIGKILL and the end of a step's budget, for the exit to be noticed.
const KILL_MARGIN: Duration = Duration::from_secs(10);

/// What a deadline is for.
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
    /// The budget of an attempt runs out.
    JobBudget {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// The budget of a step without jobs runs out.
    Budget {
        /// Index of the step.
        step: usize,
    },
    /// The budget of an attempt runs out that cannot begin: what was made ahead for it cannot be removed.
    Withdrawn {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// Another attempt may start.
    Retry {
        /// Index of the step.
        step: usize,
        /// Index of the job.
        job: usize,
    },
    /// A step may start from now on.
    Opens {
        /// Index of the step.
        step: usize,
    },
    /// A step that has not started never will.
    Closes {
        /// Index of the step.
        step: usize,
    },
}

impl Due {
    /// Whether it only lets something start: then it is over once it was looked at, whatever came of it.
    fn only_lets_start(self) -> bool {
        match self {
            Self::Retry { .. } | Self::Opens { .. } | Self::Closes { .. } => true,
            Self::Tell { .. } | Self::JobBudget { .. } | Self::Budget { .. } | Self::Withdrawn { .. } => false,
        }
    }
}

/// The next instant at which something is due, seen from the instant of the latest decision. What waits for a wall
/// time is counted from the wall time of then: a clock that is set is looked at with the next decision.
#[must_use]
pub fn next(board: &Board, decided: Timestamp) -> Option<(BootTime, Due)> {
    let all = board.live.values().flat_map(|execution| all(execution, decided));
    all.filter(|(at, due)| *at > decided.boot || !due.only_lets_start()).min_by_key(|(at, _)| *at)
}

/// Whether any budget is being consumed, so that elapsed time must outlive a power cut.
#[must_use]
pub fn consumes(board: &Board) -> bool {
    board.live.values().any(|execution| {
        execution.steps.iter().enumerate().any(|(index, step)| match &step.state {
            StepState::Active { .. } => {
                execution.plan.steps[index].is_errand()
                    || step.jobs.iter().any(|job| job.began.is_some() && job.alive())
            }
            StepState::Waiting | StepState::Held | StepState::Ended { .. } => false,
        })
    })
}

/// What is due of an execution.
#[must_use]
pub fn due(execution: &Execution, now: Timestamp) -> Vec<Due> {
    all(execution, now).into_iter().filter(|(at, _)| *at <= now.boot).map(|(_, due)| due).collect()
}

/// When the last of what a step waits for ended, if all of it has.
fn turn(execution: &Execution, step: usize) -> Option<Timestamp> {
    let mut latest = execution.received;
    for edge in &execution.plan.steps[step].after {
        let StepState::Ended { at, .. } = &execution.steps[edge.step].state else { return None };
        if at.boot > latest.boot {
            latest = *at;
        }
    }
    Some(latest)
}

fn all(execution: &Execution, now: Timestamp) -> Vec<(BootTime, Due)> {
    let mut deadlines = Vec::new();
    for (index, step) in execution.steps.iter().enumerate() {
        let planned = &execution.plan.steps[index];
        let budget = |began: Timestamp| began.boot.after(Duration::from_secs(planned.timeout_seconds.into()));
        match &step.state {
            StepState::Ended { .. } => continue,
            StepState::Waiting | StepState::Held => {
                let window = planned.terms.window;
                let at = |wall: jiff::Timestamp| {
                    now.boot.after(wall.duration_since(now.wall).try_into().unwrap_or_default())
                };
                deadlines.extend(window.not_before.map(|wall| (at(wall), Due::Opens { step: index })));
                deadlines.extend(window.not_after.map(|wall| (at(wall), Due::Closes { step: index })));
                let turn = turn(execution, index).filter(|_| step.state == StepState::Waiting);
                let owed = step.jobs.iter().enumerate().filter(|(_, job)| job.ahead == Ahead::Owed);
                let owed = owed.filter(|(_, job)| job.state == JobState::Waiting);
                deadlines.extend(turn.into_iter().flat_map(|turn| {
                    owed.clone().map(move |(job, _)| (budget(turn), Due::Withdrawn { step: index, job }))
                }));
            }
            StepState::Active { since } if planned.is_errand() => {
                deadlines.push((budget(*since), Due::Budget { step: index }));
            }
            StepState::Active { .. } => {}
        }
        for (job, known) in step.jobs.iter().enumerate() {
            if let JobState::Requeued { due, hold: Hold::Free, remains, .. } = &known.state
                && *remains != Remains::Owed
            {
                deadlines.push((due.boot, Due::Retry { step: index, job }));
            }
            let Some(began) = known.began.filter(|_| known.alive()) else { continue };
            let longest = Duration::from_secs(planned.jobs()[job].max_duration_seconds.into());
            let grace = Duration::from_secs(execution.plan.stop_grace_seconds.into());
            let tell = tell(&known.state, longest, grace, budget(began));
            deadlines.extend(tell.map(|(at, signal)| (at, Due::Tell { step: index, job, signal })));
            deadlines.push((budget(began), Due::JobBudget { step: index, job }));
        }
    }
    deadlines
}

/// When a process is next to be told to end, and how.
fn tell(state: &JobState, longest: Duration, grace: Duration, budget: BootTime) -> Option<(BootTime, Signal)> {
    let last_kill = budget.before(KILL_MARGIN);
    match state {
        // A frozen process is no exception: max_duration bounds its time on board.
        JobState::Running { started: Timestamp { boot, .. }, .. }
        | JobState::Paused { started: Timestamp { boot, .. }, .. } => {
            Some((boot.after(longest).min(last_kill.before(grace)), Signal::Term))
        }
        JobState::Stopping { signal: Signal::Term, told, .. } => {
            Some((told.boot.after(grace).min(last_kill), Signal::Kill))
        }
        JobState::Stopping { signal: Signal::Kill, .. }
        | JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. }
        | JobState::Ended { .. }
        | JobState::Requeued { .. } => None,
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
    const BUDGET: Due = Due::JobBudget { step: 0, job: 0 };

    #[test]
    fn term_comes_max_duration_after_the_start_of_the_process() {
        let known = execution(300, running(40));
        assert_eq!(next_of(&known), (100, TERM));
        assert_eq!(due(&known, at(99)), []);
        assert_eq!(due(&known, at(100)), [TERM]);
        assert_eq!(due(&known, at(300)), [TERM, BUDGET]);
    }

    #[test]
    fn kill_comes_a_grace_after_term_and_nothing_after_kill_but_the_budget() {
        let known = execution(300, stopping(Signal::Term, 100));
        assert_eq!(next_of(&known), (110, KILL));
        assert_eq!(due(&known, at(110)), [KILL]);
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
        waiting.steps[0].jobs[0] = Job::waiting();
        assert_eq!(next(&board([waiting.clone()]), at(0)), None);
        let mut sooner = execution(300, running(20));
        Arc::make_mut(&mut sooner.plan).execution = crate::bundle::ExecutionId::new(uuid::Uuid::max());
        let all = board([execution(300, running(40)), sooner]);
        assert_eq!(next(&all, at(0)), Some((seconds(80), TERM)));
    }

    #[test]
    fn budgets_are_consumed_by_what_is_alive_and_by_nothing_else() {
        let of = |state| consumes(&board([execution(300, state)]));
        assert!(of(JobState::Preparing));
        assert!(of(running(1)));
        assert!(of(stopping(Signal::Term, 2)));
        assert!(!of(JobState::Waiting));
        let mut waiting = execution(300, running(1));
        waiting.steps[0].state = StepState::Waiting;
        assert!(!consumes(&board([waiting])));
        assert!(!consumes(&Board::default()));
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
        let (instant, due) = next(&board([known.clone()]), at(0)).expect("it is active");
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
        known.steps[0].jobs[0] = Job { attempt: 1, began: Some(at(0)), state, ..Job::waiting() };
        known
    }
}
