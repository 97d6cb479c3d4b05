//! The payload of each event, version 1. Fields stand in the order of canonical JSON, so that writing one is one pass.
//!
//! Each carries all that `apply` needs: state is a function of events alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::canonical::{CanonicalText, Value};
use super::idempotency::Idempotency;
use super::job::{Artifact, AttemptLogs, Failure, JobSpec, JobStatus};
use super::pack::PackSpec;
use super::token::Scope;
use super::{Digest, JobId, PackName, Seq, StepName, TenantName, Timestamp, TokenId};

macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

pub mod bundles;
mod letters;
mod nodes;
pub mod orders;
pub mod redaction;
mod runs;
mod secrets;
pub mod trust;
pub mod webhooks;

pub use self::bundles::{BundleExported, BundleImported, BundleRefused, BundleVerified};
pub use self::letters::{DeadLetterCreated, DeadLetterResolved, DeadLettersReplayed};
pub use self::nodes::{
    GateApproved, GateFailed, GatePassed, GateStarted, StepCancelled, StepMapped, StepSkipped, StepUnresolved,
};
pub use self::redaction::ExportedRedaction;
pub use self::runs::{
    RunCancelRequested, RunContinued, RunCreated, RunEnded, RunPaused, RunResumed, RunStarted, RunWaiting,
};
pub use self::secrets::{SecretDeleted, SecretSet};
pub use self::trust::TrustPinned;

payload!(
    /// The first event of a ledger.
    LedgerOpened {
        /// The ledger's origin, as its checkpoints name it.
        origin: String,
    }
);

payload!(
    /// A job came into being; `status` says whether it was eligible at once.
    JobCreated {
        /// The event with which the disclosures of the payload's `_sd` are kept: this one, or the one whose work is done again.
        /// Without it `_sd` has no meaning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disclosures: Option<Seq>,
        /// The key under which the same request is not done twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency: Option<Idempotency>,
        /// Its index in the run's graph.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<u32>,
        /// The payload, where it fits the canonical profile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<CanonicalText>,
        /// The payload's exact text, where it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload_text: Option<String>,
        /// The job whose work it does again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replay_of: Option<JobId>,
        /// What was asked for.
        spec: Arc<JobSpec>,
        /// `pending` or `scheduled`.
        status: JobStatus,
    }
);

payload!(
    /// A job became eligible.
    JobScheduled {
        /// True when a terminal failure is tried again by request: its failures are counted from 0.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        afresh: bool,
        /// `needs_met`, `retry`, `not_before`, or what was given with the request.
        reason: String,
    }
);

payload!(
    /// A job is no longer held, and still waits for something else.
    JobHoldEnded {
        /// What was given with the request.
        reason: String,
    }
);

payload!(
    /// The work of this job is done again by another one.
    JobReplayed {
        /// What was given with the request.
        reason: String,
        /// The job that does it.
        replay: JobId,
    }
);

payload!(
    /// A lease was granted.
    JobStarted {
        /// The number of this try.
        attempt: u32,
        /// Fences every earlier lease.
        epoch: u64,
        /// Length of one period.
        lease_ms: u64,
        /// Who holds it.
        worker: String,
    }
);

payload!(
    /// An attempt succeeded.
    JobCompleted {
        /// What it produced.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<Artifact>,
        /// The number of this try.
        attempt: u32,
        /// The lease it was done under.
        epoch: u64,
        /// Exit code, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Digests of its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logs: Option<AttemptLogs>,
        /// What it gave back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    }
);

payload!(
    /// An attempt failed, expired or was lost.
    JobFailed {
        /// What it produced before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<Artifact>,
        /// The number of this try.
        attempt: u32,
        /// Delay before the next attempt, as drawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// The lease it was done under.
        epoch: u64,
        /// Exit code, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// What is known.
        failure: Failure,
        /// Failures so far, this one included.
        failures: u32,
        /// Digests of its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logs: Option<AttemptLogs>,
        /// When the next attempt is due; none: terminal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_attempt_at: Option<Timestamp>,
    }
);

payload!(
    /// A job ended without success or failure.
    JobCancelled {
        /// What it produced before, where it was running.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<Artifact>,
        /// Exit code, where it was running.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Digests of its output, where it was running.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logs: Option<AttemptLogs>,
        /// `upstream_failed`, or what was given with the request.
        reason: String,
    }
);

payload!(
    /// A running job was asked to stop.
    JobCancelRequested {
        /// What was given with the request.
        reason: String,
    }
);

payload!(
    /// A lease was given back; the attempt does not count as a failure.
    JobReleased {
        /// What it produced before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<Artifact>,
        /// The lease.
        epoch: u64,
        /// Digests of its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logs: Option<AttemptLogs>,
        /// `interrupted`, or what the worker said.
        reason: String,
    }
);

payload!(
    /// A completion came under a lease that was over. Noted once per epoch, never applied.
    JobLateReport {
        /// The epoch it named.
        epoch: u64,
        /// What it reported: `completed`, `failed`, `cancelled`.
        outcome: String,
    }
);

payload!(
    /// A step inside a job began.
    StepStarted {
        /// The number of this try.
        attempt: u32,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// The lease.
        epoch: u64,
        /// Its name, as the worker reports it.
        id: StepName,
    }
);

payload!(
    /// A step inside a job ended.
    StepEnded {
        /// The number of this try.
        attempt: u32,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// The lease.
        epoch: u64,
        /// Exit code, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Its name, as the worker reports it.
        id: StepName,
    }
);

payload!(
    /// A file was produced; its bytes are flushed before this is recorded.
    ArtifactCreated {
        /// The file.
        artifact: Artifact,
        /// The number of the try.
        attempt: u32,
    }
);

payload!(
    /// A pack version was registered. `source` is what was given, byte for byte.
    PackRegistered {
        /// The pack.
        name: PackName,
        /// SHA-256 of the canonical normalised graph.
        plan_hash: Digest,
        /// The bytes as they were given.
        source: String,
        /// SHA-256 of these bytes.
        source_sha256: Digest,
        /// The normalised definition.
        spec: PackSpec,
        /// From 1, without gaps.
        version: u32,
    }
);

payload!(
    /// A tenant came into being (ledger `system`).
    TenantCreated {
        /// Its name.
        name: TenantName,
    }
);

payload!(
    /// A token was made (ledger `system`). The secret itself is nowhere.
    TokenCreated {
        /// End of its validity.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// Public id.
        id: TokenId,
        /// For people.
        name: String,
        /// The person behind it.
        person: String,
        /// What it allows.
        scopes: Vec<Scope>,
        /// SHA-256 of the secret.
        secret_sha256: Digest,
        /// For which tenants.
        tenants: Vec<TenantName>,
    }
);

payload!(
    /// A token was revoked (ledger `system`).
    TokenRevoked {
        /// Its public id.
        id: TokenId,
        /// Why.
        reason: String,
    }
);

payload!(
    /// The wall clock stepped (ledger `system`).
    ClockStep {
        /// How far the wall clock is from ledger time now; negative when it stepped back.
        offset_ms: i64,
    }
);
