//! Making a batch true: disclosures and their flush, journal and flush, ledgers, replies, publication, in this order; the projection follows.
//!
//! Promises: nothing is answered or published before the journal's flush returned; an append or flush that failed is never
//! tried again; whoever was answered reads what the answer told, for readers wait until the projection shows it. It must
//! never let the projection say more than the journal holds.

use std::sync::Arc;

use bytes::Bytes;

use super::{Dropped, Fatal, Owed, Writer};
use crate::domain::event::EventBody;
use crate::engine::feed::Committed;
use crate::engine::projector::Durable;
use crate::engine::trial::{RowCache, Trial};
use crate::journal::Record;
use crate::limits;
use crate::store::StoreError;

impl Writer {
    pub(super) fn commit(&mut self, trial: Trial, owed: &mut Vec<Owed>) -> Result<(), Dropped> {
        if !trial.events.is_empty() {
            self.record(trial)?;
        }
        self.answer(owed);
        Ok(())
    }

    fn answer(&mut self, owed: &mut Vec<Owed>) {
        for (reply, answer) in owed.drain(..) {
            // A caller that has gone finds out by reading; but what it claimed must not wait for the lease to end.
            if let Err(Ok(answer)) = reply.send(Ok(answer)) {
                let leases = answer
                    .jobs
                    .into_iter()
                    .map(|lost| (lost.tenant, lost.job.id, lost.job.epoch));
                self.orphans.extend(leases);
            }
        }
    }

    /// One command may follow from a full batch as little as two from an empty one: what the journal takes at once is
    /// bounded. So a full trial is appended before the next command is decided; the answers wait for the last part.
    pub(super) fn make_room(&mut self, trial: &mut Trial) -> Result<(), Dropped> {
        if trial.bytes < limits::BATCH_GATHER_BYTES_MAX {
            return Ok(());
        }
        let full = std::mem::replace(trial, self.trial()?);
        self.record(full)?;
        self.split = true;
        // The one made above does not see what has just been appended.
        *trial = self.trial()?;
        Ok(())
    }

    /// An empty batch over the projection as it stands.
    pub(super) fn trial(&mut self) -> Result<Trial, Dropped> {
        // First: a view shows what was projected before it was opened.
        self.cache.make_room(self.shared.projector.projected());
        let store = self
            .shared
            .store()
            .map_err(|_| Dropped::Fatal(Fatal("no projection".to_owned())))?;
        Ok(Trial::new(store.read().map_err(Dropped::Projection)?))
    }

    /// Makes a batch durable, and lets everybody see it.
    fn record(&mut self, trial: Trial) -> Result<(), Dropped> {
        let fatal =
            |what: &str, error: &dyn std::fmt::Display| Dropped::Fatal(Fatal(format!("{what}: {error}")));
        // First: an event whose values are nowhere must not be, short of their erasure.
        self.shared
            .disclosures
            .append(&trial.kept)
            .map_err(|error| fatal("disclosures", &error))?;
        let mut records = Vec::with_capacity(trial.events.len());
        let mut committed = Vec::with_capacity(trial.events.len());
        let mut erased = Vec::new();
        for accepted in trial.events {
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
            self.shared.auth.observe(&accepted.event);
        }
        let flush_from_ns = self.clock.monotonic_ns();
        self.position = self
            .journal
            .append(self.term, self.position, &records)
            .map_err(|error| fatal("the journal", &error))?;
        self.shared
            .stats
            .flushed(self.clock.monotonic_ns() - flush_from_ns, records.len());
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
            at: self.time.last(),
            events: committed.clone(),
            changes: trial.changes,
        });
        self.cache.absorb(&batch);
        self.shared.projector.push(batch, self.clock.monotonic_ms());
        let ready = self.active.ready.depth();
        self.shared
            .stats
            .set_active(ready, self.shared.leases.lock().len());
        self.shared.feed.publish(committed);
        if !self.journal.closed().is_empty() {
            self.shared.wake_archiver();
        }
        Ok(())
    }

    /// Brings the projection up to here.
    pub(in crate::engine) fn project(&mut self) -> Result<(), Fatal> {
        let passed = self.shared.projector.pass(&self.shared, false);
        self.mend(passed)
    }

    /// Makes the projection durable up to here.
    pub(in crate::engine) fn flush_projection(&mut self) -> Result<(), Fatal> {
        let passed = self.shared.projector.pass(&self.shared, true);
        self.mend(passed)
    }

    /// Makes up for a pass of the projector that failed.
    pub(in crate::engine) fn mend(&mut self, passed: Result<(), StoreError>) -> Result<(), Fatal> {
        match passed {
            Ok(()) => Ok(()),
            // The ledgers have every batch, so folding them anew is all that is left to do.
            Err(StoreError::Damaged(why)) => self.rebuild(&why),
            Err(error) => Err(Fatal(format!("the projection: {error}"))),
        }
    }

    /// Throws the projection away and folds it anew from the ledgers.
    pub(in crate::engine) fn rebuild(&mut self, why: &str) -> Result<(), Fatal> {
        tracing::error!(why, "the projection is damaged and is being rebuilt");
        let active = self
            .shared
            .rebuild_projection(self.position.0, self.clock.monotonic_ms())
            .map_err(|error| Fatal(format!("rebuilding the projection: {error}")))?;
        self.active = active;
        self.cache = RowCache::default();
        Ok(())
    }
}
