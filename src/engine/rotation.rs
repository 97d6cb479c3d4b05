//! Replacing a key of the enclave while it works, and the events that say so.
//!
//! Order: checkpoints of every ledger under the key that goes, stored → the files (see `trust`) → from now on the new key
//! signs → event `key.rotated`, whose sizes are those of the ledgers then: beyond them the old key signed nothing. The files
//! are what counts; an event that a crash kept from being recorded is recorded at the next start, before anything is signed
//! that the old key did not.

use super::thread::Message;
use super::{CheckpointError, CommandError, Handle, checkpoints};
use crate::domain::TenantName;
use crate::domain::command::{ChangeTrust, Command};
use crate::domain::event::Actor;
use crate::domain::payload::trust::KeyRotated;
use crate::domain::trust::LedgerSize;
use crate::ledger::{LedgerError, SignedCheckpoint};
use crate::trust::{KeyId, OwnRole, PrivateKey, Retired, TrustError};

/// Why a key was not replaced, or its replacement not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The files.
    #[error(transparent)]
    Keys(#[from] TrustError),
    /// The ledgers cannot be listed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The writer has ended, or did while it signed.
    #[error("the writer ended before it had signed with the key that goes")]
    NotSigned,
    /// The event was not recorded.
    #[error("the key is replaced, and that could not be recorded: {0}; the next start does")]
    NotRecorded(#[source] CommandError),
}

impl Handle {
    /// Signs and stores the checkpoint of every ledger that grew since its last one. Blocks.
    ///
    /// # Errors
    /// [`RotationError::NotSigned`].
    fn sign_now(&self) -> Result<(), RotationError> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.threads
            .queue()
            .send(Message::Sign(reply))
            .map_err(|_| RotationError::NotSigned)?;
        answer.recv().map_err(|_| RotationError::NotSigned)
    }

    /// As [`Handle::checkpoint`], by a key that the caller holds: one that is being replaced signs all that belongs together,
    /// or nothing of it.
    ///
    /// # Errors
    /// [`CheckpointError`] when the ledger is shorter, damaged, or foreign.
    pub fn checkpoint_by(
        &self,
        key: &PrivateKey,
        tenant: &TenantName,
        size: u64,
    ) -> Result<SignedCheckpoint, CheckpointError> {
        checkpoints::sign(&self.shared, key, tenant, size)
    }

    /// Replaces a key. Blocks; the event is for [`Handle::record_rotations`].
    ///
    /// # Errors
    /// [`RotationError`]; the old key still signs then, until the next start has seen what is there.
    pub fn rotate_key(&self, role: OwnRole) -> Result<Retired, RotationError> {
        self.sign_now()?;
        let mut random = |bytes: &mut [u8]| self.clock().fill_random(bytes);
        Ok(self.keys().rotate(self.disk().as_ref(), role, &mut random)?)
    }

    /// Records every replacement that the ledger does not have yet.
    ///
    /// # Errors
    /// [`RotationError::NotRecorded`], [`RotationError::Ledger`].
    pub async fn record_rotations(&self, actor: &Actor) -> Result<(), RotationError> {
        let enclave = self.keys().enclave().to_string();
        for role in OwnRole::ALL {
            let recorded = self
                .recorded(&enclave, role)
                .map_err(RotationError::NotRecorded)?;
            let mut keys = self.keys().retired(role);
            keys.push(self.keys().current(role).public());
            let ids: Vec<KeyId> = keys.iter().map(crate::trust::PublicKey::id).collect();
            for (number, pair) in (1..).zip(ids.windows(2)).filter(|(number, _)| *number > recorded) {
                let rotated = KeyRotated {
                    enclave: enclave.clone(),
                    from: pair[0].digest(),
                    number,
                    role: role.as_str().to_owned(),
                    sizes: self.own_sizes()?,
                    to: pair[1].digest(),
                };
                let command = Command::ChangeTrust(Box::new(ChangeTrust::NoteRotation(rotated)));
                self.submit(&TenantName::system(), actor, command)
                    .await
                    .map_err(RotationError::NotRecorded)?;
            }
        }
        Ok(())
    }

    fn recorded(&self, enclave: &str, role: OwnRole) -> Result<u64, CommandError> {
        let snapshot = self.read()?;
        let system = TenantName::system();
        let view = snapshot.view(&system);
        let view: &dyn crate::domain::state::View = &view;
        let held = view.trust(enclave).map_err(|error| {
            tracing::error!(%error, "what is held of the own keys cannot be read");
            super::SubmitError::Rebuilding
        })?;
        Ok(held.map_or(0, |held| held.replaced(role.as_str())))
    }

    /// The ledgers of this enclave and their sizes now.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn own_sizes(&self) -> Result<Vec<LedgerSize>, LedgerError> {
        let mut sizes = Vec::new();
        for tenant in self.tenants()? {
            if let Some(origin) = self.origin(&tenant) {
                sizes.push(LedgerSize {
                    origin: origin.to_string(),
                    size: self.ledger(&tenant)?.size(),
                });
            }
        }
        Ok(sizes)
    }
}
