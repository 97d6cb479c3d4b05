//! Events: what was accepted and happened. The envelope, and one closed table of all types.
//!
//! A leaf of the ledger is the exact canonical JSON of the envelope, without a line feed:
//! `{"actor","at","correlationId"?,"payload","project"?,"schema","seq","subject","tenant","type","version"}`.
//! A recorded type and version never changes meaning; a new meaning is a new version and a golden file.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::payload::bundles::{
    BundleAttemptFailed, BundleDiscarded, BundleDownloaded, BundleImportApproved, BundleImportRejected,
    BundleImportRequested, BundleImportSuperseded,
};
use super::payload::orders::{
    OrdersKeyPinned, WorkorderApproved, WorkorderCancelled, WorkorderImported, WorkorderIssued,
    WorkorderRecalled, WorkorderRefused, WorkorderReported, WorkorderStarted,
};
use super::payload::redaction::{
    DisclosureErased, DisclosureExported, DisclosureRead, RedactionPolicyDeleted, RedactionPolicySet,
};
use super::payload::trust::{KeyRevoked, KeyRotated, RootAccepted, RootPinned, TrustRefused};
use super::payload::webhooks::{
    WebhookChanged, WebhookCreated, WebhookDead, WebhookDeleted, WebhookPaused, WebhookRefused,
    WebhookResumed,
};
use super::payload::{
    ArtifactCreated, BundleExported, BundleImported, BundleRefused, BundleVerified, ClockStep,
    DeadLetterCreated, DeadLetterResolved, DeadLettersReplayed, GateApproved, GateFailed, GatePassed,
    GateStarted, JobCancelRequested, JobCancelled, JobCompleted, JobCreated, JobFailed, JobHoldEnded,
    JobLateReport, JobReleased, JobReplayed, JobScheduled, JobStarted, LedgerOpened, PackRegistered,
    RunCancelRequested, RunContinued, RunCreated, RunEnded, RunPaused, RunResumed, RunStarted, RunWaiting,
    SecretDeleted, SecretSet, StepCancelled, StepEnded, StepMapped, StepSkipped, StepStarted, StepUnresolved,
    TenantCreated, TokenCreated, TokenRevoked, TrustPinned,
};
use super::report::{
    AiArtifactCreated, AiTokensUsed, AiToolCalled, WorkerDrained, WorkerLost, WorkerRegistered, XReported,
};
use super::{JobId, RunId, Seq, StepName, TenantName, Timestamp};

/// The `schema` of every envelope.
pub const SCHEMA: &str = "fastness.event/v1";

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Actor {
    /// The person behind a token, the worker's name, or the part of the appliance.
    pub id: String,
    /// What kind of actor.
    pub kind: ActorKind,
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person, through a token.
    Person,
    /// The appliance itself: timers, recovery, start.
    System,
    /// Whoever claims jobs.
    Worker,
}

impl Actor {
    /// A part of the appliance.
    pub fn system(part: &str) -> Self {
        Actor {
            id: part.to_owned(),
            kind: ActorKind::System,
        }
    }

    /// Whoever claims jobs.
    pub fn worker(name: &str) -> Self {
        Actor {
            id: name.to_owned(),
            kind: ActorKind::Worker,
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The job's name in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// The worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// One accepted fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who caused it.
    pub actor: Actor,
    /// Ledger time; never decreases within a ledger.
    pub at: Timestamp,
    /// Ties what belongs together across runs and systems.
    pub correlation_id: Option<String>,
    /// What happened.
    pub body: EventBody,
    /// A label inside the tenant.
    pub project: Option<String>,
    /// Leaf index.
    pub seq: Seq,
    /// What it is about.
    pub subject: Subject,
    /// Whose ledger.
    pub tenant: TenantName,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeOut<'a> {
    actor: &'a Actor,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    payload: &'a EventBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    schema: &'static str,
    seq: Seq,
    subject: &'a Subject,
    tenant: &'a TenantName,
    #[serde(rename = "type")]
    type_name: &'static str,
    version: u32,
}

/// The envelope as received, its payload still text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope<'a> {
    /// Who caused it.
    pub actor: Actor,
    /// Ledger time, in the one form that is written.
    #[serde(deserialize_with = "Timestamp::deserialize_written")]
    pub at: Timestamp,
    /// Ties what belongs together.
    pub correlation_id: Option<String>,
    /// The payload's exact text.
    #[serde(borrow)]
    pub payload: &'a RawValue,
    /// A label inside the tenant.
    pub project: Option<String>,
    /// Must be [`SCHEMA`].
    pub schema: &'a str,
    /// Leaf index.
    pub seq: Seq,
    /// What it is about.
    pub subject: Subject,
    /// Whose ledger.
    pub tenant: TenantName,
    /// The name of the type, for example `job.completed`.
    #[serde(rename = "type")]
    pub type_name: &'a str,
    /// Version of the payload.
    pub version: u32,
}

/// The bytes are not an event that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not an envelope, or a payload that does not fit its type.
    #[error("{what} does not have the recorded shape: {source}")]
    Shape {
        /// `envelope`, or the type whose payload it is.
        what: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Another schema.
    #[error("schema {0:?} is not {SCHEMA:?}")]
    Schema(String),
    /// A type or version from elsewhere, or from a newer program.
    #[error("event type {type_name:?} version {version} is not known here")]
    UnknownType {
        /// The type's name.
        type_name: String,
        /// Its version.
        version: u32,
    },
}

impl Event {
    /// The canonical bytes: what is hashed, stored, streamed and exported.
    pub fn to_canonical(&self) -> Vec<u8> {
        super::canonical::to_canonical(&self.envelope())
    }

    /// Whether these are its canonical bytes.
    pub fn is_written_as(&self, bytes: &[u8]) -> bool {
        super::canonical::with_record(&self.envelope(), |written| written == bytes)
    }

    fn envelope(&self) -> EnvelopeOut<'_> {
        EnvelopeOut {
            actor: &self.actor,
            at: self.at,
            correlation_id: self.correlation_id.as_deref(),
            payload: &self.body,
            project: self.project.as_deref(),
            schema: SCHEMA,
            seq: self.seq,
            subject: &self.subject,
            tenant: &self.tenant,
            type_name: self.body.type_name(),
            version: self.body.version(),
        }
    }

    /// Reads an event back. Accepts exactly what [`Event::to_canonical`] writes, up to white space and key order;
    /// whether the bytes are canonical is checked where they come from outside.
    ///
    /// # Errors
    /// [`EventError`] names what did not fit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Event, EventError> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|source| EventError::Shape {
            what: "envelope".to_owned(),
            source,
        })?;
        if envelope.schema != SCHEMA {
            return Err(EventError::Schema(envelope.schema.to_owned()));
        }
        Ok(Event {
            body: EventBody::decode(envelope.type_name, envelope.version, envelope.payload)?,
            actor: envelope.actor,
            at: envelope.at,
            correlation_id: envelope.correlation_id,
            project: envelope.project,
            seq: envelope.seq,
            subject: envelope.subject,
            tenant: envelope.tenant,
        })
    }
}

macro_rules! event_table {
    ($($variant:ident ($payload:ty) = $name:literal, $version:literal;)*) => {
        /// What happened: one variant per recorded type and version.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum EventBody {
            $(
                #[doc = concat!("`", $name, "`, version ", stringify!($version), ".")]
                $variant($payload),
            )*
        }

        impl EventBody {
            /// Every known type and version.
            pub const TYPES: &'static [(&'static str, u32)] = &[$(($name, $version)),*];

            /// The dotted name.
            pub const fn type_name(&self) -> &'static str {
                match self { $(EventBody::$variant(_) => $name,)* }
            }

            /// The version of the payload.
            pub const fn version(&self) -> u32 {
                match self { $(EventBody::$variant(_) => $version,)* }
            }

            fn decode(type_name: &str, version: u32, payload: &RawValue) -> Result<Self, EventError> {
                match (type_name, version) {
                    $(($name, $version) => serde_json::from_str(payload.get())
                        .map(EventBody::$variant)
                        .map_err(|source| EventError::Shape { what: $name.to_owned(), source }),)*
                    _ => Err(EventError::UnknownType { type_name: type_name.to_owned(), version }),
                }
            }
        }
    };
}

event_table! {
    LedgerOpened(LedgerOpened) = "ledger.opened", 1;
    JobCreated(Box<JobCreated>) = "job.created", 1;
    JobScheduled(JobScheduled) = "job.scheduled", 1;
    JobStarted(JobStarted) = "job.started", 1;
    JobCompleted(Box<JobCompleted>) = "job.completed", 1;
    JobFailed(Box<JobFailed>) = "job.failed", 1;
    JobCancelled(Box<JobCancelled>) = "job.cancelled", 1;
    JobCancelRequested(JobCancelRequested) = "job.cancel_requested", 1;
    JobReleased(JobReleased) = "job.released", 1;
    JobHoldEnded(JobHoldEnded) = "job.hold_ended", 1;
    JobReplayed(JobReplayed) = "job.replayed", 1;
    DeadLetterCreated(DeadLetterCreated) = "deadletter.created", 1;
    DeadLetterResolved(DeadLetterResolved) = "deadletter.resolved", 1;
    DeadLettersReplayed(DeadLettersReplayed) = "deadletter.replayed", 1;
    JobLateReport(JobLateReport) = "job.late_report", 1;
    StepStarted(StepStarted) = "step.started", 1;
    StepCompleted(StepEnded) = "step.completed", 1;
    StepFailed(StepEnded) = "step.failed", 1;
    GateStarted(GateStarted) = "gate.started", 1;
    GateApproved(GateApproved) = "gate.approved", 1;
    GatePassed(GatePassed) = "gate.passed", 1;
    GateFailed(GateFailed) = "gate.failed", 1;
    RunWaiting(RunWaiting) = "run.waiting", 1;
    RunContinued(RunContinued) = "run.continued", 1;
    RunPaused(RunPaused) = "run.paused", 1;
    RunResumed(RunResumed) = "run.resumed", 1;
    StepSkipped(StepSkipped) = "step.skipped", 1;
    StepMapped(Box<StepMapped>) = "step.mapped", 1;
    StepCancelled(StepCancelled) = "step.cancelled", 1;
    StepUnresolved(StepUnresolved) = "step.unresolved", 1;
    ArtifactCreated(ArtifactCreated) = "artifact.created", 1;
    AiToolCalled(Box<AiToolCalled>) = "ai.tool_called", 1;
    AiTokensUsed(AiTokensUsed) = "ai.tokens_used", 1;
    AiArtifactCreated(Box<AiArtifactCreated>) = "ai.artifact_created", 1;
    XReported(Box<XReported>) = "x.reported", 1;
    WorkerRegistered(Box<WorkerRegistered>) = "worker.registered", 1;
    WorkerDrained(WorkerDrained) = "worker.drained", 1;
    WorkerLost(WorkerLost) = "worker.lost", 1;
    RunCreated(Box<RunCreated>) = "run.created", 1;
    RunStarted(RunStarted) = "run.started", 1;
    RunCancelRequested(RunCancelRequested) = "run.cancel_requested", 1;
    RunCompleted(RunEnded) = "run.completed", 1;
    RunPartiallyFailed(RunEnded) = "run.partially_failed", 1;
    RunFailed(RunEnded) = "run.failed", 1;
    RunCancelled(RunEnded) = "run.cancelled", 1;
    PackRegistered(Box<PackRegistered>) = "pack.registered", 1;
    SecretSet(SecretSet) = "secret.set", 1;
    SecretDeleted(SecretDeleted) = "secret.deleted", 1;
    WebhookCreated(Box<WebhookCreated>) = "webhook.created", 1;
    WebhookChanged(Box<WebhookChanged>) = "webhook.changed", 1;
    WebhookDeleted(WebhookDeleted) = "webhook.deleted", 1;
    WebhookPaused(WebhookPaused) = "webhook.paused", 1;
    WebhookResumed(WebhookResumed) = "webhook.resumed", 1;
    WebhookDead(WebhookDead) = "webhook.dead", 1;
    WebhookRefused(WebhookRefused) = "webhook.refused", 1;
    WorkorderIssued(Box<WorkorderIssued>) = "workorder.issued", 1;
    WorkorderRecalled(WorkorderRecalled) = "workorder.recalled", 1;
    WorkorderImported(Box<WorkorderImported>) = "workorder.imported", 1;
    WorkorderRefused(WorkorderRefused) = "workorder.refused", 1;
    WorkorderApproved(WorkorderApproved) = "workorder.approved", 1;
    WorkorderStarted(WorkorderStarted) = "workorder.started", 1;
    WorkorderCancelled(Box<WorkorderCancelled>) = "workorder.cancelled", 1;
    WorkorderReported(WorkorderReported) = "workorder.reported", 1;
    OrdersKeyPinned(OrdersKeyPinned) = "trust.orders_pinned", 1;
    DisclosureRead(DisclosureRead) = "disclosure.read", 1;
    DisclosureErased(DisclosureErased) = "disclosure.erased", 1;
    DisclosureExported(Box<DisclosureExported>) = "disclosure.exported", 1;
    RedactionPolicySet(Box<RedactionPolicySet>) = "redaction.policy_set", 1;
    RedactionPolicyDeleted(RedactionPolicyDeleted) = "redaction.policy_deleted", 1;
    TenantCreated(TenantCreated) = "tenant.created", 1;
    TokenCreated(TokenCreated) = "token.created", 1;
    TokenRevoked(TokenRevoked) = "token.revoked", 1;
    TrustPinned(TrustPinned) = "trust.pinned", 1;
    RootPinned(RootPinned) = "trust.root_pinned", 1;
    RootAccepted(Box<RootAccepted>) = "trust.accepted", 1;
    TrustRefused(TrustRefused) = "trust.refused", 1;
    KeyRotated(Box<KeyRotated>) = "key.rotated", 1;
    KeyRevoked(Box<KeyRevoked>) = "key.revoked", 1;
    BundleExported(BundleExported) = "bundle.exported", 1;
    BundleVerified(BundleVerified) = "bundle.verified", 1;
    BundleImported(BundleImported) = "bundle.imported", 1;
    BundleRefused(BundleRefused) = "bundle.refused", 1;
    BundleImportRequested(Box<BundleImportRequested>) = "bundle.import_requested", 1;
    BundleImportApproved(BundleImportApproved) = "bundle.import_approved", 1;
    BundleImportRejected(BundleImportRejected) = "bundle.import_rejected", 1;
    BundleImportSuperseded(BundleImportSuperseded) = "bundle.import_superseded", 1;
    BundleDiscarded(BundleDiscarded) = "bundle.discarded", 1;
    BundleDownloaded(BundleDownloaded) = "bundle.downloaded", 1;
    BundleAttemptFailed(BundleAttemptFailed) = "bundle.attempt_failed", 1;
    ClockStep(ClockStep) = "clock.step", 1;
}
