//! Containers that are made ahead of the turn of their jobs: when they are, when they are not, and how they are undone.

use std::sync::Arc;

use perigee::bundle::document::OnFailure;
use perigee::bundle::flow::Test;
use perigee::plan::errand::{Archive, ImageLoad};
use perigee::plan::{Dependency, Errand, Needs, Plan, PlannedStep, Retry, Terms, When, Window, Work};
use perigee::reason::{Name, Reason};
use perigee::sequence::effect::Disposal;
use perigee::sequence::event::{Away, Report, Target, Verb};
use perigee::sequence::orphan::{self, LedgerId, Listed};
use perigee::sequence::record::Reset;
use perigee::sequence::state::{Ahead, Exit, JobState, Logs, Phase, Verdict};
use perigee::sequence::{AttemptId, Board, Decision, Effect, Event, Execution, apply, deadline, decide, resume};
use perigee::view;

use super::plans::{at, empty_plan, execution, job, prepared, step, transfer};

struct Rig {
    board: Board,
}

impl Rig {
    /// A board with this plan, whose first step runs.
    fn running(plan: Plan) -> (Self, Vec<Effect>) {
        let mut rig = Self { board: Board::default() };
        rig.submit(plan);
        let effects = rig.run(id(0, 1));
        (rig, effects)
    }

    fn submit(&mut self, plan: Plan) -> Vec<Effect> {
        self.feed(Event::Submitted { plan: Arc::new(plan), held: false })
    }

    fn decide(&mut self, event: Event) -> Decision {
        let decision = decide(&self.board, event, at(0)).expect("legal");
        for record in &decision.records {
            apply(&mut self.board, record).expect("fits");
        }
        decision
    }

    fn feed(&mut self, event: Event) -> Vec<Effect> {
        self.decide(event).effects
    }

    fn tell(&mut self, id: AttemptId, report: Report) -> Vec<Effect> {
        self.feed(Event::Reported(id, report))
    }

    fn prepared(&mut self, id: AttemptId) -> Vec<Effect> {
        self.tell(id, prepared(format!("c{}.{}", id.step, id.attempt)))
    }

    fn run(&mut self, id: AttemptId) -> Vec<Effect> {
        self.prepared(id);
        self.tell(id, Report::Started)
    }

    fn end(&mut self, id: AttemptId, code: i64) -> Vec<Effect> {
        self.tell(id, Report::Exited(Exit { code, oom: false, cpu_ms: None }))
    }

    fn ask(&mut self, target: Target, verb: Verb) -> Vec<Effect> {
        self.feed(Event::Asked { execution: execution(1), target, verb })
    }

    fn known(&self) -> &Execution {
        &self.board.live[&execution(1)]
    }

    fn ahead(&self, step: usize) -> &Ahead {
        &self.known().steps[step].jobs[0].ahead
    }

    fn state(&self, step: usize) -> &JobState {
        &self.known().steps[step].jobs[0].state
    }
}

fn id(step: usize, attempt: u32) -> AttemptId {
    AttemptId { execution: execution(1), step, job: 0, attempt }
}

fn pod(name: u8, port: Option<u8>) -> Work {
    Work::PodRun { jobs: vec![job(name, port, 60)] }
}

/// A chain: each step waits for the end of the one before.
fn chain(works: Vec<Work>) -> Plan {
    let steps = works.into_iter().enumerate().map(|(index, work)| {
        let planned = step(index, OnFailure::Stop, 360, work);
        let after = index.checked_sub(1).map(|step| Dependency { step, needs: Needs::Ended });
        PlannedStep { after: after.into_iter().collect(), ..planned }
    });
    Plan { steps: steps.collect(), look_ahead: true, ..empty_plan(execution(1), 10) }
}

fn pods(count: u8) -> Plan {
    chain((0..count).map(|name| pod(name, None)).collect())
}

fn prepares(effects: &[Effect]) -> Vec<AttemptId> {
    let of = |effect: &Effect| if let Effect::Prepare(id) = effect { Some(*id) } else { None };
    effects.iter().filter_map(of).collect()
}

fn clear(id: AttemptId) -> Effect {
    Effect::Clear(id, Disposal::Remove)
}

#[test]
fn two_steps_are_made_while_one_runs_and_start_at_once_when_their_turn_comes() {
    let (mut rig, effects) = Rig::running(pods(4));
    assert_eq!(prepares(&effects), [id(1, 1), id(2, 1)], "and not the third");
    assert_eq!(rig.state(1), &JobState::Waiting);
    assert_eq!(rig.known().steps[1].jobs[0].began, None, "it spends no budget");
    rig.prepared(id(1, 1));
    let effects = rig.end(id(0, 1), 0);
    assert!(effects.contains(&Effect::Launch(vec![(id(1, 1), "c1.1".to_owned())])), "{effects:?}");
    assert_eq!(prepares(&effects), [], "nothing is made while something starts");
    assert_eq!(prepares(&rig.tell(id(1, 1), Report::Started)), [id(3, 1)]);
}

#[test]
fn what_fails_ahead_is_made_again_when_its_turn_has_come_meanwhile() {
    let (mut rig, _) = Rig::running(pods(2));
    rig.end(id(0, 1), 0);
    assert_eq!(rig.state(1), &JobState::Preparing, "it is on its way");
    let effects = rig.tell(id(1, 1), Report::NotMadeAhead(Reason::new(Name::StartError, "no memory to spare")));
    assert_eq!(prepares(&effects), [id(1, 1)]);
    assert_eq!(rig.state(1), &JobState::Preparing);
}

#[test]
fn what_cannot_be_withdrawn_keeps_its_step_no_longer_than_the_budget() {
    let (mut rig, _) = Rig::running(pods(2));
    rig.prepared(id(1, 1));
    rig.ask(Target::Step(1), Verb::Hold);
    assert_eq!(rig.ahead(1), &Ahead::Owed);
    rig.ask(Target::Step(1), Verb::Release);
    rig.end(id(0, 1), 0);
    assert_eq!(rig.state(1), &JobState::Waiting, "its old container is still there");
    let (due, _) = deadline::next(&rig.board, at(0)).expect("its budget runs from its turn on");
    assert_eq!(due, at(360_000).boot);
    let decision = decide(&rig.board, Event::TimePassed(Away::default()), at(360_000)).expect("legal");
    decision.records.iter().for_each(|record| drop(apply(&mut rig.board, record).expect("fits")));
    let JobState::Ended { verdict: Verdict::Failed(reason), .. } = rig.state(1) else { panic!("{:?}", rig.state(1)) };
    assert_eq!(reason.name, Name::Timeout);
    assert!(reason.message.contains("made ahead of its turn"), "{reason}");
    rig.tell(id(0, 1), Report::Cleared(Logs::default()));
    rig.tell(id(1, 1), Report::Cleared(Logs::default()));
    assert!(matches!(rig.known().phase, Phase::Settled { .. }), "{:?}", rig.known().phase);
}

#[test]
fn first_step_has_the_board_to_itself_until_it_runs() {
    let mut rig = Rig { board: Board::default() };
    assert_eq!(prepares(&rig.submit(pods(3))), [id(0, 1)]);
    assert_eq!(prepares(&rig.prepared(id(0, 1))), []);
}

#[test]
fn nothing_is_made_ahead_where_the_operator_does_not_want_it() {
    let (_, effects) = Rig::running(Plan { look_ahead: false, ..pods(3) });
    assert_eq!(prepares(&effects), []);
}

#[test]
fn one_that_is_still_being_made_when_its_turn_comes_is_not_asked_for_twice() {
    let (mut rig, _) = Rig::running(pods(2));
    let effects = rig.end(id(0, 1), 0);
    assert_eq!(prepares(&effects), []);
    assert_eq!(rig.state(1), &JobState::Preparing);
    assert!(rig.known().steps[1].jobs[0].began.is_some(), "its budget runs from its turn");
    let effects = rig.prepared(id(1, 1));
    assert!(effects.contains(&Effect::Launch(vec![(id(1, 1), "c1.1".to_owned())])));
}

#[test]
fn what_cannot_be_made_ahead_is_made_in_its_turn_under_another_number_and_its_retries_are_whole() {
    let mut plan = pods(2);
    plan.steps[1].terms.retry = Retry { times: 1, ..Retry::default() };
    let (mut rig, _) = Rig::running(plan);
    let effects = rig.tell(id(1, 1), Report::NotPrepared(Reason::new(Name::ImageMissing, "no such image")));
    assert_eq!((effects.as_slice(), rig.ahead(1)), (&[clear(id(1, 1))][..], &Ahead::Owed));
    assert_eq!(prepares(&rig.end(id(0, 1), 0)), [], "its turn waits for what is left");
    assert_eq!(prepares(&rig.tell(id(1, 1), Report::Cleared(Logs::default()))), [id(1, 2)]);
    rig.tell(id(1, 2), Report::NotPrepared(Reason::new(Name::StartError, "no")));
    assert!(matches!(rig.state(1), JobState::Requeued { .. }), "{:?}", rig.state(1));
    assert_eq!(prepares(&rig.tell(id(1, 2), Report::Cleared(Logs::default()))), [id(1, 3)]);
    rig.tell(id(1, 3), Report::NotPrepared(Reason::new(Name::StartError, "no")));
    assert!(matches!(rig.state(1), JobState::Ended { .. }), "one retry, not two");
}

#[test]
fn what_stands_ahead_goes_with_a_stop_a_failure_a_hold_a_pause_a_boot_and_a_quarantine() {
    type Change = fn(&mut Rig) -> Vec<Effect>;
    let changes: [(&str, Change); 7] = [
        ("stop", |rig| rig.ask(Target::Execution, Verb::Stop)),
        ("failure", |rig| rig.end(id(0, 1), 1)),
        ("hold", |rig| rig.ask(Target::Step(1), Verb::Hold)),
        ("pause", |rig| rig.ask(Target::Step(0), Verb::Pause)),
        ("boot", |rig| rig.feed(Event::Reset { cause: Reset::Boot, limit: 0 })),
        ("quarantine at a boot", |rig| rig.feed(Event::Reset { cause: Reset::Boot, limit: 1 })),
        ("quarantine at a crash", |rig| rig.feed(Event::Reset { cause: Reset::Crash, limit: 1 })),
    ];
    for (name, change) in changes {
        for made in [true, false] {
            let (mut rig, _) = Rig::running(pods(3));
            if made {
                rig.prepared(id(1, 1));
                rig.prepared(id(2, 1));
            }
            let effects = change(&mut rig);
            for step in [1, 2] {
                assert!(effects.contains(&clear(id(step, 1))), "{name}, step {step}: {effects:?}");
                assert!(!rig.ahead(step).stands(), "{name}");
                assert!(resume::resume(&rig.board).contains(&clear(id(step, 1))), "{name}: a crash would leave it");
                rig.tell(id(step, 1), Report::Cleared(Logs::default()));
                assert!(!rig.known().steps[step].jobs[0].occupies(), "{name}");
            }
        }
    }
}

#[test]
fn a_crash_takes_up_what_is_being_made_and_what_is_made_again() {
    let (mut rig, _) = Rig::running(pods(3));
    rig.prepared(id(1, 1));
    assert_eq!(prepares(&resume::resume(&rig.board)), [id(2, 1)]);
    rig.feed(Event::Reset { cause: Reset::Crash, limit: 3 });
    assert!(rig.ahead(1).stands() && rig.ahead(2).stands(), "a death of the daemon undoes none of it");
}

#[test]
fn what_has_its_turn_takes_name_and_port_from_what_stands_ahead() {
    for (name, port) in [(1, None), (9, Some(1))] {
        let (mut rig, effects) = Rig::running(chain(vec![pod(0, None), pod(1, Some(1))]));
        assert_eq!(prepares(&effects), [id(1, 1)]);
        rig.prepared(id(1, 1));
        let mut other = chain(vec![pod(name, port)]);
        other.execution = execution(2);
        let effects = rig.submit(other);
        assert_eq!(effects, [clear(id(1, 1))]);
        let effects = rig.tell(id(1, 1), Report::Cleared(Logs::default()));
        assert_eq!(prepares(&effects), [AttemptId { execution: execution(2), ..id(0, 1) }]);
    }
}

#[test]
fn nothing_is_made_ahead_whose_name_or_port_is_in_use() {
    for next in [pod(0, None), pod(1, Some(0))] {
        let (_, effects) = Rig::running(chain(vec![pod(0, Some(0)), next]));
        assert_eq!(prepares(&effects), []);
    }
}

#[test]
fn nothing_is_made_ahead_that_something_has_yet_to_decide_about() {
    let when = When { step: 0, test: Test::Equals("go".to_owned()) };
    let later = at(1).wall;
    let terms: [(&str, Terms); 2] = [
        ("a condition", Terms { when: Some(when), ..Terms::default() }),
        ("a window", Terms { window: Window { not_before: Some(later), not_after: None }, ..Terms::default() }),
    ];
    for (name, terms) in terms {
        let mut plan = pods(3);
        plan.steps[1].terms = terms;
        let (_, effects) = Rig::running(plan);
        assert_eq!(prepares(&effects), [], "{name}, nor what comes after it");
    }
    let (_, effects) = Rig::running(Plan { parallelism: Some(1), ..pods(3) });
    assert_eq!(prepares(&effects), [], "the cap is one pod aboard");
    let (_, effects) = Rig::running(Plan { parallelism: Some(2), ..pods(3) });
    assert_eq!(prepares(&effects), [id(1, 1)]);
}

#[test]
fn nothing_is_made_ahead_over_a_step_that_may_change_its_image_or_a_volume_that_no_pod_has_mounted() {
    let load = ImageLoad {
        node: "mpu".parse().expect("legal"),
        archive: Archive::Bundle("images/a.tar".to_owned()),
        image: "python:3.10".to_owned(),
        max_duration_seconds: 60,
    };
    let elsewhere = |name: u8| {
        let mut other = job(name, None, 60);
        "t.other".clone_into(&mut other.pod.claim);
        Work::PodRun { jobs: vec![other] }
    };
    let uplink = || Work::Errand(Errand::Uplink(transfer()));
    let cases: [(&str, Vec<Work>, usize); 4] = [
        ("an image that is loaded", vec![pod(0, None), Work::Errand(Errand::ImageLoad(load)), pod(1, None)], 0),
        ("files that come first", vec![elsewhere(0), uplink(), pod(1, None)], 0),
        ("files that come into a volume in use", vec![pod(0, None), uplink(), pod(1, None)], 1),
        ("a pod that comes first", vec![elsewhere(0), pod(1, None), pod(2, None)], 1),
    ];
    for (name, works, expected) in cases {
        let (_, effects) = Rig::running(chain(works));
        assert_eq!(prepares(&effects).len(), expected, "{name}");
    }
}

#[test]
fn of_an_array_a_few_members_are_made_ahead_and_of_a_group_all_or_none() {
    let array = |members: u8| Work::PodRun {
        jobs: (0..members)
            .map(|member| perigee::plan::PlannedJob { unit: member.into(), ..job(10 + member, None, 60) })
            .collect(),
    };
    let (_, effects) = Rig::running(chain(vec![pod(0, None), array(200)]));
    assert_eq!(prepares(&effects).len(), 8);
    let mut capped = chain(vec![pod(0, None), array(200)]);
    capped.steps[1].terms.max_parallel = Some(3);
    let (_, effects) = Rig::running(capped);
    assert_eq!(prepares(&effects).len(), 3);
    for (members, made) in [(8, 8), (9, 0)] {
        let mut plan = chain((0..=members).map(|name| pod(name, None)).collect());
        for planned in &mut plan.steps[1..] {
            planned.group = Some(1);
            planned.after = vec![Dependency { step: 0, needs: Needs::Ended }];
        }
        let (mut rig, effects) = Rig::running(plan);
        assert_eq!(prepares(&effects).len(), made, "{members} members");
        if made > 0 {
            rig.prepared(id(1, 1));
            let effects = rig.tell(id(2, 1), Report::NotPrepared(Reason::new(Name::StartError, "no")));
            assert_eq!(effects.len(), made, "all of it goes: {effects:?}");
        }
    }
}

#[test]
fn the_board_has_few_containers_ahead_however_many_executions_there_are() {
    let mut rig = Rig { board: Board::default() };
    let mut made = 0;
    for number in 1..=12 {
        let mut plan = chain((0..3).map(|name| pod(number * 3 + name, None)).collect());
        plan.execution = execution(number);
        rig.submit(plan);
        let first = AttemptId { execution: execution(number), ..id(0, 1) };
        made += prepares(&rig.run(first)).len();
    }
    assert_eq!(made, perigee::sequence::ahead::AHEAD_MAX);
}

#[test]
fn container_that_stands_ahead_is_no_orphan_until_it_is_withdrawn_and_cleared() {
    let ledger: LedgerId = "01a1fd64-a7d2-7096-b966-f6d890c9bc84".parse().expect("a UUID");
    let (mut rig, _) = Rig::running(pods(2));
    let labels = [
        (orphan::KIND, orphan::CONTAINER.to_owned()),
        (orphan::LEDGER, ledger.to_string()),
        (orphan::EXECUTION, execution(1).to_string()),
        (orphan::STEP, "s1".to_owned()),
        (orphan::JOB, "0".to_owned()),
        (orphan::ATTEMPT, "1".to_owned()),
    ];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let listed = Listed { id: "c1.1".to_owned(), name: view::container_name(rig.known(), &id(1, 1)), labels };
    let is_orphan = |rig: &Rig| {
        !orphan::orphans(std::slice::from_ref(&listed), ledger, &rig.board, &std::collections::BTreeMap::new())
            .is_empty()
    };
    assert!(!is_orphan(&rig), "being made");
    rig.prepared(id(1, 1));
    assert!(!is_orphan(&rig), "made");
    rig.ask(Target::Step(1), Verb::Hold);
    assert!(!is_orphan(&rig), "withdrawn: its clearing is on its way");
    rig.tell(id(1, 1), Report::Cleared(Logs::default()));
    assert!(is_orphan(&rig), "its number is not given again");
}
