//! `merge: true`: who starts together, and what those who do may not share.

use super::ground::{compiled, findings, flown};

#[test]
fn a_lone_merge_compiles_to_the_same_bytes_as_none() {
    let lone = |merge: &str| flown(&operation(&[Task::Pod("a", merge), Task::Downlink, Task::Pod("b", merge)]));
    let (merged, plain) = (lone("    merge: true\n"), lone(""));
    assert_eq!(merged.0.manifests, plain.0.manifests);
    assert_eq!(merged.0.steps, plain.0.steps);
    assert_eq!(merged.0.groups, [None, None, None]);
    assert_eq!(merged.1, plain.1);
    let (said_so, _) = flown(&operation(&[Task::Pod("a", "    merge: false\n")]));
    assert_eq!(said_so.manifests, flown(&operation(&[Task::Pod("a", "")])).0.manifests);
}

#[test]
fn only_directly_adjacent_merges_are_a_group() {
    let merge = |name| Task::Pod(name, "    merge: true\n");
    let (parts, plan) = flown(&operation(&[
        merge("a"),
        merge("b"),
        Task::Downlink,
        merge("c"),
        Task::Pod("d", ""),
        merge("e"),
        merge("f"),
        merge("g"),
    ]));
    let groups = [Some(1), Some(1), None, None, None, Some(2), Some(2), Some(2)];
    assert_eq!(parts.groups, groups);
    assert_eq!(plan.steps.iter().map(|step| step.group).collect::<Vec<_>>(), groups);
    assert_eq!(parts.manifests.len(), 4);
}

#[test]
fn two_pods_of_a_group_with_one_name_are_refused_at_the_second() {
    let text = operation(&[Task::Pod("a", "    merge: true\n"), Task::Pod("a", "    merge: true\n")]);
    assert_eq!(
        findings(&text),
        ["11:15: error: tasks[1].pod_name: pod name `a` is also that of the task at line 3, \
             which runs at the same time; rename one of them, or remove `merge`"]
    );
}

#[test]
fn pods_that_run_one_after_the_other_may_share_a_name_and_ports() {
    let port = "    ports: [{container: 80, host: 80}]\n";
    let (parts, plan) = flown(&operation(&[Task::Pod("a", port), Task::Pod("a", port), Task::Pod("a", port)]));
    assert_eq!(parts.manifests.len(), 3, "each has a manifest of its own: {:?}", parts.manifests);
    assert!(plan.steps.iter().all(|step| step.jobs()[0].hostname.as_str() == "client1-a"));
    let merge = "    merge: true\n    ports: [{container: 80, host: 80}]\n";
    flown(&operation(&[Task::Pod("a", merge), Task::Downlink, Task::Pod("a", merge)]));
}

#[test]
fn a_host_port_taken_twice_in_a_group_or_pod_is_refused_whatever_the_pods_own_port() {
    let with = |container: u16, more: &str| {
        format!("    merge: true\n    ports: [{{container: {container}, host: 80}}{more}]\n")
    };
    let text = operation(&[Task::Pod("a", &with(1, "")), Task::Pod("b", &with(2, ""))]);
    assert_eq!(
        findings(&text),
        ["16:13: error: tasks[1].ports[0].host: host port 80/tcp is taken twice, also in line 9; \
             use another host port, or remove `merge`"]
    );
    let text = operation(&[Task::Pod("a", &with(1, ", {container: 2, host: 80}"))]);
    assert!(findings(&text)[0].contains("tasks[0].ports[1].host: host port 80/tcp is taken twice, also in line 9"));
    flown(&operation(&[Task::Pod("a", &with(1, ", {container: 1, host: 80, protocol: UDP}"))]));
}

#[test]
fn a_task_that_cannot_be_read_still_breaks_a_group() {
    let merge = "    merge: true\n    ports: [{container: 80, host: 80}]\n";
    let text = operation(&[Task::Pod("a", merge), Task::FilesList, Task::Pod("a", merge)]);
    let lines = findings(&text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("tasks[1].depth: found the number 99"), "{lines:#?}");
}

#[test]
fn members_of_a_group_keep_their_own_budget_node_and_policy() {
    let text = operation(&[
        Task::Pod("a", "    merge: true\n    max_duration: 1\n    on_failure: continue\n    node: Mpu\n"),
        Task::Pod("b", "    merge: true\n    max_duration: 2\n    node: Gpu\n"),
    ]);
    let (_, plan) = flown(&text);
    let own: Vec<_> = plan.steps.iter().map(|step| (step.timeout_seconds, step.jobs()[0].node.as_str())).collect();
    assert_eq!(own, [(360, "mpu"), (420, "gpu")]);
    assert_ne!(plan.steps[0].on_failure, plan.steps[1].on_failure);
    assert!(compiled(&text, None).0.is_some());
}

enum Task<'a> {
    Pod(&'a str, &'a str),
    Downlink,
    FilesList,
}

/// Each task takes five lines, from line 3, and a pod more for its own.
fn operation(tasks: &[Task<'_>]) -> String {
    let mut text = "id: demo\ntasks:\n".to_owned();
    for (number, task) in tasks.iter().enumerate() {
        text.push_str(&match task {
            Task::Pod(name, more) => format!(
                "  - id: T{number}\n    type: dphi.space.cg2.pod.run\n    pod_name: {name}\n    \
                 image: {{name: a, tag: \"1\"}}\n    volume: v\n{more}"
            ),
            Task::Downlink => format!(
                "  - id: T{number}\n    type: dphi.space.cg2.downlink\n    source: [x]\n    destination: /\n    \
                 volume: v\n"
            ),
            Task::FilesList => {
                format!(
                    "  - id: T{number}\n    type: dphi.space.cg2.files.list\n    volume: v\n    folder: /\n    \
                     depth: 99\n"
                )
            }
        });
    }
    text
}
