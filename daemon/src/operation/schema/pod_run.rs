//! The keys of a `pod.run` task, its jobs and gangs included, as JSON Schema.
//!
//! Must not: name keys that the reader does not know; its tables are walked.

use serde_json::{Value, json};

use super::shape::{
    flag, image, list, map, name, one_of, path, pattern, pod_name, said, some, text, whole, with, words,
    words_in_any_case,
};
use crate::bundle::limits::{SLOTS, TASK_ID, WORKERS};
use crate::operation::{gang, iterate, jobs, options, pod_run};

/// What a task of this type may not have together.
pub(super) fn ruled(shape: Value) -> Value {
    let command = json!({"anyOf": one_of(&["command", "args"])});
    let listed = json!({"anyOf": one_of(&["commands", "commands_iter", "from_output"])});
    with(shape, "not", json!({"allOf": [command, listed]}))
}

pub(super) fn shape(key: &str) -> Option<Value> {
    container(key).or_else(|| option(key)).or_else(|| fan(key))
}

fn container(key: &str) -> Option<Value> {
    let (shape, what) = match key {
        "pod_name" => (pod_name(), "The hostname is <tenant>-<pod_name>, together at most 63 characters."),
        "command" => (list(text()), "Replaces the image's ENTRYPOINT; not run through a shell."),
        "args" => (list(text()), "Replaces the image's CMD."),
        "env" => (list(variable()), "Environment."),
        "ports" => (list(port()), "Ports of the board; pods reach each other without."),
        "merge" => (flag(), "Whether it starts together with its neighbours that say so, too."),
        _ => return None,
    };
    Some(said(shape, what))
}

fn variable() -> Value {
    map(pod_run::VARIABLE, &["name", "value"], |key| match key {
        "name" => Some(said(pattern("^[^=]+$"), "Its name.")),
        "value" => Some(said(text(), "Its value, quoted.")),
        _ => None,
    })
}

fn port() -> Value {
    map(pod_run::PORT, &["container", "host"], |key| {
        let (shape, what) = match key {
            "container" => (whole(1, u32::from(u16::MAX)), "Port in the pod."),
            "host" => (whole(1, u32::from(u16::MAX)), "Port of the board."),
            "host_ip" => (pattern("^[0-9]{1,3}(\\.[0-9]{1,3}){3}$"), "IPv4 address of the board; the default is all."),
            "protocol" => (words_in_any_case(["tcp", "udp"]), "The default is tcp."),
            _ => return None,
        };
        Some(said(shape, what))
    })
}

fn option(key: &str) -> Option<Value> {
    let namespace = || words(["private", "host"]);
    let (shape, what) = match key {
        "user" => {
            (json!({"type": ["integer", "string"], "minimum": 0}), "uid, uid:gid, or names that the image knows.")
        }
        "workdir" => (pattern("^/"), "Absolute path of a folder in the pod."),
        "resources" => (resources(), "Limits; the defaults are the board's."),
        "privileged" => (flag(), "All capabilities and devices; the board's policy must allow it."),
        "ipc" => (namespace(), "host: the board's shared memory; the board's policy must allow it."),
        "uts" => (namespace(), "host: the board's hostname; the board's policy must allow it."),
        "pid" => (namespace(), "host: the board's processes; the board's policy must allow it."),
        "volume_read_only" => (flag(), "Whether /data can only be read."),
        "stdout" => (path(), "File of the volume that receives the standard output."),
        "stderr" => (path(), "File of the volume that receives the standard error."),
        _ => return None,
    };
    Some(said(shape, what))
}

fn resources() -> Value {
    map(options::RESOURCES, &[], |key| match key {
        "cpu" => Some(said(json!({"type": ["number", "string"]}), "Processors, to the thousandth, such as 0.5.")),
        "memory" => {
            let bytes = json!({"type": ["integer", "string"], "pattern": "^[0-9]+[kmgKMG]?$"});
            Some(said(bytes, "Bytes, or with k, m, g (1024 each), such as 64m."))
        }
        _ => None,
    })
}

/// Keys that say how many jobs there are.
fn fan(key: &str) -> Option<Value> {
    let (shape, what) = match key {
        "array" => (array(), "One job for each number; the job finds it in TASK_ID."),
        "commands" => (some(text()), "One job for each, run by /bin/sh -c."),
        "commands_iter" => (iterated(), "One job for each combination of values, or for each row of them."),
        "from_output" => (from_output(), "One job for each piece of the output of a step."),
        "max_parallel" => (whole(1, u32::MAX), "Jobs of the task that may be alive at once."),
        "gang" => (gang(), "Workers, and a launcher that uses them."),
        _ => return None,
    };
    Some(said(shape, what))
}

fn array() -> Value {
    map(jobs::ARRAY, &["begin", "end"], |key| {
        let (shape, what) = match key {
            "begin" => (whole(0, TASK_ID), "The first TASK_ID."),
            "end" => (whole(0, TASK_ID), "The last TASK_ID, if the steps meet it."),
            "step" => (whole(1, TASK_ID), "The default is 1."),
            "max_parallel" => (whole(1, u32::MAX), "Members that may be alive at once."),
            _ => return None,
        };
        Some(said(shape, what))
    })
}

fn iterated() -> Value {
    let value = || json!({"type": ["string", "integer"]});
    let range = pattern("^\\s*range\\(.*\\)\\s*$");
    let iterated = map(iterate::KEYS, &["command"], |key| {
        let (shape, what) = match key {
            "command" => (text(), "What each job runs; ${1} is the first value, ${item} the position."),
            "vars" => {
                let values = json!({"anyOf": [some(value()), range]});
                (some(values), "The values of each variable, or range(start,end[,step]); the last varies fastest.")
            }
            "rows" => (some(list(value())), "The combinations themselves."),
            _ => return None,
        };
        Some(said(shape, what))
    });
    with(iterated, "oneOf", one_of(&["vars", "rows"]))
}

fn from_output() -> Value {
    map(jobs::FROM_OUTPUT, &["step", "command"], |key| {
        let (shape, what) = match key {
            "step" => (name(), "The step whose output is taken to pieces; it has one job."),
            "separator" => (text(), "What is between the pieces; the default is a blank."),
            "command" => (text(), "What each job runs; ${1} is its piece."),
            _ => return None,
        };
        Some(said(shape, what))
    })
}

fn gang() -> Value {
    map(gang::KEYS, &["workers"], |key| {
        let (shape, what) = match key {
            "workers" => (whole(1, WORKERS), "How many there are."),
            "slots_per_worker" => (whole(1, SLOTS), "Processes that a worker takes; the default is 1."),
            "mpi" => (words(gang::MPIS.map(|(word, _)| word)), "Which variables, and which form of hostfile."),
            "ssh_dir" => (pattern("^/"), "Where the gang's keys lie; the default is /root/.ssh."),
            "launcher_as_worker" => (flag(), "Whether the launcher's host is in the hostfile."),
            "start" => (words(gang::STARTS.map(|(word, _)| word)), "When the launcher starts."),
            "clean" => (words(gang::CLEANS.map(|(word, _)| word)), "What becomes of workers at the launcher's end."),
            "worker" => (worker(), "What the workers run, where it is not what the launcher has."),
            _ => return None,
        };
        Some(said(shape, what))
    })
}

fn worker() -> Value {
    map(gang::WORKER, &[], |key| match key {
        "image" => Some(image()),
        "resources" => option(key),
        _ => container(key),
    })
}
