//! The immutable history of one tenant: frames of 256 events in data files, and a tail that holds the rest.
//!
//! Order of an append, each step flushed before the next:
//!
//! ```text
//! 1 full frames into *.frames, their entries into *.index      beyond what the tail commits: means nothing yet
//! 2 the names of new files
//! 3 the tail, replaced atomically                              this commits
//! ```
//! So after a crash the tail says, without doubt, what counts: bytes of the data file beyond `data_bytes`, index entries
//! beyond their frames and data files after `data` were never committed; they are cut away before the next append
//! and never read. A data file *shorter* than committed is damage, never taken for a torn tail: nothing is appended to
//! it, and what it still holds can be read. The first tail is
//! written before any other file, so data files without a tail are damage too.
//!
//! Readers see full frames from the end of step 2 on, the rest after step 3; step 3 replaces the tail only when
//! the frames that leave it can be read elsewhere, so a reader that meets a newer tail looks once more and finds them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::LedgerError;
use super::error::{create_dir, read_at};
use super::frame::{self, Block, LAYOUT_BYTES_MAX, Layout};
use super::frame_cache::FrameCache;
use super::index::{self, DataFile, ENTRY_BYTES, Place};
use super::merkle::Frontier;
use super::tail::{self, Commit};
use crate::disk::{self, Access, Disk, DiskFile};
use crate::limits::TILE_LEAVES;

/// The history of one tenant. Many threads read; one appends.
#[derive(Debug)]
pub(super) struct History {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cache: Arc<FrameCache>,
    number: u64,
    file_bytes: u64,
    /// Guards what readers may see; held for a few instructions.
    seen: Mutex<Seen>,
}

/// What readers see, written by the appending thread.
#[derive(Debug, Clone)]
struct Seen {
    /// First events of the data files, ascending.
    files: Arc<Vec<u64>>,
    /// Length of the newest data file.
    data_bytes: u64,
    /// Events in full frames.
    frames_end: u64,
    /// What the tail on disk says; none before the first append.
    commit: Option<Commit>,
    /// Leftovers of a crash were cut away.
    clean: bool,
}

impl History {
    /// Opens the history in `dir`, which may not exist yet. Reads the tail, not the history; writes nothing.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        cache: Arc<FrameCache>,
        file_bytes: u64,
    ) -> Result<Self, LedgerError> {
        let names = disk
            .list(&dir)
            .map_err(LedgerError::io("list the folder", &dir))?;
        let mut files: Vec<u64> = names
            .iter()
            .filter(|name| name.ends_with(".frames"))
            .filter_map(|name| DataFile::first_of(name))
            .collect();
        let path = dir.join("tail");
        let commit = if names.iter().any(|name| name == "tail") {
            // Its name may have been seen by nobody but a process that ended before it was flushed.
            disk.sync_dir(&dir)
                .map_err(LedgerError::io("flush the folder", &dir))?;
            let (commit, _) = read_tail(&open_to_read(&*disk, &path)?)?;
            files.retain(|first| *first < commit.data || (*first == commit.data && commit.data_bytes > 0));
            Some(commit)
        } else if files.is_empty() {
            None
        } else {
            return Err(LedgerError::damaged(
                &path,
                0,
                "the file is missing although data files exist",
            ));
        };
        let end = commit.as_ref().map_or(0, Commit::end);
        let seen = Seen {
            files: Arc::new(files),
            data_bytes: commit.as_ref().map_or(0, |commit| commit.data_bytes),
            frames_end: end - end % TILE_LEAVES,
            commit,
            clean: false,
        };
        Ok(History {
            number: cache.new_history(),
            disk,
            dir,
            cache,
            file_bytes,
            seen: Mutex::new(seen),
        })
    }

    /// Edge of the tree at the last append.
    pub fn frontier(&self) -> Frontier {
        self.lock()
            .commit
            .as_ref()
            .map_or_else(Frontier::default, |commit| commit.frontier.clone())
    }

    /// Makes the folder ready for [`History::append`]: creates it, or cuts away what a crash left behind.
    pub fn prepare(&self) -> Result<(), LedgerError> {
        let seen = self.lock().clone();
        if seen.clean {
            return Ok(());
        }
        match &seen.commit {
            Some(commit) => self.cut_leftovers(&seen, commit)?,
            None => {
                create_dir(&*self.disk, &self.dir)?;
                let path = self.tail_path();
                disk::replace_file(&*self.disk, &path, &tail::encode(&Commit::empty(), &[]))
                    .map_err(LedgerError::io("write", &path))?;
            }
        }
        let mut seen = self.lock();
        seen.commit.get_or_insert_with(Commit::empty);
        seen.clean = true;
        Ok(())
    }

    /// Appends events, of which the first has sequence number `first`; `frontier` is the edge of the tree after them.
    /// What is in the history already is skipped. Flushed, file and folder, when it returns.
    ///
    /// Call [`History::prepare`] before, and never from two threads. After an error call nothing but readers.
    pub fn append(&self, first: u64, records: &[Bytes], frontier: Frontier) -> Result<(), LedgerError> {
        let seen = self.lock().clone();
        let end = seen.end();
        let new_end = first + records.len() as u64;
        if first > end || frontier.size() != new_end.max(end) {
            return Err(LedgerError::NotContiguous {
                expected: end,
                found: first,
            });
        }
        let Some(fresh) = records
            .get((end - first) as usize..)
            .filter(|fresh| !fresh.is_empty())
        else {
            return Ok(());
        };
        let mut pending = Vec::new();
        let _ = self.scan(seen.frames_end, end, &mut |_, record| {
            pending.push(record.clone());
            ControlFlow::Continue(())
        })?;
        pending.extend_from_slice(fresh);
        let full = pending.len() - pending.len() % TILE_LEAVES as usize;
        let (frames, rest) = pending.split_at(full);
        let seen = self.append_frames(seen, frames)?;
        let rest = match rest {
            [] => Vec::new(),
            rest => frame::encode(seen.frames_end, rest)
                .map_err(LedgerError::io("compress a frame for", &self.tail_path()))?,
        };
        let commit = Commit {
            frontier,
            data: seen.files.last().copied().unwrap_or(0),
            data_bytes: seen.data_bytes,
        };
        let path = self.tail_path();
        disk::replace_file(&*self.disk, &path, &tail::encode(&commit, &rest))
            .map_err(LedgerError::io("write", &path))?;
        self.lock().commit = Some(commit);
        Ok(())
    }

    /// One event; at most one block is unpacked.
    pub fn read(&self, seq: u64) -> Result<Bytes, LedgerError> {
        let block = self.block(seq)?;
        let at = (seq - block.first) as usize;
        block.records.get(at).cloned().ok_or(LedgerError::BeyondEnd {
            seq,
            end: block.first + block.records.len() as u64,
        })
    }

    /// Shows the events `[from, to)` in order, until `visit` breaks. Damage stops it at the block that is damaged; the
    /// frames behind can be scanned from their own first event.
    pub fn scan(
        &self,
        from: u64,
        to: u64,
        visit: &mut dyn FnMut(u64, &Bytes) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, LedgerError> {
        let mut seq = from;
        while seq < to {
            let block = self.block(seq)?;
            let skip = (seq - block.first) as usize;
            for record in block.records.iter().skip(skip) {
                if seq == to {
                    break;
                }
                if visit(seq, record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                seq += 1;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// File and offset of the frame that holds an event.
    pub fn place_of(&self, seq: u64) -> Result<(PathBuf, u64), LedgerError> {
        let seen = self.lock().clone();
        if seq >= seen.frames_end {
            return Ok((self.tail_path(), tail::BLOCK_BYTES as u64));
        }
        let (file, place) = self.place(&seen, seq)?;
        Ok((file.frames, place.offset))
    }

    fn tail_path(&self) -> PathBuf {
        self.dir.join("tail")
    }

    /// A block that holds an event.
    fn block(&self, seq: u64) -> Result<Arc<Block>, LedgerError> {
        // The second look is needed when the tail was replaced between looking and reading; see the top.
        for _ in 0..3 {
            let seen = self.lock().clone();
            let end = seen.end();
            if seq >= end.max(seen.frames_end) {
                return Err(LedgerError::BeyondEnd { seq, end });
            }
            if let Some(block) = self.cache.get(self.number, seq) {
                return Ok(block);
            }
            let block = if seq >= seen.frames_end {
                self.read_in_tail(seq)?
            } else {
                let (file, place) = self.place(&seen, seq)?;
                let file = open_to_read(&*self.disk, &file.frames)?;
                Some(file.block(place.offset, place.length as usize, (seq, TILE_LEAVES))?)
            };
            if let Some(block) = block {
                let block = Arc::new(block);
                self.cache.put(self.number, &block);
                return Ok(block);
            }
        }
        Err(LedgerError::damaged(
            &self.tail_path(),
            0,
            "the file commits other frames than it did",
        ))
    }

    /// Where the full frame lies that holds an event.
    fn place(&self, seen: &Seen, seq: u64) -> Result<(DataFile, Place), LedgerError> {
        let holding = seen.files.partition_point(|file| *file <= seq);
        let Some(name) = holding.checked_sub(1).and_then(|at| seen.files.get(at)) else {
            return Err(LedgerError::Pruned {
                seq,
                first: seen.files.first().copied().unwrap_or(seen.frames_end),
            });
        };
        let file = DataFile::new(&self.dir, *name);
        let place = file.place(&*self.disk, seq - seq % TILE_LEAVES)?;
        Ok((file, place))
    }

    /// A block of the incomplete frame; none when the tail on disk has moved on.
    fn read_in_tail(&self, seq: u64) -> Result<Option<Block>, LedgerError> {
        let path = self.tail_path();
        let file = open_to_read(&*self.disk, &path)?;
        let (commit, range) = read_tail(&file)?;
        let first = seq - seq % TILE_LEAVES;
        let end = commit.end();
        if end - end % TILE_LEAVES != first || end <= seq {
            return Ok(None);
        }
        let length = range.end - range.start;
        file.block(range.start as u64, length, (seq, end - first))
            .map(Some)
    }

    /// Steps 1 and 2 of an append, then shows the frames to readers.
    fn append_frames(&self, mut seen: Seen, frames: &[Bytes]) -> Result<Seen, LedgerError> {
        if frames.is_empty() {
            return Ok(seen);
        }
        let mut files = seen.files.to_vec();
        let mut open: Option<OpenFile> = None;
        for records in frames.chunks(TILE_LEAVES as usize) {
            if files.is_empty() || seen.data_bytes >= self.file_bytes {
                if let Some(finished) = open.take() {
                    finished.sync()?;
                }
                files.push(seen.frames_end);
                seen.data_bytes = 0;
            }
            let newest = files.last().copied().unwrap_or(0);
            let target = match &mut open {
                Some(target) => target,
                none => none.insert(OpenFile::open(&*self.disk, DataFile::new(&self.dir, newest))?),
            };
            seen.data_bytes += target.write(seen.frames_end, seen.data_bytes, records)?;
            seen.frames_end += TILE_LEAVES;
        }
        if let Some(finished) = open {
            finished.sync()?;
        }
        if files.len() > seen.files.len() {
            self.disk
                .sync_dir(&self.dir)
                .map_err(LedgerError::io("flush the folder", &self.dir))?;
        }
        seen.files = Arc::new(files);
        *self.lock() = seen.clone();
        Ok(seen)
    }

    /// Cuts away what was never committed, once it is certain that what was committed is there.
    fn cut_leftovers(&self, seen: &Seen, commit: &Commit) -> Result<(), LedgerError> {
        check_data(&*self.disk, &self.dir, commit)?;
        let names = self
            .disk
            .list(&self.dir)
            .map_err(LedgerError::io("list the folder", &self.dir))?;
        for name in names {
            let uncommitted = DataFile::first_of(&name)
                .is_some_and(|first| first > commit.data || (first == commit.data && commit.data_bytes == 0));
            if uncommitted {
                let path = self.dir.join(name);
                self.disk
                    .remove(&path)
                    .map_err(LedgerError::io("remove", &path))?;
            }
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(LedgerError::io("flush the folder", &self.dir))?;
        if commit.data_bytes > 0 {
            let file = DataFile::new(&self.dir, commit.data);
            let entries = (seen.frames_end - commit.data) / TILE_LEAVES;
            cut(&*self.disk, &file.frames, commit.data_bytes)?;
            cut(&*self.disk, &file.index, entries * ENTRY_BYTES)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Seen {
    fn end(&self) -> u64 {
        self.commit.as_ref().map_or(0, Commit::end)
    }
}

/// The newest data file and its index, being written.
struct OpenFile {
    paths: DataFile,
    frames: Arc<dyn DiskFile>,
    index: Arc<dyn DiskFile>,
}

impl OpenFile {
    fn open(disk: &dyn Disk, paths: DataFile) -> Result<Self, LedgerError> {
        let open = |path: &Path| {
            disk.open(path, Access::Create)
                .map_err(LedgerError::io("open", path))
        };
        Ok(OpenFile {
            frames: open(&paths.frames)?,
            index: open(&paths.index)?,
            paths,
        })
    }

    /// Writes one frame; gives its length.
    fn write(&self, first: u64, offset: u64, records: &[Bytes]) -> Result<u64, LedgerError> {
        let path = &self.paths.frames;
        let bytes = frame::encode(first, records).map_err(LedgerError::io("compress a frame for", path))?;
        let length = u32::try_from(bytes.len())
            .map_err(|_| LedgerError::io("write", path)(std::io::ErrorKind::FileTooLarge.into()))?;
        self.frames
            .write_at(&bytes, offset)
            .map_err(LedgerError::io("write", path))?;
        let entry = index::encode(first, Place { offset, length });
        let entry_at = (first - self.paths.first) / TILE_LEAVES * ENTRY_BYTES;
        self.index
            .write_at(&entry, entry_at)
            .map_err(LedgerError::io("write", &self.paths.index))?;
        Ok(bytes.len() as u64)
    }

    fn sync(self) -> Result<(), LedgerError> {
        self.frames
            .sync()
            .map_err(LedgerError::io("flush", &self.paths.frames))?;
        self.index
            .sync()
            .map_err(LedgerError::io("flush", &self.paths.index))
    }
}

/// A committed data file must be as long as committed.
fn check_data(disk: &dyn Disk, dir: &Path, commit: &Commit) -> Result<(), LedgerError> {
    match commit.data_bytes.checked_sub(1) {
        None => Ok(()),
        Some(last) => read_at(disk, &DataFile::new(dir, commit.data).frames, last, 1).map(drop),
    }
}

/// Cuts a file to a committed length; a shorter one is left as it is, for reading it to tell.
fn cut(disk: &dyn Disk, path: &Path, len: u64) -> Result<(), LedgerError> {
    let file = match disk.open(path, Access::Write) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LedgerError::io("open", path)(error)),
    };
    if file.len().map_err(LedgerError::io("measure", path))? <= len {
        return Ok(());
    }
    file.set_len(len).map_err(LedgerError::io("cut", path))?;
    file.sync().map_err(LedgerError::io("flush", path))
}

/// What the tail commits, and where in it the incomplete frame lies.
fn read_tail(file: &ReadFile<'_>) -> Result<(Commit, std::ops::Range<usize>), LedgerError> {
    let block = tail::BLOCK_BYTES.min(file.len);
    let (front, back) = (
        file.bytes(0, block)?,
        file.bytes((file.len - block) as u64, block)?,
    );
    tail::decode(&front, &back).ok_or_else(|| LedgerError::damaged(file.path, 0, "neither block is sound"))
}

/// A file of the history that is read in pieces. What replaces it meanwhile is not seen.
struct ReadFile<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    len: usize,
}

fn open_to_read<'a>(disk: &dyn Disk, path: &'a Path) -> Result<ReadFile<'a>, LedgerError> {
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => LedgerError::damaged(path, 0, "the file is missing"),
        _ => LedgerError::io("read", path)(error),
    };
    let file = disk.open(path, Access::Read).map_err(missing)?;
    let len = usize::try_from(file.len().map_err(missing)?).unwrap_or(usize::MAX);
    Ok(ReadFile { path, file, len })
}

impl ReadFile<'_> {
    fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, LedgerError> {
        let early = || LedgerError::damaged(self.path, offset, "the file ends too early");
        // Before the memory is taken: the length may come from a damaged place.
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len as u64)
        {
            return Err(early());
        }
        let mut bytes = vec![0; len];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(early()),
            Err(error) => Err(LedgerError::io("read", self.path)(error)),
        }
    }

    /// The block that holds event `seq` of the frame at `offset`, which holds `count` events.
    fn block(&self, offset: u64, length: usize, (seq, count): (u64, u64)) -> Result<Block, LedgerError> {
        let damaged = |what| LedgerError::damaged(self.path, offset, what);
        let head = self.bytes(offset, length.min(LAYOUT_BYTES_MAX))?;
        let layout = Layout::decode(&head, length, seq - seq % TILE_LEAVES, count).map_err(damaged)?;
        let place = layout
            .place_of(seq)
            .ok_or_else(|| damaged("a frame holds other events than it should"))?;
        let range = place.range.clone();
        let packed = self.bytes(offset + range.start as u64, range.len())?;
        place.unpack(&packed).map_err(damaged)
    }
}
