//! The state as advanced by the commands of one batch: rows staged in memory over the last committed projection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::graphs::Graphs;
use super::projector::Durable;
use crate::domain::command::{Command, Reply};
use crate::domain::decide::{Accepted, Stamp, decide};
use crate::domain::rejection::Refusal;
use crate::domain::state::{Changes, Key, Layered, Row, Unavailable, View};
use crate::domain::{Seq, TenantName};
use crate::store::Snapshot;

/// Rows kept from batch to batch, in two generations: when the young one is full it becomes the old one.
const CACHE_ROWS_MAX: usize = 32_768;

type ByTenant<T> = HashMap<TenantName, HashMap<Key, T>>;

/// What the writer knows beyond the projection: rows that are not in it yet, and those that active work touches again soon.
/// The writer alone changes rows, so what is here is never out of date.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    /// Rows that the projection may not show, with the journal position after the batch that wrote them last.
    ahead: ByTenant<(Option<Arc<Row>>, u64)>,
    /// The batches that they are from, oldest first.
    batches: VecDeque<Arc<Durable>>,
    young: ByTenant<Arc<Row>>,
    young_rows: usize,
    old: ByTenant<Arc<Row>>,
    graphs: Graphs,
}

impl RowCache {
    /// A row that need not be read: `Some(None)` is a removed one.
    fn get(&self, tenant: &TenantName, key: &Key) -> Option<Option<Arc<Row>>> {
        if let Some((row, _)) = self.ahead.get(tenant).and_then(|rows| rows.get(key)) {
            return Some(row.clone());
        }
        [&self.young, &self.old]
            .into_iter()
            .find_map(|rows| rows.get(tenant)?.get(key))
            .map(|row| Some(row.clone()))
    }

    /// Takes in what a batch wrote.
    pub(super) fn absorb(&mut self, batch: Arc<Durable>) {
        for (tenant, changes) in &batch.changes {
            let ahead = of_tenant(&mut self.ahead, tenant);
            for (key, row) in changes.iter() {
                if let (Key::Graph(run), Some(row)) = (key, row) {
                    self.graphs.keep(tenant, *run, row);
                }
                ahead.insert(key.clone(), (row.cloned(), batch.position));
            }
        }
        self.batches.push_back(batch);
    }

    /// The projection shows everything up to a position. Rows of active work stay, the others go.
    pub(super) fn catch_up(&mut self, projected: u64) {
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.position <= projected) {
            for (tenant, changes) in &batch.changes {
                let ahead = of_tenant(&mut self.ahead, tenant);
                let (mut hot, mut cold) = (Vec::new(), Vec::new());
                for (key, _) in changes.iter() {
                    // Written again by a later batch, it stays.
                    if ahead
                        .get(key)
                        .is_none_or(|(_, position)| *position != batch.position)
                    {
                        continue;
                    }
                    match ahead.remove_entry(key) {
                        Some((key, (Some(row), _))) if is_hot(&row) => hot.push((key, row)),
                        Some((key, _)) => cold.push(key),
                        None => {}
                    }
                }
                self.keep(tenant, hot);
                self.forget(tenant, &cold);
            }
        }
        if self.young_rows > CACHE_ROWS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_rows = 0;
        }
    }

    fn keep(&mut self, tenant: &TenantName, rows: Vec<(Key, Arc<Row>)>) {
        self.young_rows += rows.len();
        of_tenant(&mut self.young, tenant).extend(rows);
    }

    /// Finished jobs go, with their payloads: nothing asks for them on the hot path.
    fn forget(&mut self, tenant: &TenantName, keys: &[Key]) {
        for rows in [&mut self.young, &mut self.old] {
            let Some(rows) = rows.get_mut(tenant) else {
                continue;
            };
            for key in keys {
                rows.remove(key);
                if let Key::Job(id) = key {
                    rows.remove(&Key::Payload(*id));
                }
            }
        }
    }
}

fn of_tenant<'m, T>(rows: &'m mut ByTenant<T>, tenant: &TenantName) -> &'m mut HashMap<Key, T> {
    rows.entry(tenant.clone()).or_default()
}

/// Larger payloads are read again when their job is claimed: thousands of them would fill the memory.
const CACHED_PAYLOAD_BYTES_MAX: usize = 4_096;

fn is_hot(row: &Row) -> bool {
    match row {
        Row::Job(job) => !job.is_terminal(),
        Row::Run(run) => !run.status.is_terminal(),
        Row::Payload(payload) => payload.weight() <= CACHED_PAYLOAD_BYTES_MAX,
        Row::Concurrency(_) | Row::Node(_) | Row::Pack(_) | Row::PackHead(_) | Row::Worker(_) => true,
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
