//! Core: what the outside sees of an execution. One state set, five views; the JSON of the contract.
//!
//! Must not: know how it is served.

mod digest;
mod events;
mod graph;
mod metrics;
mod phases;
mod ran;
mod summary;
mod waits;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

pub use digest::digest;
pub use events::{EventLine, Names, event_line};
use graph::Edges;
pub use graph::{After, BATCH_LABEL, PROGRAM_LABEL};
pub use metrics::Metrics;
pub use phases::{PhaseGroup, PhaseJob, grouped};
use ran::{Known, known, paused};
use serde::{Deserialize, Serialize};
pub use summary::{Filter, Summary};
use waits::{execution_waits, podman_awaited, step_waits};
pub use words::{Views, views};

use crate::bundle::document::OnFailure;
use crate::bundle::{ExecutionId, Hostname, NodeName, OperationId, PodName, StepId, Tenant};
use crate::outcome::{self, State};
use crate::plan::{PlannedJob, PlannedStep, Role, Work};
use crate::reason::Reason;
use crate::sequence::event::Away;
use crate::sequence::state::{Ahead, AttemptId, Board, Execution, Job, Output, Phase, StepState};
use crate::time::Timestamp;

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
    /// What the operation calls itself besides; `batch` names its batch.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub state: State,
    /// One line on how it ended.
    #[serde(default)]
    pub message: Option<String>,
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
    /// `pod_run`, or the name of its errand.
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
    /// What it comes after.
    #[serde(default)]
    pub after: Vec<After>,
    /// Its output document, if it left one.
    #[serde(default)]
    pub output: Option<Output>,
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
    /// The program that it runs, as far as its command line or the operation's label `program` says.
    #[serde(default)]
    pub program: Option<String>,
    /// Jobs (of large steps: the step) that wait for it.
    #[serde(default)]
    pub children: Vec<String>,
    /// Jobs (of large steps: the step) that it waits for.
    #[serde(default)]
    pub after: Vec<String>,
    /// Processes that a scheduler would count; of a launcher those of all its workers.
    #[serde(default)]
    pub slots: u32,
    /// Podman's name of its container.
    pub container: Option<String>,
    /// Podman's id of the image that its container was made from.
    #[serde(default)]
    pub image: Option<String>,
    /// Where it is.
    pub state: State,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
    /// Its exit code, if its process lived and Podman could say.
    pub exit_code: Option<i64>,
    /// Number of the attempt; 0 before the first.
    pub attempt: u32,
    /// How far the container is that is made ahead of its turn: `preparing`, `prepared`; null when there is none.
    #[serde(default)]
    pub ahead: Option<AheadStatus>,
    /// Attempts among these that were made ahead and withdrawn: they never started.
    #[serde(default)]
    pub withdrawn: u32,
    /// Seconds its process may run.
    pub max_duration_seconds: u32,
    /// When its bundle was accepted.
    #[serde(default)]
    pub submitted_at: Option<jiff::Timestamp>,
    /// When its process started.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// Seconds its process has lived; null before it starts, and when nobody knows when it ended.
    pub wall_seconds: Option<f64>,
    /// Seconds of these that it was frozen.
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

/// How far a container is that is made ahead of its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AheadStatus {
    /// It is being made and initialised.
    Preparing,
    /// It is initialised: the job has only to start.
    Prepared,
}

impl StepStatus {
    /// The jobs of one of its units.
    pub fn unit(&self, unit: usize) -> impl Iterator<Item = &JobStatus> {
        self.jobs.iter().filter(move |job| job.unit == unit)
    }

    /// The state of one of its units: the launcher's, once all of it runs and unless some of it is not frozen yet.
    #[must_use]
    pub fn unit_state(&self, unit: usize) -> State {
        let starting = self.unit(unit).find(|job| matches!(job.state, State::Waiting | State::Starting));
        let launcher = self.unit(unit).find(|job| job.role == Role::Launcher);
        let decides = starting.or(launcher).or_else(|| self.unit(unit).next()).map_or(State::Unknown, |job| job.state);
        let runs = self.unit(unit).any(|job| job.state == State::Running);
        if decides == State::Paused && runs { State::Running } else { decides }
    }
}

/// What surrounds an execution: with it, waiting parts say what they wait for.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// All live executions.
    pub board: &'a Board,
    /// Nodes whose Podman does not answer.
    pub away: &'a Away,
    /// Now.
    pub now: Timestamp,
}

/// The status of an execution.
#[must_use]
pub fn status(execution: &Execution, around: Option<Around<'_>>) -> ExecutionStatus {
    let (verdict, ended_at) = match &execution.phase {
        Phase::Held | Phase::Open | Phase::Quarantined | Phase::Settled { .. } => (None, None),
        Phase::Ended { verdict, at, .. } => (Some(verdict), Some(at.wall)),
    };
    let steps: Vec<StepStatus> = (0..execution.steps.len()).map(|step| step_status(execution, step, around)).collect();
    ExecutionStatus {
        execution: execution.plan.execution,
        operation: execution.plan.operation.id.clone(),
        revision: execution.plan.operation.revision,
        tenant: execution.plan.tenant.clone(),
        labels: execution.plan.operation.labels.clone(),
        state: outcome::execution_state(execution),
        message: verdict.map(|verdict| match verdict.reason() {
            Some(reason) => reason.message.clone(),
            None => "execution has run successfully".to_owned(),
        }),
        reason: verdict.and_then(|verdict| verdict.reason().cloned()).or_else(|| outcome::quarantine(execution)),
        waiting_for: execution_waits(execution, &steps),
        received_at: execution.received.wall,
        started_at: execution.started().map(|at| at.wall),
        ended_at,
        steps,
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
    let kept = matches!(execution.phase, Phase::Held | Phase::Quarantined);
    let state = held_or(outcome::step_state(execution, index), kept);
    let (edges, now) = (Edges::of(&execution.plan, index), around.map(|around| around.now));
    let job = |job: usize| JobStatus {
        children: edges.children(execution, planned.jobs()[job].unit as usize),
        after: edges.sources(execution, planned.jobs()[job].unit as usize),
        ..job_status(execution, (index, job), state, now)
    };
    let jobs = (0..step.jobs.len()).map(job).collect();
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
        after: graph::after(&execution.plan, index),
        output: match &step.state {
            StepState::Waiting | StepState::Held | StepState::Active { .. } => None,
            StepState::Ended { output, .. } => *output,
        },
        started_at: started.map(|at| at.wall),
        ended_at: ended.map(|at| at.wall),
        jobs,
    }
}

/// What waits in an execution that waits for its release is held, too.
fn held_or(state: State, kept: bool) -> State {
    match (kept, state == State::Waiting, state == State::Requeued) {
        (true, true, _) => State::Held,
        (true, _, true) => State::RequeuedHeld,
        _ => state,
    }
}

fn kind(planned: &PlannedStep) -> &'static str {
    match planned.work {
        Work::PodRun { .. } => "pod_run",
        Work::Errand(ref errand) => errand.kind(),
    }
}

fn job_status(
    execution: &Execution,
    (step, index): (usize, usize),
    step_state: State,
    now: Option<Timestamp>,
) -> JobStatus {
    let (planned, job): (&PlannedJob, &Job) =
        (&execution.plan.steps[step].jobs()[index], &execution.steps[step].jobs[index]);
    let Known { started, ended, exit, reason, logs } = known(job);
    let state = held_or(outcome::job_state(job), step_state == State::Held);
    // How long a process lived is known only where Podman could say that it ended.
    let until = if job.ended() { ended.filter(|_| exit.is_some()) } else { now };
    let lived = started.zip(until).map(|(from, to)| to.boot.since(from.boot).as_secs_f64());
    JobStatus {
        id: job_id(execution, step, index),
        unit: planned.unit as usize,
        role: planned.role,
        pod_name: planned.pod_name.clone(),
        hostname: planned.hostname.clone(),
        node: planned.node.clone(),
        container: container_of(execution, (step, index), job),
        image: job.image.as_deref().map(str::to_owned),
        program: graph::program(&execution.plan, step, index),
        children: Vec::new(),
        after: Vec::new(),
        slots: graph::slots(&execution.plan.steps[step], index),
        state,
        views: views(state, reason.as_ref()),
        reason,
        exit_code: exit.map(|exit| exit.code),
        withdrawn: u32::from(job.ahead == Ahead::Spent),
        // What was made ahead and never had its turn was no attempt.
        attempt: job.began.map_or(0, |_| job.attempt),
        ahead: match job.ahead {
            Ahead::Making => Some(AheadStatus::Preparing),
            Ahead::Made { .. } => Some(AheadStatus::Prepared),
            Ahead::Not | Ahead::Owed | Ahead::Spent => None,
        },
        max_duration_seconds: planned.max_duration_seconds,
        submitted_at: Some(execution.received.wall),
        started_at: started.map(|at| at.wall),
        ended_at: ended.map(|at| at.wall),
        wall_seconds: lived,
        paused_seconds: paused(job, now).as_secs_f64(),
        cpu_seconds: exit.and_then(|exit| exit.cpu_ms).map(|ms| Duration::from_millis(ms).as_secs_f64()),
        signal: exit.and_then(outcome::signal_of),
        owner: execution.plan.tenant.to_string(),
        user: planned.pod.options.user.as_ref().map(ToString::to_string),
        machines: vec![planned.node.clone()],
        stdout_bytes: logs.map(|logs| logs.stdout_bytes),
        stderr_bytes: logs.map(|logs| logs.stderr_bytes),
        logs_truncated: logs.is_some_and(|logs| logs.truncated),
    }
}

/// Podman's name for the container of a job's attempt, if it has had one.
fn container_of(execution: &Execution, (step, index): (usize, usize), job: &Job) -> Option<String> {
    let id = AttemptId { execution: execution.plan.execution, step, job: index, attempt: job.attempt };
    job.began.is_some().then(|| container_name(execution, &id))
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
