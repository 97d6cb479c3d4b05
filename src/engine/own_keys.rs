//! Whether the folder of keys is the one that the ledgers know: by the events `key.rotated`, and by who signed the newest
//! checkpoints. Looked at before anything is signed.
//!
//! A key that took its place by hand would sign what nobody can check; one that is gone would take what it signed with it.
//! The first export and orders keys are named by no event and no checkpoint: of those only a root of trust tells.

use super::request::SubmitError;
use super::shared::Shared;
use crate::domain::state::View;
use crate::domain::trust::{RetiredKey, Trust};
use crate::domain::{Digest, TenantName};
use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::trust::{KeyId, OwnRole, PublicKey};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Fewer keys were replaced than were recorded.
    #[error(
        "key_missing: key {number} of the role {role} was replaced, and is not in the keys folder; restore it from the backup"
    )]
    Missing {
        /// Of which role.
        role: &'static str,
        /// Which one, from 1.
        number: u64,
    },
    /// Another key stands where a recorded one should.
    #[error(
        "key_unknown: key {number} of the role {role} is not the one that was recorded; restore the keys folder from the backup"
    )]
    Unknown {
        /// Of which role.
        role: &'static str,
        /// Which one, from 1.
        number: u64,
    },
    /// A checkpoint that none of the log keys signed.
    #[error(
        "key_unknown: no log key of the keys folder signed the checkpoint of the ledger {0}; restore the keys folder from the backup"
    )]
    Checkpoint(TenantName),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What is recorded cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares the folder of keys with what is recorded.
///
/// # Errors
/// [`KeysError`] says which key is not the right one.
pub(super) fn check(shared: &Shared) -> Result<(), KeysError> {
    let held = match held(shared) {
        Ok(held) => held,
        // It is built anew before the next batch; until then the checkpoints have to do.
        Err(damage @ StoreError::Damaged(_)) => {
            shared.report_damage(&damage);
            return check_checkpoints(shared);
        }
        Err(error) => return Err(error.into()),
    };
    for role in OwnRole::ALL {
        let mut keys: Vec<KeyId> = shared.keys.retired(role).iter().map(PublicKey::id).collect();
        keys.push(shared.keys.current(role).public().id());
        let recorded: Vec<&RetiredKey> = held
            .retired
            .iter()
            .filter(|key| key.role == role.as_str())
            .collect();
        as_recorded(role.as_str(), &keys, &recorded)?;
    }
    check_checkpoints(shared)
}

/// What is recorded of the enclave's own keys.
fn held(shared: &Shared) -> Result<Trust, StoreError> {
    let enclave = shared.keys.enclave().to_string();
    let unread = |error: SubmitError| StoreError::Failed(error.to_string());
    let snapshot = shared.store().map_err(unread)?.read()?;
    let system = TenantName::system();
    let view: &dyn View = &snapshot.view(&system);
    let held = view
        .trust(&enclave)
        .map_err(|error| StoreError::Damaged(error.0))?;
    Ok(held.unwrap_or_else(|| Trust::none(&enclave)))
}

/// `keys` are those replaced, and the present one. There may be more than recorded: the event of a replacement can be lost.
fn as_recorded(role: &'static str, keys: &[KeyId], recorded: &[&RetiredKey]) -> Result<(), KeysError> {
    let replaced = keys.len().saturating_sub(1);
    if replaced < recorded.len() {
        let number = replaced as u64 + 1;
        return Err(KeysError::Missing { role, number });
    }
    for (number, (at, known)) in (1..).zip(recorded.iter().enumerate()) {
        let is = |at: usize, id: Digest| keys.get(at).is_some_and(|key| key.digest() == id);
        if !is(at, known.id) {
            return Err(KeysError::Unknown { role, number });
        }
        if !is(at + 1, known.to) {
            let number = number + 1;
            return Err(KeysError::Unknown { role, number });
        }
    }
    Ok(())
}

/// One ledger's checkpoint may be damaged, which `doctor` and its readers tell; where none is by these keys, the keys are others.
fn check_checkpoints(shared: &Shared) -> Result<(), KeysError> {
    let mut keys = shared.keys.retired(OwnRole::Log);
    keys.push(shared.keys.log().public());
    let mut unknown = None;
    for tenant in shared.ledgers.tenants()? {
        let Some(origin) = shared.origin(&tenant) else {
            continue;
        };
        match shared.ledgers.ledger(&tenant)?.stored_checkpoint() {
            Ok(Some(signed)) if keys.iter().any(|key| signed.verify(&origin, key).is_ok()) => return Ok(()),
            Ok(Some(_)) => unknown = Some(tenant),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, %tenant, "a checkpoint cannot be read"),
        }
    }
    unknown.map_or(Ok(()), |tenant| Err(KeysError::Checkpoint(tenant)))
}
