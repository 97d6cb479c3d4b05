//! Runs as graphs: how the jobs depend on each other, and how they stood over time.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::reading::Reading;
use super::request::Id;
use super::run_shape::{Row, critical_path, rows};
use crate::domain::job::JobStatus;
use crate::domain::state::Row as StateRow;
use crate::domain::{JobId, RunId, StepName, Timestamp};

/// One job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// On the path that took longest.
    critical: bool,
    #[schema(value_type = String)]
    job_id: JobId,
    #[schema(value_type = String)]
    name: StepName,
    #[schema(value_type = String)]
    status: JobStatus,
}

/// The jobs of a run and what each needs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Graph {
    as_of: i64,
    /// The path that took longest, first to last.
    #[schema(value_type = Vec<String>)]
    critical_path: Vec<StepName>,
    /// Pairs: what must end, what waits for it.
    #[schema(value_type = Vec<Vec<String>>)]
    edges: Vec<[StepName; 2]>,
    nodes: Vec<Node>,
}

/// The jobs of a run over time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    as_of: i64,
    rows: Vec<Row>,
}

/// The graph row of a run; a run that is not there is not found.
pub fn graph_of(reading: &Reading, run: RunId) -> Result<Arc<StateRow>, ApiError> {
    let row = reading.view().graph(run)?;
    row.filter(|row| row.as_graph().is_some())
        .ok_or_else(|| ApiError::not_found("run"))
}

/// The graph of a run, with states and the critical path.
#[utoipa::path(get, path = "/api/v1/runs/{id}/graph", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = Graph)))]
pub async fn graph(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
) -> Result<Answer<Graph>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let (engine, now) = (api.engine().clone(), Timestamp::from_ms(api.now_ms()));
    let graph = api.read(caller.tenant()?, move |reading| {
        let row = graph_of(reading, id)?;
        let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
        let running: Vec<u64> = rows(reading, &engine, id, graph)?
            .iter()
            .map(|row| row.running_ms(now))
            .collect();
        let path = critical_path(graph, &running);
        let view = reading.view();
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        let mut edges = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let job = view.job(node.job)?;
            nodes.push(Node {
                critical: path.contains(&(index as u32)),
                job_id: node.job,
                name: node.name.clone(),
                status: job.map_or(JobStatus::Pending, |job| job.status),
            });
            for need in &node.needs {
                edges.push([graph.nodes[*need as usize].name.clone(), node.name.clone()]);
            }
        }
        Ok(Graph {
            as_of: reading.as_of,
            critical_path: path
                .iter()
                .map(|index| graph.nodes[*index as usize].name.clone())
                .collect(),
            edges,
            nodes,
        })
    });
    Ok(Answer(graph.await?))
}

/// A row per job, split into waiting, queued and running.
#[utoipa::path(get, path = "/api/v1/runs/{id}/timeline", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = Timeline)))]
pub async fn timeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
) -> Result<Answer<Timeline>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let engine = api.engine().clone();
    let timeline = api.read(caller.tenant()?, move |reading| {
        let row = graph_of(reading, id)?;
        let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
        Ok(Timeline {
            as_of: reading.as_of,
            rows: rows(reading, &engine, id, graph)?,
        })
    });
    Ok(Answer(timeline.await?))
}
