//! The workers that a tenant knows, and telling one to take no more work.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::jobs::reason_of;
use super::reading::{Asked, List, Texts, list_rows};
use super::request::{Id, Json, Query};
use crate::domain::Timestamp;
use crate::domain::command::{Command, DrainWish, Reply};
use crate::domain::state::Kind;
use crate::domain::worker::Worker;
use crate::engine::WorkerNow;

/// A worker.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerView {
    /// Why it is to take no more work; null while it may.
    drain_reason: Option<String>,
    draining: bool,
    /// When its first claim came.
    #[schema(value_type = String)]
    first_seen_at: Timestamp,
    /// What it offered with its last claim.
    labels: Texts,
    /// How long ago it claimed; null when it has not since the server started.
    last_claim_age_ms: Option<u64>,
    /// When it claimed last; null when it has not since the server started.
    #[schema(value_type = Option<String>)]
    last_seen_at: Option<Timestamp>,
    /// Its leases ended without a sign of life, and it has not claimed since.
    lost: bool,
    name: String,
    queues: Vec<String>,
    running_jobs: usize,
    /// Globs; none means all.
    types: Vec<String>,
}

impl WorkerView {
    fn new(row: &Worker, now: Option<&WorkerNow>, running_jobs: usize, now_ms: i64) -> Self {
        let age = now.and_then(|now| now.claim_age_ms);
        let (labels, queues, types) = match now {
            Some(now) if age.is_some() => {
                let offer = now.offer.clone();
                (offer.labels, offer.queues, offer.types)
            }
            _ => (row.labels.clone(), row.queues.clone(), row.types.clone()),
        };
        WorkerView {
            drain_reason: row.draining.clone(),
            draining: row.draining.is_some(),
            first_seen_at: row.first_seen_at,
            labels,
            last_claim_age_ms: age,
            last_seen_at: age.map(|age| Timestamp::from_ms(now_ms.saturating_sub_unsigned(age))),
            lost: now.map_or(row.lost_at.is_some(), |now| now.is_lost),
            name: row.name.clone(),
            queues,
            running_jobs,
            types,
        }
    }
}

/// Workers, by name backward.
#[utoipa::path(get, path = "/api/v1/workers", tag = "workers",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<WorkerView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<WorkerView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let tenant = caller.tenant()?;
    let (known, running) = (api.engine().workers(tenant), api.engine().running(tenant));
    let now_ms = api.now_ms();
    let list = api.read(tenant, move |reading| {
        list_rows(reading, Kind::Worker, &asked, |row| {
            let Some(row) = row.as_worker() else {
                return Ok(None);
            };
            let runs = running.get(&row.name).copied().unwrap_or(0);
            Ok(Some(WorkerView::new(row, known.get(&row.name), runs, now_ms)))
        })
    });
    Ok(Answer(list.await?))
}

/// Whether a worker is to take no more work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"reason": "the host is taken down"}))]
pub struct DrainBody {
    /// False: it may have work again.
    #[serde(default = "drain_default")]
    drain: bool,
    /// Recorded with it.
    reason: Option<String>,
}

const fn drain_default() -> bool {
    true
}

/// Tells a worker to take no more work: its claims get none, its heartbeats say so. What it runs goes on.
#[utoipa::path(post, path = "/api/v1/workers/{id}/drain", tag = "workers", params(("id" = String, Path,
        description = "The worker's name")), request_body = DrainBody, responses((status = 200, body = WorkerView)))]
pub async fn drain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<String>, ApiError>,
    headers: HeaderMap,
    Json(body): Json<DrainBody>,
) -> Result<Answer<WorkerView>, ApiError> {
    let Id(name) = id.map_err(|_| ApiError::not_found("worker"))?;
    let command = Command::DrainWorker {
        name: name.clone(),
        wish: if body.drain {
            DrainWish::Drain
        } else {
            DrainWish::Undo
        },
        reason: reason_of(body.reason, &headers),
    };
    let tenant = caller.tenant()?;
    let receipt = api.engine().submit(tenant, &caller.actor(), command).await?;
    let Reply::Worker(row) = receipt.reply else {
        return Err(ApiError::internal("draining answers with a worker"));
    };
    let known = api.engine().workers(tenant);
    let runs = api.engine().running(tenant).get(&name).copied().unwrap_or(0);
    Ok(Answer(WorkerView::new(
        &row,
        known.get(&name),
        runs,
        api.now_ms(),
    )))
}
