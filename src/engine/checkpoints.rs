//! Checkpoints: signed once a second when something is new, and on demand. Order: commit → sign → store → publish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::floor;
use super::recover::Layout;
use super::shared::Shared;
use super::writer::Fatal;
use crate::domain::TenantName;
use crate::ledger::{Checkpoint, LedgerError, NoteError, SignedCheckpoint, TreeHead};
use crate::trust::PrivateKey;

/// What was signed last.
#[derive(Debug)]
pub(super) struct Checkpoints {
    layout: Layout,
    signed_at_ms: u64,
    signed: BTreeMap<TenantName, u64>,
}

impl Checkpoints {
    pub(super) fn new(layout: Layout) -> Self {
        Checkpoints {
            layout,
            signed_at_ms: 0,
            signed: BTreeMap::new(),
        }
    }

    /// Signs what grew since the last time, when that is long enough ago.
    pub(super) fn sign_when_due(&mut self, shared: &Arc<Shared>, every: Duration) -> Result<(), Fatal> {
        let now_ms = shared.clock.monotonic_ms();
        let due = self.signed_at_ms + u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        if now_ms < due {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| Fatal(format!("signing a checkpoint: {error}"));
        let mut grown = Vec::new();
        for tenant in shared.ledgers.tenants().map_err(|error| failed(&error))? {
            let ledger = shared.ledgers.ledger(&tenant).map_err(|error| failed(&error))?;
            let size = ledger.size();
            if !tenant.is_foreign() && size > self.signed.get(&tenant).copied().unwrap_or(0) {
                grown.push((tenant, ledger, size));
            }
        }
        self.signed_at_ms = now_ms;
        if grown.is_empty() {
            return Ok(());
        }
        // The floor first: recovery must never cut what a stored checkpoint covers.
        floor::write(shared.disk.as_ref(), &self.layout, shared.durable()).map_err(|error| failed(&error))?;
        for (tenant, ledger, size) in grown {
            let signed = sign(shared, &shared.keys.log(), &tenant, size).map_err(|error| failed(&error))?;
            ledger.store_checkpoint(&signed).map_err(|error| failed(&error))?;
            self.signed.insert(tenant, size);
        }
        Ok(())
    }
}

/// Why a checkpoint was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The ledger is shorter than asked for, or damaged.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The note cannot be written.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A foreign ledger is signed by its own enclave alone.
    #[error("ledger {0} is not ours to sign")]
    Foreign(TenantName),
}

/// The checkpoint of one of our own ledgers at a size. A pure function of ledger and key.
pub(super) fn sign(
    shared: &Arc<Shared>,
    key: &PrivateKey,
    tenant: &TenantName,
    size: u64,
) -> Result<SignedCheckpoint, CheckpointError> {
    let origin = shared
        .origin(tenant)
        .ok_or_else(|| CheckpointError::Foreign(tenant.clone()))?;
    let root = shared.ledgers.ledger(tenant)?.root_at(size)?;
    Ok(Checkpoint {
        origin,
        head: TreeHead { size, root },
    }
    .sign(key)?)
}
