//! Making a batch true: journal and flush, ledgers, replies, projection, publication, in this order.
//!
//! Promises: nothing is answered or published before the journal's flush returned; an append or flush that failed is never
//! tried again; whoever was answered reads what the answer told, for readers wait until the projection shows it. It must
//! never let the projection say more than the journal holds.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLockWriteGuard};

use bytes::Bytes;

use super::{DURABLE_EVERY_MS, Dropped, Fatal, Owed, Writer};
use crate::domain::TenantName;
use crate::domain::state::Changes;
use crate::engine::feed::Committed;
use crate::engine::trial::{RowCache, Trial};
use crate::journal::Record;
use crate::limits;
use crate::store::{Commit, Head, StoreError};

impl Writer {
    pub(super) fn commit(&mut self, trial: Trial, owed: &mut Vec<Owed>) -> Result<(), Dropped> {
        if trial.events.is_empty() {
            if self.dirty && self.clock.monotonic_ms() >= self.durable_at_ms + DURABLE_EVERY_MS {
                self.flush_projection().map_err(Dropped::Fatal)?;
            }
            self.answer(owed);
            return Ok(());
        }
        let (committed, changes) = self.record(trial)?;
        // The batch is durable: whoever waits for it goes on while the projection takes it in, and reads after that.
        let shared = self.shared.clone();
        let settling = shared.settle();
        self.answer(owed);
        self.show(committed, &changes, Some(settling))
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
        let (committed, changes) = self.record(full)?;
        self.show(committed, &changes, None)?;
        self.split = true;
        // The one made above does not see what has just been appended.
        *trial = self.trial()?;
        Ok(())
    }

    /// An empty batch over the projection as it stands.
    pub(super) fn trial(&self) -> Result<Trial, Dropped> {
        let store = self
            .shared
            .store()
            .map_err(|_| Dropped::Fatal(Fatal("no projection".to_owned())))?;
        Ok(Trial::new(store.read().map_err(Dropped::Projection)?))
    }

    /// Makes a batch durable.
    fn record(&mut self, trial: Trial) -> Result<(Vec<Committed>, BTreeMap<TenantName, Changes>), Dropped> {
        let fatal =
            |what: &str, error: &dyn std::fmt::Display| Dropped::Fatal(Fatal(format!("{what}: {error}")));
        let mut records = Vec::with_capacity(trial.events.len());
        let mut committed = Vec::with_capacity(trial.events.len());
        for accepted in trial.events {
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
        for event in &committed {
            self.shared
                .ledgers
                .ledger(&event.tenant)
                .and_then(|ledger| ledger.push(event.seq, event.bytes.clone(), event.leaf))
                .map_err(|error| fatal("the ledger", &error))?;
        }
        Ok((committed, trial.changes))
    }

    /// Lets everybody see a batch that is durable. What fails here is made up for at the next start.
    fn show(
        &mut self,
        committed: Vec<Committed>,
        changes: &BTreeMap<TenantName, Changes>,
        settling: Option<RwLockWriteGuard<'_, ()>>,
    ) -> Result<(), Dropped> {
        match self.project(&committed, changes) {
            Ok(()) => {
                drop(settling);
                for (tenant, changes) in changes {
                    self.cache.absorb(tenant, changes);
                }
            }
            // The ledgers have the batch already, so folding them anew is all that is left to do.
            Err(StoreError::Damaged(why)) => self.rebuild(&why, settling).map_err(Dropped::Fatal)?,
            Err(error) => return Err(Dropped::Fatal(Fatal(format!("the projection: {error}")))),
        }
        let ready = self.active.ready.depth();
        self.shared
            .stats
            .set_active(ready, self.shared.leases.lock().len());
        self.shared.feed.publish(Arc::new(committed));
        if !self.journal.closed().is_empty() {
            self.shared.wake_archiver();
        }
        Ok(())
    }

    fn project(
        &mut self,
        committed: &[Committed],
        changes: &BTreeMap<TenantName, Changes>,
    ) -> Result<(), StoreError> {
        let store = self
            .shared
            .store()
            .map_err(|_| StoreError::Failed("closed".to_owned()))?;
        let mut batch = store.begin()?;
        for (tenant, changes) in changes {
            batch.write(tenant, changes)?;
            let events: Vec<_> = committed.iter().filter(|event| event.tenant == *tenant).collect();
            let subjects: Vec<_> = events
                .iter()
                .map(|event| (event.seq, event.job, event.run))
                .collect();
            batch.index_events(tenant, &subjects)?;
            if let Some(last) = events.last() {
                batch.set_head(
                    tenant,
                    Head {
                        size: last.seq.0 + 1,
                        at: self.time.last(),
                    },
                )?;
            }
        }
        let now_ms = self.clock.monotonic_ms();
        let durable = now_ms >= self.durable_at_ms + DURABLE_EVERY_MS;
        if durable {
            self.durable_at_ms = now_ms;
        }
        self.dirty = !durable;
        batch.commit(
            Some(self.position.0),
            if durable { Commit::Durable } else { Commit::Visible },
        )
    }

    /// Makes the projection durable up to here.
    pub(in crate::engine) fn flush_projection(&mut self) -> Result<(), Fatal> {
        let flush = || -> Result<(), StoreError> {
            let store = self
                .shared
                .store()
                .map_err(|_| StoreError::Failed("closed".to_owned()))?;
            store.begin()?.commit(Some(self.position.0), Commit::Durable)
        };
        match flush() {
            Ok(()) => {}
            // Built anew, it is durable.
            Err(StoreError::Damaged(why)) => return self.rebuild(&why, None),
            Err(error) => return Err(Fatal(format!("the projection: {error}"))),
        }
        self.durable_at_ms = self.clock.monotonic_ms();
        self.dirty = false;
        Ok(())
    }

    /// Throws the projection away and folds it anew from the ledgers.
    pub(in crate::engine) fn rebuild(
        &mut self,
        why: &str,
        settling: Option<RwLockWriteGuard<'_, ()>>,
    ) -> Result<(), Fatal> {
        tracing::error!(why, "the projection is damaged and is being rebuilt");
        let active = self
            .shared
            .rebuild_projection((self.position.0, self.clock.monotonic_ms()), settling)
            .map_err(|error| Fatal(format!("rebuilding the projection: {error}")))?;
        self.active = active;
        self.cache = RowCache::default();
        self.durable_at_ms = self.clock.monotonic_ms();
        self.dirty = false;
        Ok(())
    }
}
