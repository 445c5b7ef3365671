//! Random plans, and what each of their containers will do when it comes to life.

use std::collections::BTreeMap;
use std::sync::Arc;

use perigee::bundle::ExecutionId;
use perigee::bundle::document::{OnFailure, OperationInfo};
use perigee::bundle::flow::{Array, Clean, GangStart, Mpi, OnPowerLoss, Test};
use perigee::bundle::manifest::{Port, Protocol};
use perigee::bundle::options::Options;
use perigee::plan::errand::{Archive, ImageLoad};
use perigee::plan::{
    self, Dependency, Errand, Expansion, FanOut, Gang, Needs, Plan, PlannedJob, PlannedStep, PodSpec, Retry, Role,
    Terms, Transfer, When, Work,
};
use perigee::sequence::event::Report;
use perigee::sequence::image::Image;
use perigee::time::{BootTime, Timestamp};
use proptest::prelude::*;

/// The image of most pods; nobody makes it.
const SHARED: &str = "python:3.10";
/// The image of the others, which a load from the bundle makes anew.
const OWN: &str = "app:1";
/// What the archive of every bundle holds.
pub(crate) const IN_BUNDLE: &str = "bundled";

/// One execution: its units in order, and the grace it is given.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    units: Vec<UnitShape>,
    grace_seconds: u32,
    parallelism: Option<u32>,
    look_ahead: bool,
}

/// Steps that start together, or one transfer.
#[derive(Debug, Clone)]
struct UnitShape {
    kind: UnitKind,
    on_failure: OnFailure,
    /// Which earlier units it waits for; none means the one before.
    after: u8,
    needs: Needs,
    retries: u32,
    rerun: bool,
}

#[derive(Debug, Clone)]
enum UnitKind {
    /// Members of an array, and how many of them may be alive at once.
    Array(Vec<PodShape>, Option<u32>),
    /// The workers and the launcher of a gang.
    Gang(Vec<PodShape>, PodShape, Clean, GangStart),
    /// A pod that runs when the unit before it said so, or as often as that said.
    Told(PodShape, Told),
    /// Steps of one merge group when there are several; each with its pods.
    Pods(Vec<Vec<PodShape>>),
    Uplink(TransferFate, u32),
    Downlink(TransferFate, u32),
    Load(TransferFate, u32),
}

#[derive(Debug, Clone)]
struct PodShape {
    port: Option<u8>,
    max_seconds: u32,
    slack_seconds: u32,
    fate: Fate,
}

/// What an output decides.
#[derive(Debug, Clone, Copy)]
enum Told {
    Whether(bool),
    HowMany(u8),
    Nothing,
}

/// What a container will do.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    pub(crate) prepare: Answer,
    pub(crate) start: Start,
    pub(crate) code: i64,
    pub(crate) oom: bool,
    pub(crate) runs_ms: u64,
    /// Its exit code when it heeds SIGTERM.
    pub(crate) on_term: Option<i64>,
    /// How the end of its process is told.
    pub(crate) end: End,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    Bad,
    Silence,
}

/// What becomes of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Lives,
    Refused,
    Lost,
    LivesInSilence,
    Silence,
}

/// What is said of the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exited,
    Lost,
    Silence,
}

/// What becomes of a transfer.
pub(crate) type TransferFate = Answer;

/// What will happen to each job and transfer of a plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fates {
    pub(crate) jobs: BTreeMap<(ExecutionId, usize, usize), Fate>,
    pub(crate) transfers: BTreeMap<(ExecutionId, usize), TransferFate>,
    /// What the steps that decide about a step say; absent: nothing that could be used.
    pub(crate) outputs: BTreeMap<(ExecutionId, usize), String>,
}

/// An instant; wall time with odd nanoseconds, so that what is written must come back whole.
pub(crate) fn at(boot_ms: u64) -> Timestamp {
    let wall = jiff::Timestamp::from_nanosecond(1_800_000_000_000_000_000 + i128::from(boot_ms) * 1_000_000 + 7);
    Timestamp { wall: wall.expect("in range"), boot: BootTime::from_millis(boot_ms) }
}

/// The n-th execution of a run.
pub(crate) fn execution(number: u8) -> ExecutionId {
    ExecutionId::new(uuid::Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0000 + u128::from(number)))
}

/// A plan without steps.
pub(crate) fn empty_plan(id: ExecutionId, stop_grace_seconds: u32) -> Plan {
    let operation = OperationInfo {
        id: "model".parse().expect("legal"),
        revision: None,
        namespace: None,
        system: None,
        description: None,
        labels: BTreeMap::new(),
    };
    Plan {
        execution: id,
        tenant: "t".parse().expect("legal"),
        operation,
        stop_grace_seconds,
        parallelism: None,
        look_ahead: false,
        steps: Vec::new(),
    }
}

/// The full name that an image is found by.
pub(crate) fn full_name(image: &str) -> String {
    if image == OWN { format!("localhost/t/{image}") } else { format!("localhost/{image}") }
}

/// A container is made, from an image that is always the same.
pub(crate) fn prepared(container: String) -> Report {
    Report::Prepared { container, image: Image { name: full_name(SHARED), id: "i".to_owned() } }
}

/// One job; its hostname is `t-p<name>`.
pub(crate) fn job(name: u8, port: Option<u8>, max_duration_seconds: u32) -> PlannedJob {
    let port = port.map(|n| Port {
        container_port: 80,
        host_port: 8000 + u16::from(n),
        host_ip: None,
        protocol: Protocol::Tcp,
    });
    PlannedJob {
        label: String::new(),
        unit: 0,
        role: Role::Alone,
        pod_name: format!("p{name}").parse().expect("legal"),
        hostname: format!("t-p{name}").parse().expect("legal"),
        node: "mpu".parse().expect("legal"),
        max_duration_seconds,
        pod: PodSpec {
            image: if max_duration_seconds.is_multiple_of(2) { SHARED } else { OWN }.to_owned(),
            command: None,
            args: None,
            env: Vec::new(),
            ports: port.into_iter().collect(),
            claim: "t.payload".to_owned(),
            options: Options::default(),
        },
    }
}

/// One step, `s<index>`.
pub(crate) fn step(index: usize, on_failure: OnFailure, timeout_seconds: u32, work: Work) -> PlannedStep {
    let id = format!("s{index}").parse().expect("legal");
    PlannedStep { id, on_failure, timeout_seconds, group: None, after: Vec::new(), terms: Terms::default(), work }
}

/// Loads the own image from the bundle.
pub(crate) fn load() -> Errand {
    Errand::ImageLoad(ImageLoad {
        node: "mpu".parse().expect("legal"),
        archive: Archive::Bundle("images/app.tar".to_owned()),
        image: OWN.to_owned(),
        max_duration_seconds: 60,
    })
}

/// A transfer's parameters.
pub(crate) fn transfer() -> Transfer {
    Transfer {
        node: "mpu".parse().expect("legal"),
        volume: "payload".parse().expect("legal"),
        claim: "t.payload".to_owned(),
        sources: vec!["a".to_owned()],
        destination: String::new(),
    }
}

impl Shape {
    /// Draws a shape.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let cap = prop::option::weighted(0.2, 1_u32..4);
        (prop::collection::vec(unit(), 1..5), 1_u32..40, cap, prop::bool::weighted(0.8)).prop_map(
            |(units, grace_seconds, parallelism, look_ahead)| Self { units, grace_seconds, parallelism, look_ahead },
        )
    }

    /// The plan, and what will happen to it.
    pub(crate) fn plan(&self, id: ExecutionId, fates: &mut Fates) -> Arc<Plan> {
        let mut plan = empty_plan(id, self.grace_seconds);
        plan.parallelism = self.parallelism;
        plan.look_ahead = self.look_ahead;
        let mut units: Vec<Vec<usize>> = Vec::new();
        for (number, unit) in self.units.iter().enumerate() {
            let mut after = unit.after(&units);
            let first = plan.steps.len();
            plan.steps.extend(unit.steps(first, id, fates));
            pair(&plan, first, &mut after);
            unit.tell(&mut plan, first, &mut after, fates);
            let group = (plan.steps.len() - first > 1).then(|| u32::try_from(number).expect("few"));
            for step in &mut plan.steps[first..] {
                step.after.clone_from(&after);
                step.group = group;
            }
            units.push((first..plan.steps.len()).collect());
        }
        Arc::new(plan)
    }
}

impl UnitShape {
    fn after(&self, units: &[Vec<usize>]) -> Vec<Dependency> {
        let chosen: Vec<&Vec<usize>> =
            units.iter().enumerate().filter(|(i, _)| self.after & (1 << i) != 0).map(|(_, unit)| unit).collect();
        let chosen = if chosen.is_empty() { units.last().into_iter().collect() } else { chosen };
        chosen.into_iter().flatten().map(|step| Dependency { step: *step, needs: self.needs }).collect()
    }

    fn steps(&self, first: usize, id: ExecutionId, fates: &mut Fates) -> Vec<PlannedStep> {
        let (fate, seconds, work) = match &self.kind {
            UnitKind::Uplink(fate, seconds) => (fate, seconds, Work::Errand(Errand::Uplink(transfer()))),
            UnitKind::Downlink(fate, seconds) => (fate, seconds, Work::Errand(Errand::Downlink(transfer()))),
            UnitKind::Load(fate, seconds) => (fate, seconds, Work::Errand(load())),
            UnitKind::Pods(steps) => return self.pods(steps, first, id, fates),
            UnitKind::Array(pods, cap) => return vec![self.array(pods, *cap, first, id, fates)],
            UnitKind::Gang(workers, launcher, clean, start) => {
                return vec![self.gang((workers, launcher), (*clean, *start), first, id, fates)];
            }
            UnitKind::Told(pod, _) => return self.pods(&[vec![pod.clone()]], first, id, fates),
        };
        fates.transfers.insert((id, first), *fate);
        vec![step(first, self.on_failure, *seconds, work)]
    }

    fn retry(&self) -> Retry {
        let on_power_loss = if self.rerun { OnPowerLoss::Rerun } else { OnPowerLoss::Fail };
        Retry { times: self.retries, backoff_seconds: self.retries * 7, on_power_loss }
    }

    fn array(
        &self,
        pods: &[PodShape],
        cap: Option<u32>,
        first: usize,
        id: ExecutionId,
        fates: &mut Fates,
    ) -> PlannedStep {
        for (number, pod) in pods.iter().enumerate() {
            fates.jobs.insert((id, first, number), pod.fate.clone());
        }
        let end = u32::try_from(pods.len()).expect("few") - 1;
        let array = Expansion::Array(Array { begin: 0, end, step: 1 });
        let jobs = plan::expand(&[job(named(first), None, pods[0].max_seconds)], &array).expect("short names");
        let mut step = step(first, self.on_failure, pods[0].max_seconds + pods[0].slack_seconds, Work::PodRun { jobs });
        step.terms = Terms { retry: self.retry(), max_parallel: cap, ..Terms::default() };
        step
    }

    fn gang(
        &self,
        (workers, launcher): (&[PodShape], &PodShape),
        (clean, start): (Clean, GangStart),
        first: usize,
        id: ExecutionId,
        fates: &mut Fates,
    ) -> PlannedStep {
        for (number, pod) in workers.iter().chain([launcher]).enumerate() {
            fates.jobs.insert((id, first, number), pod.fate.clone());
        }
        let terms = Gang {
            slots_per_worker: 1,
            mpi: Mpi::Openmpi,
            ssh_dir: "/root/.ssh".to_owned(),
            launcher_as_worker: false,
            start,
            clean,
        };
        let count = u32::try_from(workers.len()).expect("few");
        let name = named(first);
        let (worker, lead) = (job(name, None, workers[0].max_seconds), job(name, None, launcher.max_seconds));
        let jobs = plan::gang(&worker, count, &lead, &terms).expect("short names");
        let longest = workers.iter().chain([launcher]).map(|pod| pod.max_seconds + pod.slack_seconds).max();
        let mut step = step(first, self.on_failure, longest.unwrap_or(1), Work::PodRun { jobs });
        step.terms = Terms { retry: self.retry(), gang: Some(terms), ..Terms::default() };
        step
    }

    /// Ties a step to the output of the step before it, where that has one job.
    fn tell(&self, plan: &mut Plan, index: usize, after: &mut Vec<Dependency>, fates: &mut Fates) {
        let UnitKind::Told(_, told) = &self.kind else { return };
        let Some(source) = index.checked_sub(1).filter(|before| plan.steps[*before].jobs().len() == 1) else { return };
        *after = vec![Dependency { step: source, needs: Needs::Success }];
        let (said, terms) = match told {
            Told::Whether(yes) => (Some(if *yes { "go" } else { "no" }.to_owned()), Told::Whether(*yes)),
            Told::HowMany(count) => {
                let pieces: Vec<String> = (0..*count).map(|piece| piece.to_string()).collect();
                (Some(pieces.join(" ")), Told::HowMany(*count))
            }
            Told::Nothing => (None, Told::Whether(true)),
        };
        fates.outputs.extend(said.map(|said| ((plan.execution, index), said)));
        let step = &mut plan.steps[index];
        if let Told::HowMany(_) = terms {
            let template = Box::new(step.jobs()[0].clone());
            let fate = fates.jobs[&(plan.execution, index, 0)].clone();
            fates.jobs.extend((1..8).map(|job| ((plan.execution, index, job), fate.clone())));
            let command = "echo ${1}".to_owned();
            step.work = Work::PodRun { jobs: Vec::new() };
            let fan_out = FanOut { step: source, separator: " ".to_owned(), command, limit: 3, template };
            step.terms.fan_out = Some(fan_out);
        } else {
            step.terms.when = Some(When { step: source, test: Test::Equals("go".to_owned()) });
        }
    }

    fn pods(&self, steps: &[Vec<PodShape>], first: usize, id: ExecutionId, fates: &mut Fates) -> Vec<PlannedStep> {
        let mut name = named(first);
        let mut planned = Vec::new();
        for (index, pods) in (first..).zip(steps) {
            let mut jobs = Vec::new();
            for (number, pod) in pods.iter().enumerate() {
                fates.jobs.insert((id, index, number), pod.fate.clone());
                jobs.push(job(name, pod.port, pod.max_seconds));
                name += 1;
            }
            let timeout = pods.iter().map(|pod| pod.max_seconds + pod.slack_seconds).max().unwrap_or(1);
            planned.push(step(index, self.on_failure, timeout, Work::PodRun { jobs }));
        }
        if let [alone] = planned.as_mut_slice() {
            alone.terms.retry = self.retry();
        }
        planned
    }
}

/// What the first pod of a step is called: some names come again, within an execution and in others.
fn named(first: usize) -> u8 {
    u8::try_from(first % 3).expect("small")
}

fn unit() -> impl Strategy<Value = UnitShape> {
    let kind = prop_oneof![
        4 => prop::collection::vec(prop::collection::vec(pod(), 1..2), 1..4).prop_map(UnitKind::Pods),
        2 => (prop::collection::vec(pod(), 1..5), prop::option::of(1_u32..3))
            .prop_map(|(pods, cap)| UnitKind::Array(pods, cap)),
        2 => (prop::collection::vec(pod(), 1..4), pod(), clean(), start())
            .prop_map(|(workers, launcher, clean, start)| UnitKind::Gang(workers, launcher, clean, start)),
        3 => (pod(), told()).prop_map(|(pod, told)| UnitKind::Told(pod, told)),
        1 => (answer(), 1_u32..400).prop_map(|(fate, seconds)| UnitKind::Uplink(fate, seconds)),
        1 => (answer(), 1_u32..400).prop_map(|(fate, seconds)| UnitKind::Downlink(fate, seconds)),
        1 => (answer(), 1_u32..400).prop_map(|(fate, seconds)| UnitKind::Load(fate, seconds)),
    ];
    let on_failure = prop_oneof![2 => Just(OnFailure::Continue), 1 => Just(OnFailure::Stop)];
    let needs = prop_oneof![2 => Just(Needs::Ended), 1 => Just(Needs::Success), 1 => Just(Needs::Each)];
    let again = (prop_oneof![2 => Just(0_u32), 1 => 1_u32..3], prop::bool::weighted(0.3));
    (kind, on_failure, any::<u8>(), needs, again).prop_map(|(kind, on_failure, after, needs, (retries, rerun))| {
        UnitShape { kind, on_failure, after, needs, retries, rerun }
    })
}

fn clean() -> impl Strategy<Value = Clean> {
    prop_oneof![Just(Clean::None), Just(Clean::Running), Just(Clean::All)]
}

fn start() -> impl Strategy<Value = GangStart> {
    prop_oneof![Just(GangStart::AfterWorkers), Just(GangStart::WithWorkers)]
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        3 => any::<bool>().prop_map(Told::Whether),
        5 => (0_u8..6).prop_map(Told::HowMany),
        1 => Just(Told::Nothing),
    ]
}

/// Edges position by position need as many units on either side.
fn pair(plan: &Plan, index: usize, after: &mut [Dependency]) {
    let units = |step: usize| match plan.steps[step].group {
        None => plan.steps[step].units(),
        Some(_) => 0,
    };
    for edge in after.iter_mut().filter(|edge| edge.needs == Needs::Each) {
        if units(edge.step) == 0 || units(edge.step) != units(index) || plan.steps.len() > index + 1 {
            edge.needs = Needs::Success;
        }
    }
}

fn pod() -> impl Strategy<Value = PodShape> {
    (prop::option::weighted(0.3, 0_u8..2), 1_u32..120, 0_u32..300, fate())
        .prop_map(|(port, max_seconds, slack_seconds, fate)| PodShape { port, max_seconds, slack_seconds, fate })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![8 => Just(Answer::Good), 1 => Just(Answer::Bad), 1 => Just(Answer::Silence)]
}

fn fate() -> impl Strategy<Value = Fate> {
    let start = prop_oneof![
        12 => Just(Start::Lives),
        1 => Just(Start::Refused),
        1 => Just(Start::Lost),
        1 => Just(Start::LivesInSilence),
        1 => Just(Start::Silence),
    ];
    let code = prop_oneof![4 => Just(0), 1 => Just(3), 1 => Just(137)];
    let end = prop_oneof![8 => Just(End::Exited), 1 => Just(End::Lost), 1 => Just(End::Silence)];
    let on_term = prop_oneof![Just(None), Just(Some(0)), Just(Some(143))];
    (answer(), start, code, prop::bool::weighted(0.1), 0_u64..200_000, on_term, end).prop_map(
        |(prepare, start, code, oom, runs_ms, on_term, end)| Fate { prepare, start, code, oom, runs_ms, on_term, end },
    )
}
