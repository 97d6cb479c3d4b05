//! Tenants, tokens and scopes: who may ask for what.

use serde::{Deserialize, Serialize};

use super::{Digest, Seq, TenantName, Timestamp, TokenId};

macro_rules! scopes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One right. Every route declares the one it needs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Scope {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Scope] = &[$(Scope::$variant),*];

            /// The name as tokens carry it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Scope::$variant => $name,)* }
            }
        }
    };
}

scopes! {
    /// Read everything of the tenant.
    Read = "orch:read",
    /// Submit jobs and runs, register packs.
    Submit = "orch:submit",
    /// Cancel, retry, pause.
    Operate = "orch:operate",
    /// Decide gates.
    Approve = "orch:approve",
    /// Change quotas and sources.
    Quota = "orch:quota",
    /// Start backfills.
    Backfill = "orch:backfill",
    /// Tenants, tokens, keys.
    Admin = "orch:admin",
    /// Claim and report jobs.
    Claim = "worker:claim",
    /// Export bundles.
    Export = "audit:export",
    /// Verify and import bundles.
    Import = "audit:import",
    /// Read the state of sealed mode.
    SealStatus = "airgap:status",
    /// Change it.
    Seal = "airgap:seal",
}

/// A tenant: the isolation boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tenant {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its name.
    pub name: TenantName,
    /// The event that created it, in the ledger `system`.
    pub seq: Seq,
}

/// A token. The secret is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// When it was made.
    pub created_at: Timestamp,
    /// End of its validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Public id.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// The person behind it.
    pub person: String,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// SHA-256 of the secret.
    pub secret_sha256: Digest,
    /// For which tenants.
    pub tenants: Vec<TenantName>,
}

/// The keys of a foreign origin, as people compared and pinned them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pin {
    /// SPKI PEM of the key that signs its bundles.
    pub export_key: String,
    /// SPKI PEM of the key that signs its checkpoints.
    pub log_key: String,
    /// The origin.
    pub origin: String,
}

/// What is held of a foreign ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Import {
    /// The bundles it consists of, in order: (first, size, SHA-256 of the tar).
    pub bundles: Vec<(u64, u64, Digest)>,
    /// When the last one was imported.
    pub imported_at: Timestamp,
    /// Origin of the ledger.
    pub origin: String,
    /// Root at its size.
    pub root: Digest,
    /// Events held.
    pub size: u64,
    /// The read-only tenant.
    pub tenant: TenantName,
    /// Newest root of trust that a bundle brought; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_version: Option<u64>,
}
