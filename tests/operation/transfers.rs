//! Uplinks and downlinks: paths in every spelling, and those that lead elsewhere.

use perigee::operation::compile::SourceFile;
use perigee::plan::{Errand, Transfer, Work};

use super::ground::{compiled, findings, flown};

#[test]
fn every_spelling_of_a_destination_is_one_folder_of_the_volume() {
    for (written, folder) in [
        ("/", ""),
        ("./", ""),
        ("/data", ""),
        ("/data/config", "config"),
        ("config", "config"),
        ("/config/", "config"),
        ("./config", "config"),
        ("data/config", "data/config"),
        ("/a//b", "a/b"),
    ] {
        assert_eq!(transfer(&uplink(&["a"], written)).destination, folder, "{written}");
    }
}

#[test]
fn sources_are_files_of_the_ground_and_names_in_one_folder() {
    let (parts, _) = flown(&uplink(&["a.py", "./b/c.py", "/d/e.py", "1768237054.png"], "/"));
    let entries: Vec<(&str, &str)> =
        parts.files.iter().map(|file| (file.entry.as_str(), file.source.as_str())).collect();
    assert_eq!(
        entries,
        [
            ("files/0001/1768237054.png", "1768237054.png"),
            ("files/0001/a.py", "a.py"),
            ("files/0001/c.py", "b/c.py"),
            ("files/0001/e.py", "d/e.py"),
        ]
    );
}

#[test]
fn sources_that_are_missing_or_no_files_are_each_told_at_their_place() {
    let look = |source: &str| match source {
        "there" => SourceFile::File { bytes: 1 },
        "folder" => SourceFile::NotAFile,
        _ => SourceFile::Missing,
    };
    let (parts, findings) = compiled(&uplink(&["gone", "there", "folder"], "/"), Some(&look));
    assert!(parts.is_none());
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "5:14: error: tasks[0].source[0]: no file `gone` in ground; put it there, or name its folder with --files",
            "5:31: error: tasks[0].source[2]: `folder` in ground is not a regular file; list the files one by one",
        ]
    );
}

#[test]
fn more_than_the_flight_model_takes_is_a_warning_that_flies() {
    let look = |bytes| move |_: &str| SourceFile::File { bytes };
    let text = uplink(&["a", "b"], "/");
    let (parts, findings) = compiled(&text, Some(&look(2_500_000)));
    assert!(parts.is_some() && findings.is_empty(), "{findings:?}");
    let (parts, findings) = compiled(&text, Some(&look(2_500_001)));
    assert!(parts.is_some());
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["1:1: warning: tasks: the operation uplinks 5000002 bytes; the flight model takes 5000000 per operation; \
          uplink less, or in several operations"]
    );
}

#[test]
fn paths_that_lead_out_of_their_folder_are_refused() {
    for path in ["..", "../x", "/../etc/passwd", "a/../../b", "/data/../x"] {
        let lines = findings(&uplink(&["a"], path));
        let expected = format!(
            "6:18: error: tasks[0].destination: path `{path}` leaves its root with `..`; \
             write a path inside the volume or folder"
        );
        assert_eq!(lines, [expected]);
        assert!(findings(&uplink(&[path], "/"))[0].contains("tasks[0].source[0]: path `"), "{path}");
        assert!(findings(&downlink(&format!("[\"{path}\"]"), "/"))[0].contains("leaves its root"), "{path}");
        assert!(findings(&downlink("[a]", path))[0].contains("destination: path `"), "{path}");
    }
    assert!(findings(&uplink(&["a"], "a\\\\b"))[0].contains("a character that is not allowed"));
    assert!(findings(&uplink(&["a"], "a\\nb"))[0].contains("a character that is not allowed"));
    assert!(findings(&uplink(&["a"], ""))[0].contains("path is empty"));
}

#[test]
fn sources_that_would_overwrite_each_other_or_have_no_name_are_refused() {
    let lines = findings(&uplink(&["a/x.py", "b/x.py"], "/"));
    assert_eq!(
        lines,
        ["5:24: error: tasks[0].source[1]: two files named `x.py` for one folder; all sources of a task go into its \
          destination; rename one, or use two tasks"]
    );
    assert!(findings(&uplink(&["/"], "/"))[0].contains("file name `` does not fit, expected 1 to 89 bytes"));
    let longest = "a".repeat(89);
    flown(&uplink(&[&longest], "/"));
    assert!(findings(&uplink(&[&format!("{longest}a")], "/"))[0].contains("does not fit, expected 1 to 89 bytes"));
}

#[test]
fn sources_that_are_no_list_or_an_empty_one_are_refused() {
    let uplink = |source: &str| uplink(&["a"], "/").replace("[\"a\"]", source);
    assert_eq!(findings(&uplink("[]")), ["5:13: error: tasks[0].source: the list is empty; list the files to place"]);
    assert!(findings(&uplink("a.py"))[0].contains("source: found the text `a.py`, expected a list"));
    assert_eq!(
        findings(&uplink("[12345]")),
        ["5:14: error: tasks[0].source[0]: found the number 12345, expected a text; quote it: \"12345\""]
    );
    assert!(findings(&uplink("null"))[0].contains("source: missing; list the files to place"));
}

#[test]
fn downlinks_take_wildcards_of_the_volume_and_default_to_the_root_of_the_namespace() {
    let text = downlink("[\"*.json\", /data/test_results_02*.txt, ./downlink/]", "/first_test");
    let sources = transfer(&text);
    assert_eq!(sources.sources, ["*.json", "test_results_02*.txt", "downlink"]);
    assert_eq!(sources.destination, "first_test");
    let defaulted = transfer(&text.replace("    destination: \"/first_test\"\n", ""));
    assert_eq!(defaulted.destination, "");
}

#[test]
fn wildcards_that_are_not_legal_are_refused() {
    assert_eq!(
        findings(&downlink("[\"a[\"]", "/")),
        ["5:14: error: tasks[0].source[0]: `a[` is not a legal wildcard: invalid range pattern; use * ? and [abc]"]
    );
}

fn transfer(text: &str) -> Transfer {
    let Work::Errand(Errand::Uplink(transfer) | Errand::Downlink(transfer)) = flown(text).1.steps.remove(0).work else {
        panic!("no transfer");
    };
    transfer
}

fn uplink(sources: &[&str], destination: &str) -> String {
    let sources: Vec<String> = sources.iter().map(|source| format!("\"{source}\"")).collect();
    format!(
        "id: demo\ntasks:\n  - id: UP\n    type: dphi.space.cg2.uplink\n    source: [{}]\n    \
         destination: \"{destination}\"\n    volume: payload\n",
        sources.join(", ")
    )
}

fn downlink(sources: &str, destination: &str) -> String {
    format!(
        "id: demo\ntasks:\n  - id: DOWN\n    type: dphi.space.cg2.downlink\n    source: {sources}\n    \
         destination: \"{destination}\"\n    volume: payload\n"
    )
}
