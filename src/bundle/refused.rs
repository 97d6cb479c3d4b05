//! The ways into quarantine and out of it, with their events.
//!
//! Promises: nothing goes out of quarantine without an event, which comes first; room is made before a file is kept. Whoever
//! keeps a file has recorded its refusal before.

use std::sync::Arc;

use super::import::ImportError;
use super::quarantine::Quarantine;
use crate::domain::command::{BundleCommand, Command};
use crate::domain::event::Actor;
use crate::domain::payload::bundles::BundleDiscarded;
use crate::domain::{Digest, TenantName};
use crate::engine::Handle;

/// One file at a time finds its room: bundles and work orders come by different ways.
static KEEPING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Keeps a refused file of so many bytes; the oldest go first where there is no room for it.
pub(super) async fn keep_refused(
    engine: &Handle,
    quarantine: &Arc<Quarantine>,
    bytes: u64,
    sha256: Digest,
    keep: impl FnOnce() -> Result<(), ImportError> + Send + 'static,
) -> Result<(), ImportError> {
    let _turn = KEEPING.lock().await;
    let full = quarantine.clone();
    for sha256 in blocking(move || full.too_many_beside(sha256, bytes)).await? {
        tracing::warn!(%sha256, "quarantine is full: the oldest file in it goes");
        let actor = Actor::system("quarantine");
        let_go(engine, quarantine, &actor, sha256, "quarantine_full").await?;
    }
    blocking(keep).await
}

/// Records that a file in quarantine goes, and lets it go: in this order, so that none is gone without an event.
pub(super) async fn let_go(
    engine: &Handle,
    quarantine: &Arc<Quarantine>,
    actor: &Actor,
    sha256: Digest,
    reason: &str,
) -> Result<(), ImportError> {
    let discarded = BundleDiscarded {
        reason: reason.to_owned(),
        sha256,
    };
    let command = Command::Bundle(Box::new(BundleCommand::RecordDiscard(discarded)));
    engine.submit(&TenantName::system(), actor, command).await?;
    let quarantine = quarantine.clone();
    blocking(move || quarantine.discard(sha256)).await?;
    Ok(())
}

/// Runs work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ImportError::Stopping)?
}
