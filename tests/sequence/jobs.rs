//! Arrays, gangs, retries, conditions, freezes: one run of each, event by event.

use std::collections::BTreeMap;
use std::sync::Arc;

use perigee::bundle::document::OnFailure;
use perigee::bundle::flow::{Array, Clean, GangStart, Mpi, OnPowerLoss, Test};
use perigee::outcome::{self, State};
use perigee::plan::{
    self, Dependency, Errand, Expansion, FanOut, Gang, Needs, Plan, PlannedStep, Retry, Terms, When, Window, Work,
};
use perigee::reason::{Name, Reason};
use perigee::sequence::effect::Disposal;
use perigee::sequence::event::{Report, Target, Verb};
use perigee::sequence::record::Reset;
use perigee::sequence::state::{Exit, JobState, Logs, Signal, Verdict};
use perigee::sequence::{AttemptId, Board, Decision, Effect, Event, Execution, RERUNS_MAX, apply, deadline, decide};

use super::plans::{at, empty_plan, execution, job, prepared, step, transfer};

const BOOT: Event = Event::Reset { cause: Reset::Boot, limit: 0 };

/// A board with one execution, driven by hand.
pub(crate) struct Rig {
    pub(crate) board: Board,
    last: Option<Arc<Execution>>,
}

impl Rig {
    pub(crate) fn new(steps: Vec<PlannedStep>) -> (Self, Vec<Effect>) {
        let plan = Arc::new(Plan { steps, ..empty_plan(execution(1), 10) });
        let mut rig = Self { board: Board::default(), last: None };
        let effects = rig.feed(0, Event::Submitted { plan, held: false }).effects;
        (rig, effects)
    }

    pub(crate) fn feed(&mut self, now: u64, event: Event) -> Decision {
        let decision = decide(&self.board, event, at(now)).expect("legal");
        for record in &decision.records {
            self.last = apply(&mut self.board, record).expect("fits").or_else(|| self.last.take());
        }
        decision
    }

    pub(crate) fn tell(&mut self, now: u64, id: AttemptId, report: Report) -> Vec<Effect> {
        self.feed(now, Event::Reported(id, report)).effects
    }

    pub(crate) fn ask(&mut self, now: u64, target: Target, verb: Verb) -> Decision {
        self.feed(now, Event::Asked { execution: execution(1), target, verb })
    }

    /// Lets an attempt be prepared and started.
    pub(crate) fn run(&mut self, now: u64, id: AttemptId) {
        self.tell(now, id, prepared(name(id)));
        self.tell(now, id, Report::Started);
    }

    /// Lets it end and be cleared.
    pub(crate) fn end(&mut self, now: u64, id: AttemptId, code: i64) -> Vec<Effect> {
        let mut effects = self.tell(now, id, Report::Exited(exit(code)));
        effects.extend(self.tell(now, id, Report::Cleared(Logs::default())));
        effects
    }

    pub(crate) fn known(&self) -> &Execution {
        self.board.live.get(&execution(1)).or(self.last.as_ref()).expect("an execution")
    }

    pub(crate) fn job(&self, step: usize, job: usize) -> &JobState {
        &self.known().steps[step].jobs[job].state
    }

    pub(crate) fn job_reason(&self, step: usize, job: usize) -> Option<Name> {
        self.known().steps[step].jobs[job].verdict().and_then(Verdict::reason).map(|reason| reason.name)
    }

    pub(crate) fn step_reason(&self, step: usize) -> Option<Name> {
        self.known().steps[step].state.verdict().and_then(Verdict::reason).map(|reason| reason.name)
    }

    pub(crate) fn succeeded(&self, step: usize) -> bool {
        self.known().steps[step].state.verdict() == Some(&Verdict::Succeeded)
    }
}

pub(crate) fn exit(code: i64) -> Exit {
    serde_json::from_value(serde_json::json!({"code": code, "oom": false})).expect("an exit")
}

pub(crate) fn id(step: usize, job: usize, attempt: u32) -> AttemptId {
    AttemptId { execution: execution(1), step, job, attempt }
}

pub(crate) fn name(id: AttemptId) -> String {
    format!("c{}.{}.{}", id.step, id.job, id.attempt)
}

pub(crate) fn array(index: usize, members: u32, terms: Terms) -> PlannedStep {
    let array = Expansion::Array(Array { begin: 0, end: members - 1, step: 1 });
    let unit = job(u8::try_from(index).expect("few"), None, 60);
    let jobs = plan::expand(&[unit], &array).expect("short names");
    PlannedStep { terms, ..step(index, OnFailure::Continue, 360, Work::PodRun { jobs }) }
}

pub(crate) fn plain(index: usize, terms: Terms) -> PlannedStep {
    let jobs = vec![job(u8::try_from(index).expect("few"), None, 60)];
    PlannedStep { terms, ..step(index, OnFailure::Continue, 360, Work::PodRun { jobs }) }
}

pub(crate) fn after(step: usize, needs: Needs, planned: PlannedStep) -> PlannedStep {
    PlannedStep { after: vec![Dependency { step, needs }], ..planned }
}

pub(crate) fn gang(clean: Clean, start: GangStart) -> PlannedStep {
    let terms = Gang {
        slots_per_worker: 2,
        mpi: Mpi::Openmpi,
        ssh_dir: "/root/.ssh".to_owned(),
        launcher_as_worker: false,
        start,
        clean,
    };
    let jobs = plan::gang(&job(0, None, 60), 2, &job(0, None, 60), &terms).expect("short names");
    let terms = Terms { gang: Some(terms), ..Terms::default() };
    PlannedStep { terms, ..step(0, OnFailure::Continue, 360, Work::PodRun { jobs }) }
}

pub(crate) fn prepares(effects: &[Effect]) -> Vec<(usize, usize, u32)> {
    let prepare = |effect: &Effect| {
        let Effect::Prepare(id) = effect else { return None };
        Some((id.step, id.job, id.attempt))
    };
    effects.iter().filter_map(prepare).collect()
}

#[test]
fn an_array_never_has_more_members_alive_than_its_cap_and_takes_the_next_when_one_has_ended() {
    let (mut rig, effects) = Rig::new(vec![array(0, 4, Terms { max_parallel: Some(2), ..Terms::default() })]);
    assert_eq!(prepares(&effects), [(0, 0, 1), (0, 1, 1)]);
    rig.run(1, id(0, 0, 1));
    rig.run(1, id(0, 1, 1));
    assert_eq!(prepares(&rig.tell(2, id(0, 1, 1), Report::Exited(exit(3)))), [(0, 2, 1)], "a failure stops no other");
    assert_eq!(outcome::step_state(rig.known(), 0), State::Running);
    rig.ask(3, Target::Job(0, 0), Verb::Pause);
    rig.tell(3, id(0, 0, 1), Report::Paused);
    rig.run(4, id(0, 2, 1));
    assert_eq!(prepares(&rig.end(5, id(0, 2, 1), 0)), [(0, 3, 1)], "a frozen member keeps its slot");
    rig.run(6, id(0, 3, 1));
    rig.end(7, id(0, 3, 1), 0);
    rig.ask(8, Target::Job(0, 0), Verb::Resume);
    rig.tell(9, id(0, 0, 1), Report::Resumed);
    rig.end(10, id(0, 0, 1), 0);
    assert_eq!(rig.step_reason(0), Some(Name::Exit), "one member failed, so the step did");
}

#[test]
fn each_lets_a_member_start_when_the_one_at_its_position_has_succeeded_and_skips_only_that_one() {
    let second = after(0, Needs::Each, array(1, 2, Terms::default()));
    let (mut rig, effects) = Rig::new(vec![array(0, 2, Terms::default()), second]);
    assert_eq!(prepares(&effects), [(0, 0, 1), (0, 1, 1)]);
    rig.run(1, id(0, 0, 1));
    rig.run(1, id(0, 1, 1));
    assert_eq!(prepares(&rig.end(2, id(0, 0, 1), 0)), [(1, 0, 1)], "though member 1 still runs");
    rig.end(3, id(0, 1, 1), 3);
    assert_eq!(rig.job_reason(1, 1), Some(Name::Dependency));
    rig.run(4, id(1, 0, 1));
    rig.end(5, id(1, 0, 1), 0);
    assert_eq!(rig.step_reason(1), Some(Name::Dependency), "b.0 ran, b.1 did not");
}

#[test]
fn a_failure_with_stop_lets_the_members_of_its_own_step_go_on_and_nothing_else_start() {
    let mut first = array(0, 3, Terms { max_parallel: Some(1), ..Terms::default() });
    first.on_failure = OnFailure::Stop;
    let (mut rig, _) = Rig::new(vec![first, after(0, Needs::Each, array(1, 3, Terms::default()))]);
    rig.run(1, id(0, 0, 1));
    assert_eq!(prepares(&rig.end(2, id(0, 0, 1), 1)), [(0, 1, 1)]);
    assert_eq!(rig.step_reason(1), Some(Name::SequenceStopped));
    rig.run(3, id(0, 1, 1));
    rig.end(4, id(0, 1, 1), 0);
    rig.run(5, id(0, 2, 1));
    assert!(rig.end(6, id(0, 2, 1), 0).contains(&Effect::Report(execution(1))));
}

#[test]
fn a_retry_comes_after_its_pause_and_the_remains_of_the_attempt_before() {
    let retry = Retry { times: 2, backoff_seconds: 10, on_power_loss: OnPowerLoss::Fail };
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { retry, ..Terms::default() })]);
    rig.run(1_000, id(0, 0, 1));
    rig.tell(2_000, id(0, 0, 1), Report::Exited(exit(3)));
    assert_eq!(outcome::step_state(rig.known(), 0), State::Requeued);
    assert_eq!(deadline::next(&rig.board, at(2_000)), None, "its container is not gone yet");
    rig.tell(3_000, id(0, 0, 1), Report::Cleared(Logs::default()));
    let due = deadline::next(&rig.board, at(3_000)).expect("a retry is due").0;
    assert_eq!(due, at(12_000).boot);
    assert_eq!(prepares(&rig.feed(11_999, Event::TimePassed(BTreeMap::new())).effects), []);
    assert_eq!(prepares(&rig.feed(12_000, Event::TimePassed(BTreeMap::new())).effects), [(0, 0, 2)]);
    rig.run(13_000, id(0, 0, 2));
    rig.end(14_000, id(0, 0, 2), 3);
    assert_eq!(deadline::next(&rig.board, at(14_000)).map(|(due, _)| due), Some(at(34_000).boot), "the pause doubles");
    rig.feed(34_000, Event::TimePassed(BTreeMap::new()));
    rig.run(35_000, id(0, 0, 3));
    rig.end(36_000, id(0, 0, 3), 3);
    assert_eq!(rig.step_reason(0), Some(Name::Exit), "two retries are three attempts");
}

#[test]
fn a_held_retry_waits_for_its_release_and_a_stopped_one_ends() {
    let retry = Retry { times: 5, ..Retry::default() };
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { retry, ..Terms::default() })]);
    rig.run(1, id(0, 0, 1));
    rig.tell(2, id(0, 0, 1), Report::Exited(exit(3)));
    rig.ask(3, Target::Step(0), Verb::Hold);
    assert_eq!(outcome::job_state(&rig.known().steps[0].jobs[0]), State::RequeuedHeld);
    assert_eq!(prepares(&rig.tell(4, id(0, 0, 1), Report::Cleared(Logs::default()))), []);
    assert_eq!(prepares(&rig.ask(5, Target::Job(0, 0), Verb::Release).effects), [(0, 0, 2)]);
    rig.run(6, id(0, 0, 2));
    rig.tell(7, id(0, 0, 2), Report::Exited(exit(3)));
    rig.ask(8, Target::Execution, Verb::Stop);
    assert_eq!(rig.step_reason(0), Some(Name::Stopped));
    assert!(rig.board.live.contains_key(&execution(1)), "its container is still to be cleared");
}

#[test]
fn a_time_that_ran_out_is_not_tried_again() {
    let retry = Retry { times: 5, ..Retry::default() };
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { retry, ..Terms::default() })]);
    rig.run(1, id(0, 0, 1));
    let told = rig.feed(61_000, Event::TimePassed(BTreeMap::new())).effects;
    assert_eq!(told, [Effect::Signal(id(0, 0, 1), name(id(0, 0, 1)), Signal::Term)]);
    rig.end(62_000, id(0, 0, 1), 1);
    assert_eq!(rig.step_reason(0), Some(Name::Timeout));
}

#[test]
fn what_power_cut_short_is_run_again_only_if_its_step_says_so_and_not_for_ever() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.feed(2, BOOT);
    assert_eq!(rig.step_reason(0), Some(Name::LostPower));
    let retry = Retry { on_power_loss: OnPowerLoss::Rerun, ..Retry::default() };
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { retry, ..Terms::default() })]);
    for attempt in 1..=RERUNS_MAX {
        rig.run(1, id(0, 0, attempt));
        rig.feed(2, BOOT);
        let again = rig.tell(3, id(0, 0, attempt), Report::Cleared(Logs::default()));
        assert_eq!(prepares(&again), [(0, 0, attempt + 1)]);
    }
    rig.run(4, id(0, 0, RERUNS_MAX + 1));
    rig.feed(5, BOOT);
    assert_eq!(rig.step_reason(0), Some(Name::LostPower));
}

#[test]
fn a_launcher_starts_when_every_worker_runs_and_its_end_is_the_gangs() {
    let (mut rig, effects) = Rig::new(vec![gang(Clean::Running, GangStart::AfterWorkers)]);
    assert_eq!(prepares(&effects), [(0, 0, 1), (0, 1, 1), (0, 2, 1)]);
    for member in 0..3 {
        rig.tell(1, id(0, member, 1), prepared(name(id(0, member, 1))));
    }
    assert!(matches!(rig.job(0, 0), JobState::Launching { .. }) && matches!(rig.job(0, 2), JobState::Prepared { .. }));
    rig.tell(2, id(0, 0, 1), Report::Started);
    assert_eq!(outcome::step_state(rig.known(), 0), State::Starting);
    let launch = rig.tell(3, id(0, 1, 1), Report::Started);
    assert!(launch.contains(&Effect::Launch(vec![(id(0, 2, 1), name(id(0, 2, 1)))])));
    rig.tell(4, id(0, 2, 1), Report::Started);
    assert_eq!(outcome::step_state(rig.known(), 0), State::Running);
    let kept = rig.tell(5, id(0, 0, 1), Report::Exited(exit(1)));
    assert_eq!(kept, [Effect::Clear(id(0, 0, 1), Disposal::Keep)], "a worker that died is kept and decides nothing");
    let over = rig.tell(6, id(0, 2, 1), Report::Exited(exit(0)));
    assert!(over.contains(&Effect::Signal(id(0, 1, 1), name(id(0, 1, 1)), Signal::Term)), "{over:?}");
    let removed = rig.tell(7, id(0, 1, 1), Report::Exited(exit(143)));
    assert_eq!(removed, [Effect::Clear(id(0, 1, 1), Disposal::Remove)]);
    assert!(rig.succeeded(0), "the launcher succeeded");
    assert_eq!(rig.job_reason(0, 1), Some(Name::Stopped));
}

#[test]
fn of_a_gang_that_cannot_be_made_nothing_remains() {
    let (mut rig, _) = Rig::new(vec![gang(Clean::Running, GangStart::AfterWorkers)]);
    rig.tell(1, id(0, 0, 1), prepared("w".to_owned()));
    rig.tell(1, id(0, 2, 1), prepared("l".to_owned()));
    let missing = Reason::new(Name::ImageMissing, "no image");
    let undone = rig.tell(2, id(0, 1, 1), Report::NotPrepared(missing));
    for member in [0, 2] {
        assert!(undone.contains(&Effect::Clear(id(0, member, 1), Disposal::Remove)), "{undone:?}");
    }
    assert_eq!(rig.step_reason(0), Some(Name::ImageMissing), "the reason is the member's that failed");
}

#[test]
fn a_gang_of_which_one_member_is_stopped_before_it_starts_ends_whole() {
    let gang = || gang(Clean::Running, GangStart::AfterWorkers);
    let mut second = after(0, Needs::Ended, gang());
    second.id = "second".parse().expect("legal");
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default()), second]);
    rig.ask(1, Target::Job(1, 0), Verb::Stop);
    rig.run(2, id(0, 0, 1));
    rig.end(3, id(0, 0, 1), 0);
    let reasons = [0, 1, 2].map(|member| rig.job_reason(1, member));
    assert_eq!(reasons, [Some(Name::Stopped), Some(Name::GroupMember), Some(Name::GroupMember)]);
    assert_eq!(rig.step_reason(1), Some(Name::Stopped), "nothing waits for ever");
}

#[test]
fn a_gang_is_frozen_launcher_first_and_thawed_launcher_last() {
    let (mut rig, _) = Rig::new(vec![gang(Clean::Running, GangStart::WithWorkers)]);
    for member in 0..3 {
        rig.tell(1, id(0, member, 1), prepared(name(id(0, member, 1))));
    }
    for member in 0..3 {
        rig.tell(2, id(0, member, 1), Report::Started);
    }
    let named = |member: usize| (id(0, member, 1), name(id(0, member, 1)));
    let paused = rig.ask(3, Target::Unit(0, 0), Verb::Pause);
    assert_eq!(paused.effects, [Effect::Pause(vec![named(2), named(0), named(1)])]);
    assert!(paused.outcomes.iter().all(|outcome| outcome.refused.is_none()) && paused.outcomes.len() == 3);
    for member in 0..3 {
        rig.tell(4, id(0, member, 1), Report::Paused);
    }
    assert_eq!(outcome::execution_state(rig.known()), State::Paused);
    let resumed = rig.ask(5, Target::Step(0), Verb::Resume);
    assert_eq!(resumed.effects, [Effect::Resume(vec![named(0), named(1), named(2)])]);
}

#[test]
fn a_thaw_that_podman_refuses_leaves_the_job_paused_and_can_be_asked_for_again() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.ask(2, Target::Execution, Verb::Pause);
    rig.tell(3_000, id(0, 0, 1), Report::Paused);
    rig.ask(4_000, Target::Execution, Verb::Resume);
    rig.tell(5_000, id(0, 0, 1), Report::Paused);
    assert_eq!(outcome::step_state(rig.known(), 0), State::Paused);
    let again = rig.ask(6_000, Target::Execution, Verb::Resume).effects;
    assert_eq!(again, [Effect::Resume(vec![(id(0, 0, 1), name(id(0, 0, 1)))])]);
    rig.tell(8_000, id(0, 0, 1), Report::Resumed);
    assert_eq!(rig.known().steps[0].jobs[0].paused_ms, 5_000, "it was frozen all the time");
}

#[test]
fn a_freeze_that_podman_refuses_leaves_the_job_running() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    rig.ask(2, Target::Execution, Verb::Pause);
    assert_eq!(outcome::step_state(rig.known(), 0), State::Running, "not before Podman says so");
    rig.tell(3, id(0, 0, 1), Report::NotPaused(Reason::new(Name::StartError, "no freezer")));
    assert!(matches!(rig.job(0, 0), JobState::Running { .. }));
}

#[test]
fn the_time_that_a_job_was_frozen_is_counted_and_its_max_duration_goes_on() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1_000, id(0, 0, 1));
    rig.ask(2_000, Target::Step(0), Verb::Pause);
    rig.tell(3_000, id(0, 0, 1), Report::Paused);
    assert_eq!(deadline::next(&rig.board, at(3_000)).map(|(due, _)| due), Some(at(61_000).boot));
    rig.ask(7_000, Target::Step(0), Verb::Resume);
    rig.tell(8_000, id(0, 0, 1), Report::Resumed);
    assert_eq!(rig.known().steps[0].jobs[0].paused_ms, 5_000);
    rig.ask(9_000, Target::Step(0), Verb::Pause);
    rig.tell(10_000, id(0, 0, 1), Report::Paused);
    let told = rig.ask(11_000, Target::Step(0), Verb::Stop).effects;
    assert_eq!(told, [Effect::Signal(id(0, 0, 1), name(id(0, 0, 1)), Signal::Term)]);
    assert_eq!(rig.known().steps[0].jobs[0].paused_ms, 6_000);
}

#[test]
fn a_condition_that_does_not_hold_skips_the_step_and_what_depends_on_it_and_fails_nothing() {
    let when = Some(When { step: 0, test: Test::Equals("go".to_owned()) });
    let second = after(0, Needs::Success, plain(1, Terms { when, ..Terms::default() }));
    let third = after(1, Needs::Success, plain(2, Terms::default()));
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default()), second, third]);
    rig.run(1, id(0, 0, 1));
    let asked = rig.end(2, id(0, 0, 1), 0);
    assert!(asked.contains(&Effect::Read { execution: execution(1), step: 1 }), "{asked:?}");
    let outputs = BTreeMap::from([(0, Ok("no\n".to_owned()))]);
    let read = Event::OutputRead { execution: execution(1), step: 1, outputs };
    let ended = rig.feed(3, read.clone()).effects;
    assert_eq!((rig.step_reason(1), rig.step_reason(2)), (Some(Name::Condition), Some(Name::Condition)));
    assert_eq!(ended, [Effect::Report(execution(1))]);
    assert!(decide(&rig.board, read, at(4)).is_err(), "an answer that comes twice changes nothing");
    rig.feed(5, Event::Filed(execution(1)));
    assert_eq!(outcome::execution_state(rig.known()), State::Succeeded);
}

#[test]
fn an_errand_waits_for_its_condition_and_is_not_carried_out_without_it() {
    for (said, carried_out) in [("go", true), ("stay", false)] {
        let when = Some(When { step: 0, test: Test::Equals("go".to_owned()) });
        let work = Work::Errand(Errand::Downlink(transfer()));
        let errand = PlannedStep { terms: Terms { when, ..Terms::default() }, ..step(1, OnFailure::Stop, 300, work) };
        let (mut rig, _) = Rig::new(vec![plain(0, Terms::default()), after(0, Needs::Success, errand)]);
        rig.run(1, id(0, 0, 1));
        let asked = rig.end(2, id(0, 0, 1), 0);
        assert_eq!(asked.iter().filter(|effect| matches!(effect, Effect::Errand { .. })).count(), 0, "{asked:?}");
        let outputs = BTreeMap::from([(0, Ok(said.to_owned()))]);
        let effects = rig.feed(3, Event::OutputRead { execution: execution(1), step: 1, outputs }).effects;
        let begun = effects.contains(&Effect::Errand { execution: execution(1), step: 1 });
        assert_eq!((begun, rig.step_reason(1).is_none()), (carried_out, carried_out), "{said}");
    }
}

#[test]
fn an_output_becomes_jobs_up_to_the_limit() {
    let template = Box::new(job(1, None, 60));
    let (separator, command) = (" ".to_owned(), "echo ${1} ${item}".to_owned());
    let fan_out = Some(FanOut { step: 0, separator, command, limit: 2, template });
    let open = |said: &str| {
        let terms = Terms { fan_out: fan_out.clone(), ..Terms::default() };
        let mut second = after(0, Needs::Success, plain(1, terms));
        second.work = Work::PodRun { jobs: Vec::new() };
        let (mut rig, _) = Rig::new(vec![plain(0, Terms::default()), second]);
        rig.run(1, id(0, 0, 1));
        rig.end(2, id(0, 0, 1), 0);
        let outputs = BTreeMap::from([(0, Ok(said.to_owned()))]);
        let effects = rig.feed(3, Event::OutputRead { execution: execution(1), step: 1, outputs }).effects;
        (rig, effects)
    };
    let (rig, effects) = open("1 3\n");
    assert_eq!(prepares(&effects), [(1, 0, 1), (1, 1, 1)]);
    let commands: Vec<String> =
        rig.known().plan.steps[1].jobs().iter().map(|job| job.pod.command.as_ref().expect("one")[2].clone()).collect();
    assert_eq!(commands, ["echo 1 0", "echo 3 1"]);
    let (rig, _) = open("1 2 3");
    assert_eq!(rig.step_reason(1), Some(Name::Limit));
    let (rig, _) = open("\n");
    assert!(rig.succeeded(1), "nothing was asked for, and nothing was to be done");
}

#[test]
fn a_step_starts_within_its_window_or_never() {
    let wall = |millis: u64| Some(at(millis).wall);
    let window = Window { not_before: wall(10_000), not_after: wall(20_000) };
    let (mut rig, effects) = Rig::new(vec![plain(0, Terms { window, ..Terms::default() })]);
    assert_eq!(effects, []);
    assert_eq!(deadline::next(&rig.board, at(0)).map(|(due, _)| due), Some(at(10_000).boot));
    assert_eq!(prepares(&rig.feed(10_000, Event::TimePassed(BTreeMap::new())).effects), [(0, 0, 1)]);
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { window, ..Terms::default() })]);
    rig.feed(20_000, Event::TimePassed(BTreeMap::new()));
    assert_eq!(rig.step_reason(0), Some(Name::Window));
}

#[test]
fn only_what_has_ended_is_purged_and_its_bundle_never_runs_again() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default())]);
    rig.run(1, id(0, 0, 1));
    let ask = |verb| Event::Asked { execution: execution(1), target: Target::Execution, verb };
    assert!(decide(&rig.board, ask(Verb::Purge), at(2)).is_err());
    rig.end(3, id(0, 0, 1), 0);
    rig.feed(4, Event::Filed(execution(1)));
    let plan = rig.known().plan.clone();
    assert_eq!(rig.feed(5, ask(Verb::Purge)).effects, [Effect::Purge(execution(1))]);
    assert!(decide(&rig.board, Event::Submitted { plan, held: false }, at(6)).is_err());
}

#[test]
fn what_ran_and_failed_is_not_told_as_skipped_when_the_sequence_stops_before_its_retry() {
    let retry = Retry { times: 3, backoff_seconds: 30, ..Retry::default() };
    let mut second = plain(1, Terms::default());
    second.on_failure = OnFailure::Stop;
    let (mut rig, _) = Rig::new(vec![plain(0, Terms { retry, ..Terms::default() }), second]);
    rig.run(1, id(0, 0, 1));
    rig.end(2, id(0, 0, 1), 5);
    assert_eq!(outcome::execution_state(rig.known()), State::Running, "the other step is being prepared");
    rig.run(3, id(1, 0, 1));
    rig.end(4, id(1, 0, 1), 1);
    assert_eq!(rig.step_reason(0), Some(Name::Exit));
    let JobState::Ended { verdict: Verdict::Failed(_), run: Some(run), .. } = rig.job(0, 0) else {
        panic!("{:?}", rig.job(0, 0));
    };
    assert_eq!(run.exit.as_ref().map(|exit| exit.code), Some(5), "the figures of the attempt stay");
}

#[test]
fn a_step_of_which_a_part_ran_failed_and_stops_nothing_by_itself() {
    let mut second = after(0, Needs::Each, array(1, 2, Terms::default()));
    second.on_failure = OnFailure::Stop;
    let third = PlannedStep { after: Vec::new(), ..plain(2, Terms { max_parallel: Some(1), ..Terms::default() }) };
    let (mut rig, _) = Rig::new(vec![array(0, 2, Terms::default()), second, third]);
    for (step, job) in [(0, 0), (0, 1), (2, 0)] {
        rig.run(1, id(step, job, 1));
    }
    rig.end(2, id(0, 1, 1), 3);
    rig.end(3, id(0, 0, 1), 0);
    rig.run(4, id(1, 0, 1));
    rig.end(5, id(1, 0, 1), 0);
    assert!(
        matches!(rig.known().steps[1].state.verdict(), Some(Verdict::Failed(reason)) if reason.name == Name::Dependency)
    );
    assert_eq!(rig.known().halt, None);
}

#[test]
fn nothing_starts_after_a_step_that_ends_its_operation_before_its_own_start() {
    let later = Window { not_before: Some(at(100_000).wall), not_after: None };
    let first = PlannedStep { on_failure: OnFailure::Stop, ..plain(0, Terms { window: later, ..Terms::default() }) };
    let (mut rig, effects) = Rig::new(vec![first, after(0, Needs::Ended, plain(1, Terms::default()))]);
    assert_eq!(effects, []);
    let effects = rig.ask(0, Target::Step(0), Verb::Stop).effects;
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Prepare(_))), "{effects:?}");
    assert_eq!(rig.step_reason(1), Some(Name::SequenceStopped));
}
