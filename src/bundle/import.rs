//! Import: how a bundle is judged here, and what is held of foreign ledgers. `desk` takes it in.
//!
//! The tar is stored by its digest and flushed first, then the event activates it; what is derived from it can be made
//! again from the stored tar at any time.

use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::export::STATE_VERSION;
use super::held::{HeldHere, heal, is_held, materialise};
use super::manifest::Predicate;
use super::members::{Member, StateFile};
use super::replay::{ScratchFolder, ScratchReplay};
use super::report::{CheckName, Finding, Report, Verdict};
use super::roots::RootsError;
use super::verify::{Held, LineVisitor, Options, Replay, ReplayError, VerifyError, peek, verify};
use super::vouched::{Resolved, resolve};
use crate::domain::event::Event;
use crate::domain::import_request::{ImportRequest, ImportStatus};
use crate::domain::rejection::{Code, Rejection};
use crate::domain::state::{Kind, Row, View};
use crate::domain::token::Import;
use crate::domain::trust::Trust;
use crate::domain::{Digest, Hasher, Seq, TenantName};
use crate::engine::{CommandError, FoldError, Handle};
use crate::ledger::LedgerError;
use crate::store::StoreError;
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
    /// True when its events were here already: nothing changed.
    pub already: bool,
    /// True when they were here as a part of what is held, and not as this bundle.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub contained: bool,
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
    /// It begins before the end of what is held, and goes beyond it.
    #[error(
        "the bundle goes from {first} to {size}, {held} events of {origin} are held; ask for a bundle that begins at {held}"
    )]
    Overlap {
        /// First event.
        first: u64,
        /// One more than the last.
        size: u64,
        /// Events held.
        held: u64,
        /// Of which ledger.
        origin: String,
    },
    /// As many as may be wait for persons.
    #[error("{0} imports wait to be approved or rejected; no more may")]
    TooManyWaiting(usize),
    /// As many foreign ledgers as may be are held.
    #[error("{0} foreign ledgers are held; no more may")]
    TooMany(usize),
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
    /// The roots of trust of the bundle cannot be taken in, or those held not be read back.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A file.
    #[error("{0}: {1}")]
    Disk(String, #[source] io::Error),
    /// The server ends.
    #[error("the server is stopping")]
    Stopping,
}

/// The first failed check, in words.
pub(super) fn first_failure(report: &Report) -> String {
    report
        .first_failure()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// What verification here comes to.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) file_sha256: Digest,
    pub(super) predicate: Option<Predicate>,
    pub(super) tar_sha256: Option<Digest>,
    pub(super) state_digest: Option<Digest>,
    pub(super) report: Report,
    /// The roots of trust in the bundle.
    pub(super) roots: Vec<Vec<u8>>,
    /// What is held of its enclave, when a pinned root was what it was judged by.
    pub(super) trust: Option<Trust>,
}

/// Verifies with the keys given or pinned, against what is held, and with a replay. Bundles of this very enclave are not
/// judged: its ledgers are here already, and what is erased in them would stay in an import, which is stored as it came.
pub(super) fn judge(engine: &Handle, file: &Path, given: Option<&Keys>) -> Result<Judged, ImportError> {
    let file_sha256 =
        digest_of(file).map_err(|error| ImportError::Disk(file.display().to_string(), error))?;
    let predicate = peek(&opener(file))?.map(|statement| statement.predicate);
    let mut resolved = Resolved::default();
    if let Some(predicate) = &predicate {
        let enclave = engine.keys().enclave();
        if predicate.origin.starts_with(&format!("fastness/{enclave}/")) {
            let detail = format!(
                "{} is a ledger of this very enclave, which is not imported",
                predicate.origin
            );
            return Err(CommandError::Rejected(Rejection::new(Code::OwnBundle, detail)).into());
        }
        resolved = resolve(engine, &predicate.origin, given)?;
        if let Some(foreign) = foreign_tenant(&predicate.origin, &predicate.tenant) {
            heal(engine, &foreign, file)?;
        }
    }
    // Of a bundle that nobody known can have signed nothing is replayed, and nothing is said about what is held.
    let believed = predicate.as_ref().filter(|_| resolved.may_be_believed());
    let again = match believed {
        Some(predicate) => is_held(engine, file, predicate)?,
        None => false,
    };
    let mut replay = believed.map(|predicate| ReplayBefore::new(engine, predicate));
    let held = HeldHere { engine, again };
    let (anchor, trust) = resolved.anchor.take().unzip();
    let options = Options {
        anchor,
        log_key: resolved.keys.as_ref().map(|keys| keys.log),
        export_key: resolved.keys.as_ref().map(|keys| keys.export),
        held: believed.is_some().then_some(&held as &dyn Held),
        replay: replay.as_mut().map(|replay| replay as &mut dyn Replay),
        require_replay: believed.is_some(),
        require_signature: true,
    };
    let mut outcome = verify(&opener(file), options)?;
    resolved.note_stranger(&mut outcome.report);
    if let Some(version) = predicate.as_ref().map(|predicate| predicate.state_version)
        && version != STATE_VERSION
        && outcome.report.ok
    {
        let detail = format!("stateVersion is {version}, only {STATE_VERSION} is known here");
        let finding = Finding::new(Verdict::Malformed, detail).of(Member::Manifest);
        outcome.report.add(CheckName::Replay, finding);
    }
    let state_digest = match replay {
        Some(mut replay) if outcome.report.ok => Some(replay.made()?.state_digest()?),
        _ => None,
    };
    Ok(Judged {
        file_sha256,
        predicate,
        tar_sha256: outcome.tar_sha256,
        state_digest,
        report: outcome.report,
        roots: outcome.roots,
        trust,
    })
}

/// What is held of foreign ledgers.
///
/// # Errors
/// When the projection cannot be read.
pub fn imports(engine: &Handle) -> Result<Vec<Import>, StoreError> {
    let rows = rows(engine, Kind::Import)?;
    Ok(rows.iter().filter_map(|row| row.as_import().cloned()).collect())
}

/// The bundles that persons were asked about.
///
/// # Errors
/// When the projection cannot be read.
pub fn requests(engine: &Handle) -> Result<Vec<ImportRequest>, StoreError> {
    let rows = rows(engine, Kind::ImportRequest)?;
    Ok(rows
        .iter()
        .filter_map(|row| row.as_import_request().cloned())
        .collect())
}

/// Rows of the ledger `system`.
///
/// # Errors
/// When the projection cannot be read.
pub fn rows(engine: &Handle, kind: Kind) -> Result<Vec<Row>, StoreError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let (snapshot, system) = (store.read()?, TenantName::system());
    let rows = snapshot.every_row(&system, kind)?;
    rows.map(|row| Ok(row?.1)).collect()
}

/// Makes what is derived from imported bundles complete: at start, and after an import.
///
/// # Errors
/// [`ImportError`]; a foreign ledger that cannot be completed is named and the others go on.
pub fn materialise_all(engine: &Handle) -> Result<(), ImportError> {
    let (imports, requests) = (imports(engine)?, requests(engine)?);
    let waiting = requests
        .iter()
        .filter(|request| request.status == ImportStatus::Waiting)
        .map(|request| request.tar_sha256);
    let held = imports
        .iter()
        .flat_map(|import| import.bundles.iter().map(|bundle| bundle.2));
    super::held::sweep(engine, &held.chain(waiting).collect())?;
    let mut failed = Ok(());
    for import in imports {
        if let Err(error) = materialise(engine, &import.tenant) {
            tracing::error!(tenant = %import.tenant, %error, "an imported ledger is incomplete");
            failed = Err(error);
        }
    }
    failed
}

/// A state machine at the state before a bundle: empty, or what is held of the foreign ledger. It is made when the first
/// event is applied, which is after somebody known was seen to have signed the manifest.
struct ReplayBefore<'a> {
    engine: &'a Handle,
    predicate: &'a Predicate,
    made: Option<ScratchReplay>,
}

impl<'a> ReplayBefore<'a> {
    fn new(engine: &'a Handle, predicate: &'a Predicate) -> Self {
        ReplayBefore {
            engine,
            predicate,
            made: None,
        }
    }

    fn made(&mut self) -> Result<&mut ScratchReplay, ImportError> {
        let made = match self.made.take() {
            Some(made) => made,
            None => self.make()?,
        };
        Ok(self.made.insert(made))
    }

    fn make(&self) -> Result<ScratchReplay, ImportError> {
        let Predicate {
            origin,
            tenant,
            first,
            ..
        } = self.predicate;
        let parent = self.engine.dir().join("bundles");
        let scratch = ScratchFolder::new(&parent, self.engine.clock().entropy())
            .map_err(|error| ImportError::Disk(parent.display().to_string(), error))?;
        let mut replay = ScratchReplay::new(scratch, tenant.clone(), *first)?;
        let Some(foreign) = foreign_tenant(origin, tenant).filter(|_| *first > 0) else {
            return Ok(replay);
        };
        let ledger = self.engine.ledger(&foreign)?;
        let mut failed = None;
        ledger.scan(
            Seq(0),
            Seq(ledger.size().min(*first)),
            &mut |seq, bytes| match replay.event(seq.0, bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        match failed {
            Some(error) => Err(StoreError::Failed(error.to_string()).into()),
            None => Ok(replay),
        }
    }

    fn machine(&mut self) -> Result<&mut ScratchReplay, ReplayError> {
        self.made().map_err(|error| ReplayError::Local(error.to_string()))
    }
}

impl Replay for ReplayBefore<'_> {
    fn event(&mut self, seq: u64, bytes: &[u8]) -> Result<(), ReplayError> {
        self.machine()?.event(seq, bytes)
    }

    fn parsed(&mut self, event: &Event, bytes: &[u8]) -> Result<(), ReplayError> {
        self.machine()?.parsed(event, bytes)
    }

    fn finish(&mut self, file: StateFile, visit: LineVisitor<'_>) -> Result<(), ReplayError> {
        self.machine()?.finish(file, visit)
    }
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
