//! Submitting jobs: one, or many at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::binding::Binding;
use super::error::{ApiError, Problem, created};
use super::idempotency::{Keyed, mark};
use super::job_shapes::{ConcurrencyShape, RetryShape};
use super::job_view::JobView;
use super::jobs::alone;
use super::reading::Texts;
use super::request::{Json, check_label, parse_whole};
use crate::domain::canonical::{Intake, Payload, Value};
use crate::domain::command::{Command, Reply, SubmitJob};
use crate::domain::concurrency::Concurrency;
use crate::domain::decide::{STEP_JOB_TYPE, STEP_QUEUE};
use crate::domain::idempotency::Idempotency;
use crate::domain::job::{Job, JobSpec, RetryPolicy};
use crate::domain::redaction::{Pointer, PointerError, Sensitive};
use crate::domain::{TenantName, Timestamp};
use crate::engine::Receipt;
use crate::limits;

/// A job to make. More fields come with later versions; an unknown one is an error.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"type": "scan.image", "payload": {"image": "a"}, "priority": 5}))]
pub struct NewJob {
    /// Bounds the jobs that share a key and run at once.
    #[schema(value_type = Option<ConcurrencyShape>, example = json!({"key": "host-7", "limit": 1}))]
    concurrency: Option<Concurrency>,
    /// Ties what belongs together.
    correlation_id: Option<String>,
    /// True: it stays `pending` until somebody schedules it.
    #[serde(default)]
    hold: bool,
    /// The key under which this is not done twice; the header `Idempotency-Key` says the same.
    idempotency_key: Option<String>,
    /// Only filters lists.
    #[serde(default)]
    labels: Texts,
    /// Not eligible before this time.
    #[schema(value_type = Option<String>)]
    not_before: Option<Timestamp>,
    /// Any JSON; kept exactly.
    #[schema(value_type = serde_json::Value, required = false)]
    payload: Option<Box<RawValue>>,
    /// 0 to 9, higher first.
    #[serde(default = "priority_default")]
    priority: u8,
    /// A label inside the tenant.
    project: Option<String>,
    /// Which queue it waits in.
    #[serde(default = "queue_default")]
    queue: String,
    /// What a worker's labels must include to get it.
    #[serde(default)]
    requires: Texts,
    /// JSON pointers into the payload: these fields are in no event, only digests of them. Workers get the payload whole.
    #[serde(default)]
    #[schema(max_items = 256, example = json!(["/token"]))]
    sensitive: Vec<String>,
    /// When it is tried again.
    #[serde(default)]
    #[schema(value_type = RetryShape)]
    retries: RetryPolicy,
    /// Longest time of one attempt.
    #[serde(default = "timeout_default")]
    timeout_ms: u64,
    /// What kind of work it is.
    #[serde(rename = "type")]
    job_type: String,
}

const fn priority_default() -> u8 {
    limits::PRIORITY_DEFAULT
}
fn queue_default() -> String {
    JobSpec::QUEUE_DEFAULT.to_owned()
}
const fn timeout_default() -> u64 {
    limits::TIMEOUT_MS_DEFAULT
}

impl NewJob {
    /// The key in the body.
    pub fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Checks what the domain cannot: the payload's JSON.
    fn into_submit(self, whole: Intake, idempotency: Option<Idempotency>) -> Result<SubmitJob, ApiError> {
        check_reserved(&self.job_type, &self.queue)?;
        let payload = payload_in(whole, self.payload.as_deref())?;
        let sensitive = sensitive_of(&self.sensitive)?;
        if let Some(correlation_id) = &self.correlation_id {
            check_label("/correlationId", correlation_id)?;
        }
        Ok(SubmitJob {
            spec: Arc::new(JobSpec {
                always: false,
                concurrency: self.concurrency,
                hold: self.hold,
                labels: self.labels,
                not_before: self.not_before,
                priority: self.priority,
                project: self.project,
                queue: self.queue,
                requires: self.requires,
                retries: self.retries,
                timeout_ms: self.timeout_ms,
                job_type: self.job_type,
            }),
            payload,
            correlation_id: self.correlation_id,
            idempotency,
            replay_of: None,
            sensitive,
        })
    }
}

/// Steps of packs are made from registered versions alone: nobody writes one by hand.
pub fn check_reserved(job_type: &str, queue: &str) -> Result<(), ApiError> {
    let (pointer, name) = if job_type == STEP_JOB_TYPE {
        ("/type", job_type)
    } else if queue == STEP_QUEUE {
        ("/queue", queue)
    } else {
        return Ok(());
    };
    let detail = format!("{name} belongs to the steps of packs, which are run by POST /pack-runs");
    Err(ApiError::field("reserved", pointer, detail))
}

/// The fields that a job names as sensitive.
pub fn sensitive_of(texts: &[String]) -> Result<Sensitive, ApiError> {
    let mut pointers = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let pointer: Pointer = text.parse().map_err(|error: PointerError| {
            ApiError::field(
                "sensitive_field",
                format!("/sensitive/{index}"),
                error.to_string(),
            )
        })?;
        pointers.insert(pointer);
    }
    Ok(Sensitive::Fields(pointers))
}

/// A payload as it was given; none is `null`.
pub fn payload_of(raw: Option<&RawValue>) -> Result<Payload, ApiError> {
    let text = raw.map_or("null", RawValue::get);
    Payload::parse(text.as_bytes()).map_err(|error| ApiError::from(error).below("/payload"))
}

/// The payload of a body that was read already; where not all of the body fits the profile, by its own text.
fn payload_in(whole: Intake, raw: Option<&RawValue>) -> Result<Payload, ApiError> {
    if let Intake::Value(Value::Object(members)) = &whole {
        return Ok(Payload::of(members.get("payload").unwrap_or(&Value::Null)));
    }
    payload_of(raw)
}

impl Api {
    /// The job that an answer tells of, and whether an earlier request made it.
    async fn job_told(
        self: &Arc<Api>,
        tenant: &TenantName,
        receipt: Receipt,
    ) -> Result<(Job, bool), ApiError> {
        match receipt.reply {
            Reply::Job(job) => Ok((*job, false)),
            Reply::Before(seq) => Ok((self.job_before(tenant, seq).await?, true)),
            _ => Err(ApiError::internal("the writer answered something else")),
        }
    }
}

/// Submits a job.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = NewJob,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request again is answered as before")),
    responses((status = 201, body = JobView)))]
pub async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    new: Keyed<NewJob>,
) -> Result<Response, ApiError> {
    let key = new.key(&api, (&caller, ROUTE), new.body.key()).await?;
    let command = Command::SubmitJob(Box::new(new.body.into_submit(new.whole, key)?));
    api.make_job(&caller, command).await
}

/// What keys of single jobs are bound to; items of a batch are the same requests.
const ROUTE: &str = "jobs";

impl Api {
    /// Makes a job; the answer is that of an earlier request where its key says so.
    pub(super) async fn make_job(
        self: &Arc<Api>,
        caller: &Caller,
        command: Command,
    ) -> Result<Response, ApiError> {
        let tenant = caller.tenant()?;
        let receipt = self.engine().submit(tenant, &caller.actor(), command).await?;
        let (job, is_old) = self.job_told(tenant, receipt).await?;
        let view = alone(job);
        let response = created(format!("/api/v1/jobs/{}", view.id()), &view);
        Ok(if is_old { mark(response) } else { response })
    }
}

/// Jobs to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJobs {
    /// At most 1,000.
    #[schema(value_type = Vec<NewJob>)]
    items: Vec<Box<RawValue>>,
}

/// What became of each, in order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Submitted {
    results: Vec<SubmittedItem>,
}

/// What became of one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubmittedItem {
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
    /// The answer is that of an earlier request with the same key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    idempotency_replayed: bool,
    /// Its place in the request.
    index: usize,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobView>,
    /// The status it would have alone.
    #[schema(example = 201)]
    status: u16,
}

impl SubmittedItem {
    fn new(index: usize, result: Result<(Job, bool), ApiError>) -> Self {
        match result {
            Ok((job, idempotency_replayed)) => SubmittedItem {
                error: None,
                idempotency_replayed,
                index,
                job: Some(alone(job)),
                status: 201,
            },
            Err(error) => SubmittedItem {
                status: error.status().as_u16(),
                error: Some(error.problem("")),
                idempotency_replayed: false,
                index,
                job: None,
            },
        }
    }
}

/// One item of a batch, with its own key.
fn item_command(binding: &Binding, item: &RawValue) -> Result<Command, ApiError> {
    let (new, whole) = parse_whole::<NewJob>(item.get().as_bytes())?;
    let key = new.key().map(|key| binding.bind(ROUTE, key, &whole));
    Ok(Command::SubmitJob(Box::new(new.into_submit(whole, key)?)))
}

/// Submits many jobs. One that is refused does not spoil the others.
#[utoipa::path(post, path = "/api/v1/jobs/batch", tag = "jobs", request_body = NewJobs,
    responses((status = 200, body = Submitted)))]
pub async fn submit_batch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewJobs>,
) -> Result<Answer<Submitted>, ApiError> {
    if new.items.len() > limits::BATCH_ITEMS_MAX {
        let detail = format!("at most {} items", limits::BATCH_ITEMS_MAX);
        return Err(ApiError::field("too_large", "/items", detail));
    }
    let binding = Binding::find(&api, &caller, None).await?;
    let mut commands = Vec::with_capacity(new.items.len());
    let mut places = Vec::with_capacity(new.items.len());
    let mut results: Vec<Option<Result<(Job, bool), ApiError>>> = Vec::with_capacity(new.items.len());
    for (index, item) in new.items.iter().enumerate() {
        match item_command(&binding, item) {
            Ok(command) => {
                commands.push(command);
                places.push(index);
                results.push(None);
            }
            Err(error) => results.push(Some(Err(error.below(&format!("/items/{index}"))))),
        }
    }
    if !commands.is_empty() {
        let answer = api
            .engine()
            .trip(caller.tenant()?, &caller.actor(), commands, None)
            .await?;
        for (index, result) in places.into_iter().zip(answer.results) {
            let below = |error: ApiError| error.below(&format!("/items/{index}"));
            results[index] = Some(match result {
                Ok(receipt) => api.job_told(caller.tenant()?, receipt).await,
                Err(rejection) => Err(below(rejection.into())),
            });
        }
    }
    let results = results.into_iter().enumerate().map(|(index, result)| {
        let result = result.unwrap_or_else(|| Err(ApiError::internal("the item has no result")));
        SubmittedItem::new(index, result)
    });
    Ok(Answer(Submitted {
        results: results.collect(),
    }))
}
