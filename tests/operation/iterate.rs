//! `commands_iter`: which commands it stands for, in which order, and what is said of those that it cannot.

use super::ground::{alike, findings, flown, pod};

fn commands(more: &str) -> Vec<String> {
    let (parts, _) = flown(&pod(&more.lines().map(|line| format!("    {line}\n")).collect::<String>()));
    let run = parts.steps[0].pod_run.clone().expect("a pod");
    run.jobs.expect("jobs").commands
}

fn only(more: &str) -> String {
    let lines = findings(&pod(&format!("    {more}\n")));
    lines.join("\n")
}

#[test]
fn the_last_value_varies_fastest_and_items_are_counted_from_0() {
    assert_eq!(
        commands("commands_iter: {command: \"run ${1} ${2} > ${item}\", vars: [[s1, s2], \"range(0,2)\"]}"),
        ["run s1 0 > 0", "run s1 1 > 1", "run s2 0 > 2", "run s2 1 > 3"]
    );
}

#[test]
fn ranges_end_before_their_end_and_take_steps() {
    assert_eq!(commands("commands_iter: {command: \"${1}\", vars: [\"range(1,10,2)\"]}"), ["1", "3", "5", "7", "9"]);
    assert_eq!(commands("commands_iter: {command: \"${1}\", vars: [\"range( -1, 1 )\"]}"), ["-1", "0"]);
}

#[test]
fn rows_are_taken_as_they_stand_and_numbers_as_they_are_written() {
    assert_eq!(
        commands("commands_iter: {command: \"${2}-${1}-${HOME}\", rows: [[a, 1], [b, 0x2]]}"),
        ["1-a-${HOME}", "0x2-b-${HOME}"]
    );
}

#[test]
fn what_a_value_says_is_not_filled_again() {
    assert_eq!(commands("commands_iter: {command: \"${1} ${2}\", rows: [[\"${2}\", x]]}"), ["${2} x"]);
}

#[test]
fn plain_commands_come_first() {
    assert_eq!(
        commands("commands_iter: {command: \"c ${item}\", vars: [\"range(0,2)\"]}\ncommands: [a, b]"),
        ["a", "b", "c 0", "c 1"]
    );
}

#[test]
fn iterations_that_stand_for_nothing_too_much_or_something_unknown_are_refused() {
    let table = [
        (
            "commands_iter: {command: \"${3}\", vars: [[a], [b]]}",
            "8:30: error: tasks[0].commands_iter.command: `${3}` names no value, each row has 2; \
             the first value is `${1}`",
        ),
        (
            "commands_iter: {command: \"${0}\", rows: [[a]]}",
            "8:30: error: tasks[0].commands_iter.command: `${0}` names no value, each row has 1; \
             the first value is `${1}`",
        ),
        (
            "commands_iter: {command: \"${2}\", rows: [[a, b], [c]]}",
            "8:30: error: tasks[0].commands_iter.command: `${2}` names no value, each row has 1; \
             the first value is `${1}`",
        ),
        (
            "commands_iter: {command: x, vars: [[a], []]}",
            "8:39: error: tasks[0].commands_iter.vars: it stands for 0 jobs, expected 1 to 1024; \
             list fewer values, but at least one each",
        ),
        (
            "commands_iter: {command: x, vars: [\"range(0,5000)\", [a, b]]}",
            "8:39: error: tasks[0].commands_iter.vars: it stands for 10000 jobs, expected 1 to 1024; \
             list fewer values, but at least one each",
        ),
        (
            "commands_iter: {command: x, vars: [\"range(0,9,0)\"]}",
            "8:40: error: tasks[0].commands_iter.vars[0]: found the text `range(0,9,0)`, expected a list or \
             range(start,end[,step]); such as [a, b] or \"range(0,4)\"; the end is not part of it",
        ),
        (
            "commands_iter: {command: x, vars: [[3.10]]}",
            "8:41: error: tasks[0].commands_iter.vars[0][0]: found the number 3.10, expected a text; quote it: \"3.10\"",
        ),
        (
            "commands_iter: {command: x, rows: [a]}",
            "8:40: error: tasks[0].commands_iter.rows[0]: found the text `a`, expected a list; write `[a, b]`",
        ),
        (
            "commands_iter: {command: x}",
            "8:20: error: tasks[0].commands_iter.vars: expected either `vars` or `rows`; \
             list the values of each variable in `vars`",
        ),
        (
            "commands_iter: {vars: [[a]]}",
            "8:20: error: tasks[0].commands_iter.command: missing; write what each job runs; `${1}` is the first value",
        ),
    ];
    alike(table.into_iter().map(|(more, expected)| (only(more), expected.to_owned())));
}
