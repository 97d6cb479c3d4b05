//! The journal's promises, over a disk that loses what was not flushed.
//!
//! [`Driver`] appends seeded batches, releases, reopens, meets faults, and compares what it finds with what
//! was acknowledged.

mod contract;
mod crash;
mod rot;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fastness::disk::Disk;
use fastness::domain::{Seq, TenantName};
use fastness::journal::{
    self, AppendError, Floor, Journal, OpenError, Options, Position, ReadError, Record, Recovery,
    ReleaseError, SegmentJournal, Term,
};

use crate::support::random::Random;
use crate::support::sim_disk::SimDisk;

const DIR: &str = "/data/journal";

/// Small enough that a run of a few dozen batches closes segments.
const SMALL: Options = Options {
    segment_bytes: 4_096,
    spares_max: 1,
};

fn open(disk: &SimDisk, floor: Floor) -> Result<(SegmentJournal, Recovery), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    journal::open(disk, Path::new(DIR), floor, SMALL)
}

/// A disk with an empty, certain data folder.
fn new_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new("/data")).expect("a new disk works");
    disk.sync_dir(Path::new("/")).expect("a new disk works");
    disk
}

fn read_all(journal: &dyn Journal) -> Result<Vec<Record>, ReadError> {
    read_range(journal, journal.start(), journal.end())
}

fn read_range(journal: &dyn Journal, from: Position, to: Position) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    journal.read(from, to, &mut |batch| {
        assert_eq!(
            batch.start,
            from.plus(records.len() as u64),
            "batches come in order"
        );
        records.extend(batch.records);
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

fn segment_files(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).expect("the folder can be listed");
    let segments = names.into_iter().filter(|name| name.ends_with(".segment"));
    segments.map(|name| Path::new(DIR).join(name)).collect()
}

/// Drives a journal and remembers what it acknowledged.
struct Driver {
    disk: SimDisk,
    random: Random,
    journal: Option<SegmentJournal>,
    /// Every record acknowledged or found after a restart, by position.
    certain: Vec<Record>,
    /// Where each batch of `certain` begins.
    batches: Vec<usize>,
    /// The batch whose append did not come back.
    in_flight: Vec<Record>,
    /// Records before this may be gone.
    released: Position,
    /// Of the last append attempted.
    term: Term,
    /// Of the last append acknowledged or found.
    certain_term: Term,
}

/// What ended a row of steps.
#[derive(Debug)]
enum Stop {
    /// An error that a failing disk explains.
    Disk(String),
    /// A broken promise.
    Broken(String),
}

impl Driver {
    fn new(seed: u64) -> Driver {
        Driver {
            disk: new_disk(seed),
            random: Random::new(seed),
            journal: None,
            certain: Vec::new(),
            batches: Vec::new(),
            in_flight: Vec::new(),
            released: Position(0),
            term: Term(0),
            certain_term: Term(0),
        }
    }

    /// Appends, now and then releases or reopens.
    fn steps(&mut self, count: usize) -> Result<(), Stop> {
        for _ in 0..count {
            if self.journal.is_none() {
                self.reopen()?;
            }
            match self.random.below(12) {
                0 => self.journal = None,
                1 | 2 => self.release()?,
                _ => self.append()?,
            }
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), Stop> {
        let records = self.draw_batch();
        let Some(journal) = self.journal.as_mut() else {
            return Err(Stop::Broken("no journal is open".into()));
        };
        if self.random.once_in(8) {
            self.term = Term(self.term.0 + 1);
        }
        let expected = Position(self.certain.len() as u64);
        self.in_flight.clone_from(&records);
        match journal.append(self.term, expected, &records) {
            Ok(end) if end == expected.plus(records.len() as u64) => {
                self.accept_in_flight();
                Ok(())
            }
            Ok(end) => Err(Stop::Broken(format!("append at {expected} answered {end}"))),
            Err(AppendError::Failed(error)) => Err(Stop::Disk(error.to_string())),
            Err(error) => Err(Stop::Broken(error.to_string())),
        }
    }

    fn accept_in_flight(&mut self) {
        if !self.in_flight.is_empty() {
            self.batches.push(self.certain.len());
            self.certain.append(&mut self.in_flight);
        }
        self.certain_term = self.term;
    }

    fn release(&mut self) -> Result<(), Stop> {
        let Some(journal) = self.journal.as_mut() else {
            return Ok(());
        };
        let Some(oldest) = journal.closed().first().copied() else {
            return Ok(());
        };
        self.released = oldest.end;
        match journal.release(oldest.id) {
            Ok(()) => Ok(()),
            Err(ReleaseError::Failed(error)) => Err(Stop::Disk(error.to_string())),
            Err(error) => Err(Stop::Broken(error.to_string())),
        }
    }

    /// Opens with a floor that rests on acknowledged records, and checks what is there.
    fn reopen(&mut self) -> Result<Recovery, Stop> {
        self.journal = None;
        let mut position = || Position(self.random.below(self.certain.len() as u64 + 1));
        let floor = Floor {
            durable_projection: position(),
            checkpointed: position(),
        };
        let (journal, recovery) = match open(&self.disk, floor) {
            Ok(opened) => opened,
            Err(OpenError::Failed(error)) => return Err(Stop::Disk(error.to_string())),
            Err(error) => return Err(Stop::Broken(error.to_string())),
        };
        let found = match read_all(&journal) {
            Ok(found) => found,
            Err(ReadError::Failed(error)) => return Err(Stop::Disk(error.to_string())),
            Err(error) => return Err(Stop::Broken(error.to_string())),
        };
        self.compare(&recovery, &found).map_err(Stop::Broken)?;
        self.journal = Some(journal);
        Ok(recovery)
    }

    fn compare(&mut self, recovery: &Recovery, found: &[Record]) -> Result<(), String> {
        let acknowledged = self.certain.len() as u64;
        let start = recovery.start.0;
        if start > self.released.0 {
            return Err(format!("starts at {start}, {} were released", self.released));
        }
        if recovery.end.0 == acknowledged + self.in_flight.len() as u64 && recovery.end.0 > acknowledged {
            self.accept_in_flight();
        }
        self.in_flight.clear();
        if recovery.end.0 != self.certain.len() as u64 {
            let end = recovery.end;
            return Err(format!("ends at {end}, {acknowledged} were acknowledged"));
        }
        if found != &self.certain[start as usize..] {
            return Err("records differ from those acknowledged".into());
        }
        if recovery.term != self.certain_term {
            // A term may outlive its batch in the header of the segment begun for it.
            if recovery.term < self.certain_term || recovery.term > self.term {
                return Err(format!("term {}, not {}", recovery.term, self.certain_term));
            }
            self.certain_term = recovery.term;
        }
        self.term = recovery.term;
        Ok(())
    }

    fn draw_batch(&mut self) -> Vec<Record> {
        let count = 1 + self.random.below(4);
        (0..count).map(|index| self.draw_record(index)).collect()
    }

    fn draw_record(&mut self, index: u64) -> Record {
        let tenants = ["plant", "lab", "system", "foreign:0123456789abcdef/ship"];
        let tenant: TenantName = tenants[self.random.below(4) as usize]
            .parse()
            .expect("these are tenant names");
        let filler = self.random.below(400) as usize;
        let number = self.random.next();
        Record {
            tenant,
            seq: Seq(self.certain.len() as u64 + index),
            bytes: Bytes::from(format!("{{\"n\":{number},\"x\":\"{}\"}}", "x".repeat(filler))),
        }
    }
}
