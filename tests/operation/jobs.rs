//! How many jobs a task has: arrays, command lists, pieces of an output, gangs; and what is said of those that cannot
//! be.

use perigee::bundle::flow::{Clean, GangStart, Mpi};
use perigee::plan::{PlannedJob, Role};

use super::ground::{alike, compiled_for, findings, flown, pod, pods};

/// The one finding of the usual pod with more lines from line 8.
fn only(more: &str) -> String {
    let text = pod(&more.lines().map(|line| format!("    {line}\n")).collect::<String>());
    let lines = findings(&text);
    lines.join("\n")
}

fn jobs(more: &str) -> Vec<PlannedJob> {
    let (_, plan) = flown(&pod(&more.lines().map(|line| format!("    {line}\n")).collect::<String>()));
    plan.steps[0].jobs().to_vec()
}

fn value<'a>(job: &'a PlannedJob, name: &str) -> Option<&'a str> {
    job.pod.env.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
}

#[test]
fn an_array_has_a_job_for_each_id_which_it_knows_by_its_environment() {
    let jobs = jobs("array: {begin: 1, end: 7, step: 3, max_parallel: 2}\nargs: [x]");
    let told: Vec<_> =
        jobs.iter().map(|job| (job.label.as_str(), job.hostname.as_str(), value(job, "TASK_ID"))).collect();
    assert_eq!(
        told,
        [("1", "client1-test-1", Some("1")), ("4", "client1-test-4", Some("4")), ("7", "client1-test-7", Some("7"))]
    );
    assert_eq!(jobs.iter().map(|job| job.unit).collect::<Vec<_>>(), [0, 1, 2]);
    let (_, plan) = flown(&pod("    array: {begin: 0, end: 0, max_parallel: 2}\n"));
    assert_eq!((plan.steps[0].units(), plan.steps[0].terms.max_parallel), (1, Some(2)));
    assert_eq!(value(&plan.steps[0].jobs()[0], "TASK_ID"), Some("0"));
}

#[test]
fn arrays_that_count_nothing_or_too_much_are_refused() {
    let begin = "expected a whole number from 0 to 999999999; write a number within these bounds, unquoted";
    let table = [
        (
            "array: {begin: 3, end: 1}",
            "8:29: error: tasks[0].array.end: begin is 3 and end is 1: there is no job; let end be begin or more"
                .into(),
        ),
        (
            "array: {begin: 0, end: 3, step: 0}",
            "8:37: error: tasks[0].array.step: found the number 0, expected a whole number from 1 to 999999999; \
             write a number within these bounds, unquoted"
                .into(),
        ),
        ("array: {begin: -1, end: 3}", format!("8:20: error: tasks[0].array.begin: found the number -1, {begin}")),
        ("array: {begin: 0.5, end: 3}", format!("8:20: error: tasks[0].array.begin: found the number 0.5, {begin}")),
        ("array: {end: 3}", "8:12: error: tasks[0].array.begin: missing; write the first and the last TASK_ID".into()),
        (
            "array: {begin: 0, end: 3, max_parallel: 0}",
            "8:45: error: tasks[0].array.max_parallel: found 0, with which nothing would ever start; \
             leave it out to have no cap"
                .into(),
        ),
        (
            "array: {begin: 0, end: 3, cap: 1}",
            "8:31: error: tasks[0].array.cap: unknown key `cap`; expected one of: begin, end, step, max_parallel"
                .into(),
        ),
        (
            "array: {begin: 0, end: 3}\nmax_parallel: 2",
            "9:19: error: tasks[0].max_parallel: the cap of an array stands in the array; move it into `array`".into(),
        ),
        (
            "array: {begin: 0, end: 3}\nenv: [{name: TASK_ID, value: \"1\"}]",
            "9:10: error: tasks[0].env: `TASK_ID` is set by the array; give the variable another name".into(),
        ),
        (
            "array: {begin: 0, end: 3}\nports: [{container: 80, host: 80}]",
            "9:12: error: tasks[0].ports: several jobs that may be alive at once cannot share a host port; \
             remove the ports, or write `max_parallel: 1`"
                .into(),
        ),
    ];
    alike(table.into_iter().map(|(more, expected): (&str, String)| (only(more), expected)));
    let lines = only("array: {begin: 0, end: 4999}");
    let expected = "8:12: error: tasks[0].array: found 5000 jobs, the limit is 1024; use fewer, or several operations";
    assert!(lines.lines().any(|line| line == expected), "{lines}");
    jobs("array: {begin: 0, end: 3, max_parallel: 1}\nports: [{container: 80, host: 80}]");
    jobs("array: {begin: 0, end: 1023}");
}

#[test]
fn each_command_is_a_job_run_by_sh() {
    let jobs = jobs("commands: [\"echo a\", \"echo b\"]\nmax_parallel: 1\nports: [{container: 80, host: 80}]");
    let told: Vec<_> = jobs.iter().map(|job| (job.label.as_str(), job.hostname.as_str())).collect();
    assert_eq!(told, [("0", "client1-test-0"), ("1", "client1-test-1")]);
    let command = |text: &str| Some(["/bin/sh", "-c", text].map(str::to_owned).to_vec());
    assert_eq!((&jobs[0].pod.command, &jobs[1].pod.command), (&command("echo a"), &command("echo b")));
    assert!(jobs.iter().all(|job| job.pod.args.is_none() && value(job, "TASK_ID").is_none()));
}

#[test]
fn command_lists_that_say_two_things_are_refused() {
    let table = [
        (
            "commands: []",
            "8:15: error: tasks[0].commands: the list is empty; write at least one command, or remove the key",
        ),
        (
            "commands: [\"\"]",
            "8:16: error: tasks[0].commands[0]: a command that is empty, or holds a zero character; \
             write what `sh -c` is to run",
        ),
        (
            "commands: [a]\ncommand: [b]",
            "9:14: error: tasks[0].command: not together with a list of commands, which are run by `/bin/sh -c`; \
             keep one of them",
        ),
        (
            "commands: [a]\nargs: [b]",
            "9:11: error: tasks[0].args: not together with a list of commands, which are run by `/bin/sh -c`; \
             keep one of them",
        ),
        (
            "commands: [a]\narray: {begin: 0, end: 1}",
            "8:15: error: tasks[0].commands: `array` and `commands` both say what the jobs are; keep one of them",
        ),
        (
            "commands: [a, b]\nmax_parallel: 0",
            "9:19: error: tasks[0].max_parallel: found 0, with which nothing would ever start; leave it out to have no cap",
        ),
        (
            "max_parallel: 2",
            "8:19: error: tasks[0].max_parallel: there is one job only; remove it, or write an array or commands",
        ),
        ("commands: [1]", "8:16: error: tasks[0].commands[0]: found the number 1, expected a text; quote it: \"1\""),
    ];
    alike(table.into_iter().map(|(more, expected)| (only(more), expected.to_owned())));
    let many = format!("commands: [{}]", vec!["a"; 1025].join(", "));
    let lines = findings(&pod(&format!("    {many}\n")));
    let expected = "8:15: error: tasks[0].commands: found 1025 commands, the limit is 1024 jobs; \
                    use fewer, or several operations";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
}

#[test]
fn pieces_of_an_output_are_jobs_that_the_board_makes() {
    let from = "from_output: {step: A, command: \"echo ${1} ${item}\"}\nmax_parallel: 2";
    let (parts, plan) = flown(&pods(&[("A", ""), ("B", from)]));
    let step = &plan.steps[1];
    assert!(step.jobs().is_empty());
    let fan_out = step.terms.fan_out.clone().expect("one");
    assert_eq!((fan_out.step, fan_out.separator.as_str(), fan_out.limit), (0, " ", 1023));
    assert_eq!((fan_out.command.as_str(), step.terms.max_parallel), ("echo ${1} ${item}", Some(2)));
    assert_eq!(fan_out.template.hostname.as_str(), "client1-b");
    assert_eq!(parts.steps[1].flow.after.as_ref().map(Vec::len), Some(1), "it waits for that step");
    let two = pods(&[("A", ""), ("B", from), ("C", "from_output: {step: A, command: x}")]);
    let (_, plan) = flown(&two);
    let limits = [1, 2].map(|step: usize| plan.steps[step].terms.fan_out.as_ref().map(|fan_out| fan_out.limit));
    assert_eq!(limits, [Some(511), Some(511)], "what is left is shared in equal parts");
}

#[test]
fn pieces_need_one_output_and_nothing_else_to_wait_for() {
    let one = |first: &str, second: &str| {
        findings(&pods(&[("A", first), ("X", ""), ("B", second)])).join("\n")
    };
    let table = [
        (
            "",
            "from_output: {step: A, command: x}\nafter: [A, X]",
            "18:26: error: tasks[2].from_output.step: `A` must be all that it waits for, with mode all; \
             write `after: [A]`, or leave `after` out",
        ),
        (
            "commands: [x, y]",
            "from_output: {step: A, command: x}",
            "19:26: error: tasks[2].from_output.step: the output of one job is looked at, and `A` has 2 of them; \
             name a pod.run task with one job",
        ),
        (
            "",
            "from_output: {step: A, command: \"x ${2}\"}",
            "18:38: error: tasks[2].from_output.command: `${2}` names nothing: a piece of the output is `${1}`, \
             its position `${item}`; write `${1}` or `${item}`",
        ),
        (
            "",
            "from_output: {step: A, command: x, separator: \"\"}",
            "18:52: error: tasks[2].from_output.separator: the text is empty; such as a space, a comma, or \"\\n\"",
        ),
        (
            "",
            "from_output: {step: A, command: x}\nargs: [y]",
            "19:11: error: tasks[2].args: not together with a list of commands, which are run by `/bin/sh -c`; \
             keep one of them",
        ),
        (
            "",
            "from_output: {step: A, command: x}\nports: [{container: 1, host: 1}]",
            "19:12: error: tasks[2].ports: several jobs that may be alive at once cannot share a host port; \
             remove the ports, or write `max_parallel: 1`",
        ),
    ];
    alike(table.into_iter().map(|(first, second, expected)| (one(first, second), expected.to_owned())));
    let each = "from_output: {step: A, command: x}\nafter: [{step: A, mode: each}]";
    assert!(one("", each).contains("must be all that it waits for"));
}

#[test]
fn outputs_that_could_fill_the_memory_are_refused() {
    let command = "${1}".repeat(300);
    let text = pods(&[("A", ""), ("B", &format!("from_output: {{step: A, command: \"{command}\"}}"))]);
    let lines = findings(&text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("1:1: error: tasks: all jobs together would take "), "{lines:#?}");
    let value = "x".repeat(100_000);
    let text = pod(&format!("    array: {{begin: 1, end: 1000}}\n    env: [{{name: A, value: {value}}}]\n"));
    let lines = findings(&text);
    assert!(lines[0].contains("bytes, the limit is 16777216; use fewer jobs"), "{lines:#?}");
}

#[test]
fn all_jobs_of_an_operation_together_are_limited() {
    let text = pods(&[("A", "array: {begin: 1, end: 600}"), ("B", "array: {begin: 1, end: 600}")]);
    assert_eq!(
        findings(&text),
        ["1:1: error: tasks: found 1200 jobs in all, the limit of an execution is 1024; split the operation"]
    );
    let text = pods(&[("A", "array: {begin: 1, end: 1023}"), ("B", ""), ("C", "from_output: {step: B, command: x}")]);
    assert_eq!(
        findings(&text),
        ["1:1: error: tasks: 1024 jobs leave none of 1024 to the steps whose jobs an output asks for; \
          split the operation"]
    );
}

#[test]
fn a_merge_group_takes_plain_pods_only() {
    let group = |more: &str| {
        let text = pods(&[("Z", ""), ("A", "merge: true"), ("B", &format!("merge: true\n{more}"))]);
        let lines = findings(&text);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
    };
    let why = [
        (
            "retries: 1",
            "20:14: error: tasks[2].retries",
            "its members start together and could not be tried again alone",
        ),
        ("on_power_loss: rerun", "20:20: error: tasks[2].on_power_loss", "its members could not run again alone"),
        (
            "when: {step: Z, equals: x}",
            "20:11: error: tasks[2].when",
            "its members start together, or none of them does",
        ),
        ("array: {begin: 0, end: 1}", "20:12: error: tasks[2].array", "its members start together, one job each"),
        ("commands: [x]", "20:15: error: tasks[2].commands", "its members start together, one job each"),
        ("gang: {workers: 1}", "20:11: error: tasks[2].gang", "a gang starts together by itself"),
    ];
    for (more, place, why) in why {
        assert_eq!(group(more), format!("{place}: not in a merge group: {why}; remove it, or `merge`"));
    }
    for (more, ..) in why {
        flown(&pods(&[("Z", ""), ("A", &format!("merge: true\n{more}"))]));
    }
}

#[test]
fn a_gang_is_its_workers_and_the_launcher() {
    let more = "args: [mpirun]\nenv: [{name: A, value: a}, {name: B, value: b}]\n\
                gang: {workers: 2, slots_per_worker: 4, worker: {env: [{name: B, value: w}]}}";
    let (parts, plan) = flown(&pod(&more.lines().map(|line| format!("    {line}\n")).collect::<String>()));
    let jobs = plan.steps[0].jobs();
    let told: Vec<_> = jobs.iter().map(|job| (job.label.as_str(), job.hostname.as_str(), job.role)).collect();
    assert_eq!(
        told,
        [
            ("worker-0", "client1-test-worker-0", Role::Worker),
            ("worker-1", "client1-test-worker-1", Role::Worker),
            ("launcher", "client1-test-launcher", Role::Launcher),
        ]
    );
    assert_eq!(jobs[0].pod.command, Some(vec!["/usr/sbin/sshd".to_owned(), "-De".to_owned()]));
    assert_eq!((&jobs[2].pod.command, &jobs[2].pod.args), (&None, &Some(vec!["mpirun".to_owned()])));
    assert_eq!((value(&jobs[0], "A"), value(&jobs[0], "B"), value(&jobs[2], "B")), (Some("a"), Some("w"), Some("b")));
    assert_eq!((jobs[0].max_duration_seconds, jobs[2].max_duration_seconds), (3660, 3600), "workers outlive it");
    assert!(jobs.iter().all(|job| job.unit == 0 && job.pod.image == "python:3.10"));
    let gang = plan.steps[0].terms.gang.clone().expect("a gang");
    assert_eq!((gang.slots_per_worker, gang.mpi, gang.ssh_dir.as_str()), (4, Mpi::Openmpi, "/root/.ssh"));
    assert_eq!((gang.start, gang.clean, gang.launcher_as_worker), (GangStart::AfterWorkers, Clean::Running, false));
    assert_eq!(parts.manifests.len(), 1);
    assert!(parts.manifests[0].1.contains("name: \"client1-test-worker\""), "workers have a pod of their own");
}

#[test]
fn a_gang_says_what_its_workers_run_and_how_they_end() {
    let more = "gang: {workers: 1, mpi: intel, ssh_dir: /home/mpi/.ssh, launcher_as_worker: true, start: with_workers, \
                clean: all, worker: {image: {name: w, tag: \"2\"}, command: [/w], args: [x]}}\n\
                array: {begin: 3, end: 4, max_parallel: 1}";
    let (_, plan) = flown(&pod(&more.lines().map(|line| format!("    {line}\n")).collect::<String>()));
    let jobs = plan.steps[0].jobs();
    let told: Vec<_> = jobs.iter().map(|job| (job.unit, job.label.as_str(), job.hostname.as_str())).collect();
    assert_eq!(
        told,
        [
            (0, "3.worker-0", "client1-test-3-worker-0"),
            (0, "3.launcher", "client1-test-3-launcher"),
            (1, "4.worker-0", "client1-test-4-worker-0"),
            (1, "4.launcher", "client1-test-4-launcher"),
        ]
    );
    assert!(jobs[2..].iter().all(|job| value(job, "TASK_ID") == Some("4")));
    assert_eq!((jobs[0].pod.image.as_str(), &jobs[0].pod.command), ("w:2", &Some(vec!["/w".to_owned()])));
    let gang = plan.steps[0].terms.gang.clone().expect("a gang");
    assert_eq!((gang.mpi, gang.ssh_dir.as_str(), gang.launcher_as_worker), (Mpi::Intel, "/home/mpi/.ssh", true));
    assert_eq!((gang.start, gang.clean), (GangStart::WithWorkers, Clean::All));
}

#[test]
fn gangs_that_cannot_be_are_refused_with_their_field() {
    let bounds = "write a number within these bounds, unquoted";
    let table = [
        ("gang: {}", "8:11: error: tasks[0].gang.workers: missing; say how many workers there are".to_owned()),
        (
            "gang: {workers: 0}",
            format!(
                "8:21: error: tasks[0].gang.workers: found the number 0, expected a whole number from 1 to 64; {bounds}"
            ),
        ),
        (
            "gang: {workers: 1, slots_per_worker: 0}",
            format!(
                "8:42: error: tasks[0].gang.slots_per_worker: found the number 0, expected a whole number from 1 to \
                 1024; {bounds}"
            ),
        ),
        (
            "gang: {workers: 1, mpi: lam}",
            "8:29: error: tasks[0].gang.mpi: found the text `lam`, expected openmpi, intel, mpich; \
             write one of these words"
                .to_owned(),
        ),
        (
            "gang: {workers: 1, ssh_dir: keys}",
            "8:33: error: tasks[0].gang.ssh_dir: found `keys`, expected an absolute path outside /data and /etc/mpi; \
             such as /root/.ssh or /home/mpi/.ssh"
                .to_owned(),
        ),
        (
            "gang: {workers: 1, ssh_dir: /data/keys}",
            "8:33: error: tasks[0].gang.ssh_dir: found `/data/keys`, expected an absolute path outside /data and \
             /etc/mpi; such as /root/.ssh or /home/mpi/.ssh"
                .to_owned(),
        ),
        (
            "gang: {workers: 1, worker: {image: {name: w}}}",
            "8:40: error: tasks[0].gang.worker.image.tag: missing; name the tag, quoted; no tag is assumed".to_owned(),
        ),
        (
            "gang: {workers: 1}\ncommands: [x]",
            "8:21: error: tasks[0].gang.workers: not together with a list of commands: the launcher has its own; \
             use `array` to have several gangs"
                .to_owned(),
        ),
        (
            "gang: {workers: 1, worker: {env: [{name: TASK_ID, value: x}]}}\narray: {begin: 1, end: 1}",
            "8:37: error: tasks[0].gang.worker.env: `TASK_ID` is set by the array; give the variable another name"
                .to_owned(),
        ),
    ];
    alike(table.into_iter().map(|(more, expected)| (only(more), expected.to_owned())));
    let without_image = pod("    gang: {workers: 1}\n").replace("    image: {name: python, tag: \"3.10\"}\n", "");
    assert!(findings(&without_image)[0].contains("tasks[0].image: missing"));
}

#[test]
fn the_longest_name_of_the_jobs_must_be_legal() {
    let name = "n".repeat(63 - "client1-".len() - "-worker-9".len());
    let text = |workers: u32, name: &str| {
        pod(&format!("    gang: {{workers: {workers}}}\n")).replace("pod_name: test", &format!("pod_name: {name}"))
    };
    assert_eq!(findings(&text(10, &name)), Vec::<String>::new(), "the launcher is as long");
    let lines = findings(&text(11, &name));
    assert_eq!(
        lines,
        [format!(
            "5:15: error: tasks[0].pod_name: hostname `client1-{name}-worker-10` is not legal: a DNS label of at most \
             63 characters; shorten the tenant or the pod name; \
             a job's hostname is <tenant>-<pod_name> and what tells it apart"
        )]
    );
    let array = |end: u32| {
        let name = "n".repeat(63 - "t-".len() - "-9".len());
        let text = pod(&format!("    array: {{begin: 0, end: {end}}}\n"))
            .replace("pod_name: test", &format!("pod_name: {name}"));
        compiled_for("t", &text, None).1
    };
    assert_eq!(array(9), []);
    assert_eq!(array(10).len(), 1);
}
