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
use super::worker_calls::Holder;
use super::worker_shapes::{ClaimBody, CompleteBody, LeaseView, check_worker};
use crate::domain::command::{Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::rejection::Rejection;
use crate::domain::{JobId, Timestamp};
use crate::engine::{Claimed as Taken, Receipt};
use crate::limits;

/// Leases granted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Claimed {
    /// The worker is to take no more work.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    drain: bool,
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
    body: Result<Json<ClaimBody>, ApiError>,
) -> Result<Answer<Claimed>, ApiError> {
    let named = body.as_ref().map_or(&[][..], |Json(body)| &body.tenants);
    let tenants = caller.tenants(named)?;
    let Json(body) = body?;
    let claim = body.into_claim(&caller, None, "")?;
    let home = tenants
        .first()
        .ok_or_else(|| ApiError::internal("a claim has a tenant"))?;
    let actor = Actor::worker(&claim.worker);
    let mut stopping = api.stopping.subscribe();
    let answer = tokio::select! {
        // What was granted goes out, even while the server ends.
        biased;
        answer = api.engine().trip(home, &actor, Vec::new(), Some(claim)) => answer?,
        // Nothing was granted yet: dropping the request takes the wish back.
        _ = stopping.wait_for(|stopping| *stopping) => return Err(ApiError::stopping()),
    };
    if let Taken::Refused(rejection) = answer.claimed {
        return Err(rejection.into());
    }
    Ok(Answer(Claimed {
        drain: answer.claimed == Taken::Drain,
        jobs: leases(&api, answer.jobs)?,
    }))
}

/// What became of each report, and leases granted after them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Completed {
    /// Why the claim was refused, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_code: Option<&'static str>,
    /// The worker is to take no more work.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    drain: bool,
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
    /// Where the job stood then, where the report was applied, now or when it came first.
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
            Ok(Reply::Reported(status)) => ReportResult {
                accepted: true,
                code: None,
                detail: None,
                job_id,
                status: Some(status.as_str()),
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
        .map(|claim| claim.into_claim(&caller, Some(&body.worker), "/claim"))
        .transpose()?;
    let tenant = caller.tenant()?;
    let mut reports = Vec::with_capacity(body.results.len());
    let mut items = Vec::with_capacity(body.results.len());
    for result in body.results {
        let job_id = result.job_id.clone();
        let refused = match result.into_report() {
            Ok(report) => {
                let holder = Holder {
                    tenant: tenant.clone(),
                    job: report.job,
                    epoch: report.epoch,
                    worker: body.worker.clone(),
                };
                reports.push((holder, report));
                None
            }
            Err(error) => Some(error),
        };
        items.push((job_id, refused));
    }
    let (closed, keys) = api.close_reported(reports).await?;
    let mut closed = closed.into_iter();
    let mut commands = Vec::with_capacity(items.len());
    for (_, refused) in items.iter_mut().filter(|(_, refused)| refused.is_none()) {
        match closed.next() {
            Some(Ok(command)) => commands.push(command),
            Some(Err(error)) => *refused = Some(error),
            None => *refused = Some(ApiError::internal("the report was not taken")),
        }
    }
    let (decided, answer) = if commands.is_empty() && claim.is_none() {
        (Vec::new(), None)
    } else {
        let actor = Actor::worker(&body.worker);
        let answer = api.engine().trip(tenant, &actor, commands, claim).await?;
        (answer.results, Some((answer.jobs, answer.claimed)))
    };
    keys.iter().for_each(|key| api.inbox.forget(key));
    let (jobs, claimed) = answer.unwrap_or_default();
    Ok(Answer(Completed {
        claim_code: match &claimed {
            Taken::Refused(rejection) => Some(rejection.code.as_str()),
            Taken::Served | Taken::Drain => None,
        },
        drain: claimed == Taken::Drain,
        results: results(items, decided),
        jobs: leases(&api, jobs)?,
    }))
}

/// One result per item: refused before, or as it was decided.
fn results(
    items: Vec<(String, Option<ApiError>)>,
    decided: Vec<Result<Receipt, Rejection>>,
) -> Vec<ReportResult> {
    let mut decided = decided.into_iter();
    let results = items.into_iter().map(|(job_id, refused)| {
        let result = match refused {
            Some(error) => Err(error),
            None => match decided.next() {
                Some(result) => result.map_err(ApiError::from),
                None => Err(ApiError::internal("the report has no result")),
            },
        };
        ReportResult::new(job_id, result)
    });
    results.collect()
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
    let holder = Holder::new(&caller, id, body.epoch, body.worker)?;
    let renewed = api
        .engine()
        .renew(&holder.tenant, holder.job, holder.epoch, &holder.worker);
    match renewed {
        Ok(renewed) => Ok(Answer(Renewal {
            cancel_requested: renewed.cancel_requested,
            drain: renewed.drain || *api.stopping.borrow(),
            lease_until: Timestamp::from_ms(api.now_ms()).plus_ms(renewed.lease_ms),
        })),
        Err(lost) => Err(holder.refusal(&api, lost).await),
    }
}
