//! Pack runs: start, list, read with every step, cancel; their artifacts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, accepted, created};
use super::job_view::{ArtifactView, ErrorView, Waiting, waiting};
use super::jobs::{Reason, reason_of};
use super::reading::{Asked, List, Reading, list_rows};
use super::request::{Id, Json, OptionalJson, Query, bad_parameter, check_label};
use super::runs::graph_of;
use crate::domain::canonical::Value;
use crate::domain::command::{Command, Reply};
use crate::domain::job::JobStatus;
use crate::domain::run::{PackReference, Run, RunStatus};
use crate::domain::state::Kind;
use crate::domain::{Digest, JobId, PackName, RunId, StepName, Timestamp};
use crate::engine::Receipt;

/// A run to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"pack": "host-inventory", "inputs": {"root": "/usr/bin"}}))]
pub struct NewRun {
    /// Ties what belongs together.
    correlation_id: Option<String>,
    /// What the pack asks for.
    #[serde(default)]
    #[schema(value_type = Object)]
    inputs: BTreeMap<String, Value>,
    /// The pack.
    #[schema(value_type = String)]
    pack: PackName,
    /// Its version; the latest when none is given.
    version: Option<u32>,
}

/// A pack version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackOfRun {
    #[schema(value_type = String)]
    name: PackName,
    #[schema(value_type = String)]
    plan_hash: Digest,
    version: u32,
}

/// How far a run is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    done: u32,
    total: u32,
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    correlation_id: Option<String>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    ended_at: Option<Timestamp>,
    #[schema(value_type = String)]
    id: RunId,
    #[schema(value_type = Object)]
    inputs: BTreeMap<String, Value>,
    pack: PackOfRun,
    progress: Progress,
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    #[schema(value_type = String, example = "running")]
    status: RunStatus,
}

impl RunView {
    fn new(run: &Run, pack: &PackReference) -> Self {
        RunView {
            correlation_id: run.correlation_id.clone(),
            created_at: run.created_at,
            ended_at: run.ended_at,
            id: run.id,
            inputs: run.inputs.clone(),
            pack: PackOfRun {
                name: pack.name.clone(),
                plan_hash: pack.plan_hash,
                version: pack.version,
            },
            progress: Progress {
                done: run.counts.ended(),
                total: run.counts.total,
            },
            started_at: run.started_at,
            status: run.status,
        }
    }
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    attempt: u32,
    #[schema(value_type = Option<String>)]
    ended_at: Option<Timestamp>,
    error: Option<ErrorView>,
    exit_code: Option<i32>,
    #[schema(value_type = String)]
    id: StepName,
    index: u32,
    #[schema(value_type = String)]
    job_id: JobId,
    /// Steps that must end first.
    #[schema(value_type = Vec<String>)]
    needs: Vec<StepName>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    #[schema(value_type = String)]
    status: JobStatus,
    /// Why it does not run yet; null when it runs or has ended.
    waiting: Option<Waiting>,
}

/// A run with its steps.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDetail {
    /// The last event at which this is true: a stream from here on misses nothing.
    as_of: i64,
    /// Why cancelling was asked for.
    cancel_requested: Option<String>,
    #[serde(flatten)]
    run: RunView,
    steps: Vec<StepView>,
}

fn run_of(receipt: Receipt) -> Result<RunView, ApiError> {
    let odd = || ApiError::internal("the writer answered something else");
    match receipt.reply {
        Reply::Run(run) => Ok(RunView::new(&run, run.pack.as_ref().ok_or_else(odd)?)),
        _ => Err(odd()),
    }
}

/// Starts a run of a pack.
#[utoipa::path(post, path = "/api/v1/pack-runs", tag = "pack runs", request_body = NewRun,
    responses((status = 201, body = RunView)))]
pub async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewRun>,
) -> Result<Response, ApiError> {
    if let Some(correlation_id) = &new.correlation_id {
        check_label("/correlationId", correlation_id)?;
    }
    let command = Command::StartRun {
        pack: new.pack,
        version: new.version,
        inputs: new.inputs,
        correlation_id: new.correlation_id,
    };
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    let view = run_of(receipt)?;
    Ok(created(format!("/api/v1/pack-runs/{}", view.id), &view))
}

/// Pack runs, newest first.
#[utoipa::path(get, path = "/api/v1/pack-runs", tag = "pack runs",
    params(("status" = Option<String>, Query), ("pack" = Option<String>, Query),
        ("correlationId" = Option<String>, Query),
        ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<RunView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<RunView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    let status = query.text("status")?;
    let status = status
        .map(|text| {
            let found = RunStatus::ALL.into_iter().find(|status| status.as_str() == text);
            found.ok_or_else(|| bad_parameter("status", "no such state"))
        })
        .transpose()?;
    let pack: Option<PackName> = query.parsed("pack")?;
    let correlation_id = query.text("correlationId")?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::Run, &asked, |row| {
            let Some(run) = row.as_run() else { return Ok(None) };
            let Some(of) = &run.pack else { return Ok(None) };
            let wanted = status.is_none_or(|status| status == run.status)
                && pack.as_ref().is_none_or(|pack| *pack == of.name)
                && (correlation_id.is_none() || correlation_id == run.correlation_id);
            Ok(wanted.then(|| RunView::new(run, of)))
        })
    });
    Ok(Answer(list.await?))
}

/// The run of a pack; one that is not there is not found.
pub fn pack_run(reading: &Reading, id: RunId) -> Result<Run, ApiError> {
    let run = reading.view().run(id)?;
    run.filter(|run| run.pack.is_some())
        .ok_or_else(|| ApiError::not_found("run"))
}

/// One run, with every step.
#[utoipa::path(get, path = "/api/v1/pack-runs/{id}", tag = "pack runs", params(("id" = String, Path)),
    responses((status = 200, body = RunDetail)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
) -> Result<Answer<RunDetail>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let detail = api.read(caller.tenant()?, move |reading| {
        let run = pack_run(reading, id)?;
        let pack = run.pack.clone().ok_or_else(|| ApiError::not_found("run"))?;
        Ok(RunDetail {
            as_of: reading.as_of,
            cancel_requested: run.cancel_requested.clone(),
            run: RunView::new(&run, &pack),
            steps: steps(reading, &run)?,
        })
    });
    Ok(Answer(detail.await?))
}

fn steps(reading: &Reading, run: &Run) -> Result<Vec<StepView>, ApiError> {
    let row = graph_of(reading, run.id)?;
    let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
    let view = reading.view();
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(job) = view.job(node.job)? else { continue };
        let open = view.node(run.id, index as u32)?.map_or(0, |node| node.open_needs);
        let needs = node.needs.iter();
        steps.push(StepView {
            attempt: job.attempt,
            ended_at: job.ended_at,
            error: job
                .failure
                .as_ref()
                .filter(|_| job.status == JobStatus::Failed)
                .map(ErrorView::from),
            exit_code: job.exit_code,
            id: node.name.clone(),
            index: index as u32,
            job_id: node.job,
            needs: needs
                .map(|need| graph.nodes[*need as usize].name.clone())
                .collect(),
            started_at: job.started_at,
            status: job.status,
            waiting: waiting(&job, Some(run), Some((open, node.needs.len() as u32))),
        });
    }
    Ok(steps)
}

/// Cancels a run: what has not started ends at once, what runs is asked to stop, `always` steps still run.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/cancel", tag = "pack runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView),
        (status = 202, description = "Some steps run, and were asked to stop", body = RunView)))]
pub async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson<Reason>,
) -> Result<Response, ApiError> {
    let Id(run) = id.map_err(|_| ApiError::not_found("run"))?;
    let reason = reason_of(body.reason, &headers);
    let command = Command::CancelRun { run, reason };
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    let view = run_of(receipt)?;
    Ok(if view.status.is_terminal() {
        Answer(view).into_response()
    } else {
        accepted(&view)
    })
}

/// The files that a run's steps left.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifacts {
    as_of: i64,
    items: Vec<ArtifactView>,
}

/// The artifacts of a run, in the order of its steps.
#[utoipa::path(get, path = "/api/v1/pack-runs/{id}/artifacts", tag = "pack runs", params(("id" = String, Path)),
    responses((status = 200, body = Artifacts)))]
pub async fn artifacts(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
) -> Result<Answer<Artifacts>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let read = api.read(caller.tenant()?, move |reading| {
        pack_run(reading, id)?;
        let row = graph_of(reading, id)?;
        let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
        let view = reading.view();
        let mut items = Vec::new();
        for node in &graph.nodes {
            let job = view.job(node.job)?;
            let found = job.iter().flat_map(|job| &job.artifacts);
            items.extend(found.map(|artifact| ArtifactView::new(artifact, Some(&node.name))));
        }
        Ok(Artifacts {
            as_of: reading.as_of,
            items,
        })
    });
    Ok(Answer(read.await?))
}
