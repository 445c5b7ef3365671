//! The JSON Schema (draft 2020-12) of the operation file, for editors. Which keys there are comes from the tables that
//! read the file; what belongs to them is said here, and a test holds both against the reader.
//!
//! Must not: decide; `tasks` and `compile` do, and know more than a schema can say.

mod pod_run;
mod shape;

use serde_json::{Map, Value, json};

use self::shape::{
    image, list, map, name, node, one_of, operation_name, path, pod_name, said, some, text, whole, with, words,
};
use super::{errands, flow, tasks};
use crate::bundle::limits::{LIST_DEPTH_MAX, MAX_DURATION_MINUTES, RETRIES, STEPS};

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut kinds = Map::new();
    let mut cases = Vec::new();
    for short in tasks::types() {
        let named = format!("{}{short}", tasks::PREFIX);
        cases.push(json!({
            "if": {"properties": {"type": {"const": named}}, "required": ["type"]},
            "then": {"$ref": format!("#/$defs/{short}")},
        }));
        kinds.insert(short.to_owned(), task(short));
    }
    // Said once, because every type has them.
    kinds.extend(flow::KEYS.into_iter().filter_map(|key| Some((key.to_owned(), flow(key)?))));
    let names: Vec<String> = tasks::types().map(|short| format!("{}{short}", tasks::PREFIX)).collect();
    let kind = said(words(names.iter().map(String::as_str)), "What the task does.");
    kinds.insert(
        "task".to_owned(),
        json!({"type": "object", "required": ["type"], "properties": {"type": kind}, "allOf": cases}),
    );
    let operation = map(tasks::OPERATION, &["tasks"], operation);
    let operation = said(operation, "What a tenant wants done: tasks, in the order in which they run.");
    let operation = with(operation, "$schema", json!("https://json-schema.org/draft/2020-12/schema"));
    with(with(operation, "title", json!("Perigee operation")), "$defs", Value::Object(kinds))
}

fn operation(key: &str) -> Option<Value> {
    let (shape, what) = match key {
        "id" => (operation_name(), "Names the operation; the default is the name of the file."),
        "namespace" => (text(), "Ground folder; carried along, not interpreted."),
        "system" => (text(), "Target system, such as cg2.fm; carried along, not interpreted."),
        "description" => (text(), "Carried along."),
        "labels" => (json!({"type": "object", "additionalProperties": text()}), "Texts that are carried along."),
        "parallelism" => (whole(1, u32::MAX), "Jobs (gangs) of the operation that may be alive at once."),
        "tasks" => {
            let tasks = some(json!({"$ref": "#/$defs/task"}));
            (with(tasks, "maxItems", json!(STEPS)), "In the order in which they run.")
        }
        _ => return None,
    };
    Some(said(shape, what))
}

/// A task of one type.
fn task(short: &str) -> Value {
    let keys = tasks::keys(short).unwrap_or_default();
    let required = [&["id", "type"], required(short)].concat();
    let shape = map(keys, &required, |key| {
        let tied = || flow::KEYS.contains(&key).then(|| json!({"$ref": format!("#/$defs/{key}")}));
        common(key).or_else(tied).or_else(|| own(short, key))
    });
    let (what, rule) = match short {
        "pod.run" => return said(pod_run::ruled(shape), "Runs a pod."),
        "uplink" => ("Places files of the ground into a volume.", None),
        "downlink" => ("Collects files of a volume for the ground.", None),
        "files.list" => ("Lists files of a volume.", Some(("dependentRequired", json!({"folder": ["volume"]})))),
        "files.delete" => ("Deletes files of a volume.", None),
        "files.move" => ("Moves a file or folder of a volume.", None),
        "docker.build" => ("Builds an image on board, without network.", None),
        "docker.image.list" => ("Lists the images aboard.", None),
        "docker.image.load" => ("Loads an image that was brought.", Some(("oneOf", archive_or_source()))),
        "pod.logs" => ("What a pod has said so far.", Some(("oneOf", one_of(&["pod_name", "task"])))),
        "pod.stop" => ("Stops a pod.", Some(("oneOf", one_of(&["pod_name", "task"])))),
        "fisheye.capture" => ("Takes a picture.", None),
        _ => ("", None),
    };
    let shape = said(shape, what);
    rule.into_iter().fold(shape, |shape, (keyword, rule)| with(shape, keyword, rule))
}

/// Keys of its own that must be there.
fn required(short: &str) -> &'static [&'static str] {
    match short {
        "pod.run" => &["pod_name", "image", "volume"],
        "uplink" | "downlink" | "files.delete" => &["volume", "source"],
        "files.move" => &["volume", "source", "destination"],
        "docker.build" => &["volume", "dockerfile", "context", "image"],
        "docker.image.load" => &["image"],
        "fisheye.capture" => &["volume"],
        _ => &[],
    }
}

fn archive_or_source() -> Value {
    let neither = |keys: &[&str]| json!({"anyOf": one_of(keys)});
    json!([
        {"required": ["archive"], "not": neither(&["source", "volume"])},
        {"required": ["source", "volume"], "not": neither(&["archive", "node"])},
    ])
}

fn common(key: &str) -> Option<Value> {
    let (shape, what) = match key {
        "id" => (name(), "Unique in the operation; names the step."),
        // Which word it is has been said where it chose this map.
        "type" => (json!({}), "What the task does."),
        "description" => (text(), "Read and dropped."),
        "on_failure" => (
            words(tasks::ON_FAILURE.map(|(word, _)| word)),
            "What its failure means for the tasks after it: stop (default) or continue.",
        ),
        _ => return None,
    };
    Some(said(shape, what))
}

fn flow(key: &str) -> Option<Value> {
    let (shape, what) = match key {
        "after" => (
            list(json!({"anyOf": [name(), edge()]})),
            "What must have succeeded before; replaces the order of the list.",
        ),
        "when" => (condition(), "What the output of an earlier step must say; otherwise the task is skipped."),
        "not_before" => (text(), "A time with its zone, such as 2026-01-31T12:00:00Z: not started before."),
        "not_after" => {
            (text(), "A time with its zone, such as 2026-01-31T12:00:00Z: skipped when not started by then.")
        }
        "retries" => (whole(0, RETRIES), "Further attempts of a job that failed; only pod.run."),
        "backoff" => (text(), "Pause before the first of them, such as 10s or 5m; doubled before each that follows."),
        "on_power_loss" => (
            words(flow::POWER_LOSS.map(|(word, _)| word)),
            "What a boot in the middle means: fail (default) or rerun; only pod.run.",
        ),
        _ => return None,
    };
    Some(said(shape, what))
}

fn edge() -> Value {
    map(flow::EDGE, &["step"], |key| match key {
        "step" => Some(said(name(), "The step to wait for.")),
        "mode" => {
            let modes = words(flow::MODES.map(|(word, _)| word));
            Some(said(modes, "Wait for all of its jobs (default), or each for the one at the same position."))
        }
        _ => None,
    })
}

fn condition() -> Value {
    let condition = map(flow::WHEN, &["step"], |key| {
        let (shape, what) = match key {
            "step" => (name(), "The step whose output decides; it has one job."),
            "equals" => (text(), "What the output must be, less one newline at its end."),
            "not_equals" => (text(), "What the output must not be."),
            "any" => (some(rule()), "Rules about key:value,key:value, one of which must hold."),
            _ => return None,
        };
        Some(said(shape, what))
    });
    with(condition, "oneOf", one_of(&flow::WHEN[1..]))
}

fn rule() -> Value {
    map(flow::RULE, &["key", "operator"], |key| {
        let (shape, what) = match key {
            "key" => (text(), "A key of the output."),
            "operator" => (shape::words_in_any_case(flow::OPERATORS.map(|(word, _)| word)), "In any case."),
            "values" => (list(text()), "What its value is compared with."),
            _ => return None,
        };
        Some(said(shape, what))
    })
}

/// Keys of the task types; `pod.run` has its own file.
fn own(short: &str, key: &str) -> Option<Value> {
    let (shape, what) = match (short, key) {
        ("uplink", "source") => (some(path()), "Files of the ground, from the folder of the operation."),
        ("downlink", "source") => (some(path()), "Files, folders or wildcards in the volume."),
        ("files.delete", "source") => (some(path()), "Files and folders to delete."),
        ("files.move", "source") => (path(), "The file or folder to move."),
        ("docker.image.load", "source") => (path(), "The archive, in the volume."),
        ("uplink", "destination") => (path(), "Folder in the volume; made when it is missing."),
        ("downlink", "destination") => (path(), "Folder on the ground."),
        ("files.move", "destination") => (path(), "What it is to be called, with its folder."),
        ("fisheye.capture", "destination") => (path(), "Folder in the volume for the picture."),
        ("pod.run", "max_duration") => (minutes(), "Minutes it may run; the default is 60."),
        ("pod.run", key) if key != "volume" && key != "image" && key != "node" => return pod_run::shape(key),
        (_, "folder") => (path(), "A folder of the volume."),
        (_, "depth") => (whole(1, LIST_DEPTH_MAX), "Levels to go down; the default is 2."),
        (_, "dockerfile") => (path(), "The Dockerfile, in the volume."),
        (_, "context") => (path(), "The folder in the volume that the build sees."),
        (_, "archive") => {
            let names = format!("^[A-Za-z0-9][A-Za-z0-9._-]{{0,{}}}\\.tar$", errands::ARCHIVE_NAME_BYTES - 5);
            (shape::pattern(&names), "An archive that flies in the bundle.")
        }
        (_, "pod_name") => (pod_name(), "The pod, by its name."),
        (_, "task") => (name(), "The pod, by the task that runs it."),
        (_, "volume") => (name(), "The tenant's volume; a pod sees it at /data."),
        (_, "max_duration") => (minutes(), "Minutes it may take."),
        (_, "image") => return Some(image()),
        (_, "node") => return Some(node()),
        (_, _) => return None,
    };
    Some(said(shape, what))
}

fn minutes() -> Value {
    whole(1, MAX_DURATION_MINUTES)
}

/// The schema as a file.
#[must_use]
pub fn printed() -> String {
    format!("{:#}\n", schema())
}
