//! Reads a Dockerfile as far as safety needs it: which images it starts from, and nothing that would fetch, keep a
//! cache across tenants, or look into an image that was not asked for.
//!
//! Stricter than the builder: what this reader cannot judge is refused with its line. Must not: build.

use std::collections::BTreeMap;

/// A Dockerfile that may be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dockerfile {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Lines that fly as they are.
    Lines(String),
    /// A stage's start; its image is replaced by what it was found as.
    From { before: String, image: String, after: String },
}

/// Reads a Dockerfile.
///
/// # Errors
/// With the line and what must be changed.
pub(super) fn read(text: &str) -> Result<Dockerfile, String> {
    let mut reader = Reader { parts: Vec::new(), stages: Vec::new() };
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, first)) = lines.next() {
        let (mut raw, mut logical) = (first.to_owned(), String::new());
        let mut line = first;
        loop {
            let code = line.trim_start().strip_prefix('#').is_none();
            let (content, goes_on) = continued(line);
            if code {
                logical.push_str(content);
                logical.push(' ');
            }
            // A comment or an empty line inside an instruction does not end it.
            let inside = logical.trim().is_empty();
            if !(goes_on && code) && (inside || code && !line.trim().is_empty()) {
                break;
            }
            let Some((_, next)) = lines.next() else { break };
            raw.push('\n');
            raw.push_str(next);
            line = next;
        }
        reader.instruction(&raw, &logical).map_err(|what| format!("line {}: {what}", number + 1))?;
    }
    if reader.stages.is_empty() {
        return Err("line 1: it has no FROM".to_owned());
    }
    Ok(Dockerfile { parts: reader.parts })
}

/// A line without its continuation mark, and whether it has one.
fn continued(line: &str) -> (&str, bool) {
    match line.trim_end().strip_suffix('\\') {
        Some(content) => (content, true),
        None => (line, false),
    }
}

struct Reader {
    parts: Vec<Part>,
    stages: Vec<String>,
}

impl Reader {
    fn instruction(&mut self, raw: &str, logical: &str) -> Result<(), String> {
        let directive = raw.trim_start().trim_start_matches('#').replace(char::is_whitespace, "").to_lowercase();
        if raw.trim_start().starts_with('#') && directive.starts_with("escape=") {
            return Err("the directive `escape` is not supported; remove it".to_owned());
        }
        if raw.lines().any(|line| line.trim_end().ends_with("\\\\")) {
            return Err("a line must not end in two backslashes".to_owned());
        }
        let mut words: Vec<&str> = logical.split_whitespace().collect();
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case("ONBUILD")) {
            words.remove(0);
        }
        let Some((verb, rest)) = words.split_first() else {
            self.keep(raw);
            return Ok(());
        };
        match verb.to_uppercase().as_str() {
            "FROM" => return self.from(raw, rest),
            "ADD" => added(rest)?,
            "COPY" => self.copied(rest)?,
            "RUN" => self.run(rest)?,
            _ => {}
        }
        self.keep(raw);
        Ok(())
    }

    fn keep(&mut self, raw: &str) {
        self.parts.push(Part::Lines(raw.to_owned()));
    }

    fn from(&mut self, raw: &str, rest: &[&str]) -> Result<(), String> {
        let flags = rest.iter().take_while(|word| word.starts_with("--")).count();
        let Some(image) = rest.get(flags) else { return Err("FROM names no image".to_owned()) };
        if image.contains(['$', '"', '\'']) {
            return Err(format!("FROM `{image}`: write the image out, variables are not followed here"));
        }
        let name = match rest.get(flags + 1..) {
            Some([word, name]) if word.eq_ignore_ascii_case("AS") => Some(name.to_lowercase()),
            Some([]) | None => None,
            Some([..]) => return Err("FROM has more words than `FROM image AS name`".to_owned()),
        };
        let known = self.stages.contains(&image.to_lowercase()) || *image == "scratch";
        self.stages.push(name.clone().unwrap_or_default());
        if known {
            self.keep(raw);
            return Ok(());
        }
        let before = ["FROM"].iter().chain(&rest[..flags]).copied().collect::<Vec<_>>().join(" ");
        let after = name.map(|name| format!(" AS {name}")).unwrap_or_default();
        self.parts.push(Part::From { before, image: (*image).to_owned(), after });
        Ok(())
    }

    /// Images are looked into only by way of a FROM, where it is checked whose they are.
    fn stage(&self, named: &str) -> Result<(), String> {
        let known = self.stages.iter().any(|stage| !stage.is_empty() && *stage == named.to_lowercase());
        if known || named.parse::<usize>().is_ok_and(|number| number < self.stages.len()) {
            return Ok(());
        }
        Err(format!("`from={named}` names no earlier stage; write `FROM {named} AS name` and take it from there"))
    }

    fn copied(&self, rest: &[&str]) -> Result<(), String> {
        let flags = rest.iter().take_while(|word| word.starts_with("--"));
        flags.filter_map(|flag| flag.strip_prefix("--from=")).try_for_each(|named| self.stage(named))
    }

    fn run(&self, rest: &[&str]) -> Result<(), String> {
        for flag in rest.iter().take_while(|word| word.starts_with("--")) {
            if flag.contains(['$', '"', '\'', '\\']) {
                return Err(format!("RUN {flag}: write the option without quotes and variables"));
            }
            let Some(options) = flag.strip_prefix("--mount=") else {
                if *flag == "--network=none" {
                    continue;
                }
                return Err(format!("RUN {flag}: a build on board has no network and no privileges; remove it"));
            };
            let kind = options.split(',').find_map(|option| option.strip_prefix("type=")).unwrap_or("bind");
            if !["bind", "tmpfs"].contains(&kind) {
                return Err(format!("RUN --mount=type={kind}: only bind and tmpfs are supported"));
            }
            options
                .split(',')
                .filter_map(|option| option.strip_prefix("from="))
                .try_for_each(|named| self.stage(named))?;
        }
        Ok(())
    }
}

/// The builder itself would fetch what ADD names, outside the build's sealed network.
fn added(rest: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = rest.iter().filter(|word| !word.starts_with("--")).copied().collect();
    let json = words.first().is_some_and(|word| word.starts_with('['));
    let remote = |word: &&str| word.contains("://") || word.contains("git@") || word.contains("github.com/");
    if let Some(word) = words.iter().copied().find(remote) {
        return Err(format!("ADD `{word}` would fetch from the network, which a build on board does not have"));
    }
    let sources = if json { &words[..] } else { words.split_last().map_or(&[][..], |(_, sources)| sources) };
    if let Some(word) = sources.iter().find(|word| word.contains('$')) {
        return Err(format!("ADD `{word}`: write the source out, or use COPY"));
    }
    Ok(())
}

impl Dockerfile {
    /// The images that its stages start from.
    pub(super) fn images(&self) -> Vec<&str> {
        self.parts.iter().filter_map(Part::image).collect()
    }

    /// The same with each of these images by the name that it was found as.
    pub(super) fn with(&self, found: &BTreeMap<String, String>) -> String {
        let line = |part: &Part| match part {
            Part::Lines(lines) => format!("{lines}\n"),
            Part::From { before, image, after } => {
                format!("{before} {}{after}\n", found.get(image).unwrap_or(image))
            }
        };
        self.parts.iter().map(line).collect()
    }
}

impl Part {
    fn image(&self) -> Option<&str> {
        match self {
            Self::From { image, .. } => Some(image),
            Self::Lines(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_replaced_and_stages_are_not() {
        let text = "# a comment\nARG X=1\nFROM --platform=linux/arm64 python:3.10 \\\n  as Base\nRUN echo \\\n# inside\n\n  hi\n\
                    FROM base\nCOPY --from=BASE /a /b\nCOPY --from=0 /a /c\nFROM scratch\n";
        let read = read(text).expect("legal");
        assert_eq!(read.images(), ["python:3.10"]);
        let found = [("python:3.10".to_owned(), "localhost/python:3.10".to_owned())].into();
        let expected = "# a comment\nARG X=1\nFROM --platform=linux/arm64 localhost/python:3.10 AS base\nRUN echo \\\n# inside\n\n  hi\n\
                        FROM base\nCOPY --from=BASE /a /b\nCOPY --from=0 /a /c\nFROM scratch\n";
        assert_eq!(read.with(&found), expected);
    }

    #[test]
    fn what_would_reach_out_is_refused_with_its_line() {
        let after_from = |line: &str| read(&format!("FROM a:1\n{line}\n"));
        for (line, word) in [
            ("ADD http://x/y /y", "network"),
            ("add --chown=1 https://x/y /y", "network"),
            ("ADD [\"http://x/y\",\"/y\"]", "network"),
            ("ADD git@host:x.git /y", "network"),
            ("ADD $URL /y", "write the source out"),
            ("ONBUILD ADD http://x/y /y", "network"),
            ("ADD \\\n  http://x/y /y", "network"),
            ("RUN --network=host true", "no network"),
            ("RUN --security=insecure true", "no network"),
            ("RUN --mount=type=cache,target=/c true", "bind and tmpfs"),
            ("RUN --mount=type=bind,from=other:1,target=/c true", "no earlier stage"),
            ("RUN --mount=\"type=cache\" true", "without quotes"),
            ("COPY --from=other:1 /a /b", "no earlier stage"),
            ("COPY --from=1 /a /b", "no earlier stage"),
            ("FROM $BASE", "variables"),
            ("RUN a \\\\\nADD http://x /y", "two backslashes"),
        ] {
            let refused = after_from(line).expect_err(line);
            assert!(refused.starts_with("line 2: ") && refused.contains(word), "{line}: {refused}");
        }
        assert!(read("# escape=`\nFROM a:1\n").expect_err("refused").contains("escape"));
        assert!(read("RUN true\n").expect_err("refused").contains("no FROM"));
        assert_eq!(after_from("ADD file.tar ${DIR}/").map(|read| read.images().len()), Ok(1));
        assert!(after_from("RUN --mount=type=bind,target=/c --mount=type=tmpfs,target=/t wget http://x").is_ok());
    }
}
