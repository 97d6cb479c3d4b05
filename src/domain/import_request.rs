//! A bundle that was asked to be taken in where persons have to approve: as the ledger `system` knows it.

use serde::{Deserialize, Serialize};

use super::{Digest, Seq, TenantName, Timestamp};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportStatus {
    /// Persons are asked.
    Waiting,
    /// It was taken in.
    Imported,
    /// A person said no.
    Rejected,
    /// Its ledger went on without it: it can be taken in no more.
    Superseded,
}

impl ImportStatus {
    /// Whether the same tar may be asked for anew.
    pub const fn may_be_asked_again(self) -> bool {
        match self {
            ImportStatus::Waiting | ImportStatus::Imported => false,
            ImportStatus::Rejected | ImportStatus::Superseded => true,
        }
    }
}

/// One person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportApproval {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub person: String,
    /// Why.
    pub reason: String,
}

/// A bundle that waits for persons, or did. Its tar is stored as long as it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportRequest {
    /// How many persons have to approve.
    pub approvals: u32,
    /// Who has, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<ImportApproval>,
    /// SPKI PEM that is pinned with it; none where keys are pinned already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_key: Option<String>,
    /// First event.
    pub first: u64,
    /// SPKI PEM that is pinned with it, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_key: Option<String>,
    /// Origin of the ledger.
    pub origin: String,
    /// Why it was rejected, by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<ImportApproval>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Who asked; does not count among those who approve.
    pub requested_by: String,
    /// Root at `size`.
    pub root: Digest,
    /// The event that last changed it, in the ledger `system`.
    pub seq: Seq,
    /// One more than the last event.
    pub size: u64,
    /// How far it is.
    pub status: ImportStatus,
    /// SHA-256 of the tar.
    pub tar_sha256: Digest,
    /// The read-only tenant that it is to be.
    pub tenant: TenantName,
    /// Newest root of trust in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_version: Option<u64>,
}
