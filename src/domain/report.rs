//! What workers tell of themselves and of an attempt while it runs: payloads of version 1.
//!
//! Fields stand in the order of canonical JSON. The table of event types is closed, so a worker's own event is always
//! of the one type `x.reported`, and its own name is a field of it: a reader knows every type, and replay stays strict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::canonical::CanonicalText;
use super::event::EventBody;
use super::{ArtifactName, Digest, ReportName};

/// A worker's name was seen for the first time, by a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerRegistered {
    /// What it offers, as its first claim said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who it is.
    pub name: String,
    /// From where it claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// The worker that is forgotten for it, where there were as many as there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// What it claims, by glob; none means everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}

/// A worker was told to take no more work, or to take work again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerDrained {
    /// False undoes it.
    pub draining: bool,
    /// Which worker.
    pub name: String,
    /// What was given with the request.
    pub reason: String,
}

/// All leases of a worker ended without a sign of life. Recorded once until it gets a lease again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerLost {
    /// Which worker.
    pub name: String,
}

/// A tool was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiToolCalled {
    /// The number of the try.
    pub attempt: u32,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The lease.
    pub epoch: u64,
    /// The call did not succeed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Digest of what it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_sha256: Option<Digest>,
    /// The model that called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Digest of what it gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<Digest>,
    /// Its name.
    pub tool: String,
}

/// A model was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiTokensUsed {
    /// The number of the try.
    pub attempt: u32,
    /// Of the tokens read, so many came out of a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// The lease.
    pub epoch: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Which model.
    pub model: String,
    /// Tokens written.
    pub output_tokens: u64,
}

/// A model made an artifact of this attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiArtifactCreated {
    /// The number of the try.
    pub attempt: u32,
    /// The lease.
    pub epoch: u64,
    /// Which model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The artifact, as it was uploaded.
    pub name: ArtifactName,
    /// Its content.
    pub sha256: Digest,
    /// The tool that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// A worker's own event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct XReported {
    /// The number of the try.
    pub attempt: u32,
    /// The lease.
    pub epoch: u64,
    /// The worker's name for it: `x.` and what follows.
    pub name: ReportName,
    /// What it says, where that fits the canonical profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<CanonicalText>,
    /// The exact text of it, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
}

/// What a worker reports of a running attempt besides its steps. `attempt` and `epoch` in it are those of the lease,
/// whatever they were before it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// `ai.tool_called`
    ToolCalled(AiToolCalled),
    /// `ai.tokens_used`
    TokensUsed(AiTokensUsed),
    /// `ai.artifact_created`
    ArtifactCreated(AiArtifactCreated),
    /// A name of the worker's own.
    Own(XReported),
}

impl Report {
    /// The event, under the lease of an attempt.
    pub fn into_body(self, attempt: u32, epoch: u64) -> EventBody {
        match self {
            Report::ToolCalled(report) => EventBody::AiToolCalled(Box::new(AiToolCalled {
                attempt,
                epoch,
                ..report
            })),
            Report::TokensUsed(report) => EventBody::AiTokensUsed(AiTokensUsed {
                attempt,
                epoch,
                ..report
            }),
            Report::ArtifactCreated(report) => EventBody::AiArtifactCreated(Box::new(AiArtifactCreated {
                attempt,
                epoch,
                ..report
            })),
            Report::Own(report) => EventBody::XReported(Box::new(XReported {
                attempt,
                epoch,
                ..report
            })),
        }
    }
}
