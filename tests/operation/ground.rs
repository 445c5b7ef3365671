//! What the ground does with an operation: compile it, pack it; and what the board does with that: verify and plan.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use perigee::bundle::document::{self, Header, OperationInfo, Sequence, Validity};
use perigee::bundle::{NodeName, limits, read, write};
use perigee::operation::compile::{Compiled, SourceFile, Surroundings, compile};
use perigee::operation::pod_run::DOCUMENTED_NODES;
use perigee::operation::tasks;
use perigee::operation::{Finding, Findings};
use perigee::plan::policy::Policy;
use perigee::plan::{Board, Plan, plan};
use perigee::verify::verify;

/// What the ground knows of its source files.
pub(crate) type Look<'a> = &'a dyn Fn(&str) -> SourceFile;

/// Compiles an operation of tenant `client1`; its parts when nothing forbids flight, and every finding.
pub(crate) fn compiled(text: &str, files: Option<Look<'_>>) -> (Option<Compiled>, Vec<Finding>) {
    compiled_for("client1", text, files)
}

/// The same for another tenant.
pub(crate) fn compiled_for(tenant: &str, text: &str, files: Option<Look<'_>>) -> (Option<Compiled>, Vec<Finding>) {
    let mut findings = Findings::default();
    let nodes: Vec<NodeName> = DOCUMENTED_NODES.iter().map(|name| name.parse().expect("legal")).collect();
    let tenant = tenant.parse().expect("legal");
    let around = Surroundings { tenant: &tenant, nodes: &nodes, files, folder: "ground", images: None };
    let default_id = Some("from-file-name".parse().expect("legal"));
    let parts = tasks::read(text, default_id, &mut findings)
        .map(|operation| compile(&operation, &around, &mut findings).expect("manifests can be written"));
    let flies = parts.filter(|_| !findings.fatal());
    (flies, findings.sorted())
}

/// Every finding as it is shown.
pub(crate) fn findings(text: &str) -> Vec<String> {
    compiled(text, None).1.iter().map(ToString::to_string).collect()
}

/// Compiles an operation without findings and flies it: the board must take what the ground took.
pub(crate) fn flown(text: &str) -> (Compiled, Plan) {
    let (parts, findings) = compiled(text, None);
    assert_eq!(findings, [], "{text}");
    let parts = parts.expect("nothing forbids flight");
    let plan = on_board(&parts);
    (parts, plan)
}

/// Packs the parts, reads them back, verifies and plans them.
fn on_board(parts: &Compiled) -> Plan {
    let sequence = Sequence { parallelism: parts.parallelism, steps: parts.steps.clone() };
    let sequence = document::write(Sequence::PATH, &sequence).expect("writes");
    let mut contents = vec![(Sequence::PATH.to_owned(), sequence)];
    contents.extend(parts.manifests.clone());
    contents.extend(parts.files.iter().map(|file| (file.entry.clone(), file.source.clone())));
    let header = header(&contents);
    let by_path: BTreeMap<String, String> = contents.into_iter().collect();
    let mut archive = Vec::new();
    write::archive(&mut archive, &header, &mut |entry| {
        Ok(Box::new(Cursor::new(by_path[&entry.path].clone())) as Box<dyn Read>)
    })
    .expect("packs");
    let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let header = read::archive(archive.as_slice(), u64::MAX, &mut |_, entry, content| {
        content.read_to_end(texts.entry(entry.path.clone()).or_default()).map(|_| ())
    })
    .expect("reads");
    let bundle = verify(header, &texts).expect("the board takes what the ground took");
    let board = Board {
        nodes: ["mpu", "gpu", "fpga"].map(|name| (name.parse().expect("legal"), "local".to_owned())).into(),
        default_node: "mpu".parse().expect("legal"),
        stop_grace_seconds: 30,
        look_ahead: true,
        fisheye: None,
        policy: Policy::default(),
    };
    plan(&bundle, &board).expect("the board takes what the ground took")
}

fn header(contents: &[(String, String)]) -> Header {
    let operation = OperationInfo {
        id: "demo".parse().expect("legal"),
        revision: None,
        namespace: None,
        system: None,
        description: None,
        labels: BTreeMap::new(),
    };
    Header {
        format: limits::FORMAT,
        execution: "0198c0de-0000-7000-8000-000000000001".parse().expect("legal"),
        tenant: "client1".parse().expect("legal"),
        created: None,
        operation,
        validity: Validity::default(),
        hold: false,
        entries: contents.iter().map(|(path, text)| write::measure(path, text.as_bytes()).expect("reads")).collect(),
    }
}

/// One pod_run task in line 3 to 7, with more lines from line 8.
pub(crate) fn pod(more: &str) -> String {
    format!(
        "id: demo\n\
         tasks:\n  \
           - id: RUN\n    \
             type: dphi.space.cg2.pod.run\n    \
             pod_name: test\n    \
             image: {{name: python, tag: \"3.10\"}}\n    \
             volume: payload\n{more}"
    )
}

/// The same with one of its lines written otherwise.
pub(crate) fn pod_with(line: &str, other: &str) -> String {
    let text = pod("");
    assert!(text.contains(line), "{line}");
    text.replace(line, other)
}

/// An operation of pods `a`, `b`, …: each takes five lines, the first from line 3, and as many more as it is given.
pub(crate) fn pods(tasks: &[(&str, &str)]) -> String {
    let mut text = "id: demo\ntasks:\n".to_owned();
    for (id, more) in tasks {
        let name = id.to_lowercase();
        text.push_str(&format!(
            "  - id: {id}\n    type: dphi.space.cg2.pod.run\n    pod_name: {name}\n    \
             image: {{name: a, tag: \"1\"}}\n    volume: v\n"
        ));
        more.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    text
}

/// Every pair that differs, at once.
pub(crate) fn alike(pairs: impl IntoIterator<Item = (String, String)>) {
    let wrong: Vec<(String, String)> = pairs.into_iter().filter(|(found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "found, and expected: {wrong:#?}");
}
