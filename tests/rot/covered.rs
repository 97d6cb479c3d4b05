//! Which bytes of a journal segment count, by the drawings in `src/journal/header.rs` and `src/journal/frame.rs`.

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness::disk::Disk;
use fastness::journal::{self, Floor, Journal, Position};

use super::folder::DATA;
use super::play::OPTIONS;
use crate::support::sim_disk::SimDisk;

/// Where the checksum of a header ends.
const HEADER_BYTES: u64 = 56;
const SECTOR_BYTES: u64 = 512;
/// Begin and commit of a batch.
const BATCH_BYTES: u64 = 25 + 41;
/// Of a record, besides tenant and event.
const RECORD_BYTES: u64 = 18;

/// What of a segment counts: its header, and each batch without the zeros behind it.
pub struct Covered {
    pub path: PathBuf,
    ranges: Vec<Range<u64>>,
}

impl Covered {
    /// The last batch.
    pub fn last(&self) -> Range<u64> {
        self.ranges.last().cloned().unwrap_or_default()
    }

    pub fn counts(&self, offset: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&offset))
    }

    /// In the last batch.
    pub fn is_last(&self, offset: u64) -> bool {
        self.ranges.len() > 1 && self.last().contains(&offset)
    }
}

/// Of every segment, oldest first.
pub fn covered(disk: &SimDisk) -> Vec<Covered> {
    let dir = Path::new(DATA).join("journal");
    let disk: Arc<dyn Disk> = Arc::new(disk.fork());
    let (journal, _) = journal::open(disk.clone(), &dir, Floor::default(), OPTIONS).unwrap();
    let names = disk.list(&dir).unwrap();
    let segments = names.iter().filter(|name| name.ends_with(".segment"));
    let mut start = journal.start();
    segments
        .map(|name| {
            let closed = journal.closed();
            let closed = closed
                .iter()
                .find(|info| name.starts_with(&format!("{:016x}.", info.id.0)));
            let end = closed.map_or(journal.end(), |info| info.end);
            let ranges = batches(&journal, start, end);
            start = end;
            Covered {
                path: dir.join(name),
                ranges,
            }
        })
        .collect()
}

fn batches(journal: &impl Journal, start: Position, end: Position) -> Vec<Range<u64>> {
    let mut at = SECTOR_BYTES;
    let header = 0..HEADER_BYTES;
    let mut ranges = vec![header];
    let read = journal.read(start, end, &mut |batch| {
        let sizes = batch
            .records
            .iter()
            .map(|record| RECORD_BYTES + (record.tenant.as_str().len() + record.bytes.len()) as u64);
        let range = at..at + BATCH_BYTES + sizes.sum::<u64>();
        at = range.end.next_multiple_of(SECTOR_BYTES);
        ranges.push(range);
        ControlFlow::Continue(())
    });
    read.unwrap();
    ranges
}
