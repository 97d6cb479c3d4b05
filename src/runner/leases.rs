//! The seam between a runner and whoever hands out work: the engine in this process, or a server over HTTP.
//!
//! Every call after the claim names the job's epoch. An answer of `Stale` is final: the job belongs to someone
//! else, and whatever still runs here for it must be killed and forgotten.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;

use crate::domain::{ArtifactName, Digest, JobId, RunId, SecretName, StepName, TenantName};
use crate::output::AttemptSummary;
use crate::secrets::SecretValue;

/// Hands out work and takes results.
pub trait Leases: Send + Sync + 'static {
    /// Waits up to `wait_ms` for at least one job; none is an empty list. The runner never drops this future
    /// before it is ready, except when its last deadline has passed.
    fn claim(&self, ask: ClaimAsk) -> impl Future<Output = Result<Vec<LeasedJob>, LeaseError>> + Send;

    /// Makes a claim that waits answer with what it has. The runner takes no more work.
    fn stop_claiming(&self) {}

    /// Renews a lease by the length asked for in the claim.
    fn heartbeat(&self, job: JobId, epoch: u64) -> impl Future<Output = Result<Renewal, LeaseError>> + Send;

    /// Ready as soon as the job is to be cancelled, for one who learns that earlier than by a heartbeat.
    fn cancel_requested(&self, job: JobId, epoch: u64) -> impl Future<Output = ()> + Send {
        let _ = (job, epoch);
        std::future::pending()
    }

    /// The values of secrets that the step of a leased job names. The first that is not there is the answer then.
    fn secrets(
        &self,
        job: JobId,
        names: Vec<SecretName>,
    ) -> impl Future<Output = Result<Vec<(SecretName, SecretValue)>, NoSecret>> + Send {
        let missing = names.into_iter().next().map(|name| NoSecret {
            name,
            reason: format!("job {job} was given none"),
        });
        std::future::ready(missing.map_or_else(|| Ok(Vec::new()), Err))
    }

    /// Ends an attempt. Files and artifacts named in `ended` are flushed before this is called.
    fn complete(
        &self,
        job: JobId,
        epoch: u64,
        outcome: Outcome,
        ended: OutputSummary,
    ) -> impl Future<Output = Result<(), LeaseError>> + Send;
}

/// What a runner can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimAsk {
    pub worker: String,
    pub queues: Vec<String>,
    /// Globs over job types.
    pub types: Vec<String>,
    pub max: usize,
    pub lease_ms: u64,
    pub wait_ms: u64,
}

/// A job under lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedJob {
    pub id: JobId,
    pub run: Option<RunId>,
    pub tenant: TenantName,
    pub step: Option<StepName>,
    pub attempt: u32,
    pub epoch: u64,
    /// Canonical JSON of a [`crate::domain::pack::StepTask`].
    pub payload: Bytes,
    pub needs: Vec<NeededArtifact>,
    pub cancel_requested: bool,
}

/// An artifact of a step that this one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededArtifact {
    pub step: StepName,
    pub name: ArtifactName,
    pub sha256: Digest,
}

/// A renewed lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The deadline by the server's clock; for information, since the runner counts the length it asked for.
    pub lease_until_ms: i64,
    pub cancel_requested: bool,
    /// The runner is to finish what it has and take no more.
    pub drain: bool,
}

/// A secret cannot be handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret {name}: {reason}")]
pub struct NoSecret {
    pub name: SecretName,
    pub reason: String,
}

/// A lease call was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The epoch is not the job's present one, or the job is gone.
    #[error("the lease has gone to someone else")]
    Stale,
    /// No answer; trying again makes sense while the lease lasts.
    #[error("no answer about leases: {0}")]
    Unavailable(String),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With what the step wrote to `$FASTNESS_OUTPUT`.
    Completed {
        outputs: BTreeMap<String, String>,
    },
    Failed(Failure),
    /// As requested.
    Cancelled,
    /// By our own stop; counts as no failure.
    Interrupted,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    /// For people; at most [`crate::limits::TEXT_BYTES_MAX`] bytes.
    pub message: String,
    /// Finer than the class; stable.
    pub code: Option<&'static str>,
    pub exit_code: Option<i32>,
    pub retryable: bool,
}

/// The classes that a runner reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The process ended with something other than 0.
    Exit,
    /// It ran longer than allowed.
    Timeout,
    /// Anything else; `code` says what.
    Other,
}

impl FailureClass {
    /// As recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureClass::Exit => "exit",
            FailureClass::Timeout => "timeout",
            FailureClass::Other => "other",
        }
    }
}

/// What an attempt left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputSummary {
    /// `None` when nothing was started, or the log could not be kept.
    pub logs: Option<AttemptSummary>,
    pub artifacts: Vec<Artifact>,
    pub exit_code: Option<i32>,
}

/// A stored artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub name: ArtifactName,
    pub sha256: Digest,
    pub bytes: u64,
    pub mime: &'static str,
}
