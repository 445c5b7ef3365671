//! Core: what an end means. From exit codes, losses and budgets to verdicts; from jobs to steps to the execution.
//!
//! The rule that matters: our own record decides. A pod that was told to end failed, whatever its exit code.
//! Must not: ask Podman; facts come as arguments.

use crate::plan::Role;
use crate::reason::{Name, Reason};
use crate::sequence::state::{
    Execution, Exit, Freeze, Halt, Hold, Job, JobState, Phase, StepState, StopCause, Verdict,
};

/// Workers that the message of a gang names: they fit one line, and all are in the status.
const BLAMED: usize = 3;

/// The state of an execution, step or job as everybody outside sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; something must happen first.
    Waiting,
    /// Waiting, and told not to start.
    Held,
    /// It was running at too many resets in a row, and waits for an operator.
    Quarantined,
    /// Its container is being made.
    Starting,
    /// Its process lives.
    Running,
    /// Frozen.
    Paused,
    /// An attempt failed, the next is due.
    Requeued,
    /// Requeued, and told not to start.
    RequeuedHeld,
    /// Ended as wanted.
    Succeeded,
    /// Ended otherwise.
    Failed,
    /// Never started.
    Skipped,
    /// Cannot be known.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Waiting,
        Self::Held,
        Self::Quarantined,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Requeued,
        Self::RequeuedHeld,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Unknown,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Requeued => "requeued",
            Self::RequeuedHeld => "requeued_held",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Unknown)
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|state| state.as_str()).collect();
            format!("`{text}` is no state, expected one of: {}", names.join(", "))
        })
    }
}

/// The state that a verdict is.
#[must_use]
pub fn of_verdict(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Succeeded => State::Succeeded,
        Verdict::Failed(_) => State::Failed,
        Verdict::Skipped(_) => State::Skipped,
        Verdict::Unknown(_) => State::Unknown,
    }
}

/// The state of a job.
#[must_use]
pub fn job_state(job: &Job) -> State {
    match &job.state {
        JobState::Waiting => State::Waiting,
        JobState::Held => State::Held,
        JobState::Preparing | JobState::Prepared { .. } | JobState::Launching { .. } => State::Starting,
        JobState::Running { .. } | JobState::Stopping { .. } => State::Running,
        JobState::Paused { freeze: Freeze::Asked | Freeze::Thawing, .. } => State::Running,
        JobState::Paused { freeze: Freeze::Frozen, .. } => State::Paused,
        JobState::Requeued { hold: Hold::Free, .. } => State::Requeued,
        JobState::Requeued { hold: Hold::Held, .. } => State::RequeuedHeld,
        JobState::Ended { verdict, .. } => of_verdict(verdict),
    }
}

/// The state of a step: that of its jobs until it ends. Of several the one that says most of what goes on.
#[must_use]
pub fn step_state(execution: &Execution, index: usize) -> State {
    let (planned, step) = (&execution.plan.steps[index], &execution.steps[index]);
    let open = || step.jobs.iter().filter(|job| !job.ended()).map(job_state);
    let all = |wanted: State| open().next().is_some() && open().all(|state| state == wanted);
    match &step.state {
        StepState::Ended { verdict, .. } => of_verdict(verdict),
        StepState::Held => State::Held,
        StepState::Waiting if all(State::Held) => State::Held,
        StepState::Waiting => State::Waiting,
        StepState::Active { .. } if planned.is_errand() => State::Running,
        StepState::Active { .. } => {
            // Of a gang that is being frozen or thawed some run: it is paused when none does.
            let up = |unit: usize| {
                let mut jobs = step.jobs[planned.unit(unit)].iter().map(job_state);
                jobs.all(|state| matches!(state, State::Running | State::Paused) || state.ended())
            };
            let runs = |unit: usize| step.jobs[planned.unit(unit)].iter().any(|job| job_state(job) == State::Running);
            let begun = step.jobs.iter().any(|job| job.ended() || matches!(job.state, JobState::Requeued { .. }));
            let running = (0..planned.units()).any(|unit| up(unit) && runs(unit));
            match () {
                () if running => State::Running,
                () if all(State::Paused) => State::Paused,
                () if all(State::Requeued) => State::Requeued,
                () if all(State::RequeuedHeld) => State::RequeuedHeld,
                () if open().any(|state| state == State::Paused) => State::Paused,
                () if begun => State::Running,
                () => State::Starting,
            }
        }
    }
}

/// The state of an execution.
#[must_use]
pub fn execution_state(execution: &Execution) -> State {
    match &execution.phase {
        Phase::Held => State::Held,
        Phase::Quarantined => State::Quarantined,
        Phase::Ended { verdict, .. } => of_verdict(verdict),
        Phase::Settled { .. } => State::Running,
        Phase::Open => {
            let states: Vec<State> = (0..execution.steps.len()).map(|step| step_state(execution, step)).collect();
            let open = || states.iter().filter(|state| !state.ended());
            let idle =
                |state: &State| matches!(state, State::Waiting | State::Held | State::Requeued | State::RequeuedHeld);
            let active = || open().filter(|state| !idle(state));
            let all = |wanted: State| open().next().is_some() && open().all(|state| *state == wanted);
            match () {
                () if active().next().is_some() && active().all(|state| *state == State::Paused) => State::Paused,
                () if states.iter().all(|state| *state == State::Waiting) => State::Waiting,
                () if all(State::Held) => State::Held,
                () => State::Running,
            }
        }
    }
}

/// What the end of a process means.
#[must_use]
pub fn of_exit(exit: &Exit, told: Option<StopCause>) -> Verdict {
    let how = exit_text(exit);
    match told {
        Some(StopCause::Timeout) => Verdict::Failed(Reason::new(Name::Timeout, format!("max_duration ran out; {how}"))),
        Some(StopCause::Operator) => {
            Verdict::Failed(Reason::new(Name::Stopped, format!("stopped by an operator; {how}")))
        }
        Some(StopCause::Gang) => {
            Verdict::Failed(Reason::new(Name::Stopped, format!("told to end with its gang; {how}")))
        }
        None if exit.oom => Verdict::Failed(Reason::new(Name::Oom, format!("killed for its memory; {how}"))),
        None if exit.code == 0 => Verdict::Succeeded,
        None => Verdict::Failed(Reason::new(Name::Exit, how)),
    }
}

/// The signal that an exit code tells of.
#[must_use]
pub fn signal_of(exit: &Exit) -> Option<i64> {
    (129..=192).contains(&exit.code).then(|| exit.code - 128)
}

fn exit_text(exit: &Exit) -> String {
    match signal_of(exit) {
        Some(signal) => format!("exit code {} (128 + signal {signal})", exit.code),
        None => format!("exit code {}", exit.code),
    }
}

/// What it means that Podman no longer has a container that was started, or does not know of its process.
#[must_use]
pub fn of_loss(told: Option<StopCause>) -> Verdict {
    let after = match told {
        Some(StopCause::Timeout) => " after max_duration ran out",
        Some(StopCause::Operator) => " after an operator stopped it",
        Some(StopCause::Gang) => " after it was told to end with its gang",
        None => "",
    };
    let message = format!(
        "its container was removed, or podman was killed while it started it{after}; how it ended cannot be known"
    );
    Verdict::Failed(Reason::new(Name::Lost, message))
}

/// What the quarantine of its execution means for a job that was alive.
#[must_use]
pub fn of_quarantine(told: Option<StopCause>) -> Verdict {
    let after = match told {
        Some(StopCause::Timeout) => " after max_duration ran out",
        Some(StopCause::Operator) => " after an operator stopped it",
        Some(StopCause::Gang) => " after it was told to end with its gang",
        None => "",
    };
    let message = format!("ended{after} because its execution went into quarantine");
    Verdict::Failed(Reason::new(Name::Quarantined, message))
}

/// Why an execution is in quarantine, if it is, and the way out.
#[must_use]
pub fn quarantine(execution: &Execution) -> Option<Reason> {
    let (id, resets) = (execution.plan.execution, execution.resets);
    let message = format!(
        "it was running at {resets} resets of board or daemon in a row and may be what makes them; \
         `perigee release {id}` tries again, `perigee stop {id}` ends it"
    );
    (execution.phase == Phase::Quarantined).then(|| Reason::new(Name::Quarantined, message))
}

/// What it means for a job that its step's budget ran out: what cannot have run failed, the rest is unknown.
#[must_use]
pub fn of_budget(state: &JobState, seconds: u32, away: Option<&str>) -> Option<Verdict> {
    match state {
        JobState::Waiting | JobState::Held | JobState::Preparing | JobState::Prepared { .. } => {
            let message = budget_text(seconds, "before its process started", away);
            Some(Verdict::Failed(Reason::new(Name::Timeout, message)))
        }
        JobState::Launching { .. } | JobState::Running { .. } | JobState::Paused { .. } | JobState::Stopping { .. } => {
            let message = budget_text(seconds, "and Podman has not said how its process ended", away);
            Some(Verdict::Unknown(Reason::new(Name::EngineUnreachable, message)))
        }
        JobState::Ended { .. } | JobState::Requeued { .. } => None,
    }
}

/// A budget that ran out, when, and what kept its node from answering.
#[must_use]
pub fn budget_text(seconds: u32, when: &str, away: Option<&str>) -> String {
    let why = away.map(|why| format!("; {why}")).unwrap_or_default();
    format!("the budget of {seconds} s ran out {when}{why}")
}

/// What the ends of its jobs mean for a unit, once all of them are over. The launcher decides for its gang, if it ran.
#[must_use]
pub fn of_unit(execution: &Execution, step: usize, unit: usize) -> Option<Verdict> {
    let planned = &execution.plan.steps[step];
    let members = planned.unit(unit);
    let jobs = execution.steps[step].jobs.get(members.clone())?;
    if jobs.is_empty() || !jobs.iter().all(Job::ended) {
        return None;
    }
    let launcher = members.zip(jobs).find(|(job, _)| planned.jobs()[*job].role == Role::Launcher);
    match launcher {
        Some((_, Job { state: JobState::Ended { verdict, run: Some(_), .. }, .. })) => Some(verdict.clone()),
        Some(_) | None => Some(worst(jobs.iter().filter_map(Job::verdict))),
    }
}

/// What the ends of its units mean for a step: the first failure, else the first unknown, else the first skip. Of
/// several jobs the one that decides is named.
#[must_use]
pub fn of_step(execution: &Execution, step: usize) -> Verdict {
    let planned = &execution.plan.steps[step];
    let unit = |unit: usize| {
        let verdict = of_unit(execution, step, unit)?;
        if planned.jobs().len() < 2 {
            return Some(verdict);
        }
        let decides = |job: &usize| execution.steps[step].jobs.get(*job).and_then(Job::verdict) == Some(&verdict);
        let job = planned.unit(unit).find(decides);
        Some(match job {
            Some(job) => {
                let verdict = named(&verdict, &format!("job {}.{}", planned.id, planned.label(job)));
                if planned.jobs()[job].role == Role::Launcher {
                    blamed(verdict, execution, step, unit)
                } else {
                    verdict
                }
            }
            None => verdict,
        })
    };
    let units: Vec<Verdict> = (0..planned.units()).filter_map(unit).collect();
    let ran = |job: &Job| matches!(job.state, JobState::Ended { run: Some(_), .. });
    match worst(units.iter()) {
        // A part of it was skipped: what has run in part is not told as something that never started.
        Verdict::Skipped(reason) if execution.steps[step].jobs.iter().any(ran) => Verdict::Failed(reason),
        verdict @ (Verdict::Succeeded | Verdict::Failed(_) | Verdict::Skipped(_) | Verdict::Unknown(_)) => verdict,
    }
}

/// The failure of a launcher with the workers that died by themselves, which are often why.
fn blamed(verdict: Verdict, execution: &Execution, step: usize, unit: usize) -> Verdict {
    let planned = &execution.plan.steps[step];
    let workers = planned.unit(unit).filter(|job| planned.jobs()[*job].role == Role::Worker);
    let died = workers.filter_map(|job| match execution.steps[step].jobs.get(job).and_then(Job::verdict)? {
        // Those that are told to end with their gang have done nothing wrong.
        Verdict::Failed(reason) if reason.name != Name::Stopped => {
            Some(format!("; {}: {}", planned.label(job), reason.message))
        }
        Verdict::Failed(_) | Verdict::Succeeded | Verdict::Skipped(_) | Verdict::Unknown(_) => None,
    });
    let died: String = died.take(BLAMED).collect();
    reworded(&verdict, |message| format!("{message}{died}"))
}

fn named(verdict: &Verdict, part: &str) -> Verdict {
    reworded(verdict, |message| format!("{part}: {message}"))
}

fn reworded(verdict: &Verdict, words: impl Fn(&str) -> String) -> Verdict {
    let with = |reason: &Reason| Reason::new(reason.name, words(&reason.message));
    match verdict {
        Verdict::Succeeded => Verdict::Succeeded,
        Verdict::Failed(reason) => Verdict::Failed(with(reason)),
        Verdict::Skipped(reason) => Verdict::Skipped(with(reason)),
        Verdict::Unknown(reason) => Verdict::Unknown(with(reason)),
    }
}

/// What the ends of its steps mean for an execution. Any step that did not succeed is named.
#[must_use]
pub fn of_execution(execution: &Execution) -> Verdict {
    if execution.halt == Some(Halt::Operator) {
        return Verdict::Failed(Reason::new(Name::Stopped, "stopped by an operator"));
    }
    let steps = execution.plan.steps.iter().zip(&execution.steps).filter_map(|(planned, step)| {
        let verdict = step.state.verdict()?;
        // The reason of a step with several jobs names one of them.
        let says = |reason: &Reason| reason.message.starts_with(&format!("job {}.", planned.id));
        Some(match verdict.reason() {
            // Nobody wanted it to run.
            Some(reason) if reason.name == Name::Condition && matches!(verdict, Verdict::Skipped(_)) => {
                Verdict::Succeeded
            }
            Some(reason) if says(reason) => verdict.clone(),
            Some(_) | None => named(verdict, &format!("step {}", planned.id)),
        })
    });
    match worst(steps.collect::<Vec<_>>().iter()) {
        // Something did not run that should have: the execution did not do what it was sent for.
        Verdict::Skipped(reason) => Verdict::Failed(reason),
        verdict @ (Verdict::Succeeded | Verdict::Failed(_) | Verdict::Unknown(_)) => verdict,
    }
}

fn worst<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Failed(_) => 0,
        Verdict::Unknown(_) => 1,
        Verdict::Skipped(_) => 2,
        Verdict::Succeeded => 3,
    };
    verdicts.min_by_key(|verdict| rank(verdict)).cloned().unwrap_or(Verdict::Succeeded)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::sequence::state::{Logs, Remains, Run, Signal};
    use crate::time::{BootTime, Timestamp};

    const AT: Timestamp = Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(0) };

    #[test]
    fn a_timeout_or_stop_wins_over_every_exit() {
        for exit in [
            Exit { code: 0, oom: false, cpu_ms: None },
            Exit { code: 143, oom: false, cpu_ms: None },
            Exit { code: 137, oom: true, cpu_ms: None },
        ] {
            assert_eq!(name(&of_exit(&exit, Some(StopCause::Timeout))), Some(Name::Timeout), "{exit:?}");
            assert_eq!(name(&of_exit(&exit, Some(StopCause::Operator))), Some(Name::Stopped), "{exit:?}");
        }
    }

    #[test]
    fn only_exit_0_of_a_process_that_was_left_alone_is_success() {
        assert_eq!(of_exit(&Exit { code: 0, oom: false, cpu_ms: None }, None), Verdict::Succeeded);
        assert_eq!(name(&of_exit(&Exit { code: 0, oom: true, cpu_ms: None }, None)), Some(Name::Oom));
        assert_eq!(name(&of_exit(&Exit { code: 137, oom: true, cpu_ms: None }, None)), Some(Name::Oom));
        for code in [1, 3, 137, 255, -1] {
            assert_eq!(name(&of_exit(&Exit { code, oom: false, cpu_ms: None }, None)), Some(Name::Exit), "{code}");
        }
    }

    #[test]
    fn a_code_above_128_is_told_with_its_signal() {
        let message = |code| {
            of_exit(&Exit { code, oom: false, cpu_ms: None }, None).reason().map(|reason| reason.message.clone())
        };
        assert_eq!(message(137).as_deref(), Some("exit code 137 (128 + signal 9)"));
        for (code, text) in [(128, "exit code 128"), (193, "exit code 193"), (3, "exit code 3")] {
            assert_eq!(message(code).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_container_that_somebody_removed_is_lost_and_says_what_it_was_told() {
        let message = |told| of_loss(told).reason().map(|reason| reason.message.clone()).unwrap_or_default();
        for told in [None, Some(StopCause::Timeout), Some(StopCause::Operator)] {
            assert_eq!(name(&of_loss(told)), Some(Name::Lost));
        }
        assert!(message(Some(StopCause::Timeout)).contains("after max_duration ran out"));
        assert!(!message(None).contains("after"));
    }

    #[test]
    fn a_budget_that_ran_out_fails_what_never_started_and_leaves_the_rest_unknown() {
        let container = || "c".to_owned();
        let before = [JobState::Waiting, JobState::Preparing, JobState::Prepared { container: container() }];
        for state in before {
            let verdict = of_budget(&state, 360, None).expect("it has not ended");
            assert!(matches!(&verdict, Verdict::Failed(reason) if reason.name == Name::Timeout), "{state:?}");
        }
        let (cause, signal) = (StopCause::Timeout, Signal::Kill);
        let after = [
            JobState::Launching { container: container(), stop: None },
            JobState::Running { container: container(), started: AT },
            JobState::Stopping { container: container(), started: AT, cause, signal, told: AT },
        ];
        for state in after {
            let verdict = of_budget(&state, 360, None).expect("it has not ended");
            assert!(
                matches!(&verdict, Verdict::Unknown(reason) if reason.name == Name::EngineUnreachable),
                "{state:?}"
            );
        }
        assert_eq!(of_budget(&ended(Verdict::Succeeded).state, 360, None), None);
    }

    #[test]
    fn a_step_is_the_worst_of_its_jobs_and_the_first_of_those() {
        let of = |verdicts: &[Verdict]| worst(verdicts.iter());
        assert_eq!(of(&[Verdict::Succeeded, Verdict::Succeeded]), Verdict::Succeeded);
        assert_eq!(of(&[Verdict::Succeeded, skipped()]), skipped());
        assert_eq!(of(&[skipped(), unknown()]), unknown());
        assert_eq!(of(&[unknown(), failed(Name::Oom), failed(Name::Exit)]), failed(Name::Oom));
    }

    #[test]
    fn an_execution_succeeds_only_if_every_step_did_whatever_on_failure_says() {
        assert_eq!(of_execution(&execution(&[Verdict::Succeeded, Verdict::Succeeded])), Verdict::Succeeded);
        let went_on = of_execution(&execution(&[failed(Name::Exit), Verdict::Succeeded]));
        assert_eq!(went_on, Verdict::Failed(Reason::new(Name::Exit, "step S0: why")));
        let stopped = of_execution(&execution(&[failed(Name::Exit), skipped()]));
        assert_eq!(name(&stopped), Some(Name::Exit), "the cause is told, not its consequence");
        let not_known = of_execution(&execution(&[Verdict::Succeeded, unknown()]));
        assert!(matches!(&not_known, Verdict::Unknown(reason) if reason.message == "step S1: why"), "{not_known:?}");
        let not_run = of_execution(&execution(&[Verdict::Succeeded, skipped()]));
        assert!(matches!(&not_run, Verdict::Failed(reason) if reason.name == Name::Dependency), "{not_run:?}");
    }

    #[test]
    fn an_execution_that_an_operator_stopped_has_failed_though_its_steps_had_succeeded() {
        let mut known = execution(&[Verdict::Succeeded]);
        known.halt = Some(Halt::Operator);
        assert_eq!(name(&of_execution(&known)), Some(Name::Stopped));
        known.halt = Some(Halt::Failure("S0".parse().expect("legal")));
        assert_eq!(of_execution(&known), Verdict::Succeeded);
    }

    #[test]
    fn states_are_told_alike_of_executions_steps_and_jobs() {
        let mut known = execution(&[Verdict::Succeeded, Verdict::Succeeded]);
        known.phase = Phase::Held;
        assert_eq!(execution_state(&known), State::Held);
        known.phase = Phase::Settled { verdict: Verdict::Succeeded, at: AT };
        assert_eq!(execution_state(&known), State::Running, "its report is not yet in the outbox");
        known.phase = Phase::Ended { verdict: skipped(), at: AT };
        assert_eq!(execution_state(&known), State::Skipped);
        known.steps[0].state = StepState::Active { since: AT };
        known.steps[0].jobs[0].state = JobState::Preparing;
        assert_eq!(step_state(&known, 0), State::Starting);
        known.steps[0].jobs[0].state = JobState::Running { container: "c".to_owned(), started: AT };
        assert_eq!((step_state(&known, 0), job_state(&known.steps[0].jobs[0])), (State::Running, State::Running));
    }

    #[test]
    fn every_state_is_read_back_from_its_name_and_others_are_refused_with_the_list() {
        assert!(State::ALL.into_iter().all(|state| state.as_str().parse() == Ok(state)));
        let refused = "done".parse::<State>().expect_err("no state");
        assert!(refused.starts_with("`done` is no state, expected one of: waiting, held"), "{refused}");
    }

    fn name(verdict: &Verdict) -> Option<Name> {
        verdict.reason().map(|reason| reason.name)
    }

    fn failed(name: Name) -> Verdict {
        Verdict::Failed(Reason::new(name, "why"))
    }

    fn skipped() -> Verdict {
        Verdict::Skipped(Reason::new(Name::Dependency, "why"))
    }

    fn unknown() -> Verdict {
        Verdict::Unknown(Reason::new(Name::EngineUnreachable, "why"))
    }

    fn ended(verdict: Verdict) -> Job {
        let run = Some(Run { container: "c".to_owned(), started: AT, exit: None });
        let remains = Remains::Cleared(Logs::default());
        Job { attempt: 1, began: Some(AT), state: JobState::Ended { verdict, at: AT, run, remains }, ..Job::waiting() }
    }

    fn execution(verdicts: &[Verdict]) -> Execution {
        let job = serde_json::json!({"pod_name": "p", "hostname": "t-p", "node": "mpu", "max_duration_seconds": 60,
            "pod": {"image": "a:1", "command": null, "args": null, "env": [], "ports": [], "claim": "t.v"}});
        let steps: Vec<_> = (0..verdicts.len())
            .map(|index| {
                serde_json::json!({"id": format!("S{index}"), "on_failure": "continue", "timeout_seconds": 360,
                    "group": null, "after": [], "work": {"pod_run": {"jobs": [job]}}})
            })
            .collect();
        let plan: Plan = serde_json::from_value(serde_json::json!({
            "execution": "0198c0de-0000-7000-8000-000000000001", "tenant": "t", "stop_grace_seconds": 10,
            "operation": {"id": "o", "revision": null, "namespace": null, "system": null, "description": null,
                "labels": {}},
            "steps": steps,
        }))
        .expect("a plan");
        let mut known = Execution::new(Arc::new(plan), false, AT);
        for (step, verdict) in known.steps.iter_mut().zip(verdicts) {
            step.state = StepState::Ended { since: Some(AT), at: AT, verdict: verdict.clone(), output: None };
        }
        known
    }
}
