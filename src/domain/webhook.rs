//! A webhook as the ledger knows it: where events go, which, signed with which key, and whether they go at all. Never the
//! secret, nor anything computed from one; how far it has come is kept elsewhere.

use serde::{Deserialize, Serialize};

use super::{JobId, RunId, SecretVersion, Seq, Timestamp, WebhookName};

/// Whether events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// They are.
    Active,
    /// Somebody stopped it.
    Paused,
    /// Its receiver failed too often, or said that it is gone.
    Dead,
}

impl WebhookState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            WebhookState::Active => "active",
            WebhookState::Paused => "paused",
            WebhookState::Dead => "dead",
        }
    }
}

/// How requests are signed (Standard Webhooks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureKind {
    /// `v1`: a secret that both sides have.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// `v1a`: a key pair; the receiver has the public half.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// A key that signs. Its secret is in a file that the version names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookKey {
    /// How it signs.
    pub kind: SignatureKind,
    /// `whpk_…`, for a key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Names the file; drawn at random.
    pub version: SecretVersion,
}

/// The key before the present one, which signs too for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OldKey {
    /// The key.
    pub key: WebhookKey,
    /// From then on it signs no more.
    pub until: Timestamp,
}

/// Which events of the tenant, besides their types; what is not there does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookFilters {
    /// Exactly this correlation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// About this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Exactly this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// About this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// A webhook of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// When it was last changed, paused, resumed or given up.
    pub changed_at: Timestamp,
    /// Who did that.
    pub changed_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which events.
    pub filters: WebhookFilters,
    /// The present key.
    pub key: WebhookKey,
    /// Its name.
    pub name: WebhookName,
    /// Every event before this one is done with; the cursor itself is further.
    pub next: Seq,
    /// The key before, while it signs too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_key: Option<OldKey>,
    /// The event that made it: tells it from an earlier one of its name.
    pub opened: Seq,
    /// Why it is paused or dead, or was resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The event that last changed it.
    pub seq: Seq,
    /// Whether events are sent.
    pub state: WebhookState,
    /// Globs over types; none means every type.
    pub types: Vec<String>,
    /// Where to.
    pub url: String,
}
