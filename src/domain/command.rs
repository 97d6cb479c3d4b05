//! Commands: what is asked. Imperative, with everything that deciding needs as data.

mod admin;
mod bundles;
mod order;
mod redaction;
mod reply;
mod trust;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::canonical::{Payload, Value};
use super::dead_letter::Resolution;
use super::idempotency::Idempotency;
use super::job::{Artifact, AttemptLogs, Failure, JobSpec};
use super::pack::PackSpec;
use super::payload::{BundleExported, BundleImported, BundleRefused, BundleVerified, TrustPinned};
use super::redaction::Sensitive;
use super::report::{Report, WorkerRegistered};
use super::{Digest, JobId, PackName, RunId, SecretName, SecretVersion, StepName, TenantName, TokenId};

pub use self::admin::CreateToken;
pub use self::bundles::BundleCommand;
pub use self::order::{HubCancel, OrderCommand, OrderContent, OrderRun};
pub use self::redaction::{Redacted, RedactionCommand, RedactionReply};
pub use self::reply::{Leased, OrderNovelty, PackNovelty, Reply};
pub use self::trust::ChangeTrust;
pub use self::webhook::{ChangeWebhook, PutWebhook, WebhookChange};

/// What is asked of the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make a job that stands alone.
    SubmitJob(Box<SubmitJob>),
    /// Stop a job: at once when it has not started, by request to its worker when it runs.
    CancelJob {
        /// The job.
        job: JobId,
        /// Recorded with it.
        reason: String,
    },
    /// Grant a lease on a job of the ready order.
    StartJob {
        /// The job.
        job: JobId,
        /// Who gets it.
        worker: String,
        /// Length of one period.
        lease_ms: u64,
    },
    /// A worker reports that a step inside the job began.
    StartStep {
        /// The job.
        job: JobId,
        /// The lease it is done under.
        epoch: u64,
        /// Its name.
        step: StepName,
    },
    /// A worker reports what became of a step inside the job.
    ReportStep(Box<ReportStep>),
    /// A worker stored a file; its bytes are flushed.
    AddArtifact {
        /// The job.
        job: JobId,
        /// The lease it is done under.
        epoch: u64,
        /// The file.
        artifact: Box<Artifact>,
    },
    /// A worker reports something else of an attempt at work.
    RecordReport {
        /// The job.
        job: JobId,
        /// The lease it is done under.
        epoch: u64,
        /// What.
        report: Box<Report>,
    },
    /// A worker's name was seen for the first time.
    RegisterWorker(Box<WorkerRegistered>),
    /// A worker is to take no more work, or to take work again.
    DrainWorker {
        /// Which.
        name: String,
        /// Which of the two.
        wish: DrainWish,
        /// Recorded with it.
        reason: String,
    },
    /// All leases of a worker have ended without a sign of life.
    LoseWorker {
        /// Which.
        name: String,
    },
    /// A worker reports the end of an attempt.
    CompleteJob(Box<CompleteJob>),
    /// The lease was not renewed, or its holder is gone.
    ExpireLease {
        /// The job.
        job: JobId,
        /// The lease that ended.
        epoch: u64,
        /// Which of the two.
        cause: LeaseEnd,
        /// Digests of what it sent of its output; the files are flushed.
        logs: Option<Box<AttemptLogs>>,
    },
    /// The holder gives the lease back; the attempt does not count as a failure.
    ReleaseJob {
        /// The job.
        job: JobId,
        /// The lease.
        epoch: u64,
        /// Recorded with it.
        reason: String,
        /// Digests of what it sent of its output; the files are flushed.
        logs: Option<Box<AttemptLogs>>,
    },
    /// The time of a retry or of `notBefore` has come.
    WakeJob {
        /// The job.
        job: JobId,
    },
    /// Keep a pack version.
    RegisterPack(Box<RegisterPack>),
    /// Let a held job go on.
    ScheduleJob {
        /// The job.
        job: JobId,
        /// Recorded with it.
        reason: String,
    },
    /// Try a job again that is out of retries, its failures counted from 0.
    RetryJob {
        /// The job.
        job: JobId,
        /// Recorded with it.
        reason: String,
    },
    /// Make a new job that does the work of one that has ended.
    ReplayJob {
        /// The job that has ended.
        job: JobId,
        /// Recorded with it.
        reason: String,
        /// The key under which this is not done twice.
        idempotency: Option<Idempotency>,
    },
    /// Do the work of a dead letter again, as long as it is open.
    ReplayDeadLetter {
        /// Its job, which stands alone.
        job: JobId,
        /// Recorded with it.
        reason: String,
    },
    /// Close a dead letter.
    ResolveDeadLetter {
        /// Its job.
        job: JobId,
        /// What became of it.
        how: Resolution,
        /// Recorded with it.
        note: String,
    },
    /// Start a run of a pack.
    StartRun(Box<StartRun>),
    /// Start a run of any graph of jobs.
    StartGraph(Box<StartGraph>),
    /// Do a run, or a part of it, again as a new run.
    ReplayRun(Box<ReplayRun>),
    /// Stop a run: what has not started is cancelled, what runs is asked to stop, `always` jobs still run.
    CancelRun {
        /// The run.
        run: RunId,
        /// Recorded with it.
        reason: String,
    },
    /// Let nothing more of a run start; what runs goes on.
    PauseRun {
        /// The run.
        run: RunId,
        /// Recorded with it.
        reason: String,
    },
    /// Let a paused run go on.
    ResumeRun {
        /// The run.
        run: RunId,
        /// Recorded with it.
        reason: String,
    },
    /// Answers a gate.
    DecideGate(Box<DecideGate>),
    /// A run was not done in its time.
    TimeOutRun {
        /// The run.
        run: RunId,
    },
    /// Make a value, which is flushed, the present one of a secret.
    SetSecret {
        /// Its name.
        name: SecretName,
        /// Names the file with the value.
        version: SecretVersion,
    },
    /// End a secret.
    DeleteSecret {
        /// Its name.
        name: SecretName,
        /// Recorded with it.
        reason: String,
    },
    /// Issue, take in, start or end a work order.
    Order(Box<OrderCommand>),
    /// Make, change or end a webhook.
    ChangeWebhook(Box<ChangeWebhook>),
    /// Read, erase or name redacted fields.
    Redaction(Box<RedactionCommand>),
    /// Open a ledger.
    OpenLedger {
        /// As its checkpoints name it.
        origin: String,
    },
    /// Make a tenant (ledger `system`).
    CreateTenant {
        /// Its name.
        name: TenantName,
    },
    /// Make a token (ledger `system`).
    CreateToken(Box<CreateToken>),
    /// End a token (ledger `system`).
    RevokeToken {
        /// Its public id.
        id: TokenId,
        /// Recorded with it.
        reason: String,
    },
    /// Pin the keys of a foreign origin (ledger `system`).
    PinTrust(Box<TrustPinned>),
    /// Pin or take in a root of trust, replace or revoke a key (ledger `system`).
    ChangeTrust(Box<ChangeTrust>),
    /// Note that a bundle left (ledger `system`).
    RecordExport(Box<BundleExported>),
    /// Note that a bundle was verified (ledger `system`).
    RecordVerification(Box<BundleVerified>),
    /// Take in a bundle whose tar is verified and stored (ledger `system`).
    ImportBundle(Box<BundleImported>),
    /// Note that a bundle was refused (ledger `system`).
    RecordRefusal(Box<BundleRefused>),
    /// Something else about bundles (ledger `system`).
    Bundle(Box<BundleCommand>),
    /// Note that the wall clock stepped (ledger `system`).
    RecordClockStep {
        /// Distance of the wall clock from ledger time.
        offset_ms: i64,
    },
}

/// A run of a pack to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRun {
    /// Ties what belongs together.
    pub correlation_id: Option<String>,
    /// The key under which this is not done twice.
    pub idempotency: Option<Idempotency>,
    /// Inputs as given.
    pub inputs: BTreeMap<String, Value>,
    /// The pack.
    pub pack: PackName,
    /// Its version; the latest when none is given.
    pub version: Option<u32>,
}

/// A graph of jobs to start as one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartGraph {
    /// Ties what belongs together.
    pub correlation_id: Option<String>,
    /// The key under which this is not done twice.
    pub idempotency: Option<Idempotency>,
    /// 1 to [`crate::limits::RUN_JOBS_MAX`] jobs.
    pub jobs: Vec<GraphJob>,
    /// Most of them at once.
    pub max_parallel: Option<u32>,
    /// Longest time from creation to end.
    pub timeout_ms: Option<u64>,
}

/// One job of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphJob {
    /// Unique within the run.
    pub name: StepName,
    /// Names of the jobs that must end first.
    pub needs: Vec<StepName>,
    /// Its payload.
    pub payload: Payload,
    /// What of it is in no leaf.
    pub sensitive: Sensitive,
    /// What is asked for.
    pub spec: Arc<JobSpec>,
}

/// What a person says at a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideGate {
    /// What the person looked at; refused when the gate asks about something else.
    pub binding: Option<Digest>,
    /// Why.
    pub reason: String,
    /// The run.
    pub run: RunId,
    /// The gate.
    pub step: StepName,
    /// Yes or no.
    pub verdict: Verdict,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As far as this person goes, the run may go on.
    Approve,
    /// The gate is not passed.
    Reject,
}

/// A run to do again. What is chosen, what needs any of it, and what is marked `always` is done; the rest keeps its
/// completed jobs, with their outputs and artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRun {
    /// Which jobs.
    pub choice: Choice,
    /// The key under which this is not done twice.
    pub idempotency: Option<Idempotency>,
    /// The run that has ended.
    pub run: RunId,
}

/// Jobs of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Those named.
    Named(Vec<StepName>),
    /// Those that left these dead letters, as long as one of them is open.
    Letters(Vec<JobId>),
    /// Those that did not complete.
    NotCompleted,
}

/// A job that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitJob {
    /// What is asked for.
    pub spec: Arc<JobSpec>,
    /// Its payload.
    pub payload: Payload,
    /// Ties what belongs together.
    pub correlation_id: Option<String>,
    /// The key under which this is not done twice.
    pub idempotency: Option<Idempotency>,
    /// The job whose work it does again.
    pub replay_of: Option<JobId>,
    /// What of the payload is in no leaf.
    pub sensitive: Sensitive,
}

impl SubmitJob {
    /// A job without a key that does nobody's work again.
    pub fn new(spec: JobSpec, payload: Payload) -> Self {
        SubmitJob {
            spec: Arc::new(spec),
            payload,
            correlation_id: None,
            idempotency: None,
            replay_of: None,
            sensitive: Sensitive::default(),
        }
    }
}

/// The end of an attempt as its worker reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteJob {
    /// The job.
    pub job: JobId,
    /// The lease it was done under.
    pub epoch: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Files produced; their bytes are flushed.
    pub artifacts: Vec<Artifact>,
    /// Exit code, where there was one.
    pub exit_code: Option<i32>,
    /// Digests of the output; its files are flushed.
    pub logs: Option<AttemptLogs>,
    /// True when the worker reported the job as one step, which ends with it.
    pub step: Option<StepName>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With success, and what it gives back.
    Completed(Option<Value>),
    /// With a failure; the next attempt not before so many milliseconds.
    Failed(Failure, u64),
    /// By request.
    Cancelled,
}

impl Outcome {
    /// The name as reports and events carry it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Completed(_) => "completed",
            Outcome::Failed(..) => "failed",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// What became of a step inside a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportStep {
    /// The job.
    pub job: JobId,
    /// The lease it is done under.
    pub epoch: u64,
    /// Its name.
    pub step: StepName,
    /// How far it is.
    pub phase: StepPhase,
    /// For people.
    pub detail: Option<String>,
    /// Exit code, where it ended with one.
    pub exit_code: Option<i32>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPhase {
    /// It began.
    Started,
    /// It ended well.
    Completed,
    /// It did not.
    Failed,
}

/// What is wanted of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainWish {
    /// No more work.
    Drain,
    /// Work again.
    Undo,
}

/// Why a lease ended without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// It was not renewed in time.
    Expired,
    /// The attempt lasted longer than its job allows.
    TimedOut,
    /// Its holder went away for certain: the local runner of a process that is no more.
    WorkerLost,
}

/// A pack version to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterPack {
    /// SHA-256 of the canonical normalised graph.
    pub plan_hash: Digest,
    /// The bytes as they were given.
    pub source: String,
    /// The normalised definition.
    pub spec: PackSpec,
}
