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
    runs: Mutex<Runs>,
}

/// Catalogues in memory.
#[derive(Debug)]
struct Runs {
    list: HashMap<RunScope, Arc<RunLog>>,
    /// So many may there be before the next look for those that nobody needs.
    look_at: usize,
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
            runs: Mutex::new(Runs {
                list: HashMap::new(),
                look_at: limits::OUTPUT_RUNS_OPEN_MAX,
            }),
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

    /// The run's catalogue. When there are too many, those are dropped that nobody uses or follows, and of which no attempt was
    /// begun that may go on. So there are at most [`limits::OUTPUT_RUNS_OPEN_MAX`], or twice as many as were needed at the last
    /// look: those in use or followed, and those with an attempt that was begun and has neither ended nor broken. One whose
    /// writer is gone without either counts until the process ends.
    fn run(&self, scope: &RunScope) -> Arc<RunLog> {
        let mut runs = self.runs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(run) = runs.list.get(scope) {
            return Arc::clone(run);
        }
        if runs.list.len() >= runs.look_at {
            runs.list
                .retain(|_, run| Arc::get_mut(run).is_none_or(RunLog::is_needed));
            // A look costs as much as there are.
            runs.look_at = (runs.list.len() * 2).max(limits::OUTPUT_RUNS_OPEN_MAX);
        }
        let run = Arc::new(RunLog::new(scope.dir(&self.root), Arc::clone(&self.disk)));
        runs.list.insert(scope.clone(), Arc::clone(&run));
        run
    }
}

#[cfg(test)]
mod tests {
    use super::attempt::WriterState;
    use super::*;
    use crate::disk::OsDisk;
    use crate::domain::{JobId, RunId};

    #[test]
    fn a_catalogue_is_needed_as_long_as_an_attempt_of_it_may_go_on() {
        let folder = tempfile::tempdir().unwrap();
        for (left, is_needed) in [
            (WriterState::Open, true),
            (WriterState::Broken, false),
            (WriterState::Ended, false),
        ] {
            let mut run = RunLog::new(folder.path().to_owned(), Arc::new(OsDisk));
            let id = (JobId::from_bytes([1; 16]), 1);
            assert!(run.begin(id, None).unwrap().is_none());
            assert!(run.is_needed(), "it is written");
            run.release(id, left);
            assert_eq!(run.is_needed(), is_needed, "{left:?}");
        }
    }

    #[test]
    fn catalogues_that_are_all_needed_are_looked_through_only_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(folder.path().join("output"), Arc::new(OsDisk)).unwrap();
        let run = |number| {
            output.run(&RunScope {
                tenant: "acme".parse().unwrap(),
                run: RunId::derive(Timestamp::from_ms(1), number, 0),
            })
        };
        let kept = || output.runs.lock().unwrap().list.len();
        let most = limits::OUTPUT_RUNS_OPEN_MAX as u64;
        let used: Vec<_> = (0..=most).map(run).collect();
        assert_eq!(output.runs.lock().unwrap().look_at, 2 * used.len() - 2);
        for number in used.len() as u64..4 * most {
            run(number);
            assert!(kept() >= used.len() && kept() <= 2 * used.len(), "{}", kept());
        }
        drop(used);
        for number in 4 * most..7 * most {
            run(number);
        }
        assert!(kept() <= limits::OUTPUT_RUNS_OPEN_MAX, "{}", kept());
    }
}
