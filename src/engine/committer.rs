//! Making decided batches true, one after the other: disclosures and their flush, journal and flush, ledgers, the
//! projector's queue, the feed, the answers, in this order. The writer decides the next batch meanwhile.
//!
//! Promises: nothing is answered or published before the journal's flush returned; an append or flush that failed is never
//! tried again, and nothing decided after it is appended; whoever was answered reads what the answer told, for readers
//! wait until the projection shows it. It must never let the projection say more than the journal holds, or decide.

mod hatch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

pub(super) use self::hatch::Hatch;
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

#[cfg(test)]
mod tests;
