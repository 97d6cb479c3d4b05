//! A job: the unit that is scheduled, leased and retried. The record, its states, and the one table of legal transitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::canonical::Value;
use super::concurrency::Concurrency;
use super::{ArtifactName, Digest, RunId, Seq, StepName, Timestamp};
use crate::limits;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Its own preconditions are open: hold, `notBefore`, dependencies, gate.
    Pending,
    /// Eligible by itself; in the ready order.
    Scheduled,
    /// Leased: worker, epoch, deadline.
    Running,
    /// Terminal success.
    Completed,
    /// The attempt failed; a retry is due, or it is terminal.
    Failed,
    /// Terminal by request, or because what it needs can no longer succeed.
    Cancelled,
}

impl JobStatus {
    /// Every state, in the order of the life of a job.
    pub const ALL: [JobStatus; 6] = [
        JobStatus::Pending,
        JobStatus::Scheduled,
        JobStatus::Running,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];

    /// The one table of legal transitions. `Failed` leaves only towards `Scheduled` (retry) or `Cancelled`
    /// (cancelled while it waits for its retry).
    pub const fn may_become(self, next: JobStatus) -> bool {
        use JobStatus::{Cancelled, Completed, Failed, Pending, Running, Scheduled};
        matches!(
            (self, next),
            (Pending, Scheduled | Cancelled)
                | (Scheduled, Running | Cancelled)
                | (Running, Completed | Failed | Cancelled | Scheduled)
                | (Failed, Scheduled | Cancelled)
        )
    }

    /// The name as it is recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobStatus::Pending => "pending",
            JobStatus::Scheduled => "scheduled",
            JobStatus::Running => "running",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }
}

/// How the delay before the next attempt grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// initial · 2^(failures − 1), at most the cap.
    Exponential,
    /// Always the initial delay.
    Fixed,
}

/// Whether the delay is drawn or exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Whole milliseconds drawn from [0, delay].
    Full,
    /// The delay itself.
    None,
}

/// When and how often a failed job is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicy {
    /// Shape of the delay.
    #[serde(default = "RetryPolicy::backoff_default")]
    pub backoff: Backoff,
    /// Longest delay.
    #[serde(default = "RetryPolicy::cap_default")]
    pub cap_ms: u64,
    /// First delay.
    #[serde(default = "RetryPolicy::initial_default")]
    pub initial_ms: u64,
    /// Drawn or exact.
    #[serde(default = "RetryPolicy::jitter_default")]
    pub jitter: Jitter,
    /// Retries after the first attempt, 0 to [`limits::RETRIES_MAX`].
    #[serde(default = "RetryPolicy::max_default")]
    pub max: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            backoff: Self::backoff_default(),
            cap_ms: Self::cap_default(),
            initial_ms: Self::initial_default(),
            jitter: Self::jitter_default(),
            max: Self::max_default(),
        }
    }
}

impl RetryPolicy {
    const fn backoff_default() -> Backoff {
        Backoff::Exponential
    }
    const fn cap_default() -> u64 {
        limits::RETRY_CAP_MS_DEFAULT
    }
    const fn initial_default() -> u64 {
        limits::RETRY_INITIAL_MS_DEFAULT
    }
    const fn jitter_default() -> Jitter {
        Jitter::Full
    }
    const fn max_default() -> u32 {
        limits::RETRIES_DEFAULT
    }

    /// Delay before the attempt that follows the `failures`-th failure; `entropy` decides the jitter and
    /// `floor_ms` is what the worker asked for at least.
    pub fn delay_ms(&self, failures: u32, entropy: u64, floor_ms: u64) -> u64 {
        let grown = match self.backoff {
            Backoff::Fixed => self.initial_ms,
            Backoff::Exponential => {
                let doublings = failures.saturating_sub(1).min(63);
                self.initial_ms.saturating_mul(1 << doublings)
            }
        };
        let delay = grown.min(self.cap_ms);
        let drawn = match self.jitter {
            Jitter::None => delay,
            Jitter::Full => entropy % (delay + 1),
        };
        drawn.max(floor_ms).min(limits::RETRY_DELAY_MS_MAX)
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The program ended with a code other than 0, or by a signal.
    Exit,
    /// It ran longer than allowed.
    Timeout,
    /// The worker stopped renewing its lease.
    LeaseExpired,
    /// The sandbox refused something that fails the step.
    Sandbox,
    /// An upstream asked to slow down.
    #[serde(rename = "http_429")]
    Http429,
    /// An upstream failed.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// Input or output did not have the expected shape.
    SchemaMismatch,
    /// Input could not be read.
    ParseError,
    /// The worker gave up by request.
    Cancelled,
    /// The worker itself went away.
    WorkerLost,
    /// Anything else.
    Other,
}

impl FailureClass {
    /// The name as it is recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureClass::Exit => "exit",
            FailureClass::Timeout => "timeout",
            FailureClass::LeaseExpired => "lease_expired",
            FailureClass::Sandbox => "sandbox",
            FailureClass::Http429 => "http_429",
            FailureClass::Http5xx => "http_5xx",
            FailureClass::SchemaMismatch => "schema_mismatch",
            FailureClass::ParseError => "parse_error",
            FailureClass::Cancelled => "cancelled",
            FailureClass::WorkerLost => "worker_lost",
            FailureClass::Other => "other",
        }
    }
}

/// What is known about a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// Kind of failure.
    pub class: FailureClass,
    /// The worker's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For people; at most [`limits::TEXT_BYTES_MAX`] bytes.
    pub message: String,
    /// False ends the job at once, whatever retries are left.
    pub retryable: bool,
}

/// One stream of an attempt's output, as it was when the attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputDigest {
    /// Length of the file.
    pub bytes: u64,
    /// Lines in it.
    pub lines: u64,
    /// Digest of the file.
    pub sha256: Digest,
    /// True when the stream was cut at its bound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// The output of one attempt: covered by the ledger through these digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttemptLogs {
    /// Digest of the line index, which fixes order and times of the lines.
    pub index_sha256: Digest,
    /// Standard error.
    pub stderr: OutputDigest,
    /// Standard output.
    pub stdout: OutputDigest,
}

/// A file that a step produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artifact {
    /// Media type, by the name's ending.
    pub mime: String,
    /// Name within the step.
    pub name: ArtifactName,
    /// Content address.
    pub sha256: Digest,
    /// Length.
    pub size: u64,
}

/// The right to run a job for a time. The deadline itself lives in the engine, on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    /// Length of one period.
    pub lease_ms: u64,
    /// Who holds it.
    pub worker: String,
}

/// A lease that ended, for as long as no later one has: what a report that comes after its end is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PastLease {
    /// Its number.
    pub epoch: u64,
    /// What its worker reported; none when it ended in another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<JobStatus>,
    /// Who held it.
    pub worker: String,
}

/// What is asked for when a job is made. Immutable; recorded whole in `job.created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// Runs even when what it needs has failed or was cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// Bounds the jobs that run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Not eligible before somebody schedules it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// Only filters lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Not eligible before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// A label inside the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Which queue claims it.
    pub queue: String,
    /// What a worker's labels must include to get it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<String, String>,
    /// When it is tried again.
    pub retries: RetryPolicy,
    /// Longest time of one attempt.
    pub timeout_ms: u64,
    /// What kind of work it is; workers choose by it.
    #[serde(rename = "type")]
    pub job_type: String,
}

impl JobSpec {
    /// A job of a type, with the defaults of everything else.
    pub fn of_type(job_type: &str) -> Self {
        JobSpec {
            always: false,
            concurrency: None,
            hold: false,
            labels: BTreeMap::new(),
            not_before: None,
            priority: limits::PRIORITY_DEFAULT,
            project: None,
            queue: JobSpec::QUEUE_DEFAULT.to_owned(),
            requires: BTreeMap::new(),
            retries: RetryPolicy::default(),
            timeout_ms: limits::TIMEOUT_MS_DEFAULT,
            job_type: job_type.to_owned(),
        }
    }

    /// What is asked for when the work is done again: at once.
    pub fn again(&self) -> Self {
        JobSpec {
            hold: false,
            not_before: None,
            ..self.clone()
        }
    }

    /// The queue of a job that names none.
    pub const QUEUE_DEFAULT: &str = "default";
}

/// A job as the ledger says it stands. A pure function of its events; one line of `jobs.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// Files that completed attempts produced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// +1 per lease granted.
    pub attempt: u32,
    /// Why cancelling was asked for, while it is not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<String>,
    /// Ties what belongs together across runs and systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it became terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The number of the latest lease; fences every earlier one.
    pub epoch: u64,
    /// Exit code of the last attempt, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// +1 per failed, expired or lost attempt.
    pub failures: u32,
    /// Waits for somebody to schedule it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Identity, drawn when it was created.
    pub id: super::JobId,
    /// Latest epoch whose late completion was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_report_epoch: Option<u64>,
    /// Held while running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Output of the last attempt that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<AttemptLogs>,
    /// Its name in the run's graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<StepName>,
    /// When the next attempt is due, after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Its index in the run's graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// What it gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// The last lease that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_lease: Option<PastLease>,
    /// Digest of the payload's exact text; the payload itself is in `job.created`.
    pub payload_sha256: Digest,
    /// When it entered the ready order, while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_seq: Option<Seq>,
    /// Why it ended as it did, where that is not a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The job whose work it does again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<super::JobId>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Its last event.
    pub seq: Seq,
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// When the latest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Where it stands.
    pub status: JobStatus,
    /// Files that the attempt at work has produced so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploaded: Vec<Artifact>,
}

impl Job {
    /// Bytes that what may be large of it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let named = |all: &BTreeMap<String, String>| {
            all.iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
        };
        let files = (self.artifacts.len() + self.uploaded.len()) * std::mem::size_of::<Artifact>();
        let text = self.reason.as_ref().map_or(0, String::len);
        let output = self.output.as_ref().map_or(0, Value::weight);
        named(&self.spec.labels) + named(&self.spec.requires) + files + text + output
    }

    /// Nothing can happen to it any more, short of a retry by request.
    pub fn is_terminal(&self) -> bool {
        match self.status {
            JobStatus::Completed | JobStatus::Cancelled => true,
            JobStatus::Failed => self.next_attempt_at.is_none(),
            JobStatus::Pending | JobStatus::Scheduled | JobStatus::Running => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_transitions_of_the_table_are_legal() {
        let legal: Vec<String> = JobStatus::ALL
            .iter()
            .flat_map(|from| JobStatus::ALL.iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_become(**to))
            .map(|(from, to)| format!("{}>{}", from.as_str(), to.as_str()))
            .collect();
        assert_eq!(
            legal,
            [
                "pending>scheduled",
                "pending>cancelled",
                "scheduled>running",
                "scheduled>cancelled",
                "running>scheduled",
                "running>completed",
                "running>failed",
                "running>cancelled",
                "failed>scheduled",
                "failed>cancelled",
            ]
        );
    }

    #[test]
    fn retry_delay_doubles_up_to_the_cap_and_jitter_stays_within() {
        let exact = RetryPolicy {
            jitter: Jitter::None,
            ..RetryPolicy::default()
        };
        let delays: Vec<u64> = (1..=10).map(|failures| exact.delay_ms(failures, 7, 0)).collect();
        assert_eq!(
            delays,
            [
                1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000
            ]
        );
        assert_eq!(exact.delay_ms(u32::MAX, 7, 0), 300_000);
        assert_eq!(exact.delay_ms(1, 7, 9_000), 9_000);
        let full = RetryPolicy::default();
        assert!((0..1_000).all(|entropy| full.delay_ms(3, entropy * 7_919, 0) <= 4_000));
    }
}
