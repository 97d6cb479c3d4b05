//! The way to the committer's thread and back.
//!
//! Promises: one batch at a time, in the order put; a committer that ended, even by a panic, is told to whoever waits.
//! It must never take a batch after one that failed.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::{Committer, Decided, Orphan, outcome_unknown};
use crate::engine::writer::Fatal;
use crate::journal::SegmentId;

/// A flush that took less is not worth the way to another thread and back: the writer makes the next batch true itself.
const HAND_OVER_MIN: Duration = Duration::from_micros(500);

/// Where the writer hands batches to the committer's thread, one at a time.
#[derive(Debug)]
pub(in crate::engine) struct Hatch {
    /// Held while a batch is made true.
    committer: Mutex<Committer>,
    /// Held for a look or an assignment.
    slot: Mutex<Slot>,
    /// Told when there is something to do.
    given: Condvar,
    /// Told when a batch is true, and at the end.
    done: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    batch: Option<Decided>,
    /// A batch is being made true.
    is_busy: bool,
    /// Segments to give up.
    release: Vec<SegmentId>,
    pub(super) orphans: Vec<Orphan>,
    /// How long the last append took, with its flush.
    took: Duration,
    failed: Option<String>,
    ended: bool,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.batch.is_none() && !self.is_busy
    }

    pub(super) fn failure(&self) -> Option<Fatal> {
        self.failed.clone().map(Fatal)
    }
}

impl Hatch {
    pub(super) fn new(committer: Committer) -> Self {
        Hatch {
            committer: Mutex::new(committer),
            slot: Mutex::default(),
            given: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(super) fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn put(&self, batch: Decided) -> Result<(), Fatal> {
        if let Err(fatal) = self.settle() {
            outcome_unknown(batch.owed, &fatal);
            return Err(fatal);
        }
        let mut slot = self.slot();
        if slot.took < HAND_OVER_MIN {
            drop(slot);
            return self.work(Some(batch), &[]).map(|_| ());
        }
        slot.batch = Some(batch);
        self.given.notify_one();
        Ok(())
    }

    /// Makes a batch true and gives segments up. True when callers had gone that were granted something.
    fn work(&self, batch: Option<Decided>, release: &[SegmentId]) -> Result<bool, Fatal> {
        let mut committer = self
            .committer
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let committed = match batch {
            Some(batch) => committer.commit(batch),
            None => Ok(Vec::new()),
        };
        let done = committed.and_then(|orphans| committer.release(release).map(|()| orphans));
        let mut slot = self.slot();
        slot.took = committer.took;
        match done {
            Ok(orphans) => {
                let has_orphans = !orphans.is_empty();
                slot.orphans.extend(orphans);
                Ok(has_orphans)
            }
            Err(fatal) => {
                slot.failed = Some(fatal.0.clone());
                Err(fatal)
            }
        }
    }

    pub(super) fn wait_free(&self, at_most: Duration) -> bool {
        let is_busy = |slot: &mut Slot| !slot.is_free() && slot.failed.is_none();
        let (mut slot, _) = self
            .done
            .wait_timeout_while(self.slot(), at_most, is_busy)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        !is_busy(&mut slot)
    }

    pub(super) fn settle(&self) -> Result<(), Fatal> {
        let slot = self
            .done
            .wait_while(self.slot(), |slot| !slot.is_free() && slot.failed.is_none())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        slot.failure().map_or(Ok(()), Err)
    }

    /// Segments that may be given up.
    pub(in crate::engine) fn release(&self, segments: &[SegmentId]) {
        self.slot().release.extend_from_slice(segments);
        self.given.notify_one();
    }

    /// Ends the thread behind, after the batch it is at.
    pub(in crate::engine) fn end(&self) {
        self.slot().ended = true;
        self.given.notify_one();
    }

    /// Makes true what is handed over, until the end. `look` asks the writer to look here: for orphans, or the end.
    pub(in crate::engine) fn serve(&self, look: impl Fn()) {
        let mut ends = Ends {
            hatch: self,
            look: &look,
            why: "the committer panicked".to_owned(),
        };
        loop {
            let (batch, release) = {
                let is_idle =
                    |slot: &mut Slot| slot.batch.is_none() && slot.release.is_empty() && !slot.ended;
                let mut slot = self
                    .given
                    .wait_while(self.slot(), is_idle)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                let work = (slot.batch.take(), std::mem::take(&mut slot.release));
                if work.0.is_none() && slot.ended {
                    "the committer has ended".clone_into(&mut ends.why);
                    return;
                }
                slot.is_busy = work.0.is_some();
                work
            };
            match self.work(batch, &release) {
                Ok(has_orphans) => {
                    self.slot().is_busy = false;
                    self.done.notify_all();
                    if has_orphans {
                        look();
                    }
                }
                Err(fatal) => {
                    ends.why = fatal.0;
                    return;
                }
            }
        }
    }
}

/// Tells the writer that its committer has gone, even when that panicked.
struct Ends<'h, L: Fn()> {
    hatch: &'h Hatch,
    look: &'h L,
    why: String,
}

impl<L: Fn()> Drop for Ends<'_, L> {
    fn drop(&mut self) {
        self.hatch.slot().failed = Some(std::mem::take(&mut self.why));
        self.hatch.done.notify_all();
        (self.look)();
    }
}
