//! The log of dm-log-writes: every write of a disk in the order in which it became durable, and the disks that a power
//! cut between them could have left.
//!
//! The kernel logs a plain write only when a flush that came after it has completed, just before that flush; a write
//! that went through (FUA) and a mark at once. So what stands before an entry is what was durable then, and the plain
//! writes just before the next flush are what was in the disk's cache.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::dice::Dice;

const MAGIC: u64 = 0x6a_7366_7773_6872;
const SECTOR: u64 = 512;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A write that stayed in the disk's cache until the next flush.
    Cached,
    /// A write that went through the cache.
    Through,
    Flush,
    /// A word of ours.
    Mark(String),
}

/// One entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Where on the disk, in sectors.
    to: u64,
    sectors: u64,
    /// Where in the log its bytes are.
    bytes: u64,
}

/// What becomes of the disk's cache when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// All of it is lost.
    Lost,
    /// Some of its sectors had been written, others not.
    Torn,
}

/// A log that was read.
pub(crate) struct Log {
    file: File,
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    pub(crate) fn read(path: &Path) -> Self {
        let file = File::open(path).expect("a log");
        let head = words(&file, 0);
        assert_eq!((head[0], head[1]), (MAGIC, 1), "not a log of dm-log-writes of version 1");
        let sector_bytes = head[3] & 0xffff_ffff;
        assert_eq!(sector_bytes, SECTOR, "another size of sectors");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for _ in 0..head[2] {
            let [to, sectors, flags, length] = words(&file, at);
            let bytes = at + SECTOR;
            let kind = match flags {
                flags if flags & MARK != 0 => Kind::Mark(text(&file, at + 32, length)),
                flags if flags & FLUSH != 0 => Kind::Flush,
                flags if flags & FUA != 0 => Kind::Through,
                _ => Kind::Cached,
            };
            assert_eq!(flags & DISCARD, 0, "nothing here discards");
            assert!(kind != Kind::Flush || sectors == 0, "device mapper splits a flush from what it comes with");
            at = bytes + sectors * SECTOR;
            entries.push(Entry { kind, to, sectors, bytes });
        }
        Self { file, entries }
    }

    /// The orders that had been acknowledged before an entry.
    pub(crate) fn acknowledged(&self, before: usize) -> usize {
        let marks = self.entries[..before].iter().filter_map(|entry| match &entry.kind {
            Kind::Mark(word) => word.strip_prefix("ack-"),
            Kind::Cached | Kind::Through | Kind::Flush => None,
        });
        marks.map(|number| number.parse::<usize>().expect("a number") + 1).max().unwrap_or(0)
    }

    /// What was in the cache when the power went, if it went before an entry: the plain writes of the next flush.
    pub(crate) fn cached(&self, before: usize) -> std::ops::Range<usize> {
        let flush = self.entries[before..].iter().position(|entry| entry.kind == Kind::Flush);
        let end = flush.map_or(self.entries.len(), |after| before + after);
        let plain = self.entries[..end].iter().rev().take_while(|entry| entry.kind == Kind::Cached).count();
        end - plain..end
    }

    /// Brings a disk, as it was before the log began, to what a cut left. Returns how many orders had been acknowledged.
    pub(crate) fn cut(&self, disk: &Path, before: usize, cache: Cache, dice: &mut Dice) -> usize {
        let disk = OpenOptions::new().write(true).open(disk).expect("a disk");
        let torn = self.cached(before);
        // Those that went through the cache since are on the disk by the time the cache was that full.
        let whole = if cache == Cache::Torn { torn.start } else { before };
        for entry in &self.entries[..whole] {
            self.write(&disk, entry, |_| true);
        }
        if cache == Cache::Torn {
            for entry in &self.entries[torn] {
                // A third is there, a third is not, a third in part.
                let fate = dice.below(3);
                self.write(&disk, entry, |_| match fate {
                    0 => true,
                    1 => false,
                    _ => dice.below(2) == 0,
                });
            }
        }
        self.acknowledged(whole)
    }

    fn write(&self, disk: &File, entry: &Entry, mut keeps: impl FnMut(u64) -> bool) {
        let bytes = match entry.kind {
            Kind::Cached | Kind::Through => entry.sectors,
            // Its words are no sectors of the disk.
            Kind::Flush | Kind::Mark(_) => 0,
        };
        let mut sector = [0; SECTOR as usize];
        for number in (0..bytes).filter(|number| keeps(*number)) {
            self.file.read_exact_at(&mut sector, entry.bytes + number * SECTOR).expect("a sector of the log");
            disk.write_all_at(&sector, (entry.to + number) * SECTOR).expect("a sector of the disk");
        }
    }
}

fn words(file: &File, at: u64) -> [u64; 4] {
    std::array::from_fn(|word| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at + 8 * word as u64).expect("an entry");
        u64::from_le_bytes(bytes)
    })
}

fn text(file: &File, at: u64, length: u64) -> String {
    let mut bytes = vec![0; usize::try_from(length).expect("a short mark")];
    file.read_exact_at(&mut bytes, at).expect("a mark");
    String::from_utf8_lossy(&bytes).into_owned()
}
