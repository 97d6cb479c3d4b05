//! The worker protocol: claim, renew, report. Every report names the epoch of its lease.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Id, Json};
use super::worker_shapes::{ClaimBody, CompleteBody, LeaseView, check_worker};
use crate::domain::command::{Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::{JobId, Timestamp};
use crate::engine::{Lost, Receipt};
use crate::limits;

/// Leases granted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Claimed {
    /// Empty when there was no work.
    jobs: Vec<LeaseView>,
}

fn leases(api: &Api, jobs: Vec<Leased>) -> Result<Vec<LeaseView>, ApiError> {
    let now = Timestamp::from_ms(api.now_ms());
    jobs.into_iter()
        .map(|leased| LeaseView::new(leased, now))
        .collect()
}

/// Asks for work; may wait until there is some.
#[utoipa::path(post, path = "/api/v1/workers/claim", tag = "workers", request_body = ClaimBody,
    responses((status = 200, body = Claimed)))]
pub async fn claim(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(body): Json<ClaimBody>,
) -> Result<Answer<Claimed>, ApiError> {
    let claim = body.into_claim(None, "")?;
    let actor = Actor::worker(&claim.worker);
    let mut stopping = api.stopping.subscribe();
    let answer = tokio::select! {
        answer = api.engine().trip(caller.tenant()?, &actor, Vec::new(), Some(claim)) => answer?,
        // Nothing was granted yet: dropping the request takes the wish back.
        _ = stopping.wait_for(|stopping| *stopping) => return Err(ApiError::stopping()),
    };
    Ok(Answer(Claimed {
        jobs: leases(&api, answer.jobs)?,
    }))
}

/// What became of each report, and leases granted after them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Completed {
    /// Leases granted.
    jobs: Vec<LeaseView>,
    /// One per report, in order.
    results: Vec<ReportResult>,
}

/// What became of one report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportResult {
    /// Whether it was applied.
    accepted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "stale_epoch")]
    code: Option<String>,
    /// For people: why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    job_id: String,
    /// Where the job stands now, where the report was applied.
    status: Option<&'static str>,
}

impl ReportResult {
    fn new(job_id: String, result: Result<Receipt, ApiError>) -> Self {
        let refused = |code: &str, detail: Option<String>| ReportResult {
            accepted: false,
            code: Some(code.to_owned()),
            detail,
            job_id: job_id.clone(),
            status: None,
        };
        match result.map(|receipt| receipt.reply) {
            Ok(Reply::Job(job)) => ReportResult {
                accepted: true,
                code: None,
                detail: None,
                job_id,
                status: Some(job.status.as_str()),
            },
            Ok(Reply::Late) => refused(
                "stale_epoch",
                Some("the report was late; it was noted".to_owned()),
            ),
            Ok(_) => refused("internal", None),
            Err(error) => refused(error.code(), Some(error.problem("").detail().to_owned())),
        }
    }
}

/// Reports ends of attempts, and may claim the next jobs in the same call. One stale item does not spoil the others.
#[utoipa::path(post, path = "/api/v1/workers/complete", tag = "workers", request_body = CompleteBody,
    responses((status = 200, body = Completed)))]
pub async fn complete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(body): Json<CompleteBody>,
) -> Result<Answer<Completed>, ApiError> {
    check_worker("/worker", &body.worker)?;
    if body.results.len() > limits::BATCH_ITEMS_MAX {
        let detail = format!("at most {} results", limits::BATCH_ITEMS_MAX);
        return Err(ApiError::field("too_large", "/results", detail));
    }
    let claim = body
        .claim
        .map(|claim| claim.into_claim(Some(&body.worker), "/claim"))
        .transpose()?;
    let mut commands = Vec::with_capacity(body.results.len());
    let mut refused = Vec::with_capacity(body.results.len());
    for result in body.results {
        let job_id = result.job_id.clone();
        match result.into_command() {
            Ok(command) => {
                commands.push(command);
                refused.push((job_id, None));
            }
            Err(error) => refused.push((job_id, Some(error))),
        }
    }
    let (results, jobs) = if commands.is_empty() && claim.is_none() {
        (Vec::new(), Vec::new())
    } else {
        let actor = Actor::worker(&body.worker);
        let answer = api
            .engine()
            .trip(caller.tenant()?, &actor, commands, claim)
            .await?;
        (answer.results, answer.jobs)
    };
    let mut decided = results.into_iter();
    let results = refused.into_iter().map(|(job_id, error)| {
        let result = match error {
            Some(error) => Err(error),
            None => match decided.next() {
                Some(result) => result.map_err(ApiError::from),
                None => Err(ApiError::internal("the report has no result")),
            },
        };
        ReportResult::new(job_id, result)
    });
    Ok(Answer(Completed {
        results: results.collect(),
        jobs: leases(&api, jobs)?,
    }))
}

/// A sign of life.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// The lease.
    epoch: u64,
    /// Who holds it.
    worker: String,
}

/// The renewed lease.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// The job was asked to stop.
    cancel_requested: bool,
    /// The worker is to take no more work.
    drain: bool,
    /// When the lease ends unless it is renewed again.
    #[schema(value_type = String)]
    lease_until: Timestamp,
}

/// Renews a lease.
#[utoipa::path(post, path = "/api/v1/workers/jobs/{id}/heartbeat", tag = "workers", params(("id" = String, Path)),
    request_body = Heartbeat, responses((status = 200, body = Renewal)))]
pub async fn heartbeat(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    Json(body): Json<Heartbeat>,
) -> Result<Answer<Renewal>, ApiError> {
    let Id(job) = id.map_err(|_| ApiError::not_found("job"))?;
    let tenant = caller.tenant()?;
    match api.engine().renew(tenant, job, body.epoch, &body.worker) {
        Ok(renewed) => Ok(Answer(Renewal {
            cancel_requested: renewed.cancel_requested,
            drain: *api.stopping.borrow(),
            lease_until: Timestamp::from_ms(api.now_ms()).plus_ms(renewed.lease_ms),
        })),
        Err(Lost::Stale) => Err(stale()),
        Err(Lost::NotRunning) => {
            let known = api.read(tenant, move |reading| Ok(reading.view().job(job)?.is_some()));
            Err(if known.await? {
                stale()
            } else {
                ApiError::not_found("job")
            })
        }
    }
}

fn stale() -> ApiError {
    ApiError::conflict("stale_epoch", "the lease is over; stop the work and forget it")
}
