//! What workers send and get.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::ApiError;
use super::job_view::raw_payload;
use super::request::{check_label, check_range};
use crate::domain::canonical::{Intake, Value, key_fits, text_fits};
use crate::domain::command::{CompleteJob, Leased, Outcome};
use crate::domain::decide::STEP_QUEUE;
use crate::domain::job::{Failure, FailureClass};
use crate::domain::{JobId, RunId, StepName, TenantName, Timestamp};
use crate::engine::{Claim, LOCAL_WORKER, Reach, Wanted};
use crate::limits;

/// A wish for work.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"worker": "w-1", "queues": ["default"], "max": 1, "waitMs": 30000}))]
pub struct ClaimBody {
    /// What the worker offers: all that a job requires must be among it.
    #[serde(default)]
    labels: super::reading::Texts,
    /// Length of one lease period.
    #[serde(default = "lease_default")]
    lease_ms: u64,
    /// At most so many jobs.
    #[serde(default = "max_default")]
    max: usize,
    /// From these queues.
    #[serde(default = "queues_default")]
    queues: Vec<String>,
    /// Of these tenants, in turn; each within the token. None means that of the request.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub tenants: Vec<TenantName>,
    /// Types by glob; none means all.
    #[serde(default)]
    types: Vec<String>,
    /// How long to wait when there is none.
    #[serde(default)]
    wait_ms: u64,
    /// Who asks; in a completion it may be left out.
    worker: Option<String>,
}

const fn lease_default() -> u64 {
    limits::LEASE_MS_DEFAULT
}
const fn max_default() -> usize {
    1
}
fn queues_default() -> Vec<String> {
    vec!["default".to_owned()]
}

impl ClaimBody {
    /// Checks the bounds. `worker` is who asks, where the claim itself does not say.
    pub fn into_claim(self, caller: &Caller, worker: Option<&str>, prefix: &str) -> Result<Claim, ApiError> {
        self.check_names(prefix)?;
        let at = |name: &str| format!("{prefix}/{name}");
        let name = match (self.worker, worker) {
            (None, None) => return Err(ApiError::field("missing_field", at("worker"), "who asks?")),
            (Some(claims), Some(reports)) if claims != reports => {
                let detail = "one call is made by one worker";
                return Err(ApiError::field("invalid_field", at("worker"), detail));
            }
            (Some(name), _) => name,
            (None, Some(name)) => name.to_owned(),
        };
        check_worker(&at("worker"), &name)?;
        check_range(
            &at("leaseMs"),
            self.lease_ms,
            limits::LEASE_MS_MIN,
            limits::LEASE_MS_MAX,
        )?;
        check_range(&at("max"), self.max as u64, 1, limits::CLAIM_JOBS_MAX as u64)?;
        check_range(&at("waitMs"), self.wait_ms, 0, limits::CLAIM_WAIT_MS_MAX)?;
        check_range(
            &at("queues"),
            self.queues.len() as u64,
            1,
            limits::CLAIM_NAMES_MAX as u64,
        )?;
        check_range(
            &at("types"),
            self.types.len() as u64,
            0,
            limits::CLAIM_NAMES_MAX as u64,
        )?;
        check_range(
            &at("labels"),
            self.labels.len() as u64,
            0,
            limits::CLAIM_NAMES_MAX as u64,
        )?;
        if self.queues.iter().any(|queue| queue == STEP_QUEUE) {
            let detail = "this queue belongs to the built-in runner, which does the steps of packs";
            return Err(ApiError::field("reserved", at("queues"), detail));
        }
        let tenants = caller.tenants(&self.tenants)?;
        Ok(Claim {
            worker: name,
            reach: Reach::Tenants(tenants),
            wanted: Wanted {
                labels: self.labels,
                queues: self.queues,
                types: self.types,
            },
            max: self.max,
            lease_ms: self.lease_ms,
            wait_ms: self.wait_ms,
            token: Some(caller.token.secret_sha256),
        })
    }
}

impl ClaimBody {
    /// What is kept with the worker is bounded, and has the form of what events hold.
    fn check_names(&self, prefix: &str) -> Result<(), ApiError> {
        check_range(
            &format!("{prefix}/tenants"),
            self.tenants.len() as u64,
            0,
            limits::CLAIM_NAMES_MAX as u64,
        )?;
        let fits = |text: &str| text.len() <= limits::LABEL_BYTES_MAX && text_fits(text);
        let refuse = |field: &str, detail: String| {
            Err(ApiError::field(
                "invalid_field",
                format!("{prefix}/{field}"),
                detail,
            ))
        };
        for (field, texts) in [("queues", &self.queues), ("types", &self.types)] {
            if let Some(text) = texts.iter().find(|text| !fits(text)) {
                return refuse(
                    field,
                    format!("{text:?} has more than {} bytes", limits::LABEL_BYTES_MAX),
                );
            }
        }
        match self
            .labels
            .iter()
            .find(|(name, value)| !key_fits(name) || !fits(value))
        {
            Some((name, _)) => refuse("labels", format!("the label {name:?} cannot be kept")),
            None => Ok(()),
        }
    }
}

/// A worker's name. That of the built-in runner is its own: leases under it end with this process.
pub fn check_worker(pointer: &str, name: &str) -> Result<(), ApiError> {
    check_label(pointer, name)?;
    if name == LOCAL_WORKER {
        let detail = "this name belongs to the built-in runner";
        return Err(ApiError::field("invalid_field", pointer, detail));
    }
    Ok(())
}

/// The ends of attempts, and a wish for more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompleteBody {
    /// What to claim next, in the same call; it does not wait.
    pub claim: Option<ClaimBody>,
    /// At most 1,000.
    pub results: Vec<ResultBody>,
    /// Who reports.
    pub worker: String,
}

/// The end of one attempt.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"jobId": "0190d7c4-0000-7000-8000-000000000000", "epoch": 1, "outcome": "completed"}))]
pub struct ResultBody {
    /// The lease it was done under.
    epoch: u64,
    /// What went wrong, where it failed.
    error: Option<ErrorBody>,
    /// Exit code, where there was one.
    exit_code: Option<i32>,
    /// The job.
    pub job_id: String,
    /// How it ended.
    outcome: OutcomeName,
    /// What it gives back: JSON without floats.
    #[schema(value_type = Option<serde_json::Value>)]
    output: Option<Box<RawValue>>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeName {
    Completed,
    Failed,
    Cancelled,
}

/// What went wrong.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorBody {
    /// Kind of failure.
    #[serde(default = "class_default")]
    #[schema(value_type = Option<String>, example = "http_429")]
    class: FailureClass,
    /// The worker's own code.
    code: Option<String>,
    /// For people.
    #[serde(default)]
    message: String,
    /// The next attempt not before so many milliseconds.
    #[serde(default)]
    retry_after_ms: u64,
    /// False ends the job at once.
    #[serde(default = "retryable_default")]
    retryable: bool,
}

const fn class_default() -> FailureClass {
    FailureClass::Other
}
const fn retryable_default() -> bool {
    true
}

impl ResultBody {
    /// The report, or why this one item is refused.
    pub fn into_report(self) -> Result<CompleteJob, ApiError> {
        let job: JobId = self.job_id.parse().map_err(|_| ApiError::not_found("job"))?;
        let outcome = match self.outcome {
            OutcomeName::Completed => Outcome::Completed(self.output.map(|raw| output(&raw)).transpose()?),
            OutcomeName::Failed => {
                let error = self.error.unwrap_or_else(|| ErrorBody {
                    class: class_default(),
                    code: None,
                    message: String::new(),
                    retry_after_ms: 0,
                    retryable: retryable_default(),
                });
                if let Some(code) = &error.code {
                    check_label("/error/code", code)?;
                }
                let max = limits::RETRY_DELAY_MS_MAX;
                check_range("/error/retryAfterMs", error.retry_after_ms, 0, max)?;
                let failure = Failure {
                    class: error.class,
                    code: error.code,
                    message: error.message,
                    retryable: error.retryable,
                };
                Outcome::Failed(failure, error.retry_after_ms)
            }
            OutcomeName::Cancelled => Outcome::Cancelled,
        };
        Ok(CompleteJob {
            job,
            epoch: self.epoch,
            outcome,
            artifacts: Vec::new(),
            exit_code: self.exit_code,
            logs: None,
            step: None,
        })
    }
}

fn output(raw: &RawValue) -> Result<Value, ApiError> {
    match Intake::parse(raw.get().as_bytes()).map_err(ApiError::from)? {
        Intake::Value(value) => Ok(value),
        Intake::Text(_) => {
            let detail = "an output is canonical JSON: no floats, no integers beyond 2^53, plain keys";
            Err(ApiError::field("invalid_field", "/output", detail))
        }
    }
}

/// A lease.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    attempt: u32,
    correlation_id: Option<String>,
    /// Named by every later call about the job.
    epoch: u64,
    #[schema(value_type = String)]
    id: JobId,
    /// For the worker's own side effects: the same for one attempt, another for the next.
    idempotency_key: String,
    /// When the lease ends unless it is renewed; by the server's clock, for information.
    #[schema(value_type = String)]
    lease_until: Timestamp,
    /// Artifacts of the jobs that it needed.
    needs: Vec<super::job_view::ArtifactView>,
    /// As it was given.
    #[schema(value_type = serde_json::Value)]
    payload: Box<RawValue>,
    retry_hint: RetryHint,
    #[schema(value_type = Option<String>)]
    run_id: Option<RunId>,
    /// Its name in the run.
    #[schema(value_type = Option<String>)]
    step: Option<StepName>,
    /// Whose job it is: named by every later call where the token has several.
    #[schema(value_type = String)]
    tenant: TenantName,
    timeout_ms: u64,
    #[serde(rename = "type")]
    job_type: String,
}

/// How often it failed, and how often it may.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetryHint {
    failures: u32,
    max: u32,
}

impl LeaseView {
    /// A lease granted now.
    pub fn new(leased: Leased, now: Timestamp) -> Result<Self, ApiError> {
        let payload = raw_payload(&leased.payload)?;
        let needs = leased.needs.iter();
        let needs = needs.map(|(step, artifact)| super::job_view::ArtifactView::new(artifact, Some(step)));
        let lease_ms = leased.job.lease.as_ref().map_or(0, |lease| lease.lease_ms);
        Ok(LeaseView {
            attempt: leased.job.attempt,
            epoch: leased.job.epoch,
            id: leased.job.id,
            idempotency_key: format!("{}:{}", leased.job.id, leased.job.attempt),
            lease_until: now.plus_ms(lease_ms),
            needs: needs.collect(),
            payload,
            retry_hint: RetryHint {
                failures: leased.job.failures,
                max: leased.job.spec.retries.max,
            },
            run_id: leased.job.run,
            step: leased.job.name,
            tenant: leased.tenant,
            timeout_ms: leased.job.spec.timeout_ms,
            job_type: leased.job.spec.job_type.clone(),
            correlation_id: leased.job.correlation_id,
        })
    }
}
