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

/// All code in which tests are.
fn all_tests() -> String {
    let folders = ["tests", "daemon/src"].map(|folder| files_below(&root().join(folder), "rs"));
    folders.iter().flatten().map(|path| fs::read_to_string(path).expect("readable")).collect()
}

/// The tests that a row of a table names: words in code quotes with several underscores.
fn named_tests(row: &str) -> Vec<&str> {
    row.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2).collect()
}

#[test]
fn every_requirement_row_is_there_once_and_names_tests_that_exist() {
    const ROWS: [(char, usize); 5] = [('P', 19), ('T', 23), ('L', 11), ('D', 18), ('G', 18)];
    let requirements = fs::read_to_string(root().join("docs/requirements.md")).expect("readable");
    let tests = all_tests();
    for (letter, count) in ROWS {
        for row in (1..=count).map(|number| format!("{letter}{number}")) {
            let mut lines = requirements.lines().filter(|line| line.starts_with(&format!("| {row} |")));
            let line = lines.next().unwrap_or_else(|| panic!("no row {row}"));
            assert!(lines.next().is_none(), "{row} is there twice");
            let named = named_tests(line.rsplit(" | ").next().unwrap_or_default());
            assert!(!named.is_empty(), "{row} names no test");
        }
    }
    let rows = requirements.lines().filter(|line| line.starts_with("| "));
    for name in rows.flat_map(|row| named_tests(row.rsplit(" | ").next().unwrap_or_default())) {
        assert!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

#[test]
fn every_test_that_reliability_names_exists() {
    let reliability = fs::read_to_string(root().join("docs/reliability.md")).expect("readable");
    let tests = all_tests();
    let rows: Vec<&str> = reliability.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() > 15, "the tables are there");
    for row in rows {
        let named = named_tests(row);
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
fn openapi_file_has_every_reason_and_state() {
    let openapi = fs::read_to_string(root().join("docs/openapi.yaml")).expect("readable");
    let openapi: serde_yaml::Value = serde_yaml::from_str(&openapi).expect("YAML");
    let schemas = openapi.get("components").and_then(|part| part.get("schemas")).expect("schemas");
    let words = |list: Option<&serde_yaml::Value>| -> BTreeSet<String> {
        let list = list.and_then(|list| list.get("enum")).and_then(serde_yaml::Value::as_sequence).expect("an enum");
        list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let reasons = words(schemas.get("Reason").and_then(|part| part.get("properties")?.get("name")));
    assert_eq!(reasons, perigee::reason::Name::ALL.iter().map(ToString::to_string).collect());
    let states = words(schemas.get("State"));
    assert_eq!(states, perigee::outcome::State::ALL.iter().map(|state| state.as_str().to_owned()).collect());
}

#[test]
fn every_record_is_documented() {
    let code = fs::read_to_string(root().join("daemon/src/sequence/record.rs")).expect("readable");
    let ledger = fs::read_to_string(root().join("docs/ledger.md")).expect("readable");
    let kinds = code.split("pub enum Record {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("records");
    let is_kind = |line: &&str| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase);
    for line in kinds.lines().filter(is_kind) {
        let kind = line.trim().trim_end_matches(&[' ', '{', ','][..]);
        let mut snake = String::new();
        for letter in kind.chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        assert!(ledger.contains(&format!("`{snake}`")), "docs/ledger.md does not name the record `{snake}`");
    }
}

#[test]
fn every_module_is_on_the_map() {
    let architecture = fs::read_to_string(root().join("docs/architecture.md")).expect("readable");
    let map = architecture.split("## Code map").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a map");
    // A name without a folder is in that of the name before it.
    let mut named = BTreeSet::new();
    for row in map.lines().filter(|line| line.starts_with("| `")) {
        let mut folder = String::new();
        for name in row.split(" | ").next().unwrap_or_default().split('`').skip(1).step_by(2) {
            if let Some((before, _)) = name.rsplit_once('/') {
                folder = format!("{before}/");
                named.insert(name.to_owned());
            } else {
                named.insert(format!("{folder}{name}"));
                folder = if name.contains('.') { folder } else { format!("{name}/") };
            }
        }
    }
    for path in files_below(&root().join("daemon/src"), "rs") {
        let inside = path.strip_prefix(root().join("daemon/src")).expect("a source").display().to_string();
        let module = inside.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let opens = ["lib.rs", "bundle/mod.rs", "operation/mod.rs", "podman/mod.rs", "sequence/mod.rs"]
            .contains(&inside.as_str());
        assert!(
            opens || named.contains(&inside) || named.contains(module),
            "docs/architecture.md does not map {inside}"
        );
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let shipped = fs::read_to_string(root().join("config/perigee.yaml")).expect("readable");
    let shipped: serde_yaml::Value = serde_yaml::from_str(&shipped).expect("YAML");
    let configuration = fs::read_to_string(root().join("docs/configuration.md")).expect("readable");
    for (key, value) in shipped.as_mapping().expect("keys") {
        let key = key.as_str().expect("text");
        let inner = value.as_mapping().filter(|_| key != "nodes");
        let inner = inner.into_iter().flat_map(|map| map.keys()).filter_map(serde_yaml::Value::as_str);
        let mut names: Vec<String> = inner.map(|inner| format!("`{key}.{inner}")).collect();
        if names.is_empty() {
            names.push(format!("`{key}`"));
        }
        for name in names {
            assert!(configuration.contains(&format!("| {name}")), "docs/configuration.md has no row {name}");
        }
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
