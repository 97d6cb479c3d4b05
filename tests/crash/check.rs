//! Opens a folder that a crash left behind, and compares everything with what must be there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use fastness::domain::apply::apply;
use fastness::domain::event::{ActorKind, Event, EventBody};
use fastness::domain::job::JobStatus;
use fastness::domain::state::{Changes, Kind, Model, Row, View};
use fastness::domain::{Digest, Hasher, Seq, TenantName, leaf_hash};
use fastness::engine::{ManualEngine, whole};
use fastness::ledger::{Frontier, Origin, TreeHead, verify_consistency};
use fastness::store::{Direction, Page, Snapshot};
use fastness::trust::EnclaveId;

use super::truth::{Sizes, Truth};
use super::workload::{Session, Start, keys};
use crate::support::sim_disk::SimDisk;

/// Old checkpoints compared at each look, besides the newest of each ledger.
const CHECKPOINTS_MAX: usize = 4;
const ALL: Page<'static> = Page {
    after: None,
    direction: Direction::Forward,
    limit: usize::MAX,
};

/// Compares, and remembers which states were compared in full before: state is a function of the events.
#[derive(Debug, Default)]
pub struct Checker {
    seen: HashSet<Digest>,
    /// Times that a power cut or error made the projection unusable, so that it was built anew.
    pub rebuilt: usize,
    /// Times that a torn batch was cut.
    pub cut: usize,
    /// Comparisons made in full.
    pub full: usize,
}

/// Panics become findings like any other.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        }
    }
}

impl Checker {
    /// Opens the folder; it must hold all of `acked`, may hold the next batches of `possible`, and nothing else but
    /// what recovery itself did. When it is not known what was possible, anything legal is.
    pub fn reopen(
        &mut self,
        disk: &SimDisk,
        start: &Start,
        acked: &Truth,
        possible: Option<&Truth>,
    ) -> Result<Session, String> {
        guarded(|| {
            let session = Session::open(disk, start).map_err(|error| format!("does not start: {error}"))?;
            self.rebuilt += usize::from(session.report.rebuilt.is_some());
            self.cut += usize::from(session.report.cut.is_some());
            self.compare(&session.engine, acked, possible)?;
            Ok(session)
        })
    }

    /// Compares what an open engine tells with what must be there.
    pub fn compare(
        &mut self,
        engine: &ManualEngine,
        acked: &Truth,
        possible: Option<&Truth>,
    ) -> Result<(), String> {
        let found = ledgers(engine)?;
        check_acknowledged(&found, acked)?;
        if let Some(possible) = possible {
            check_others(&found, possible)?;
        }
        check_checkpoints(engine, acked)?;
        self.check_state(engine, &found)
    }

    fn check_state(
        &mut self,
        engine: &ManualEngine,
        found: &BTreeMap<TenantName, Vec<Bytes>>,
    ) -> Result<(), String> {
        let store = engine.store().map_err(|error| error.to_string())?;
        let mut hasher = Hasher::default();
        for tenant in found.keys() {
            let head = engine.ledger(tenant).map_err(|error| error.to_string())?.head();
            hasher.update(tenant.as_str().as_bytes());
            hasher.update(&head.size.to_le_bytes());
            hasher.update(head.root.as_bytes());
        }
        let dumped = store.dump(|key, value| {
            for part in [key, value] {
                hasher.update(&part.len().to_le_bytes());
                hasher.update(part);
            }
            Ok(())
        });
        dumped.map_err(|error| format!("the projection cannot be read: {error}"))?;
        if !self.seen.insert(hasher.finish()) {
            return Ok(());
        }
        self.full += 1;
        let snapshot = store.read().map_err(|error| error.to_string())?;
        for (tenant, events) in found {
            check_root(engine, tenant, events)?;
            check_disclosures(engine, &snapshot, tenant, events)
                .map_err(|what| format!("{tenant}: {what}"))?;
            check_rows(&snapshot, tenant, events).map_err(|what| format!("{tenant}: {what}"))?;
        }
        Ok(())
    }
}

/// Whatever an event names is there, short of an erasure; and whatever was erased is not.
fn check_disclosures(
    engine: &ManualEngine,
    snapshot: &Snapshot,
    tenant: &TenantName,
    events: &[Bytes],
) -> Result<(), String> {
    let view = snapshot.view(tenant);
    let view: &dyn View = &view;
    for bytes in events {
        let event = Event::from_bytes(bytes).map_err(|error| error.to_string())?;
        let EventBody::JobCreated(created) = &event.body else {
            continue;
        };
        let (Some(with), Some(redacted)) = (created.disclosures, &created.payload) else {
            continue;
        };
        let whole = whole(engine.disclosures(), tenant, with, redacted);
        let is_erased = view.erasure(with).map_err(|error| error.to_string())?.is_some();
        match whole {
            Ok(_) if is_erased => return Err(format!("what is kept with {with} was erased and is there")),
            Ok(whole) if whole.as_str().contains("hunter2") => {}
            Ok(_) => return Err(format!("what is kept with {with} is another value")),
            Err(_) if is_erased => {}
            Err(why) => return Err(format!("event {}: {why}", event.seq)),
        }
    }
    Ok(())
}

/// Every event, by reading it.
fn ledgers(engine: &ManualEngine) -> Result<BTreeMap<TenantName, Vec<Bytes>>, String> {
    let mut found = BTreeMap::new();
    for tenant in engine.tenants().map_err(|error| error.to_string())? {
        let ledger = engine.ledger(&tenant).map_err(|error| error.to_string())?;
        let mut events = Vec::new();
        let mut visit = |_, bytes: &Bytes| {
            events.push(bytes.clone());
            ControlFlow::Continue(())
        };
        ledger
            .scan(Seq(0), Seq(ledger.size()), &mut visit)
            .map_err(|error| format!("a ledger cannot be read: {error}"))?;
        if !events.is_empty() {
            found.insert(tenant, events);
        }
    }
    Ok(found)
}

fn check_acknowledged(found: &BTreeMap<TenantName, Vec<Bytes>>, acked: &Truth) -> Result<(), String> {
    for (tenant, events) in &acked.events {
        let there = found.get(tenant).map_or(&[][..], Vec::as_slice);
        if there.len() < events.len() {
            return Err(format!(
                "LOST: {} events of {tenant} were acknowledged, {} are there",
                events.len(),
                there.len()
            ));
        }
        if there[..events.len()] != events[..] {
            return Err(format!(
                "WRONG: an acknowledged event of {tenant} reads differently"
            ));
        }
    }
    Ok(())
}

/// Beyond the whole batches of `possible` there is only what the appliance did by itself.
fn check_others(found: &BTreeMap<TenantName, Vec<Bytes>>, possible: &Truth) -> Result<(), String> {
    let whole = whole_batches(found, possible);
    for (tenant, events) in found {
        let from = whole.get(tenant).copied().unwrap_or(0) as usize;
        for bytes in &events[from..] {
            let event = Event::from_bytes(bytes).map_err(|error| error.to_string())?;
            if event.actor.kind != ActorKind::System {
                return Err(format!(
                    "INVENTED, or a part of a batch: event {} of {tenant} ({})",
                    event.seq.0,
                    event.body.type_name()
                ));
            }
        }
    }
    Ok(())
}

/// The sizes after the last batch of `possible` that is there as a whole.
fn whole_batches(found: &BTreeMap<TenantName, Vec<Bytes>>, possible: &Truth) -> Sizes {
    let equal: Sizes = possible
        .events
        .iter()
        .map(|(tenant, events)| {
            let there = found.get(tenant).map_or(&[][..], Vec::as_slice);
            let same = events
                .iter()
                .zip(there)
                .take_while(|(event, there)| event == there);
            (tenant.clone(), same.count() as u64)
        })
        .collect();
    let reached = |mark: &&Arc<Sizes>| {
        mark.iter()
            .all(|(tenant, size)| equal.get(tenant).is_some_and(|equal| equal >= size))
    };
    let last = possible.marks.iter().rev().find(reached);
    last.map(|mark| mark.as_ref().clone()).unwrap_or_default()
}

fn check_checkpoints(engine: &ManualEngine, acked: &Truth) -> Result<(), String> {
    let mut newest: BTreeMap<&TenantName, TreeHead> = BTreeMap::new();
    for (index, (tenant, head)) in acked.checkpoints.iter().rev().enumerate() {
        let is_newest = newest.insert(tenant, *head).is_none();
        if is_newest || index < CHECKPOINTS_MAX {
            check_head(engine, tenant, *head)?;
        }
    }
    for tenant in acked.events.keys() {
        let ledger = engine.ledger(tenant).map_err(|error| error.to_string())?;
        let stored = ledger.stored_checkpoint().map_err(|error| error.to_string())?;
        let size = acked.stored.get(tenant).copied().unwrap_or(0);
        let Some(stored) = stored else {
            if size > 0 {
                return Err(format!("LOST: the checkpoint of {tenant}"));
            }
            continue;
        };
        let log = keys().log().public();
        let origin = Origin::new(EnclaveId::of(&log), tenant.clone()).unwrap();
        let checkpoint = stored.verify(&origin, &log).map_err(|error| error.to_string())?;
        if checkpoint.head.size < size {
            return Err(format!("LOST: the newest checkpoint of {tenant}"));
        }
        check_head(engine, tenant, checkpoint.head)?;
    }
    Ok(())
}

/// The ledger still is what a checkpoint said of it.
fn check_head(engine: &ManualEngine, tenant: &TenantName, head: TreeHead) -> Result<(), String> {
    let ledger = engine.ledger(tenant).map_err(|error| error.to_string())?;
    let now = ledger.head();
    if now.size < head.size {
        return Err(format!("LOST: {tenant} is shorter than a checkpoint of it"));
    }
    let proof = ledger
        .consistency_proof(head.size, now.size)
        .map_err(|error| format!("no proof: {error}"))?;
    verify_consistency(head, now, &proof)
        .map_err(|error| format!("WRONG: {tenant} is not what a checkpoint says: {error}"))
}

fn check_root(engine: &ManualEngine, tenant: &TenantName, events: &[Bytes]) -> Result<(), String> {
    let mut edge = Frontier::default();
    for bytes in events {
        edge.push(leaf_hash(bytes));
    }
    let head = engine.ledger(tenant).map_err(|error| error.to_string())?.head();
    if (head.size, head.root) != (edge.size(), edge.root()) {
        return Err(format!("WRONG: the root of {tenant} is not that of its events"));
    }
    Ok(())
}

/// The projection of one tenant equals the model, row by row and order by order.
fn check_rows(snapshot: &Snapshot, tenant: &TenantName, events: &[Bytes]) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut model = Model::default();
    let mut of_jobs: BTreeMap<_, Vec<Seq>> = BTreeMap::new();
    let mut of_runs: BTreeMap<_, Vec<Seq>> = BTreeMap::new();
    let mut of_correlations: BTreeMap<String, Vec<Seq>> = BTreeMap::new();
    for bytes in events {
        let event = Event::from_bytes(bytes).map_err(|error| text(&error))?;
        let mut changes = Changes::default();
        apply(&model, &mut changes, &event).map_err(|error| text(&error))?;
        model.absorb(changes);
        if let Some(job) = event.subject.job {
            of_jobs.entry(job).or_default().push(event.seq);
        }
        if let Some(run) = event.subject.run {
            of_runs.entry(run).or_default().push(event.seq);
        }
        if let Some(correlation_id) = &event.correlation_id {
            let seqs = of_correlations.entry(correlation_id.clone()).or_default();
            seqs.push(event.seq);
        }
    }
    let head = snapshot.head(tenant).map_err(|error| text(&error))?;
    if head.map(|head| head.size) != Some(events.len() as u64) {
        return Err("WRONG: the projection is not at the end of the ledger".to_owned());
    }
    for kind in Kind::ALL {
        let rows: BTreeMap<Vec<u8>, Row> = snapshot
            .rows(tenant, kind, ALL)
            .map_err(|error| text(&error))?
            .into_iter()
            .collect();
        let expected: BTreeMap<Vec<u8>, Row> = model
            .rows()
            .filter(|(key, _)| key.kind() == kind)
            .map(|(key, row)| {
                let mut tail = Vec::new();
                key.write_tail(&mut tail);
                (tail, row.as_ref().clone())
            })
            .collect();
        if rows != expected {
            return Err(format!("WRONG: rows of kind {kind:?} are not those of the model"));
        }
    }
    for (job, seqs) in &of_jobs {
        if snapshot
            .events_of_job(tenant, *job, ALL)
            .map_err(|error| text(&error))?
            != *seqs
        {
            return Err(format!("WRONG: the events of job {job}"));
        }
    }
    for (run, seqs) in &of_runs {
        if snapshot
            .events_of_run(tenant, *run, ALL)
            .map_err(|error| text(&error))?
            != *seqs
        {
            return Err(format!("WRONG: the events of run {run}"));
        }
    }
    for (correlation_id, seqs) in &of_correlations {
        if snapshot
            .events_of_correlation(tenant, correlation_id, ALL)
            .map_err(|error| text(&error))?
            != *seqs
        {
            return Err(format!("WRONG: the events of correlation {correlation_id}"));
        }
    }
    check_orders(snapshot, tenant, &model)
}

fn check_orders(snapshot: &Snapshot, tenant: &TenantName, model: &Model) -> Result<(), String> {
    for status in JobStatus::ALL {
        let expected: BTreeSet<_> = model
            .rows()
            .filter_map(|(_, row)| row.as_job())
            .filter(|job| job.status == status)
            .map(|job| job.id)
            .collect();
        let listed = snapshot
            .jobs_by_status(tenant, status, ALL)
            .map_err(|error| error.to_string())?;
        if !listed.into_iter().eq(expected) {
            return Err(format!("WRONG: the list of {status:?} jobs"));
        }
    }
    let mut listed = BTreeSet::new();
    let mut expected = BTreeSet::new();
    for run in model.rows().filter_map(|(_, row)| row.as_run()) {
        expected.insert((run.status, run.id));
        let found = snapshot
            .runs_by_status(tenant, run.status, ALL)
            .map_err(|error| error.to_string())?;
        listed.extend(found.into_iter().map(|id| (run.status, id)));
    }
    if listed != expected {
        return Err("WRONG: the lists of runs".to_owned());
    }
    Ok(())
}
