//! Export: a range of one of our own ledgers as a bundle. A pure function of range, policy and keys.
//!
//! Two passes over immutable history; no read of the projection is held while it streams. The state of a touched job
//! or run at the end of the range is its row, when its last event is before that, else the fold of its events.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::contents::Carried;
use super::disclosures::{Counts, Showing, write_lines};
use super::import::ImportError;
use super::kept::Ready;
use super::manifest::{Redaction, file_name};
use super::members::Member;
use super::reemit::StoredBundle;
use super::replay::{ScratchFolder, Touched};
use super::roots::{self, RootsError};
use super::sources::HistoryReader;
use super::survey::{StateAt, survey};
use super::write::{BundleWriter, Range, WriteError};
use crate::disclosures::DisclosuresError;
use crate::domain::payload::ExportedRedaction;
use crate::domain::state::{Row, View};
use crate::domain::{Digest, TenantName};
use crate::engine::{CheckpointError, Handle};
use crate::ledger::{LedgerError, TenantLedger};
use crate::limits;
use crate::output::{Output, OutputError};
use crate::store::StoreError;
use crate::trust::PrivateKey;

/// Rules from history to state that this program follows.
pub(super) const STATE_VERSION: u32 = 1;
/// Rows of the projection taken in one read: opening one costs as much as a row, and one that is long keeps pages from being freed.
const ROWS_PER_READ: usize = 100;
/// The published schema of events, whose digest the manifest names.
pub const EVENT_SCHEMA: &str = include_str!("../../bundles/schemas/event.v1.schema.json");

/// What is put in besides the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum With {
    /// The artifacts that the range names.
    Artifacts,
    /// The logs that the range names.
    Logs,
}

impl With {
    /// The name as requests and events carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            With::Artifacts => "artifacts",
            With::Logs => "logs",
        }
    }
}

/// What to export.
#[derive(Debug, Clone)]
pub struct ExportAsk {
    /// Whose ledger.
    pub tenant: TenantName,
    /// First event.
    pub from: u64,
    /// One more than the last; the ledger's size when none is given.
    pub to: Option<u64>,
    /// What is put in besides the history.
    pub with: Vec<With>,
    /// What of redacted fields is shown.
    pub showing: Showing,
}

/// A bundle that was written. Kept beside it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exported {
    /// Events of the ledger when what it shows of redacted fields was looked up; none where it shows none, and in older notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u64>,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file: which very bytes a part of it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_sha256: Option<Digest>,
    /// First event.
    pub first: u64,
    /// The SHA-256 of the tar: equal ranges have equal ids.
    pub id: Digest,
    /// Files that the range names, that were asked for and are not here any more: the manifest says so too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Digest>,
    /// The name under which the file should travel.
    pub name: String,
    /// Origin of the ledger.
    pub origin: String,
    /// What of redacted fields is in it; none in notes of before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<ExportedRedaction>,
    /// Root at `size`.
    pub root: Digest,
    /// One more than the last event.
    pub size: u64,
    /// SHA-256 of the tar.
    pub tar_sha256: Digest,
    /// Whose ledger.
    pub tenant: TenantName,
}

impl Exported {
    /// Whether redacted fields are in it. Notes of imported ledgers from before it was noted are taken to show some.
    pub fn shows_values(&self) -> bool {
        match &self.redaction {
            Some(redaction) => redaction.shown > 0,
            None => self.tenant.is_foreign(),
        }
    }
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The range is empty, or reaches beyond the ledger.
    #[error("the range {from}..{to} is not within the {size} events of the ledger")]
    Range {
        /// First event.
        from: u64,
        /// One more than the last.
        to: u64,
        /// Events in the ledger.
        size: u64,
    },
    /// A member would pass what an archive can hold; the caller must split the range.
    #[error("the range is too large for one bundle; split it at event {split}")]
    RangeTooLarge {
        /// Where to split.
        split: u64,
    },
    /// There is no such redaction policy.
    #[error("there is no redaction policy {0:?}")]
    NoPolicy(String),
    /// A disclosure that was never erased is not there.
    #[error(
        "disclosures of event {0} are not there, and were not erased: the folder of disclosures is damaged"
    )]
    Missing(u64),
    /// What is to be shown was erased while the bundle was written.
    #[error("redacted fields of the range were erased while the bundle was written; export it again")]
    ErasedMeanwhile,
    /// Disclosures cannot be read.
    #[error(transparent)]
    Disclosures(#[from] DisclosuresError),
    /// An imported ledger is re-emitted as it came.
    #[error("ledger {0} is not ours to export")]
    Foreign(TenantName),
    /// An imported ledger is given as it came.
    #[error("an imported ledger is given as it came: artifacts and logs cannot be chosen")]
    WithForeign,
    /// No bundle of an imported ledger has this range.
    #[error("no bundle of {tenant} goes {}; stored are {}", asked(*.from, *.to), listed(.stored))]
    NotStored {
        /// Which ledger.
        tenant: TenantName,
        /// First event asked for.
        from: Option<u64>,
        /// One more than the last asked for.
        to: Option<u64>,
        /// What there is.
        stored: Vec<StoredBundle>,
    },
    /// An imported ledger cannot be read.
    #[error(transparent)]
    Import(#[from] Box<ImportError>),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A checkpoint cannot be signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The projection cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of our own ledger cannot be folded.
    #[error("event {0} of the ledger cannot be folded: {1}")]
    Fold(u64, String),
    /// Artifacts or logs cannot be read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The roots of trust cannot be read, or do not let the present keys sign.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file.
    #[error("{0}: {1}")]
    Disk(String, #[source] io::Error),
}

fn asked(from: Option<u64>, to: Option<u64>) -> String {
    let text = |seq: Option<u64>, none: &str| seq.map_or(none.to_owned(), |seq| seq.to_string());
    format!("from {} to {}", text(from, "anywhere"), text(to, "anywhere"))
}

fn listed(stored: &[StoredBundle]) -> String {
    let mut texts: Vec<String> = stored
        .iter()
        .take(limits::SHOWN_BUNDLES_MAX)
        .map(|bundle| format!("{} to {}", bundle.from, bundle.to))
        .collect();
    if stored.len() > texts.len() {
        texts.push(format!("{} more", stored.len() - texts.len()));
    }
    texts.join(", ")
}

/// Where bundles lie.
pub fn bundle_path(dir: &Path, id: Digest) -> PathBuf {
    dir.join("bundles").join(format!("{id}.audit.tar.zst"))
}

/// Writes the bundle of a range, to be kept once that is recorded. Blocks; call it from a thread that may.
///
/// # Errors
/// [`ExportError`]; nothing is left behind then.
pub fn export(engine: &Handle, output: &Output, ask: &ExportAsk) -> Result<Ready, ExportError> {
    let origin = engine
        .origin(&ask.tenant)
        .ok_or_else(|| ExportError::Foreign(ask.tenant.clone()))?
        .to_string();
    let ledger = engine.ledger(&ask.tenant)?;
    let size = ask.to.unwrap_or_else(|| ledger.size());
    if size > ledger.size() || ask.from >= size {
        return Err(ExportError::Range {
            from: ask.from,
            to: size,
            size: ledger.size(),
        });
    }
    let dir = engine.dir().join("bundles");
    let disk = engine.disk().as_ref();
    disk.create_dir_all(&dir)
        .map_err(|error| ExportError::Disk(dir.display().to_string(), error))?;
    let scratch = ScratchFolder::new(&dir, engine.clock().entropy())
        .map_err(|error| ExportError::Disk(dir.display().to_string(), error))?;
    let survey = survey(&ledger, ask.from, size)?;
    let carried = Carried::of(engine, output, &survey, ask)?;
    let as_of = ledger.size();
    let (counts, shown) = disclosures_of(engine, ask, (size, survey.digests), scratch.path())?;
    let range = Range {
        contents: carried.contents(),
        ..range_of(&ledger, ask, (&origin, size), counts)?
    };
    let root = range.root;
    let mut writer = BundleWriter::new(range);
    // Fetched once: a key that is replaced meanwhile must not sign one half of the bundle.
    let (log, export) = (engine.keys().log(), engine.keys().export());
    roots::add(&mut writer, engine, (&log, &export), (&origin, size))?;
    add_file(&mut writer, Member::Disclosures, shown)?;
    add_tree(&mut writer, engine, &ledger, (ask, size, &log))?;
    let state = StateAt {
        engine,
        ledger: &ledger,
        tenant: &ask.tenant,
        size,
    };
    add_state(&mut writer, &state, &survey.touched, scratch.path())?;
    carried.add_to(&mut writer, output);
    let path = scratch.path().join("bundle");
    let written = writer.write_file(&export, disk, &path)?;
    Ready::new(scratch, path, |bytes, file_sha256| Exported {
        as_of: (counts.shown > 0).then_some(as_of),
        bytes,
        file_sha256: Some(file_sha256),
        first: ask.from,
        id: written.tar_sha256,
        missing: carried.missing.into_iter().collect(),
        name: file_name(&origin, ask.from, size),
        origin,
        redaction: Some(ExportedRedaction {
            policy: ask.showing.name().to_owned(),
            shown: counts.shown,
            withheld: counts.withheld,
        }),
        root,
        size,
        tar_sha256: written.tar_sha256,
        tenant: ask.tenant.clone(),
    })
}

/// Writes what is shown of redacted fields to a file, and counts it.
fn disclosures_of(
    engine: &Handle,
    ask: &ExportAsk,
    (size, digests): (u64, u64),
    scratch: &Path,
) -> Result<(Counts, PathBuf), ExportError> {
    let path = scratch.join("disclosures");
    let disk_error = |error| ExportError::Disk(path.display().to_string(), error);
    let mut out = BufWriter::new(create_private(&path).map_err(disk_error)?);
    let counts = match &ask.showing {
        // There is nothing to look for.
        Showing::Nothing => Counts {
            shown: 0,
            withheld: digests,
        },
        showing => write_lines(engine, &ask.tenant, (ask.from, size), showing, &mut out)?,
    };
    out.flush().map_err(disk_error)?;
    Ok((counts, path))
}

/// A new file that only its owner reads.
pub(super) fn create_private(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn add_file(writer: &mut BundleWriter<'_>, member: Member, path: PathBuf) -> Result<(), ExportError> {
    let open = move || Ok(Box::new(io::BufReader::new(fs::File::open(&path)?)) as Box<dyn Read>);
    Ok(writer.add(member, Box::new(open))?)
}

fn range_of(
    ledger: &TenantLedger,
    ask: &ExportAsk,
    (origin, size): (&str, u64),
    counts: Counts,
) -> Result<Range, ExportError> {
    Ok(Range {
        contents: None,
        first: ask.from,
        origin: origin.to_owned(),
        prev_root: ledger.root_at(ask.from)?,
        redaction: Redaction {
            policy: ask.showing.name().to_owned(),
            withheld: counts.withheld,
        },
        root: ledger.root_at(size)?,
        schema_sha256: Digest::of(EVENT_SCHEMA.as_bytes()),
        size,
        state_version: STATE_VERSION,
        tenant: ask.tenant.clone(),
        trust_version: 0,
    })
}

/// Both checkpoints, the frontier, and the history with its leaves.
fn add_tree(
    writer: &mut BundleWriter<'_>,
    engine: &Handle,
    ledger: &Arc<TenantLedger>,
    (ask, size, log): (&ExportAsk, u64, &PrivateKey),
) -> Result<(), ExportError> {
    for (member, at) in [(Member::Checkpoint, size), (Member::CheckpointPrev, ask.from)] {
        let checkpoint = engine.checkpoint_by(log, &ask.tenant, at)?;
        writer.add_bytes(member, checkpoint.text().as_bytes().to_vec());
    }
    let frontier = super::frontier::write(&ledger.frontier_at(ask.from)?);
    writer.add_bytes(Member::Frontier, frontier);
    let (history, from) = (ledger.clone(), ask.from);
    writer.add_history(Box::new(move || {
        Ok(Box::new(HistoryReader::new(history.clone(), from, size)) as Box<dyn Read>)
    }))?;
    Ok(())
}

fn add_state(
    writer: &mut BundleWriter<'_>,
    state: &StateAt<'_>,
    touched: &Touched,
    scratch: &Path,
) -> Result<(), ExportError> {
    let files = [
        (Member::Jobs, "jobs"),
        (Member::Runs, "runs"),
        (Member::Packs, "packs"),
    ];
    let mut orders = BTreeSet::new();
    for (member, name) in files {
        let path = scratch.join(name);
        let disk_error = |error| ExportError::Disk(path.display().to_string(), error);
        let mut out = BufWriter::new(fs::File::create(&path).map_err(disk_error)?);
        let mut line = |row: &Row| {
            out.write_all(&row.to_canonical())?;
            out.write_all(b"\n")
        };
        match member {
            Member::Jobs => {
                let mut jobs = touched.jobs.iter();
                while jobs.len() > 0 {
                    let snapshot = state.snapshot()?;
                    for job in jobs.by_ref().take(ROWS_PER_READ) {
                        line(&state.job(&snapshot, *job)?).map_err(disk_error)?;
                    }
                }
            }
            Member::Runs => {
                for run in &touched.runs {
                    let row = state.run(&state.snapshot()?, *run)?;
                    orders.extend(row.as_run().and_then(|run| run.order_id));
                    line(&row).map_err(disk_error)?;
                }
            }
            _ => {
                for (name, version) in &touched.packs {
                    let snapshot = state.snapshot()?;
                    let view = snapshot.view(state.tenant);
                    let view: &dyn View = &view;
                    let pack = view
                        .pack(name, *version)
                        .map_err(|error| StoreError::Damaged(error.0))?;
                    let pack =
                        pack.ok_or_else(|| StoreError::Damaged(format!("no pack {name}@{version}")))?;
                    line(&Row::Pack(pack)).map_err(disk_error)?;
                }
            }
        }
        out.flush().map_err(disk_error)?;
        add_file(writer, member, path)?;
    }
    writer.name_orders(orders);
    Ok(())
}
