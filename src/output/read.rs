//! Reads a run's lines in their one order, raw bytes, and checks files against what the ledger recorded.
//!
//! A damaged attempt is left out and named; the rest is served. Calls block on the disk.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attempt::{AttemptSummary, StreamSummary, reread};
use super::error::OutputError;
use super::index::{ENTRY_BYTES, Entry, HEADER_BYTES, LineKind, Stream, entry_at};
use super::layout::attempt_dir;
use super::run_log::{AttemptId, AttemptMeta, RunLog, Snapshot, read_block, read_entry, valid_entries};
use crate::disk::{Access, Disk, DiskFile};
use crate::domain::{Digest, Hasher, JobId, StepName, Timestamp};
use crate::limits;

/// Entries read at once, and lines of theirs beyond which no further one is looked into.
const ENTRIES_AHEAD: u64 = 128;
const LINES_AHEAD: usize = 1_024;

/// Which lines of a run; what is `None` does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineFilter {
    pub step: Option<StepName>,
    pub job: Option<JobId>,
    pub attempt: Option<u32>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub pos: u64,
    pub at: Timestamp,
    pub job: JobId,
    pub step: Option<StepName>,
    pub attempt: u32,
    pub stream: Stream,
    pub kind: LineKind,
    /// The line without its newline; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The same bytes in the raw stream.
    pub raw: Range<u64>,
}

/// Some lines of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinePage {
    pub lines: Vec<Line>,
    /// Every matching line up to this position has been returned; go on after it.
    pub read_to: u64,
    /// Files that are damaged or gone, of attempts that may match; lines of them are missing here. What a crash took of a log
    /// that was not ended is no damage: nothing tells that it was there.
    pub damaged: Vec<PathBuf>,
}

impl LineFilter {
    /// Without its `meta` an attempt may be one of any step.
    fn admits(&self, id: AttemptId, meta: Option<&AttemptMeta>) -> bool {
        self.job.is_none_or(|job| job == id.0)
            && self.attempt.is_none_or(|attempt| attempt == id.1)
            && (self.step.is_none() || meta.is_none_or(|meta| self.step == meta.step))
    }
}

/// Merges the attempts of a run from `after_pos` (exclusive) on: at most `limit` lines and about
/// [`limits::LOG_PIECE_BYTES_MAX`] bytes, but at least one line where there is one.
pub(super) fn read_lines(
    run: &RunLog,
    after_pos: u64,
    limit: usize,
    filter: &LineFilter,
) -> Result<LinePage, OutputError> {
    let Snapshot {
        highest_pos,
        attempts,
        damaged,
    } = run.snapshot(after_pos)?;
    let damaged = damaged
        .into_iter()
        .filter(|index| filter.admits(index.id, index.meta.as_ref()));
    let mut page = LinePage {
        read_to: highest_pos.max(after_pos),
        damaged: damaged.map(|index| index.path).collect(),
        ..LinePage::default()
    };
    let mut cursors: Vec<Cursor> = attempts
        .into_iter()
        .filter(|(id, meta)| filter.admits(*id, Some(meta)))
        .map(|(id, meta)| Cursor::new(&run.dir, id, meta))
        .collect();
    // An attempt is opened only when its first position could be next: most of a long run stays closed.
    let mut next: BinaryHeap<Reverse<(u64, usize)>> = cursors
        .iter()
        .enumerate()
        .map(|(at, cursor)| Reverse((cursor.meta.first_pos.max(after_pos + 1), at)))
        .collect();
    let mut bytes = 0;
    while let Some(Reverse((pos, at))) = next.pop() {
        if page.lines.len() >= limit || bytes >= limits::LOG_PIECE_BYTES_MAX {
            page.read_to = pos - 1;
            break;
        }
        let cursor = &mut cursors[at];
        let taken = cursor.peek(&*run.disk, after_pos).and_then(|found| match found {
            Some(entry) if entry.pos == pos => cursor.take(&*run.disk).map(|line| (line, cursor.lookahead())),
            found => Ok((None, found.map(|entry| entry.pos))),
        });
        match taken {
            Ok((line, then)) => {
                bytes += line.as_ref().map_or(0, |line| line.text.len());
                page.lines.extend(line);
                next.extend(then.map(|pos| Reverse((pos, at))));
            }
            Err(OutputError::Damaged { path, .. } | OutputError::Missing { path }) => page.damaged.push(path),
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// Lines of one attempt by number, from `first` (0 is the first). Walks the entries before, not the lines.
pub(super) fn read_attempt_lines(
    run: &RunLog,
    id: AttemptId,
    first: u64,
    limit: usize,
) -> Result<Vec<Line>, OutputError> {
    let meta = run.meta(id)?.ok_or_else(|| OutputError::Missing {
        path: attempt_dir(&run.dir, id.0, id.1),
    })?;
    let mut cursor = Cursor::new(&run.dir, id, meta);
    let (mut lines, mut bytes) = (Vec::new(), 0);
    cursor.is_placed = true;
    cursor.skip(&*run.disk, first)?;
    while lines.len() < limit && bytes < limits::LOG_PAGE_BYTES_MAX {
        let Some(line) = cursor.peek(&*run.disk, 0).and_then(|_| cursor.take(&*run.disk))? else {
            break;
        };
        bytes += line.text.len();
        lines.push(line);
    }
    Ok(lines)
}

/// Reads bytes of a stream as they came, at most [`limits::LOG_PAGE_BYTES_MAX`] and up to its present end.
pub(super) fn read_raw(disk: &dyn Disk, path: &Path, range: Range<u64>) -> Result<Vec<u8>, OutputError> {
    let file = disk
        .open(path, Access::Read)
        .map_err(OutputError::disk("open", path))?;
    let len = file.len().map_err(OutputError::disk("measure", path))?;
    let end = range.end.min(len);
    let wanted = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; wanted.min(limits::LOG_PAGE_BYTES_MAX)];
    file.read_exact_at(&mut bytes, range.start)
        .map_err(OutputError::disk("read", path))?;
    Ok(bytes)
}

/// Hashes an attempt's three files and compares.
pub(super) fn verify(disk: &dyn Disk, dir: &Path, recorded: &AttemptSummary) -> Result<(), OutputError> {
    for (name, sha256) in [
        ("stdout", recorded.stdout.sha256),
        ("stderr", recorded.stderr.sha256),
        ("lines", recorded.index),
    ] {
        let path = dir.join(name);
        if hash_file(disk, &path)? != sha256 {
            return Err(OutputError::damaged(&path, "its digest is not the recorded one"));
        }
    }
    Ok(())
}

/// What the files of a log that has ended say of it.
pub(super) fn summarise(disk: &dyn Disk, dir: &Path) -> Result<AttemptSummary, OutputError> {
    let path = dir.join("lines");
    let index = disk
        .open(&path, Access::Read)
        .map_err(OutputError::disk("open", &path))?;
    let len = index.len().map_err(OutputError::disk("measure", &path))?;
    let slots = len.saturating_sub(HEADER_BYTES as u64) / ENTRY_BYTES as u64;
    let valid = valid_entries(disk, dir, &*index, slots)?;
    if valid.entries + 1 != slots {
        return Err(OutputError::damaged(&path, "entries are missing"));
    }
    let stream = |stream: Stream| {
        let path = dir.join(stream.as_str());
        let file = disk
            .open(&path, Access::Read)
            .map_err(OutputError::disk("open", &path))?;
        Ok(StreamSummary {
            sha256: hash_file(disk, &path)?,
            bytes: file.len().map_err(OutputError::disk("measure", &path))?,
            lines: valid.lines[stream as usize],
            truncated: valid.truncated[stream as usize],
        })
    };
    Ok(AttemptSummary {
        stdout: stream(Stream::Stdout)?,
        stderr: stream(Stream::Stderr)?,
        index: hash_file(disk, &path)?,
    })
}

pub(super) fn hash_file(disk: &dyn Disk, path: &Path) -> Result<Digest, OutputError> {
    let file = disk
        .open(path, Access::Read)
        .map_err(OutputError::disk("open", path))?;
    let mut hasher = Hasher::default();
    reread(&*file, |bytes, _| {
        hasher.update(bytes);
        Ok(())
    })
    .map_err(OutputError::disk("read", path))?;
    Ok(hasher.finish())
}

/// Walks one attempt's index.
#[derive(Debug)]
struct Cursor {
    id: AttemptId,
    meta: AttemptMeta,
    dir: PathBuf,
    index: Option<Arc<dyn DiskFile>>,
    streams: [Option<Arc<dyn DiskFile>>; 2],
    /// Number of the entry behind the last one read ahead.
    next_entry: u64,
    ahead: VecDeque<Entry>,
    /// Position of the last line taken.
    last_pos: u64,
    is_placed: bool,
}

impl Cursor {
    fn new(run_dir: &Path, id: AttemptId, meta: AttemptMeta) -> Self {
        Cursor {
            id,
            meta,
            dir: attempt_dir(run_dir, id.0, id.1),
            index: None,
            streams: [None, None],
            next_entry: 0,
            ahead: VecDeque::new(),
            last_pos: 0,
            is_placed: false,
        }
    }

    /// The next entry after `after_pos`.
    fn peek(&mut self, disk: &dyn Disk, after_pos: u64) -> Result<Option<Entry>, OutputError> {
        if !self.is_placed {
            self.next_entry = self.first_after(disk, after_pos)?;
            self.is_placed = true;
        }
        if self.ahead.is_empty() {
            self.read_ahead(disk)?;
        }
        // The entry may stand for lines before as well.
        while self.ahead.front().is_some_and(|line| line.pos <= after_pos) {
            self.ahead.pop_front();
        }
        Ok(self.ahead.front().copied())
    }

    /// Goes to a line by its number.
    fn skip(&mut self, disk: &dyn Disk, mut lines: u64) -> Result<(), OutputError> {
        let path = self.dir.join("lines");
        while self.next_entry < self.meta.entries {
            let index = open_once(&mut self.index, disk, &path)?;
            let entry = read_entry(&**index, self.next_entry).map_err(OutputError::disk("read", &path))?;
            let entry = entry.ok_or_else(|| OutputError::damaged(&path, "an entry fails its checksum"))?;
            if entry.lines() > lines {
                break;
            }
            lines -= entry.lines();
            self.next_entry += 1;
        }
        self.read_ahead(disk)?;
        self.ahead.drain(..self.ahead.len().min(lines as usize));
        Ok(())
    }

    /// The position of the next entry or, where it has not been read yet, the lowest it can have.
    fn lookahead(&self) -> Option<u64> {
        match self.ahead.front() {
            Some(entry) => Some(entry.pos),
            None if self.next_entry < self.meta.entries => Some(self.last_pos + 1),
            None => None,
        }
    }

    fn take(&mut self, disk: &dyn Disk) -> Result<Option<Line>, OutputError> {
        let Some(entry) = self.ahead.pop_front() else {
            return Ok(None);
        };
        self.last_pos = entry.pos;
        let (job, attempt) = self.id;
        let (text, len) = match entry.kind {
            LineKind::Truncated => {
                let text = format!("[output cut: more than {} bytes]", entry.bytes);
                (text, 0)
            }
            LineKind::Line | LineKind::Piece | LineKind::End => {
                let bytes = self.bytes_of(disk, &entry)?;
                (
                    String::from_utf8_lossy(&bytes).into_owned(),
                    u64::from(entry.bytes),
                )
            }
        };
        Ok(Some(Line {
            pos: entry.pos,
            at: entry.at,
            job,
            step: self.meta.step.clone(),
            attempt,
            stream: entry.stream,
            kind: entry.kind,
            text,
            raw: u64::from(entry.offset)..u64::from(entry.offset) + len,
        }))
    }

    fn bytes_of(&mut self, disk: &dyn Disk, entry: &Entry) -> Result<Vec<u8>, OutputError> {
        let path = self.dir.join(entry.stream.as_str());
        let file = open_once(&mut self.streams[entry.stream as usize], disk, &path)?;
        if entry.bytes as usize > limits::LOG_LINE_BYTES_MAX {
            return Err(OutputError::damaged(&path, "an indexed line is too long"));
        }
        let mut bytes = vec![0; entry.bytes as usize];
        match file.read_exact_at(&mut bytes, u64::from(entry.offset)) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(OutputError::damaged(&path, "it is shorter than its index says"))
            }
            Err(error) => Err(OutputError::disk("read", &path)(error)),
        }
    }

    fn read_ahead(&mut self, disk: &dyn Disk) -> Result<(), OutputError> {
        let count = self
            .meta
            .entries
            .saturating_sub(self.next_entry)
            .min(ENTRIES_AHEAD);
        let path = self.dir.join("lines");
        let index = open_once(&mut self.index, disk, &path)?;
        let mut bytes = vec![0; count as usize * ENTRY_BYTES];
        index
            .read_exact_at(&mut bytes, entry_at(self.next_entry))
            .map_err(OutputError::disk("read", &path))?;
        for entry in bytes.as_chunks::<ENTRY_BYTES>().0 {
            let entry = Entry::decode(entry).filter(|entry| entry.kind != LineKind::End);
            let lines = match entry {
                Some(entry) => self.block_of(disk, &entry),
                None => Err(OutputError::damaged(&path, "an entry fails its checksum")),
            };
            match lines {
                Ok(lines) => self.ahead.extend(lines),
                // What comes before the damage is served first.
                Err(OutputError::Damaged { .. }) if !self.ahead.is_empty() => break,
                Err(error) => return Err(error),
            }
            self.next_entry += 1;
            if self.ahead.len() >= LINES_AHEAD {
                break;
            }
        }
        Ok(())
    }

    fn block_of(&mut self, disk: &dyn Disk, entry: &Entry) -> Result<Vec<Entry>, OutputError> {
        if entry.more == 0 {
            return Ok(vec![*entry]);
        }
        let path = self.dir.join(entry.stream.as_str());
        let file = open_once(&mut self.streams[entry.stream as usize], disk, &path)?;
        let lines = read_block(Some(&**file), entry).map_err(OutputError::disk("read", &path))?;
        lines.ok_or_else(|| OutputError::damaged(&path, "it has other lines than its index says"))
    }

    /// Number of the first entry after `after_pos`, by halving.
    fn first_after(&mut self, disk: &dyn Disk, after_pos: u64) -> Result<u64, OutputError> {
        if after_pos < self.meta.first_pos {
            return Ok(0);
        }
        let path = self.dir.join("lines");
        let index = open_once(&mut self.index, disk, &path)?;
        let (mut low, mut high) = (0, self.meta.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = read_entry(&**index, middle)
                .map_err(OutputError::disk("read", &path))?
                .ok_or_else(|| OutputError::damaged(&path, "an entry fails its checksum"))?;
            match entry.last_pos() > after_pos {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }
}

fn open_once<'a>(
    slot: &'a mut Option<Arc<dyn DiskFile>>,
    disk: &dyn Disk,
    path: &Path,
) -> Result<&'a mut Arc<dyn DiskFile>, OutputError> {
    match slot {
        Some(file) => Ok(file),
        None => {
            let file = disk
                .open(path, Access::Read)
                .map_err(OutputError::disk("open", path))?;
            Ok(slot.insert(file))
        }
    }
}
