//! What is said of an operation that cannot fly: every finding, whole lines, in the order of the file.

use super::ground::{compiled_for, findings, pod, pod_with};

/// One finding in one line of the usual pod.
fn only(text: &str) -> String {
    let lines = findings(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

#[test]
fn several_findings_are_all_told_in_the_order_of_the_file() {
    let text = "id: demo
comment: no such key
tasks:
  - id: RUN
    type: dphi.space.cg2.pod.run
    pod_name: Test
    image:
      name: python
    volume: payload
    max_duration: 0
    merge: \"true\"
  - type: dphi.space.cg2.downlink
    id: down.link
    source: []
    volum: payload
";
    assert_eq!(
        findings(text),
        [
            "2:1: error: comment: unknown key `comment`; \
             expected one of: id, namespace, system, description, labels, parallelism, tasks",
            "6:15: error: tasks[0].pod_name: pod name `Test` is not legal: lower-case letters, digits and `-`, \
             starting and ending with a letter or digit, at most 63 characters; rename it",
            "8:7: error: tasks[0].image.tag: missing; name the tag, quoted; no tag is assumed",
            "10:19: error: tasks[0].max_duration: found the number 0, expected a whole number of minutes \
             from 1 to 10080; write a number within these bounds, unquoted",
            "11:12: error: tasks[0].merge: found the text `true`, expected true or false; \
             write true or false, unquoted",
            "12:5: error: tasks[1].volume: missing; name the volume to attach",
            "13:9: error: tasks[1].id: step id `down.link` is not legal: letters, digits, `_` and `-`, \
             starting with a letter or digit, at most 63 characters; rename it",
            "14:13: error: tasks[1].source: the list is empty; list the files to collect",
            "15:5: error: tasks[1].volum: unknown key `volum`; did you mean `volume`?",
        ]
    );
}

#[test]
fn an_unquoted_tag_that_is_a_number_is_refused_with_the_quoted_form() {
    assert_eq!(
        only(&pod_with("tag: \"3.10\"", "tag: 3.10")),
        "6:32: error: tasks[0].image.tag: found the number 3.10, expected a text; quote it: \"3.10\""
    );
    assert!(only(&pod_with("tag: \"3.10\"", "tag: 1")).ends_with("quote it: \"1\""));
    assert!(
        only(&pod_with("tag: \"3.10\"", "tag: true"))
            .ends_with("found the boolean true, expected a text; quote it: \"true\"")
    );
}

#[test]
fn a_missing_image_name_or_tag_is_told_with_its_field() {
    let line = "image: {name: python, tag: \"3.10\"}";
    assert_eq!(
        only(&pod_with(line, "image: {name: python}")),
        "6:12: error: tasks[0].image.tag: missing; name the tag, quoted; no tag is assumed"
    );
    assert_eq!(
        only(&pod_with(line, "image: {tag: latest}")),
        "6:12: error: tasks[0].image.name: missing; name the image"
    );
    assert_eq!(
        only(&pod_with(&format!("    {line}\n"), "")),
        "3:5: error: tasks[0].image: missing; write `image:` with `name:` and `tag:` below it"
    );
    assert_eq!(
        only(&pod_with(line, "image: python:3.10")),
        "6:12: error: tasks[0].image: found the text `python:3.10`, expected a map; write `key: value` lines"
    );
}

#[test]
fn lost_indentation_is_told_as_what_it_is() {
    let lines =
        findings(&pod_with("image: {name: python, tag: \"3.10\"}", "image:\n    name: python\n    tag: \"3.10\""));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("3:5: error: tasks[0].image: missing"), "{lines:#?}");
    assert!(lines[1].starts_with("7:5: error: tasks[0].name: unknown key `name`"), "{lines:#?}");
    assert!(lines[2].starts_with("8:5: error: tasks[0].tag: unknown key `tag`"), "{lines:#?}");
}

#[test]
fn image_names_and_tags_that_no_registry_takes_are_refused() {
    for name in ["Python", "python:3.10", "a//b", "/a", "a/", "py thon", "python@sha256", ".a"] {
        let line = only(&pod_with("name: python", &format!("name: \"{name}\"")));
        assert!(
            line.contains(&format!("image.name: found the text `{name}`, expected an image name without tag")),
            "{line}"
        );
    }
    for tag in ["", "a:b", "a/b", "-a", ".a", "a b", &"a".repeat(129)] {
        let line = only(&pod_with("tag: \"3.10\"", &format!("tag: \"{tag}\"")));
        assert!(line.contains("image.tag: found the text"), "{line}");
    }
    for name in ["localhost/my-app", "registry:5000/a/b", "a.b_c"] {
        assert_eq!(findings(&pod_with("name: python", &format!("name: \"{name}\""))), Vec::<String>::new());
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let line = |key: &str| only(&pod(&format!("    {key}: x\n")));
    assert_eq!(line("comand"), "8:5: error: tasks[0].comand: unknown key `comand`; did you mean `command`?");
    assert_eq!(line("podname"), "8:5: error: tasks[0].podname: unknown key `podname`; did you mean `pod_name`?");
    assert!(line("zzz").contains("unknown key `zzz`; expected one of: id, type, description, on_failure, after, when"));
    assert!(line("source").contains("unknown key `source`; "), "a key of another task type");
}

#[test]
fn keys_of_older_platform_pages_are_refused_and_not_ignored() {
    let line = |key: &str| only(&pod(&format!("    {key}\n")));
    assert_eq!(
        line("max_duration_seconds: 600"),
        "8:5: error: tasks[0].max_duration_seconds: unknown key `max_duration_seconds`; did you mean `max_duration`?"
    );
    assert!(line("scheduled_time: null").contains("unknown key `scheduled_time`"));
    assert!(line("envs: {A: b}").contains("unknown key `envs`; did you mean `env`?"));
    assert!(line("pvc_name: x").contains("unknown key `pvc_name`"));
}

#[test]
fn an_unknown_task_type_is_refused_with_the_nearest_one() {
    assert_eq!(
        only(&pod_with("dphi.space.cg2.pod.run", "dphi.space.cg2.pod.rnu")),
        "4:11: error: tasks[0].type: unknown task type `dphi.space.cg2.pod.rnu`; did you mean `dphi.space.cg2.pod.run`?"
    );
    assert!(
        only(&pod_with("    type: dphi.space.cg2.pod.run\n", "")).starts_with("3:5: error: tasks[0].type: missing;")
    );
}

#[test]
fn a_node_that_is_not_there_is_refused_with_the_nearest_one() {
    assert_eq!(only(&pod("    node: Mpuu\n")), "8:11: error: tasks[0].node: unknown node `mpuu`; did you mean `mpu`?");
    assert_eq!(
        only(&pod("    node: xyz\n")),
        "8:11: error: tasks[0].node: unknown node `xyz`; expected one of: default, fpga, gpu, mpu"
    );
    assert!(only(&pod("    node: a b\n")).starts_with("8:11: error: tasks[0].node: node `a b` is not legal"));
    assert!(only(&pod("    node: 1\n")).contains("found the number 1, expected a text; quote it: \"1\""));
}

#[test]
fn a_max_duration_that_is_no_number_of_minutes_is_refused() {
    for (written, found) in [
        ("0", "the number 0"),
        ("-5", "the number -5"),
        ("10081", "the number 10081"),
        ("99999999999999999999", "the number 99999999999999999999"),
        ("1.5", "the number 1.5"),
        ("\"30\"", "the text `30`"),
        ("30s", "the text `30s`"),
        ("1h", "the text `1h`"),
        ("true", "the boolean true"),
        ("[1]", "a list"),
        (".inf", "the number .inf"),
    ] {
        let line = only(&pod(&format!("    max_duration: {written}\n")));
        let expected = format!("found {found}, expected a whole number of minutes from 1 to 10080");
        assert!(line.starts_with("8:19: error: tasks[0].max_duration: ") && line.contains(&expected), "{line}");
    }
    assert_eq!(findings(&pod("    max_duration: 10080\n")), Vec::<String>::new());
}

#[test]
fn pod_names_that_are_no_dns_labels_are_refused() {
    for name in ["Test", "a_b", "a.b", "-a", "a-", &"a".repeat(64)] {
        let line = only(&pod_with("pod_name: test", &format!("pod_name: {name}")));
        assert!(line.starts_with("5:15: error: tasks[0].pod_name: pod name `"), "{line}");
    }
    assert!(only(&pod_with("pod_name: test", "pod_name: \"\"")).contains("pod name `` is not legal"));
}

#[test]
fn a_hostname_longer_than_a_dns_label_is_refused_though_its_parts_are_legal() {
    let text = pod_with("pod_name: test", &format!("pod_name: {}", "b".repeat(23)));
    let (parts, findings) = compiled_for(&"a".repeat(40), &text, None);
    assert!(parts.is_none());
    let line = findings[0].to_string();
    assert!(line.starts_with("5:15: error: tasks[0].pod_name: hostname `aaaa"), "{line}");
    assert!(line.ends_with("; the hostname is <tenant>-<pod_name>"), "{line}");
    assert!(compiled_for(&"a".repeat(39), &text, None).0.is_some());
}

#[test]
fn a_task_id_that_is_there_twice_is_refused_at_the_second() {
    let text = "id: demo
tasks:
  - id: DOWN
    type: dphi.space.cg2.downlink
    source: [a]
    volume: v
  - type: dphi.space.cg2.downlink
    source: [b]
    volume: v
    id: DOWN
";
    assert_eq!(
        only(text),
        "10:9: error: tasks[1].id: task id `DOWN` is there twice, first in the task at line 3; rename one of them"
    );
}

#[test]
fn variables_that_are_numbers_twice_there_or_not_legal_are_refused() {
    let line = |env: &str| only(&pod(&format!("    env: [{env}]\n")));
    assert!(
        line("{name: A, value: 1}").ends_with("env[0].value: found the number 1, expected a text; quote it: \"1\"")
    );
    assert!(line("{name: A, value: true}").contains("found the boolean true"));
    assert!(line("{name: A}").contains("env[0].value: missing; give it a value, quoted (\"\" for an empty one)"));
    assert!(line("{name: A, value: x}, {name: A, value: y}").contains("env[1].name: variable `A` is there twice"));
    assert!(line("{name: 'A=B', value: x}").contains("env[0].name: variable `A=B` is not legal"));
    assert!(line("{name: '', value: x}").contains("env[0].name: variable `` is not legal"));
    assert!(line("{name: A, value: x, valu: y}").contains("unknown key `valu`; did you mean `value`?"));
    assert!(only(&pod("    env: {A: b}\n")).contains("env: found a map, expected a list"));
    assert_eq!(findings(&pod("    env: [{name: A, value: \"\"}]\n")), Vec::<String>::new());
}

#[test]
fn ports_that_are_none_are_refused() {
    let line = |port: &str| only(&pod(&format!("    ports: [{port}]\n")));
    for number in ["0", "65536", "-1", "\"80\"", "http"] {
        let found = line(&format!("{{container: 80, host: {number}}}"));
        assert!(found.contains("ports[0].host: found ") && found.contains("a whole number from 1 to 65535"), "{found}");
    }
    assert!(line("{container: 80}").contains("ports[0].host: missing; a port number"));
    assert!(line("{host: 80}").contains("ports[0].container: missing"));
    assert!(line("{container: 1, host: 1, protocol: sctp}").contains("found the text `sctp`, expected tcp or udp"));
    assert!(line("80").contains("ports[0]: found the number 80, expected a map"));
}

#[test]
fn values_of_another_type_are_told_as_what_they_are() {
    assert!(only(&pod("    command: /bin/sh\n")).contains("command: found the text `/bin/sh`, expected a list"));
    assert!(
        only(&pod("    args: [-c, 5]\n")).contains("args[1]: found the number 5, expected a text; quote it: \"5\"")
    );
    assert!(only(&pod("    args: [[a]]\n")).contains("args[0]: found a list, expected a text; write one text here"));
    assert!(only(&pod("    args: [a, null]\n")).contains("args[1]: found nothing, expected a text; write a text"));
    assert!(only(&pod("    description: 5\n")).contains("description: found the number 5"));
    assert!(only(&pod("    merge: yes\n")).contains("merge: found the text `yes`, expected true or false"));
    assert!(
        only(&pod("    on_failure: ignore\n"))
            .contains("on_failure: found the text `ignore`, expected stop or continue")
    );
    assert!(only(&pod_with("id: demo", "id: demo\nlabels: {a: 1}")).contains("labels.a: found the number 1"));
    assert!(only(&pod_with("volume: payload", "volume: a.b")).contains("volume name `a.b` is not legal"));
}

#[test]
fn a_file_that_is_no_operation_is_refused_where_it_goes_wrong() {
    assert_eq!(only(""), "1:1: error: the file is empty; write an operation with an `id` and `tasks`");
    assert_eq!(only("- a\n- b\n"), "1:1: error: found a list, expected a map; write `key: value` lines");
    assert_eq!(only("id: demo\n"), "1:1: error: tasks: missing; list at least one task");
    assert!(only("id: demo\ntasks: []\n").contains("2:8: error: tasks: found 0 tasks, expected 1 to 1000"));
    assert!(only("id: demo\ntasks: [5]\n").contains("2:9: error: tasks[0]: found the number 5, expected a map"));
    assert_eq!(
        only(&pod_with("id: demo", "id: demo\nid: again")),
        "2:1: error: id: the key is there twice, first in line 1; keep one of them"
    );
    assert!(only("id: demo\n\ttasks: x\n").contains("error: not YAML: "));
    assert!(only(&format!("{}---\nid: other\n", pod(""))).ends_with("a second document; keep one operation per file"));
}
