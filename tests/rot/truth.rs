//! What a folder holds: recorded once from a healthy engine, compared ever after.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use fastness::domain::job::JobStatus;
use fastness::domain::run::RunStatus;
use fastness::domain::state::{Key, View};
use fastness::domain::{JobId, Seq, TenantName};
use fastness::engine::ManualEngine;
use fastness::ledger::{LedgerError, Origin, TenantLedger};
use fastness::limits;
use fastness::store::{Snapshot, Store, StoreError};
use fastness::trust::EnclaveId;

use crate::simulation::world::{ALL, keys};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything that readers are shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Truth {
    pub events: BTreeMap<TenantName, Vec<Vec<u8>>>,
    projection: Projection,
}

/// Everything in the projection: entries as stored; lists and rows as asked for one by one.
#[derive(Debug, PartialEq, Eq)]
struct Projection {
    entries: Entries,
    lists: Vec<String>,
}

impl Truth {
    pub fn of(engine: &ManualEngine) -> Self {
        let mut events = BTreeMap::new();
        for tenant in engine.tenants().unwrap() {
            let ledger = engine.ledger(&tenant).unwrap();
            let found = (0..ledger.size()).map(|seq| ledger.event(Seq(seq)).unwrap().to_vec());
            events.insert(tenant.clone(), found.collect());
        }
        let tenants: Vec<TenantName> = events.keys().cloned().collect();
        let projection = Projection::read(&engine.store().unwrap(), &tenants).unwrap();
        Truth { events, projection }
    }

    /// Reads all ledgers; gives what was refused. What is read must be the truth.
    pub fn check_ledgers(&self, engine: &ManualEngine) -> Result<Vec<String>, String> {
        let mut refused = Vec::new();
        let tenants = engine.tenants().map_err(|error| error.to_string())?;
        if !self.events.keys().eq(&tenants) {
            return Err(format!("the ledgers are those of {tenants:?}"));
        }
        for (tenant, events) in &self.events {
            let ledger = match engine.ledger(tenant) {
                Ok(ledger) => ledger,
                Err(error) => {
                    refused.push(error.to_string());
                    continue;
                }
            };
            if ledger.size() != events.len() as u64 {
                return Err(format!(
                    "{tenant} has {} events, not {}",
                    ledger.size(),
                    events.len()
                ));
            }
            check_events(&ledger, events, &mut refused)?;
            check_tree(&ledger, &mut refused)?;
            check_checkpoint(&ledger, &mut refused)?;
        }
        Ok(refused)
    }

    /// Reads the whole projection; gives what was refused. What is read must be the truth.
    pub fn check_projection(&self, engine: &ManualEngine) -> Result<Option<String>, String> {
        let store = engine.store().map_err(|error| error.to_string())?;
        let tenants: Vec<TenantName> = self.events.keys().cloned().collect();
        match Projection::read(&store, &tenants) {
            Ok(found) if found == self.projection => Ok(None),
            Ok(_) => Err("WRONG: the projection shows something else".to_owned()),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}

impl Projection {
    fn read(store: &Store, tenants: &[TenantName]) -> Result<Self, StoreError> {
        let mut entries = Entries::new();
        store.dump(|key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        let snapshot = store.read()?;
        let mut lists = Vec::new();
        for tenant in tenants {
            lists.push(format!("{:?}", snapshot.head(tenant)?));
            for status in RunStatus::ALL {
                lists.push(format!("{:?}", snapshot.runs_by_status(tenant, status, ALL)?));
            }
            for status in JobStatus::ALL {
                let jobs = snapshot.jobs_by_status(tenant, status, ALL)?;
                lists.push(format!("{jobs:?}"));
                lists.push(format!(
                    "{:?}",
                    snapshot.open_jobs_by_status(tenant, status, ALL)?
                ));
                look_up(&snapshot, tenant, &jobs, &mut lists)?;
            }
        }
        Ok(Projection { entries, lists })
    }
}

/// One by one: a damaged page between the root and a row must not make it look missing.
fn look_up(
    snapshot: &Snapshot,
    tenant: &TenantName,
    jobs: &[JobId],
    lists: &mut Vec<String>,
) -> Result<(), StoreError> {
    let view = snapshot.view(tenant);
    for job in jobs {
        let row = view
            .get(&Key::Job(*job))
            .map_err(|error| StoreError::Failed(error.0))?;
        lists.push(format!("{:?}", row.map(|row| row.to_canonical())));
    }
    Ok(())
}

/// Every event, frame by frame: behind a damaged one it goes on.
fn check_events(ledger: &TenantLedger, events: &[Vec<u8>], refused: &mut Vec<String>) -> Result<(), String> {
    let size = events.len() as u64;
    let mut next = 0;
    while next < size {
        let mut wrong = None;
        let scanned = ledger.scan(Seq(next), Seq(size), &mut |seq, bytes| {
            if seq.0 != next || *bytes != events[next as usize] {
                wrong = Some(format!("WRONG: event {next} of {}", ledger.tenant()));
                return ControlFlow::Break(());
            }
            next += 1;
            ControlFlow::Continue(())
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if let Err(error) = scanned {
            refused.push(error.to_string());
            next = (next / limits::TILE_LEAVES + 1) * limits::TILE_LEAVES;
        }
    }
    Ok(())
}

/// A proof from each tile.
fn check_tree(ledger: &TenantLedger, refused: &mut Vec<String>) -> Result<(), String> {
    let head = ledger.head();
    let last = head.size.checked_sub(1);
    for seq in (5..head.size).step_by(limits::TILE_LEAVES as usize).chain(last) {
        let proof = ledger.leaf(Seq(seq)).and_then(|leaf| {
            let proof = ledger.inclusion_proof(Seq(seq), head.size)?;
            Ok((leaf, proof))
        });
        match proof {
            Ok((leaf, proof)) => {
                fastness::ledger::verify_inclusion(&leaf, seq, head.size, &proof, &head.root)
                    .map_err(|error| format!("WRONG: the proof of event {seq}: {error}"))?;
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    Ok(())
}

fn check_checkpoint(ledger: &TenantLedger, refused: &mut Vec<String>) -> Result<(), String> {
    let log = keys().log().public();
    let origin = Origin::new(EnclaveId::of(&log), ledger.tenant().clone()).unwrap();
    let path = ledger.dir().join("checkpoint");
    let signed = match ledger.stored_checkpoint() {
        Ok(Some(signed)) => signed,
        Ok(None) => return Ok(()),
        Err(error) => {
            refused.push(error.to_string());
            return Ok(());
        }
    };
    let checkpoint = match signed.verify(&origin, &log) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            // Who reads it verifies it, and knows which file it is.
            refused.push(format!("{}: {error}", path.display()));
            return Ok(());
        }
    };
    let root: Result<_, LedgerError> = ledger.root_at(checkpoint.head.size);
    match root {
        Ok(root) if root == checkpoint.head.root => {}
        Ok(_) => return Err("WRONG: a checkpoint that verifies is not of this ledger".to_owned()),
        Err(error) => refused.push(error.to_string()),
    }
    Ok(())
}
