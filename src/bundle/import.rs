//! Import: a verified bundle becomes a read-only tenant. The tar is stored by its digest and flushed first, then the
//! event `bundle.imported` activates it; what is derived from it can be made again from the stored tar at any time.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::members::Member;
use super::replay::{ScratchFolder, ScratchReplay};
use super::report::Report;
use super::tar::{TarError, TarReader};
use super::transport::FrameReader;
use super::verify::{Held, HeldTip, Options, Replay, VerifyError, verify};
use crate::disk::{Access, Disk};
use crate::domain::command::Command;
use crate::domain::event::Actor;
use crate::domain::payload::{BundleImported, BundleRefused, TrustPinned};
use crate::domain::state::{Kind, View};
use crate::domain::token::Import;
use crate::domain::{Digest, Hasher, Seq, TenantName, leaf_hash};
use crate::engine::{CommandError, FoldError, Handle, catch_up_one};
use crate::ledger::LedgerError;
use crate::limits;
use crate::store::{Direction, Page, StoreError};
use crate::trust::{PublicKey, TrustError};

/// Events pushed before they are archived.
const ARCHIVE_EVERY: u64 = 8 * 1_024;
/// Most foreign ledgers.
const IMPORTS_MAX: usize = limits::TENANTS_MAX;

/// The keys that a bundle must be signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Signs the ledger's checkpoints.
    pub log: PublicKey,
    /// Signs its bundles.
    pub export: PublicKey,
}

/// How an import ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// True when the same bundle was here already: nothing changed.
    pub already: bool,
    /// First event.
    pub first: u64,
    /// Origin of the ledger.
    pub origin: String,
    /// Root at `size`.
    pub root: Digest,
    /// One more than the last event.
    pub size: u64,
    /// Digest of the complete state at `size`, as replayed here.
    pub state_digest: Digest,
    /// SHA-256 of the tar.
    pub tar_sha256: Digest,
    /// The read-only tenant.
    pub tenant: TenantName,
    /// The checklist.
    pub report: Report,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The bundle was refused; it lies in quarantine.
    #[error("the bundle was refused: {}", first_failure(.0))]
    Refused(Box<Report>),
    /// No verdict.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The writer did not accept the event.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The foreign ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The foreign state cannot be written.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The projection cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A pinned key cannot be read.
    #[error(transparent)]
    Key(#[from] TrustError),
    /// The stored tar cannot be read back.
    #[error("the stored bundle {0} cannot be read: {1}")]
    Stored(Digest, String),
    /// A file.
    #[error("{0}: {1}")]
    Disk(String, #[source] io::Error),
}

fn first_failure(report: &Report) -> String {
    report
        .first_failure()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Verifies a bundle and takes it in. With `keys`, these are pinned for its origin; without, the pinned ones must be
/// there. Blocks on the disk; awaits the writer.
///
/// # Errors
/// [`ImportError::Refused`] carries the checklist; the file is then in quarantine.
pub async fn import(
    engine: &Handle,
    actor: &Actor,
    file: &Path,
    keys: Option<Keys>,
) -> Result<Imported, ImportError> {
    let disk_error = |error| ImportError::Disk(file.display().to_string(), error);
    let file_sha256 = digest_of(file).map_err(disk_error)?;
    let look = verify(
        &opener(file),
        Options {
            require_replay: false,
            ..Options::none()
        },
    )?;
    let statement = look
        .statement
        .as_ref()
        .map(|statement| statement.predicate.clone());
    let origin = statement
        .as_ref()
        .map(|predicate| predicate.origin.clone())
        .unwrap_or_default();
    let given = keys.is_some();
    let keys = match keys {
        Some(keys) => Some(keys),
        None => pinned(engine, &origin)?,
    };
    let held = HeldHere { engine };
    let mut replay = match &statement {
        Some(predicate) => Some(replay_before(
            engine,
            &predicate.origin,
            &predicate.tenant,
            predicate.first,
        )?),
        None => None,
    };
    let outcome = verify(
        &opener(file),
        Options {
            log_key: keys.as_ref().map(|keys| keys.log.clone()),
            export_key: keys.as_ref().map(|keys| keys.export.clone()),
            held: Some(&held),
            replay: replay.as_mut().map(|replay| replay as &mut dyn Replay),
            require_replay: true,
        },
    )?;
    let (Some(predicate), Some(tar_sha256), true) = (statement, outcome.tar_sha256, outcome.report.ok) else {
        return Err(refuse(engine, actor, file, file_sha256, outcome.report).await?);
    };
    if let (Some(keys), true) = (&keys, given) {
        pin(engine, actor, &origin, keys).await?;
    }
    let tenant = foreign_tenant(&origin, &predicate.tenant).ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidData, format!("{origin:?} is not an origin"));
        ImportError::Disk(file.display().to_string(), error)
    })?;
    let already = import_row(engine, &tenant)?
        .is_some_and(|row| row.bundles.iter().any(|bundle| bundle.2 == tar_sha256));
    if !already {
        store_tar(engine, file, tar_sha256)?;
        let imported = BundleImported {
            first: predicate.first,
            origin: origin.clone(),
            root: predicate.root,
            size: predicate.size,
            tar_sha256,
            tenant: tenant.clone(),
        };
        let command = Command::ImportBundle(Box::new(imported));
        engine.submit(&TenantName::system(), actor, command).await?;
    }
    materialise(engine, &tenant)?;
    let state_digest = match &mut replay {
        Some(replay) => replay
            .state_digest()
            .map_err(|error| ImportError::Stored(tar_sha256, error))?,
        None => return Err(ImportError::Stored(tar_sha256, "no replay".to_owned())),
    };
    Ok(Imported {
        already,
        first: predicate.first,
        origin,
        root: predicate.root,
        size: predicate.size,
        state_digest,
        tar_sha256,
        tenant,
        report: outcome.report,
    })
}

/// Makes what is derived from imported bundles complete: at start, and after an import.
///
/// # Errors
/// [`ImportError`]; a foreign ledger that cannot be completed is named and the others go on.
pub fn materialise_all(engine: &Handle) -> Result<(), ImportError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let page = Page {
        after: None,
        direction: Direction::Forward,
        limit: IMPORTS_MAX,
    };
    let rows = store.read()?.rows(&TenantName::system(), Kind::Import, page)?;
    for import in rows.iter().filter_map(|(_, row)| row.as_import()) {
        materialise(engine, &import.tenant)?;
    }
    Ok(())
}

/// Makes ledger and state of a foreign tenant from the stored tars, as far as they are not there.
fn materialise(engine: &Handle, tenant: &TenantName) -> Result<(), ImportError> {
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

/// A state machine at the state before `first`: empty, or what is held of the foreign ledger.
fn replay_before(
    engine: &Handle,
    origin: &str,
    tenant: &TenantName,
    first: u64,
) -> Result<ScratchReplay, ImportError> {
    let parent = engine.dir().join("bundles");
    let scratch = ScratchFolder::new(&parent, engine.clock().entropy())
        .map_err(|error| ImportError::Disk(parent.display().to_string(), error))?;
    let mut replay = ScratchReplay::new(scratch, tenant.clone(), first)?;
    if first == 0 {
        return Ok(replay);
    }
    if let Some(foreign) = foreign_tenant(origin, tenant) {
        let ledger = engine.ledger(&foreign)?;
        let mut failed = None;
        ledger.scan(
            Seq(0),
            Seq(first.min(ledger.size())),
            &mut |seq, bytes| match replay.event(seq.0, bytes) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    std::ops::ControlFlow::Break(())
                }
            },
        )?;
        if let Some(error) = failed {
            return Err(StoreError::Failed(error).into());
        }
    }
    Ok(replay)
}

async fn refuse(
    engine: &Handle,
    actor: &Actor,
    file: &Path,
    sha256: Digest,
    report: Report,
) -> Result<ImportError, ImportError> {
    let dir = engine.dir().join("quarantine");
    let disk_error = |error| ImportError::Disk(dir.display().to_string(), error);
    engine.disk().create_dir_all(&dir).map_err(disk_error)?;
    fs::copy(file, dir.join(sha256.to_string())).map_err(disk_error)?;
    let detail = first_failure(&report);
    let refused = BundleRefused {
        detail,
        exit_code: i32::from(report.exit_code),
        sha256,
    };
    let command = Command::RecordRefusal(Box::new(refused));
    engine.submit(&TenantName::system(), actor, command).await?;
    Ok(ImportError::Refused(Box::new(report)))
}

async fn pin(engine: &Handle, actor: &Actor, origin: &str, keys: &Keys) -> Result<(), ImportError> {
    let pinned = TrustPinned {
        export_key: keys.export.to_pem()?,
        log_key: keys.log.to_pem()?,
        origin: origin.to_owned(),
    };
    engine
        .submit(&TenantName::system(), actor, Command::PinTrust(Box::new(pinned)))
        .await?;
    Ok(())
}

/// The keys pinned for an origin.
///
/// # Errors
/// When the projection or the key cannot be read.
pub fn pinned(engine: &Handle, origin: &str) -> Result<Option<Keys>, ImportError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let (snapshot, system) = (store.read()?, TenantName::system());
    let view = snapshot.view(&system);
    let view: &dyn View = &view;
    let pin = view.pin(origin).map_err(|error| StoreError::Damaged(error.0))?;
    let Some(pin) = pin else { return Ok(None) };
    Ok(Some(Keys {
        log: PublicKey::from_pem(&pin.log_key)?,
        export: PublicKey::from_pem(&pin.export_key)?,
    }))
}

fn import_row(engine: &Handle, tenant: &TenantName) -> Result<Option<Import>, ImportError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let (snapshot, system) = (store.read()?, TenantName::system());
    let view = snapshot.view(&system);
    let view: &dyn View = &view;
    Ok(view
        .import(tenant)
        .map_err(|error| StoreError::Damaged(error.0))?)
}

/// `fastness/<16 hex>/<tenant>` of elsewhere is `foreign:<16 hex>/<tenant>` here.
pub fn foreign_tenant(origin: &str, tenant: &TenantName) -> Option<TenantName> {
    let enclave = origin.strip_prefix("fastness/")?.split('/').next()?;
    format!("foreign:{enclave}/{tenant}").parse().ok()
}

fn tar_path(dir: &Path, sha256: Digest) -> PathBuf {
    dir.join("imports").join(format!("{sha256}.tar"))
}

/// Stores the verified tar under its digest, flushed; checked once more on the way.
fn store_tar(engine: &Handle, file: &Path, sha256: Digest) -> Result<(), ImportError> {
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
struct HeldHere<'a> {
    engine: &'a Handle,
}

impl HeldHere<'_> {
    fn find(&self, origin: &str) -> Result<Option<Import>, String> {
        let store = self.engine.store().map_err(|error| error.to_string())?;
        let page = Page {
            after: None,
            direction: Direction::Forward,
            limit: IMPORTS_MAX,
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
            trust_version: 0,
        }))
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

/// Opens a file as often as verification needs.
pub fn opener(file: &Path) -> impl Fn() -> io::Result<Box<dyn Read>> + use<> {
    let file: Arc<Path> = file.into();
    move || {
        Ok(Box::new(io::BufReader::with_capacity(
            1 << 18,
            fs::File::open(&file)?,
        )))
    }
}

fn digest_of(file: &Path) -> io::Result<Digest> {
    let (mut source, mut hasher, mut chunk) = (fs::File::open(file)?, Hasher::default(), vec![0; 256 * 1024]);
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&chunk[..read]);
    }
}
