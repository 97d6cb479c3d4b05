//! What is held of an enclave's trust: its roots, who vouched for the first, and the keys that were replaced.
//!
//! Only names and numbers: the documents stand in the events that brought them, and signatures are judged elsewhere.

use serde::{Deserialize, Serialize};

use super::{Digest, Seq, Timestamp};

/// A ledger and a size of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LedgerSize {
    /// The ledger, as its checkpoints name it.
    pub origin: String,
    /// A size.
    pub size: u64,
}

/// What the trust in a root rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedBy {
    /// People compared its fingerprint.
    Fingerprint,
    /// Nobody did: it was the first that came, and somebody wanted it so.
    FirstUse,
}

/// A root of trust that was pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootPin {
    /// When.
    pub at: Timestamp,
    /// SHA-256 of its content.
    pub fingerprint: Digest,
    /// What that rests on.
    pub pinned_by: PinnedBy,
}

/// A root of trust that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldRoot {
    /// When.
    pub accepted_at: Timestamp,
    /// SHA-256 of its content.
    pub fingerprint: Digest,
    /// The event that brought the document.
    pub seq: Seq,
    /// Its version.
    pub version: u64,
}

/// A key that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetiredKey {
    /// Its id.
    pub id: Digest,
    /// Which one of its role, from 1.
    pub number: u64,
    /// When it was replaced.
    pub retired_at: Timestamp,
    /// The event that revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Seq>,
    /// `log`, `export` or `orders`.
    pub role: String,
    /// The event that replaced it.
    pub seq: Seq,
    /// Id of the key that took its place.
    pub to: Digest,
}

/// What is held of an enclave, our own or another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trust {
    /// Which.
    pub enclave: String,
    /// Which of its roots people vouched for; none for our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<RootPin>,
    /// Its keys that were replaced, in order; known of our own alone.
    pub retired: Vec<RetiredKey>,
    /// Its roots, from version 1 on, without a gap.
    pub roots: Vec<HeldRoot>,
}

impl Trust {
    /// Nothing is held yet.
    pub fn none(enclave: &str) -> Self {
        Trust {
            enclave: enclave.to_owned(),
            pin: None,
            retired: Vec::new(),
            roots: Vec::new(),
        }
    }

    /// The newest version held; 0 for none.
    pub fn version(&self) -> u64 {
        self.roots.last().map_or(0, |root| root.version)
    }

    /// How many keys of a role were replaced.
    pub fn replaced(&self, role: &str) -> u64 {
        self.retired.iter().filter(|key| key.role == role).count() as u64
    }
}
