//! The write-ahead truth: batches of records appended in order, certain once appended.
//!
//! Owns the files under `DIR/journal`. The whole contract is *compare-and-append at an expected position
//! under a term* plus *range read*, so that a replicated engine can stand in for the local files.
//! Promises: what [`Journal::append`] acknowledged survives any crash; a batch is there whole or not at all;
//! damage is named by file and offset, never served. It must never try a flush twice, guess at what lies
//! beyond damage, or know what a record means.
//!
//! Reading order: this file, `frame` (byte format), `segment` (one file), `segments` (the journal over
//! them), `recover` (opening), `check` (looking only).

mod check;
mod error;
mod folder;
mod frame;
mod header;
mod recover;
mod segment;
mod segments;

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::domain::{Seq, TenantName};

pub use check::{CheckError, check};
pub use error::{AppendError, Damage, DiskError, OpenError, ReadError, ReleaseError};
pub use recover::{Cut, Floor, Recovery, open};
pub use segment::SegmentReader;
pub use segments::{Options, SegmentJournal};

/// Who may append: each new leader takes a higher term, and lower ones are refused from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

/// Number of records ever appended before a point in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The position `records` further on.
    pub fn plus(self, records: u64) -> Position {
        Position(self.0.saturating_add(records))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One event as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose ledger it belongs to.
    pub tenant: TenantName,
    /// Its place in that ledger.
    pub seq: Seq,
    /// Canonical JSON; opaque here.
    pub bytes: Bytes,
}

/// Records that became certain together; a range read may deliver a part of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Position of the first record.
    pub start: Position,
    /// In the order appended. They share one buffer: a record kept for long should be copied out.
    pub records: Vec<Record>,
}

/// Number of a segment, one more than that of the segment before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A closed segment: nothing will be added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Names it in [`Journal::release`].
    pub id: SegmentId,
    /// Position of its first record.
    pub first: Position,
    /// Position after its last record.
    pub end: Position,
}

/// Receives batches in order; `Break` ends the read early.
pub type Visit<'a> = dyn FnMut(Batch) -> ControlFlow<()> + 'a;

/// An ordered log of records with one appender.
pub trait Journal: Send + fmt::Debug {
    /// Appends `records` as one batch and returns the position after them. When this returns, they are
    /// certain: one flush per batch. No records change nothing, but the comparison is still made.
    ///
    /// # Errors
    /// `Conflict` and `TooLarge`: nothing was written, the journal goes on. `Failed`: the batch may or may
    /// not be there after a restart; the caller must stop, and every later call is answered `Poisoned`.
    fn append(&mut self, term: Term, expected: Position, records: &[Record])
    -> Result<Position, AppendError>;

    /// The highest term appended under.
    fn term(&self) -> Term;

    /// Position of the oldest record kept.
    fn start(&self) -> Position;

    /// Position after the newest record.
    fn end(&self) -> Position;

    /// Visits the records from `from` up to, not including, `to`, batch by batch; a batch that reaches
    /// beyond the range is delivered in part. Each batch is verified before it is delivered.
    ///
    /// # Errors
    /// `OutOfRange` when not all of the range is kept; `Damaged` names file and offset, after the batches
    /// before it were delivered; `Failed` when the disk fails; `Poisoned` after a failed append.
    fn read(&self, from: Position, to: Position, visit: &mut Visit<'_>) -> Result<(), ReadError>;

    /// The closed segments not yet released, oldest first.
    fn closed(&self) -> Vec<SegmentInfo>;

    /// A handle that reads a closed segment from any thread. `None` when it is not closed or was released.
    fn reader(&self, id: SegmentId) -> Option<SegmentReader>;

    /// Gives up a closed segment whose records are safe elsewhere. Its file goes once all older ones have
    /// been released, and is then written over: a reader still at work gets `Damaged`, never other records.
    ///
    /// # Errors
    /// `Unknown` when it is not closed or was released before; `Failed` poisons the journal as a failed
    /// append does.
    fn release(&mut self, id: SegmentId) -> Result<(), ReleaseError>;
}
