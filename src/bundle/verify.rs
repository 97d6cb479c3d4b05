//! Verification of a bundle: one streaming pass, ten checks, the first offence of each by member, line and event.
//!
//! Promises: memory bounded by the zstd window, the manifest and one line; nothing is written anywhere; the order of
//! the checks and the exit codes are those of [`super::report`]; outside input never panics. Work is bounded by the
//! manifest: an archive whose manifest is not signed by the given key is not read further, and a member much longer
//! than its manifest says ends the pass. Must never use a key that the bundle itself brings, but for one to which a root
//! of trust leads that somebody vouched for.

use std::io;
use std::ops::ControlFlow;

use super::anchor::{Anchor, Resolved, documents_of, resolve};
use super::manifest::Statement;
use super::members::StateFile;
use super::pass::{Pass, Stop};
use super::reading::{Archive, Opener};
use super::report::Report;
use super::tar::TarError;
use crate::domain::Digest;
use crate::domain::event::Event;
use crate::trust::{Fingerprint, PublicKey};

/// What a verification may rely on.
#[derive(Default)]
pub struct Options<'a> {
    /// The key that signs the ledger's checkpoints.
    pub log_key: Option<PublicKey>,
    /// The key that signs its bundles.
    pub export_key: Option<PublicKey>,
    /// A root of trust that leads to the keys, where these are not given.
    pub anchor: Option<Anchor>,
    /// What is already held of foreign ledgers.
    pub held: Option<&'a dyn Held>,
    /// A state machine at the state before the first event.
    pub replay: Option<&'a mut dyn Replay>,
    /// Whether a replay that cannot be made is a failure.
    pub require_replay: bool,
    /// Whether an archive whose manifest nobody known signed is left unread, where no key is known at all.
    pub require_signature: bool,
}

impl Options<'_> {
    /// No key, nothing held, no replay: what a bundle says of itself.
    pub fn none() -> Self {
        Options::default()
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("log_key", &self.log_key)
            .field("export_key", &self.export_key)
            .field("anchor", &self.anchor)
            .finish_non_exhaustive()
    }
}

/// What is held of a foreign ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldTip {
    /// Events held.
    pub size: u64,
    /// Root at that size.
    pub root: Digest,
    /// Newest version of its root of trust seen.
    pub trust_version: u64,
}

/// The foreign ledgers already held here: the defence against roll-back and forks.
pub trait Held {
    /// The end of what is held under `origin`.
    ///
    /// # Errors
    /// When it could not be looked up; the verification then fails as a whole.
    fn tip(&self, origin: &str) -> Result<Option<HeldTip>, String>;

    /// Root of what is held under `origin` at an earlier size.
    ///
    /// # Errors
    /// When it could not be looked up; the verification then fails as a whole.
    fn root_at(&self, origin: &str, size: u64) -> Result<Option<Digest>, String>;

    /// The newest root of trust that is held for the enclave of `origin`, whether anything is held of that ledger or not:
    /// its version and fingerprint.
    ///
    /// # Errors
    /// When it could not be looked up; the verification then fails as a whole.
    fn root_of_trust(&self, origin: &str) -> Result<Option<(u64, Fingerprint)>, String> {
        let _ = origin;
        Ok(None)
    }
}

/// A state machine that events are applied to.
pub trait Replay {
    /// Applies the next event, whose form and place are already checked.
    ///
    /// # Errors
    /// [`ReplayError`].
    fn event(&mut self, seq: u64, bytes: &[u8]) -> Result<(), ReplayError>;

    /// The same for one who has parsed it already.
    ///
    /// # Errors
    /// Those of [`Replay::event`].
    fn parsed(&mut self, event: &Event, bytes: &[u8]) -> Result<(), ReplayError> {
        self.event(event.seq.0, bytes)
    }

    /// Gives the lines that `file` must hold, without LF, in order. Called once for each file, after all events,
    /// in the order of [`StateFile`]. Stops when `visit` says so.
    ///
    /// # Errors
    /// [`ReplayError::Local`]: the lines cannot be given.
    fn finish(&mut self, file: StateFile, visit: LineVisitor<'_>) -> Result<(), ReplayError>;
}

/// Takes a line, and says whether it wants more.
pub type LineVisitor<'a> = &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>;

/// Why a replay goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// What no legal history contains: the history is at fault.
    #[error("{0}")]
    Illegal(String),
    /// The state machine cannot go on, for want of room for instance: it says nothing about the history.
    #[error("{0}")]
    Local(String),
}

/// Result of a verification.
#[derive(Debug)]
pub struct Outcome {
    /// The checklist.
    pub report: Report,
    /// What the bundle says of itself, once it could be read; worth as much as the report says.
    pub statement: Option<Statement>,
    /// SHA-256 of the archive, when all of it was read.
    pub tar_sha256: Option<Digest>,
    /// The documents of its roots of trust, in order; worth as much as the report says.
    pub roots: Vec<Vec<u8>>,
}

/// Why there is no verdict: not the bundle's fault.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file could not be read.
    #[error("reading the bundle: {0}")]
    Read(#[source] io::Error),
    /// What is held could not be looked up.
    #[error("looking up what is held of this ledger: {0}")]
    Held(String),
    /// The state machine could not go on.
    #[error("replaying the events: {0}")]
    Replay(String),
}

/// What the manifest of a bundle says of it, when it can be read. Reads the first member alone and believes nothing: it
/// serves to find what the verification needs.
///
/// # Errors
/// [`VerifyError::Read`]: the file could not be read.
pub fn peek(open: Opener<'_>) -> Result<Option<Statement>, VerifyError> {
    let mut archive = Archive::open(open).map_err(VerifyError::Read)?;
    let mut pass = Pass::new(Options::none(), Resolved::default());
    match pass.manifest(&mut archive) {
        Ok(statement) => Ok(Some(statement)),
        Err(Stop::Found) => Ok(None),
        Err(Stop::Local(error)) => Err(error),
        Err(Stop::Archive(error)) => pass.fault(error).map(|()| None),
    }
}

/// Verifies the bundle that `open` opens.
///
/// # Errors
/// Only when there is no verdict; every fault of the bundle is in the report.
pub fn verify(open: Opener<'_>, options: Options<'_>) -> Result<Outcome, VerifyError> {
    let resolved = match &options.anchor {
        Some(anchor) => resolve(anchor, &documents_of(open).map_err(VerifyError::Read)?),
        None => Resolved::default(),
    };
    let mut archive = Archive::open(open).map_err(VerifyError::Read)?;
    let mut pass = Pass::new(options, resolved);
    let mut tar_sha256 = None;
    match pass.run(&mut archive) {
        Ok(()) => {
            tar_sha256 = Some(archive.digest());
            pass.disclosures(open)?;
            pass.conclude()?;
            pass.locate(open);
        }
        // Damage on the way is told from tampering by the frame's checksum, which stands at the end.
        Err(Stop::Found) => {
            if let Err(error) = archive.drain(pass.bytes_declared()) {
                pass.fault(TarError::Read(error))?;
            }
        }
        Err(Stop::Local(error)) => return Err(error),
        Err(Stop::Archive(error)) => pass.fault(error)?,
    }
    Ok(pass.finish(tar_sha256))
}
