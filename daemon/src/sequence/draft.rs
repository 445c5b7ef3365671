//! A decision in the making: each record is applied to a copy as it is decided, so that one event can cascade (a job
//! ends, its step ends, the next group starts) through the same `apply` that will run on the board after the commit.
//!
//! Must not: change the board it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ahead;
use super::apply::{Illegal, advance};
use super::decide::Decision;
use super::effect::{Disposal, Effect};
use super::record::{Record, Recorded};
use super::state::{AttemptId, Board, Execution, Exit, Job, Verdict};
use super::unit::disposal;
use crate::bundle::ExecutionId;
use crate::plan::{Plan, Work};
use crate::time::Timestamp;

/// The board, what an event has changed of it so far, and what that amounts to.
pub(super) struct Draft<'a> {
    pub(super) board: &'a Board,
    touched: BTreeMap<ExecutionId, Arc<Execution>>,
    pub(super) now: Timestamp,
    pub(super) decision: Decision,
    /// The jobs (step and job of a plan) that have their turn and wait for a name or a port.
    pub(super) blocked: Vec<(Arc<Plan>, usize, usize)>,
}

impl<'a> Draft<'a> {
    /// Nothing decided yet.
    pub(super) fn new(board: &'a Board, now: Timestamp) -> Self {
        Self { board, touched: BTreeMap::new(), now, decision: Decision::default(), blocked: Vec::new() }
    }

    pub(super) fn get(&self, id: ExecutionId) -> Option<&Arc<Execution>> {
        self.touched.get(&id).or_else(|| self.board.live.get(&id))
    }

    pub(super) fn live(&self) -> Vec<ExecutionId> {
        let mut ids: Vec<ExecutionId> = self.board.live.keys().chain(self.touched.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub(super) fn record(&mut self, execution: ExecutionId, record: Record) -> Result<(), Illegal> {
        let recorded = Recorded { execution, at: self.now, record };
        if let Record::Accepted { plan, held } = &recorded.record {
            self.touched.insert(execution, Arc::new(Execution::new(plan.clone(), *held, self.now)));
        } else if recorded.record != Record::Purged {
            if !self.touched.contains_key(&execution) {
                self.touched.extend(self.board.live.get(&execution).map(|known| (execution, known.clone())));
            }
            if let Some(copy) = self.touched.get_mut(&execution) {
                let left = ahead::ends_with(copy, &recorded.record);
                advance(Arc::make_mut(copy), &recorded).map_err(|illegal| *illegal)?;
                let attempt = |(step, job): (usize, usize)| {
                    let attempt = copy.steps[step].jobs[job].attempt;
                    Effect::Clear(AttemptId { execution, step, job, attempt }, Disposal::Remove)
                };
                self.decision.effects.extend(left.into_iter().map(attempt));
            }
        }
        self.decision.records.push(recorded);
        Ok(())
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.decision.effects.push(effect);
    }

    pub(super) fn end_job(&mut self, attempt: AttemptId, verdict: Verdict, exit: Option<Exit>) -> Result<(), Illegal> {
        let AttemptId { execution, step, job, .. } = attempt;
        self.record(execution, Record::JobEnded { step, job, verdict, exit })?;
        if let Some(known) = self.get(execution)
            && known.job(&attempt).is_some_and(Job::occupies)
        {
            let disposal = disposal(known, step, job);
            self.effect(Effect::Clear(attempt, disposal));
        }
        Ok(())
    }

    /// Lets a step without jobs do its work.
    pub(super) fn errand(&mut self, execution: &Execution, step: usize) {
        let id = execution.plan.execution;
        match execution.plan.steps[step].work {
            Work::PodRun { .. } => {}
            Work::Errand(_) => self.effect(Effect::Errand { execution: id, step }),
        }
    }
}
