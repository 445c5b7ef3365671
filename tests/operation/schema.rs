//! The schema of the operation file against the reader: the same keys, the same of them required, the same files taken.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use perigee::operation::{Finding, Findings, schema, tasks};
use serde_json::Value;

const UNKNOWN: &str = "zzzz";

fn validator() -> Validator {
    jsonschema::validator_for(&schema::schema()).expect("a legal schema")
}

fn valid(text: &str) -> Result<(), String> {
    let instance: Value = serde_yaml::from_str(text).expect("YAML");
    let validator = validator();
    let errors: Vec<String> =
        validator.iter_errors(&instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
}

fn told(text: &str) -> Vec<Finding> {
    let mut findings = Findings::default();
    let _ = tasks::read(text, Some("op".parse().expect("legal")), &mut findings);
    findings.sorted()
}

/// What a shape refers to, but for tasks: each of their types is looked at for itself.
fn resolved(shape: &Value) -> Value {
    match shape["$ref"].as_str().and_then(|at| at.strip_prefix('#')) {
        Some("/$defs/task") | None => shape.clone(),
        Some(at) => schema::schema().pointer(at).expect("what is referred to").clone(),
    }
}

/// The map at each place of a file: its schema, and a file with `@` for what stands in that map.
fn maps(shape: &Value, around: &str, found: &mut Vec<(Value, String)>) {
    let shape = &resolved(shape);
    for one in shape["anyOf"].as_array().into_iter().flatten() {
        maps(one, around, found);
    }
    if shape["items"].is_object() {
        let item = around.replace("@@", "[@@]");
        maps(&shape["items"], &item, found);
    }
    let Some(properties) = shape["properties"].as_object() else { return };
    let inside = |contents: &str| around.replace("@@", &format!("{{{contents}}}"));
    found.push((shape.clone(), inside("@")));
    for (key, below) in properties {
        maps(below, &inside(&format!("{key}: @@")), found);
    }
}

fn every_map() -> Vec<(Value, String)> {
    let schema = schema::schema();
    let mut found = Vec::new();
    maps(&schema, "@@", &mut found);
    for kind in schema["$defs"]["task"]["properties"]["type"]["enum"].as_array().expect("task types") {
        let kind = kind.as_str().expect("a text");
        let task = &schema["$defs"][kind.trim_start_matches("dphi.space.cg2.")];
        let mut own = Vec::new();
        maps(task, "{tasks: [@@]}", &mut own);
        let known = |file: String| file.replacen("{tasks: [{", &format!("{{tasks: [{{type: {kind}, "), 1);
        found.extend(own.into_iter().map(|(shape, file)| (shape, known(file))));
    }
    found
}

#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let maps = every_map();
    assert!(maps.len() > 30, "only {} maps were found", maps.len());
    for (shape, around) in maps {
        let file = around.replace('@', &format!("{UNKNOWN}: 1"));
        let findings = told(&file);
        let unknown = findings.iter().find(|finding| finding.message == format!("unknown key `{UNKNOWN}`"));
        let unknown = unknown.unwrap_or_else(|| panic!("{file} is taken: {findings:?}"));
        let known = unknown.hint.strip_prefix("expected one of: ").expect("the keys").split(", ");
        let properties = shape["properties"].as_object().expect("keys").keys().map(String::as_str);
        assert_eq!(properties.collect::<BTreeSet<_>>(), known.collect::<BTreeSet<_>>(), "{file}");
        assert_eq!(shape["additionalProperties"], false, "{file}");
        // What the reader misses there is what the schema requires.
        let path = unknown.field.strip_suffix(UNKNOWN).expect("the field");
        let missing = findings.iter().filter(|finding| finding.message == "missing");
        let missing = missing.filter_map(|finding| finding.field.strip_prefix(path)).filter(|key| !key.contains('.'));
        let required = shape["required"].as_array().expect("a list").iter().filter_map(Value::as_str);
        let required = required.filter(|key| *key != "type" || !file.contains("type: "));
        assert_eq!(required.collect::<BTreeSet<_>>(), missing.collect::<BTreeSet<_>>(), "{file}");
    }
}

#[test]
fn every_key_is_described() {
    for (shape, around) in every_map() {
        for (key, below) in shape["properties"].as_object().expect("keys") {
            let below = resolved(below);
            assert!(below["description"].as_str().is_some_and(|it| it.len() > 5), "{key} in {around}");
        }
    }
}

#[test]
fn the_committed_copy_is_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operation.schema.json");
    let printed = schema::printed();
    let copy = fs::read_to_string(&path).unwrap_or_default();
    assert!(copy == printed, "make it anew: perigee schema > docs/operation.schema.json");
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match path.is_dir() {
            true => files_below(&path, found),
            false => found.extend(path.extension().is_some_and(|it| it == "yaml").then_some(path)),
        }
    }
}

#[test]
fn examples_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    files_below(&root.join("docs/examples"), &mut files);
    files_below(&root.join("tests/operation"), &mut files);
    assert!(files.len() > 12, "{files:?}");
    for file in files {
        valid(&fs::read_to_string(&file).expect("readable")).unwrap_or_else(|it| panic!("{}: {it}", file.display()));
    }
}

const POD: &str = "type: dphi.space.cg2.pod.run, id: A, pod_name: a, volume: v, image: {name: busybox, tag: \"1\"}";

#[test]
fn what_the_reader_refuses_by_form_is_not_valid() {
    let bad = [
        format!("tasks: [{{{POD}, restart: always}}]"),
        format!("tasks: [{{{POD}, max_duration: 90m}}]"),
        format!("tasks: [{{{POD}, on_failure: halt}}]"),
        format!("tasks: [{{{POD}, gang: {{slots_per_worker: 2}}}}]"),
        format!("tasks: [{{{POD}, commands_iter: {{command: x}}}}]"),
        format!("tasks: [{{{POD}, when: {{step: B, equals: a, not_equals: b}}}}]"),
        format!("tasks: [{{{POD}, resources: {{memory: 64mb}}}}]"),
        format!("tasks: [{{{POD}, after: [{{step: B, mode: some}}]}}]"),
        format!("tasks: [{{{}}}]", POD.replace("\"1\"", "3.10")),
        format!("tasks: [{{{}}}]", POD.replace("pod_name: a", "pod_name: TCP")),
        format!("tasks: [{{{}}}]", POD.replace("pod.run", "pod.fly")),
        "tasks: []".to_owned(),
        "id: op".to_owned(),
        "tasks: [{id: A, type: dphi.space.cg2.files.list, folder: /}]".to_owned(),
        "tasks: [{id: A, type: dphi.space.cg2.pod.logs, pod_name: a, task: B}]".to_owned(),
        "tasks: [{id: A, type: dphi.space.cg2.docker.image.load, image: {name: a, tag: b}}]".to_owned(),
    ];
    for text in bad {
        assert!(!told(&text).is_empty(), "the reader takes {text}");
        assert!(valid(&text).is_err(), "the schema takes {text}");
    }
}

#[test]
fn what_the_reader_takes_in_any_case_or_form_is_valid() {
    let good = [
        format!("tasks: [{{{POD}, node: MPU, ports: [{{container: 1, host: 2, protocol: TCP}}]}}]"),
        format!("tasks: [{{{POD}, user: 1000, resources: {{cpu: \"0.5\", memory: 64M}}}}]"),
        format!("tasks: [{{{POD}, when: {{step: B, any: [{{key: k, operator: doesnotexist}}]}}}}]"),
        format!("tasks: [{{{POD}, when: {{step: B, any: [{{key: k, operator: \"==\", values: [\"1\"]}}]}}}}]"),
        format!("tasks: [{{{POD}, commands_iter: {{command: x, vars: [[1, a], \"range(0,3)\"]}}}}]"),
        "tasks: [{id: A_, type: dphi.space.cg2.docker.image.load, archive: a.tar, image: {name: a, tag: b}}]"
            .to_owned(),
    ];
    for text in good {
        assert_eq!(told(&text), [], "{text}");
        valid(&text).unwrap_or_else(|it| panic!("{text}: {it}"));
    }
}

#[test]
fn names_are_legal_to_both_or_to_neither() {
    let samples =
        ["a", "A", "a-b", "a_b", "a.b", "-a", "a-", "a_", "_a", "a.", "", "ä", &"x".repeat(63), &"x".repeat(64)];
    let verdict = |pattern: &Value, text: &str| {
        let shape = serde_json::json!({"type": "string", "pattern": pattern});
        jsonschema::is_valid(&shape, &Value::from(text))
    };
    let schema = schema::schema();
    let pattern = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    let pod = "/$defs/pod.run/properties";
    for text in samples {
        let legal = [
            ("/properties/id/pattern".to_owned(), text.parse::<perigee::bundle::OperationId>().is_ok()),
            (format!("{pod}/id/pattern"), text.parse::<perigee::bundle::StepId>().is_ok()),
            (format!("{pod}/volume/pattern"), text.parse::<perigee::bundle::VolumeName>().is_ok()),
            (format!("{pod}/pod_name/pattern"), text.parse::<perigee::bundle::PodName>().is_ok()),
            (format!("{pod}/node/pattern"), perigee::bundle::NodeName::any_case(text).is_ok()),
        ];
        for (at, legal) in legal {
            assert_eq!(verdict(pattern(&at), text), legal, "{at}: `{text}`");
        }
    }
}
