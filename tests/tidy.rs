//! The house rules that a compiler does not check.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const CORE: [&str; 9] = ["bundle", "operation", "outcome", "plan", "reason", "sequence", "time", "verify", "view"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("daemon/src")).expect("a source");
    let first = inside.components().next().expect("a part").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn every_core_module_exists() {
    for module in CORE {
        let base = root().join("daemon/src").join(module);
        assert!(base.join("mod.rs").exists() || base.with_extension("rs").exists(), "{module}");
    }
}

#[test]
fn core_does_no_io_is_not_async_and_reads_no_clock() {
    const FORBIDDEN: [&str; 14] = [
        "tokio",
        "sled",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "async ",
        ".await",
        "Instant",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "podman_api",
    ];
    for path in files_below(&root().join("daemon/src"), "rs") {
        if !CORE.contains(&module_of(&path).as_str()) {
            continue;
        }
        let code = code(&path);
        for word in FORBIDDEN {
            assert!(!code.contains(word), "{} names `{word}`", path.display());
        }
    }
}

#[test]
fn core_never_imports_the_shell() {
    for path in files_below(&root().join("daemon/src"), "rs") {
        if !CORE.contains(&module_of(&path).as_str()) {
            continue;
        }
        for part in code(&path).split("crate::").skip(1) {
            let module: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(CORE.contains(&module.as_str()), "{} imports `{module}`", path.display());
        }
    }
}

#[test]
fn every_file_says_its_purpose_and_its_limit_and_stays_short() {
    const LINES: usize = 400;
    for path in files_below(&root().join("daemon/src"), "rs") {
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("//! "), "{} does not open with its purpose", path.display());
        let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
        assert!(own <= LINES, "{} has {own} lines, the limit is {LINES}", path.display());
    }
}

#[test]
fn openapi_file_and_router_have_the_same_paths() {
    let router = fs::read_to_string(root().join("daemon/src/server/mod.rs")).expect("readable");
    let routed: BTreeSet<String> =
        router.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    let openapi = fs::read_to_string(root().join("docs/openapi.yaml")).expect("readable");
    let openapi: serde_yaml::Value = serde_yaml::from_str(&openapi).expect("YAML");
    let paths = openapi.get("paths").and_then(serde_yaml::Value::as_mapping).expect("paths");
    let described: BTreeSet<String> = paths.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect();
    assert_eq!(routed, described);
}

#[test]
fn every_requirement_row_names_tests_that_exist() {
    let requirements = fs::read_to_string(root().join("docs/requirements.md")).expect("readable");
    let tests: String = files_below(&root().join("tests"), "rs")
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    for row in 1..=19 {
        let line = requirements.lines().find(|line| line.starts_with(&format!("| P{row} |")));
        let line = line.unwrap_or_else(|| panic!("no row P{row}"));
        let named: Vec<&str> = line.split('`').skip(1).step_by(2).filter(|word| word.starts_with('p')).collect();
        assert!(!named.is_empty(), "P{row} names no test");
        for name in named {
            assert!(tests.contains(&format!("fn {name}(")), "P{row}: there is no test {name}");
        }
    }
}

#[test]
fn every_test_that_reliability_names_exists() {
    let reliability = fs::read_to_string(root().join("docs/reliability.md")).expect("readable");
    let tests: String = files_below(&root().join("tests"), "rs")
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    let rows: Vec<&str> = reliability.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() > 15, "the tables are there");
    for row in rows {
        let named = row.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2);
        let named: Vec<&str> = named.collect();
        assert!(!named.is_empty(), "no test shows: {row}");
        for name in named {
            assert!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
        }
    }
}

#[test]
fn every_reason_is_documented() {
    let operating = fs::read_to_string(root().join("docs/operating.md")).expect("readable");
    for name in perigee::reason::Name::ALL {
        let row = format!("| `{name}` | {} |", name.code());
        assert!(operating.contains(&row), "docs/operating.md has no row `{row}`");
    }
}

#[test]
fn every_dependency_is_justified() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    let architecture = fs::read_to_string(root().join("docs/architecture.md")).expect("readable");
    let dependencies = manifest.split("dependencies]").skip(1).flat_map(|section| {
        section.lines().skip(1).take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = "))
    });
    for (name, _) in dependencies {
        assert!(architecture.contains(&format!("`{name}`")), "docs/architecture.md does not say why `{name}` is there");
    }
}
