//! Jobs: submit one or many, read, list, cancel; their history and events.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, Problem, accepted, created};
use super::events::{EventPage, events_about};
use super::job_view::{JobView, waiting_in};
use super::reading::{Asked, List, Texts, list_rows};
use super::request::{Id, Json, OptionalJson, Query, check_label, header_text, parse_json};
use crate::domain::canonical::Payload;
use crate::domain::command::{Command, Reply, SubmitJob};
use crate::domain::job::{Job, JobSpec, JobStatus, RetryPolicy};
use crate::domain::state::Kind;
use crate::domain::{JobId, Timestamp};
use crate::engine::{Receipt, matches};
use crate::limits;
use crate::store::{Direction, Page};
use crate::stream::Watched;

/// A job to make. More fields come with later versions; an unknown one is an error.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"type": "scan.image", "payload": {"image": "a"}, "priority": 5}))]
pub struct NewJob {
    /// Ties what belongs together.
    correlation_id: Option<String>,
    /// Only filters lists.
    #[serde(default)]
    labels: Texts,
    /// Not eligible before this time.
    #[schema(value_type = Option<String>)]
    not_before: Option<Timestamp>,
    /// Any JSON; kept exactly.
    #[schema(value_type = Object)]
    payload: Option<Box<RawValue>>,
    /// 0 to 9, higher first.
    #[serde(default = "priority_default")]
    priority: u8,
    /// A label inside the tenant.
    project: Option<String>,
    /// Which queue it waits in.
    #[serde(default = "queue_default")]
    queue: String,
    /// When it is tried again.
    #[serde(default)]
    #[schema(value_type = Object)]
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
    "default".to_owned()
}
const fn timeout_default() -> u64 {
    limits::TIMEOUT_MS_DEFAULT
}

impl NewJob {
    fn into_command(self) -> Result<Command, ApiError> {
        let text = self.payload.as_ref().map_or("null", |raw| raw.get());
        let payload =
            Payload::parse(text.as_bytes()).map_err(|error| ApiError::from(error).below("/payload"))?;
        if let Some(correlation_id) = &self.correlation_id {
            check_label("/correlationId", correlation_id)?;
        }
        Ok(Command::SubmitJob(Box::new(SubmitJob {
            spec: JobSpec {
                always: false,
                labels: self.labels,
                not_before: self.not_before,
                priority: self.priority,
                project: self.project,
                queue: self.queue,
                retries: self.retries,
                timeout_ms: self.timeout_ms,
                job_type: self.job_type,
            },
            payload,
            correlation_id: self.correlation_id,
        })))
    }
}

fn job_of(receipt: Receipt) -> Result<Job, ApiError> {
    match receipt.reply {
        Reply::Job(job) => Ok(*job),
        _ => Err(ApiError::internal("the writer answered something else")),
    }
}

/// A job as it stands after it was made or changed alone: outside any run.
fn alone(job: Job) -> JobView {
    let waiting = super::job_view::waiting(&job, None, None);
    JobView::new(job, waiting)
}

/// Submits a job.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = NewJob,
    responses((status = 201, body = JobView)))]
pub async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewJob>,
) -> Result<Response, ApiError> {
    let command = new.into_command()?;
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    let view = alone(job_of(receipt)?);
    Ok(created(format!("/api/v1/jobs/{}", view.id()), &view))
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
pub struct SubmittedItem {
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
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
    fn new(index: usize, result: Result<Job, ApiError>) -> Self {
        match result {
            Ok(job) => SubmittedItem {
                error: None,
                index,
                job: Some(alone(job)),
                status: 201,
            },
            Err(error) => SubmittedItem {
                status: error.status().as_u16(),
                error: Some(error.problem("")),
                index,
                job: None,
            },
        }
    }
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
    let mut commands = Vec::with_capacity(new.items.len());
    let mut places = Vec::with_capacity(new.items.len());
    let mut results: Vec<Option<Result<Job, ApiError>>> = Vec::with_capacity(new.items.len());
    for (index, item) in new.items.iter().enumerate() {
        let parsed = parse_json::<NewJob>(item.get().as_bytes()).and_then(NewJob::into_command);
        match parsed {
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
            results[index] = Some(
                result
                    .map_err(|rejection| below(rejection.into()))
                    .and_then(job_of),
            );
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

/// Jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs",
    params(("status" = Option<String>, Query), ("type" = Option<String>, Query, description = "Glob"),
        ("queue" = Option<String>, Query), ("project" = Option<String>, Query),
        ("correlationId" = Option<String>, Query), ("run" = Option<String>, Query),
        ("label" = Option<String>, Query, description = "name=value; repeatable"),
        ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<JobView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<JobView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    let wanted = Wanted::take(&mut query)?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::Job, &asked, |row| match row.as_job() {
            Some(job) if wanted.admits(job) => Ok(Some(JobView::new(job.clone(), waiting_in(reading, job)?))),
            _ => Ok(None),
        })
    });
    Ok(Answer(list.await?))
}

/// Which jobs a list wants.
#[derive(Debug)]
struct Wanted {
    status: Option<JobStatus>,
    job_type: Option<String>,
    queue: Option<String>,
    project: Option<String>,
    correlation_id: Option<String>,
    run: Option<crate::domain::RunId>,
    labels: Vec<(String, String)>,
}

impl Wanted {
    fn take(query: &mut Query) -> Result<Self, ApiError> {
        let labels = query.all("label")?;
        Ok(Wanted {
            status: query
                .text("status")?
                .map(|text| {
                    status_named(&text)
                        .ok_or_else(|| super::request::bad_parameter("status", "no such state"))
                })
                .transpose()?,
            job_type: query.text("type")?,
            queue: query.text("queue")?,
            project: query.text("project")?,
            correlation_id: query.text("correlationId")?,
            run: query.parsed("run")?,
            labels: labels
                .iter()
                .map(|label| label.split_once('=').unwrap_or((label, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    fn admits(&self, job: &Job) -> bool {
        self.status.is_none_or(|status| status == job.status)
            && self
                .job_type
                .as_ref()
                .is_none_or(|glob| matches(glob, &job.spec.job_type))
            && self.queue.as_ref().is_none_or(|queue| *queue == job.spec.queue)
            && (self.project.is_none() || self.project == job.spec.project)
            && (self.correlation_id.is_none() || self.correlation_id == job.correlation_id)
            && (self.run.is_none() || self.run == job.run)
            && self
                .labels
                .iter()
                .all(|(name, value)| job.spec.labels.get(name) == Some(value))
    }
}

fn status_named(text: &str) -> Option<JobStatus> {
    JobStatus::ALL.into_iter().find(|status| status.as_str() == text)
}

/// How many jobs stand where.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    as_of: i64,
    /// Jobs by state; one that stands at the bound may be more.
    counts: std::collections::BTreeMap<&'static str, usize>,
    /// Up to how many of each state are counted.
    counted_max: usize,
}

/// Counts of jobs by state.
#[utoipa::path(get, path = "/api/v1/jobs/summary", tag = "jobs", responses((status = 200, body = Summary)))]
pub async fn summary(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Query,
) -> Result<Answer<Summary>, ApiError> {
    query.finish()?;
    let counts = api.read(caller.tenant()?, |reading| {
        let page = Page {
            after: None,
            direction: Direction::Forward,
            limit: limits::SUMMARY_JOBS_MAX,
        };
        let mut counts = std::collections::BTreeMap::new();
        for status in JobStatus::ALL {
            let found = reading
                .snapshot()
                .jobs_by_status(reading.tenant(), status, page)?;
            counts.insert(status.as_str(), found.len());
        }
        Ok(Summary {
            as_of: reading.as_of,
            counts,
            counted_max: limits::SUMMARY_JOBS_MAX,
        })
    });
    Ok(Answer(counts.await?))
}

/// One job, with its payload.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
) -> Result<Answer<JobView>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("job"))?;
    let progress = api.engine().progress(caller.tenant()?, id);
    let view = api.read(caller.tenant()?, move |reading| {
        let view = reading.view();
        let job = view.job(id)?.ok_or_else(|| ApiError::not_found("job"))?;
        let payload = view.payload(id)?;
        let waiting = waiting_in(reading, &job)?;
        JobView::new(job, waiting).whole(payload.as_ref(), reading.as_of)
    });
    Ok(Answer(view.await?.with_progress(progress)))
}

/// A reason, given with a request that changes something.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Recorded with it.
    pub reason: Option<String>,
}

/// The reason of a request, by body or header.
pub fn reason_of(body: Option<String>, headers: &HeaderMap) -> String {
    let header = || header_text(headers, "x-fastness-reason").map(str::to_owned);
    body.or_else(header).unwrap_or_else(|| "requested".to_owned())
}

/// Cancels a job: at once where it has not started, by request to its worker where it runs.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = JobView),
        (status = 202, description = "It runs, and was asked to stop", body = JobView)))]
pub async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson<Reason>,
) -> Result<Response, ApiError> {
    let Id(job) = id.map_err(|_| ApiError::not_found("job"))?;
    let reason = reason_of(body.reason, &headers);
    let command = Command::CancelJob { job, reason };
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    let job = job_of(receipt)?;
    let runs = job.status == JobStatus::Running;
    let view = alone(job);
    Ok(if runs {
        accepted(&view)
    } else {
        Answer(view).into_response()
    })
}

/// The events that name a job, oldest first.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path),
        ("after" = Option<i64>, Query), ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = EventPage)))]
pub async fn list_events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    query: Query,
) -> Result<Answer<EventPage>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("job"))?;
    let page = events_about(&api, caller.tenant()?, Watched::Job(id), query).await?;
    Ok(Answer(page))
}
