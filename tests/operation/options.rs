//! The optional keys of a pod.run task: what they mean, and what is said of what they cannot mean.

use perigee::bundle::options::{Options, Privilege, VolumeAccess};

use super::ground::{findings, flown, pod};

const ALL: &str = "    user: 1000:1001
    workdir: /tmp
    resources: {cpu: 0.5, memory: 64m}
    privileged: true
    ipc: host
    uts: host
    pid: host
    volume_read_only: true
    stdout: /data/logs/out.txt
    stderr: ./logs/err.txt
    ports: [{container: 80, host: 8080, host_ip: 127.0.0.1}]
";

/// What the board makes of the usual pod with these lines; its privileges are judged elsewhere.
fn options(more: &str) -> Options {
    flown(&pod(more)).1.steps[0].jobs()[0].pod.options.clone()
}

fn only(more: &str) -> String {
    let lines = findings(&pod(more));
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

#[test]
fn every_option_reaches_the_plan_unless_the_board_refuses_it() {
    let without = ["    privileged: true\n", "    ipc: host\n", "    uts: host\n", "    pid: host\n"];
    let text = without.iter().fold(ALL.to_owned(), |text, line| text.replace(line, ""));
    let seen = options(&text);
    let expected = Options {
        user: Some("1000:1001".parse().expect("legal")),
        workdir: Some("/tmp".to_owned()),
        cpu_millis: Some(500),
        memory_bytes: Some(64 << 20),
        privileges: [].into(),
        volume: VolumeAccess::ReadOnly,
        stdout: Some("logs/out.txt".to_owned()),
        stderr: Some("logs/err.txt".to_owned()),
    };
    assert_eq!(seen, expected);
    let (_, plan) = flown(&pod(&text));
    assert_eq!(plan.steps[0].jobs()[0].pod.ports[0].host_ip, Some([127, 0, 0, 1].into()));
}

#[test]
fn manifest_says_what_kubernetes_can_say_and_the_step_says_all() {
    let (parts, findings) = super::ground::compiled(&pod(ALL), None);
    assert_eq!(findings, []);
    let parts = parts.expect("nothing forbids flight");
    let manifest = &parts.manifests[0].1;
    for line in [
        "  hostIPC: true\n",
        "  hostPID: true\n",
        "workingDir: \"/tmp\"\n",
        "          cpu: \"500m\"\n",
        "          memory: \"67108864\"\n",
        "        runAsGroup: 1001\n",
        "        runAsUser: 1000\n",
        "        privileged: true\n",
        "        allowPrivilegeEscalation: true\n",
        "          readOnly: true\n",
        "          hostIP: \"127.0.0.1\"\n",
    ] {
        assert!(manifest.contains(line), "no {line} in\n{manifest}");
    }
    let options = &parts.steps[0].pod_run.as_ref().expect("a pod").options;
    assert_eq!(options.privileges, Privilege::ALL.into());
}

#[test]
fn name_of_a_user_flies_in_the_step_alone() {
    let (parts, _) = flown(&pod("    user: nobody\n"));
    assert!(!parts.manifests[0].1.contains("runAs"), "{}", parts.manifests[0].1);
    assert_eq!(options("    user: nobody\n").user.map(|user| user.to_string()).as_deref(), Some("nobody"));
    assert_eq!(options("    user: 0\n").user.map(|user| user.to_string()).as_deref(), Some("0"));
    assert_eq!(options("    user: null\n"), Options::default());
}

#[test]
fn pod_without_options_compiles_to_the_bytes_it_always_had() {
    let (parts, _) =
        flown(&pod("    ipc: private\n    privileged: false\n    volume_read_only: false\n    resources: {}\n"));
    assert_eq!(parts.manifests, flown(&pod("")).0.manifests);
    assert_eq!(parts.steps, flown(&pod("")).0.steps);
    for word in ["options", "hostIPC", "resources", "workingDir", "readOnly", "privileged", "hostIP"] {
        assert!(!parts.manifests[0].1.contains(word), "{word} in\n{}", parts.manifests[0].1);
    }
}

#[test]
fn illegal_values_are_refused_with_what_was_expected() {
    for (line, said) in [
        ("user: a b", "8:11: error: tasks[0].user: user `a b` is not legal: a uid, uid:gid or name"),
        ("user: -1", "user `-1` is not legal"),
        ("user: true", "tasks[0].user: found the boolean true, expected a text"),
        ("workdir: tmp", "tasks[0].workdir: found the text `tmp`, expected an absolute path in the pod; such as /data"),
        ("workdir: /a/../b", "expected an absolute path in the pod"),
        ("resources: 4", "tasks[0].resources: found the number 4, expected a map"),
        ("resources: {gpu: 1}", "tasks[0].resources.gpu: unknown key `gpu`; "),
        (
            "resources: {cpu: 0}",
            "tasks[0].resources.cpu: found the number 0, expected a number of processors from 0.001 to 1024",
        ),
        ("resources: {cpu: 0.0001}", "found the number 0.0001, expected a number of processors"),
        ("resources: {cpu: half}", "found the text `half`, expected a number of processors"),
        (
            "resources: {memory: 64mb}",
            "tasks[0].resources.memory: found the text `64mb`, expected bytes from 6m to 1024g",
        ),
        ("resources: {memory: 64}", "found the number 64, expected bytes from 6m to 1024g"),
        ("privileged: 'true'", "tasks[0].privileged: found the text `true`, expected true or false"),
        (
            "ipc: shareable",
            "tasks[0].ipc: found the text `shareable`, expected host or private; the default is private",
        ),
        ("pid: container:x", "tasks[0].pid: found the text `container:x`, expected host or private"),
        ("stdout: ../x", "tasks[0].stdout: path `../x` leaves its root with `..`"),
        ("stdout: /data/", "tasks[0].stdout: `/data/` is a folder, expected a file; name a file in the volume"),
        ("stdout: logs/", "`logs/` is a folder, expected a file"),
        (
            "restart: always",
            "tasks[0].restart: `restart` is not offered; a pod that Podman restarts never ends; use `retries`",
        ),
        ("rm: true", "tasks[0].rm: `rm` is not offered; remove it"),
        (
            "ports: [{container: 80, host: 80, host_ip: localhost}]",
            "tasks[0].ports[0].host_ip: found the text `localhost`, expected an IPv4 address; such as 127.0.0.1",
        ),
        ("ports: [{container: 80, host: 80, host_ip: '::1'}]", "found the text `::1`, expected an IPv4 address"),
    ] {
        let line = only(&format!("    {line}\n"));
        assert!(line.contains(said), "expected {said}\nfound {line}");
    }
    assert!(
        only("    stdout: x\n    stderr: /data/x\n")
            .contains("9:13: error: tasks[0].stderr: stdout and stderr name one file")
    );
}

#[test]
fn one_host_port_is_one_whatever_the_address() {
    let text = pod(
        "    ports: [{container: 1, host: 80, host_ip: 127.0.0.1}, {container: 2, host: 80, host_ip: 127.0.0.2}]\n",
    );
    let lines = findings(&text);
    assert!(lines[0].contains("tasks[0].ports[1].host: host port 80/tcp is taken twice"), "{lines:#?}");
}
