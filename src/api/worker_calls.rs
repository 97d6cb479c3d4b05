//! Calls about an attempt at work: progress, steps, release; and what every such call asks of its lease.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, no_content};
use super::live::tell_progress;
use super::request::{Id, Json, check_range};
use super::worker_shapes::check_worker;
use crate::domain::command::{Command, Reply, ReportStep, StepPhase};
use crate::domain::decide::was_granted;
use crate::domain::event::Actor;
use crate::domain::job::JobStatus;
use crate::domain::{JobId, Seq, StepName, TenantName, Timestamp};
use crate::engine::{LeaseNow, Lost, Named, Progress};
use crate::limits;
use crate::output::{AttemptAsk, AttemptKey, RunScope};

/// The lease that a call names.
#[derive(Debug, Clone)]
pub struct Holder {
    pub tenant: TenantName,
    pub job: JobId,
    pub epoch: u64,
    pub worker: String,
}

impl Holder {
    /// Takes the parts of a call together.
    ///
    /// # Errors
    /// A name that no worker has; an id that no job has.
    pub fn new(
        caller: &Caller,
        id: Result<Id<JobId>, ApiError>,
        epoch: u64,
        worker: String,
    ) -> Result<Self, ApiError> {
        let Id(job) = id.map_err(|_| ApiError::not_found("job"))?;
        check_worker("/worker", &worker)?;
        Ok(Holder {
            tenant: caller.tenant()?.clone(),
            job,
            epoch,
            worker,
        })
    }

    /// As the engine is asked.
    pub fn named(&self) -> Named<'_> {
        Named {
            tenant: &self.tenant,
            job: self.job,
            epoch: self.epoch,
            worker: &self.worker,
        }
    }

    /// As events name it.
    pub fn actor(&self) -> Actor {
        Actor::worker(&self.worker)
    }

    /// Where the output of the attempt lies.
    pub fn attempt(&self, lease: &LeaseNow) -> AttemptAsk {
        AttemptAsk {
            key: AttemptKey {
                scope: RunScope::of_job(self.tenant.clone(), lease.run, self.job),
                job: self.job,
                attempt: lease.attempt,
            },
            step: lease.step.clone(),
            bytes_max: limits::STEP_LOG_BYTES_MAX,
        }
    }

    /// Why a call under this lease is refused: it is over, unless there is no such job for this caller.
    pub async fn refusal(&self, api: &Api, lost: Lost) -> ApiError {
        match lost {
            Lost::Stale => stale(),
            Lost::NeverGranted => never_granted(self.epoch),
            Lost::OutputClosed => ApiError::conflict("log_closed", "the end of the attempt was reported"),
            Lost::TooManyReports => {
                let detail = format!(
                    "at most {} steps and events are reported under one lease",
                    limits::LEASE_REPORTS_MAX
                );
                ApiError::too_many(detail)
            }
            Lost::NotRunning => {
                let (job, epoch) = (self.job, self.epoch);
                let granted = api.read(&self.tenant, move |reading| {
                    let row = reading.view().job(job)?;
                    Ok(row.map(|job| was_granted(&job, epoch)))
                });
                match granted.await {
                    Ok(Some(true)) => stale(),
                    Ok(Some(false)) => never_granted(epoch),
                    Ok(None) => ApiError::not_found("job"),
                    Err(error) => error,
                }
            }
        }
    }
}

/// The lease named is over.
pub fn stale() -> ApiError {
    ApiError::conflict("stale_epoch", "the lease is over; stop the work and forget it")
}

/// No lease of the job has this number, or had it.
fn never_granted(epoch: u64) -> ApiError {
    let detail = format!("epoch {epoch} was never granted; name that of the lease");
    ApiError::conflict("stale_epoch", detail)
}

/// How far the work is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"worker": "w-1", "epoch": 1, "percent": 40, "message": "layer 2 of 5"}))]
pub struct ProgressBody {
    /// The lease.
    epoch: u64,
    /// For people; at most 512 bytes.
    message: Option<String>,
    /// 0 to 100.
    percent: u64,
    /// Who holds it.
    worker: String,
}

/// Tells how far the work is: a live signal that is not recorded. Shown with the job while it runs.
#[utoipa::path(post, path = "/api/v1/workers/jobs/{id}/progress", tag = "workers", params(("id" = String, Path)),
    request_body = ProgressBody, responses((status = 204, description = "Kept until the next one")))]
pub async fn progress(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    Json(body): Json<ProgressBody>,
) -> Result<StatusCode, ApiError> {
    let holder = Holder::new(&caller, id, body.epoch, body.worker)?;
    check_range("/percent", body.percent, 0, 100)?;
    if body
        .message
        .as_ref()
        .is_some_and(|text| text.len() > limits::PROGRESS_MESSAGE_BYTES_MAX)
    {
        let detail = format!("at most {} bytes", limits::PROGRESS_MESSAGE_BYTES_MAX);
        return Err(ApiError::field("invalid_field", "/message", detail));
    }
    let progress = Progress {
        percent: body.percent as u8,
        message: body.message,
        at_ms: api.now_ms(),
    };
    match api.engine().set_progress(holder.named(), progress.clone()) {
        Ok(()) => {
            tell_progress(&api, caller.tenant()?, holder.job, progress).await?;
            Ok(no_content())
        }
        Err(lost) => Err(holder.refusal(&api, lost).await),
    }
}

/// How far an attempt is, as its worker said last.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressView {
    #[schema(value_type = String)]
    at: Timestamp,
    message: Option<String>,
    percent: u8,
}

impl From<Progress> for ProgressView {
    fn from(progress: Progress) -> Self {
        ProgressView {
            at: Timestamp::from_ms(progress.at_ms),
            message: progress.message,
            percent: progress.percent,
        }
    }
}

/// What became of a step inside the job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"worker": "w-1", "epoch": 1, "id": "fetch", "event": "completed", "exitCode": 0}))]
pub struct StepBody {
    /// For people; at most 4,096 bytes are kept.
    detail: Option<String>,
    /// The lease.
    epoch: u64,
    /// What happened.
    event: PhaseName,
    /// Exit code, where it ended with one.
    exit_code: Option<i32>,
    /// Its name.
    #[schema(value_type = String)]
    id: StepName,
    /// Who holds the lease.
    worker: String,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    Started,
    Completed,
    Failed,
}

/// It is recorded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The last event of the ledger at which this is true.
    #[schema(value_type = u64)]
    pub as_of: Seq,
}

/// Reports that a step inside the job began or ended.
#[utoipa::path(post, path = "/api/v1/workers/jobs/{id}/steps", tag = "workers", params(("id" = String, Path)),
    request_body = StepBody, responses((status = 200, body = Recorded)))]
pub async fn step(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    Json(body): Json<StepBody>,
) -> Result<Answer<Recorded>, ApiError> {
    let holder = Holder::new(&caller, id, body.epoch, body.worker)?;
    let command = Command::ReportStep(Box::new(ReportStep {
        job: holder.job,
        epoch: holder.epoch,
        step: body.id,
        phase: match body.event {
            PhaseName::Started => StepPhase::Started,
            PhaseName::Completed => StepPhase::Completed,
            PhaseName::Failed => StepPhase::Failed,
        },
        detail: body.detail,
        exit_code: body.exit_code,
    }));
    record(&api, &holder, command).await
}

/// Records something under a lease, within what one may report.
pub async fn record(api: &Api, holder: &Holder, command: Command) -> Result<Answer<Recorded>, ApiError> {
    if let Err(lost) = api.engine().count_report(holder.named()) {
        return Err(holder.refusal(api, lost).await);
    }
    let receipt = api
        .engine()
        .submit(&holder.tenant, &holder.actor(), command)
        .await?;
    let as_of = receipt.as_of;
    Ok(Answer(Recorded { as_of }))
}

/// Why a job is given back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"worker": "w-1", "epoch": 1, "reason": "the worker is stopping"}))]
pub struct ReleaseBody {
    /// The lease.
    epoch: u64,
    /// Recorded with it.
    reason: String,
    /// Who holds it.
    worker: String,
}

/// Where the job stands after it was given back.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    #[schema(value_type = u64)]
    as_of: Seq,
    /// `scheduled`, or `cancelled` where that was asked for.
    #[schema(value_type = String, example = "scheduled")]
    status: JobStatus,
}

/// Gives a job back: the attempt does not count as a failure, and the job is ready for the next worker at once.
#[utoipa::path(post, path = "/api/v1/workers/jobs/{id}/release", tag = "workers", params(("id" = String, Path)),
    request_body = ReleaseBody, responses((status = 200, body = Released)))]
pub async fn release(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    Json(body): Json<ReleaseBody>,
) -> Result<Answer<Released>, ApiError> {
    let holder = Holder::new(&caller, id, body.epoch, body.worker)?;
    let lease = match api.engine().close_output(holder.named()) {
        Ok(lease) => lease,
        Err(lost) => return Err(holder.refusal(&api, lost).await),
    };
    let attempt = holder.attempt(&lease);
    let logs = if lease.has_output {
        let asked = attempt.clone();
        api.blocking(move |api| api.close_log(&asked)).await?
    } else {
        None
    };
    let command = Command::ReleaseJob {
        job: holder.job,
        epoch: holder.epoch,
        reason: body.reason,
        logs: logs.map(Box::new),
    };
    let receipt = api
        .engine()
        .submit(&holder.tenant, &holder.actor(), command)
        .await?;
    api.inbox.forget(&attempt.key);
    match receipt.reply {
        Reply::Job(job) => Ok(Answer(Released {
            as_of: receipt.as_of,
            status: job.status,
        })),
        _ => Err(ApiError::internal("a release answers with a job")),
    }
}
