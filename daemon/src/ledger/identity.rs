//! The identity of a ledger: a UUID in `ledger-id`, made once and kept, whatever becomes of journal and index.
//!
//! Must not: keep a daemon from its work. With another identity it only no longer knows containers of the old one.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::disk;
use crate::sequence::orphan::LedgerId;

/// Where it is.
const FILE: &str = "ledger-id";

/// Reads the identity of a state directory that this process has locked, or makes one. What was wrong is noted.
#[must_use]
pub fn of(state_dir: &Path, notes: &mut Vec<String>) -> LedgerId {
    let path = state_dir.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => match std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()) {
            Some(id) => return id,
            None => notes.push(set_aside(&path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            notes.push(format!(
                "failed to read {}: {error}; until a start can read it, containers of earlier runs are no orphans",
                path.display()
            ));
            // Not written: what is there may be whole.
            return LedgerId::new(Uuid::now_v7());
        }
    }
    let id = LedgerId::new(Uuid::now_v7());
    if let Err(error) = disk::write_durably(&path, format!("{id}\n").as_bytes()) {
        notes.push(format!(
            "failed to write {}: {error}; what this run leaves behind will be no orphan to the next",
            path.display()
        ));
    }
    id
}

fn set_aside(path: &Path) -> String {
    let aside = path.with_extension("damaged");
    let moved = match std::fs::rename(path, &aside) {
        Ok(()) => format!("it was moved to {}", aside.display()),
        Err(error) => format!("it could not be moved aside: {error}"),
    };
    format!(
        "{}: found no UUID; {moved}, and another identity was made: containers of earlier runs that are left behind \
         are not removed, see `podman ps --all --filter label=perigee=container`",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn identity_is_made_once_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut notes = Vec::new();
        let first = of(folder.path(), &mut notes);
        assert_eq!(of(folder.path(), &mut notes), first);
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).expect("a file"), format!("{first}\n"));
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn damaged_identity_is_set_aside_noted_and_replaced_by_another() {
        for damage in [&b""[..], b"01a1fd64", b"\xff\xfe"] {
            let folder = tempfile::tempdir().expect("a folder");
            let first = of(folder.path(), &mut Vec::new());
            fs::write(folder.path().join(FILE), damage).expect("written");
            let mut notes = Vec::new();
            let second = of(folder.path(), &mut notes);
            assert_ne!(second, first);
            assert!(matches!(&notes[..], [note] if note.contains("ledger-id: found no UUID")), "{notes:?}");
            assert_eq!(fs::read(folder.path().join("ledger-id.damaged")).expect("kept"), damage);
            assert_eq!(of(folder.path(), &mut Vec::new()), second);
        }
    }

    #[test]
    fn identity_that_cannot_be_read_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(FILE)).expect("in the way");
        let mut notes = Vec::new();
        assert_ne!(of(folder.path(), &mut notes), of(folder.path(), &mut notes));
        assert!(notes[0].contains("failed to read"), "{notes:?}");
        assert!(folder.path().join(FILE).is_dir());
    }
}
