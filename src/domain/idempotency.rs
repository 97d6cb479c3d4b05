//! Idempotency keys: the same request, sent twice, is done once.
//!
//! A key is bound to a tenant, a person, a route and the body it came with, without the values of redacted fields. It is
//! recorded with what it made, so it lives exactly as long, survives restarts, and is rebuilt with everything else.

use serde::{Deserialize, Serialize};

use super::{Digest, Seq};

/// The key of a request, as recorded with what the request made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Idempotency {
    /// HMAC-SHA-256 of the request under a key that stays on this host: a ledger does not betray small bodies.
    pub body: Digest,
    /// 1 to [`crate::limits::IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII characters.
    pub key: String,
    /// What it is bound to: `jobs`, `runs`, `pack-runs`, and so on.
    pub route: String,
}

/// What a key leads back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdempotencyRow {
    /// Of the request that came first.
    pub body: Digest,
    /// The event that it made first; the answer of then is told from there on.
    pub seq: Seq,
}
