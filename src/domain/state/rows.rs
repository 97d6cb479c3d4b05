//! Rows that belong to no noun of their own.

use serde::{Deserialize, Serialize};

use crate::domain::canonical::CanonicalText;
use crate::domain::pack::PackSpec;
use crate::domain::{Digest, PackName, Seq, Timestamp};

/// A pack version; one line of `packs.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pack {
    /// When it was registered.
    pub created_at: Timestamp,
    /// Its name.
    pub name: PackName,
    /// SHA-256 of the canonical normalised graph.
    pub plan_hash: Digest,
    /// The event that registered it.
    pub seq: Seq,
    /// SHA-256 of the bytes as they were given.
    pub source_sha256: Digest,
    /// The normalised definition.
    pub spec: PackSpec,
    /// From 1, without gaps.
    pub version: u32,
}

/// A job's payload: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PayloadRow {
    /// The event with which the disclosures of its redacted fields are kept; none when it has no such fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosures: Option<Seq>,
    /// Where it fits the canonical profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<CanonicalText>,
    /// Its exact text, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
}

impl PayloadRow {
    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        let text = self.payload.as_ref().map_or(0, |text| text.as_str().len());
        text + self.payload_text.as_ref().map_or(0, String::len)
    }
}

/// What is known of an artifact's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactRow {
    /// Media type as first recorded.
    pub mime: String,
    /// Length.
    pub size: u64,
}

/// That disclosures were erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Erasure {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The event that says so.
    pub seq: Seq,
}
