//! docker.build: a folder of a volume becomes an image of the tenant's, offline, from images that are aboard.
//!
//! Must not: outlive its step; a build that is broken off is killed.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::path::PathBuf;

use cap_std::fs::Dir;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::context::{self, Context};
use super::dockerfile::{self, Dockerfile};
use super::pipe::pipe;
use super::{Done, Stop, Trip, blocking, builders};
use crate::bundle::path::join;
use crate::plan::errand::{Build, own_reference};
use crate::podman::driver::Occasion;
use crate::podman::{Endpoint, failure, files};
use crate::reason::{Name, Reason};

/// Bytes of a Dockerfile.
const DOCKERFILE_BYTES: u64 = 1 << 20;
/// Lines of a build's log that are kept (documented), and bytes of them.
const LOG_LINES: usize = 100;
const LOG_BYTES: usize = 64 * 1024;
/// Bytes of one line of Podman's answer.
const LINE_BYTES: usize = 1 << 20;
/// Capabilities of Podman's default for builds that a pod does not have either.
const DROPPED: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"];
/// Name of a Dockerfile that lies outside its context.
const APART: &str = ".perigee.dockerfile";

/// What the builder said last.
#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    bytes: usize,
    error: Option<String>,
    dropped: bool,
}

/// What is to be built, examined.
struct Examined {
    dockerfile: Dockerfile,
    context: Context,
    mountpoint: PathBuf,
}

impl Trip<'_> {
    pub(super) async fn build(&self, build: &Build) -> Result<Done, Stop> {
        let plan = &self.execution.plan;
        let group = builders::group(&plan.execution.short(), plan.steps[self.step].id.as_str());
        if self.occasion == Occasion::Resumed {
            // The daemon before this one may have died in the middle of the same build.
            builders::kill_all(&group).await;
        }
        let reference = own_reference(&plan.tenant, &build.image);
        self.may_name(&reference)?;
        let endpoint = self.driver.endpoint(&build.node)?;
        let examined = self.examined(build).await?;
        let bases = self.bases(endpoint, &examined.dockerfile).await?;
        self.room(endpoint, examined.context.bytes).await?;
        let mut log = Log::default();
        let work = self.run_build(endpoint, build, &examined, (&bases, &reference, &group), &mut log);
        let longest = self.driver.real(build.max_duration_seconds);
        let broken_off = tokio::select! {
            result = tokio::time::timeout(longest, work) => match result {
                Ok(Ok(())) => None,
                Ok(Err(Stop::Unwanted)) => return Err(Stop::Unwanted),
                Ok(Err(Stop::Failed(reason))) => Some(reason),
                Err(_) => {
                    let message = format!("max_duration of {} s ran out; the build was broken off", build.max_duration_seconds);
                    Some(Reason::new(Name::Timeout, message))
                }
            },
            () = self.unwanted() => Some(Reason::new(Name::Stopped, "its step ended; the build was broken off")),
        };
        if let Some(reason) = broken_off {
            builders::kill_all(&group).await;
            return Ok(log.told(&reference, None, Some(reason)));
        }
        let id = self.ask(endpoint, || endpoint.image_id(&reference)).await?;
        let failure = match (&log.error, &id) {
            (Some(error), _) => Some(log.failure(error)),
            (None, None) => Some(log.failure("it ended without an image")),
            (None, Some(_)) => None,
        };
        Ok(log.told(&reference, id, failure))
    }

    async fn examined(&self, build: &Build) -> Result<Examined, Stop> {
        let mountpoint = self.mountpoint(&build.node, &build.claim).await?;
        let (wanted, place) = (build.clone(), mountpoint.clone());
        let look = move |volume: &Dir| {
            let text = read_dockerfile(volume, &wanted.dockerfile)?;
            let refused = |what| Reason::new(Name::BuildFailed, format!("{}: {what}", wanted.dockerfile));
            Ok((dockerfile::read(&text).map_err(refused)?, context::walk(volume, &wanted.context)?))
        };
        let (dockerfile, context) = self.in_volume(mountpoint, look).await?;
        Ok(Examined { dockerfile, context, mountpoint: place })
    }

    /// The names under which its base images are aboard; nothing is pulled.
    async fn bases(&self, endpoint: &Endpoint, dockerfile: &Dockerfile) -> Result<BTreeMap<String, String>, Stop> {
        let mut found = BTreeMap::new();
        for image in dockerfile.images() {
            let tagged = if image.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
                image.to_owned()
            } else {
                format!("{image}:latest")
            };
            let tenant = &self.execution.plan.tenant;
            let aboard = self.ask(endpoint, || self.driver.find_image(endpoint, tenant, &tagged)).await?;
            found.insert(image.to_owned(), aboard?.name);
        }
        Ok(found)
    }

    async fn run_build(
        &self,
        endpoint: &Endpoint,
        build: &Build,
        examined: &Examined,
        (bases, reference, group): (&BTreeMap<String, String>, &str, &str),
        log: &mut Log,
    ) -> Result<(), Stop> {
        let text = examined.dockerfile.with(bases);
        let inside = build.dockerfile.strip_prefix(&join(&build.context, "")).map(|path| path.trim_start_matches('/'));
        let name = inside.filter(|_| is_below(&build.dockerfile, &build.context)).unwrap_or(APART).to_owned();
        let tenant = &self.execution.plan.tenant;
        let query = [
            ("dockerfile", name.clone()),
            ("t", reference.to_owned()),
            ("networkmode", "1".to_owned()), // disabled
            ("pullpolicy", "never".to_owned()),
            ("isolation", "oci".to_owned()),
            ("cgroupparent", format!("/{group}")),
            ("dropcaps", json!(DROPPED).to_string()),
            ("httpproxy", "false".to_owned()),
            ("layers", "false".to_owned()),
            ("rm", "true".to_owned()),
            ("forcerm", "true".to_owned()),
            ("labels", json!({"perigee": "image", "perigee.tenant": tenant}).to_string()),
        ];
        let (writer, body) = pipe();
        let (mountpoint, folder) = (examined.mountpoint.clone(), build.context.clone());
        let send = blocking(move || {
            let sent = files::open_volume(&mountpoint).and_then(|volume| {
                let context = context::walk(&volume, &folder)?;
                context::stream(&volume, &folder, &context, (&name, &text), &writer)
            });
            if sent.is_err() {
                writer.break_off();
            }
            sent
        });
        let receive = async {
            let answer = endpoint.build(&query, body).await;
            Ok(match answer {
                Ok(body) => log.follow(body).await,
                Err(error) => Err(failure::reason(&error)),
            })
        };
        let (sent, received): (Result<(), Stop>, Result<Result<(), Reason>, Stop>) = tokio::join!(send, receive);
        // A builder that fails early reads no further: then what it said counts, not that it stopped reading.
        match (sent, received?) {
            (Err(Stop::Failed(reason)), Err(_)) => Err(Stop::Failed(reason)),
            (_, Err(reason)) => Err(Stop::Failed(reason)),
            (_, Ok(())) => Ok(()),
        }
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn read_dockerfile(volume: &Dir, path: &str) -> Result<String, Reason> {
    let missing = |why: String| Reason::new(Name::DockerfileMissing, format!("Dockerfile `{path}`: {why}"));
    let file = files::open_file(volume, path).map_err(|error| missing(error.to_string()))?;
    let mut text = String::new();
    file.take(DOCKERFILE_BYTES + 1).read_to_string(&mut text).map_err(|error| missing(error.to_string()))?;
    if text.len() as u64 > DOCKERFILE_BYTES {
        return Err(Reason::new(Name::Limit, format!("Dockerfile `{path}` has more than {DOCKERFILE_BYTES} bytes")));
    }
    Ok(text)
}

impl Log {
    /// Reads what the builder says until it is done.
    async fn follow(&mut self, mut body: Incoming) -> Result<(), Reason> {
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Reason::new(
                    Name::EngineUnreachable,
                    format!("the connection to podman broke during the build: {error}"),
                )
            })?;
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                self.note(&line);
            }
            if rest.len() > LINE_BYTES {
                rest.clear();
                self.dropped = true;
            }
        }
        self.note(&rest);
        Ok(())
    }

    fn note(&mut self, line: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(line) else { return };
        if let Some(text) = value.get("stream").and_then(Value::as_str) {
            text.lines().filter(|line| !line.trim().is_empty()).for_each(|line| self.push(line));
        }
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            self.error = Some(error.trim().to_owned());
        }
    }

    fn push(&mut self, line: &str) {
        let line: String = line.chars().take(LOG_BYTES / LOG_LINES).collect();
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LOG_LINES || self.bytes > LOG_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            self.dropped = true;
        }
    }

    /// What a build that failed says: its error, and its last line when that is not the builder's own.
    fn failure(&self, error: &str) -> Reason {
        let last = self.lines.back().filter(|line| !line.starts_with("STEP "));
        let last = last.map(|line| format!("; its last line: {line}")).unwrap_or_default();
        let message = format!("the build failed: {error}{last}; a build on board has no network and pulls nothing");
        Reason::new(Name::BuildFailed, message)
    }

    fn told(self, reference: &str, id: Option<String>, failed: Option<Reason>) -> Done {
        let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, ""));
        let document = json!({
            // Text, not true or false: the documented form of this task.
            "status": if failed.is_none() { "SUCCESS" } else { "FAILED" },
            "image": {"reference": reference, "repository": name, "tag": tag, "id": id},
            "log_tail": self.lines,
        });
        let made = id.filter(|_| failed.is_none());
        let done = failed.map_or_else(Done::good, Done::failed).with(document).cut(self.dropped);
        match made {
            Some(id) => done.making(reference, &id),
            None => done,
        }
    }
}
