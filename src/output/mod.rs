//! Step logs and artifacts: hashed files, never in the projection.
//!
//! An attempt's output is three files (`stdout`, `stderr`, `lines`); an artifact is one, named by its digest.
//! The ledger holds their digests, in the event that ends the attempt; they are flushed before that event is
//! submitted. Everything here blocks on the disk: async callers hand the calls to blocking threads.

mod attempt;
mod blobs;
mod error;
mod inbox;
mod index;
mod layout;
mod mime;
mod positions;
mod read;
mod run_log;
mod splitter;
mod uploads;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

pub use attempt::{AttemptAsk, AttemptLog, AttemptSummary, StreamSummary};
pub use blobs::{Blob, BlobReader, BlobWriter, Blobs};
pub use error::OutputError;
pub use inbox::{Chunk, Inbox, Received};
pub use index::{LineKind, Stream};
pub use layout::{AttemptKey, RunScope};
pub use mime::mime;
pub use read::{Line, LineFilter, LinePage};
pub use uploads::{Receiving, UploadAsk, UploadRefused};

use crate::disk::Disk;
use crate::domain::Timestamp;
use crate::limits;
use run_log::RunLog;

/// All output below one folder, which must have no other owner.
#[derive(Debug)]
pub struct Output {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    blobs: Blobs,
    /// Guards the list of runs in use, for a look-up; never held while a file is read.
    runs: Mutex<HashMap<RunScope, Arc<RunLog>>>,
}

impl Output {
    /// Opens `root` (`DIR/output`), creating it when missing.
    ///
    /// # Errors
    /// What the disk said.
    pub fn open(root: PathBuf, disk: Arc<dyn Disk>) -> Result<Arc<Output>, OutputError> {
        let blobs = Blobs::open(&root, Arc::clone(&disk))?;
        let above = root.parent().filter(|above| !above.as_os_str().is_empty());
        for dir in [root.as_path(), above.unwrap_or(Path::new("."))] {
            disk.sync_dir(dir).map_err(OutputError::disk("flush", dir))?;
        }
        Ok(Arc::new(Output {
            root,
            disk,
            blobs,
            runs: Mutex::default(),
        }))
    }

    /// The artifacts.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Opens an attempt's log for writing. One that an earlier process left open is taken up where it stopped.
    ///
    /// # Errors
    /// `Ended`, `InUse`, `Damaged`, or what the disk said.
    pub fn attempt(&self, asked: &AttemptAsk, at: Timestamp) -> Result<AttemptLog, OutputError> {
        AttemptLog::open(self.run(&asked.key.scope), &self.root, asked, at)
    }

    /// What an attempt's log came to, of one that may have been left open or ended by an earlier process. None where there
    /// is none. What is open is ended and flushed.
    ///
    /// # Errors
    /// `InUse`, `Damaged`, or what the disk said; then nothing about this log may be recorded.
    pub fn end_attempt(
        &self,
        asked: &AttemptAsk,
        at: Timestamp,
    ) -> Result<Option<AttemptSummary>, OutputError> {
        let run = self.run(&asked.key.scope);
        match run.meta((asked.key.job, asked.key.attempt))? {
            None => Ok(None),
            Some(meta) if meta.ended => read::summarise(&*self.disk, &asked.key.dir(&self.root)).map(Some),
            Some(_) => self.attempt(asked, at)?.finish(at).map(Some),
        }
    }

    /// Lines of a run after `after_pos` in their one order. See [`LinePage`].
    ///
    /// # Errors
    /// What the disk said; damage is named in the page instead.
    pub fn read_lines(
        &self,
        scope: &RunScope,
        after_pos: u64,
        limit: usize,
        filter: &LineFilter,
    ) -> Result<LinePage, OutputError> {
        read::read_lines(&self.run(scope), after_pos, limit, filter)
    }

    /// Lines of one attempt by number, from `first` (counted from 0); walks the index up to there.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, or what the disk said.
    pub fn read_attempt_lines(
        &self,
        key: &AttemptKey,
        first: u64,
        limit: usize,
    ) -> Result<Vec<Line>, OutputError> {
        read::read_attempt_lines(&self.run(&key.scope), (key.job, key.attempt), first, limit)
    }

    /// Raw bytes of a stream: what of `range` exists, at most [`limits::LOG_PAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// `Missing`, or what the disk said.
    pub fn read_raw(
        &self,
        key: &AttemptKey,
        stream: Stream,
        range: Range<u64>,
    ) -> Result<Vec<u8>, OutputError> {
        let path = key.dir(&self.root).join(stream.as_str());
        read::read_raw(&*self.disk, &path, range)
    }

    /// Checks an attempt's files against what the ledger recorded of them.
    ///
    /// # Errors
    /// `Damaged` or `Missing`, naming the file; or what the disk said.
    pub fn verify(&self, key: &AttemptKey, recorded: &AttemptSummary) -> Result<(), OutputError> {
        read::verify(&*self.disk, &key.dir(&self.root), recorded)
    }

    /// Told the highest position of a run after each change, and when an attempt ends. Holds one value, so a slow
    /// follower costs nothing; it reads from its last position.
    ///
    /// # Errors
    /// What the disk said.
    pub fn follow(&self, scope: &RunScope) -> Result<watch::Receiver<u64>, OutputError> {
        self.run(scope).follow()
    }

    /// The run's catalogue. When there are too many, those are dropped that nobody uses or follows, and of which no attempt
    /// was begun that has not ended: there are as many of these as attempts with output are under way.
    fn run(&self, scope: &RunScope) -> Arc<RunLog> {
        let mut runs = self.runs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(run) = runs.get(scope) {
            return Arc::clone(run);
        }
        if runs.len() >= limits::OUTPUT_RUNS_OPEN_MAX {
            runs.retain(|_, run| Arc::get_mut(run).is_none_or(RunLog::is_needed));
        }
        let run = Arc::new(RunLog::new(scope.dir(&self.root), Arc::clone(&self.disk)));
        runs.insert(scope.clone(), Arc::clone(&run));
        run
    }
}
