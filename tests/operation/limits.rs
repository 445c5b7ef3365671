//! What the board's limits refuse, the ground refuses first; and nothing a tenant writes makes it panic.

use perigee::bundle::limits::{ENTRIES, OPERATION_BYTES, STEPS};
use proptest::prelude::*;

use super::documented::TCP;
use super::ground::{compiled, findings, flown, pod};

#[test]
fn a_file_larger_than_the_limit_is_refused_unread() {
    let size = usize::try_from(OPERATION_BYTES).expect("fits");
    let padded = |size: usize| format!("{}#{}", pod(""), "x".repeat(size - pod("").len() - 1));
    assert_eq!(findings(&padded(size)), Vec::<String>::new());
    assert_eq!(
        findings(&padded(size + 1)),
        ["1:1: error: the file has 262145 bytes, the limit is 262144; move data into files and uplink them"]
    );
}

#[test]
fn as_many_tasks_as_the_limit_fly_and_one_more_is_refused() {
    let tasks = |count: usize| {
        let task = |n| format!("- {{id: T{n}, type: dphi.space.cg2.downlink, source: [x], volume: v}}\n");
        format!("id: demo\ntasks:\n{}", (0..count).map(task).collect::<String>())
    };
    assert_eq!(flown(&tasks(STEPS)).1.steps.len(), STEPS);
    let line = &findings(&tasks(STEPS + 1))[0];
    assert!(line.contains("tasks: found 1001 tasks, expected 1 to 1000"), "{line}");
}

#[test]
fn more_files_than_a_bundle_has_entries_are_refused_on_the_ground() {
    let uplink = |count: usize| {
        let sources: Vec<String> = (0..count).map(|n| format!("f{n}")).collect();
        let sources = sources.join(", ");
        format!("id: demo\ntasks:\n- {{id: UP, type: dphi.space.cg2.uplink, source: [{sources}], volume: v}}\n")
    };
    flown(&uplink(ENTRIES - 1));
    let line = &findings(&uplink(ENTRIES))[0];
    assert!(line.contains("the bundle would have 4097 entries, the limit is 4096"), "{line}");
}

#[test]
fn a_manifest_or_sequence_too_large_for_the_board_is_refused_on_the_ground() {
    let pods = |count: usize| {
        let argument = format!("&a [{}]", "x".repeat(400));
        let pod = |n| {
            let args = if n == 0 { argument.as_str() } else { "*a" };
            format!(
                "- {{id: T{n}, type: dphi.space.cg2.pod.run, pod_name: p{n}, image: {{name: a, tag: b}}, volume: v, \
                 merge: true, args: {args}}}\n"
            )
        };
        format!("id: demo\ntasks:\n{}", (0..count).map(pod).collect::<String>())
    };
    flown(&pods(500));
    let line = &findings(&pods(STEPS))[0];
    assert!(line.contains("manifests/0001-client1-p0.yaml` would have "), "{line}");
    let long = "x".repeat(1000);
    let sources = format!("&s [{}]", vec![long.as_str(); 200].join(", "));
    let task = |n: usize| {
        let sources = if n == 0 { sources.as_str() } else { "*s" };
        format!("- {{id: D{n}, type: dphi.space.cg2.downlink, source: {sources}, volume: v}}\n")
    };
    let text = format!("id: demo\ntasks:\n{}", (0..10).map(task).collect::<String>());
    let line = &findings(&text)[0];
    assert!(line.contains("`sequence.yaml` would have "), "{line}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_text_is_an_operation_or_has_a_finding(text in "\\PC*|[-a-z0-9:{}\\[\\]#&*!|>'\"%@`,\n \t]{0,200}") {
        let (parts, findings) = compiled(&text, None);
        prop_assert!(parts.is_some() || !findings.is_empty());
    }

    #[test]
    fn the_documented_example_with_any_damage_flies_or_has_a_finding(
        at in any::<prop::sample::Index>(),
        lost in 0_usize..40,
        more in "\\PC{0,3}|[\n \t:#-]{0,6}",
    ) {
        let start = at.index(TCP.len());
        let end = (start + lost).min(TCP.len());
        if TCP.is_char_boundary(start) && TCP.is_char_boundary(end) {
            let text = [&TCP[..start], more.as_str(), &TCP[end..]].concat();
            match compiled(&text, None) {
                (Some(_), findings) if findings.is_empty() => { flown(&text); }
                (_, findings) => prop_assert!(!findings.is_empty(), "{text}"),
            }
        }
    }
}
