//! How the description of the interface writes what the domain reads by itself. Nothing here is ever made.

use serde::Serialize;
use utoipa::ToSchema;

/// A bound on how many jobs that share a key run at once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConcurrencyShape {
    /// Shared by jobs of one tenant, whatever their types and queues.
    #[schema(min_length = 1)]
    key: String,
    /// So many at once.
    #[schema(minimum = 1)]
    limit: u32,
}

/// When and how often a failed job is tried again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryShape {
    /// Shape of the delay: `exponential` or `fixed`.
    #[serde(default)]
    backoff: String,
    /// Longest delay.
    #[serde(default)]
    cap_ms: u64,
    /// First delay.
    #[serde(default)]
    initial_ms: u64,
    /// Whether the delay is drawn or exact: `full` or `none`.
    #[serde(default)]
    jitter: String,
    /// Retries after the first attempt.
    #[serde(default)]
    max: u32,
}
