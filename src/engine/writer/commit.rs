//! Handing decided batches over to be made true, and keeping the projection behind them usable.

use super::{Dropped, Fatal, Owed, Writer};
use crate::engine::committer::Decided;
use crate::engine::trial::{RowCache, Trial};
use crate::limits;
use crate::store::StoreError;

impl Writer {
    /// Hands over what is staged, once the batch before it is true. Blocks until then.
    pub(in crate::engine) fn hand_over(&mut self) -> Result<(), Fatal> {
        let Some(mut staged) = self.staged.take() else {
            return Ok(());
        };
        let batch = self.seal(&mut staged.trial, staged.owed);
        drop(staged.trial);
        match batch.events.is_empty() && batch.owed.is_empty() {
            true => Ok(()),
            false => self.commits.put(batch),
        }
    }

    /// What a trial has come to, which from now on is how things stand for what is decided after it.
    fn seal(&mut self, trial: &mut Trial, owed: Vec<Owed>) -> Decided {
        let events = std::mem::take(&mut trial.events);
        let changes = std::mem::take(&mut trial.changes);
        for accepted in &events {
            let (tenant, size) = (&accepted.event.tenant, accepted.event.seq.0 + 1);
            match self.sizes.get_mut(tenant) {
                Some(known) => *known = size,
                None => drop(self.sizes.insert(tenant.clone(), size)),
            }
        }
        self.position = self.position.plus(events.len() as u64);
        let bytes = std::mem::take(&mut trial.bytes);
        self.cache.absorb(&changes, bytes, self.position.0);
        let ready = self.active.ready.depth();
        self.shared
            .stats
            .set_active(ready, self.shared.leases.lock().len());
        Decided {
            events,
            changes,
            kept: std::mem::take(&mut trial.kept),
            at: self.time.last(),
            owed,
        }
    }

    /// One command may follow from a full batch as little as two from an empty one: what the journal takes at once is
    /// bounded. So a full trial is handed over before the next command is decided; the answers wait for the last part.
    pub(super) fn make_room(&mut self, trial: &mut Trial) -> Result<(), Dropped> {
        if trial.bytes < limits::BATCH_GATHER_BYTES_MAX {
            return Ok(());
        }
        let full = self.seal(trial, Vec::new());
        self.commits.put(full).map_err(Dropped::Fatal)?;
        self.split = true;
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

    /// Brings the projection up to here.
    pub(in crate::engine) fn project(&mut self) -> Result<(), Fatal> {
        self.commits.settle()?;
        let passed = self.shared.projector.pass(&self.shared, false);
        self.mend(passed)
    }

    /// Makes the projection durable up to here.
    pub(in crate::engine) fn flush_projection(&mut self) -> Result<(), Fatal> {
        self.commits.settle()?;
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
        self.hand_over()?;
        self.commits.settle()?;
        let active = self
            .shared
            .rebuild_projection(self.position.0, self.shared.clock.monotonic_ms())
            .map_err(|error| Fatal(format!("rebuilding the projection: {error}")))?;
        self.active = active;
        self.cache = RowCache::default();
        Ok(())
    }
}
