//! Core: what the outside sees of an execution. One state set, five views; the JSON of the contract.
//!
//! Must not: know how it is served.

mod events;

use std::time::Duration;

pub use events::{EventLine, event_line};
use serde::{Deserialize, Serialize};

use crate::bundle::document::OnFailure;
use crate::bundle::{ExecutionId, Hostname, NodeName, OperationId, PodName, StepId, Tenant};
use crate::outcome::{self, State};
use crate::plan::{Needs, PlannedJob, PlannedStep, Role, Work};
use crate::reason::Reason;
use crate::sequence::cascade::obstacle;
use crate::sequence::event::Away;
use crate::sequence::state::{AttemptId, Board, Execution, Input, Job, JobState, Phase, Remains, StepState};

/// `status` of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionStatus {
    /// Its identity.
    pub execution: ExecutionId,
    /// The operation it runs.
    pub operation: OperationId,
    /// The operation's revision, when the packer named one.
    pub revision: Option<u32>,
    /// Who owns it.
    pub tenant: Tenant,
    /// Where it is.
    pub state: State,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// When its bundle was accepted.
    pub received_at: jiff::Timestamp,
    /// When its first step started.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Its steps, in order.
    pub steps: Vec<StepStatus>,
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its name.
    pub id: StepId,
    /// `pod_run`, `uplink` or `downlink`.
    pub kind: String,
    /// Where it is.
    pub state: State,
    /// True, false, or null while undecided.
    pub status: Option<bool>,
    /// One line on why it did not succeed.
    pub message: Option<String>,
    /// The same, coded.
    pub reason: Option<Reason>,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Its budget.
    pub timeout_seconds: u32,
    /// Its merge group.
    pub group: Option<u32>,
    /// When it started.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Its jobs.
    pub jobs: Vec<JobStatus>,
}

/// One job of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// `<execution>.<step>.<index>`.
    pub id: String,
    /// Position of the unit that it starts with.
    #[serde(default)]
    pub unit: usize,
    /// Its part in a gang.
    #[serde(default)]
    pub role: Role,
    /// The tenant's name for the pod.
    pub pod_name: PodName,
    /// Its name on the network.
    pub hostname: Hostname,
    /// Where it runs.
    pub node: NodeName,
    /// Podman's name of its container.
    pub container: Option<String>,
    /// Where it is.
    pub state: State,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
    /// Its exit code, if its process lived and Podman could say.
    pub exit_code: Option<i64>,
    /// Number of the attempt; 0 before the first.
    pub attempt: u32,
    /// Seconds its process may run.
    pub max_duration_seconds: u32,
    /// When its process started.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Seconds its process lived.
    pub wall_seconds: Option<f64>,
    /// Seconds of these that it was frozen, as far as it has been thawed.
    #[serde(default)]
    pub paused_seconds: f64,
    /// Seconds of processor time that it used; null until it has ended, and where that cannot be read.
    pub cpu_seconds: Option<f64>,
    /// The signal that ended its process, as its exit code tells.
    #[serde(default)]
    pub signal: Option<i64>,
    /// Its tenant.
    #[serde(default)]
    pub owner: String,
    /// Who its process is, where the operation says so.
    #[serde(default)]
    pub user: Option<String>,
    /// Processes that a scheduler would count: one for a pod.
    #[serde(default)]
    pub slots: u32,
    /// The nodes it runs on.
    #[serde(default)]
    pub machines: Vec<NodeName>,
    /// Bytes of standard output kept; null until its container is cleared.
    #[serde(default)]
    pub stdout_bytes: Option<u64>,
    /// Bytes of standard error kept; null until its container is cleared.
    #[serde(default)]
    pub stderr_bytes: Option<u64>,
    /// Whether older console output was dropped for the limit.
    pub logs_truncated: bool,
    /// The state in the words of others.
    pub views: Views,
}

/// One state in the words of four other systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// Clustergate-2 task state.
    pub clustergate2: String,
    /// DRMAA2 job state.
    pub drmaa2: String,
    /// Kubernetes pod phase.
    pub kubernetes: String,
    /// KubeGene vertex phase; null before the job exists.
    pub kubegene: Option<String>,
}

impl StepStatus {
    /// The jobs of one of its units.
    pub fn unit(&self, unit: usize) -> impl Iterator<Item = &JobStatus> {
        self.jobs.iter().filter(move |job| job.unit == unit)
    }

    /// The state of one of its units: the launcher's, once all of it runs.
    #[must_use]
    pub fn unit_state(&self, unit: usize) -> State {
        let starting = self.unit(unit).find(|job| matches!(job.state, State::Waiting | State::Starting));
        let launcher = self.unit(unit).find(|job| job.role == Role::Launcher);
        let decides = starting.or(launcher).or_else(|| self.unit(unit).next());
        decides.map_or(State::Unknown, |job| job.state)
    }
}

/// A line of `list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its identity.
    pub execution: ExecutionId,
    /// The operation it runs.
    pub operation: OperationId,
    /// Who owns it.
    pub tenant: Tenant,
    /// Where it is.
    pub state: State,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
    /// When its bundle was accepted.
    pub received_at: jiff::Timestamp,
    /// When its first step started.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Steps that have ended.
    pub steps_ended: usize,
    /// Steps in all.
    pub steps_total: usize,
}

impl From<&ExecutionStatus> for Summary {
    fn from(status: &ExecutionStatus) -> Self {
        Self {
            execution: status.execution,
            operation: status.operation.clone(),
            tenant: status.tenant.clone(),
            state: status.state,
            reason: status.reason.clone(),
            received_at: status.received_at,
            started_at: status.started_at,
            ended_at: status.ended_at,
            steps_ended: status.steps.iter().filter(|step| step.state.ended()).count(),
            steps_total: status.steps.len(),
        }
    }
}

/// What surrounds an execution: with it, waiting parts say what they wait for.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// All live executions.
    pub board: &'a Board,
    /// Nodes whose Podman does not answer.
    pub away: &'a Away,
}

/// The status of an execution.
#[must_use]
pub fn status(execution: &Execution, around: Option<Around<'_>>) -> ExecutionStatus {
    let (verdict, ended_at) = match &execution.phase {
        Phase::Held | Phase::Open | Phase::Settled { .. } => (None, None),
        Phase::Ended { verdict, at, .. } => (Some(verdict), Some(at.wall)),
    };
    let steps: Vec<StepStatus> = (0..execution.steps.len()).map(|step| step_status(execution, step, around)).collect();
    ExecutionStatus {
        execution: execution.plan.execution,
        operation: execution.plan.operation.id.clone(),
        revision: execution.plan.operation.revision,
        tenant: execution.plan.tenant.clone(),
        state: outcome::execution_state(execution),
        reason: verdict.and_then(|verdict| verdict.reason().cloned()),
        waiting_for: execution_waits(execution, &steps),
        received_at: execution.received.wall,
        started_at: execution.started().map(|at| at.wall),
        ended_at,
        steps,
    }
}

fn execution_waits(execution: &Execution, steps: &[StepStatus]) -> Option<String> {
    match &execution.phase {
        Phase::Held => Some("release by an operator".to_owned()),
        Phase::Settled { .. } => Some("its report to be put into the outbox".to_owned()),
        Phase::Ended { .. } => None,
        Phase::Open if steps.iter().all(|step| step.state.ended()) => Some("its containers to be cleared".to_owned()),
        Phase::Open if steps.iter().all(|step| step.state == State::Waiting || step.state.ended()) => {
            steps.iter().find_map(|step| step.waiting_for.clone())
        }
        Phase::Open => None,
    }
}

fn step_status(execution: &Execution, index: usize, around: Option<Around<'_>>) -> StepStatus {
    let (planned, step) = (&execution.plan.steps[index], &execution.steps[index]);
    let verdict = step.state.verdict();
    let (started, ended) = match &step.state {
        StepState::Waiting | StepState::Held => (None, None),
        StepState::Active { since } => (Some(*since), None),
        StepState::Ended { since, at, .. } => (*since, Some(*at)),
    };
    let reason = verdict.and_then(|verdict| verdict.reason().cloned());
    let state = held_or(outcome::step_state(execution, index), execution.phase == Phase::Held);
    StepStatus {
        id: planned.id.clone(),
        kind: kind(planned).to_owned(),
        state,
        status: verdict.map(|_| state == State::Succeeded),
        message: reason.as_ref().map(|reason| reason.message.clone()),
        reason,
        waiting_for: match step.state {
            StepState::Waiting | StepState::Held => Some(step_waits(execution, index, around)),
            StepState::Active { .. } => around.and_then(|around| podman_awaited(execution, index, around.away)),
            StepState::Ended { .. } => None,
        },
        on_failure: planned.on_failure,
        timeout_seconds: planned.timeout_seconds,
        group: planned.group,
        started_at: started.map(|at| at.wall),
        ended_at: ended.map(|at| at.wall),
        jobs: (0..step.jobs.len()).map(|job| job_status(execution, index, job, state)).collect(),
    }
}

/// What waits in a held execution is held, too.
fn held_or(state: State, held: bool) -> State {
    if held && state == State::Waiting { State::Held } else { state }
}

fn kind(planned: &PlannedStep) -> &'static str {
    match planned.work {
        Work::PodRun { .. } => "pod_run",
        Work::Errand(ref errand) => errand.kind(),
    }
}

/// The Podman that an active step needs an answer of, when it does not answer.
fn podman_awaited(execution: &Execution, index: usize, away: &Away) -> Option<String> {
    let (planned, step) = (&execution.plan.steps[index], &execution.steps[index]);
    let open = planned.jobs().iter().zip(&step.jobs).filter(|(_, job)| !job.ended()).map(|(planned, _)| &planned.node);
    planned.node().into_iter().chain(open).find_map(|node| away.get(node)).map(|why| format!("podman to answer: {why}"))
}

fn step_waits(execution: &Execution, index: usize, around: Option<Around<'_>>) -> String {
    if execution.phase == Phase::Held {
        return "release by an operator".to_owned();
    }
    let planned = &execution.plan.steps[index];
    let open = planned.after.iter().find(|edge| execution.steps[edge.step].state.verdict().is_none());
    if let Some(edge) = open {
        let source = &execution.plan.steps[edge.step].id;
        return match edge.needs {
            Needs::Ended => format!("the end of step {source}"),
            Needs::Success => format!("the success of step {source}"),
            Needs::Each => format!("the success of step {source}, position by position"),
        };
    }
    let step = &execution.steps[index];
    if step.state == StepState::Held || step.jobs.iter().any(|job| job.state == JobState::Held) {
        return "release by an operator".to_owned();
    }
    if step.input == Input::Reading {
        return "the output that decides about it".to_owned();
    }
    if let Some(first) = planned.terms.window.not_before {
        return format!("its turn, not before {first}");
    }
    let group = execution.plan.group_of(index);
    let wanted: Vec<&PlannedJob> = execution.plan.steps[group].iter().flat_map(PlannedStep::jobs).collect();
    let mut others = around.into_iter().flat_map(|around| around.board.live.values());
    match others.find_map(|other| Some((other, obstacle(&wanted, other)?))) {
        Some((other, (attempt, hostname))) => {
            format!("{} to leave its node ({hostname})", job_id(other, attempt.step, attempt.job))
        }
        None => "its turn".to_owned(),
    }
}

fn job_status(execution: &Execution, step: usize, index: usize, step_state: State) -> JobStatus {
    let (planned, job): (&PlannedJob, &Job) =
        (&execution.plan.steps[step].jobs()[index], &execution.steps[step].jobs[index]);
    let (mut started, mut ended, mut exit, mut reason, mut logs) = (None, None, None, None, None);
    match &job.state {
        JobState::Waiting
        | JobState::Held
        | JobState::Preparing
        | JobState::Prepared { .. }
        | JobState::Launching { .. } => {}
        JobState::Running { started: since, .. }
        | JobState::Paused { started: since, .. }
        | JobState::Stopping { started: since, .. } => started = Some(*since),
        JobState::Requeued { reason: why, .. } => reason = Some(why.clone()),
        JobState::Ended { verdict, at, run, remains } => {
            reason = verdict.reason().cloned();
            started = run.as_ref().map(|run| run.started);
            ended = Some(*at);
            exit = run.as_ref().and_then(|run| run.exit.as_ref());
            logs = match remains {
                Remains::Cleared(logs) => Some(logs),
                Remains::Nothing | Remains::Owed => None,
            };
        }
    }
    let state = held_or(outcome::job_state(job), step_state == State::Held);
    // How long a process lived is known only where Podman could say that it ended.
    let lived = started.zip(ended).filter(|_| exit.is_some()).map(|(from, to)| to.boot.since(from.boot).as_secs_f64());
    JobStatus {
        id: job_id(execution, step, index),
        unit: planned.unit as usize,
        role: planned.role,
        pod_name: planned.pod_name.clone(),
        hostname: planned.hostname.clone(),
        node: planned.node.clone(),
        container: (job.attempt > 0).then(|| {
            container_name(
                execution,
                &AttemptId { execution: execution.plan.execution, step, job: index, attempt: job.attempt },
            )
        }),
        state,
        views: views(state),
        reason,
        exit_code: exit.map(|exit| exit.code),
        attempt: job.attempt,
        max_duration_seconds: planned.max_duration_seconds,
        started_at: started.map(|at| at.wall),
        ended_at: ended.map(|at| at.wall),
        wall_seconds: lived,
        paused_seconds: Duration::from_millis(job.paused_ms).as_secs_f64(),
        cpu_seconds: exit.and_then(|exit| exit.cpu_ms).map(|ms| Duration::from_millis(ms).as_secs_f64()),
        signal: exit.and_then(outcome::signal_of),
        owner: execution.plan.tenant.to_string(),
        user: planned.pod.options.user.as_ref().map(ToString::to_string),
        slots: execution.plan.steps[step].terms.gang.as_ref().filter(|_| planned.role == Role::Worker).map_or(1, |gang| gang.slots_per_worker),
        machines: vec![planned.node.clone()],
        stdout_bytes: logs.map(|logs| logs.stdout_bytes),
        stderr_bytes: logs.map(|logs| logs.stderr_bytes),
        logs_truncated: logs.is_some_and(|logs| logs.truncated),
    }
}

/// `<execution>.<step>.<index>`.
#[must_use]
pub fn job_id(execution: &Execution, step: usize, job: usize) -> String {
    let planned = &execution.plan.steps[step];
    format!("{}.{}.{}", execution.plan.execution, planned.id, planned.label(job))
}

/// Podman's name for the container of an attempt: nothing in an operation can change it.
#[must_use]
pub fn container_name(execution: &Execution, id: &AttemptId) -> String {
    let planned = &execution.plan.steps[id.step];
    format!("{}.{}.{}.{}", id.execution.short(), planned.id, planned.label(id.job), id.attempt)
}

fn views(state: State) -> Views {
    let (clustergate2, drmaa2, kubernetes, kubegene) = match state {
        State::Waiting => ("CREATED", "Queued", "Pending", None),
        State::Held => ("SCHEDULED", "QueuedHeld", "Pending", None),
        State::Starting => ("SCHEDULED", "Queued", "Pending", Some("Running")),
        State::Running => ("RUNNING", "Running", "Running", Some("Running")),
        State::Paused => ("RUNNING", "Suspended", "Running", Some("Running")),
        State::Requeued => ("RUNNING", "Requeued", "Pending", Some("Running")),
        State::RequeuedHeld => ("RUNNING", "RequeuedHeld", "Pending", Some("Running")),
        State::Succeeded => ("SUCCESS", "Done", "Succeeded", Some("Succeeded")),
        State::Failed => ("FAILED", "Failed", "Failed", Some("Failed")),
        State::Skipped => ("FAILED", "Failed", "Failed", Some("Failed")),
        State::Unknown => ("FAILED", "Undetermined", "Unknown", Some("Error")),
    };
    Views {
        clustergate2: clustergate2.to_owned(),
        drmaa2: drmaa2.to_owned(),
        kubernetes: kubernetes.to_owned(),
        kubegene: kubegene.map(str::to_owned),
    }
}
