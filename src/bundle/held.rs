//! What is held of foreign ledgers: the stored tars, and the ledger and state that are made from them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::import::{ImportError, digest_of, foreign_tenant, import_row, imports};
use super::manifest::Predicate;
use super::members::Member;
use super::roots;
use super::tar::{TarError, TarReader};
use super::transport::FrameReader;
use super::verify::{Held, HeldTip};
use crate::disk::{Access, Disk};
use crate::domain::payload::BundleImported;
use crate::domain::token::Import;
use crate::domain::trust::Trust;
use crate::domain::{Digest, Hasher, Seq, TenantName, leaf_hash};
use crate::engine::{Handle, catch_up_one};
use crate::ledger::{LedgerError, Origin, SignedCheckpoint, TenantLedger};
use crate::limits;
use crate::store::StoreError;
use crate::trust::Fingerprint;

/// Bytes of events pushed before they are archived, with whole frames of history: one that is begun is written again each time.
const ARCHIVE_BYTES: usize = 8 << 20;

/// Makes ledger and state of a foreign tenant from the stored tars, as far as they are not there.
pub(super) fn materialise(engine: &Handle, tenant: &TenantName) -> Result<(), ImportError> {
    let Some(import) = import_row(engine, tenant)? else {
        return Ok(());
    };
    let ledger = engine.ledger(tenant)?;
    for (first, size, tar_sha256) in &import.bundles {
        if *size > ledger.archived() {
            fill(engine, &ledger, (*first, *size), *tar_sha256)?;
        }
    }
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    catch_up_one(&store, &ledger)?;
    engine.feed().foreign_grew();
    Ok(())
}

/// Makes a foreign ledger complete before a bundle is held against it. One whose stored tar was lost is stored again, when
/// `file` is it.
pub(super) fn heal(engine: &Handle, tenant: &TenantName, file: &Path) -> Result<(), ImportError> {
    let Err(error) = materialise(engine, tenant) else {
        return Ok(());
    };
    tracing::warn!(%tenant, %error, "an imported ledger is incomplete");
    let (Some(import), Ok(found)) = (
        import_row(engine, tenant)?,
        digest_of_tar(file, limits::BUNDLE_BYTES_MAX),
    ) else {
        return Err(error);
    };
    if !import.bundles.iter().any(|bundle| bundle.2 == found) {
        return Err(error);
    }
    store_tar(engine, file, found)?;
    materialise(engine, tenant)
}

/// Whether a file is one of the bundles held, byte for byte. It says which one it wants to be; no more of it is read than
/// that one has.
pub(super) fn is_held(engine: &Handle, file: &Path, predicate: &Predicate) -> Result<bool, ImportError> {
    let Some(tenant) = foreign_tenant(&predicate.origin, &predicate.tenant) else {
        return Ok(false);
    };
    let held = import_row(engine, &tenant)?.map_or_else(Vec::new, |import| import.bundles);
    let range = (predicate.first, predicate.size);
    let Some((.., tar_sha256)) = held.iter().find(|bundle| (bundle.0, bundle.1) == range) else {
        return Ok(false);
    };
    let stored = fs::metadata(tar_path(engine.dir(), *tar_sha256));
    let bytes_max = stored.map_or(limits::BUNDLE_BYTES_MAX, |stored| stored.len());
    // A file that cannot be read to its end is judged like any other.
    Ok(digest_of_tar(file, bytes_max).is_ok_and(|found| found == *tar_sha256))
}

/// SHA-256 of the tar in a file, or of its first `bytes_max` bytes and one chunk.
fn digest_of_tar(file: &Path, bytes_max: u64) -> io::Result<Digest> {
    let mut frame = FrameReader::new(io::BufReader::new(fs::File::open(file)?))?;
    let (mut hasher, mut chunk, mut at) = (Hasher::default(), vec![0; 256 * 1024], 0);
    loop {
        let read = frame.read(&mut chunk)?;
        hasher.update(&chunk[..read]);
        at += read as u64;
        if read == 0 || at > bytes_max {
            return Ok(hasher.finish());
        }
    }
}

/// Brings the events `[first, size)` of a stored tar into a foreign ledger.
fn fill(
    engine: &Handle,
    ledger: &TenantLedger,
    (first, size): (u64, u64),
    tar_sha256: Digest,
) -> Result<(), ImportError> {
    check_stored(engine, tar_sha256)?;
    let stored = |error: String| ImportError::Stored(tar_sha256, error);
    let file =
        fs::File::open(tar_path(engine.dir(), tar_sha256)).map_err(|error| stored(error.to_string()))?;
    let mut tar = TarReader::new(io::BufReader::new(file));
    let (mut seq, mut bytes) = (first, 0);
    read_history(&mut tar, |line| {
        if seq == size {
            return Ok(false);
        }
        let text = |error: LedgerError| error.to_string();
        ledger
            .push(Seq(seq), Bytes::copy_from_slice(line), leaf_hash(line))
            .map_err(text)?;
        (seq, bytes) = (seq + 1, bytes + line.len());
        if bytes >= ARCHIVE_BYTES && seq.is_multiple_of(limits::TILE_LEAVES) {
            ledger.archive(seq).map_err(text)?;
            bytes = 0;
        }
        Ok(true)
    })
    .map_err(stored)?;
    ledger.archive(ledger.size())?;
    Ok(())
}

/// Holds a foreign ledger that was verified elsewhere, up to a size that may lie within its last bundle: for a server that
/// only shows it. `bundles` are files with what was found of them, in order.
///
/// # Errors
/// What the disk or the ledger said.
pub fn hold(
    engine: &Handle,
    bundles: &[(PathBuf, BundleImported)],
    size_max: u64,
) -> Result<Vec<BundleImported>, ImportError> {
    let mut held = Vec::new();
    for (file, bundle) in bundles {
        if bundle.first >= size_max {
            break;
        }
        store_tar(engine, file, bundle.tar_sha256)?;
        let ledger = engine.ledger(&bundle.tenant)?;
        let size = bundle.size.min(size_max);
        fill(engine, &ledger, (bundle.first, size), bundle.tar_sha256)?;
        held.push(BundleImported {
            root: ledger.root_at(size)?,
            size,
            ..bundle.clone()
        });
    }
    if let Some(last) = held.last() {
        let store = engine
            .store()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        catch_up_one(&store, &engine.ledger(&last.tenant)?)?;
    }
    Ok(held)
}

/// Visits the events of a bundle's file that was verified before, in order, as long as `visit` wants more.
///
/// # Errors
/// What `visit` or the disk said.
pub fn each_event(file: &Path, visit: impl FnMut(&[u8]) -> Result<bool, String>) -> Result<(), String> {
    let source = fs::File::open(file).map_err(|error| error.to_string())?;
    let frame = FrameReader::new(io::BufReader::new(source)).map_err(|error| error.to_string())?;
    read_history(&mut TarReader::new(io::BufReader::new(frame)), visit)
}

/// Visits the lines of `audit/history.jsonl` of a tar that was verified before, as long as `visit` wants more.
fn read_history<R: Read>(
    tar: &mut TarReader<R>,
    mut visit: impl FnMut(&[u8]) -> Result<bool, String>,
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
                    if !visit(&line)? {
                        return Ok(());
                    }
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

/// Where a stored tar lies.
pub(super) fn tar_path(dir: &Path, sha256: Digest) -> PathBuf {
    dir.join("imports").join(format!("{sha256}.tar"))
}

/// Whether a stored tar still is what was verified.
pub(super) fn check_stored(engine: &Handle, sha256: Digest) -> Result<(), ImportError> {
    match digest_of(&tar_path(engine.dir(), sha256)) {
        Ok(found) if found == sha256 => Ok(()),
        Ok(_) => Err(ImportError::Stored(
            sha256,
            "it was changed on the disk".to_owned(),
        )),
        Err(error) => Err(ImportError::Stored(sha256, error.to_string())),
    }
}

/// Removes a stored tar that no event needs any more.
pub(super) fn remove_tar(engine: &Handle, sha256: Digest) -> Result<(), ImportError> {
    let path = tar_path(engine.dir(), sha256);
    match engine.disk().remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImportError::Disk(path.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

/// Removes stored tars that no event names: of an import that was never recorded, or was rejected.
pub(super) fn sweep(engine: &Handle, named: &BTreeSet<Digest>) -> Result<(), ImportError> {
    let dir = engine.dir().join("imports");
    let failed = |error| ImportError::Disk(dir.display().to_string(), error);
    for name in engine.disk().list(&dir).map_err(failed)? {
        let digest = name.strip_suffix(".tar").and_then(|name| name.parse().ok());
        if digest.is_none_or(|digest| !named.contains(&digest)) {
            tracing::info!(name, "a stored bundle that no event names is removed");
            engine.disk().remove(&dir.join(&name)).map_err(failed)?;
        }
    }
    Ok(())
}

/// The small member of a stored tar.
pub(super) fn small_member(engine: &Handle, sha256: Digest, wanted: Member) -> Result<Vec<u8>, ImportError> {
    let stored = |error: String| ImportError::Stored(sha256, error);
    let path = tar_path(engine.dir(), sha256);
    let file = fs::File::open(path).map_err(|error| stored(error.to_string()))?;
    let mut tar = TarReader::new(io::BufReader::new(file));
    while let Some(entry) = tar.next_entry().map_err(|error| stored(error.to_string()))? {
        if Member::from_name(&entry.name) != Some(wanted) {
            continue;
        }
        if entry.size > limits::NOTE_BYTES_MAX as u64 {
            break;
        }
        let (mut bytes, mut piece) = (Vec::new(), [0; 4 * 1024]);
        loop {
            match tar
                .content(&mut piece)
                .map_err(|error| stored(error.to_string()))?
            {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
    }
    Err(stored(format!("there is no {wanted} in it")))
}

/// The checkpoint of a foreign ledger as its own enclave signed it: at the end of one of its bundles, the last one when
/// no size is asked for. None where there is none.
///
/// # Errors
/// When a stored tar cannot be read.
pub fn checkpoint(
    engine: &Handle,
    tenant: &TenantName,
    size: Option<u64>,
) -> Result<Option<SignedCheckpoint>, ImportError> {
    let Some(held) = import_row(engine, tenant)? else {
        return Ok(None);
    };
    let mut newest_first = held.bundles.iter().rev();
    let Some((_, end, tar_sha256)) = newest_first.find(|bundle| size.is_none_or(|size| bundle.1 == size))
    else {
        return Ok(None);
    };
    let changed = |why: String| ImportError::Stored(*tar_sha256, why);
    let text = small_member(engine, *tar_sha256, Member::Checkpoint)?;
    let parsed = SignedCheckpoint::parse(&text).map_err(|error| changed(error.to_string()))?;
    let said = parsed.checkpoint();
    // A ledger that is held up to somewhere within its last bundle has no checkpoint there.
    if said.head.size != *end {
        return Ok(None);
    }
    // It lay on a disk: it must still be that of the ledger.
    if said.head.root != engine.ledger(tenant)?.root_at(*end)? || said.origin.to_string() != held.origin {
        return Err(changed("its checkpoint was changed on the disk".to_owned()));
    }
    Ok(Some(parsed))
}

/// Stores the verified tar under its digest, flushed; checked once more on the way.
pub(super) fn store_tar(engine: &Handle, file: &Path, sha256: Digest) -> Result<(), ImportError> {
    let path = tar_path(engine.dir(), sha256);
    let dir = engine.dir().join("imports");
    let disk: &dyn Disk = engine.disk().as_ref();
    let beside = dir.join(format!("{sha256}.new"));
    let stored = disk
        .create_dir_all(&dir)
        .and_then(|()| unpack(disk, file, &beside, sha256))
        .and_then(|()| disk.rename(&beside, &path))
        .and_then(|()| disk.sync_dir(&dir));
    stored.map_err(|error| {
        // A full disk gets its room back; that this may fail as well changes nothing.
        let _ = disk.remove(&beside);
        ImportError::Disk(path.display().to_string(), error)
    })
}

/// Takes the tar out of a bundle's frame, flushed; it must still be the one that was verified.
fn unpack(disk: &dyn Disk, file: &Path, to: &Path, sha256: Digest) -> io::Result<()> {
    let source = io::BufReader::new(fs::File::open(file)?);
    let mut frame = FrameReader::new(source)?;
    let out = disk.open(to, Access::Create)?;
    out.set_len(0)?;
    let (mut at, mut hasher, mut chunk) = (0, Hasher::default(), vec![0; 256 * 1024]);
    loop {
        let read = frame.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        out.write_at(&chunk[..read], at)?;
        at += read as u64;
    }
    if hasher.finish() != sha256 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file changed after it was verified",
        ));
    }
    out.sync()
}

/// What is held here of foreign ledgers, for the check of continuity.
pub(super) struct HeldHere<'a> {
    pub(super) engine: &'a Handle,
    /// True for a bundle that is held, byte for byte: which roots of trust came since says nothing about it but what they
    /// revoke.
    pub(super) again: bool,
}

impl HeldHere<'_> {
    fn trust(&self, origin: &str) -> Result<Trust, String> {
        let enclave = origin.parse::<Origin>().map_err(|error| error.to_string())?;
        roots::held(self.engine, enclave.enclave().as_str()).map_err(|error| error.to_string())
    }

    fn find(&self, origin: &str) -> Result<Option<Import>, String> {
        let imports = imports(self.engine).map_err(|error| error.to_string())?;
        Ok(imports.into_iter().find(|import| import.origin == origin))
    }
}

impl Held for HeldHere<'_> {
    fn tip(&self, origin: &str) -> Result<Option<HeldTip>, String> {
        let found = self.find(origin)?;
        Ok(found.map(|import| HeldTip {
            size: import.size,
            root: import.root,
            trust_version: import.trust_version.filter(|_| !self.again).unwrap_or(0),
        }))
    }

    fn root_of_trust(&self, origin: &str) -> Result<Option<(u64, Fingerprint)>, String> {
        let trust = self.trust(origin)?;
        let newest = trust.roots.last().filter(|_| !self.again);
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
