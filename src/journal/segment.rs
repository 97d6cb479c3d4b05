//! One segment file: adding batches at its end, reading them back.
//!
//! An index in memory holds the position of a batch every [`MARK_BYTES`], so that a read of a range loads
//! little else. Every read verifies what it delivers; nothing here looks beyond the last batch known whole.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Damage, DiskError, ReadError, failed};
use super::frame::{self, BatchShape};
use super::header::{HEADER_BYTES, Header};
use super::{Batch, Position, SegmentInfo, Visit};
use crate::disk::DiskFile;

/// Distance of marks, and so about how much is read at once.
const MARK_BYTES: u64 = 256 << 10;

/// Reads a closed segment, from any thread, for as long as it is not released.
#[derive(Debug, Clone)]
pub struct SegmentReader(Arc<Segment>);

impl SegmentReader {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        SegmentReader(segment)
    }

    /// Which records the segment holds.
    pub fn info(&self) -> SegmentInfo {
        self.0.info()
    }

    /// Visits the records from `from` up to `to`, as [`super::Journal::read`] does.
    ///
    /// # Errors
    /// As [`super::Journal::read`]; never `Poisoned`, for what a closed segment holds is certain.
    pub fn read(&self, from: Position, to: Position, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let SegmentInfo { first, end, .. } = self.info();
        if from < first || to > end || from > to {
            return Err(ReadError::OutOfRange {
                from,
                to,
                start: first,
                end,
            });
        }
        self.0.read(from, to, visit).map(|_| ())
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    pub header: Header,
    /// Position after the last batch.
    end: Position,
    /// Where the next batch goes.
    end_offset: u64,
    /// In order; the first stands at the first batch.
    marks: Vec<Mark>,
}

/// A batch begins here.
#[derive(Debug, Clone, Copy)]
struct Mark {
    position: Position,
    offset: u64,
}

impl Segment {
    /// A segment without batches.
    pub(super) fn empty(file: Arc<dyn DiskFile>, path: PathBuf, header: Header) -> Segment {
        Segment {
            file,
            path,
            header,
            end: header.first,
            end_offset: HEADER_BYTES,
            marks: vec![Mark {
                position: header.first,
                offset: HEADER_BYTES,
            }],
        }
    }

    pub(super) fn info(&self) -> SegmentInfo {
        SegmentInfo {
            id: self.header.id,
            first: self.header.first,
            end: self.end,
        }
    }

    pub(super) fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// Bytes left for batches.
    pub(super) fn left_bytes(&self) -> u64 {
        self.header.segment_bytes.saturating_sub(self.end_offset)
    }

    /// Writes and flushes one encoded batch: one write, one flush.
    pub(super) fn append(&mut self, batch: &[u8], records: u64) -> Result<(), DiskError> {
        self.file
            .write_at(batch, self.end_offset)
            .map_err(failed("append to", &self.path))?;
        self.file.sync().map_err(failed("flush", &self.path))?;
        self.note(records, batch.len() as u64);
        Ok(())
    }

    /// Takes the batch at the end as part of the segment.
    pub(super) fn note(&mut self, records: u64, bytes: u64) {
        if let Some(last) = self.marks.last()
            && self.end_offset - last.offset >= MARK_BYTES
        {
            self.marks.push(Mark {
                position: self.end,
                offset: self.end_offset,
            });
        }
        self.end = self.end.plus(records);
        self.end_offset += bytes;
    }

    /// Visits the records of `from..to` that lie in this segment. The caller has checked the range.
    pub(super) fn read(
        &self,
        from: Position,
        to: Position,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let skip = self
            .marks
            .partition_point(|mark| mark.position <= from)
            .saturating_sub(1);
        for (index, mark) in self.marks.iter().enumerate().skip(skip) {
            if mark.position >= to || mark.position >= self.end {
                break;
            }
            let chunk_end = self
                .marks
                .get(index + 1)
                .map_or(self.end_offset, |next| next.offset);
            let bytes = self.load(mark.offset, chunk_end)?;
            let mut position = mark.position;
            let mut at = 0;
            while at < bytes.len() && position < to {
                let shape = frame::check_batch(&bytes[at..], self.header.salt, position)
                    .map_err(|fault| self.damaged(mark.offset, at + fault))?;
                let end = position.plus(u64::from(shape.records));
                if end > from {
                    let records = self.records(&bytes, mark.offset, at, &shape)?;
                    if visit(clip(position, records, from, to)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                position = end;
                at += shape.bytes;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn records(
        &self,
        bytes: &Bytes,
        chunk: u64,
        at: usize,
        shape: &BatchShape,
    ) -> Result<Vec<super::Record>, ReadError> {
        frame::decode_records(bytes, at, shape).map_err(|fault| self.damaged(chunk, fault))
    }

    fn load(&self, from: u64, to: u64) -> Result<Bytes, ReadError> {
        let mut bytes = vec![0; (to - from) as usize];
        self.file
            .read_exact_at(&mut bytes, from)
            .map_err(failed("read", &self.path))?;
        Ok(Bytes::from(bytes))
    }

    fn damaged(&self, chunk: u64, at: usize) -> ReadError {
        ReadError::Damaged {
            file: self.path.clone(),
            offset: chunk + at as u64,
            damage: Damage::Frame,
        }
    }
}

/// The part of a batch that lies in `from..to`.
fn clip(start: Position, mut records: Vec<super::Record>, from: Position, to: Position) -> Batch {
    let before = from.0.saturating_sub(start.0) as usize;
    let within = to.0.saturating_sub(start.0) as usize;
    records.truncate(within);
    records.drain(..before.min(records.len()));
    Batch {
        start: start.max(from),
        records,
    }
}
