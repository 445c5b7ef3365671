//! Records as lines for people: the history and the event stream.
//!
//! Must not: leave out a record.

use serde::{Deserialize, Serialize};

use super::ExecutionStatus;
use crate::outcome;
use crate::plan::Plan;
use crate::sequence::record::{Repeat, Reset};
use crate::sequence::state::{Halt, StopCause};
use crate::sequence::{Record, Recorded};

/// One line of `history` and of the event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    /// Its place in the journal; resume after it.
    pub cursor: u64,
    /// When, in wall time.
    pub at: jiff::Timestamp,
    /// The execution, step or job it is about.
    pub id: String,
    /// What happened.
    pub event: String,
    /// One line more.
    pub detail: Option<String>,
}

/// What steps and jobs of an execution are called: records count them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    steps: Vec<StepNames>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StepNames {
    id: String,
    /// The label and the unit of each job.
    jobs: Vec<(String, usize)>,
}

impl Names {
    /// Those that a plan gives.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        let steps = plan.steps.iter().map(|step| StepNames {
            id: step.id.to_string(),
            jobs: step
                .jobs()
                .iter()
                .enumerate()
                .map(|(job, planned)| (step.label(job), planned.unit as usize))
                .collect(),
        });
        Self { steps: steps.collect() }
    }

    /// Those that a status shows.
    #[must_use]
    pub fn of_status(status: &ExecutionStatus) -> Self {
        let steps = status.steps.iter().map(|step| {
            let prefix = format!("{}.{}.", status.execution, step.id);
            let label = |id: &str| id.strip_prefix(&prefix).unwrap_or(id).to_owned();
            StepNames {
                id: step.id.to_string(),
                jobs: step.jobs.iter().map(|job| (label(&job.id), job.unit)).collect(),
            }
        });
        Self { steps: steps.collect() }
    }

    fn step(&self, step: usize) -> String {
        self.steps.get(step).map_or_else(|| format!("#{step}"), |known| known.id.clone())
    }

    fn job(&self, step: usize, job: usize) -> String {
        let known = self.steps.get(step).and_then(|known| known.jobs.get(job));
        let label = known.map_or_else(|| job.to_string(), |(label, _)| label.clone());
        format!("{}.{label}", self.step(step))
    }

    /// A unit is called as its only job; the jobs of a gang share what stands before their parts.
    fn unit(&self, step: usize, unit: usize) -> String {
        let jobs = self.steps.get(step).map(|known| known.jobs.as_slice()).unwrap_or_default();
        let labels: Vec<&str> = jobs.iter().filter(|(_, of)| *of == unit).map(|(label, _)| label.as_str()).collect();
        let label = match labels.as_slice() {
            [] => unit.to_string(),
            [only] => (*only).to_owned(),
            [first, ..] => match first.rsplit_once('.') {
                Some((before, _)) => before.to_owned(),
                None => return self.step(step),
            },
        };
        format!("{}.{label}", self.step(step))
    }
}

/// An id as Podman shows it.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// A record as a line. `names` are those of its execution.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table: one arm for each record")]
pub fn event_line(cursor: u64, recorded: &Recorded, names: &Names) -> EventLine {
    let execution = recorded.execution;
    let step_id = |step: usize| format!("{execution}.{}", names.step(step));
    let job_id = |step: usize, job: usize| format!("{execution}.{}", names.job(step, job));
    let (id, event, detail) = match &recorded.record {
        Record::Accepted { plan, held } => {
            let held = if *held { ", held" } else { "" };
            let detail =
                format!("operation {} of {}, {} steps{held}", plan.operation.id, plan.tenant, plan.steps.len());
            (execution.to_string(), "accepted".to_owned(), Some(detail))
        }
        Record::Released => (execution.to_string(), "released".to_owned(), None),
        Record::Interrupted { cause } => {
            let what = match cause {
                Reset::Boot => "the board booted while it was running",
                Reset::Crash => "the daemon died while it was running",
            };
            (execution.to_string(), "interrupted".to_owned(), Some(what.to_owned()))
        }
        Record::Quarantined => {
            let why = "it was running at too many resets in a row; `release` tries again";
            (execution.to_string(), "quarantined".to_owned(), Some(why.to_owned()))
        }
        Record::Halted { halt: Halt::Operator } => {
            (execution.to_string(), "halted".to_owned(), Some("by an operator".to_owned()))
        }
        Record::Halted { halt: Halt::Failure(step) } => {
            (execution.to_string(), "halted".to_owned(), Some(format!("step {step} did not succeed")))
        }
        Record::Settled { verdict } => {
            (execution.to_string(), "settled".to_owned(), verdict.reason().map(ToString::to_string))
        }
        Record::Ended => (execution.to_string(), "ended".to_owned(), None),
        Record::Purged => (execution.to_string(), "purged".to_owned(), None),
        Record::StepHeld { step } => (step_id(*step), "held".to_owned(), None),
        Record::StepReleased { step } => (step_id(*step), "released".to_owned(), None),
        Record::StepReading { step } => (step_id(*step), "reading".to_owned(), None),
        Record::StepTaken { step, pieces } => {
            (step_id(*step), "taken".to_owned(), pieces.as_ref().map(|pieces| format!("{} jobs", pieces.len())))
        }
        Record::JobHeld { step, job } => (job_id(*step, *job), "held".to_owned(), None),
        Record::JobReleased { step, job } => (job_id(*step, *job), "released".to_owned(), None),
        Record::JobPausing { step, job } => (job_id(*step, *job), "pausing".to_owned(), None),
        Record::JobPaused { step, job } => (job_id(*step, *job), "paused".to_owned(), None),
        Record::JobResuming { step, job } => (job_id(*step, *job), "resuming".to_owned(), None),
        Record::JobResumed { step, job, why } => {
            (job_id(*step, *job), "resumed".to_owned(), why.as_ref().map(ToString::to_string))
        }
        Record::UnitRequeued { step, unit, cause, pause_ms } => {
            let why = match cause {
                Repeat::Retry => "it failed",
                Repeat::PowerLoss => "power was lost",
                Repeat::Quarantine => "its execution went into quarantine",
            };
            let detail =
                format!("{why}; next attempt in {:.1} s", std::time::Duration::from_millis(*pause_ms).as_secs_f64());
            (format!("{execution}.{}", names.unit(*step, *unit)), "requeued".to_owned(), Some(detail))
        }
        Record::StepStarted { step } => (step_id(*step), "started".to_owned(), None),
        Record::StepEnded { step, verdict, .. } => (
            step_id(*step),
            outcome::of_verdict(verdict).as_str().to_owned(),
            verdict.reason().map(ToString::to_string),
        ),
        Record::JobPreparing { step, job, attempt } => {
            (job_id(*step, *job), "preparing".to_owned(), Some(format!("attempt {attempt}")))
        }
        Record::ImageKnown { node, image } => {
            let detail = format!("{} on {node} is {}", image.name, short(&image.id));
            (execution.to_string(), "image".to_owned(), Some(detail))
        }
        Record::ImageReloading { step, job, name } => {
            let detail = format!("{name} is lost or damaged; it is loaded again from the bundle, once");
            (job_id(*step, *job), "reloading".to_owned(), Some(detail))
        }
        Record::JobPrepared { step, job, container, image } => {
            let image = image.as_ref().map(|id| format!(", image {}", short(id))).unwrap_or_default();
            let detail = format!("container {}{image}", short(container));
            (job_id(*step, *job), "prepared".to_owned(), Some(detail))
        }
        Record::JobPreparingAhead { step, job } => {
            (job_id(*step, *job), "preparing_ahead".to_owned(), Some("ahead of its turn".to_owned()))
        }
        Record::JobPreparedAhead { step, job, container, .. } => {
            let short: String = container.chars().take(12).collect();
            (job_id(*step, *job), "prepared_ahead".to_owned(), Some(format!("ahead of its turn, container {short}")))
        }
        Record::JobWithdrawn { step, job } => {
            let detail = "what was made ahead of its turn is removed".to_owned();
            (job_id(*step, *job), "withdrawn".to_owned(), Some(detail))
        }
        Record::JobLaunching { step, job } => (job_id(*step, *job), "launching".to_owned(), None),
        Record::JobStarted { step, job } => (job_id(*step, *job), "running".to_owned(), None),
        Record::JobStopping { step, job, cause, signal } => {
            let why = match cause {
                StopCause::Timeout => "max_duration ran out",
                StopCause::Operator => "an operator asked for it",
                StopCause::Gang => "its gang is over",
            };
            let detail = format!("SIG{}: {why}", format!("{signal:?}").to_uppercase());
            (job_id(*step, *job), "stopping".to_owned(), Some(detail))
        }
        Record::JobEnded { step, job, verdict, exit } => {
            let code = exit.as_ref().map(|exit| format!("exit code {}", exit.code));
            let detail = verdict.reason().map(ToString::to_string).or(code);
            (job_id(*step, *job), outcome::of_verdict(verdict).as_str().to_owned(), detail)
        }
        Record::JobCleared { step, job, logs } => {
            let detail = format!("{} bytes of stdout, {} of stderr kept", logs.stdout_bytes, logs.stderr_bytes);
            (job_id(*step, *job), "cleared".to_owned(), Some(detail))
        }
    };
    EventLine { cursor, at: recorded.at.wall, id, event, detail }
}
