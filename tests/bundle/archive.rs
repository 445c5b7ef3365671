//! The byte form: what is written comes back, and what no writer makes is refused.

use std::io::Read;

use perigee::bundle::document::{DocumentError, Header, Sequence};
use perigee::bundle::read::{self, ReadError};
use perigee::bundle::{limits, write};

use super::sample::{FILE, MANIFEST, ROOMY, Sample, header_of, pack, unpack};

const BLOCK: usize = write::BLOCK;

#[test]
fn what_is_packed_comes_back() {
    let sample = Sample::new();
    let (header, contents) = unpack(&sample.pack(), ROOMY).expect("reads");
    assert_eq!(header, sample.header());
    assert_eq!(contents, sample.contents().into_iter().collect());
}

#[test]
fn the_same_input_gives_the_same_bytes_and_another_file_gives_others() {
    let sample = Sample::new();
    assert_eq!(sample.pack(), sample.pack());
    let mut other = sample.clone();
    other.files.insert(FILE.to_owned(), b"print('hallo')\n".to_vec());
    assert_ne!(sample.pack(), other.pack());
}

#[test]
fn any_tar_program_can_list_a_bundle() {
    let bytes = Sample::new().pack();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let paths: Vec<String> = archive
        .entries()
        .expect("a tar file")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert_eq!(paths, [Header::PATH, Sequence::PATH, MANIFEST, FILE]);
}

#[test]
fn contents_of_every_size_around_a_block_come_back() {
    for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 200_000] {
        let mut sample = Sample::new();
        sample.files.insert(FILE.to_owned(), vec![7; size]);
        let (_, contents) = unpack(&sample.pack(), ROOMY).expect("reads");
        assert_eq!(contents[FILE].len(), size);
    }
}

#[test]
fn a_compressed_bundle_reads_the_same() {
    let plain = Sample::new().pack();
    assert_eq!(unpack(&compressed(&plain), ROOMY).expect("reads"), unpack(&plain, ROOMY).expect("reads"));
}

#[test]
fn a_compressed_bundle_with_more_behind_it_is_refused() {
    let whole = compressed(&Sample::new().pack());
    for more in [b"x".to_vec(), whole.clone(), compressed(b""), vec![0; 512]] {
        let refused = unpack(&[whole.clone(), more].concat(), ROOMY).expect_err("there is more");
        assert!(matches!(refused, ReadError::Trailing { .. }), "{refused}");
    }
    let more_inside = [Sample::new().pack(), vec![0]].concat();
    let refused = unpack(&compressed(&more_inside), ROOMY).expect_err("there is more");
    assert!(matches!(refused, ReadError::Trailing { .. }), "{refused}");
}

#[test]
fn a_compressed_bundle_that_is_cut_or_damaged_anywhere_is_refused() {
    let whole = compressed(&Sample::new().pack());
    for end in 0..whole.len() {
        assert!(unpack(&whole[..end], ROOMY).is_err(), "cut at {end}");
    }
    let original = unpack(&whole, ROOMY).expect("reads");
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x55;
        // A few bits of a frame say nothing about its content; what is taken must then be what was packed.
        if let Ok(taken) = unpack(&bad, ROOMY) {
            assert_eq!(taken, original, "byte {at}");
        }
    }
}

#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let mut sample = Sample::new();
    sample.files.insert(FILE.to_owned(), vec![0; 8 * 1024 * 1024]);
    let bomb = compressed(&sample.pack());
    assert!(bomb.len() < 16 * 1024);
    let mut handed_over = 0;
    let refused = read::archive(bomb.as_slice(), 1024 * 1024, &mut |_, _, content| {
        handed_over += std::io::copy(content, &mut std::io::sink())?;
        Ok(())
    });
    assert!(matches!(refused, Err(ReadError::Limit { limit: 1_048_576, .. })), "{refused:?}");
    assert!(handed_over < 16 * 1024, "{handed_over} bytes were handed over");
}

#[test]
fn a_window_larger_than_the_limit_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(limits::ZSTD_WINDOW_LOG + 1).expect("a legal window");
    std::io::Write::write_all(&mut encoder, &Sample::new().pack()).expect("writes");
    let bytes = encoder.finish().expect("writes");
    let refused = unpack(&bytes, ROOMY).expect_err("more memory than allowed");
    assert!(matches!(refused, ReadError::Io { .. }), "{refused}");
}

#[test]
fn a_bundle_larger_than_the_limit_is_refused_before_its_content_is_taken() {
    let bytes = Sample::new().pack();
    let limit = 4096;
    let refused = unpack(&bytes, limit).expect_err("too large");
    assert!(matches!(refused, ReadError::Limit { limit: 4096, .. }), "{refused}");
}

#[test]
fn a_format_of_another_time_is_refused_with_both_versions() {
    let sample = Sample::new();
    let header = Header { format: 2, ..sample.header() };
    let refused = unpack(&pack(&header, &sample.contents()), ROOMY).expect_err("not known");
    assert!(matches!(refused, ReadError::Document(DocumentError::Format { found: 2 })));
    let message = refused.to_string();
    assert!(message.contains("format 2 is not known") && message.contains("reads format 1"), "{message}");
}

#[test]
fn a_format_of_another_time_is_named_even_when_its_keys_are_not_known() {
    let text = "format: 7\nnew_key: 1\n";
    let digest = perigee::bundle::Digest::of(text.as_bytes());
    let refused = Header::from_bytes(format!("{text}digest: \"{digest}\"\n").as_bytes());
    assert_eq!(refused, Err(DocumentError::Format { found: 7 }));
}

#[test]
fn an_unknown_key_of_the_header_is_refused_by_its_name() {
    let text = "format: 1\nnew_key: 1\n";
    let digest = perigee::bundle::Digest::of(text.as_bytes());
    let refused = Header::from_bytes(format!("{text}digest: \"{digest}\"\n").as_bytes()).expect_err("not known");
    assert!(refused.to_string().contains("unknown field `new_key`"), "{refused}");
}

#[test]
fn a_listing_that_no_writer_makes_is_refused() {
    let file = |path: &str| (path.to_owned(), b"x".to_vec());
    let sequence = || file(Sequence::PATH);
    let listings = [
        (vec![], "the first must be `sequence.yaml`"),
        (vec![file(FILE)], "the first must be `sequence.yaml`"),
        (vec![sequence(), file(FILE), file(MANIFEST)], "is out of order"),
        (vec![sequence(), file("files/b"), file("files/a")], "is out of order"),
        (vec![sequence(), file(FILE), file(FILE)], "is there twice"),
        (vec![sequence(), sequence()], "is there twice"),
        (vec![sequence(), file("files/a"), file("files/a.b"), file("files/a/b/c")], "`files/a` is a file and a folder"),
        (vec![sequence(), file("etc/passwd")], "is in no folder that a bundle has"),
        (vec![sequence(), file("manifests/a/b.yaml")], "is in no folder that a bundle has"),
        (vec![sequence(), file("manifests/a.txt")], "is in no folder that a bundle has"),
        (vec![sequence(), file("images/a")], "is in no folder that a bundle has"),
        (vec![sequence(), file("bundle.yaml")], "is in no folder that a bundle has"),
        (vec![sequence(), file("/files/a")], "is in no folder that a bundle has"),
        (vec![sequence(), file("files/../a")], "leaves its root with `..`"),
        (vec![sequence(), file("files//a")], "is not in its plain form"),
        (vec![sequence(), file("files/./a")], "is not in its plain form"),
        (vec![sequence(), file("files/")], "is not in its plain form"),
        (vec![sequence(), file("files/a\\b")], "character that is not allowed"),
    ];
    for (contents, why) in listings {
        let header = header_of(&contents).to_bytes().expect("writes");
        let archive = raw(&[(Header::PATH, &header)]);
        let refused = unpack(&archive, ROOMY).expect_err(why);
        assert!(matches!(&refused, ReadError::Listing(said) if said.contains(why)), "{why}: {refused}");
    }
}

#[test]
fn too_many_entries_are_refused() {
    let mut contents = vec![(Sequence::PATH.to_owned(), Vec::new())];
    contents.extend((0..limits::ENTRIES).map(|n| (format!("files/{n:05}"), Vec::new())));
    let header = header_of(&contents).to_bytes().expect("writes");
    let refused = unpack(&raw(&[(Header::PATH, &header)]), ROOMY).expect_err("too many");
    assert!(matches!(refused, ReadError::Limit { found: 4097, limit: 4096, .. }), "{refused}");
}

#[test]
fn a_text_entry_beyond_its_limit_is_refused_unread() {
    let mut header = Sample::new().header();
    for (index, path) in [(0, Sequence::PATH), (1, MANIFEST)] {
        header.entries[index].size = limits::TEXT_ENTRY_BYTES + 1;
        let refused = unpack(&raw(&[(Header::PATH, &header.to_bytes().expect("writes"))]), ROOMY).expect_err("large");
        assert!(matches!(&refused, ReadError::Limit { what, .. } if what.contains(path)), "{refused}");
        header.entries[index].size = 0;
    }
    let large = vec![b'#'; usize::try_from(limits::TEXT_ENTRY_BYTES).expect("fits") + 1];
    let refused = unpack(&raw(&[(Header::PATH, &large)]), ROOMY).expect_err("large");
    assert!(matches!(&refused, ReadError::Limit { what, .. } if what.contains(Header::PATH)), "{refused}");
}

#[test]
fn entries_that_come_in_another_order_are_refused() {
    let sample = Sample::new();
    let header = sample.header().to_bytes().expect("writes");
    let contents = sample.contents();
    let entry = |index: usize| (contents[index].0.as_str(), contents[index].1.as_slice());
    let first = (Header::PATH, header.as_slice());
    let orders = [
        vec![entry(0), first, entry(1), entry(2)],
        vec![first, entry(1), entry(0), entry(2)],
        vec![first, entry(0), entry(0), entry(1)],
        vec![first, entry(0), entry(2), entry(1)],
    ];
    for order in orders {
        let refused = unpack(&raw(&order), ROOMY).expect_err("out of order");
        assert!(matches!(refused, ReadError::Order { .. }), "{refused}");
    }
    let refused = unpack(&raw(&[first, entry(0), entry(1)]), ROOMY).expect_err("one is missing");
    assert!(matches!(&refused, ReadError::Header { why, .. } if why.contains("before all entries")), "{refused}");
    let refused = unpack(&raw(&[first, entry(0), entry(1), entry(2), entry(2)]), ROOMY).expect_err("one is too many");
    assert!(matches!(&refused, ReadError::Header { why, .. } if why.contains("goes on")), "{refused}");
}

#[test]
fn a_signed_bundle_is_refused_by_that_name() {
    let sample = Sample::new();
    let header = sample.header().to_bytes().expect("writes");
    let archive = raw(&[(Header::PATH, &header), ("bundle.yaml.sig", b"-----BEGIN SSH SIGNATURE-----\n")]);
    let refused = unpack(&archive, ROOMY).expect_err("signed").to_string();
    assert!(refused.contains("signed bundles are not yet supported"), "{refused}");
}

#[test]
fn links_folders_devices_and_extensions_are_refused() {
    use tar::EntryType as Kind;
    let kinds = [
        Kind::Link,
        Kind::Symlink,
        Kind::Char,
        Kind::Block,
        Kind::Directory,
        Kind::Fifo,
        Kind::Continuous,
        Kind::GNULongName,
        Kind::GNULongLink,
        Kind::GNUSparse,
        Kind::XGlobalHeader,
        Kind::XHeader,
    ];
    for kind in kinds {
        let refused = spoilt(|header| header.set_entry_type(kind));
        assert!(matches!(&refused, ReadError::Header { why, .. } if why.contains("not a regular file")), "{refused}");
    }
    let refused = spoilt(|header| header.as_mut_bytes()[156] = 0);
    assert!(matches!(refused, ReadError::Header { .. }), "the old regular typeflag: {refused}");
}

#[test]
fn paths_that_leave_the_bundle_are_refused_in_headers_too() {
    for (path, why) in [
        ("/sequence.yaml", "absolute path"),
        ("../sequence.yaml", "leaves its root"),
        ("files/../../x", "leaves its root"),
        ("./sequence.yaml", "plain form"),
        ("", "empty"),
    ] {
        let refused = spoilt(|header| {
            let field = &mut header.as_mut_bytes()[..100];
            field.fill(0);
            field[..path.len()].copy_from_slice(path.as_bytes());
        });
        assert!(matches!(&refused, ReadError::Header { why: said, .. } if said.contains(why)), "{path}: {refused}");
    }
    let refused = spoilt(|header| header.as_mut_bytes()[0] = 0xff);
    assert!(matches!(&refused, ReadError::Header { why, .. } if why.contains("UTF-8")), "{refused}");
}

#[test]
fn sizes_that_are_not_what_was_listed_are_refused() {
    let listed = Sample::new().contents()[0].1.len() as u64;
    for size in [0, listed - 1, listed + 1, limits::ENTRY_BYTES] {
        let refused = spoilt(|header| header.set_size(size));
        assert!(matches!(refused, ReadError::Header { .. }), "{size}: {refused}");
    }
    let fields: [&[u8; 12]; 4] = [
        b"\x80\0\0\0\0\0\0\0\0\0\x01\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"-0000000001\0",
        b"0000000008x\0",
    ];
    for field in fields {
        let refused = spoilt(|header| header.as_mut_bytes()[124..136].copy_from_slice(field));
        assert!(matches!(refused, ReadError::Header { .. }), "{field:?}: {refused}");
    }
}

#[test]
fn owners_times_and_other_modes_are_refused() {
    let refusals = [
        spoilt(|header| header.set_mode(0o755)),
        spoilt(|header| header.set_uid(1000)),
        spoilt(|header| header.set_mtime(1)),
        spoilt(|header| header.as_ustar_mut().expect("ustar").set_username("root").expect("fits")),
        spoilt(|header| header.as_mut_bytes()[157] = b'x'),
        spoilt(|header| header.as_mut_bytes()[511] = 1),
    ];
    for refused in refusals {
        assert!(matches!(&refused, ReadError::Header { why, .. } if why.contains("never sets")), "{refused}");
    }
}

#[test]
fn an_entry_that_a_sink_does_not_read_to_its_end_is_never_taken_for_whole() {
    let bytes = Sample::new().pack();
    let refused = read::archive(bytes.as_slice(), ROOMY, &mut |_, _, content| content.read_exact(&mut [0]));
    assert!(matches!(refused, Err(ReadError::Damaged { .. })), "{refused:?}");
}

#[test]
fn a_sink_that_fails_is_named_with_its_entry() {
    let bytes = Sample::new().pack();
    let refused = read::archive(bytes.as_slice(), ROOMY, &mut |_, _, _| Err(std::io::ErrorKind::StorageFull.into()));
    assert!(matches!(&refused, Err(ReadError::Io { doing, .. }) if doing.contains(Sequence::PATH)), "{refused:?}");
}

#[test]
fn a_content_that_changed_since_it_was_measured_is_never_packed() {
    let sample = Sample::new();
    for changed in [b"".to_vec(), b"print('hallo')\n".to_vec(), b"print('hello')\n\n".to_vec()] {
        let mut by_path: std::collections::BTreeMap<_, _> = sample.contents().into_iter().collect();
        by_path.insert(FILE.to_owned(), changed);
        let answer = write::archive(&mut Vec::new(), &sample.header(), &mut |entry| {
            Ok(Box::new(std::io::Cursor::new(by_path[&entry.path].clone())) as Box<dyn Read>)
        });
        assert!(matches!(&answer, Err(write::WriteError::Changed { path }) if path == FILE), "{answer:?}");
    }
}

#[test]
fn a_header_that_no_reader_would_take_is_never_packed() {
    let sample = Sample::new();
    let mut header = sample.header();
    let size = usize::try_from(limits::TEXT_ENTRY_BYTES).expect("fits");
    header.operation.description = Some("x".repeat(size));
    let refused = write::archive(&mut Vec::new(), &header, &mut |_| Ok(Box::new(std::io::empty())));
    assert!(matches!(&refused, Err(write::WriteError::Entry { path, .. }) if path == Header::PATH), "{refused:?}");
}

#[test]
fn a_path_or_size_that_ustar_cannot_say_is_never_packed() {
    let longest = "a".repeat(limits::PATH_BYTES);
    assert!(write::tar_header(&longest, limits::ENTRY_BYTES).is_ok());
    assert!(write::tar_header(&format!("{longest}a"), 0).is_err());
    assert!(write::tar_header("a", limits::ENTRY_BYTES + 1).is_err());
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("compresses")
}

/// An archive of these entries with the headers a writer would make.
fn raw(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, bytes) in entries {
        let size = bytes.len() as u64;
        out.extend(write::tar_header(path, size).expect("fits"));
        out.extend(*bytes);
        out.extend(vec![0; write::padding(size)]);
    }
    out.extend([0; 2 * BLOCK]);
    out
}

/// What is said of a bundle whose second header, that of `sequence.yaml`, was altered and has a fitting checksum.
fn spoilt(alter: impl FnOnce(&mut tar::Header)) -> ReadError {
    let sample = Sample::new();
    let mut bytes = sample.pack();
    let first = sample.header().to_bytes().expect("writes").len() as u64;
    let at = BLOCK + usize::try_from(first).expect("fits") + write::padding(first);
    let mut header = tar::Header::from_byte_slice(&bytes[at..at + BLOCK]).clone();
    alter(&mut header);
    header.set_cksum();
    bytes[at..at + BLOCK].copy_from_slice(header.as_bytes());
    unpack(&bytes, ROOMY).expect_err("it was altered")
}
