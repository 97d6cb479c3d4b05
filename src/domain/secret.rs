//! A secret as the ledger knows it: its name, and which value is the present one. Never the value, nor a digest of it.

use serde::{Deserialize, Serialize};

use super::{SecretName, SecretVersion, Seq, Timestamp};

/// A secret of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// Its name.
    pub name: SecretName,
    /// The event that set the present value.
    pub seq: Seq,
    /// When that was.
    pub set_at: Timestamp,
    /// Who did it.
    pub set_by: String,
    /// Which of its values is the present one.
    pub version: SecretVersion,
}
