//! The state as advanced by the commands of one batch: rows staged in memory over the last committed projection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::graphs::Graphs;
use crate::domain::command::{Command, Reply};
use crate::domain::decide::{Accepted, Stamp, decide};
use crate::domain::redaction::Kept;
use crate::domain::rejection::Refusal;
use crate::domain::state::{Changes, Key, Layered, Row, Unavailable, View};
use crate::domain::{Seq, TenantName};
use crate::limits;
use crate::store::Snapshot;

/// What was written last, for two reasons: the projection may not show it yet, and active work touches it again soon.
/// The writer alone changes rows, so what is here is never out of date.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    young: Generation,
    old: Generation,
    graphs: Graphs,
}

/// When the young one is full it becomes the old one.
#[derive(Debug, Default)]
struct Generation {
    /// A removed row is none.
    rows: HashMap<TenantName, HashMap<Key, Option<Arc<Row>>>>,
    count: usize,
    bytes: usize,
    /// Journal position after the last batch in it.
    position: u64,
}

impl Generation {
    fn get(&self, tenant: &TenantName, key: &Key) -> Option<&Option<Arc<Row>>> {
        self.rows.get(tenant)?.get(key)
    }

    fn is_full(&self) -> bool {
        self.count >= limits::CACHE_ROWS_MAX || self.bytes >= limits::CACHE_BYTES_MAX
    }
}

impl RowCache {
    /// A row that need not be read: `Some(None)` is a removed one.
    fn get(&self, tenant: &TenantName, key: &Key) -> Option<Option<Arc<Row>>> {
        let known = self.young.get(tenant, key);
        known.or_else(|| self.old.get(tenant, key)).cloned()
    }

    /// Takes in what a batch wrote: rows, the bytes of its events, and the journal position after it.
    pub(super) fn absorb(&mut self, changes: &BTreeMap<TenantName, Changes>, bytes: usize, position: u64) {
        for (tenant, changes) in changes {
            let rows = self.young.rows.entry(tenant.clone()).or_default();
            for (key, row) in changes.iter() {
                if let (Key::Graph(run), Some(row)) = (key, row) {
                    self.graphs.keep(tenant, *run, row);
                }
                rows.insert(key.clone(), row.cloned());
            }
            self.young.count += changes.len();
        }
        self.young.bytes += bytes;
        self.young.position = position;
    }

    /// Gives up what is old, as far as the projection shows it.
    pub(super) fn make_room(&mut self, projected: u64) {
        if self.young.is_full() && self.old.position <= projected {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

/// Rows before the batch: known ones first, then the projection.
struct Base<'t> {
    tenant: &'t TenantName,
    cache: &'t RowCache,
    snapshot: &'t Snapshot,
}

impl View for Base<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        if let Some(known) = self.cache.get(self.tenant, key) {
            return Ok(known);
        }
        let below = self.snapshot.view(self.tenant);
        match key {
            Key::Graph(run) => self.cache.graphs.get(self.tenant, *run, &below),
            _ => below.get(key),
        }
    }
}

/// What a batch has come to so far.
#[derive(Debug)]
pub(super) struct Trial {
    snapshot: Snapshot,
    /// In the order decided: what goes into the journal.
    pub(super) events: Vec<Accepted>,
    /// Rows changed, per tenant.
    pub(super) changes: BTreeMap<TenantName, Changes>,
    /// Disclosures of the events, in their order for each tenant; the writer flushes them before the events.
    pub(super) kept: Vec<(TenantName, Kept)>,
    /// Sum of the event bytes.
    pub(super) bytes: usize,
}

impl Trial {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Trial {
            snapshot,
            events: Vec::new(),
            changes: BTreeMap::new(),
            kept: Vec::new(),
            bytes: 0,
        }
    }

    /// Decides one command and keeps what it comes to. Returns the index of its first event.
    pub(super) fn decide(
        &mut self,
        cache: &RowCache,
        stamp: &Stamp,
        command: &Command,
    ) -> Result<(usize, Reply), Refusal> {
        let staged = self.changes.entry(stamp.tenant.clone()).or_default();
        let base = Base {
            tenant: &stamp.tenant,
            cache,
            snapshot: &self.snapshot,
        };
        let decision = decide(
            &Layered {
                below: &base,
                changes: staged,
            },
            stamp,
            command,
        )?;
        let first = self.events.len();
        self.bytes += decision
            .events
            .iter()
            .map(|accepted| accepted.bytes.len())
            .sum::<usize>();
        for kept in decision.kept {
            self.bytes += kept.disclosure.as_str().len();
            self.kept.push((stamp.tenant.clone(), kept));
        }
        self.events.extend(decision.events);
        staged.merge(decision.changes);
        Ok((first, decision.reply))
    }

    /// A row as it stands now.
    pub(super) fn get(
        &self,
        cache: &RowCache,
        tenant: &TenantName,
        key: &Key,
    ) -> Result<Option<Arc<Row>>, Unavailable> {
        if let Some(known) = self.changes.get(tenant).and_then(|changes| changes.get(key)) {
            return Ok(known);
        }
        Base {
            tenant,
            cache,
            snapshot: &self.snapshot,
        }
        .get(key)
    }

    /// Sequence of the last event decided for a tenant, when there is one in this batch.
    pub(super) fn last_seq(&self, tenant: &TenantName) -> Option<Seq> {
        self.events
            .iter()
            .rev()
            .find(|accepted| accepted.event.tenant == *tenant)
            .map(|last| last.event.seq)
    }
}
