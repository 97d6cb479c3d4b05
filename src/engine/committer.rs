//! Making decided batches true, one after the other: disclosures and their flush, journal and flush, ledgers, the
//! projector's queue, the feed, the answers, in this order. The writer decides the next batch meanwhile.
//!
//! Promises: nothing is answered or published before the journal's flush returned; an append or flush that failed is never
//! tried again, and nothing decided after it is appended; whoever was answered reads what the answer told, for readers
//! wait until the projection shows it. It must never let the projection say more than the journal holds, or decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::feed::Committed;
use super::projector::Durable;
use super::request::{Answer, SubmitError};
use super::shared::Shared;
use super::writer::Fatal;
use crate::domain::decide::Accepted;
use crate::domain::event::EventBody;
use crate::domain::redaction::Kept;
use crate::domain::state::Changes;
use crate::domain::{JobId, TenantName, Timestamp};
use crate::journal::{Journal, Position, Record, SegmentId, Term};

/// An answer, and where it goes once its batch is durable.
pub(super) type Owed = (oneshot::Sender<Result<Answer, SubmitError>>, Answer);
/// A lease granted to a caller that had gone by the time of the answer: its tenant, job and epoch.
pub(super) type Orphan = (TenantName, JobId, u64);

/// A batch as it was decided.
#[derive(Debug)]
pub(super) struct Decided {
    /// In the order decided: what goes into the journal.
    pub(super) events: Vec<Accepted>,
    /// Rows changed, per tenant.
    pub(super) changes: BTreeMap<TenantName, Changes>,
    /// Disclosures of the events, in their order for each tenant.
    pub(super) kept: Vec<(TenantName, Kept)>,
    /// Ledger time of its last event.
    pub(super) at: Timestamp,
    /// Rejections too: they may rest on an event of this batch or of one before it.
    pub(super) owed: Vec<Owed>,
}

/// Tells whoever is owed an answer that there is none.
pub(super) fn leave_unanswered(owed: Vec<Owed>, why: &SubmitError) {
    for (reply, _) in owed {
        let _ = reply.send(Err(why.clone()));
    }
}

fn outcome_unknown(owed: Vec<Owed>, fatal: &Fatal) {
    leave_unanswered(owed, &SubmitError::OutcomeUnknown(fatal.0.clone()));
}

/// A flush that took less is not worth the way to another thread and back: the writer makes the next batch true itself.
const HAND_OVER_MIN: Duration = Duration::from_micros(500);

/// Who appends. Owns the journal.
#[derive(Debug)]
pub(super) struct Committer {
    journal: Box<dyn Journal>,
    term: Term,
    position: Position,
    shared: Arc<Shared>,
    /// How long the last append took, with its flush.
    took: Duration,
}

impl Committer {
    pub(super) fn new(journal: Box<dyn Journal>, shared: Arc<Shared>) -> Self {
        Committer {
            term: Term(journal.term().0 + 1),
            position: journal.end(),
            journal,
            shared,
            took: Duration::ZERO,
        }
    }

    /// Makes a batch durable, lets everybody see it, and answers. Returns the leases of callers that had gone.
    fn commit(&mut self, batch: Decided) -> Result<Vec<Orphan>, Fatal> {
        let Decided {
            events,
            changes,
            kept,
            at,
            owed,
        } = batch;
        if !events.is_empty()
            && let Err(fatal) = self.record(events, changes, &kept, at)
        {
            outcome_unknown(owed, &fatal);
            return Err(fatal);
        }
        Ok(answer(owed))
    }

    fn record(
        &mut self,
        events: Vec<Accepted>,
        changes: BTreeMap<TenantName, Changes>,
        kept: &[(TenantName, Kept)],
        at: Timestamp,
    ) -> Result<(), Fatal> {
        let fatal = |what: &str, error: &dyn std::fmt::Display| Fatal(format!("{what}: {error}"));
        // First: an event whose values are nowhere must not be, short of their erasure.
        self.shared
            .disclosures
            .append(kept)
            .map_err(|error| fatal("disclosures", &error))?;
        let mut records = Vec::with_capacity(events.len());
        let mut committed = Vec::with_capacity(events.len());
        let mut erased = Vec::new();
        for accepted in events {
            if let EventBody::DisclosureErased(payload) = &accepted.event.body {
                erased.push((accepted.event.tenant.clone(), payload.disclosures));
            }
            let bytes = Bytes::from(accepted.bytes);
            committed.push(Committed::new(&accepted.event, bytes.clone(), accepted.leaf));
            records.push(Record {
                tenant: accepted.event.tenant.clone(),
                seq: accepted.event.seq,
                bytes,
            });
        }
        let from_ns = self.shared.clock.monotonic_ns();
        self.position = self
            .journal
            .append(self.term, self.position, &records)
            .map_err(|error| fatal("the journal", &error))?;
        self.shared.set_durable(self.position);
        let took_ns = self.shared.clock.monotonic_ns() - from_ns;
        self.took = Duration::from_nanos(took_ns);
        self.shared.stats.flushed(took_ns, records.len());
        // Before anybody is answered: whoever hears that values are erased can rely on it.
        for (tenant, with) in &erased {
            let gone = self.shared.disclosures.erase(tenant, *with);
            gone.map_err(|error| fatal("disclosures", &error))?;
        }
        for event in &committed {
            self.shared
                .ledgers
                .ledger(&event.tenant)
                .and_then(|ledger| ledger.push(event.seq, event.bytes.clone(), event.leaf))
                .map_err(|error| fatal("the ledger", &error))?;
        }
        let committed = Arc::new(committed);
        let batch = Arc::new(Durable {
            position: self.position.0,
            at,
            events: committed.clone(),
            changes,
        });
        self.shared
            .projector
            .push(batch, self.shared.clock.monotonic_ms());
        self.shared.feed.publish(committed);
        self.shared.note_closed(self.closed());
        Ok(())
    }

    fn closed(&self) -> Vec<SegmentId> {
        self.journal.closed().iter().map(|info| info.id).collect()
    }

    /// Gives up segments whose events are in history.
    fn release(&mut self, segments: &[SegmentId]) -> Result<(), Fatal> {
        for id in segments {
            // The archiver may name a segment twice: it was woken again before the first word of it arrived here.
            if self.closed().contains(id) {
                self.journal
                    .release(*id)
                    .map_err(|error| Fatal(format!("the journal: {error}")))?;
            }
        }
        Ok(())
    }
}

fn answer(owed: Vec<Owed>) -> Vec<Orphan> {
    let mut orphans = Vec::new();
    for (reply, answer) in owed {
        // A caller that has gone finds out by reading; but what it claimed must not wait for the lease to end.
        if let Err(Ok(answer)) = reply.send(Ok(answer)) {
            let leases = answer
                .jobs
                .into_iter()
                .map(|lost| (lost.tenant, lost.job.id, lost.job.epoch));
            orphans.extend(leases);
        }
    }
    orphans
}

/// The writer's side: takes one batch at a time.
#[derive(Debug)]
pub(super) enum Commits {
    /// Within the call: at start, and in tests.
    Here(Here),
    /// In a thread of its own, which runs [`Hatch::serve`], as long as flushes are slow.
    Behind(Arc<Hatch>),
}

/// A committer that works within the call.
#[derive(Debug)]
pub(super) struct Here {
    committer: Committer,
    orphans: Vec<Orphan>,
    /// Whether a batch is kept until the one after it is decided, as one that flushes slowly would be.
    lags: bool,
    kept: Option<Decided>,
}

impl Here {
    fn put(&mut self, batch: Decided) -> Result<(), Fatal> {
        let settled = self.settle();
        if let Err(fatal) = settled {
            outcome_unknown(batch.owed, &fatal);
            return Err(fatal);
        }
        if self.lags {
            self.kept = Some(batch);
            return Ok(());
        }
        self.orphans.extend(self.committer.commit(batch)?);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Fatal> {
        if let Some(kept) = self.kept.take() {
            self.orphans.extend(self.committer.commit(kept)?);
        }
        Ok(())
    }
}

impl Commits {
    pub(super) fn here(committer: Committer) -> Self {
        Commits::Here(Here {
            committer,
            orphans: Vec::new(),
            lags: false,
            kept: None,
        })
    }

    /// Whether from now on a batch is kept until the next one is decided. For tests.
    pub(super) fn let_lag(&mut self, lags: bool) {
        if let Commits::Here(here) = self {
            here.lags = lags;
        }
    }

    /// Takes a batch, once the one before it is true. Blocks until then.
    pub(super) fn put(&mut self, batch: Decided) -> Result<(), Fatal> {
        match self {
            Commits::Here(here) => here.put(batch),
            Commits::Behind(hatch) => hatch.put(batch),
        }
    }

    /// Waits until everything taken is true, at most as long; false when it is not by then.
    pub(super) fn wait_free(&self, at_most: Duration) -> bool {
        match self {
            Commits::Here(_) => true,
            Commits::Behind(hatch) => hatch.wait_free(at_most),
        }
    }

    /// Waits until everything taken is true.
    pub(super) fn settle(&mut self) -> Result<(), Fatal> {
        match self {
            Commits::Here(here) => here.settle(),
            Commits::Behind(hatch) => hatch.settle(),
        }
    }

    /// Why there will be no more, when that is so.
    pub(super) fn failure(&self) -> Option<Fatal> {
        match self {
            Commits::Here(_) => None,
            Commits::Behind(hatch) => hatch.slot().failure(),
        }
    }

    pub(super) fn has_orphans(&self) -> bool {
        match self {
            Commits::Here(here) => !here.orphans.is_empty(),
            Commits::Behind(hatch) => !hatch.slot().orphans.is_empty(),
        }
    }

    pub(super) fn take_orphans(&mut self) -> Vec<Orphan> {
        match self {
            Commits::Here(here) => std::mem::take(&mut here.orphans),
            Commits::Behind(hatch) => std::mem::take(&mut hatch.slot().orphans),
        }
    }

    /// Closed segments whose events may not be in history yet. For tests.
    pub(super) fn closed(&self) -> Vec<SegmentId> {
        match self {
            Commits::Here(here) => here.committer.closed(),
            Commits::Behind(_) => Vec::new(),
        }
    }

    /// Gives up segments whose events are in history. For tests; behind, the archiver tells the hatch.
    pub(super) fn release(&mut self, segments: &[SegmentId]) -> Result<(), Fatal> {
        match self {
            Commits::Here(here) => here.committer.release(segments),
            Commits::Behind(hatch) => {
                hatch.release(segments);
                Ok(())
            }
        }
    }

    /// Lets a thread of its own make batches true, which is to run [`Hatch::serve`].
    pub(super) fn go_behind(self) -> (Self, Arc<Hatch>) {
        let hatch = match self {
            Commits::Here(here) => {
                let hatch = Hatch::new(here.committer);
                hatch.slot().orphans = here.orphans;
                Arc::new(hatch)
            }
            Commits::Behind(hatch) => hatch,
        };
        (Commits::Behind(hatch.clone()), hatch)
    }
}

/// Where the writer hands batches to the committer's thread, one at a time.
#[derive(Debug)]
pub(super) struct Hatch {
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
struct Slot {
    batch: Option<Decided>,
    /// A batch is being made true.
    is_busy: bool,
    /// Segments to give up.
    release: Vec<SegmentId>,
    orphans: Vec<Orphan>,
    /// How long the last append took, with its flush.
    took: Duration,
    failed: Option<String>,
    ended: bool,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.batch.is_none() && !self.is_busy
    }

    fn failure(&self) -> Option<Fatal> {
        self.failed.clone().map(Fatal)
    }
}

impl Hatch {
    fn new(committer: Committer) -> Self {
        Hatch {
            committer: Mutex::new(committer),
            slot: Mutex::default(),
            given: Condvar::new(),
            done: Condvar::new(),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn put(&self, batch: Decided) -> Result<(), Fatal> {
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

    fn wait_free(&self, at_most: Duration) -> bool {
        let is_busy = |slot: &mut Slot| !slot.is_free() && slot.failed.is_none();
        let (mut slot, _) = self
            .done
            .wait_timeout_while(self.slot(), at_most, is_busy)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        !is_busy(&mut slot)
    }

    fn settle(&self) -> Result<(), Fatal> {
        let slot = self
            .done
            .wait_while(self.slot(), |slot| !slot.is_free() && slot.failed.is_none())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        slot.failure().map_or(Ok(()), Err)
    }

    /// Segments that may be given up.
    pub(super) fn release(&self, segments: &[SegmentId]) {
        self.slot().release.extend_from_slice(segments);
        self.given.notify_one();
    }

    /// Ends the thread behind, after the batch it is at.
    pub(super) fn end(&self) {
        self.slot().ended = true;
        self.given.notify_one();
    }

    /// Makes true what is handed over, until the end. `look` asks the writer to look here: for orphans, or the end.
    pub(super) fn serve(&self, look: impl Fn()) {
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

#[cfg(test)]
mod tests;
