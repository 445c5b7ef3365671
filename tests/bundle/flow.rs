//! Hand-made flows and jobs meet verification and planning: what the ground would not have packed is refused with its
//! field, and nothing panics whatever the numbers are.

use perigee::bundle::document::{Sequence, StepDocument};
use perigee::bundle::flow::{
    Array, Clean, Condition, Edge, Flow, FromOutput, GangDocument, GangStart, Jobs, Mode, Mpi, OnPowerLoss, Test,
};
use perigee::bundle::manifest::{Pod, Variable};
use perigee::plan::{Board, Plan, plan};
use perigee::verify::{Rejection, verify};
use proptest::prelude::*;

use super::sample::{Sample, pod};

/// Pods with manifests of their own, in the order of the list.
fn apart(names: &[&str]) -> Sample {
    let mut sample = Sample::new();
    let template = sample.steps[1].clone();
    sample.steps.clear();
    sample.manifests.clear();
    sample.files.clear();
    for name in names {
        let mut step = template.clone();
        step.id = name.parse().expect("legal");
        let run = step.pod_run.as_mut().expect("a pod");
        run.manifest = format!("manifests/{name}.yaml");
        run.pod_name = name.parse().expect("legal");
        run.pod = format!("client1-{name}").parse().expect("legal");
        sample.manifests.insert(run.manifest.clone(), vec![bare(name)]);
        sample.steps.push(step);
    }
    sample
}

/// A pod that runs what its image runs.
fn bare(name: &str) -> Pod {
    let mut pod = pod(name, 60);
    pod.spec.containers[0].command = None;
    pod
}

fn edge(step: &str, mode: Mode) -> Edge {
    Edge { step: step.parse().expect("legal"), mode }
}

fn jobs(step: &mut StepDocument) -> &mut Jobs {
    step.pod_run.as_mut().expect("a pod").jobs.get_or_insert_with(Jobs::default)
}

fn flown(sample: &Sample) -> Result<Plan, Rejection> {
    let bundle = verify(sample.header(), &sample.contents().into_iter().collect())?;
    let board = Board {
        nodes: [("mpu".parse().expect("legal"), "local".to_owned())].into(),
        default_node: "mpu".parse().expect("legal"),
        stop_grace_seconds: 30,
        look_ahead: true,
        policy: perigee::plan::policy::Policy::default(),
        fisheye: None,
    };
    plan(&bundle, &board)
}

/// The reasons of a refusal as `field: message`.
fn refused(sample: &Sample) -> Vec<String> {
    let refused = flown(sample).expect_err("refused");
    refused.reasons.iter().map(|reason| format!("{}: {}", reason.field, reason.message)).collect()
}

#[test]
fn edges_that_lead_nowhere_to_themselves_or_in_circles_are_refused() {
    let mut sample = apart(&["a", "b", "c"]);
    sample.steps[0].flow.after = Some(vec![edge("c", Mode::All), edge("nobody", Mode::All)]);
    sample.steps[1].flow.after = Some(vec![edge("b", Mode::Each), edge("a", Mode::All), edge("a", Mode::Each)]);
    assert_eq!(
        refused(&sample),
        [
            "steps[0].flow.after[1].step: there is no step `nobody`; name a step of this operation by its id",
            "steps[1].flow.after[0].step: step `b` would wait for itself; name another step",
            "steps[1].flow.after[2].step: step `a` is there twice; keep one",
            "steps[0].flow.after: the steps wait for each other: a -> c -> b -> a; \
             `c` waits for what stands before it in the list; `after: []` makes it wait for nothing",
        ]
    );
}

#[test]
fn unequal_numbers_and_outputs_of_several_jobs_are_refused() {
    let mut sample = apart(&["a", "b", "c", "d"]);
    jobs(&mut sample.steps[0]).commands = vec!["x".to_owned(), "y".to_owned()];
    sample.steps[1].flow.after = Some(vec![edge("a", Mode::Each)]);
    let condition = |step: &str| Condition { step: step.parse().expect("legal"), test: Test::Equals(String::new()) };
    sample.steps[2].flow.when = Some(condition("a"));
    jobs(&mut sample.steps[3]).from_output = Some(from("a"));
    assert_eq!(
        refused(&sample),
        [
            "steps[1].flow.after[0].mode: `a` has 2 and `b` has 1, but each pairs them by position; \
             give both as many, or use mode all",
            "steps[2].flow.when.step: the output of one job is looked at, and `a` has 2 of them; \
             name a pod.run task with one job",
            "steps[3].pod_run.jobs.from_output.step: `a` must be all that it waits for, with mode all; \
             write `after: [a]`, or leave `after` out",
            "steps[3].pod_run.jobs.from_output.step: the output of one job is looked at, and `a` has 2 of them; \
             name a pod.run task with one job",
        ]
    );
}

#[test]
fn jobs_out_of_bounds_are_refused_where_they_stand() {
    let mut sample = apart(&["a", "b", "c"]);
    sample.parallelism = Some(0);
    sample.steps[0].flow.retries = 101;
    jobs(&mut sample.steps[0]).array = Some(Array { begin: 0, end: u32::MAX, step: 1 });
    jobs(&mut sample.steps[1]).array = Some(Array { begin: 1, end: 0, step: 0 });
    jobs(&mut sample.steps[2]).max_parallel = Some(0);
    jobs(&mut sample.steps[2]).commands = vec![String::new()];
    assert_eq!(
        refused(&sample),
        [
            "parallelism: found 0, with which nothing would ever start; leave it out to have no cap",
            "steps[0].flow.retries: found 101, expected 0 to 100; retry less often",
            "steps[0].pod_run.jobs.array: found 4294967296 jobs, the limit is 1024; use fewer, or several operations",
            "steps[1].pod_run.jobs.array.step: found 0, expected at least 1; leave it out to count by 1",
            "steps[2].pod_run.jobs.commands[0]: a command that is empty, or holds a zero character; \
             write what `sh -c` is to run",
            "steps[2].pod_run.jobs.max_parallel: found 0, with which nothing would ever start; \
             leave it out to have no cap",
        ]
    );
}

#[test]
fn a_pod_that_contradicts_its_jobs_is_refused() {
    let mut sample = apart(&["a", "b"]);
    jobs(&mut sample.steps[0]).commands = vec!["x".to_owned()];
    jobs(&mut sample.steps[1]).array = Some(Array { begin: 1, end: 2, step: 1 });
    sample.manifests.get_mut("manifests/a.yaml").expect("there")[0].spec.containers[0].args = Some(vec![]);
    let variable = Variable { name: "TASK_ID".to_owned(), value: "7".to_owned() };
    sample.manifests.get_mut("manifests/b.yaml").expect("there")[0].spec.containers[0].env = vec![variable];
    assert_eq!(
        refused(&sample),
        [
            "client1-a: spec.containers[0].args: not together with a list of commands, which are run by `/bin/sh -c`; \
             keep one of them",
            "client1-b: spec.containers[0].env: `TASK_ID` is set by the array; give the variable another name",
        ]
    );
}

#[test]
fn merge_groups_take_plain_pods_only() {
    let mut sample = Sample::new();
    sample.steps[1].flow.retries = 1;
    sample.steps[2].flow.on_power_loss = OnPowerLoss::Rerun;
    sample.steps[2].flow.not_before = Some(jiff::Timestamp::UNIX_EPOCH);
    jobs(&mut sample.steps[2]).array = Some(Array { begin: 1, end: 2, step: 1 });
    let reasons = refused(&sample);
    for part in [
        "steps[1].flow.retries: not in a merge group",
        "steps[2].flow.on_power_loss: not in a merge group",
        "steps[2].pod_run.jobs.array: not in a merge group",
        "steps[2].flow.not_before: differs from that of the first member",
    ] {
        assert!(reasons.iter().any(|reason| reason.starts_with(part)), "{part}: {reasons:#?}");
    }
}

#[test]
fn names_that_may_be_alive_together_are_refused() {
    let mut sample = apart(&["a", "a-1"]);
    jobs(&mut sample.steps[0]).array = Some(Array { begin: 0, end: 1, step: 1 });
    assert!(flown(&sample).is_ok(), "one after the other");
    sample.steps[1].flow.after = Some(Vec::new());
    assert_eq!(
        refused(&sample),
        ["steps[1].pod_run.pod: hostname `client1-a-1` is also one of step `a`, which may run at the same time; \
          rename it, or let one wait for the other"]
    );
}

#[test]
fn a_gang_needs_the_pod_of_its_workers_and_time_for_them() {
    let mut sample = apart(&["a"]);
    jobs(&mut sample.steps[0]).gang = Some(gang("client1-a-worker", 2));
    assert_eq!(
        refused(&sample),
        ["steps[0].pod_run.jobs.gang.worker: `manifests/a.yaml` has no pod `client1-a-worker`"]
    );
    let mut worker = bare("a-worker");
    sample.manifests.get_mut("manifests/a.yaml").expect("there").push(worker.clone());
    assert_eq!(
        refused(&sample),
        ["client1-a-worker: spec.activeDeadlineSeconds: expected max_duration_seconds of the step, 120"]
    );
    worker.spec.active_deadline_seconds = 120;
    sample.manifests.get_mut("manifests/a.yaml").expect("there")[1] = worker;
    let plan = flown(&sample).expect("a gang");
    assert_eq!((plan.steps[0].jobs().len(), plan.steps[0].units()), (3, 1));
    sample.steps[0].timeout_seconds = 100;
    assert!(refused(&sample)[0].starts_with("steps[0].timeout_seconds: found 100, expected 120 to"));
    sample.steps[0].timeout_seconds = 360;
    jobs(&mut sample.steps[0]).gang = Some(gang("client1-b-worker", 0));
    let reasons = refused(&sample);
    assert!(
        reasons.contains(&"steps[0].pod_run.jobs.gang.workers: found 0, expected 1 to 64; a gang has workers".into()),
        "{reasons:#?}"
    );
    assert!(
        reasons.iter().any(|reason| reason.contains("found `client1-b-worker`, expected `client1-a-worker`")),
        "{reasons:#?}"
    );
}

#[test]
fn flows_that_are_left_out_are_written_as_they_always_were() {
    let text = String::from_utf8(Sample::new().contents()[0].1.clone()).expect("text");
    assert_eq!(Sample::new().contents()[0].0, Sequence::PATH);
    for key in ["flow", "jobs", "parallelism"] {
        assert!(!text.contains(key), "{key} in\n{text}");
    }
}

fn from(step: &str) -> FromOutput {
    FromOutput { step: step.parse().expect("legal"), separator: " ".to_owned(), command: "x ${1}".to_owned() }
}

fn gang(worker: &str, workers: u32) -> GangDocument {
    GangDocument {
        workers,
        slots_per_worker: 1,
        worker: worker.parse().expect("legal"),
        worker_options: Box::default(),
        mpi: Mpi::Openmpi,
        ssh_dir: "/root/.ssh".to_owned(),
        launcher_as_worker: false,
        start: GangStart::AfterWorkers,
        clean: Clean::Running,
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "nobody"];

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.to_vec())
}

fn any_edge() -> impl Strategy<Value = Edge> {
    (any_name(), any::<bool>()).prop_map(|(name, each)| edge(name, if each { Mode::Each } else { Mode::All }))
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let after = prop::option::of(prop::collection::vec(any_edge(), 0..3));
    let when = prop::option::weighted(0.3, any_name());
    (after, when, 0_u32..3).prop_map(|(after, when, retries)| Flow {
        after,
        when: when.map(|name| Condition { step: name.parse().expect("legal"), test: Test::Equals("x".to_owned()) }),
        retries,
        ..Flow::default()
    })
}

fn any_jobs() -> impl Strategy<Value = Option<Jobs>> {
    let number = prop_oneof![0_u32..5, Just(u32::MAX), any::<u32>()];
    let array = (number.clone(), number.clone(), number).prop_map(|(begin, end, step)| Array { begin, end, step });
    let commands = prop::collection::vec(Just("x".to_owned()), 0..3);
    let pieces = prop::option::weighted(0.2, any_name());
    let workers = prop::option::weighted(0.2, prop_oneof![0_u32..3, Just(u32::MAX)]);
    let jobs = (prop::option::weighted(0.4, array), commands, pieces, workers, prop::option::of(0_u32..3));
    let jobs = jobs.prop_map(|(array, commands, pieces, workers, max_parallel)| Jobs {
        array,
        commands,
        from_output: pieces.map(from),
        gang: workers.map(|workers| gang("client1-a-worker", workers)),
        max_parallel,
    });
    prop::option::weighted(0.6, jobs)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flow_and_jobs_are_planned_or_refused_and_every_index_is_one_of_a_step(
        parts in prop::collection::vec((any_flow(), any_jobs()), 4)
    ) {
        let mut sample = apart(&NAMES[..4]);
        for (step, (flow, jobs)) in sample.steps.iter_mut().zip(parts) {
            step.flow = flow;
            step.pod_run.as_mut().expect("a pod").jobs = jobs;
        }
        let Ok(plan) = flown(&sample) else { return Ok(()) };
        for step in &plan.steps {
            prop_assert!(step.after.iter().all(|edge| edge.step < plan.steps.len()));
            prop_assert!(step.sources().iter().all(|source| *source < plan.steps.len()));
            let units: Vec<usize> = (0..step.units()).flat_map(|unit| step.unit(unit)).collect();
            prop_assert_eq!(units, (0..step.jobs().len()).collect::<Vec<_>>());
        }
    }
}
