//! The state as advanced by the commands of one batch: rows staged in memory over the last committed projection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::graphs::Graphs;
use crate::domain::command::{Command, Reply};
use crate::domain::decide::{Accepted, Stamp, decide};
use crate::domain::rejection::Refusal;
use crate::domain::state::{Changes, Key, Layered, Row, Unavailable, View};
use crate::domain::{Seq, TenantName};
use crate::store::Snapshot;

/// Rows kept from batch to batch, in two generations: when the young one is full it becomes the old one.
const CACHE_ROWS_MAX: usize = 32_768;

/// Rows that active work touches again soon. The writer alone changes rows, so what is here is never out of date.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    young: HashMap<(TenantName, Key), Arc<Row>>,
    old: HashMap<(TenantName, Key), Arc<Row>>,
    graphs: Graphs,
}

impl RowCache {
    fn get(&self, tenant: &TenantName, key: &Key) -> Option<Arc<Row>> {
        let place = (tenant.clone(), key.clone());
        self.young.get(&place).or_else(|| self.old.get(&place)).cloned()
    }

    /// Takes in what a batch wrote. Finished jobs go: nothing asks for them on the hot path.
    pub(super) fn absorb(&mut self, tenant: &TenantName, changes: &Changes) {
        for (key, row) in changes.iter() {
            if let (Key::Graph(run), Some(row)) = (key, row) {
                self.graphs.keep(tenant, *run, row);
                continue;
            }
            match row {
                Some(row) if is_hot(row) => {
                    self.young.insert((tenant.clone(), key.clone()), row.clone());
                }
                _ => {
                    self.forget(tenant, key.clone());
                    if let Key::Job(id) = key {
                        self.forget(tenant, Key::Payload(*id));
                    }
                }
            }
        }
        if self.young.len() > CACHE_ROWS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn forget(&mut self, tenant: &TenantName, key: Key) {
        let place = (tenant.clone(), key);
        self.young.remove(&place);
        self.old.remove(&place);
    }
}

/// Larger payloads are read again when their job is claimed: thousands of them would fill the memory.
const CACHED_PAYLOAD_BYTES_MAX: usize = 4_096;

fn is_hot(row: &Row) -> bool {
    match row {
        Row::Job(job) => !job.is_terminal(),
        Row::Run(run) => !run.status.is_terminal(),
        Row::Payload(payload) => payload.weight() <= CACHED_PAYLOAD_BYTES_MAX,
        Row::Concurrency(_) | Row::Node(_) | Row::Pack(_) | Row::PackHead(_) => true,
        Row::Secret(_) | Row::Worker(_) => true,
        Row::Graph(_)
        | Row::PackSource(_)
        | Row::PackBytes(_)
        | Row::Artifact(_)
        | Row::Tenant(_)
        | Row::Token(_)
        | Row::Pin(_)
        | Row::Import(_)
        | Row::Idempotency(_)
        | Row::DeadLetter(_)
        | Row::Cluster(_) => false,
    }
}

/// Rows before the batch: kept ones first, then the projection.
struct Base<'t> {
    tenant: &'t TenantName,
    cache: &'t RowCache,
    snapshot: &'t Snapshot,
}

impl View for Base<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        let below = self.snapshot.view(self.tenant);
        if let Key::Graph(run) = key {
            return self.cache.graphs.get(self.tenant, *run, &below);
        }
        match self.cache.get(self.tenant, key) {
            Some(row) => Ok(Some(row)),
            None => below.get(key),
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
    /// Sum of the event bytes.
    pub(super) bytes: usize,
}

impl Trial {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Trial {
            snapshot,
            events: Vec::new(),
            changes: BTreeMap::new(),
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
