//! The task types that run no pods: what they compile to, and what is said of those that cannot.

use perigee::operation::compile::SourceFile;
use perigee::plan::errand::{Archive, FilesList, PodChoice};
use perigee::plan::{Errand, Work};

use super::ground::{compiled, findings, flown};

fn operation(kind: &str, keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
    format!("id: demo\ntasks:\n  - id: T\n    type: dphi.space.cg2.{kind}\n{keys}")
}

fn errand(kind: &str, keys: &[&str]) -> Errand {
    match flown(&operation(kind, keys)).1.steps.remove(0).work {
        Work::Errand(errand) => errand,
        Work::PodRun { .. } => panic!("no errand"),
    }
}

fn said(kind: &str, keys: &[&str]) -> String {
    findings(&operation(kind, keys)).join("\n")
}

#[test]
fn a_listing_is_two_levels_deep_by_default_and_without_a_volume_of_all_of_them() {
    let Errand::FilesList(list) = errand("files.list", &["folder: /data/a/", "volume: payload"]) else {
        panic!("a list")
    };
    let node = "mpu".parse().expect("legal");
    let claim = Some("client1.payload".to_owned());
    assert_eq!(list, FilesList { node, claim, folder: "a".to_owned(), depth: 2 });
    let Errand::FilesList(all) = errand("files.list", &["depth: 5"]) else { panic!("a list") };
    assert_eq!((all.claim, all.folder.as_str(), all.depth), (None, "", 5));
}

#[test]
fn a_folder_without_a_volume_is_refused() {
    let expected = "5:13: error: tasks[0].volume: missing: a folder needs a volume; \
                    name the volume that the folder is in, or leave both out to list all your volumes";
    assert_eq!(said("files.list", &["folder: /a"]), expected);
    assert!(said("files.list", &["depth: 33"]).contains("expected a whole number of levels from 1 to 32"));
}

#[test]
fn neither_the_whole_volume_nor_wildcards_are_deleted_or_moved() {
    assert!(
        said("files.delete", &["volume: v", "source: [/]"]).contains("tasks[0].source[0]: `/` is the whole volume")
    );
    assert!(
        said("files.delete", &["volume: v", "source: [a, '*.txt']"])
            .contains("tasks[0].source[1]: `*.txt` holds a wildcard")
    );
    assert!(said("files.delete", &["volume: v", "source: []"]).contains("the list is empty"));
    assert!(
        said("files.move", &["volume: v", "source: a", "destination: a/b"])
            .contains("`a/b` is `a` itself or lies in it")
    );
    assert!(said("files.move", &["volume: v", "source: a", "destination: ../b"]).contains("leaves its root"));
    assert!(said("files.move", &["volume: v", "source: a"]).contains("tasks[0].destination: missing"));
}

#[test]
fn a_build_has_the_budget_of_its_duration_and_grace() {
    let keys = [
        "volume: v",
        "dockerfile: /b/Dockerfile",
        "context: ./b/",
        "image: {name: app, tag: \"1\"}",
        "max_duration: 30",
    ];
    let (parts, plan) = flown(&operation("docker.build", &keys));
    assert_eq!(parts.steps[0].timeout_seconds, 2100);
    let Work::Errand(Errand::Build(build)) = &plan.steps[0].work else { panic!("a build") };
    assert_eq!(
        (build.dockerfile.as_str(), build.context.as_str(), build.image.as_str()),
        ("b/Dockerfile", "b", "app:1")
    );
    assert_eq!(build.max_duration_seconds, 1800);
}

#[test]
fn an_image_of_ones_own_is_named_without_a_registry() {
    for name in ["localhost/app", "board:5000/app"] {
        let image = format!("image: {{name: \"{name}\", tag: \"1\"}}");
        let keys = ["volume: v", "dockerfile: D", "context: /", &image];
        assert!(said("docker.build", &keys).contains("names a registry"), "{name}");
    }
    let unquoted = ["volume: v", "dockerfile: D", "context: /", "image: {name: app, tag: 3.10}"];
    assert!(said("docker.build", &unquoted).contains("quote it"));
}

#[test]
fn an_archive_comes_from_the_bundle_or_from_a_volume() {
    let image = "image: {name: app, tag: \"1\"}";
    let Errand::ImageLoad(load) = errand("docker.image.load", &["volume: v", "source: /data/x.tar", image]) else {
        panic!("a load")
    };
    assert_eq!(load.archive, Archive::Volume { claim: "client1.v".to_owned(), path: "x.tar".to_owned() });
    let (parts, _) = compiled(&operation("docker.image.load", &["archive: x.tar", "node: Gpu", image]), None);
    let packed: Vec<(String, String)> =
        parts.expect("flies").images.into_iter().map(|file| (file.entry, file.source)).collect();
    assert_eq!(packed, [("images/x.tar".to_owned(), "x.tar".to_owned())]);
    assert!(said("docker.image.load", &[image]).contains("exactly one of `archive` and `source`"));
    assert!(said("docker.image.load", &["archive: a.tar", "source: b.tar", image]).contains("exactly one of"));
    assert!(said("docker.image.load", &["archive: ../a.tar", image]).contains("expected a file name"));
    assert!(said("docker.image.load", &["source: a.tar", image]).contains("tasks[0].volume: missing"));
    assert!(said("docker.image.load", &["archive: a.tar", "node: cpu", image]).contains("unknown node `cpu`"));
}

#[test]
fn a_pod_is_meant_by_its_name_or_by_its_task() {
    assert_eq!(errand("pod.logs", &["pod_name: a"]), Errand::PodLogs(PodChoice::Name("a".parse().expect("legal"))));
    assert_eq!(errand("pod.stop", &["task: RUN"]), Errand::PodStop(PodChoice::Step("RUN".parse().expect("legal"))));
    for keys in [&[][..], &["pod_name: a", "task: B"]] {
        assert!(said("pod.stop", keys).contains("exactly one of `pod_name` and `task`"));
    }
    assert!(said("pod.logs", &["pod_name: a", "volume: v"]).contains("unknown key `volume`"));
}

#[test]
fn a_capture_compiles_on_the_ground_and_needs_the_instrument_on_board() {
    let (parts, findings) = compiled(&operation("fisheye.capture", &["volume: v"]), Some(&|_| SourceFile::Missing));
    assert_eq!(findings, []);
    assert_eq!(parts.expect("flies").steps[0].timeout_seconds, 900);
}
