//! A job as it is shown.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::error::ApiError;
use super::job_shapes::{ConcurrencyShape, RetryShape};
use super::reading::{Reading, Texts};
use super::worker_calls::ProgressView;
use crate::domain::canonical::Value;
use crate::domain::concurrency::Concurrency;
use crate::domain::job::{Artifact, Failure, Job, JobStatus, RetryPolicy};
use crate::domain::run::Run;
use crate::domain::state::{PayloadRow, Row};
use crate::domain::{Digest, JobId, RunId, Seq, StepName, Timestamp};
use crate::engine::Progress;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Files that completed attempts produced.
    artifacts: Vec<ArtifactView>,
    /// The last event at which this is true; only where one job is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<i64>,
    /// +1 per lease granted.
    attempt: u32,
    /// Why cancelling was asked for, while it is not confirmed.
    cancel_requested: Option<String>,
    #[schema(value_type = Option<ConcurrencyShape>)]
    concurrency: Option<Concurrency>,
    correlation_id: Option<String>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    ended_at: Option<Timestamp>,
    epoch: u64,
    /// The last failure.
    error: Option<ErrorView>,
    exit_code: Option<i32>,
    failures: u32,
    /// Waits for somebody to schedule it.
    held: bool,
    #[schema(value_type = String)]
    id: JobId,
    labels: Texts,
    #[schema(value_type = Option<String>)]
    next_attempt_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    not_before: Option<Timestamp>,
    /// What it gave back.
    #[schema(value_type = Option<serde_json::Value>)]
    output: Option<Value>,
    /// As it was given; only where one job is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    priority: u8,
    /// How far it is, while it runs and its worker tells; only where one job is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressView>,
    project: Option<String>,
    queue: String,
    /// Why it ended as it did, where that is not a failure.
    reason: Option<String>,
    /// The job whose work it does again.
    #[schema(value_type = Option<String>)]
    replay_of: Option<JobId>,
    /// What a worker's labels must include.
    requires: Texts,
    #[schema(value_type = RetryShape)]
    retries: RetryPolicy,
    #[schema(value_type = Option<String>)]
    run_id: Option<RunId>,
    /// Its last event.
    #[schema(value_type = u64)]
    seq: Seq,
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    #[schema(value_type = String, example = "scheduled")]
    status: JobStatus,
    /// Its name in the run's graph.
    #[schema(value_type = Option<String>)]
    step: Option<StepName>,
    timeout_ms: u64,
    #[serde(rename = "type")]
    job_type: String,
    /// Why it does not run yet; null when it runs or has ended.
    waiting: Option<Waiting>,
    /// Who holds the lease.
    worker: Option<String>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorView {
    /// Kind of failure.
    #[schema(value_type = String, example = "exit")]
    pub class: crate::domain::job::FailureClass,
    /// The worker's own code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For people.
    pub message: String,
}

impl ErrorView {
    /// An expression came to nothing that could stand where it stands.
    pub fn of_expression(detail: &str) -> Self {
        ErrorView {
            class: crate::domain::job::FailureClass::Other,
            code: Some("unresolved".to_owned()),
            message: detail.to_owned(),
        }
    }
}

impl From<&Failure> for ErrorView {
    fn from(failure: &Failure) -> Self {
        ErrorView {
            class: failure.class,
            code: failure.code.clone(),
            message: failure.message.clone(),
        }
    }
}

/// A file that a step produced.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactView {
    mime: String,
    name: String,
    /// Content address; the content is at `/api/v1/artifacts/{sha256}`.
    #[schema(value_type = String)]
    sha256: Digest,
    size: u64,
    /// The step that produced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    step: Option<StepName>,
}

impl ArtifactView {
    /// An artifact of a step.
    pub fn new(artifact: &Artifact, step: Option<&StepName>) -> Self {
        ArtifactView {
            mime: artifact.mime.clone(),
            name: artifact.name.as_str().to_owned(),
            sha256: artifact.sha256,
            size: artifact.size,
            step: step.cloned(),
        }
    }
}

/// Why a job does not run yet, with numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "for", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Waiting {
    /// Somebody who schedules it.
    Hold,
    /// Somebody who resumes its run.
    Paused,
    /// Jobs that share its concurrency key.
    Concurrency { key: String, limit: u32, running: u32 },
    /// Jobs that must end first.
    Needs {
        /// Of them are still open.
        open: u32,
        /// All of them.
        total: u32,
    },
    /// The delay after a failure.
    Retry {
        #[schema(value_type = String)]
        eligible_at: Timestamp,
        failures: u32,
        max: u32,
    },
    /// The time it was given.
    NotBefore {
        #[schema(value_type = String)]
        eligible_at: Timestamp,
    },
    /// A worker.
    Ready { priority: u8, queue: String },
    /// A place in its run.
    RunFull { limit: u32, running: u32 },
}

/// Why a job does not run yet. `run` is its run, where it has one; `needs` how many needs are open, and of how many.
pub fn waiting(job: &Job, run: Option<&Run>, needs: Option<(u32, u32)>) -> Option<Waiting> {
    match job.status {
        JobStatus::Pending if job.held => Some(Waiting::Hold),
        JobStatus::Pending => match (needs, job.spec.not_before) {
            (Some((open, total)), _) if open > 0 => Some(Waiting::Needs { open, total }),
            (_, Some(eligible_at)) => Some(Waiting::NotBefore { eligible_at }),
            (Some((open, total)), None) => Some(Waiting::Needs { open, total }),
            (None, None) => Some(Waiting::Needs { open: 0, total: 0 }),
        },
        JobStatus::Failed => job.next_attempt_at.map(|eligible_at| Waiting::Retry {
            eligible_at,
            failures: job.failures,
            max: job.spec.retries.max,
        }),
        JobStatus::Scheduled if run.is_some_and(|run| run.paused.is_some()) => Some(Waiting::Paused),
        JobStatus::Scheduled => {
            let full = run.and_then(|run| {
                let limit = run.max_parallel?;
                let running = run.counts.running;
                (running >= limit).then_some(Waiting::RunFull { limit, running })
            });
            Some(full.unwrap_or_else(|| Waiting::Ready {
                priority: job.spec.priority,
                queue: job.spec.queue.clone(),
            }))
        }
        JobStatus::Running | JobStatus::Completed | JobStatus::Cancelled => None,
    }
}

/// Why a job does not run yet, looking up what that needs.
pub fn waiting_in(reading: &Reading, job: &Job) -> Result<Option<Waiting>, ApiError> {
    let view = reading.view();
    let is_open = matches!(job.status, JobStatus::Pending | JobStatus::Scheduled);
    let run = job.run.filter(|_| is_open).map(|run| view.run(run));
    let run = run.transpose()?.flatten();
    let is_paused = run.as_ref().is_some_and(|run| run.paused.is_some());
    if job.status == JobStatus::Scheduled
        && !is_paused
        && let Some(bound) = &job.spec.concurrency
    {
        let in_use = view.key_use(&bound.key)?.unwrap_or_default();
        if !in_use.admits(bound.limit) {
            return Ok(Some(Waiting::Concurrency {
                key: bound.key.clone(),
                limit: in_use
                    .running
                    .first()
                    .map_or(bound.limit, |first| first.0.min(bound.limit)),
                running: in_use.total(),
            }));
        }
    }
    let (Some(id), Some(node), true) = (job.run, job.node, is_open) else {
        return Ok(waiting(job, None, None));
    };
    let open = view.node(id, node)?.map_or(0, |node| node.open_needs);
    let graph: Option<Arc<Row>> = view.graph(id)?;
    let total = graph
        .as_ref()
        .and_then(|row| row.as_graph()?.nodes.get(node as usize))
        .map_or(0, |node| node.needs.len() as u32);
    Ok(waiting(job, run.as_ref(), Some((open, total))))
}

impl JobView {
    /// A job without its payload.
    pub fn new(job: Job, waiting: Option<Waiting>) -> Self {
        let artifacts = job
            .artifacts
            .iter()
            .map(|artifact| ArtifactView::new(artifact, job.name.as_ref()))
            .collect();
        let spec = Arc::unwrap_or_clone(job.spec);
        JobView {
            artifacts,
            as_of: None,
            attempt: job.attempt,
            cancel_requested: job.cancel_requested,
            concurrency: spec.concurrency,
            correlation_id: job.correlation_id,
            created_at: job.created_at,
            ended_at: job.ended_at,
            epoch: job.epoch,
            error: job.failure.as_ref().map(ErrorView::from),
            exit_code: job.exit_code,
            failures: job.failures,
            held: job.held,
            id: job.id,
            labels: spec.labels,
            next_attempt_at: job.next_attempt_at,
            not_before: spec.not_before,
            output: job.output,
            payload: None,
            priority: spec.priority,
            progress: None,
            project: spec.project,
            queue: spec.queue,
            reason: job.reason,
            replay_of: job.replay_of,
            requires: spec.requires,
            retries: spec.retries,
            run_id: job.run,
            seq: job.seq,
            started_at: job.started_at,
            status: job.status,
            step: job.name,
            timeout_ms: spec.timeout_ms,
            job_type: spec.job_type,
            waiting,
            worker: job.lease.map(|lease| lease.worker),
        }
    }

    /// Adds how far it is.
    pub fn with_progress(mut self, progress: Option<Progress>) -> Self {
        if self.status == JobStatus::Running {
            self.progress = progress.map(ProgressView::from);
        }
        self
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Adds the payload and the point at which this is true.
    pub fn whole(mut self, payload: Option<&PayloadRow>, as_of: i64) -> Result<Self, ApiError> {
        self.payload = payload.map(raw_payload).transpose()?;
        self.as_of = Some(as_of);
        Ok(self)
    }
}

/// A payload as JSON, whichever way it is kept.
pub fn raw_payload(row: &PayloadRow) -> Result<Box<RawValue>, ApiError> {
    let broken = |_| ApiError::internal("a stored payload is not JSON");
    match (&row.payload, &row.payload_text) {
        (Some(text), _) => Ok(text.to_raw()),
        (None, Some(text)) => RawValue::from_string(text.clone()).map_err(broken),
        (None, None) => to_raw_value(&()).map_err(broken),
    }
}
