//! One run's output as a whole: the order of its lines over all attempts, and who is told of new ones.
//!
//! Positions become readable in order: the lock that hands them out is held until the bytes and entries they
//! stand for are in the files. A reader that has seen position p therefore never misses one below p.
//!
//! After a crash positions may have been given out that no file holds any more. They are never given out again:
//! when an attempt was left open, numbering goes on far beyond the highest one stored, from a recorded base. That is
//! recorded of the attempt too, so it happens once for each time that one is left open, not at each start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::attempt::WriterState;
use super::error::OutputError;
use super::index::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, LineKind, Stream, entry_at};
use super::layout::attempt_dir;
use super::positions;
use crate::disk::{Access, Disk, DiskFile};
use crate::domain::{JobId, StepName, Timestamp};
use crate::limits;

/// More lines than all that a crash can take back. Leaves room for two million crashes of one run.
const POSITIONS_SKIPPED_AFTER_CRASH: u64 = 4 * limits::STEP_LOG_BYTES_MAX;

/// What is known of one attempt's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptMeta {
    pub step: Option<StepName>,
    /// Readable entries; written with each chunk.
    pub entries: u64,
    /// First and last position; both 0 while there is no entry.
    pub first_pos: u64,
    pub last_pos: u64,
    pub ended: bool,
    /// True while an `AttemptLog` writes it.
    pub live: bool,
}

pub(super) type AttemptId = (JobId, u32);

/// The catalogue of one run.
#[derive(Debug)]
pub(super) struct RunLog {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// Guards the positions and the list of attempts; `None` until first used. Held while a chunk is written.
    state: Mutex<Option<RunState>>,
    highest: watch::Sender<u64>,
    /// True once the run's folder is certain to be found after a crash; written with the first attempt.
    is_named: AtomicBool,
}

#[derive(Debug, Default)]
struct RunState {
    highest_pos: u64,
    attempts: BTreeMap<AttemptId, AttemptMeta>,
    /// Attempts whose index cannot be read, or not to its end, and that index.
    damaged: BTreeMap<AttemptId, PathBuf>,
    /// The run's record of positions, where it holds none.
    damaged_positions: Option<PathBuf>,
    /// Attempts that were left open, because of which `highest_pos` was raised, and that is not recorded yet.
    unsettled: BTreeSet<AttemptId>,
    /// Attempts that were left open and of which that is recorded.
    settled: BTreeSet<AttemptId>,
    /// Attempts that were written since this was loaded and may go on: read anew, they would look as if left by a crash. Those
    /// that broke are not among them: nothing of these is certain, as after a crash.
    begun: BTreeSet<AttemptId>,
}

/// A copy of what a reader needs.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub highest_pos: u64,
    pub attempts: Vec<(AttemptId, AttemptMeta)>,
    pub damaged: Vec<DamagedIndex>,
}

/// An index of which lines are missing.
#[derive(Debug)]
pub(super) struct DamagedIndex {
    pub id: AttemptId,
    /// None where not even its header can be read.
    pub meta: Option<AttemptMeta>,
    pub path: PathBuf,
}

impl RunLog {
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        RunLog {
            dir,
            disk,
            state: Mutex::new(None),
            highest: watch::Sender::new(0),
            is_named: AtomicBool::new(false),
        }
    }

    /// Makes certain that an attempt's folder is found after a crash, before any of its lines is shown: a log that
    /// is lost then still tells that positions were given out. What lies above the run is flushed once.
    pub fn name_folders(&self, attempt_dir: &Path, root: &Path) -> Result<(), OutputError> {
        let is_run_named = self.is_named.load(Ordering::Relaxed);
        for dir in attempt_dir.ancestors().skip(1) {
            if is_run_named && !dir.starts_with(&self.dir) {
                break;
            }
            self.disk.sync_dir(dir).map_err(OutputError::disk("flush", dir))?;
            if dir == root {
                break;
            }
        }
        self.is_named.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Told the highest position after each change, and when an attempt ends. Keeps only the latest.
    pub fn follow(&self) -> Result<watch::Receiver<u64>, OutputError> {
        self.with(|state| {
            self.highest.send_replace(state.highest_pos);
        })?;
        Ok(self.highest.subscribe())
    }

    /// Whether it must stay in memory although nobody writes it now: somebody follows it, or an attempt goes on later.
    pub fn is_needed(&mut self) -> bool {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_begun = state.as_ref().is_some_and(|state| !state.begun.is_empty());
        is_begun || self.highest.receiver_count() > 0
    }

    /// The attempts that hold lines after `after_pos`.
    pub fn snapshot(&self, after_pos: u64) -> Result<Snapshot, OutputError> {
        self.with(|state| Snapshot {
            highest_pos: state.highest_pos,
            attempts: state
                .attempts
                .iter()
                .filter(|(_, meta)| meta.last_pos > after_pos)
                .map(|(id, meta)| (*id, meta.clone()))
                .collect(),
            damaged: state
                .damaged
                .iter()
                .map(|(id, path)| DamagedIndex {
                    id: *id,
                    meta: state.attempts.get(id).cloned(),
                    path: path.clone(),
                })
                .collect(),
        })
    }

    pub fn meta(&self, id: AttemptId) -> Result<Option<AttemptMeta>, OutputError> {
        self.with(|state| state.attempts.get(&id).cloned())
    }

    /// Lets one writer in. The answer is what was there before, if anything.
    pub fn begin(&self, id: AttemptId, step: Option<&StepName>) -> Result<Option<AttemptMeta>, OutputError> {
        self.with(|state| {
            let path = || attempt_dir(&self.dir, id.0, id.1);
            if let Some(positions) = &state.damaged_positions {
                return Err(OutputError::damaged(positions, "it holds no position"));
            }
            self.settle(state)?;
            match state.attempts.get_mut(&id) {
                Some(meta) if meta.ended => Err(OutputError::Ended { path: path() }),
                Some(meta) if meta.live => Err(OutputError::InUse { path: path() }),
                Some(meta) => {
                    self.unsettle(&mut state.settled, id)?;
                    meta.live = true;
                    state.begun.insert(id);
                    Ok(Some(meta.clone()))
                }
                None if state.damaged.contains_key(&id) => {
                    Err(OutputError::damaged(&path(), "its index cannot be read"))
                }
                None => {
                    self.unsettle(&mut state.settled, id)?;
                    let meta = AttemptMeta {
                        step: step.cloned(),
                        entries: 0,
                        first_pos: 0,
                        last_pos: 0,
                        ended: false,
                        live: true,
                    };
                    state.attempts.insert(id, meta);
                    state.begun.insert(id);
                    Ok(None)
                }
            }
        })?
    }

    /// Gives `entries` their positions, has them written, then shows them to readers. A position handed to a
    /// failed write is not used again.
    pub fn publish(
        &self,
        id: AttemptId,
        entries: &mut [Entry],
        write: impl FnOnce(&[Entry]) -> Result<(), OutputError>,
    ) -> Result<(), OutputError> {
        self.with(|state| {
            for entry in entries.iter_mut() {
                entry.pos = state.highest_pos + 1;
                state.highest_pos = entry.last_pos();
            }
            write(entries)?;
            if let (Some(meta), Some(first), Some(last)) =
                (state.attempts.get_mut(&id), entries.first(), entries.last())
            {
                if meta.entries == 0 {
                    meta.first_pos = first.pos;
                }
                meta.last_pos = last.last_pos();
                meta.entries += entries.len() as u64;
            }
            self.highest.send_replace(state.highest_pos);
            Ok(())
        })?
    }

    /// The writer is gone.
    pub fn release(&self, id: AttemptId, left: WriterState) {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return };
        if let Some(meta) = state.attempts.get_mut(&id) {
            meta.live = false;
            meta.ended |= left == WriterState::Ended;
        }
        if left != WriterState::Open {
            state.begun.remove(&id);
        }
        self.highest.send_replace(state.highest_pos);
    }

    fn with<T>(&self, act: impl FnOnce(&mut RunState) -> T) -> Result<T, OutputError> {
        let mut guard = self.lock();
        match guard.as_mut() {
            Some(state) => Ok(act(state)),
            None => Ok(act(guard.insert(self.load()?))),
        }
    }

    /// Records how far numbering was raised: first of the run, for the positions that now come, then of the attempts.
    fn settle(&self, state: &mut RunState) -> Result<(), OutputError> {
        if state.unsettled.is_empty() {
            return Ok(());
        }
        positions::write(&*self.disk, &self.dir, state.highest_pos)?;
        while let Some(id) = state.unsettled.first().copied() {
            let dir = attempt_dir(&self.dir, id.0, id.1);
            positions::write(&*self.disk, &dir, state.highest_pos)?;
            state.unsettled.remove(&id);
            state.settled.insert(id);
        }
        Ok(())
    }

    /// An attempt is written again: if it is left open once more, numbers are skipped once more.
    fn unsettle(&self, settled: &mut BTreeSet<AttemptId>, id: AttemptId) -> Result<(), OutputError> {
        if settled.contains(&id) {
            positions::remove(&*self.disk, &attempt_dir(&self.dir, id.0, id.1))?;
            settled.remove(&id);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<RunState>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn load(&self) -> Result<RunState, OutputError> {
        let mut state = RunState::default();
        let jobs = self.disk.list_dirs(&self.dir);
        for job in jobs.map_err(OutputError::disk("list", &self.dir))? {
            let job_dir = self.dir.join(&job);
            let attempts = self.disk.list_dirs(&job_dir);
            for attempt in attempts.map_err(OutputError::disk("list", &job_dir))? {
                if let (Ok(job), Ok(attempt)) = (job.parse::<JobId>(), attempt.parse::<u32>()) {
                    self.load_attempt((job, attempt), &mut state)?;
                }
            }
        }
        match positions::read(&*self.disk, &self.dir) {
            Ok(base) => state.highest_pos = state.highest_pos.max(base),
            Err(OutputError::Damaged { path, .. }) => state.damaged_positions = Some(path),
            Err(error) => return Err(error),
        }
        if !state.unsettled.is_empty() {
            state.highest_pos += POSITIONS_SKIPPED_AFTER_CRASH;
        }
        Ok(state)
    }

    fn load_attempt(&self, id: AttemptId, state: &mut RunState) -> Result<(), OutputError> {
        let dir = attempt_dir(&self.dir, id.0, id.1);
        match load_meta(&*self.disk, &dir) {
            Ok(Some(Loaded { meta, is_damaged })) => {
                let is_whole = meta.ended && !is_damaged;
                state.highest_pos = state.highest_pos.max(meta.last_pos);
                state.attempts.insert(id, meta);
                if is_whole {
                    return Ok(());
                }
                if is_damaged {
                    state.damaged.insert(id, dir.join("lines"));
                }
            }
            Ok(None) => {}
            Err(OutputError::Damaged { path, .. }) => {
                state.damaged.insert(id, path);
            }
            Err(error) => return Err(error),
        }
        match positions::read(&*self.disk, &dir) {
            // A record that cannot be read is none: numbers are skipped once more, and it is written anew.
            Ok(0) | Err(OutputError::Damaged { .. }) => {
                state.unsettled.insert(id);
            }
            Ok(base) => {
                state.highest_pos = state.highest_pos.max(base);
                state.settled.insert(id);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Reads what an attempt's index says. `None` when a crash came before its header.
fn load_meta(disk: &dyn Disk, dir: &Path) -> Result<Option<Loaded>, OutputError> {
    let path = dir.join("lines");
    let index = match disk.open(&path, Access::Read) {
        Ok(index) => index,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OutputError::disk("open", &path)(error)),
    };
    let len = index.len().map_err(OutputError::disk("measure", &path))?;
    if len < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    index
        .read_exact_at(&mut header, 0)
        .map_err(OutputError::disk("read", &path))?;
    let header = Header::decode(&header).ok_or_else(|| match Header::version(&header) {
        Some(_) => OutputError::damaged(&path, "its version is one that this program does not read"),
        None => OutputError::damaged(&path, "its header is not one"),
    })?;
    let slots = (len - HEADER_BYTES as u64) / ENTRY_BYTES as u64;
    let ended = len == entry_at(slots)
        && slots > 0
        && read_entry(&*index, slots - 1)
            .map_err(OutputError::disk("read", &path))?
            .is_some_and(|last| last.kind == LineKind::End && last.pos == slots - 1);
    let mut meta = AttemptMeta {
        step: header.step,
        entries: if ended { slots - 1 } else { slots },
        first_pos: 0,
        last_pos: 0,
        ended,
        live: false,
    };
    // Each entry of a long index that was ended is checked when it is read, not here.
    let is_damaged = ended
        && !meta
            .read_ends(&*index)
            .map_err(OutputError::disk("read", &path))?;
    if is_damaged || !ended {
        meta.entries = valid_entries(disk, dir, &*index, meta.entries)?.entries;
        meta.read_ends(&*index)
            .map_err(OutputError::disk("read", &path))?;
    }
    Ok(Some(Loaded { meta, is_damaged }))
}

struct Loaded {
    meta: AttemptMeta,
    /// Entries are missing from an index that was ended.
    is_damaged: bool,
}

impl AttemptMeta {
    /// Takes first and last position from the index; false when one cannot be read.
    fn read_ends(&mut self, index: &dyn DiskFile) -> std::io::Result<bool> {
        if self.entries == 0 {
            return Ok(true);
        }
        let first = read_entry(index, 0)?;
        let last = read_entry(index, self.entries - 1)?;
        self.first_pos = first.map_or(0, |entry| entry.pos);
        self.last_pos = last.map_or(0, |entry| entry.last_pos());
        Ok(first.is_some() && last.is_some())
    }
}

/// How far an index that was not ended can be believed.
#[derive(Debug, Default)]
pub(super) struct Valid {
    pub entries: u64,
    /// Where the next line of each stream starts.
    pub next_offset: [u64; 2],
    pub lines: [u64; 2],
    pub truncated: [bool; 2],
}

/// Walks the index to its first entry that is torn, out of order, or names bytes that are not there.
pub(super) fn valid_entries(
    disk: &dyn Disk,
    dir: &Path,
    index: &dyn DiskFile,
    slots: u64,
) -> Result<Valid, OutputError> {
    let (mut len, mut files) = ([0; 2], [None, None]);
    for stream in [Stream::Stdout, Stream::Stderr] {
        let path = dir.join(stream.as_str());
        let opened = disk
            .open(&path, Access::Read)
            .and_then(|file| Ok((file.len()?, file)));
        match opened {
            Ok((bytes, file)) => (len[stream as usize], files[stream as usize]) = (bytes, Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(OutputError::disk("open", &path)(error)),
        }
    }
    let (mut valid, mut last_pos) = (Valid::default(), 0);
    for n in 0..slots {
        let entry = read_entry(index, n).map_err(OutputError::disk("read", &dir.join("lines")))?;
        let Some(entry) = entry.filter(|entry| entry.pos > last_pos) else {
            break;
        };
        let stream = entry.stream as usize;
        match entry.kind {
            LineKind::Line | LineKind::Piece => {
                if u64::from(entry.offset) != valid.next_offset[stream] || entry.next_offset() > len[stream] {
                    break;
                }
                let lines = read_block(files[stream].as_deref(), &entry);
                let lines = lines.map_err(OutputError::disk("read", &dir.join(entry.stream.as_str())))?;
                if lines.is_none() {
                    break;
                }
                valid.next_offset[stream] = entry.next_offset();
                valid.lines[stream] += entry.lines();
            }
            LineKind::Truncated => valid.truncated[stream] = true,
            LineKind::End => break,
        }
        last_pos = entry.last_pos();
        valid.entries = n + 1;
    }
    Ok(valid)
}

pub(super) fn read_entry(index: &dyn DiskFile, n: u64) -> std::io::Result<Option<Entry>> {
    let mut bytes = [0; ENTRY_BYTES];
    index.read_exact_at(&mut bytes, entry_at(n))?;
    Ok(Entry::decode(&bytes))
}

/// The lines of an entry, each as one of its own. None when the stream holds something else there.
pub(super) fn read_block(file: Option<&dyn DiskFile>, entry: &Entry) -> std::io::Result<Option<Vec<Entry>>> {
    let Some(file) = file.filter(|_| entry.more > 0) else {
        return Ok((entry.more == 0).then(|| vec![*entry]));
    };
    if entry.bytes as usize > limits::LOG_BLOCK_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; entry.bytes as usize];
    match file.read_exact_at(&mut bytes, u64::from(entry.offset)) {
        Ok(()) => Ok(entry.lines_of(&bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The entry that stands for a line, before it has a position.
pub(super) fn unnumbered(stream: Stream, span: super::splitter::Span, at: Timestamp) -> Entry {
    Entry {
        pos: 0,
        at,
        offset: span.offset as u32,
        bytes: span.bytes as u32,
        stream,
        kind: span.kind,
        more: 0,
    }
}
