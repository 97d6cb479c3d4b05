//! Replay: events folded into a scratch projection by the same `apply` that made them, and the state lines that come out.
//!
//! The scratch projection lies on disk, so memory stays bounded however long the history is.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::members::StateFile;
use super::verify::{LineVisitor, Replay, ReplayError};
use crate::disk::{Disk, OsDisk};
use crate::domain::event::{Event, EventBody};
use crate::domain::state::{Kind, Row};
use crate::domain::{Digest, Hasher, JobId, PackName, RunId, Seq, TenantName};
use crate::engine::{FoldError, Folder};
use crate::store::{Snapshot, Store, StoreError};

/// How the names of scratch folders begin.
const SCRATCH: &str = "scratch-";

/// A folder that is removed with its owner.
#[derive(Debug)]
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// Makes a new folder below `parent`, with a name of its own.
    ///
    /// # Errors
    /// What the disk said.
    pub fn new(parent: &Path, entropy: u64) -> io::Result<Self> {
        let path = parent.join(format!("{SCRATCH}{entropy:016x}"));
        OsDisk.create_dir_all(&path)?;
        Ok(ScratchFolder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes the scratch folders below `parent` that a crash left behind. At start alone: one that is in use would go too.
///
/// # Errors
/// What the disk said.
pub fn sweep_scratch(parent: &Path) -> io::Result<()> {
    for name in OsDisk.list_dirs(parent)? {
        if name.starts_with(SCRATCH) {
            tracing::info!(name, "a scratch folder that was left behind is removed");
            std::fs::remove_dir_all(parent.join(name))?;
        }
    }
    Ok(())
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a scratch folder was left behind");
        }
    }
}

/// What a range of events names: its state goes into the bundle.
#[derive(Debug, Default)]
pub struct Touched {
    /// Jobs.
    pub jobs: BTreeSet<JobId>,
    /// Runs.
    pub runs: BTreeSet<RunId>,
    /// Pack versions.
    pub packs: BTreeSet<(PackName, u32)>,
}

impl Touched {
    /// Takes in what one event names.
    pub fn take(&mut self, event: &Event) {
        self.jobs.extend(event.subject.job);
        self.runs.extend(event.subject.run);
        if let EventBody::PackRegistered(pack) = &event.body {
            self.packs.insert((pack.name.clone(), pack.version));
        }
    }

    fn names(&self, row: &Row) -> bool {
        match row {
            Row::Job(job) => self.jobs.contains(&job.id),
            Row::Run(run) => self.runs.contains(&run.id),
            Row::Pack(pack) => self.packs.contains(&(pack.name.clone(), pack.version)),
            _ => false,
        }
    }
}

/// A state machine in a scratch folder.
#[derive(Debug)]
pub struct ScratchReplay {
    folder: Folder,
    store: Arc<Store>,
    tenant: TenantName,
    /// From this event on, what is named counts as touched.
    first: u64,
    touched: Touched,
    // Last, so that the files are closed before they are removed.
    _scratch: ScratchFolder,
}

impl ScratchReplay {
    /// An empty state of `tenant`, in a scratch folder. Only what events from `first` on name is given by
    /// [`Replay::finish`].
    ///
    /// # Errors
    /// When the scratch projection cannot be made.
    pub fn new(scratch: ScratchFolder, tenant: TenantName, first: u64) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let store = Arc::new(Store::open(&disk, &scratch.path().join("state.redb"))?);
        let folder = Folder::of_state(store.clone(), tenant.clone())?;
        Ok(ScratchReplay {
            folder,
            store,
            tenant,
            first,
            touched: Touched::default(),
            _scratch: scratch,
        })
    }

    /// Goes on with the next bundle: only what its events, from `first` on, name is given by [`Replay::finish`].
    pub fn continue_at(&mut self, first: u64) {
        self.first = first;
        self.touched = Touched::default();
    }

    fn touch(&mut self, event: &Event) {
        if event.seq.0 >= self.first && self.first > 0 {
            self.touched.take(event);
        }
    }

    /// Digest of the complete state as it stands.
    ///
    /// # Errors
    /// When the scratch projection cannot be read.
    pub fn state_digest(&mut self) -> Result<Digest, FoldError> {
        self.folder.flush()?;
        Ok(state_digest(&self.store.read()?, &self.tenant)?)
    }
}

impl Replay for ScratchReplay {
    fn event(&mut self, seq: u64, bytes: &[u8]) -> Result<(), ReplayError> {
        let event = self.folder.event(Seq(seq), bytes)?;
        self.touch(&event);
        Ok(())
    }

    fn parsed(&mut self, event: &Event, bytes: &[u8]) -> Result<(), ReplayError> {
        self.touch(event);
        Ok(self.folder.parsed(event, bytes)?)
    }

    fn finish(&mut self, file: StateFile, visit: LineVisitor<'_>) -> Result<(), ReplayError> {
        self.folder.flush()?;
        let snapshot = self.store.read().map_err(FoldError::Store)?;
        let (all, touched) = (self.first == 0, &self.touched);
        let mut line = Vec::new();
        let given = each_row(&snapshot, &self.tenant, file, |row| {
            if !all && !touched.names(row) {
                return ControlFlow::Continue(());
            }
            line.clear();
            row.write_canonical(&mut line);
            visit(&line)
        });
        Ok(given.map_err(FoldError::Store)?)
    }
}

impl From<FoldError> for ReplayError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Event { .. } | FoldError::Illegal { .. } => ReplayError::Illegal(error.to_string()),
            FoldError::Ledger(_) | FoldError::Store(_) | FoldError::Ahead { .. } => {
                ReplayError::Local(error.to_string())
            }
        }
    }
}

/// SHA-256 over the complete jobs, runs, throttles and packs lines in that order, each with LF.
///
/// # Errors
/// When the rows cannot be read.
pub fn state_digest(snapshot: &Snapshot, tenant: &TenantName) -> Result<Digest, StoreError> {
    let mut hasher = Hasher::default();
    let mut line = Vec::new();
    for file in [
        StateFile::Jobs,
        StateFile::Runs,
        StateFile::Throttles,
        StateFile::Packs,
    ] {
        each_row(snapshot, tenant, file, |row| {
            line.clear();
            row.write_canonical(&mut line);
            line.push(b'\n');
            hasher.update(&line);
            ControlFlow::Continue(())
        })?;
    }
    Ok(hasher.finish())
}

/// Every row of one state file, in the order of its lines, until `visit` wants no more.
fn each_row(
    snapshot: &Snapshot,
    tenant: &TenantName,
    file: StateFile,
    mut visit: impl FnMut(&Row) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let kind = match file {
        StateFile::Jobs => Kind::Job,
        StateFile::Runs => Kind::Run,
        StateFile::Packs => Kind::Pack,
        // Nothing throttles yet; the file is there, and empty.
        StateFile::Throttles => return Ok(()),
    };
    for row in snapshot.every_row(tenant, kind)? {
        if visit(&row?.1).is_break() {
            break;
        }
    }
    Ok(())
}
