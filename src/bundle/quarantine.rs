//! Quarantine: refused bundles as they came, each with a note that says why.
//!
//! ```text
//! DIR/quarantine/<sha256>        the file
//! DIR/quarantine/<sha256>.json   the note, written last: what has none was not kept
//! ```
//! Promises: bounded in number and bytes, the oldest go first; a note names a file that is whole and flushed. Nothing in
//! it is ever read as anything but bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::import::ImportError;
use super::report::Verdict;
use crate::disk::{self, Access, Disk};
use crate::domain::{Digest, Timestamp};
use crate::limits;

/// Bytes copied at a time.
const BUFFER_BYTES: usize = 256 * 1024;
/// Longest note.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// A refused bundle that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quarantined {
    /// When it was refused, by the wall clock.
    pub at: Timestamp,
    /// Who brought it.
    pub by: String,
    /// Length of the file.
    pub bytes: u64,
    /// The first check that failed.
    pub detail: String,
    /// Exit code of the verification.
    pub exit_code: u8,
    /// First event, as it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// `fork`, `tampered`, `incomplete`, `untrusted`, `malformed`.
    pub kind: String,
    /// Origin, as it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// One more than the last event, as it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The folder of refused bundles.
#[derive(Debug)]
pub struct Quarantine {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    files_max: usize,
    bytes_max: u64,
    /// One at a time changes the folder: bundles and work orders come by different ways.
    turn: Mutex<()>,
}

impl Quarantine {
    /// The quarantine in a folder, with the appliance's bounds.
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Quarantine {
            dir,
            disk,
            files_max: limits::QUARANTINE_FILES_MAX,
            bytes_max: limits::QUARANTINE_BYTES_MAX,
            turn: Mutex::new(()),
        }
    }

    /// What is kept, oldest first.
    ///
    /// # Errors
    /// What the disk said.
    pub fn list(&self) -> Result<Vec<Quarantined>, ImportError> {
        let mut found = Vec::new();
        for name in self.disk.list(&self.dir).map_err(|error| self.failed(error))? {
            if !name.ends_with(".json") {
                continue;
            }
            let path = self.dir.join(&name);
            let note = disk::read_file(self.disk.as_ref(), &path, NOTE_BYTES_MAX);
            match note.and_then(|note| Ok(serde_json::from_slice::<Quarantined>(&note)?)) {
                Ok(note) => found.push(note),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a note in quarantine cannot be read");
                    found.extend(self.unreadable(name.trim_end_matches(".json")));
                }
            }
        }
        found.sort_by_key(|note| (note.at, note.sha256));
        Ok(found)
    }

    /// Keeps a file for which room was made; one that is kept already changes nothing.
    ///
    /// # Errors
    /// What the disk said; the file is then not kept.
    pub fn keep(&self, file: &Path, mut note: Quarantined) -> Result<(), ImportError> {
        let cannot = |error| ImportError::Disk(file.display().to_string(), error);
        let mut source = fs::File::open(file).map_err(cannot)?;
        note.bytes = source.metadata().map_err(cannot)?.len();
        self.keep_from(&mut source, note)
    }

    /// The same for a file that is in memory.
    ///
    /// # Errors
    /// Those of [`Quarantine::keep`].
    pub fn keep_bytes(&self, file: &[u8], note: Quarantined) -> Result<(), ImportError> {
        let bytes = file.len() as u64;
        self.keep_from(&mut &*file, Quarantined { bytes, ..note })
    }

    fn keep_from(&self, source: &mut dyn Read, note: Quarantined) -> Result<(), ImportError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.disk
            .create_dir_all(&self.dir)
            .map_err(|error| self.failed(error))?;
        let kept = self.list()?;
        if kept.iter().any(|other| other.sha256 == note.sha256) {
            return Ok(());
        }
        self.sweep(&kept)?;
        let path = self.dir.join(note.sha256.to_string());
        let text = crate::domain::canonical::to_canonical(&note);
        let written = self.copy(source, &path).and_then(|()| {
            disk::replace_file(self.disk.as_ref(), &self.note_path(note.sha256), &text)
                .map_err(|error| self.failed(error))
        });
        if let Err(error) = written {
            // A full disk gets its room back; what is left is swept by the next.
            let _ = self.sweep(&self.list()?);
            return Err(error);
        }
        Ok(())
    }

    /// Whether something is kept under this digest.
    ///
    /// # Errors
    /// What the disk said.
    pub fn holds(&self, sha256: Digest) -> Result<bool, ImportError> {
        let names = self.disk.list(&self.dir).map_err(|error| self.failed(error))?;
        Ok(names.contains(&format!("{sha256}.json")))
    }

    /// Removes a file and its note. False when there is none.
    ///
    /// # Errors
    /// What the disk said.
    pub fn discard(&self, sha256: Digest) -> Result<bool, ImportError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // The note first: a file without one is not kept.
        match self.disk.remove(&self.note_path(sha256)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.failed(error)),
        }
        self.remove(&sha256.to_string())?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(|error| self.failed(error))?;
        Ok(true)
    }

    /// What is told of a file whose note cannot be read; it is among the first to go.
    fn unreadable(&self, name: &str) -> Option<Quarantined> {
        let sha256 = name.parse().ok()?;
        let bytes = fs::metadata(self.dir.join(name)).map_or(0, |facts| facts.len());
        Some(Quarantined {
            at: Timestamp::from_ms(0),
            by: "unknown".to_owned(),
            bytes,
            detail: "its note cannot be read".to_owned(),
            exit_code: Verdict::Malformed.exit_code(),
            first: None,
            kind: "malformed".to_owned(),
            origin: None,
            sha256,
            size: None,
        })
    }

    /// The oldest, as far as there is no room for them beside one more file of this digest and size. Whoever keeps that one
    /// records and discards them first.
    ///
    /// # Errors
    /// What the disk said.
    pub fn too_many_beside(&self, sha256: Digest, bytes: u64) -> Result<Vec<Digest>, ImportError> {
        let kept = self.list()?;
        if kept.iter().any(|other| other.sha256 == sha256) {
            return Ok(Vec::new());
        }
        let mut total: u64 = kept.iter().map(|note| note.bytes).sum();
        let mut count = kept.len();
        let mut gone = Vec::new();
        for oldest in kept {
            if count < self.files_max && total.saturating_add(bytes) <= self.bytes_max {
                break;
            }
            count -= 1;
            total -= oldest.bytes;
            gone.push(oldest.sha256);
        }
        Ok(gone)
    }

    /// Removes what a crash left without a note.
    fn sweep(&self, kept: &[Quarantined]) -> Result<(), ImportError> {
        let named: BTreeSet<String> = kept.iter().map(|note| note.sha256.to_string()).collect();
        for name in self.disk.list(&self.dir).map_err(|error| self.failed(error))? {
            if !name.ends_with(".json") && !named.contains(&name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn copy(&self, source: &mut dyn Read, to: &Path) -> Result<(), ImportError> {
        let cannot = |error| ImportError::Disk(to.display().to_string(), error);
        let beside = to.with_extension("new");
        let out = self.disk.open(&beside, Access::Create).map_err(cannot)?;
        out.set_len(0).map_err(cannot)?;
        let (mut at, mut piece) = (0, vec![0; BUFFER_BYTES]);
        loop {
            let read = source.read(&mut piece).map_err(cannot)?;
            if read == 0 {
                break;
            }
            out.write_at(&piece[..read], at).map_err(cannot)?;
            at += read as u64;
        }
        out.sync().map_err(cannot)?;
        self.disk.rename(&beside, to).map_err(cannot)?;
        self.disk.sync_dir(&self.dir).map_err(cannot)
    }

    fn remove(&self, name: &str) -> Result<(), ImportError> {
        match self.disk.remove(&self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn note_path(&self, sha256: Digest) -> PathBuf {
        self.dir.join(format!("{sha256}.json"))
    }

    fn failed(&self, error: io::Error) -> ImportError {
        ImportError::Disk(self.dir.display().to_string(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    fn note(at_ms: i64, content: &[u8]) -> Quarantined {
        Quarantined {
            at: Timestamp::from_ms(at_ms),
            by: "alex".to_owned(),
            bytes: 0,
            detail: "container".to_owned(),
            exit_code: 14,
            first: None,
            kind: "malformed".to_owned(),
            origin: None,
            sha256: Digest::of(content),
            size: None,
        }
    }

    /// A quarantine for three files of together ten bytes, and a way to bring a file.
    fn quarantine(folder: &Path) -> (Quarantine, impl Fn(&Quarantine, i64, &[u8]) -> Vec<Digest>) {
        let quarantine = Quarantine {
            files_max: 3,
            bytes_max: 10,
            ..Quarantine::new(folder.join("quarantine"), Arc::new(OsDisk))
        };
        let file = folder.join("file");
        let keep = move |quarantine: &Quarantine, at: i64, content: &[u8]| {
            fs::write(&file, content).unwrap();
            let gone = quarantine
                .too_many_beside(Digest::of(content), content.len() as u64)
                .unwrap();
            for sha256 in &gone {
                assert!(quarantine.holds(*sha256).unwrap());
                assert!(quarantine.discard(*sha256).unwrap());
                assert!(!quarantine.holds(*sha256).unwrap());
            }
            quarantine.keep(&file, note(at, content)).unwrap();
            gone
        };
        (quarantine, keep)
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let (quarantine, keep) = quarantine(folder.path());
        for (at, content) in [(3, b"c"), (1, b"a"), (2, b"b")] {
            assert_eq!(keep(&quarantine, at, content), [], "there is room");
        }
        assert_eq!(
            keep(&quarantine, 9, b"a"),
            [],
            "kept already, and not made younger"
        );
        assert_eq!(keep(&quarantine, 4, b"d"), [Digest::of(b"a")], "one too many");
        let gone = [Digest::of(b"b"), Digest::of(b"c")];
        assert_eq!(keep(&quarantine, 5, b"123456789"), gone, "too many bytes");
        let left: Vec<Digest> = quarantine
            .list()
            .unwrap()
            .iter()
            .map(|note| note.sha256)
            .collect();
        assert_eq!(left, [Digest::of(b"d"), Digest::of(b"123456789")]);
        let files = fs::read_dir(folder.path().join("quarantine")).unwrap().count();
        assert_eq!(files, 4, "two files, two notes");
    }

    #[test]
    fn a_note_that_cannot_be_read_is_shown_as_such_and_can_be_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let (quarantine, keep) = quarantine(folder.path());
        keep(&quarantine, 1, b"a");
        keep(&quarantine, 2, b"b");
        let path = quarantine.note_path(Digest::of(b"a"));
        for damaged in [vec![b' '; NOTE_BYTES_MAX as usize + 1], b"{".to_vec()] {
            fs::write(&path, damaged).unwrap();
            let list = quarantine.list().unwrap();
            let details: Vec<&str> = list.iter().map(|note| note.detail.as_str()).collect();
            assert_eq!(details, ["its note cannot be read", "container"]);
            assert_eq!((list[0].sha256, list[0].bytes), (Digest::of(b"a"), 1));
        }
        keep(&quarantine, 3, b"c");
        assert!(quarantine.discard(Digest::of(b"a")).unwrap());
        assert_eq!(quarantine.list().unwrap().len(), 2);
    }

    #[test]
    fn what_was_not_kept_whole_is_swept_and_what_is_discarded_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (quarantine, keep) = quarantine(folder.path());
        keep(&quarantine, 1, b"a");
        let dir = folder.path().join("quarantine");
        fs::write(dir.join(Digest::of(b"torn").to_string()), b"to").unwrap();
        fs::write(dir.join("x.new"), b"").unwrap();
        keep(&quarantine, 2, b"b");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4, "two files, two notes");
        assert_eq!(fs::read(dir.join(Digest::of(b"a").to_string())).unwrap(), b"a");
        assert!(quarantine.discard(Digest::of(b"a")).unwrap());
        assert!(!quarantine.discard(Digest::of(b"a")).unwrap());
        assert_eq!(quarantine.list().unwrap().len(), 1);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    }
}
