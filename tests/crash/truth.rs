//! What must be there after a crash: every event of every answered batch, and every checkpoint that was stored.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use fastness::domain::{Seq, TenantName};
use fastness::engine::{CommittedBatch, ManualEngine};
use fastness::ledger::TreeHead;

/// Events per ledger.
pub type Sizes = BTreeMap<TenantName, u64>;

/// Ledgers as they were told to callers.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    pub events: BTreeMap<TenantName, Vec<Bytes>>,
    /// The sizes after each batch: a crash leaves one of these, never a part of a batch.
    pub marks: Vec<Arc<Sizes>>,
    /// Everything ever signed and seen on the disk: the ledger must always agree with it.
    pub checkpoints: Vec<(TenantName, TreeHead)>,
    /// Sizes of the newest that were stored without an error.
    pub stored: Sizes,
    /// What lay there at the last start. Storing it may have failed, so that it may go again.
    pub found: BTreeMap<TenantName, TreeHead>,
}

impl Truth {
    pub fn sizes(&self) -> Sizes {
        self.events
            .iter()
            .map(|(tenant, events)| (tenant.clone(), events.len() as u64))
            .collect()
    }

    /// Takes in a batch as it was published.
    pub fn take_batch(&mut self, batch: &CommittedBatch) {
        for event in batch.iter() {
            let events = self.events.entry(event.tenant.clone()).or_default();
            assert_eq!(
                event.seq.0,
                events.len() as u64,
                "the feed has a gap or a repetition"
            );
            events.push(event.bytes.clone());
        }
        self.marks.push(Arc::new(self.sizes()));
    }

    /// True when `other` goes on where this ends, or ends here too. Between two of its batches, that is: one ledger may
    /// have gone on alike after a batch of another was refused.
    pub fn is_part_of(&self, other: &Truth) -> bool {
        let sizes = self.sizes();
        let is_between = other.marks.iter().any(|mark| **mark == sizes);
        is_between
            && self.events.iter().all(|(tenant, events)| {
                let others = other.events.get(tenant).map_or(&[][..], Vec::as_slice);
                others.starts_with(events)
            })
    }

    /// Takes in what an engine holds that was just opened.
    pub fn take_ledgers(&mut self, engine: &ManualEngine) {
        for tenant in engine.tenants().unwrap() {
            let ledger = engine.ledger(&tenant).unwrap();
            let events = self.events.entry(tenant).or_default();
            let (from, to) = (Seq(events.len() as u64), Seq(ledger.size()));
            let mut visit = |_, bytes: &Bytes| {
                events.push(bytes.clone());
                ControlFlow::Continue(())
            };
            ledger.scan(from, to, &mut visit).unwrap();
        }
        self.events.retain(|_, events| !events.is_empty());
        self.marks.push(Arc::new(self.sizes()));
        self.found = self.visible(engine).collect();
    }

    /// Takes in the checkpoints that are stored now.
    pub fn take_checkpoints(&mut self, engine: &ManualEngine) {
        let visible: Vec<_> = self.visible(engine).collect();
        for (tenant, head) in visible {
            if self.found.get(&tenant) != Some(&head) {
                self.stored.insert(tenant.clone(), head.size);
            }
            if !self.checkpoints.contains(&(tenant.clone(), head)) {
                self.checkpoints.push((tenant, head));
            }
        }
    }

    fn visible<'a>(&'a self, engine: &'a ManualEngine) -> impl Iterator<Item = (TenantName, TreeHead)> + 'a {
        self.events.keys().filter_map(|tenant| {
            let stored = engine.ledger(tenant).unwrap().stored_checkpoint().unwrap()?;
            Some((tenant.clone(), stored.checkpoint().head))
        })
    }
}
