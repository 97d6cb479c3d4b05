//! The files of keys: as secrets are kept, in a folder of their own, where no pack can name them.
//!
//! ```text
//! DIR/webhooks/keys/<tenant>/KEY.<version>      one key as the operator has it, mode 0600, in folders of mode 0700
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::WebhookError;
use super::key::SigningKey;
use crate::disk::Disk;
use crate::domain::{SecretName, SecretVersion, TenantName};
use crate::secrets::{SecretValue, Secrets};

/// The name under which keys lie; the version tells them apart.
const NAME: &str = "KEY";

/// The folder of keys. All of it blocks on the disk.
#[derive(Debug)]
pub struct KeyFiles(Arc<Secrets>);

impl KeyFiles {
    /// The keys in `dir`, which is made with the first of them.
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        KeyFiles(Secrets::new(dir, disk))
    }

    /// Writes a key and flushes it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn write(
        &self,
        tenant: &TenantName,
        version: SecretVersion,
        key: &SigningKey,
    ) -> Result<(), WebhookError> {
        let value = SecretValue::new(key.secret().as_bytes().to_vec());
        Ok(self.0.put(tenant, &name()?, version, &value)?)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`WebhookError::Key`] when it is not there or none; what the disk said.
    pub fn read(&self, tenant: &TenantName, version: SecretVersion) -> Result<SigningKey, WebhookError> {
        let value = self.0.get(tenant, &name()?, version)?;
        let value = value.ok_or(WebhookError::Key)?;
        let text = std::str::from_utf8(value.bytes()).map_err(|_| WebhookError::Key)?;
        Ok(SigningKey::read(text)?)
    }

    /// Removes a key. One that is not there is no error.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remove(&self, tenant: &TenantName, version: SecretVersion) -> Result<(), WebhookError> {
        Ok(self.0.remove(tenant, &name()?, version)?)
    }

    /// Removes every key but these.
    ///
    /// # Errors
    /// What the disk said; something that is no plain file.
    pub fn sweep(&self, live: &BTreeSet<SecretVersion>) -> Result<(), WebhookError> {
        self.0
            .sweep(|_, _, version| Ok::<_, WebhookError>(live.contains(&version)))
    }
}

fn name() -> Result<SecretName, WebhookError> {
    NAME.parse().map_err(|_| WebhookError::Key)
}
