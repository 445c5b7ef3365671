//! What tasks wait for: dependencies, conditions, windows, retries; and what is said of those that cannot be.

use perigee::bundle::flow::{OnPowerLoss, Operator, Rule, Test};
use perigee::plan::{Needs, Plan};

use super::ground::{alike, findings, flown, pod, pods};

fn needs(plan: &Plan, step: usize) -> Vec<(usize, Needs)> {
    plan.steps[step].after.iter().map(|edge| (edge.step, edge.needs)).collect()
}

/// The one finding of an operation.
fn only(text: &str) -> String {
    let lines = findings(text);
    lines.join("\n")
}

#[test]
fn edges_replace_the_order_of_the_list_and_none_is_no_waiting() {
    let text = pods(&[
        ("A", ""),
        ("B", "after: [A]"),
        ("C", "after: []"),
        ("D", "after:\n- {step: B, mode: all}\n- step: C\n  mode: each"),
        ("E", ""),
    ]);
    let (_, plan) = flown(&text);
    assert_eq!(needs(&plan, 0), []);
    assert_eq!(needs(&plan, 1), [(0, Needs::Success)]);
    assert_eq!(needs(&plan, 2), []);
    assert_eq!(needs(&plan, 3), [(1, Needs::Success), (2, Needs::Each)]);
    assert_eq!(needs(&plan, 4), [(3, Needs::Ended)]);
}

#[test]
fn a_task_may_wait_for_a_later_one() {
    let (_, plan) = flown(&pods(&[("A", "after: [B]"), ("B", "after: []")]));
    assert_eq!((needs(&plan, 0), needs(&plan, 1)), (vec![(1, Needs::Success)], vec![]));
}

#[test]
fn the_members_of_a_group_wait_for_what_the_first_of_them_waits_for() {
    let alike = [("A", "after: []"), ("X", "after: []"), ("B", "merge: true\nafter: [A]"), ("C", "merge: true")];
    let (_, plan) = flown(&pods(&alike));
    assert_eq!((needs(&plan, 2), needs(&plan, 3)), (vec![(0, Needs::Success)], vec![(0, Needs::Success)]));
    let text = pods(&[("A", ""), ("X", ""), ("B", "merge: true\nafter: [A]"), ("C", "merge: true\nafter: [X]")]);
    assert_eq!(
        only(&text),
        "26:12: error: tasks[3].after: differs from that of the first member of its merge group; \
         write it at the first member only, or alike at all of them"
    );
    let text = pods(&[("A", ""), ("B", "merge: true"), ("C", "merge: true\nafter: [A]")]);
    assert_eq!(
        only(&text),
        "20:12: error: tasks[2].after: only a later member of its merge group has an `after`; \
         write it at the first member, for all of them"
    );
    let text = pods(&[("A", "merge: true"), ("B", "merge: true\nnot_after: 2030-01-01T00:00:00Z")]);
    assert_eq!(
        only(&text),
        "15:16: error: tasks[1].not_after: differs from that of the first member of its merge group, which starts as \
         one; write it at the first member only, or alike at all of them"
    );
}

#[test]
fn every_flaw_of_the_order_is_told_at_once() {
    let text = pods(&[
        ("A", "after: [B]"),
        ("B", "after: [A]"),
        ("SELF", "after: [SELF]"),
        ("UNKNOWN", "after: [{step: SELFF}]"),
        ("A", "after: []"),
        ("TWICE", "after: [SELF, {step: SELF, mode: each}]"),
        ("MODE", "after: [{step: SELF, mode: some}]"),
    ]);
    assert_eq!(
        findings(&text),
        [
            "8:12: error: tasks[0].after: the steps wait for each other: A -> B -> A; \
             take one of these dependencies out",
            "20:13: error: tasks[2].after[0].step: step `SELF` would wait for itself; name another step",
            "26:20: error: tasks[3].after[0].step: there is no step `SELFF`; did you mean `SELF`?",
            "27:9: error: tasks[4].id: task id `A` is there twice, first in the task at line 3; rename one of them",
            "29:15: error: tasks[4].pod_name: hostname `client1-a` is also one of the task at line 3, \
             which may run at the same time; rename one of them, or let one wait for the other with `after`",
            "38:26: error: tasks[5].after[1].step: step `SELF` is there twice; keep one",
            "44:32: error: tasks[6].after[0].mode: found the text `some`, expected all, each; \
             write one of these words",
        ]
    );
}

#[test]
fn a_circle_through_the_order_of_the_list_says_how_to_break_it() {
    assert_eq!(
        only(&pods(&[("A", "after: [B]"), ("B", "")])),
        "8:12: error: tasks[0].after: the steps wait for each other: A -> B -> A; \
         `B` waits for what stands before it in the list; `after: []` makes it wait for nothing"
    );
}

#[test]
fn each_needs_as_many_jobs_on_both_sides_and_names_both_numbers() {
    let two = "commands: [x, y]";
    let (_, plan) = flown(&pods(&[("A", two), ("B", &format!("{two}\nafter: [{{step: A, mode: each}}]"))]));
    assert_eq!(needs(&plan, 1), [(0, Needs::Each)]);
    let three = "commands: [x, y, z]\nafter: [{step: A, mode: each}]";
    assert_eq!(
        only(&pods(&[("A", two), ("B", three)])),
        "15:29: error: tasks[1].after[0].mode: `A` has 2 and `B` has 3, but each pairs them by position; \
         give both as many, or use mode all"
    );
    let asked = "from_output: {step: ONE, command: x}";
    let text = pods(&[("ONE", ""), ("A", asked), ("B", "after: [{step: A, mode: each}]")]);
    assert_eq!(
        only(&text),
        "19:29: error: tasks[2].after[0].mode: each pairs jobs, and how many `A` has is known only later; \
         use mode all"
    );
    let text = format!(
        "{}  - id: UP\n    type: dphi.space.cg2.downlink\n    source: [x]\n    volume: v\n    \
         after: [{{step: A, mode: each}}]\n",
        pods(&[("A", "")])
    );
    assert!(only(&text).contains("after[0].mode: each pairs jobs, and `UP` runs none"), "{text}");
}

#[test]
fn a_condition_looks_at_the_one_job_of_an_earlier_step() {
    let when = |more: &str| format!("when: {{step: A, {more}}}");
    let (_, plan) = flown(&pods(&[("A", ""), ("B", &when("equals: go"))]));
    let condition = plan.steps[1].terms.when.clone().expect("a condition");
    assert_eq!((condition.step, condition.test), (0, Test::Equals("go".to_owned())));
    let any = "any: [{key: q, operator: gt, values: [\"3\"]}, {key: p, operator: doesnotexist}, \
               {key: z, operator: '=', values: [b]}]";
    let (_, plan) = flown(&pods(&[("A", ""), ("X", ""), ("B", &format!("after: [X]\n{}", when(any)))]));
    let Some(Test::Any(rules)) = plan.steps[2].terms.when.clone().map(|when| when.test) else { panic!("rules") };
    let rule = |key: &str, operator, values: &[&str]| Rule {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    assert_eq!(
        rules,
        [rule("q", Operator::Gt, &["3"]), rule("p", Operator::DoesNotExist, &[]), rule("z", Operator::Equals, &["b"])]
    );
}

#[test]
fn conditions_that_cannot_be_judged_are_refused() {
    let one = |when: &str| only(&pods(&[("A", ""), ("B", when)]));
    let table = [
        (
            "when: {step: A}",
            "13:11: error: tasks[1].when: found none of equals, not_equals and any, expected one; \
             say what the output must be",
        ),
        (
            "when: {step: A, equals: x, any: []}",
            "13:11: error: tasks[1].when: found equals and any of equals, not_equals and any, expected one; \
             say what the output must be",
        ),
        ("when: {step: A, any: []}", "13:26: error: tasks[1].when.any: the list is empty; write at least one rule"),
        (
            "when: {step: A, equals: 1}",
            "13:29: error: tasks[1].when.equals: found the number 1, expected a text; quote it: \"1\"",
        ),
        (
            "when: {step: A, any: [{key: k, operator: Like}]}",
            "13:46: error: tasks[1].when.any[0].operator: found the text `Like`, expected one of In, NotIn, Exists, \
             DoesNotExist, Gt, Lt, =, ==, !=; write one of these words",
        ),
        (
            "when: {step: A, any: [{key: k, operator: Gt, values: [many]}]}",
            "13:58: error: tasks[1].when.any[0].values: found `many`, this operator takes one value, a number; \
             see docs/operation-file.md for the operators",
        ),
        (
            "when: {step: A, any: [{key: k, operator: In}]}",
            "13:27: error: tasks[1].when.any[0].values: found none, this operator takes at least one value; \
             see docs/operation-file.md for the operators",
        ),
        (
            "when: {step: A, any: [{key: k, operator: Exists, values: [x, y]}]}",
            "13:62: error: tasks[1].when.any[0].values: found `x`, `y`, this operator takes no value; \
             see docs/operation-file.md for the operators",
        ),
        (
            "when: {step: A, any: [{key: 'a:b', operator: Exists}]}",
            "13:33: error: tasks[1].when.any[0].key: key `a:b` cannot be found in key:value,key:value; name one key",
        ),
        (
            "when: {step: B, equals: x}",
            "13:18: error: tasks[1].when.step: step `B` would wait for itself; name another step",
        ),
        (
            "when: {step: NOBODY, equals: x}",
            "13:18: error: tasks[1].when.step: there is no step `NOBODY`; name a step of this operation by its id",
        ),
    ];
    alike(table.into_iter().map(|(when, expected)| (one(when), expected.to_owned())));
}

#[test]
fn a_condition_looks_at_one_job_of_an_earlier_step() {
    assert_eq!(
        only(&pods(&[("A", "commands: [x, y]"), ("B", "when: {step: A, equals: x}")])),
        "14:18: error: tasks[1].when.step: the output of one job is looked at, and `A` has 2 of them; \
         name a pod.run task with one job"
    );
    assert_eq!(
        only(&pods(&[("A", "when: {step: B, equals: x}"), ("B", "after: []")])),
        "8:18: error: tasks[0].when.step: step `B` comes later and is not among what it waits for; \
         add it to `after`"
    );
}

#[test]
fn windows_and_retries_fly() {
    let more = "    not_before: 2030-01-01T12:00:00+02:00\n    not_after: \"2030-01-02T00:00:00Z\"\n    retries: 2\n    \
                backoff: 1m30s\n    on_power_loss: rerun\n";
    let (_, plan) = flown(&pod(more));
    let terms = &plan.steps[0].terms;
    assert_eq!(terms.window.not_before.map(|time| time.to_string()).as_deref(), Some("2030-01-01T10:00:00Z"));
    assert_eq!(terms.window.not_after.map(|time| time.to_string()).as_deref(), Some("2030-01-02T00:00:00Z"));
    assert_eq!((terms.retry.times, terms.retry.backoff_seconds), (2, 90));
    assert_eq!(terms.retry.on_power_loss, OnPowerLoss::Rerun);
    let (_, plan) = flown(&pod(""));
    assert_eq!(plan.steps[0].terms, perigee::plan::Terms::default());
}

#[test]
fn windows_and_retries_out_of_bounds_are_refused() {
    let table = [
        (
            "not_before: tomorrow",
            "8:17: error: tasks[0].not_before: found the text `tomorrow`, expected a time in RFC 3339 with its zone; \
             such as 2026-01-31T12:00:00Z",
        ),
        (
            "not_after: 2030-01-01T00:00:00",
            "8:16: error: tasks[0].not_after: found the text `2030-01-01T00:00:00`, expected a time in RFC 3339 with \
             its zone; such as 2026-01-31T12:00:00Z",
        ),
        (
            "retries: 101",
            "8:14: error: tasks[0].retries: found the number 101, expected a whole number from 0 to 100; \
             write a number within these bounds, unquoted",
        ),
        (
            "retries: -1",
            "8:14: error: tasks[0].retries: found the number -1, expected a whole number from 0 to 100; \
             write a number within these bounds, unquoted",
        ),
        (
            "backoff: 10",
            "8:14: error: tasks[0].backoff: found the number 10, expected a duration; write its unit, such as 10s or 5m",
        ),
        (
            "backoff: soon",
            "8:14: error: tasks[0].backoff: found the text `soon`, expected a duration of whole seconds; \
             such as 10s, 5m or 1h",
        ),
        (
            "backoff: 500ms",
            "8:14: error: tasks[0].backoff: found the text `500ms`, expected a duration of whole seconds; \
             such as 10s, 5m or 1h",
        ),
        (
            "backoff: 10s",
            "8:14: error: tasks[0].backoff: there are no retries to wait for; write `retries`, or remove it",
        ),
        (
            "on_power_loss: maybe",
            "8:20: error: tasks[0].on_power_loss: found the text `maybe`, expected fail, rerun; \
             write one of these words",
        ),
    ];
    alike(table.into_iter().map(|(line, expected)| (only(&pod(&format!("    {line}\n"))), expected.to_owned())));
    assert_eq!(
        only(&pod("    retries: 1\n    backoff: 2h\n")),
        "9:14: error: tasks[0].backoff: found 7200 s, expected at most 3600 s; \
         wait less; each further pause is twice as long"
    );
    assert_eq!(
        only(&pod("    not_before: 2030-01-02T00:00:00Z\n    not_after: 2030-01-01T00:00:00Z\n")),
        "9:16: error: tasks[0].not_after: 2030-01-01T00:00:00Z is not later than not_before, 2030-01-02T00:00:00Z; \
         give it a time to start in"
    );
}

#[test]
fn what_runs_no_pod_is_not_tried_again() {
    let errand = |more: &str| {
        format!(
            "id: demo\ntasks:\n  - id: DOWN\n    type: dphi.space.cg2.downlink\n    source: [x]\n    volume: v\n    {more}\n"
        )
    };
    assert_eq!(
        only(&errand("retries: 1")),
        "7:14: error: tasks[0].retries: this task runs no pod; only pod.run tasks are tried again"
    );
    assert_eq!(
        only(&errand("on_power_loss: rerun")),
        "7:20: error: tasks[0].on_power_loss: this task runs no pod; only pod.run tasks are tried again"
    );
}

#[test]
fn names_and_ports_are_shared_only_by_tasks_that_follow_each_other() {
    let same = |first: &str, second: &str, third: &str| {
        pods(&[("A", first), ("B", second), ("C", third)])
            .replace("pod_name: b", "pod_name: a")
            .replace("pod_name: c", "pod_name: a")
    };
    flown(&same("", "", ""));
    flown(&same("", "after: [A]", "after: [B]"));
    let lines = findings(&same("after: []", "after: [A]", "after: [A]"));
    assert_eq!(
        lines,
        ["17:15: error: tasks[2].pod_name: hostname `client1-a` is also one of the task at line 9, \
          which may run at the same time; rename one of them, or let one wait for the other with `after`"]
    );
    let port = "ports: [{container: 80, host: 8000}]";
    flown(&pods(&[("A", port), ("B", port)]));
    assert_eq!(
        only(&pods(&[("A", port), ("B", &format!("after: []\n{port}"))])),
        "15:12: error: tasks[1].ports: host port 8000/tcp is also taken by the task at line 3, which may run at the \
         same time; use another host port, or let one wait for the other with `after`"
    );
    let text = pods(&[("A", "array: {begin: 0, end: 3}"), ("B", "after: []")]).replace("pod_name: b", "pod_name: a-3");
    assert!(only(&text).contains("hostname `client1-a-3` is also one of the task at line 3"));
}

#[test]
fn a_task_that_cannot_be_read_is_no_unknown_step() {
    let text = pods(&[("A", "node: 5"), ("B", "after: [A]")]);
    assert_eq!(only(&text), "8:11: error: tasks[0].node: found the number 5, expected a text; quote it: \"5\"");
}

#[test]
fn the_cap_of_an_operation_flies_and_none_at_all_is_refused() {
    let (parts, plan) = flown(&format!("parallelism: 3\n{}", pod("")));
    assert_eq!((parts.parallelism, plan.parallelism), (Some(3), Some(3)));
    assert_eq!(
        only(&format!("parallelism: 0\n{}", pod(""))),
        "1:14: error: parallelism: found 0, with which nothing would ever start; leave it out to have no cap"
    );
}
