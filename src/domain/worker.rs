//! A worker as the ledger knows it: whoever claims jobs. When it claimed last is known in memory alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Seq, Timestamp};

/// A worker of one tenant. A pure function of the tenant's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Worker {
    /// Why it is to take no more work, while that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<String>,
    /// When its first claim came.
    pub first_seen_at: Timestamp,
    /// What it offered then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the last of its leases ended without a sign of life; none once it has a lease again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
    /// Who it is.
    pub name: String,
    /// From where it claimed then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// Its last event.
    pub seq: Seq,
    /// What it claimed then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}
