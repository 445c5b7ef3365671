//! Image archives on their way to Podman: the names that an archive brings are replaced by the one that is the tenant's,
//! so that loading can replace nobody else's image. One pass, in constant memory.
//!
//! Must not: trust anything in the archive; what is not a file, folder or inner link is refused.

use std::io::{self, Read, Write};

use serde_json::{Value, json};

use crate::bundle::path;
use crate::reason::{Name, Reason};

/// Entries of one archive.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of the documents that name the image.
const INDEX_BYTES: u64 = 1 << 20;
/// What docker writes, what OCI says, and what old docker wrote besides.
const DOCKER: &str = "manifest.json";
const OCI: &str = "index.json";
const LEGACY: &str = "repositories";

fn invalid(what: impl Into<String>) -> Reason {
    Reason::new(Name::TarfileInvalid, format!("the image archive cannot be loaded: {}", what.into()))
}

/// What was seen of an archive.
#[derive(Default)]
struct Seen {
    entries: usize,
    docker: bool,
    oci: bool,
    links: bool,
}

/// Copies an archive of one image, naming it `reference`.
///
/// # Errors
/// When it is no archive of one image, or cannot be read or sent on; what was sent is then not the whole.
pub(super) fn rename(input: impl Read, output: impl Write, reference: &str) -> Result<(), Reason> {
    let mut archive = tar::Archive::new(input);
    let mut builder = tar::Builder::new(output);
    let mut seen = Seen::default();
    let unreadable = |error: io::Error| invalid(format!("it is not a tar archive, or is damaged: {error}"));
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        seen.entries += 1;
        if seen.entries > ENTRIES_MAX {
            return Err(invalid(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let path = plain(&entry.path_bytes())?;
        if path.is_empty() {
            continue;
        }
        let header = entry.header().clone();
        match path.as_str() {
            DOCKER | OCI => {
                let renamed = named(&mut entry, &path, reference)?;
                if path == DOCKER {
                    seen.docker = true
                } else {
                    seen.oci = true
                }
                append(&mut builder, header, &path, renamed.len() as u64, renamed.as_slice())?;
            }
            LEGACY => {}
            _ => copy(&mut builder, header, &path, entry, &mut seen)?,
        }
        // A layout is unpacked before it is read: there a link could lead out.
        if seen.oci && seen.links {
            return Err(invalid("an OCI archive must not hold links"));
        }
    }
    if !seen.docker && !seen.oci {
        return Err(invalid(format!("it holds neither {DOCKER} (docker save) nor {OCI} (OCI archive)")));
    }
    let sent = builder.into_inner().and_then(|mut output| output.flush());
    sent.map_err(|error| not_sent(&error))
}

fn not_sent(error: &io::Error) -> Reason {
    Reason::new(Name::ImageLoadFailed, format!("podman stopped taking the image archive: {error}"))
}

fn plain(bytes: &[u8]) -> Result<String, Reason> {
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("a path in it is not UTF-8"))?;
    if text.starts_with('/') {
        return Err(invalid(format!("`{text}` in it is an absolute path")));
    }
    path::relative(text).map_err(|bad| invalid(bad.to_string()))
}

fn copy(
    builder: &mut tar::Builder<impl Write>,
    header: tar::Header,
    path: &str,
    entry: tar::Entry<'_, impl Read>,
    seen: &mut Seen,
) -> Result<(), Reason> {
    let kind = entry.header().entry_type();
    if kind.is_symlink() {
        seen.links = true;
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let target = String::from_utf8(target).ok().filter(|target| stays_inside(path, target));
        let target = target.ok_or_else(|| invalid(format!("the link `{path}` in it leads out of it")))?;
        return builder.append_link(&mut header.clone(), path, target).map_err(|error| not_sent(&error));
    }
    if !kind.is_file() && !kind.is_dir() {
        return Err(invalid(format!("`{path}` in it is neither file, folder nor symbolic link")));
    }
    let size = if kind.is_dir() { 0 } else { entry.size() };
    append(builder, header, path, size, entry)
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    mut header: tar::Header,
    path: &str,
    size: u64,
    content: impl Read,
) -> Result<(), Reason> {
    header.set_size(size);
    builder.append_data(&mut header, path, content).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            not_sent(&error)
        } else {
            invalid(format!("`{path}` in it cannot be read: {error}"))
        }
    })
}

/// Whether a link of an archive leads to something in the archive, by its words alone.
fn stays_inside(path: &str, target: &str) -> bool {
    let mut depth = path.split('/').count() - 1;
    !target.starts_with('/')
        && target.split('/').all(|part| match part {
            ".." => depth.checked_sub(1).map(|up| depth = up).is_some(),
            "" | "." => true,
            _ => {
                depth += 1;
                true
            }
        })
}

/// The document that names an image, with another name in it.
fn named(entry: impl Read, path: &str, reference: &str) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    let read = entry.take(INDEX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| invalid(format!("`{path}` in it cannot be read: {error}")))?;
    if bytes.len() as u64 > INDEX_BYTES {
        return Err(invalid(format!("`{path}` in it has more than {INDEX_BYTES} bytes")));
    }
    let mut document: Value =
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("`{path}` in it: {error}")))?;
    let images = if path == DOCKER {
        document.as_array_mut()
    } else {
        document.get_mut("manifests").and_then(Value::as_array_mut)
    };
    let images = images.map_or(&mut [][..], Vec::as_mut_slice);
    let [Value::Object(image)] = images else {
        return Err(invalid(format!(
            "`{path}` in it names {} images, expected one; save them one by one",
            images.len()
        )));
    };
    if path == DOCKER {
        image.insert("RepoTags".to_owned(), json!([reference]));
    } else {
        image.insert("annotations".to_owned(), json!({"org.opencontainers.image.ref.name": reference}));
    }
    serde_json::to_vec(&document).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "localhost/client1/app:1";

    fn archive(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).expect("written");
        }
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).expect("written");
        }
        builder.into_inner().expect("written")
    }

    fn renamed(bytes: &[u8]) -> Result<Vec<(String, String)>, Reason> {
        let mut out = Vec::new();
        rename(bytes, &mut out, NAME)?;
        let mut read = tar::Archive::new(out.as_slice());
        let entries = read.entries().expect("an archive").map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (entry.path().expect("a path").display().to_string(), text)
        });
        Ok(entries.collect())
    }

    fn refusal(bytes: &[u8]) -> String {
        let reason = renamed(bytes).expect_err("refused");
        assert_eq!(reason.name, Name::TarfileInvalid);
        reason.message
    }

    #[test]
    fn whatever_an_archive_calls_its_image_it_gets_the_tenants_name() {
        let manifest = r#"[{"Config":"c","RepoTags":["localhost/busybox:1","localhost/other/x:2"],"Layers":[]}]"#;
        let index =
            r#"{"manifests":[{"digest":"d","annotations":{"org.opencontainers.image.ref.name":"localhost/ep:1"}}]}"#;
        let bytes = archive(
            &[("layer", "x"), ("./manifest.json", manifest), ("index.json", index), ("repositories", "{}")],
            &[],
        );
        let entries = renamed(&bytes).expect("legal");
        let paths: Vec<&str> = entries.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["layer", "manifest.json", "index.json"]);
        assert_eq!(entries[0].1, "x");
        for (_, text) in &entries[1..] {
            assert!(
                text.contains(NAME)
                    && !text.contains("busybox")
                    && !text.contains("localhost/ep")
                    && !text.contains("other")
            );
        }
    }

    #[test]
    fn archives_that_are_none_are_refused_with_the_reason() {
        let one = r#"[{"Config":"c"}]"#;
        assert!(refusal(b"garbage".repeat(200).as_slice()).contains("not a tar archive"));
        assert!(refusal(&archive(&[("a", "b")], &[])).contains("neither manifest.json"));
        assert!(refusal(&archive(&[("manifest.json", "[{},{}]")], &[])).contains("names 2 images"));
        assert!(refusal(&archive(&[("manifest.json", "{")], &[])).contains("manifest.json"));
        assert!(refusal(&archive(&[("manifest.json", one)], &[("a/b", "/etc/passwd")])).contains("leads out"));
        assert!(refusal(&archive(&[("manifest.json", one)], &[("a/b", "../../x")])).contains("leads out"));
        assert!(renamed(&archive(&[("manifest.json", one)], &[("a/b", "../x")])).is_ok());
        let index = r#"{"manifests":[{}]}"#;
        assert!(refusal(&archive(&[("index.json", index)], &[("a", "b")])).contains("must not hold links"));
        let whole = archive(&[("manifest.json", one), ("layer", &"x".repeat(5000))], &[]);
        assert!(refusal(&whole[..3000]).contains("damaged"));
    }
}
