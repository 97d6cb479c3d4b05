//! One tenant's ledger: events in memory that the journal still holds, and behind them the archive on disk.
//!
//! ```text
//!   0 ………………… archived ………………… size
//!   | history, tiles | memory        |     the journal keeps what is in memory until it is archived
//! ```
//! One thread pushes, one archives, any number read, all at once. A restart pushes the journal's records again.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::checkpoint::SignedCheckpoint;
use super::error::create_dir;
use super::frame_cache::FrameCache;
use super::history::History;
use super::merkle::{Frontier, TreeHead};
use super::tiles::{Recent, Tiles, WholeTree};
use super::tree::{self, Subtrees};
use super::{LedgerError, NoteError};
use crate::disk::{self, Disk};
use crate::domain::{Digest, Seq, TenantName, leaf_hash};
use crate::limits;

const IDLE: u8 = 0;
const ARCHIVING: u8 = 1;
const STOPPED: u8 = 2;

/// The ledger of one tenant.
#[derive(Debug)]
pub struct TenantLedger {
    tenant: TenantName,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    history: History,
    tiles: Tiles,
    /// Guards what is in memory; held for at most [`limits::LEDGER_LOCK_RECORDS_MAX`] records, never while flushing.
    memory: Mutex<Memory>,
    /// IDLE, ARCHIVING, or STOPPED for good after a failed write.
    archiver: AtomicU8,
}

/// The newest events. The pushing thread appends, the archiving thread takes from the front.
#[derive(Debug)]
struct Memory {
    /// Edge of the tree at the end of the archive.
    archived: Frontier,
    /// Edge of the tree at the end of the ledger.
    edge: Frontier,
    /// Events from the end of the archive to the end of the ledger, and their leaf hashes.
    events: VecDeque<(Bytes, Digest)>,
}

/// What became of a pushed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is now the last event.
    Appended,
    /// It is in the archive already.
    Archived,
}

impl TenantLedger {
    /// Opens the ledger in `dir`, which may not exist yet. Reads what the last archiving committed, not the history.
    ///
    /// # Errors
    /// Storage errors; damage to the commit point.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, tenant: TenantName) -> Result<Self, LedgerError> {
        TenantLedger::open_with(disk, dir, tenant, Arc::default(), limits::HISTORY_FILE_BYTES)
    }

    /// As [`TenantLedger::open`], with a cache shared between tenants and the size from which on a new history
    /// file is begun.
    ///
    /// # Errors
    /// Storage errors; damage to the commit point.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        tenant: TenantName,
        cache: Arc<FrameCache>,
        file_bytes: u64,
    ) -> Result<Self, LedgerError> {
        let history = History::open(disk.clone(), dir.join("history"), cache, file_bytes)?;
        let archived = history.frontier();
        Ok(TenantLedger {
            tenant,
            tiles: Tiles::new(disk.clone(), dir.join("tiles")),
            disk,
            dir,
            history,
            memory: Mutex::new(Memory {
                edge: archived.clone(),
                archived,
                events: VecDeque::new(),
            }),
            archiver: AtomicU8::new(IDLE),
        })
    }

    /// Whose ledger it is.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// Adds event `seq` in memory; `leaf` is its leaf hash. What is archived already is skipped.
    ///
    /// # Errors
    /// [`LedgerError::NotContiguous`], [`LedgerError::EventTooLarge`].
    pub fn push(&self, seq: Seq, bytes: Bytes, leaf: Digest) -> Result<Pushed, LedgerError> {
        if bytes.len() > limits::EVENT_BYTES_MAX {
            return Err(LedgerError::EventTooLarge {
                seq: seq.0,
                bytes: bytes.len(),
                bytes_max: limits::EVENT_BYTES_MAX,
            });
        }
        let mut memory = self.lock();
        if seq.0 < memory.archived.size() {
            return Ok(Pushed::Archived);
        }
        if seq.0 != memory.edge.size() {
            return Err(LedgerError::NotContiguous {
                expected: memory.edge.size(),
                found: seq.0,
            });
        }
        memory.edge.push(leaf);
        memory.events.push_back((bytes, leaf));
        Ok(Pushed::Appended)
    }

    /// Number of events.
    pub fn size(&self) -> u64 {
        self.lock().edge.size()
    }

    /// Events that are archived: the journal need not keep them.
    pub fn archived(&self) -> u64 {
        self.lock().archived.size()
    }

    /// Moves the events before `end` from memory to history and tiles, for good. One thread at a time; readers and
    /// the pushing thread go on.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], [`LedgerError::Archiving`]; storage errors and damage, after which each further
    /// call answers [`LedgerError::Stopped`]: a failed flush is never tried again, and the process should end.
    pub fn archive(&self, end: u64) -> Result<(), LedgerError> {
        let taken = self
            .archiver
            .compare_exchange(IDLE, ARCHIVING, Ordering::Acquire, Ordering::Relaxed);
        if let Err(state) = taken {
            let tenant = self.tenant.clone();
            return Err(if state == STOPPED {
                LedgerError::Stopped { tenant }
            } else {
                LedgerError::Archiving { tenant }
            });
        }
        let done = match self.records_before(end) {
            Ok((edge, records, leaves)) if !records.is_empty() => self.write_archive(edge, &records, &leaves),
            Ok(_) => Ok(()),
            Err(mistake) => {
                self.archiver.store(IDLE, Ordering::Release);
                return Err(mistake);
            }
        };
        let next = if done.is_ok() { IDLE } else { STOPPED };
        self.archiver.store(next, Ordering::Release);
        done
    }

    /// One event.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], [`LedgerError::Pruned`], storage errors, damage.
    pub fn event(&self, seq: Seq) -> Result<Bytes, LedgerError> {
        {
            let memory = self.lock();
            if let Some(at) = seq.0.checked_sub(memory.archived.size()) {
                let found = memory.events.get(at as usize).map(|(bytes, _)| bytes.clone());
                return found.ok_or(LedgerError::BeyondEnd {
                    seq: seq.0,
                    end: memory.edge.size(),
                });
            }
        }
        self.history.read(seq.0)
    }

    /// One event, compared with its leaf hash in the tree.
    ///
    /// # Errors
    /// As [`TenantLedger::event`]; damage when the hashes differ.
    pub fn checked_event(&self, seq: Seq) -> Result<Bytes, LedgerError> {
        let bytes = self.event(seq)?;
        if self.leaf(seq)? == leaf_hash(&bytes) {
            return Ok(bytes);
        }
        let (path, offset) = self.history.place_of(seq.0)?;
        Err(LedgerError::damaged(
            &path,
            offset,
            "an event does not have its leaf hash",
        ))
    }

    /// The leaf hash of an event, from the tree.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], storage errors, damage.
    pub fn leaf(&self, seq: Seq) -> Result<Digest, LedgerError> {
        self.check_size(seq.0.saturating_add(1))?;
        self.whole_tree().subtree(0, seq.0)
    }

    /// Shows the events `[from, to)` in order until `visit` breaks; holds no lock while it does.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], [`LedgerError::Pruned`], storage errors; damage stops it at the damaged frame, and a
    /// scan from the next multiple of [`limits::TILE_LEAVES`] goes on behind it.
    pub fn scan(
        &self,
        from: Seq,
        to: Seq,
        visit: &mut dyn FnMut(Seq, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), LedgerError> {
        self.check_size(to.0)?;
        let mut seq = from.0;
        while seq < to.0 {
            let (archived, recent) = self.recent(seq, to.0);
            if recent.is_empty() {
                let end = archived.min(to.0);
                let mut visit = |seq, bytes: &Bytes| visit(Seq(seq), bytes);
                if self.history.scan(seq, end, &mut visit)?.is_break() {
                    return Ok(());
                }
                seq = end;
            }
            for (bytes, _) in recent {
                if visit(Seq(seq), &bytes).is_break() {
                    return Ok(());
                }
                seq += 1;
            }
        }
        Ok(())
    }

    /// Size and root now.
    pub fn head(&self) -> TreeHead {
        let edge = self.lock().edge.clone();
        TreeHead {
            size: edge.size(),
            root: edge.root(),
        }
    }

    /// Root of the first `size` events.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], storage errors, damage.
    pub fn root_at(&self, size: u64) -> Result<Digest, LedgerError> {
        Ok(self.frontier_at(size)?.root())
    }

    /// Edge of the tree of the first `size` events.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], storage errors, damage.
    pub fn frontier_at(&self, size: u64) -> Result<Frontier, LedgerError> {
        {
            let memory = self.lock();
            for known in [&memory.edge, &memory.archived] {
                if known.size() == size {
                    return Ok(known.clone());
                }
            }
        }
        self.check_size(size)?;
        tree::frontier_at(&self.whole_tree(), size)
    }

    /// Proof that event `seq` is in the tree of the first `size` events.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], storage errors, damage.
    pub fn inclusion_proof(&self, seq: Seq, size: u64) -> Result<Vec<Digest>, LedgerError> {
        self.check_size(size)?;
        tree::inclusion_proof(&self.whole_tree(), seq.0, size)
    }

    /// Proof that the first `from` events are a prefix of the first `to`.
    ///
    /// # Errors
    /// [`LedgerError::BeyondEnd`], storage errors, damage.
    pub fn consistency_proof(&self, from: u64, to: u64) -> Result<Vec<Digest>, LedgerError> {
        self.check_size(to)?;
        tree::consistency_proof(&self.whole_tree(), from, to)
    }

    /// Stores the newest checkpoint, for good.
    ///
    /// # Errors
    /// Storage errors.
    pub fn store_checkpoint(&self, checkpoint: &SignedCheckpoint) -> Result<(), LedgerError> {
        create_dir(&*self.disk, &self.dir)?;
        let path = self.dir.join("checkpoint");
        disk::replace_file(&*self.disk, &path, checkpoint.text().as_bytes())
            .map_err(LedgerError::io("write", &path))
    }

    /// The newest stored checkpoint. Its signature is not checked.
    ///
    /// # Errors
    /// Storage errors; damage when it is no checkpoint.
    pub fn stored_checkpoint(&self) -> Result<Option<SignedCheckpoint>, LedgerError> {
        let path = self.dir.join("checkpoint");
        let bytes = match disk::read_file(&*self.disk, &path, limits::NOTE_BYTES_MAX as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io("read", &path)(error)),
        };
        let damaged = |_: NoteError| LedgerError::damaged(&path, 0, "the file holds no checkpoint");
        SignedCheckpoint::parse(&bytes).map(Some).map_err(damaged)
    }

    /// Where the ledger lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The order matters: history and tiles become readable before memory lets go of them.
    fn write_archive(&self, edge: Frontier, records: &[Bytes], leaves: &[Digest]) -> Result<(), LedgerError> {
        create_dir(&*self.disk, &self.dir)?;
        self.history.prepare()?;
        let after = self.tiles.append(&edge, leaves)?;
        self.history.append(edge.size(), records, after.clone())?;
        let moved = {
            let mut memory = self.lock();
            let rest = memory.events.split_off(records.len());
            memory.archived = after;
            std::mem::replace(&mut memory.events, rest)
        };
        // Freed outside the lock.
        drop(moved);
        Ok(())
    }

    /// Edge of the archive, and what is in memory between it and `end`.
    fn records_before(&self, end: u64) -> Result<(Frontier, Vec<Bytes>, Vec<Digest>), LedgerError> {
        self.check_size(end)?;
        let edge = self.lock().archived.clone();
        let (mut records, mut leaves) = (Vec::new(), Vec::new());
        let mut seq = edge.size();
        while seq < end {
            let (_, recent) = self.recent(seq, end);
            seq += recent.len() as u64;
            for (bytes, leaf) in recent {
                records.push(bytes);
                leaves.push(leaf);
            }
        }
        Ok((edge, records, leaves))
    }

    /// End of the archive, and some events from `from` on if they are in memory.
    fn recent(&self, from: u64, to: u64) -> (u64, Vec<(Bytes, Digest)>) {
        let memory = self.lock();
        let archived = memory.archived.size();
        let Some(skip) = from.checked_sub(archived) else {
            return (archived, Vec::new());
        };
        let take = (to.saturating_sub(from) as usize).min(limits::LEDGER_LOCK_RECORDS_MAX);
        let found = memory.events.iter().skip(skip as usize).take(take).cloned();
        (archived, found.collect())
    }

    fn check_size(&self, size: u64) -> Result<(), LedgerError> {
        let end = self.size();
        if size <= end {
            Ok(())
        } else {
            Err(LedgerError::BeyondEnd { seq: size, end })
        }
    }

    fn whole_tree(&self) -> WholeTree<'_> {
        WholeTree::new(&self.tiles, self.lock().archived.clone(), self)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Recent for TenantLedger {
    fn leaf(&self, index: u64) -> Result<Digest, Frontier> {
        let memory = self.lock();
        index
            .checked_sub(memory.archived.size())
            .and_then(|at| memory.events.get(at as usize))
            .map(|(_, leaf)| *leaf)
            .ok_or_else(|| memory.archived.clone())
    }
}
