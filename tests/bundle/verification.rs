//! Parts that do not agree: every reason at once, each with its file and field.

use std::collections::BTreeMap;

use perigee::bundle::document::{DownlinkDocument, Header, OnFailure, Sequence, StepDocument, StepKind};
use perigee::bundle::flow::Flow;
use perigee::bundle::limits::{MAX_TIMEOUT_SECONDS, STEPS};
use perigee::bundle::manifest::Protocol::Tcp;
use perigee::bundle::manifest::{Port, Resources};
use perigee::bundle::options::{Options, Privilege};
use perigee::reason::Name;
use perigee::verify::{Rejection, VerifiedBundle, verify};

use super::sample::{FILE, MANIFEST, Sample, pod};

/// File, field, and a part of the message.
type Reason<'a> = (&'a str, &'a str, &'a str);

#[test]
fn the_sample_is_accepted_with_its_steps_in_order() {
    let bundle = verified(&Sample::new()).expect("legal");
    let ids: Vec<&str> = bundle.steps().iter().map(|step| step.document.id.as_str()).collect();
    assert_eq!(ids, ["UPLINK", "SERVER", "CLIENT"]);
    assert_eq!(bundle.header().tenant.as_str(), "client1");
}

#[test]
fn a_missing_sequence_is_a_reason() {
    let sample = Sample::new();
    let refused = verify(sample.header(), &BTreeMap::new()).expect_err("no sequence");
    assert_reasons(&refused, &[(Sequence::PATH, "", "missing")]);
}

#[test]
fn documents_that_cannot_be_read_are_all_named_with_their_lines() {
    let sample = Sample::new();
    let mut texts: BTreeMap<_, _> = sample.contents().into_iter().collect();
    let sequence = String::from_utf8(texts[Sequence::PATH].clone()).expect("text");
    let unknown = sequence.replacen("    timeout_seconds: 300\n", "    retries: 1\n    timeout_seconds: 300\n", 1);
    assert_ne!(unknown, sequence);
    texts.insert(Sequence::PATH.to_owned(), unknown.into_bytes());
    texts.insert(MANIFEST.to_owned(), b"apiVersion: \"v1\"\nkind: \"Pod\"\nkind: \"Pod\"\n".to_vec());
    let refused = verify(sample.header(), &texts).expect_err("damaged");
    let reasons =
        [(Sequence::PATH, "", "unknown field `retries`"), (MANIFEST, "", "duplicate entry with key \"kind\"")];
    assert_reasons(&refused, &reasons);
    let line = sequence.lines().position(|line| line == "    timeout_seconds: 300").expect("there") + 1;
    let message = &refused.reasons[0].message;
    assert!(message.starts_with("steps[0]: ") && message.contains(&format!("at line {line} column")), "{message}");
}

#[test]
fn a_key_that_no_manifest_has_is_named_with_its_line_in_any_of_its_documents() {
    let sample = Sample::new();
    let mut texts: BTreeMap<_, _> = sample.contents().into_iter().collect();
    let manifest = String::from_utf8(texts[MANIFEST].clone()).expect("text");
    let last = manifest.rfind("  hostname:").expect("there");
    let line = manifest[..last].lines().count() + 1;
    let altered = format!("{}  hostNetwork: true\n{}", &manifest[..last], &manifest[last..]);
    texts.insert(MANIFEST.to_owned(), altered.into_bytes());
    let refused = verify(sample.header(), &texts).expect_err("not known");
    let message = &refused.reasons[0].message;
    assert!(message.contains("unknown field `hostNetwork`"), "{message}");
    assert!(message.contains(&format!("at line {line} column 3")), "{message}");
}

#[test]
fn text_that_is_not_utf_8_or_of_another_type_is_a_reason() {
    for (bytes, why) in [
        (&b"\xff\xfe"[..], "is not UTF-8"),
        (b"", "steps"),
        (b"steps: 1\n", "invalid type"),
        (b"steps: []\nmore: 1\n", "unknown field `more`"),
        (b"steps:\n  - id: a.b\n", "step id `a.b` is not legal"),
    ] {
        let texts = [(Sequence::PATH.to_owned(), bytes.to_vec())].into();
        let refused = verify(Sample::new().header(), &texts).expect_err(why);
        assert_reasons(&refused, &[(Sequence::PATH, "", why)]);
    }
}

#[test]
fn every_reason_is_said_at_once() {
    let refused = spoilt(|sample| {
        sample.steps[1].id = sample.steps[0].id.clone();
        sample.steps[1].timeout_seconds = MAX_TIMEOUT_SECONDS + 1;
        sample.steps[2].pod_run.as_mut().expect("a pod").node = "fpga".parse().expect("legal");
        sample.steps[2].uplink = sample.steps[0].uplink.clone();
        let pods = sample.manifests.get_mut(MANIFEST).expect("there");
        pods[0].spec.hostname = "other".parse().expect("legal");
        pods[0].spec.restart_policy = "Always".to_owned();
        sample.files.insert("files/0009/stray".to_owned(), Vec::new());
    });
    assert_reasons(
        &refused,
        &[
            (Sequence::PATH, "steps[1].id", "`UPLINK` is there twice"),
            (Sequence::PATH, "steps[1].timeout_seconds", "expected 1 to 691200 seconds"),
            (MANIFEST, "client1-server: spec.hostname", "expected `client1-server`"),
            (MANIFEST, "client1-server: spec.restartPolicy", "expected Never"),
            (Sequence::PATH, "steps[2].kind", "exactly the block that `kind` names"),
            (MANIFEST, "client1-client", "no step runs this pod"),
            ("files/0009/stray", "", "no step places this file"),
        ],
    );
    assert_eq!((refused.name, refused.code), (Name::Invalid, 2));
    assert!(refused.to_string().starts_with("sequence.yaml: steps[1].id: `UPLINK` is there twice\n"), "{refused}");
}

#[test]
fn a_manifest_that_is_not_what_its_step_says_is_refused_field_by_field() {
    type Alter = fn(&mut perigee::bundle::manifest::Pod);
    let alterations: [(&str, Alter); 20] = [
        ("kind", |pod| pod.api_version = "v2".to_owned()),
        ("kind", |pod| pod.kind = "Job".to_owned()),
        ("spec.hostname", |pod| pod.spec.hostname = "x".parse().expect("legal")),
        ("spec.restartPolicy", |pod| pod.spec.restart_policy = "OnFailure".to_owned()),
        ("spec.activeDeadlineSeconds", |pod| pod.spec.active_deadline_seconds = 61),
        ("spec.volumes", |pod| pod.spec.volumes[0].persistent_volume_claim.claim_name = "other.payload".to_owned()),
        ("spec.volumes", |pod| pod.spec.volumes.clear()),
        ("spec.containers", |pod| pod.spec.containers.clear()),
        ("spec.containers[0].imagePullPolicy", |pod| only(pod).image_pull_policy = "Always".to_owned()),
        ("spec.containers[0].image", |pod| only(pod).image = "python".to_owned()),
        ("spec.containers[0].volumeMounts", |pod| only(pod).volume_mounts[0].mount_path = "/".to_owned()),
        ("spec.containers[0].securityContext", |pod| only(pod).security_context.allow_privilege_escalation = true),
        ("spec.containers[0].securityContext", |pod| only(pod).security_context.privileged = true),
        ("spec.containers[0].securityContext", |pod| only(pod).security_context.run_as_user = Some(0)),
        ("spec.containers[0].resources", |pod| {
            only(pod).resources = Resources::of(&Options { cpu_millis: Some(500), ..Options::default() });
        }),
        ("spec.containers[0].workingDir", |pod| only(pod).working_dir = Some("/".to_owned())),
        ("spec.containers[0].volumeMounts[0].readOnly", |pod| only(pod).volume_mounts[0].read_only = true),
        ("spec.hostIPC", |pod| pod.spec.host_ipc = true),
        ("spec.hostPID", |pod| pod.spec.host_pid = true),
        ("spec.containers[0].ports", |pod| {
            only(pod).ports = vec![Port { container_port: 80, host_port: 0, host_ip: None, protocol: Tcp }];
        }),
    ];
    for (field, alter) in alterations {
        let refused = spoilt(|sample| alter(&mut sample.manifests.get_mut(MANIFEST).expect("there")[0]));
        assert_reasons(&refused, &[(MANIFEST, &format!("client1-server: {field}"), "expected ")]);
    }
}

#[test]
fn options_without_their_share_of_the_manifest_and_illegal_ones_are_refused() {
    let give =
        |options: Options| spoilt(move |sample| *sample.steps[1].pod_run.as_mut().expect("a pod").options = options);
    let mut refused =
        give(Options { privileges: [Privilege::Privileged, Privilege::HostPid].into(), ..Options::default() });
    let at = |field: &str| format!("client1-server: {field}");
    assert_reasons(
        &refused,
        &[
            (MANIFEST, &at("spec.hostPID"), "expected what docs/bundle-format.md gives for the options of the step"),
            (MANIFEST, &at("spec.containers[0].securityContext"), "expected what"),
        ],
    );
    refused = give(Options { stdout: Some("/x".to_owned()), cpu_millis: Some(0), ..Options::default() });
    assert_reasons(
        &refused,
        &[
            (MANIFEST, &at("spec.containers[0].resources"), "expected what"),
            (Sequence::PATH, "steps[1].pod_run.options.cpu_millis", "found 0, expected 1 to 1024000"),
            (Sequence::PATH, "steps[1].pod_run.options.stdout", "`/x` is not a plain path in the volume"),
        ],
    );
}

#[test]
fn an_image_without_a_plain_name_and_tag_is_refused() {
    for image in ["python", "python:", ":3.10", "localhost:5000/python", "py thon:1", "python:3.10\n", "python@sha256"]
    {
        let refused =
            spoilt(|sample| only(&mut sample.manifests.get_mut(MANIFEST).expect("there")[0]).image = image.into());
        assert_reasons(&refused, &[(MANIFEST, "client1-server: spec.containers[0].image", "expected NAME:TAG")]);
    }
}

#[test]
fn a_pod_that_is_missing_foreign_unused_or_there_twice_is_refused() {
    let refused = spoilt(|sample| drop(sample.manifests.get_mut(MANIFEST).expect("there").remove(1)));
    assert_reasons(&refused, &[(Sequence::PATH, "steps[2].pod_run.pod", "has no pod `client1-client`")]);

    let refused = spoilt(|sample| sample.manifests.get_mut(MANIFEST).expect("there").push(pod("third", 60)));
    assert_reasons(&refused, &[(MANIFEST, "client1-third", "no step runs this pod")]);

    let refused = spoilt(|sample| sample.manifests.get_mut(MANIFEST).expect("there").push(pod("server", 60)));
    assert_reasons(&refused, &[(MANIFEST, "client1-server", "there twice")]);

    let refused = spoilt(|sample| run(sample, 2).pod = "client1-server".parse().expect("legal"));
    let reasons = [
        (Sequence::PATH, "steps[2].pod_run.pod", "is not the hostname `client1-client`"),
        (Sequence::PATH, "steps[2].pod_run.pod", "two steps use the pod `client1-server`"),
        (MANIFEST, "client1-server: spec.activeDeadlineSeconds", "120"),
        (MANIFEST, "client1-client", "no step runs this pod"),
    ];
    assert_reasons(&refused, &reasons);

    let refused = spoilt(|sample| run(sample, 1).manifest = "manifests/0001-none.yaml".to_owned());
    let reasons = [
        (Sequence::PATH, "steps[1].pod_run.manifest", "is not a readable manifest"),
        (MANIFEST, "client1-server", "no step runs this pod"),
    ];
    assert_reasons(&refused, &reasons);
}

#[test]
fn a_pod_of_another_tenant_is_refused() {
    let mut sample = Sample::new();
    sample.steps.remove(2);
    sample.manifests.get_mut(MANIFEST).expect("there").remove(1);
    let header = Header { tenant: "client2".parse().expect("legal"), ..sample.header() };
    let texts = sample.contents().into_iter().collect();
    let refused = verify(header, &texts).expect_err("foreign");
    let reasons = [
        (Sequence::PATH, "steps[1].pod_run.pod", "is not the hostname `client2-server`"),
        (MANIFEST, "client1-server: spec.volumes", "claims `client2.payload`"),
    ];
    assert_reasons(&refused, &reasons);
}

#[test]
fn budgets_outside_their_bounds_are_refused() {
    let field = "steps[1].timeout_seconds";
    for seconds in [MAX_TIMEOUT_SECONDS + 1, u32::MAX] {
        let refused = spoilt(|sample| sample.steps[1].timeout_seconds = seconds);
        assert_reasons(&refused, &[(Sequence::PATH, field, "expected 1 to 691200 seconds")]);
    }
    let refused = spoilt(|sample| sample.steps[0].timeout_seconds = 0);
    assert_reasons(&refused, &[(Sequence::PATH, "steps[0].timeout_seconds", "found 0")]);
    let refused = spoilt(|sample| sample.steps[1].timeout_seconds = 59);
    assert_reasons(&refused, &[(Sequence::PATH, "steps[1].pod_run.max_duration_seconds", "expected 1 to 59 seconds")]);
    let refused = spoilt(|sample| {
        run(sample, 1).max_duration_seconds = 0;
        sample.manifests.get_mut(MANIFEST).expect("there")[0].spec.active_deadline_seconds = 0;
    });
    assert_reasons(&refused, &[(Sequence::PATH, "steps[1].pod_run.max_duration_seconds", "found 0")]);
}

#[test]
fn a_step_that_has_not_exactly_the_block_of_its_kind_is_refused() {
    let refused = spoilt(|sample| sample.steps.push(step("BARE", StepKind::Downlink)));
    assert_reasons(&refused, &[(Sequence::PATH, "steps[3].kind", "exactly the block")]);
    let refused = spoilt(|sample| sample.steps[0].kind = StepKind::Downlink);
    let reasons = [(Sequence::PATH, "steps[0].kind", "exactly the block"), (FILE, "", "no step places this file")];
    assert_reasons(&refused, &reasons);
}

#[test]
fn no_steps_and_too_many_steps_are_refused() {
    let refused = spoilt(|sample| {
        *sample = Sample { parallelism: None, steps: vec![], manifests: BTreeMap::new(), files: BTreeMap::new() }
    });
    assert_reasons(&refused, &[(Sequence::PATH, "steps", "found 0 steps, expected 1 to 1000")]);
    let refused = spoilt(|sample| {
        let more = (0..STEPS - 2)
            .map(|n| StepDocument { downlink: Some(downlink("a", "")), ..step(&format!("S{n}"), StepKind::Downlink) });
        sample.steps.extend(more);
    });
    assert_reasons(&refused, &[(Sequence::PATH, "steps", "found 1001 steps")]);
}

#[test]
fn uplinks_of_nothing_of_strangers_and_of_one_name_twice_are_refused() {
    let field = "steps[0].uplink.files";
    let refused = spoilt(|sample| uplink(sample).files = vec![FILE.to_owned(), MANIFEST.to_owned()]);
    assert_reasons(&refused, &[(Sequence::PATH, field, "is not a file of this bundle")]);
    let refused = spoilt(|sample| uplink(sample).files.push("files/none".to_owned()));
    assert_reasons(&refused, &[(Sequence::PATH, field, "`files/none` is not a file of this bundle")]);
    let refused = spoilt(|sample| uplink(sample).files.clear());
    assert_reasons(&refused, &[(Sequence::PATH, field, "the list is empty"), (FILE, "", "no step places this file")]);
    let refused = spoilt(|sample| {
        sample.files.insert("files/0002/server.py".to_owned(), b"other".to_vec());
        uplink(sample).files.push("files/0002/server.py".to_owned());
    });
    assert_reasons(&refused, &[(Sequence::PATH, field, "two files named `server.py` for one folder")]);
}

#[test]
fn paths_of_transfers_stay_in_their_volume_and_in_their_plain_form() {
    for (destination, why) in
        [("../x", "leaves its root"), ("/x", "plain form"), ("a//b", "plain form"), ("a\nb", "not allowed")]
    {
        let refused = spoilt(|sample| uplink(sample).destination = destination.to_owned());
        assert_reasons(&refused, &[(Sequence::PATH, "steps[0].uplink.destination", why)]);
    }
    let cases = [
        (vec![], "", "downlink.sources", "the list is empty"),
        (vec!["../x"], "", "downlink.sources", "leaves its root"),
        (vec!["[a"], "", "downlink.sources", "not a legal wildcard"),
        (vec!["a"], "/x/", "downlink.destination", "plain form"),
    ];
    for (sources, destination, key, why) in cases {
        let refused = spoilt(|sample| {
            let sources = sources.iter().map(|source| (*source).to_owned()).collect();
            let document = DownlinkDocument { sources, ..downlink("a", destination) };
            sample.steps.push(StepDocument { downlink: Some(document), ..step("DOWN", StepKind::Downlink) });
        });
        assert_reasons(&refused, &[(Sequence::PATH, &format!("steps[3].{key}"), why)]);
    }
}

#[test]
fn images_in_bundles_are_refused_as_not_yet_supported() {
    let refused = spoilt(|sample| drop(sample.files.insert("images/a.tar".to_owned(), b"x".to_vec())));
    assert_reasons(&refused, &[("images/a.tar", "", "not yet supported")]);
}

fn verified(sample: &Sample) -> Result<VerifiedBundle, Rejection> {
    verify(sample.header(), &sample.contents().into_iter().collect())
}

fn spoilt(alter: impl FnOnce(&mut Sample)) -> Rejection {
    let mut sample = Sample::new();
    alter(&mut sample);
    verified(&sample).expect_err("it was altered")
}

fn assert_reasons(refused: &Rejection, reasons: &[Reason<'_>]) {
    let found: Vec<(&str, &str)> = refused.reasons.iter().map(|r| (r.file.as_str(), r.field.as_str())).collect();
    let wanted: Vec<(&str, &str)> = reasons.iter().map(|(file, field, _)| (*file, *field)).collect();
    assert_eq!(found, wanted, "{refused}");
    for (found, (.., part)) in refused.reasons.iter().zip(reasons) {
        assert!(found.message.contains(part), "`{part}` is not in: {}", found.message);
    }
}

fn only(pod: &mut perigee::bundle::manifest::Pod) -> &mut perigee::bundle::manifest::Container {
    &mut pod.spec.containers[0]
}

fn run(sample: &mut Sample, step: usize) -> &mut perigee::bundle::document::PodRunDocument {
    sample.steps[step].pod_run.as_mut().expect("a pod")
}

fn uplink(sample: &mut Sample) -> &mut perigee::bundle::document::UplinkDocument {
    sample.steps[0].uplink.as_mut().expect("an uplink")
}

fn downlink(source: &str, destination: &str) -> DownlinkDocument {
    let volume = "payload".parse().expect("legal");
    DownlinkDocument { volume, sources: vec![source.to_owned()], destination: destination.to_owned() }
}

fn step(id: &str, kind: StepKind) -> StepDocument {
    let (id, on_failure) = (id.parse().expect("legal"), OnFailure::Stop);
    StepDocument {
        id,
        kind,
        on_failure,
        timeout_seconds: 300,
        flow: Flow::default(),
        pod_run: None,
        uplink: None,
        downlink: None,
    }
}
