//! What is held of foreign ledgers: the stored tars, and the ledger and state that are made from them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::import::{ImportError, import_row};
use super::members::Member;
use super::roots;
use super::tar::{TarError, TarReader};
use super::transport::FrameReader;
use super::verify::{Held, HeldTip};
use crate::disk::{Access, Disk};
use crate::domain::state::Kind;
use crate::domain::token::Import;
use crate::domain::trust::Trust;
use crate::domain::{Digest, Hasher, Seq, TenantName, leaf_hash};
use crate::engine::{Handle, catch_up_one};
use crate::ledger::Origin;
use crate::limits;
use crate::store::{Direction, Page, StoreError};
use crate::trust::Fingerprint;

/// Events pushed before they are archived.
const ARCHIVE_EVERY: u64 = 8 * 1_024;

/// Makes ledger and state of a foreign tenant from the stored tars, as far as they are not there.
pub(super) fn materialise(engine: &Handle, tenant: &TenantName) -> Result<(), ImportError> {
    let Some(import) = import_row(engine, tenant)? else {
        return Ok(());
    };
    let ledger = engine.ledger(tenant)?;
    for (first, size, tar_sha256) in &import.bundles {
        if *size <= ledger.archived() {
            continue;
        }
        let path = tar_path(engine.dir(), *tar_sha256);
        let stored = |error: String| ImportError::Stored(*tar_sha256, error);
        let file = fs::File::open(&path).map_err(|error| stored(error.to_string()))?;
        let mut tar = TarReader::new(io::BufReader::new(file));
        let mut seq = *first;
        read_history(&mut tar, |line| {
            let line = bytes::Bytes::copy_from_slice(line);
            let leaf = leaf_hash(&line);
            ledger
                .push(Seq(seq), line, leaf)
                .map_err(|error| error.to_string())?;
            seq += 1;
            if seq.is_multiple_of(ARCHIVE_EVERY) {
                ledger.archive(seq).map_err(|error| error.to_string())?;
            }
            Ok(())
        })
        .map_err(stored)?;
        ledger.archive(ledger.size())?;
    }
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    catch_up_one(&store, &ledger)?;
    Ok(())
}

/// Visits the lines of `audit/history.jsonl` of a tar that was verified before.
fn read_history<R: Read>(
    tar: &mut TarReader<R>,
    mut visit: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let text = |error: TarError| error.to_string();
    while let Some(entry) = tar.next_entry().map_err(text)? {
        if Member::from_name(&entry.name) != Some(Member::History) {
            continue;
        }
        let (mut line, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let read = tar.content(&mut chunk).map_err(text)?;
            if read == 0 {
                return Ok(());
            }
            for byte in &chunk[..read] {
                if *byte == b'\n' {
                    visit(&line)?;
                    line.clear();
                } else if line.len() < limits::EVENT_BYTES_MAX {
                    line.push(*byte);
                } else {
                    return Err("an event is too long".to_owned());
                }
            }
        }
    }
    Err("there is no history in it".to_owned())
}

fn tar_path(dir: &Path, sha256: Digest) -> PathBuf {
    dir.join("imports").join(format!("{sha256}.tar"))
}

/// Stores the verified tar under its digest, flushed; checked once more on the way.
pub(super) fn store_tar(engine: &Handle, file: &Path, sha256: Digest) -> Result<(), ImportError> {
    let path = tar_path(engine.dir(), sha256);
    let disk_error = |error| ImportError::Disk(path.display().to_string(), error);
    let disk: &dyn Disk = engine.disk().as_ref();
    let dir = engine.dir().join("imports");
    disk.create_dir_all(&dir).map_err(disk_error)?;
    let source = io::BufReader::new(fs::File::open(file).map_err(disk_error)?);
    let mut frame = FrameReader::new(source).map_err(disk_error)?;
    let beside = dir.join(format!("{sha256}.new"));
    let out = disk.open(&beside, Access::Create).map_err(disk_error)?;
    out.set_len(0).map_err(disk_error)?;
    let (mut at, mut hasher, mut chunk) = (0, Hasher::default(), vec![0; 256 * 1024]);
    loop {
        let read = frame.read(&mut chunk).map_err(disk_error)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        out.write_at(&chunk[..read], at).map_err(disk_error)?;
        at += read as u64;
    }
    if hasher.finish() != sha256 {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            "the file changed after it was verified",
        );
        return Err(disk_error(error));
    }
    out.sync().map_err(disk_error)?;
    disk.rename(&beside, &path).map_err(disk_error)?;
    disk.sync_dir(&dir).map_err(disk_error)
}

/// What is held here of foreign ledgers, for the check of continuity.
pub(super) struct HeldHere<'a> {
    pub(super) engine: &'a Handle,
}

impl HeldHere<'_> {
    fn trust(&self, origin: &str) -> Result<Trust, String> {
        let enclave = origin.parse::<Origin>().map_err(|error| error.to_string())?;
        roots::held(self.engine, enclave.enclave().as_str()).map_err(|error| error.to_string())
    }

    fn find(&self, origin: &str) -> Result<Option<Import>, String> {
        let store = self.engine.store().map_err(|error| error.to_string())?;
        let page = Page {
            after: None,
            direction: Direction::Forward,
            limit: limits::IMPORTS_MAX,
        };
        let snapshot = store.read().map_err(|error| error.to_string())?;
        let rows = snapshot
            .rows(&TenantName::system(), Kind::Import, page)
            .map_err(|error| error.to_string())?;
        Ok(rows
            .into_iter()
            .filter_map(|(_, row)| row.as_import().cloned())
            .find(|import| import.origin == origin))
    }
}

impl Held for HeldHere<'_> {
    fn tip(&self, origin: &str) -> Result<Option<HeldTip>, String> {
        let found = self.find(origin)?;
        Ok(found.map(|import| HeldTip {
            size: import.size,
            root: import.root,
            trust_version: import.trust_version.unwrap_or(0),
        }))
    }

    fn root_of_trust(&self, origin: &str) -> Result<Option<(u64, Fingerprint)>, String> {
        let trust = self.trust(origin)?;
        let newest = trust.roots.last();
        Ok(newest.map(|root| (root.version, Fingerprint::from_digest(root.fingerprint))))
    }

    fn root_at(&self, origin: &str, size: u64) -> Result<Option<Digest>, String> {
        let Some(import) = self.find(origin)? else {
            return Ok(None);
        };
        if size > import.size {
            return Ok(None);
        }
        let ledger = self
            .engine
            .ledger(&import.tenant)
            .map_err(|error| error.to_string())?;
        ledger.root_at(size).map(Some).map_err(|error| error.to_string())
    }
}
