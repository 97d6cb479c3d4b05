//! What can go wrong about webhooks as a whole.

use super::address::AddressError;
use super::key::KeyError;
use crate::engine::SubmitError;
use crate::ledger::LedgerError;
use crate::limits;
use crate::secrets::SecretError;
use crate::store::StoreError;

/// Why something about webhooks cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// As many as there may be.
    #[error(
        "a tenant has at most {} webhooks, and an appliance {}",
        limits::WEBHOOKS_PER_TENANT_MAX,
        limits::WEBHOOKS_MAX
    )]
    Full,
    /// As many tests as may be on their way.
    #[error("at most {} tests are on their way at once", limits::WEBHOOK_TESTS_MAX)]
    Testing,
    /// The key's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The key's file is gone, or holds no key.
    #[error("the key of the webhook cannot be read; rotate it")]
    Key,
    /// The address that is recorded is none that this version knows.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The ledgers.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The projection.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] SubmitError),
}

impl From<KeyError> for WebhookError {
    fn from(_: KeyError) -> Self {
        WebhookError::Key
    }
}
