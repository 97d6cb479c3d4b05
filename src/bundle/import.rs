//! Import: a verified bundle becomes a read-only tenant. The tar is stored by its digest and flushed first, then the
//! event `bundle.imported` activates it; what is derived from it can be made again from the stored tar at any time.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::held::{HeldHere, materialise, store_tar};
use super::manifest::Predicate;
use super::replay::{ScratchFolder, ScratchReplay};
use super::report::Report;
use super::verify::{Options, Replay, VerifyError, peek, verify};
use crate::domain::command::Command;
use crate::domain::event::Actor;
use crate::domain::payload::{BundleImported, BundleRefused, TrustPinned};
use crate::domain::state::{Kind, View};
use crate::domain::token::Import;
use crate::domain::{Digest, Hasher, Seq, TenantName};
use crate::engine::{CommandError, FoldError, Handle};
use crate::ledger::LedgerError;
use crate::limits;
use crate::store::{Direction, Page, StoreError};
use crate::trust::{PublicKey, TrustError};

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
    pub state_digest: Option<Digest>,
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
    /// The name of the ledger in the bundle is no origin.
    #[error("{0:?} is not an origin")]
    Origin(String),
    /// The state that came out of the replay cannot be read.
    #[error("reading the replayed state: {0}")]
    Replay(String),
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
    let file_sha256 =
        digest_of(file).map_err(|error| ImportError::Disk(file.display().to_string(), error))?;
    let mut judged = judge(engine, file, keys.as_ref())?;
    let (Some(predicate), Some(tar_sha256), true) =
        (judged.predicate.take(), judged.tar_sha256, judged.report.ok)
    else {
        return Err(refuse(engine, actor, file, file_sha256, judged.report).await?);
    };
    if let Some(keys) = &keys {
        pin(engine, actor, &predicate.origin, keys).await?;
    }
    let tenant = foreign_tenant(&predicate.origin, &predicate.tenant)
        .ok_or_else(|| ImportError::Origin(predicate.origin.clone()))?;
    let already = import_row(engine, &tenant)?
        .is_some_and(|row| row.bundles.iter().any(|bundle| bundle.2 == tar_sha256));
    if !already {
        store_tar(engine, file, tar_sha256)?;
        let imported = BundleImported {
            first: predicate.first,
            origin: predicate.origin.clone(),
            root: predicate.root,
            size: predicate.size,
            tar_sha256,
            tenant: tenant.clone(),
        };
        let command = Command::ImportBundle(Box::new(imported));
        engine.submit(&TenantName::system(), actor, command).await?;
    }
    materialise(engine, &tenant)?;
    Ok(Imported {
        already,
        first: predicate.first,
        origin: predicate.origin,
        root: predicate.root,
        size: predicate.size,
        state_digest: judged.state_digest,
        tar_sha256,
        tenant,
        report: judged.report,
    })
}

/// What verification here comes to.
struct Judged {
    predicate: Option<Predicate>,
    tar_sha256: Option<Digest>,
    state_digest: Option<Digest>,
    report: Report,
}

/// Verifies with the keys given or pinned, against what is held, and with a replay.
fn judge(engine: &Handle, file: &Path, given: Option<&Keys>) -> Result<Judged, ImportError> {
    let predicate = peek(&opener(file))?.map(|statement| statement.predicate);
    let mut replay = None;
    let mut keys = given.cloned();
    if let Some(predicate) = &predicate {
        replay = Some(replay_before(
            engine,
            &predicate.origin,
            &predicate.tenant,
            predicate.first,
        )?);
        if keys.is_none() {
            keys = pinned(engine, &predicate.origin)?;
        }
    }
    let held = HeldHere { engine };
    let options = Options {
        log_key: keys.as_ref().map(|keys| keys.log),
        export_key: keys.as_ref().map(|keys| keys.export),
        held: Some(&held),
        replay: replay.as_mut().map(|replay| replay as &mut dyn Replay),
        require_replay: true,
    };
    let outcome = verify(&opener(file), options)?;
    let state_digest = match replay {
        Some(mut replay) if outcome.report.ok => Some(replay.state_digest().map_err(ImportError::Replay)?),
        _ => None,
    };
    Ok(Judged {
        predicate,
        tar_sha256: outcome.tar_sha256,
        state_digest,
        report: outcome.report,
    })
}

/// What is held of foreign ledgers.
///
/// # Errors
/// When the projection cannot be read.
pub fn imports(engine: &Handle) -> Result<Vec<Import>, StoreError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let page = Page {
        after: None,
        direction: Direction::Forward,
        limit: limits::IMPORTS_MAX,
    };
    let rows = store.read()?.rows(&TenantName::system(), Kind::Import, page)?;
    Ok(rows
        .into_iter()
        .filter_map(|(_, row)| row.as_import().cloned())
        .collect())
}

/// Makes what is derived from imported bundles complete: at start, and after an import.
///
/// # Errors
/// [`ImportError`]; a foreign ledger that cannot be completed is named and the others go on.
pub fn materialise_all(engine: &Handle) -> Result<(), ImportError> {
    for import in imports(engine)? {
        materialise(engine, &import.tenant)?;
    }
    Ok(())
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

pub(super) fn import_row(engine: &Handle, tenant: &TenantName) -> Result<Option<Import>, ImportError> {
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

/// SHA-256 of a file.
///
/// # Errors
/// What the disk said.
pub fn digest_of(file: &Path) -> io::Result<Digest> {
    let (mut source, mut hasher, mut chunk) = (fs::File::open(file)?, Hasher::default(), vec![0; 256 * 1024]);
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&chunk[..read]);
    }
}
