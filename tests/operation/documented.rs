//! The documented examples, and the spellings that the platform's own examples use.

use perigee::bundle::document::OnFailure;
use perigee::bundle::manifest::{Port, Protocol, Variable};
use perigee::operation::compile::PackedFile;
use perigee::plan::{Errand, PlannedJob, Work};

use super::ground::{findings, flown, pod, pod_with};

/// The example of the pod run page, its indentation restored.
pub(crate) const TCP: &str = include_str!("tcp.yaml");

/// The definition of the pod run page, its indentation restored, as an operation.
const DEFINITION: &str = include_str!("definition.yaml");

#[test]
fn the_documented_example_has_budgets_of_360_and_420_seconds_and_one_group() {
    let (parts, plan) = flown(TCP);
    let steps: Vec<(&str, u32, Option<u32>)> =
        plan.steps.iter().map(|step| (step.id.as_str(), step.timeout_seconds, step.group)).collect();
    assert_eq!(
        steps,
        [("UPLINK", 300, None), ("POD_RUN_TCP_SERVER", 360, Some(1)), ("POD_RUN_TCP_CLIENT", 420, Some(1))]
    );
    assert_eq!(parts.groups, [None, Some(1), Some(1)]);
    assert_eq!([job(&plan, 1), job(&plan, 2)].map(|job| job.max_duration_seconds), [60, 120]);
    assert!(plan.steps.iter().all(|step| step.on_failure == OnFailure::Stop));
}

#[test]
fn the_documented_group_shares_one_manifest_of_two_documents() {
    let (parts, plan) = flown(TCP);
    let [(path, text)] = parts.manifests.as_slice() else { panic!("{:?}", parts.manifests) };
    assert_eq!(path, "manifests/0002-client1-tcp-server.yaml");
    assert_eq!(text.matches("\nkind: \"Pod\"\n").count(), 2);
    assert_eq!(text.lines().filter(|line| *line == "---").count(), 1);
    let names = [1, 2].map(|step| job(&plan, step).hostname.to_string());
    assert_eq!(names, ["client1-tcp-server", "client1-tcp-client"]);
}

#[test]
fn the_documented_files_go_to_the_root_of_the_volume() {
    let (parts, plan) = flown(TCP);
    let file = |name: &str| PackedFile { entry: format!("files/0001/{name}"), source: name.to_owned() };
    assert_eq!(parts.files, [file("tcp_client.py"), file("tcp_server.py")], "in archive order");
    let Work::Errand(Errand::Uplink(transfer)) = &plan.steps[0].work else { panic!("an uplink") };
    assert_eq!((transfer.destination.as_str(), transfer.claim.as_str()), ("", "client1.payload"));
    assert_eq!(transfer.sources, ["files/0001/tcp_client.py", "files/0001/tcp_server.py"]);
}

#[test]
fn a_comment_inside_args_is_none_of_them_and_a_plain_backslash_n_stays_two_characters() {
    let (_, plan) = flown(TCP);
    let args = job(&plan, 2).pod.args.clone().expect("there are some");
    assert_eq!(args.len(), 2);
    assert!(args[1].ends_with(r#"--message "hello from tcp client\n""#), "{}", args[1]);
    assert!(!args[1].contains('\n'));
}

#[test]
fn every_documented_field_of_a_pod_run_flies() {
    let (parts, plan) = flown(DEFINITION);
    let job = job(&plan, 0);
    assert_eq!((job.pod_name.as_str(), job.hostname.as_str(), job.node.as_str()), ("test", "client1-test", "mpu"));
    assert_eq!((job.max_duration_seconds, plan.steps[0].timeout_seconds, plan.steps[0].group), (1800, 2100, None));
    assert_eq!((job.pod.image.as_str(), job.pod.claim.as_str()), ("my-app:latest", "client1.payload"));
    assert_eq!(job.pod.command, Some(vec!["/bin/sh".to_owned()]));
    let echo = "echo 'Debi tirar mas fotos' > /data/hello-from-space.txt";
    assert_eq!(job.pod.args, Some(vec!["-c".to_owned(), echo.to_owned()]));
    let variable = |name: &str, value: &str| Variable { name: name.to_owned(), value: value.to_owned() };
    assert_eq!(job.pod.env, [variable("LOG_LEVEL", "info"), variable("CONFIG_PATH", "/data/config/config.yaml")]);
    assert_eq!(job.pod.ports, [Port { container_port: 8080, host_port: 8080, host_ip: None, protocol: Protocol::Tcp }]);
    assert_eq!(parts.manifests[0].0, "manifests/0001-client1-test.yaml");
}

#[test]
fn what_is_left_out_has_its_default() {
    let (_, plan) = flown(&pod(""));
    let job = job(&plan, 0);
    assert_eq!((job.max_duration_seconds, plan.steps[0].timeout_seconds), (3600, 3900), "never unlimited");
    assert_eq!((job.node.as_str(), plan.steps[0].on_failure), ("mpu", OnFailure::Stop));
    assert_eq!((&job.pod.command, &job.pod.args), (&None, &None));
    assert!(job.pod.env.is_empty() && job.pod.ports.is_empty());
    let (_, nulls) = flown(&pod("    max_duration: null\n    node: ~\n    args:\n    merge: null\n"));
    assert_eq!(nulls, plan, "null is the same as left out");
}

#[test]
fn an_operation_without_id_takes_the_name_it_is_given() {
    assert_eq!(findings(TCP), Vec::<String>::new());
    let mut given = perigee::operation::Findings::default();
    assert!(perigee::operation::tasks::read(TCP, None, &mut given).is_none());
    let lines: Vec<String> = given.sorted().iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["1:1: error: id: missing; name the operation"]);
}

#[test]
fn a_node_is_read_in_any_case() {
    for (written, node) in [("Mpu", "mpu"), ("MPU", "mpu"), ("mpu", "mpu"), ("Fpga", "fpga"), ("GPU", "gpu")] {
        let (_, plan) = flown(&pod(&format!("    node: {written}\n")));
        assert_eq!(job(&plan, 0).node.as_str(), node);
    }
    for default in ["default", "Default", "DEFAULT"] {
        assert_eq!(job(&flown(&pod(&format!("    node: {default}\n"))).1, 0).node.as_str(), "mpu");
    }
}

#[test]
fn tags_that_look_like_numbers_fly_as_they_are_quoted() {
    for (written, image) in [("\"3.10\"", "python:3.10"), ("'3.10'", "python:3.10"), ("3.10-slim", "python:3.10-slim")]
    {
        let (_, plan) = flown(&pod_with("tag: \"3.10\"", &format!("tag: {written}")));
        assert_eq!(job(&plan, 0).pod.image, image);
    }
}

#[test]
fn the_order_of_keys_does_not_matter_and_ids_come_in_either_case() {
    let text = "labels: {name: x}
tasks:
- volume: v
  image: {tag: \"1\", name: a}
  pod_name: p
  id: lower_case
  type: dphi.space.cg2.pod.run
description: last
";
    let (parts, _) = flown(text);
    assert_eq!(parts.steps[0].id.as_str(), "lower_case");
}

#[test]
fn long_args_over_several_lines_fly_byte_by_byte() {
    let args = r#"    args:
      - |
        set -e
        echo a \
          b
      - "one\ntwo \
        three"
      - >-
        folded
        text
"#;
    let (_, plan) = flown(&pod(args));
    let found = job(&plan, 0).pod.args.clone().expect("there are some");
    assert_eq!(found, ["set -e\necho a \\\n  b\n", "one\ntwo three", "folded text"]);
}

#[test]
fn texts_that_yaml_readers_disagree_about_reach_the_board_unchanged() {
    let words =
        ["yes", "on", "~x", "1_000", "0x1F ", "12:30:45", "2026-01-01", "<<", "=", "é 😀", "a: b", "# no", "'", "\\"];
    for word in words {
        let quoted = serde_json::to_string(word).expect("quotes");
        let (_, plan) = flown(&pod(&format!("    env: [{{name: WORD, value: {quoted}}}]\n    args: [{quoted}]\n")));
        assert_eq!(job(&plan, 0).pod.env[0].value, word);
        assert_eq!(job(&plan, 0).pod.args.as_deref(), Some(&[word.to_owned()][..]));
    }
}

#[test]
fn on_failure_is_stop_or_continue() {
    let (_, plan) = flown(&pod("    on_failure: continue\n"));
    assert_eq!(plan.steps[0].on_failure, OnFailure::Continue);
}

#[test]
fn the_same_operation_compiles_to_the_same_parts() {
    let (first, again) = (flown(TCP), flown(TCP));
    assert_eq!(first.0.manifests, again.0.manifests);
    assert_eq!((first.0.steps, first.0.files, first.1), (again.0.steps, again.0.files, again.1));
}

fn job(plan: &perigee::plan::Plan, step: usize) -> &PlannedJob {
    &plan.steps[step].jobs()[0]
}
