//! A verified bundle meets a board: groups, order, nodes, volumes and ports.

use perigee::bundle::document::{OnFailure, Sequence, StepDocument, StepKind, UplinkDocument};
use perigee::bundle::flow::Flow;
use perigee::bundle::manifest::{Port, Protocol};
use perigee::bundle::options::{Options, Privilege};
use perigee::plan::policy::{Bounds, Policy};
use perigee::plan::{Board, Dependency, Needs, Plan, Work, plan};
use perigee::verify::{Rejection, verify};

use super::sample::{MANIFEST, Sample, pod};

const ALONE: &str = "manifests/0003-client1-client.yaml";

#[test]
fn steps_that_share_a_manifest_are_a_group_and_all_else_is_in_order() {
    let plan = planned(|sample| sample.steps.push(uplink("AGAIN"))).expect("fits");
    let groups: Vec<Option<u32>> = plan.steps.iter().map(|step| step.group).collect();
    assert_eq!(groups, [None, Some(1), Some(1), None]);
    let after: Vec<Vec<usize>> =
        plan.steps.iter().map(|step| step.after.iter().map(|edge| edge.step).collect()).collect();
    assert_eq!(after, [vec![], vec![0], vec![0], vec![1, 2]]);
    assert_eq!(plan.steps[1].after, [Dependency { step: 0, needs: Needs::Ended }]);
    assert_eq!([0, 1, 2, 3].map(|step| plan.group_of(step)), [0..1, 1..3, 1..3, 3..4]);
    let budgets: Vec<u32> = plan.steps.iter().map(|step| step.timeout_seconds).collect();
    assert_eq!(budgets, [300, 360, 420, 300]);
    assert_eq!(plan.stop_grace_seconds, 30);
}

#[test]
fn pods_of_manifests_of_their_own_run_one_after_the_other() {
    let plan = planned(apart).expect("fits");
    assert!(plan.steps.iter().all(|step| step.group.is_none()));
    assert_eq!(plan.steps[2].after, [Dependency { step: 1, needs: Needs::Ended }]);
}

#[test]
fn a_manifest_shared_across_another_step_is_refused() {
    let refused = planned(|sample| sample.steps.insert(2, uplink("BETWEEN"))).expect_err("torn");
    let message = format!("`{MANIFEST}` is shared with a step that is not adjacent");
    assert_eq!(reasons(&refused), [("steps[3].pod_run.manifest", message.as_str())]);
}

#[test]
fn default_is_the_nodes_that_the_operator_chose_and_transfers_go_where_the_volume_lives() {
    let plan = planned(|sample| {
        on(sample, 1, "default");
        on(sample, 2, "fpga");
    })
    .expect("fits");
    let nodes: Vec<&str> = plan.steps.iter().map(node_of).collect();
    assert_eq!(nodes, ["mpu", "mpu", "fpga"], "both are one Podman, the first pod's node is the volume's");
    let plan = planned(|sample| {
        on(sample, 1, "gpu");
        on(sample, 2, "gpu");
        let mut other = uplink("OTHER");
        other.uplink.as_mut().expect("an uplink").volume = "unused".parse().expect("legal");
        sample.steps.push(other);
    })
    .expect("fits");
    let nodes: Vec<&str> = plan.steps.iter().map(node_of).collect();
    assert_eq!(nodes, ["gpu", "gpu", "gpu", "mpu"]);
}

#[test]
fn a_volume_on_two_podmans_is_refused() {
    let refused = planned(|sample| on(sample, 2, "gpu")).expect_err("two homes");
    let message = "volume `payload` would be on `mpu` and on `gpu`, which have Podmans of their own";
    assert_eq!(reasons(&refused), [("steps[2].pod_run.volume", message)]);
}

#[test]
fn unknown_nodes_and_ports_taken_twice_are_refused_at_once_each_in_its_step() {
    let refused = planned(|sample| {
        port(sample, 0, Protocol::Tcp);
        port(sample, 1, Protocol::Tcp);
        let mut strange = sample.steps[1].clone();
        strange.id = "STRANGE".parse().expect("legal");
        let run = strange.pod_run.as_mut().expect("a pod");
        run.manifest = "manifests/0001-client1-strange.yaml".to_owned();
        run.pod_name = "strange".parse().expect("legal");
        run.pod = "client1-strange".parse().expect("legal");
        run.node = "cpu".parse().expect("legal");
        sample.manifests.insert(run.manifest.clone(), vec![pod("strange", 60)]);
        sample.steps.insert(0, strange);
    })
    .expect_err("two faults");
    let reasons = reasons(&refused);
    let node = "unknown node `cpu`, this board has: fpga, gpu, mpu, default";
    assert_eq!(
        reasons,
        [("steps[0].pod_run.node", node), ("steps[3].ports", "host port 8080/tcp is taken twice in its group")]
    );
    assert!(refused.reasons.iter().all(|reason| reason.file == Sequence::PATH));
}

#[test]
fn one_port_is_free_again_for_the_other_transport_and_for_the_next_step() {
    let ports = |sample: &mut Sample, second| {
        port(sample, 0, Protocol::Tcp);
        port(sample, 1, second);
    };
    assert!(planned(|sample| ports(sample, Protocol::Udp)).is_ok());
    let next = planned(|sample| {
        ports(sample, Protocol::Tcp);
        apart(sample);
    });
    assert!(next.is_ok());
}

#[test]
fn what_the_policy_does_not_allow_is_refused_at_once_naming_step_key_found_and_allowed() {
    let policy = Policy {
        cpu: Bounds { min: Some(100), max: Some(2000), default: None },
        memory: Bounds { max: Some(64 << 20), ..Bounds::default() },
        images: Some(vec![glob::Pattern::new("busybox:*").expect("legal")]),
        ..Policy::default()
    };
    let asked = Options {
        cpu_millis: Some(4000),
        memory_bytes: Some(1 << 30),
        privileges: [Privilege::Privileged].into(),
        ..Options::default()
    };
    let refused = planned_with(policy, |sample| give(sample, 2, asked)).expect_err("three faults and an image");
    let image =
        |step: &str| format!("step {step}: `image` is `python:3.10`, the policy of this board allows: busybox:*");
    assert_eq!(
        reasons(&refused),
        [
            ("steps[1].pod_run.image", image("SERVER").as_str()),
            ("steps[2].pod_run.image", &image("CLIENT")),
            (
                "steps[2].pod_run.options.privileges",
                "step CLIENT: `privileged: true` is not allowed, the policy of this board allows: nothing"
            ),
            (
                "steps[2].pod_run.options.cpu_millis",
                "step CLIENT: `resources.cpu` is 4, the policy of this board allows 0.1 to 2"
            ),
            (
                "steps[2].pod_run.options.memory_bytes",
                "step CLIENT: `resources.memory` is 1g, the policy of this board allows at most 64m"
            ),
        ]
    );
}

#[test]
fn options_are_granted_within_the_policy_and_what_is_not_asked_for_is_filled_in() {
    let policy = Policy {
        cpu: Bounds { min: None, max: Some(2000), default: Some(250) },
        memory: Bounds { max: Some(64 << 20), ..Bounds::default() },
        allow: [Privilege::HostUts].into(),
        ..Policy::default()
    };
    let asked = Options { cpu_millis: Some(2000), privileges: [Privilege::HostUts].into(), ..Options::default() };
    let plan = planned_with(policy, |sample| give(sample, 1, asked)).expect("fits");
    let granted = |step: usize| plan.steps[step].jobs()[0].pod.options.clone();
    assert_eq!((granted(1).cpu_millis, granted(1).memory_bytes), (Some(2000), Some(64 << 20)));
    assert!(granted(1).shares(Privilege::HostUts));
    assert_eq!((granted(2).cpu_millis, granted(2).memory_bytes), (Some(250), Some(64 << 20)));
}

/// Gives a pod options, in its step and in its manifest.
fn give(sample: &mut Sample, step: usize, options: Options) {
    sample.manifests.get_mut(MANIFEST).expect("there")[step - 1].apply(&options);
    *sample.steps[step].pod_run.as_mut().expect("a pod").options = options;
}

fn planned(alter: impl FnOnce(&mut Sample)) -> Result<Plan, Rejection> {
    planned_with(Policy::default(), alter)
}

fn planned_with(policy: Policy, alter: impl FnOnce(&mut Sample)) -> Result<Plan, Rejection> {
    let mut sample = Sample::new();
    alter(&mut sample);
    let bundle = verify(sample.header(), &sample.contents().into_iter().collect()).expect("parts that agree");
    let node = |name: &str, endpoint: &str| (name.parse().expect("legal"), endpoint.to_owned());
    let board = Board {
        nodes: [node("mpu", "local"), node("fpga", "local"), node("gpu", "remote")].into(),
        default_node: "mpu".parse().expect("legal"),
        stop_grace_seconds: 30,
        look_ahead: true,
        fisheye: None,
        policy,
    };
    plan(&bundle, &board)
}

fn reasons(refused: &Rejection) -> Vec<(&str, &str)> {
    refused.reasons.iter().map(|reason| (reason.field.as_str(), reason.message.as_str())).collect()
}

fn on(sample: &mut Sample, step: usize, node: &str) {
    sample.steps[step].pod_run.as_mut().expect("a pod").node = node.parse().expect("legal");
}

fn port(sample: &mut Sample, pod: usize, protocol: Protocol) {
    let pod = &mut sample.manifests.get_mut(MANIFEST).expect("there")[pod];
    let container_port = 80 + u16::try_from(pod.spec.active_deadline_seconds).expect("small");
    pod.spec.containers[0].ports = vec![Port { container_port, host_port: 8080, host_ip: None, protocol }];
}

/// Gives the second pod a manifest of its own.
fn apart(sample: &mut Sample) {
    let client = sample.manifests.get_mut(MANIFEST).expect("there").remove(1);
    sample.manifests.insert(ALONE.to_owned(), vec![client]);
    sample.steps[2].pod_run.as_mut().expect("a pod").manifest = ALONE.to_owned();
}

fn uplink(id: &str) -> StepDocument {
    let document = UplinkDocument {
        volume: "payload".parse().expect("legal"),
        destination: "again".to_owned(),
        files: vec![super::sample::FILE.to_owned()],
    };
    let (id, on_failure, uplink) = (id.parse().expect("legal"), OnFailure::Stop, Some(document));
    StepDocument {
        id,
        kind: StepKind::Uplink,
        on_failure,
        timeout_seconds: 300,
        pod_run: None,
        uplink,
        downlink: None,
        errand: None,
        flow: Flow::default(),
    }
}

fn node_of(step: &perigee::plan::PlannedStep) -> &str {
    match &step.work {
        Work::PodRun { jobs } => jobs[0].node.as_str(),
        Work::Errand(errand) => errand.node().expect("a node").as_str(),
    }
}
