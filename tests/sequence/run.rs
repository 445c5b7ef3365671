//! One run: the loop of the daemon in small, with a journal, a naive world, crashes and reboots.

use std::collections::BTreeSet;
use std::sync::Arc;

use perigee::bundle::ExecutionId;
use perigee::reason::Name;
use perigee::sequence::event::{Refusal, Report, Target, Verb};
use perigee::sequence::record::{Repeat, Reset};
use perigee::sequence::state::{Hold, JobState, Phase, StepState, Verdict};
use perigee::sequence::{
    AttemptId, Board, Decision, Effect, Event, Execution, Record, Recorded, apply, deadline, decide, resume,
};
use perigee::time::BootTime;
use proptest::prelude::*;

use super::invariants;
use super::plans::{Shape, at, execution};
use super::world::World;

/// One thing that happens to the daemon; numbers choose among what is there.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Submit(Shape, bool),
    /// The driver carries out an effect.
    Perform(u8),
    /// The driver says what it knows.
    Hear(u8),
    /// It says again what it has said before.
    HearAgain(u8),
    /// It says what cannot be: another attempt, or a report that does not fit.
    HearNonsense(u8, u8, u8),
    Ask(u8, Target, Verb),
    Pass(u32),
    /// Time goes to the next deadline and a little beyond.
    PassDeadline(u16),
    /// Somebody moves the tag of one of the images, or removes it.
    MoveTag(u8),
    RemoveImage(u8),
    /// The daemon leaves and comes again.
    Restart,
    /// The daemon dies, or the board boots; what was running at so many resets in a row goes into quarantine.
    Reset(Reset, u32),
}

/// What a run has seen, so that a run that sees nothing is noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen(pub(crate) BTreeSet<&'static str>);

/// The daemon and its board.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) board: Board,
    pub(crate) world: World,
    pub(crate) journal: Vec<Recorded>,
    /// The journal as it is on disk.
    lines: Vec<String>,
    /// The board of a daemon that only reads the journal.
    reader: Board,
    /// Effects that are not carried out yet.
    pub(crate) owed: Vec<Effect>,
    /// Attempts that were told to end.
    pub(crate) told: BTreeSet<AttemptId>,
    heard: Vec<Event>,
    pub(crate) now: u64,
    /// When the latest decision was drawn.
    pub(crate) decided: u64,
    submitted: u8,
    pub(crate) seen: Seen,
}

impl Action {
    /// Draws an action.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let target = prop_oneof![
            3 => Just(Target::Execution),
            2 => (0_usize..6).prop_map(Target::Step),
            1 => (0_usize..6, 0_usize..3).prop_map(|(step, job)| Target::Job(step, job)),
            1 => (0_usize..6, 0_usize..3).prop_map(|(step, unit)| Target::Unit(step, unit)),
        ];
        let verb = prop_oneof![
            3 => Just(Verb::Release),
            1 => Just(Verb::Hold),
            4 => Just(Verb::Pause),
            2 => Just(Verb::Resume),
            1 => Just(Verb::Stop),
            1 => Just(Verb::StopNow),
            1 => Just(Verb::Purge),
        ];
        prop_oneof![
            3 => (Shape::any(), prop::bool::weighted(0.2)).prop_map(|(shape, held)| Self::Submit(shape, held)),
            12 => any::<u8>().prop_map(Self::Perform),
            12 => any::<u8>().prop_map(Self::Hear),
            1 => any::<u8>().prop_map(Self::HearAgain),
            2 => any::<(u8, u8, u8)>().prop_map(|(a, b, c)| Self::HearNonsense(a, b, c)),
            3 => (any::<u8>(), target, verb).prop_map(|(who, target, verb)| Self::Ask(who, target, verb)),
            4 => (0_u32..60_000).prop_map(Self::Pass),
            2 => any::<u16>().prop_map(Self::PassDeadline),
            1 => any::<u8>().prop_map(Self::MoveTag),
            1 => any::<u8>().prop_map(Self::RemoveImage),
            1 => Just(Self::Restart),
            2 => (prop_oneof![Just(Reset::Crash), Just(Reset::Boot)], 0_u32..4).prop_map(|(cause, limit)| Self::Reset(cause, limit)),
        ]
    }
}

impl Run {
    /// Does one thing and checks everything.
    pub(crate) fn act(&mut self, action: &Action) {
        match action {
            Action::Submit(shape, held) if self.submitted < 5 => {
                self.submitted += 1;
                let plan = shape.plan(execution(self.submitted), &mut self.world.fates);
                assert!(self.handle(Event::Submitted { plan: plan.clone(), held: *held }));
                assert!(!self.handle(Event::Submitted { plan, held: *held }), "a bundle was accepted twice");
            }
            Action::Submit(..) => {}
            Action::Perform(which) => self.perform(*which),
            Action::Hear(which) => self.hear(*which),
            Action::HearAgain(which) => {
                if let Some(event) = pick(&self.heard, *which).cloned() {
                    self.handle(event);
                }
            }
            Action::HearNonsense(who, what, attempt) => self.hear_nonsense(*who, *what, *attempt),
            Action::Ask(who, target, verb) => {
                let id = execution(who % self.submitted.max(1) + 1);
                self.handle(Event::Asked { execution: id, target: *target, verb: *verb });
            }
            Action::Pass(millis) => self.pass(u64::from(*millis)),
            Action::PassDeadline(beyond) => self.pass_deadline(u64::from(*beyond)),
            Action::MoveTag(which) => {
                let id = format!("moved {}", self.journal.len());
                self.change_image(*which, Some(id));
            }
            Action::RemoveImage(which) => self.change_image(*which, None),
            Action::Restart => self.restart(),
            Action::Reset(cause, limit) => self.reset(*cause, *limit),
        }
        invariants::check(self);
    }

    /// Lets everything come to its end.
    pub(crate) fn finish(&mut self) {
        for _ in 0..5_000 {
            if !self.owed.is_empty() {
                self.perform(0);
            } else if !self.world.answers.is_empty() {
                self.hear(0);
            } else if let Some(id) =
                self.board.live.values().find(|known| held(known)).map(|known| known.plan.execution)
            {
                let release = Event::Asked { execution: id, target: Target::Execution, verb: Verb::Release };
                assert!(self.handle(release), "what is held can be released");
            } else if self.board.live.is_empty() {
                return;
            } else {
                self.pass_deadline(0);
            }
            invariants::check(self);
        }
        panic!("the run does not come to an end: {:#?}", self.board.live);
    }

    /// Think, save: returns whether the event was taken. What follows is owed from now on.
    fn handle(&mut self, event: Event) -> bool {
        let answer = decide(&self.board, event.clone(), at(self.now));
        assert_eq!(decide(&self.board, event.clone(), at(self.now)), answer, "decide must depend on nothing else");
        let decision = match answer {
            Ok(decision) => decision,
            Err(Refusal::Fault(illegal)) => panic!("{event:?} led to {illegal}"),
            Err(_) => return false,
        };
        let ended = self.commit(&decision);
        self.decided = self.now;
        invariants::nothing_is_left_to_think(self);
        invariants::launches_are_whole(&self.board, &decision.effects);
        if !matches!(event, Event::Reported(_, Report::Prepared { .. } | Report::Started)) {
            invariants::resume_repeats(&decision, &resume::resume(&self.board));
        }
        self.told.extend(decision.effects.iter().filter_map(|effect| match effect {
            Effect::Signal(attempt, ..) => Some(*attempt),
            Effect::Prepare(_)
            | Effect::Launch(_)
            | Effect::Watch(..)
            | Effect::Pause(_)
            | Effect::Resume(_)
            | Effect::Clear(..)
            | Effect::Read { .. }
            | Effect::Errand { .. }
            | Effect::Report(_)
            | Effect::Purge(_) => None,
        }));
        self.owed.extend(decision.effects);
        ended.iter().for_each(|execution| invariants::ended(self, execution));
        true
    }

    /// Applies and journals each record; beside it another board follows from the written form alone.
    fn commit(&mut self, decision: &Decision) -> Vec<Arc<Execution>> {
        let mut ended = Vec::new();
        for recorded in &decision.records {
            invariants::before(&self.board, recorded);
            let phase = self.board.live.get(&recorded.execution).map(|known| known.phase.clone());
            if (&recorded.record, phase) == (&Record::Released, Some(Phase::Quarantined)) {
                self.seen.0.insert("quarantine lifted");
            }
            ended.extend(apply(&mut self.board, recorded).expect("what decide returned fits"));
            let line = serde_json::to_string(recorded).expect("serialises");
            let read: Recorded = serde_json::from_str(&line).expect("reads");
            apply(&mut self.reader, &read).expect("what was journalled fits");
            assert_eq!(self.reader, self.board, "a replay of the journal is not the board");
            self.note(recorded);
            self.journal.push(recorded.clone());
            self.lines.push(line);
        }
        ended
    }

    fn change_image(&mut self, which: u8, id: Option<String>) {
        let names: Vec<String> = self.world.images.keys().cloned().collect();
        if let Some(name) = pick(&names, which) {
            self.world.images.insert(name.clone(), id);
        }
    }

    fn perform(&mut self, which: u8) {
        let ready: Vec<usize> = (0..self.owed.len())
            .filter(|index| {
                let mine = attempts(&self.owed[*index]);
                self.owed[..*index].iter().all(|earlier| attempts(earlier).is_disjoint(&mine))
            })
            .collect();
        if let Some(index) = pick(&ready, which) {
            let effect = self.owed.remove(*index);
            self.world.perform(&effect, &self.board, self.now);
        }
    }

    fn hear(&mut self, which: u8) {
        if self.world.answers.is_empty() {
            return;
        }
        let event = self.world.answers.remove(usize::from(which) % self.world.answers.len());
        self.handle(event.clone());
        self.heard.push(event);
    }

    fn hear_nonsense(&mut self, who: u8, what: u8, attempt: u8) {
        let jobs: Vec<(AttemptId, JobState)> =
            self.board.live.values().flat_map(|known| current_attempts(known)).collect();
        let Some((mut id, state)) = pick(&jobs, who).cloned() else { return };
        let report = pick(&invariants::reports(), what).cloned().expect("there are some");
        if attempt.is_multiple_of(2) {
            id.attempt += 1 + u32::from(attempt);
        } else if invariants::fits(&state, &report) {
            return;
        }
        if self.board.ahead(&id).is_some() {
            return; // It may be sense: the number of an attempt that is made ahead.
        }
        let before = self.board.clone();
        self.handle(Event::Reported(id, report));
        assert_eq!(self.board, before, "nonsense changed the board");
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.world.pass(self.now);
        let mut woken = 0;
        while self.next_deadline().is_some_and(|due| due <= BootTime::from_millis(self.now)) {
            assert!(self.handle(Event::TimePassed(std::collections::BTreeMap::new())));
            woken += 1;
            assert!(woken <= 3, "a deadline does not go away: {:?}", deadline::next(&self.board, at(self.decided)));
        }
        invariants::no_budget_is_exceeded(self);
    }

    fn pass_deadline(&mut self, beyond: u64) {
        let next = self.next_deadline().map(millis);
        if let Some(until) = next.into_iter().chain(self.world.next_end()).min() {
            self.pass(until.saturating_sub(self.now) + beyond);
        }
    }

    fn next_deadline(&self) -> Option<BootTime> {
        deadline::next(&self.board, at(self.decided)).map(|(due, _)| due)
    }

    /// Counted time goes on over a boot: the clock is set to continue after the last record.
    fn reset(&mut self, cause: Reset, limit: u32) {
        if cause == Reset::Boot {
            self.world.board_booted();
        }
        self.restart();
        if cause == Reset::Boot {
            self.now += 5_000;
        }
        assert!(self.handle(Event::Reset { cause, limit }));
        self.owed = resume::resume(&self.board);
        self.seen.0.insert(match cause {
            Reset::Boot => "reboot",
            Reset::Crash => "crash",
        });
    }

    /// All that is left of the daemon is its journal.
    fn restart(&mut self) {
        self.world.daemon_died();
        let mut board = Board::default();
        for line in &self.lines {
            apply(&mut board, &serde_json::from_str(line).expect("reads")).expect("fits");
        }
        assert_eq!(board, self.board, "a replay of the journal is not the board");
        self.board = board;
        self.heard.clear();
        self.owed = resume::resume(&self.board);
        assert!(self.handle(Event::TimePassed(std::collections::BTreeMap::new())));
    }

    fn note(&mut self, recorded: &Recorded) {
        let seen = match &recorded.record {
            Record::JobEnded { verdict: Verdict::Succeeded, .. } => "job succeeded",
            Record::JobEnded { verdict: Verdict::Unknown(_), .. } => "job unknown",
            Record::JobEnded { verdict: Verdict::Skipped(_), .. } => "group undone",
            Record::JobStopping { .. } => "job told to end",
            Record::StepEnded { verdict: Verdict::Skipped(reason), .. } if reason.name == Name::Condition => {
                "condition false"
            }
            Record::StepEnded { verdict: Verdict::Skipped(_), .. } => "step skipped",
            Record::StepTaken { pieces: Some(_), .. } => "fan out",
            Record::StepTaken { pieces: None, .. } => "condition true",
            Record::UnitRequeued { cause: Repeat::Retry, .. } => "retry",
            Record::UnitRequeued { cause: Repeat::PowerLoss, .. } => "rerun",
            Record::UnitRequeued { cause: Repeat::Quarantine, .. } => "ended by a quarantine",
            Record::JobEnded { verdict: Verdict::Failed(reason), .. } if reason.name == Name::ImageChanged => {
                "image changed"
            }
            Record::ImageReloading { .. } => "image loaded again",
            Record::Quarantined => "quarantined",
            Record::JobHeld { .. } => "hold",
            Record::JobPreparedAhead { .. } => "ahead",
            Record::JobWithdrawn { .. } => "withdrawn",
            Record::JobPrepared { step, job, .. } if self.ahead_before(recorded.execution, *step, *job) => {
                "ahead and launched"
            }
            Record::JobPaused { .. } => "paused",
            Record::JobResumed { why: None, .. } => "resumed",
            Record::JobResumed { why: Some(_), .. } => "not paused",
            Record::Purged => "purged",
            Record::Settled { verdict: Verdict::Succeeded } => "execution succeeded",
            Record::Settled { .. } => "execution failed",
            Record::Accepted { .. }
            | Record::Released
            | Record::Interrupted { .. }
            | Record::Halted { .. }
            | Record::StepStarted { .. }
            | Record::StepHeld { .. }
            | Record::StepReleased { .. }
            | Record::StepReading { .. }
            | Record::StepEnded { .. }
            | Record::JobReleased { .. }
            | Record::JobPausing { .. }
            | Record::JobResuming { .. }
            | Record::JobPreparing { .. }
            | Record::JobPrepared { .. }
            | Record::ImageKnown { .. }
            | Record::JobPreparingAhead { .. }
            | Record::JobLaunching { .. }
            | Record::JobStarted { .. }
            | Record::JobEnded { .. }
            | Record::JobCleared { .. }
            | Record::Ended => return,
        };
        self.seen.0.insert(seen);
    }
}

impl Run {
    /// Whether a container of a job that was just prepared had been made ahead.
    fn ahead_before(&self, execution: ExecutionId, step: usize, job: usize) -> bool {
        self.journal.iter().filter(|recorded| recorded.execution == execution).any(|recorded| {
            matches!(&recorded.record, Record::JobPreparedAhead { step: s, job: j, .. } if (*s, *j) == (step, job))
        })
    }
}

/// The attempts that an effect is about.
fn attempts(effect: &Effect) -> BTreeSet<AttemptId> {
    match effect {
        Effect::Prepare(id) | Effect::Watch(id, _) | Effect::Signal(id, ..) | Effect::Clear(id, _) => [*id].into(),
        Effect::Launch(group) | Effect::Pause(group) | Effect::Resume(group) => {
            group.iter().map(|(id, _)| *id).collect()
        }
        Effect::Read { .. } | Effect::Errand { .. } | Effect::Report(_) | Effect::Purge(_) => BTreeSet::new(),
    }
}

/// Whether an operator keeps something of it.
pub(crate) fn held(known: &Execution) -> bool {
    let job = |state: &JobState| matches!(state, JobState::Held | JobState::Requeued { hold: Hold::Held, .. });
    matches!(known.phase, Phase::Held | Phase::Quarantined)
        || known.steps.iter().any(|step| step.state == StepState::Held || step.jobs.iter().any(|j| job(&j.state)))
}

/// The current attempt of every job, and where it is.
pub(crate) fn current_attempts(known: &Execution) -> Vec<(AttemptId, JobState)> {
    let execution = known.plan.execution;
    let mut ids = Vec::new();
    for (step, part) in known.steps.iter().enumerate() {
        for (job, known) in part.jobs.iter().enumerate() {
            ids.push((AttemptId { execution, step, job, attempt: known.attempt }, known.state.clone()));
        }
    }
    ids
}

fn pick<T>(from: &[T], which: u8) -> Option<&T> {
    from.get(usize::from(which).checked_rem(from.len())?)
}

fn millis(instant: BootTime) -> u64 {
    u64::try_from(instant.since(BootTime::from_millis(0)).as_millis()).expect("in range")
}
