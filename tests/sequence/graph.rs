//! What a status tells of the whole: children, slots, instances that failed, names of events.

use std::sync::Arc;

use perigee::bundle::document::OnFailure;
use perigee::bundle::flow::{Clean, GangStart, Mpi};
use perigee::outcome;
use perigee::plan::{Dependency, Gang, Needs, Plan, PlannedJob, Role, Work};
use perigee::reason::{Name, Reason};
use perigee::sequence::record::Repeat;
use perigee::sequence::state::{JobState, Remains, StepState, Verdict};
use perigee::sequence::{Execution, Record, Recorded};
use perigee::view::{self, JobStatus, Names};

use super::plans::{at, empty_plan, execution, job, step};

#[test]
fn d7_children_are_all_jobs_or_those_at_the_same_position() {
    for (needs, children) in [(Needs::Success, vec!["b.0", "b.1"]), (Needs::Each, vec!["b.0"])] {
        let status = view::status(&Execution::new(Arc::new(pair(2, needs)), false, at(0)), None);
        let ids = |names: &[&str]| names.iter().map(|name| format!("{}.{name}", execution(1))).collect::<Vec<_>>();
        assert_eq!(status.steps[0].jobs[0].children, ids(&children), "{needs:?}");
        let sources = if needs == Needs::Each { vec!["a.1"] } else { vec!["a.0", "a.1"] };
        assert_eq!(status.steps[1].jobs[1].after, ids(&sources));
        assert_eq!(status.steps[1].after[0].mode, if needs == Needs::Each { "each" } else { "all" });
        assert_eq!(status.steps[1].jobs[0].children, [""; 0]);
    }
}

#[test]
fn d7_a_large_step_is_one_child() {
    let status = view::status(&Execution::new(Arc::new(pair(65, Needs::Success)), false, at(0)), None);
    assert_eq!(status.steps[0].jobs[64].children, [format!("{}.b", execution(1))]);
}

#[test]
fn d8_a_step_of_several_jobs_names_the_one_that_failed() {
    let mut known = Execution::new(Arc::new(pair(2, Needs::Success)), false, at(0));
    let reason = || Reason::new(Name::Exit, "exit code 3");
    let ended = |verdict| JobState::Ended { verdict, at: at(2), run: None, remains: Remains::Nothing };
    known.steps[0].jobs[0].state = ended(Verdict::Succeeded);
    known.steps[0].jobs[1].state = ended(Verdict::Failed(reason()));
    let verdict = outcome::of_step(&known, 0);
    assert_eq!(verdict, Verdict::Failed(Reason::new(Name::Exit, "job a.1: exit code 3")));
    for (index, verdict) in [verdict, Verdict::Succeeded].into_iter().enumerate() {
        known.steps[index].state = StepState::Ended { since: None, at: at(2), verdict, output: None };
    }
    let whole = outcome::of_execution(&known);
    assert_eq!(whole.reason().map(|reason| reason.message.as_str()), Some("job a.1: exit code 3"));
}

#[test]
fn g13_slots_of_a_gang_are_those_of_its_workers() {
    let status = view::status(&Execution::new(Arc::new(gang()), false, at(0)), None);
    let slots: Vec<u32> = status.steps[0].jobs.iter().map(|job: &JobStatus| job.slots).collect();
    assert_eq!(slots, [2, 2, 4]);
    assert!(status.steps[0].jobs.iter().all(|job| job.ended_at.is_none() && job.wall_seconds.is_none()));
    assert_eq!(view::grouped([&status])["Pending"].jobs.len(), 1, "a gang is told as its launcher");
}

#[test]
fn events_call_units_and_members_by_their_labels() {
    let plan = gang();
    let line = |record: Record| {
        let recorded = Recorded { execution: execution(1), at: at(9), record };
        view::event_line(1, &recorded, &Names::of_plan(&plan)).id
    };
    let requeued = Record::UnitRequeued { step: 0, unit: 0, cause: Repeat::Retry, pause_ms: 0 };
    assert_eq!(line(requeued), format!("{}.s0", execution(1)), "a lone gang is its step");
    assert_eq!(line(Record::JobPaused { step: 0, job: 2 }), format!("{}.s0.launcher", execution(1)));
    let status = view::status(&Execution::new(Arc::new(plan.clone()), false, at(0)), None);
    assert_eq!(Names::of_status(&status), Names::of_plan(&plan));
}

#[test]
fn time_that_a_job_is_paused_counts_while_it_lasts() {
    use perigee::sequence::Board;
    use perigee::sequence::event::Away;
    use perigee::sequence::state::Freeze;
    let mut known = Execution::new(Arc::new(pair(1, Needs::Success)), false, at(0));
    known.steps[0].state = StepState::Active { since: at(0) };
    let state =
        JobState::Paused { container: "c".to_owned(), started: at(1000), since: at(3000), freeze: Freeze::Frozen };
    (known.steps[0].jobs[0].state, known.steps[0].jobs[0].paused_ms) = (state, 500);
    let (board, away) = (Board::default(), Away::new());
    let status = view::status(&known, Some(view::Around { board: &board, away: &away, now: at(6000) }));
    let job = &status.steps[0].jobs[0];
    assert_eq!((job.paused_seconds, job.wall_seconds), (3.5, Some(5.0)));
}

/// Steps a and b of so many jobs each; b after a.
fn pair(count: usize, needs: Needs) -> Plan {
    let mut plan = empty_plan(execution(1), 10);
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let member = |position: usize| PlannedJob {
            label: position.to_string(),
            unit: u32::try_from(position).expect("few"),
            ..job(0, None, 60)
        };
        let work = Work::PodRun { jobs: (0..count).map(member).collect() };
        plan.steps.push(step(index, OnFailure::Stop, 360, work));
        plan.steps[index].id = name.parse().expect("legal");
    }
    plan.steps[1].after = vec![Dependency { step: 0, needs }];
    plan
}

/// One gang of two workers with two slots each.
fn gang() -> Plan {
    let member = |label: &str, role: Role| PlannedJob { label: label.to_owned(), role, ..job(0, None, 60) };
    let jobs =
        vec![member("worker-0", Role::Worker), member("worker-1", Role::Worker), member("launcher", Role::Launcher)];
    let mut plan = empty_plan(execution(1), 10);
    plan.steps.push(step(0, OnFailure::Stop, 360, Work::PodRun { jobs }));
    plan.steps[0].terms.gang = Some(Gang {
        slots_per_worker: 2,
        mpi: Mpi::Openmpi,
        ssh_dir: "/root/.ssh".to_owned(),
        launcher_as_worker: false,
        start: GangStart::AfterWorkers,
        clean: Clean::Running,
    });
    plan
}
