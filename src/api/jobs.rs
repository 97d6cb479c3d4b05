//! Jobs: submit one or many, read, list, cancel; their history and events.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::change::Change;
use super::error::{ApiError, accepted};
use super::events::{EventPage, events_about};
use super::idempotency::Keyed;
use super::job_view::{JobView, waiting_in};
use super::reading::{Asked, List, list_rows};
use super::request::{Id, Query, header_text};
use crate::domain::JobId;
use crate::domain::command::{Command, Reply};
use crate::domain::job::{Job, JobStatus};
use crate::domain::state::Kind;
use crate::engine::{Receipt, matches};
use crate::limits;
use crate::store::{Direction, Page};
use crate::stream::Watched;

fn job_of(receipt: Receipt) -> Result<Job, ApiError> {
    match receipt.reply {
        Reply::Job(job) => Ok(*job),
        _ => Err(ApiError::internal("the writer answered something else")),
    }
}

/// A job as it stands after it was made or changed alone: outside any run.
pub fn alone(job: Job) -> JobView {
    let waiting = super::job_view::waiting(&job, None, None);
    JobView::new(job, waiting)
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
pub async fn cancel(State(api): State<Arc<Api>>, change: Change<JobId>) -> Result<Response, ApiError> {
    let cancel = |job, reason| Command::CancelJob { job, reason };
    let job = api.change_job(change, cancel).await?;
    let runs = job.status == JobStatus::Running;
    let view = alone(job);
    Ok(if runs {
        accepted(&view)
    } else {
        Answer(view).into_response()
    })
}

/// Lets a held job go on; it may still wait for a time or for other jobs.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/schedule", tag = "jobs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = JobView)))]
pub async fn schedule(
    State(api): State<Arc<Api>>,
    change: Change<JobId>,
) -> Result<Answer<JobView>, ApiError> {
    let schedule = |job, reason| Command::ScheduleJob { job, reason };
    Ok(Answer(alone(api.change_job(change, schedule).await?)))
}

/// Tries a job again that is out of retries; its failures are counted from 0.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = JobView)))]
pub async fn retry(State(api): State<Arc<Api>>, change: Change<JobId>) -> Result<Answer<JobView>, ApiError> {
    let retry = |job, reason| Command::RetryJob { job, reason };
    Ok(Answer(alone(api.change_job(change, retry).await?)))
}

/// Makes a new job that does the work of one that has ended.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/replay", tag = "jobs",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Reason, responses((status = 201, body = JobView)))]
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    headers: HeaderMap,
    asked: Keyed<Reason>,
) -> Result<Response, ApiError> {
    let Id(job) = id.map_err(|_| ApiError::not_found("job"))?;
    let idempotency = asked
        .key(&api, (&caller, &format!("jobs/{job}/replay")), None)
        .await?;
    let command = Command::ReplayJob {
        job,
        reason: reason_of(asked.body.reason, &headers),
        idempotency,
    };
    api.make_job(&caller, command).await
}

impl Api {
    /// The job as it stands after a change.
    async fn change_job(
        self: &Arc<Api>,
        change: Change<JobId>,
        command: impl FnOnce(JobId, String) -> Command,
    ) -> Result<Job, ApiError> {
        let (tenant, actor) = (change.caller.tenant()?, change.caller.actor());
        let command = command(change.id, change.reason);
        job_of(self.engine().submit(tenant, &actor, command).await?)
    }
}

/// The events that name a job, oldest first.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path),
        ("after" = Option<String>, Query, pattern = "^(-1|[0-9]+)([.](-1|[0-9]+))?$",
            description = "Exclusive: the number of an event, -1 for before the first, or the id of a message of a stream"), ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
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
