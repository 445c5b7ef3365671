//! A small bundle, as parts that a test may spoil before or after it is packed.

use std::collections::BTreeMap;
use std::io::{self, Read};

use perigee::bundle::document::{
    self, Header, OnFailure, OperationInfo, PodRunDocument, Sequence, StepDocument, StepKind, UplinkDocument, Validity,
};
use perigee::bundle::flow::Flow;
use perigee::bundle::manifest::{Claim, Container, Metadata, Mount, Pod, SecurityContext, Spec, Volume as PodVolume};
use perigee::bundle::read::{self, ReadError};
use perigee::bundle::{ExecutionId, limits, write};

/// Limit that no sample reaches.
pub(crate) const ROOMY: u64 = 64 * 1024 * 1024;

/// Documents and files of a bundle, by entry path.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) parallelism: Option<u32>,
    pub(crate) steps: Vec<StepDocument>,
    pub(crate) manifests: BTreeMap<String, Vec<Pod>>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// What a reader hands over.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

pub(crate) const MANIFEST: &str = "manifests/0002-client1-server.yaml";
pub(crate) const FILE: &str = "files/0001/server.py";

impl Sample {
    /// An uplink and two pods that start together.
    pub(crate) fn new() -> Self {
        let uplink = UplinkDocument {
            volume: "payload".parse().expect("legal"),
            destination: String::new(),
            files: vec![FILE.to_owned()],
        };
        let steps = vec![
            StepDocument { uplink: Some(uplink), ..step("UPLINK", StepKind::Uplink, 300) },
            StepDocument { pod_run: Some(pod_run("server", 60)), ..step("SERVER", StepKind::PodRun, 360) },
            StepDocument { pod_run: Some(pod_run("client", 120)), ..step("CLIENT", StepKind::PodRun, 420) },
        ];
        let manifests = [(MANIFEST.to_owned(), vec![pod("server", 60), pod("client", 120)])].into();
        Self { parallelism: None, steps, manifests, files: [(FILE.to_owned(), b"print('hello')\n".to_vec())].into() }
    }

    /// Entry texts and bytes, in archive order.
    pub(crate) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let sequence = Sequence { parallelism: self.parallelism, steps: self.steps.clone() };
        let sequence = document::write(Sequence::PATH, &sequence).expect("writes");
        let mut contents = vec![(Sequence::PATH.to_owned(), sequence.into_bytes())];
        for (path, pods) in &self.manifests {
            let texts: Vec<String> = pods.iter().map(|pod| document::write(path, pod).expect("writes")).collect();
            contents.push((path.clone(), texts.join("---\n").into_bytes()));
        }
        contents.extend(self.files.clone());
        contents
    }

    /// The header that fits the contents.
    pub(crate) fn header(&self) -> Header {
        header_of(&self.contents())
    }

    /// The archive.
    pub(crate) fn pack(&self) -> Vec<u8> {
        pack(&self.header(), &self.contents())
    }
}

/// A header that lists these entries.
pub(crate) fn header_of(contents: &[(String, Vec<u8>)]) -> Header {
    let entries = contents.iter().map(|(path, bytes)| write::measure(path, bytes.as_slice()).expect("reads")).collect();
    Header {
        format: limits::FORMAT,
        execution: "0198c0de-0000-7000-8000-000000000001".parse::<ExecutionId>().expect("legal"),
        tenant: "client1".parse().expect("legal"),
        created: None,
        operation: OperationInfo {
            id: "tcp-demo".parse().expect("legal"),
            revision: Some(3),
            namespace: None,
            system: Some("cg2.fm".to_owned()),
            description: None,
            labels: [("name".to_owned(), "yes".to_owned())].into(),
        },
        validity: Validity::default(),
        hold: false,
        entries,
    }
}

/// Writes an archive whose entries are these contents.
pub(crate) fn pack(header: &Header, contents: &[(String, Vec<u8>)]) -> Vec<u8> {
    let by_path: Contents = contents.iter().cloned().collect();
    let mut out = Vec::new();
    write::archive(&mut out, header, &mut |entry| Ok(Box::new(io::Cursor::new(by_path[&entry.path].clone()))))
        .expect("writes");
    out
}

/// Reads an archive and keeps every content.
pub(crate) fn unpack(bytes: &[u8], limit: u64) -> Result<(Header, Contents), ReadError> {
    let mut contents = Contents::new();
    let header = read::archive(bytes, limit, &mut |_, entry, content: &mut dyn Read| {
        content.read_to_end(contents.entry(entry.path.clone()).or_default()).map(|_| ())
    })?;
    Ok((header, contents))
}

fn step(id: &str, kind: StepKind, timeout_seconds: u32) -> StepDocument {
    let id = id.parse().expect("legal");
    let on_failure = OnFailure::Stop;
    let flow = Flow::default();
    StepDocument { id, kind, on_failure, timeout_seconds, flow, pod_run: None, uplink: None, downlink: None }
}

fn pod_run(name: &str, max_duration_seconds: u32) -> PodRunDocument {
    PodRunDocument {
        manifest: MANIFEST.to_owned(),
        pod: format!("client1-{name}").parse().expect("legal"),
        pod_name: name.parse().expect("legal"),
        node: "mpu".parse().expect("legal"),
        volume: "payload".parse().expect("legal"),
        max_duration_seconds,
        jobs: None,
        options: Box::default(),
    }
}

pub(crate) fn pod(name: &str, active_deadline_seconds: u32) -> Pod {
    let hostname = format!("client1-{name}").parse::<perigee::bundle::Hostname>().expect("legal");
    let container = Container {
        name: "main".to_owned(),
        image: "python:3.10".to_owned(),
        image_pull_policy: "Never".to_owned(),
        command: Some(vec!["/bin/sh".to_owned()]),
        args: None,
        working_dir: None,
        resources: None,
        env: Vec::new(),
        ports: Vec::new(),
        volume_mounts: vec![Mount {
            name: "payload".parse().expect("legal"),
            mount_path: "/data".to_owned(),
            read_only: false,
        }],
        security_context: SecurityContext::hardened(),
    };
    let volume = PodVolume {
        name: "payload".parse().expect("legal"),
        persistent_volume_claim: Claim { claim_name: "client1.payload".to_owned() },
    };
    Pod {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        metadata: Metadata { name: hostname.clone(), labels: BTreeMap::new() },
        spec: Spec {
            hostname,
            restart_policy: "Never".to_owned(),
            active_deadline_seconds,
            host_ipc: false,
            host_pid: false,
            containers: vec![container],
            volumes: vec![volume],
        },
    }
}
