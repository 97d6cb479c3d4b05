//! The local journal: a row of segment files, the last of which takes the batches.
//!
//! A batch never spans segments; one that does not fit closes the segment. A segment file is whole, zeroed
//! and flushed before it gets its name, so that an append changes neither length nor names: one write, one
//! flush. Released files are used again under a higher salt.
//!
//! The first disk error of a change is the last: whether a failed write or flush reached the disk cannot be
//! known, and a second flush may answer well for pages the system has dropped. From then on every call is
//! answered `Poisoned`; `recover` finds out what is there.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{AppendError, DiskError, ReadError, ReleaseError, failed};
use super::folder::Folder;
use super::frame;
use super::header::{HEADER_BYTES, Header, SECTOR_BYTES, Salt};
use super::segment::{Segment, SegmentReader};
use super::{Journal, Position, Record, SegmentId, SegmentInfo, Term, Visit};
use crate::disk::{Access, DiskFile};
use crate::limits;

/// Zeros written at once to a new segment.
const ZEROS_BYTES: u64 = 1 << 20;

/// Sizes; the defaults are the bounds of `limits`, tests take smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Length of a new segment file. Held to at least two sectors of 512 bytes, and cut to whole ones.
    pub segment_bytes: u64,
    /// Most files kept to be used again.
    pub spares_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: limits::SEGMENT_BYTES,
            spares_max: limits::SEGMENTS_SPARE_MAX,
        }
    }
}

impl Options {
    pub(super) fn whole_sectors(self) -> Options {
        let sector = SECTOR_BYTES as u64;
        let segment_bytes = (self.segment_bytes / sector).max(2) * sector;
        Options {
            segment_bytes,
            ..self
        }
    }
}

/// A journal in local segment files. Made by [`super::open`]; the one appender of its folder.
#[derive(Debug)]
pub struct SegmentJournal {
    folder: Folder,
    options: Options,
    /// Oldest first.
    closed: VecDeque<Closed>,
    open: Segment,
    spares: Vec<Spare>,
    /// Of the next file put to use.
    next_salt: Salt,
    term: Term,
    /// Holds the encoded batch; kept so that appending does not allocate.
    buffer: Vec<u8>,
    /// Set by the first failed change, for good.
    poisoned: bool,
}

#[derive(Debug)]
struct Closed {
    segment: Arc<Segment>,
    /// Waits for older segments to be released too: a hole would look like a lost file.
    released: bool,
}

/// A file of `segment_bytes` that holds nothing of worth, under a name that means nothing.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

/// What recovery found, ready to serve.
pub(super) struct Recovered {
    pub folder: Folder,
    pub options: Options,
    pub closed: Vec<Segment>,
    pub open: Segment,
    pub next_salt: Salt,
    pub term: Term,
}

impl SegmentJournal {
    pub(super) fn new(recovered: Recovered) -> SegmentJournal {
        let closed = recovered.closed.into_iter().map(|segment| Closed {
            segment: Arc::new(segment),
            released: false,
        });
        SegmentJournal {
            folder: recovered.folder,
            options: recovered.options,
            closed: closed.collect(),
            open: recovered.open,
            spares: Vec::new(),
            next_salt: recovered.next_salt,
            term: recovered.term,
            buffer: Vec::new(),
            poisoned: false,
        }
    }

    /// Remembers a failure; use on the result of every change.
    fn poison_on_error<T>(&mut self, result: Result<T, DiskError>) -> Result<T, DiskError> {
        self.poisoned |= result.is_err();
        result
    }

    fn write(&mut self, term: Term, records: &[Record], bytes: u64) -> Result<(), DiskError> {
        if bytes > self.open.left_bytes() {
            self.close_segment(term)?;
        }
        self.buffer.clear();
        frame::encode_batch(
            &mut self.buffer,
            self.open.header.salt,
            term,
            self.open.info().end,
            records,
        );
        self.open.append(&self.buffer, records.len() as u64)
    }

    /// Begins the next segment.
    fn close_segment(&mut self, term: Term) -> Result<(), DiskError> {
        let SegmentInfo { id, end, .. } = self.open.info();
        let header = Header {
            segment_bytes: self.options.segment_bytes,
            id: SegmentId(id.0.saturating_add(1)),
            salt: self.next_salt,
            first: end,
            term,
        };
        self.next_salt = self.next_salt.next();
        let spare = self.spares.pop();
        let next = begin_segment(&self.folder, spare.map(|spare| (spare.path, spare.file)), header)?;
        self.closed.push_back(Closed {
            segment: Arc::new(std::mem::replace(&mut self.open, next)),
            released: false,
        });
        Ok(())
    }

    /// Takes the oldest segment out of the journal. Certain when it returns: its file may then be written
    /// over, and a crash cannot bring it back among newer segments that are gone.
    fn retire(&mut self, segment: &Segment) -> Result<(), DiskError> {
        let recycle = self.spares.len() < self.options.spares_max
            && segment.header.segment_bytes == self.options.segment_bytes;
        if !recycle {
            self.folder.remove(&segment.path)?;
            return self.folder.sync();
        }
        let path = self.folder.spare_path(segment.header.salt);
        self.folder.rename(&segment.path, &path)?;
        self.spares.push(Spare {
            path,
            file: Arc::clone(&segment.file),
        });
        Ok(())
    }
}

/// Makes a segment without batches, from a spare file or a new one. The name is given last: a file that has
/// it is whole and flushed.
pub(super) fn begin_segment(
    folder: &Folder,
    spare: Option<(PathBuf, Arc<dyn DiskFile>)>,
    header: Header,
) -> Result<Segment, DiskError> {
    let (prepared, file) = match spare {
        Some(spare) => spare,
        None => {
            let path = folder.spare_path(header.salt);
            let file = folder.open_file(&path, Access::CreateNew)?;
            write_zeros(file.as_ref(), header.segment_bytes).map_err(failed("write", &path))?;
            (path, file)
        }
    };
    file.write_at(&header.encode(), 0)
        .map_err(failed("write", &prepared))?;
    file.sync().map_err(failed("flush", &prepared))?;
    let path = folder.segment_path(header.id);
    folder.rename(&prepared, &path)?;
    Ok(Segment::empty(file, path, header))
}

fn write_zeros(file: &dyn DiskFile, bytes: u64) -> std::io::Result<()> {
    let zeros = vec![0; bytes.saturating_sub(HEADER_BYTES).min(ZEROS_BYTES) as usize];
    let mut at = HEADER_BYTES;
    while at < bytes {
        let part = (bytes - at).min(ZEROS_BYTES);
        file.write_at(&zeros[..part as usize], at)?;
        at += part;
    }
    Ok(())
}

impl Journal for SegmentJournal {
    fn append(
        &mut self,
        term: Term,
        expected: Position,
        records: &[Record],
    ) -> Result<Position, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        let end = self.end();
        if term < self.term || expected != end {
            return Err(AppendError::Conflict { term: self.term, end });
        }
        if records.is_empty() {
            return Ok(end);
        }
        let bytes = frame::batch_bytes(records);
        let bytes_max = self.options.segment_bytes - HEADER_BYTES;
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let written = self.write(term, records, bytes);
        self.poison_on_error(written)?;
        self.term = term;
        Ok(self.end())
    }

    fn term(&self) -> Term {
        self.term
    }

    fn start(&self) -> Position {
        let oldest = self.closed.iter().find(|closed| !closed.released);
        oldest.map_or(self.open.header.first, |closed| closed.segment.header.first)
    }

    fn end(&self) -> Position {
        self.open.info().end
    }

    fn read(&self, from: Position, to: Position, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        if self.poisoned {
            return Err(ReadError::Poisoned);
        }
        let (start, end) = (self.start(), self.end());
        if from < start || to > end || from > to {
            return Err(ReadError::OutOfRange { from, to, start, end });
        }
        let closed = self.closed.iter().map(|closed| closed.segment.as_ref());
        for segment in closed.chain([&self.open]) {
            let SegmentInfo { first, end, .. } = segment.info();
            if end > from && first < to && segment.read(from, to, visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn closed(&self) -> Vec<SegmentInfo> {
        let kept = self.closed.iter().filter(|closed| !closed.released);
        kept.map(|closed| closed.segment.info()).collect()
    }

    fn reader(&self, id: SegmentId) -> Option<SegmentReader> {
        let mut kept = self.closed.iter().filter(|closed| !closed.released);
        let found = kept.find(|closed| closed.segment.header.id == id)?;
        Some(SegmentReader::new(Arc::clone(&found.segment)))
    }

    fn release(&mut self, id: SegmentId) -> Result<(), ReleaseError> {
        if self.poisoned {
            return Err(ReleaseError::Poisoned);
        }
        let mut kept = self.closed.iter_mut().filter(|closed| !closed.released);
        let Some(found) = kept.find(|closed| closed.segment.header.id == id) else {
            return Err(ReleaseError::Unknown(id));
        };
        found.released = true;
        while let Some(oldest) = self.closed.front().filter(|closed| closed.released) {
            let segment = Arc::clone(&oldest.segment);
            let retired = self.retire(&segment);
            self.poison_on_error(retired)?;
            self.closed.pop_front();
        }
        Ok(())
    }
}
