//! Runs as graphs: start, list, read now or as it was, cancel, replay; how the jobs depend on each other, and how they
//! stood over time.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::change::Change;
use super::error::ApiError;
use super::idempotency::{Keyed, decode, take};
use super::job_shapes::{ConcurrencyShape, RetryShape};
use super::jobs::Reason;
use super::reading::{Asked, List, Reading, Texts, list_rows};
use super::request::{Id, Ids, Query, bad_parameter, check_label};
use super::run_replay::{Closure, Replay, replay_at};
use super::run_shape::{Row, critical_path, rows, running_ms};
use super::run_view::{RunDetail, RunView};
use super::submit::{check_reserved, payload_of, sensitive_of};
use crate::domain::command::{Command, GraphJob, StartGraph};
use crate::domain::concurrency::Concurrency;
use crate::domain::job::{JobSpec, RetryPolicy};
use crate::domain::run::{Run, RunStatus};
use crate::domain::standing::{Standing, StepStatus};
use crate::domain::state::{Kind, Model, Row as StateRow, View};
use crate::domain::{JobId, RunId, Seq, StepName, Timestamp};
use crate::engine::Handle;
use crate::limits;
use crate::store::{Direction, Page};

/// One job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// On the path that took longest.
    critical: bool,
    /// Null while it is not known what does the step, where nothing does, and of a mapped step.
    #[schema(value_type = Option<String>)]
    job_id: Option<JobId>,
    /// The jobs of a mapped step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    jobs: Vec<JobId>,
    #[schema(value_type = String)]
    name: StepName,
    #[schema(value_type = String)]
    status: StepStatus,
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

/// A run as it stands.
pub fn detail_of(reading: &Reading, run: &Run) -> Result<RunDetail, ApiError> {
    let row = graph_of(reading, run.id)?;
    let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
    let view = reading.view();
    RunDetail::new(reading.as_of, run, graph, &*view, &*view)
}

/// One job of a graph to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewNode {
    /// Runs even when what it needs has failed or was cancelled.
    #[serde(default)]
    always: bool,
    #[schema(value_type = Option<ConcurrencyShape>)]
    concurrency: Option<Concurrency>,
    #[serde(default)]
    hold: bool,
    #[serde(default)]
    labels: Texts,
    /// Unique within the run.
    #[schema(value_type = String)]
    name: StepName,
    /// Names of the jobs that must end first.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    needs: Vec<StepName>,
    #[schema(value_type = Option<String>)]
    not_before: Option<Timestamp>,
    /// Any JSON; kept exactly.
    #[schema(value_type = serde_json::Value, required = false)]
    payload: Option<Box<RawValue>>,
    priority: Option<u8>,
    project: Option<String>,
    queue: Option<String>,
    #[serde(default)]
    requires: Texts,
    #[serde(default)]
    #[schema(value_type = RetryShape)]
    retries: RetryPolicy,
    /// JSON pointers into the payload: these fields are in no event, only digests of them.
    #[serde(default)]
    #[schema(max_items = 256)]
    sensitive: Vec<String>,
    timeout_ms: Option<u64>,
    #[serde(rename = "type")]
    job_type: String,
}

impl NewNode {
    fn into_job(self) -> Result<GraphJob, ApiError> {
        let defaults = JobSpec::of_type(&self.job_type);
        check_reserved(&self.job_type, self.queue.as_deref().unwrap_or_default())?;
        Ok(GraphJob {
            payload: payload_of(self.payload.as_deref())?,
            name: self.name,
            needs: self.needs,
            sensitive: sensitive_of(&self.sensitive)?,
            spec: Arc::new(JobSpec {
                always: self.always,
                concurrency: self.concurrency,
                hold: self.hold,
                labels: self.labels,
                not_before: self.not_before,
                priority: self.priority.unwrap_or(defaults.priority),
                project: self.project,
                queue: self.queue.unwrap_or(defaults.queue),
                requires: self.requires,
                retries: self.retries,
                timeout_ms: self.timeout_ms.unwrap_or(defaults.timeout_ms),
                job_type: self.job_type,
            }),
        })
    }
}

/// A graph of jobs to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"jobs": [{"name": "fetch", "type": "feed.fetch"},
    {"name": "scan", "type": "feed.scan", "needs": ["fetch"]}]}))]
pub struct NewGraph {
    /// Ties what belongs together.
    correlation_id: Option<String>,
    /// The key under which this is not done twice; the header `Idempotency-Key` says the same.
    idempotency_key: Option<String>,
    /// 1 to 10,000.
    #[schema(min_items = 1)]
    jobs: Vec<NewNode>,
    /// Most of them at once.
    max_parallel: Option<u32>,
    /// Longest time from creation to end.
    timeout_ms: Option<u64>,
}

/// Starts a run of any graph of jobs.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = NewGraph,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request again is answered as before")),
    responses((status = 201, body = RunView)))]
pub async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    new: Keyed<NewGraph>,
) -> Result<Response, ApiError> {
    let idempotency = new
        .key(&api, (&caller, "runs"), new.body.idempotency_key.as_deref())
        .await?;
    let new = new.body;
    if let Some(correlation_id) = &new.correlation_id {
        check_label("/correlationId", correlation_id)?;
    }
    let mut jobs = Vec::with_capacity(new.jobs.len());
    for (index, job) in new.jobs.into_iter().enumerate() {
        jobs.push(
            job.into_job()
                .map_err(|error| error.below(&format!("/jobs/{index}")))?,
        );
    }
    let command = Command::StartGraph(Box::new(StartGraph {
        correlation_id: new.correlation_id,
        idempotency,
        jobs,
        max_parallel: new.max_parallel,
        timeout_ms: new.timeout_ms,
    }));
    api.make_run(&caller, "runs", command).await
}

/// Runs of packs and of graphs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs",
    params(("status" = Option<String>, Query), ("correlationId" = Option<String>, Query),
        ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<RunView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<RunView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    let status = run_status(&mut query)?;
    let correlation_id = query.text("correlationId")?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::Run, &asked, |row| {
            let Some(run) = row.as_run() else { return Ok(None) };
            let wanted = status.is_none_or(|status| status == run.status)
                && (correlation_id.is_none() || correlation_id == run.correlation_id);
            Ok(wanted.then(|| RunView::new(run)))
        })
    });
    Ok(Answer(list.await?))
}

/// The state that a list of runs asks for.
pub fn run_status(query: &mut Query) -> Result<Option<RunStatus>, ApiError> {
    let status = query.text("status")?;
    let named = |text: String| {
        let found = RunStatus::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| bad_parameter("status", "no such state"))
    };
    status.map(named).transpose()
}

/// One run, with every job.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = RunDetail)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
) -> Result<Answer<RunDetail>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let detail = api.read(caller.tenant()?, move |reading| {
        let run = reading.view().run(id)?;
        detail_of(reading, &run.ok_or_else(|| ApiError::not_found("run"))?)
    });
    Ok(Answer(detail.await?))
}

/// Cancels a run: what has not started ends at once, what runs is asked to stop, `always` jobs still run.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView),
        (status = 202, description = "Some jobs run, and were asked to stop", body = RunView)))]
pub async fn cancel(State(api): State<Arc<Api>>, change: Change<RunId>) -> Result<Response, ApiError> {
    api.cancel_run(change).await
}

/// Does a run, or a part of it, again as a new run; `dryRun` only tells what that would be.
#[utoipa::path(post, path = "/api/v1/runs/{id}/replay", tag = "runs",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Replay,
    responses((status = 200, description = "What would be done again", body = Closure),
        (status = 201, body = RunView)))]
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
    asked: Keyed<Replay>,
) -> Result<Response, ApiError> {
    replay_at(&api, &caller, "runs", id, asked).await
}

/// A run as it was when the ledger ended with event `seq`, from the ledger itself.
#[utoipa::path(get, path = "/api/v1/runs/{id}/at/{seq}", tag = "runs",
    params(("id" = String, Path), ("seq" = u64, Path)), responses((status = 200, body = RunDetail)))]
pub async fn at(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Result<Ids<RunId, u64>, ApiError>,
) -> Result<Answer<RunDetail>, ApiError> {
    let Ids(id, seq) = ids.map_err(|_| ApiError::not_found("run"))?;
    let engine = api.engine().clone();
    let detail = api.read(caller.tenant()?, move |reading| {
        if i64::try_from(seq).map_or(true, |seq| seq > reading.as_of) {
            let detail = format!("the ledger ends with event {}", reading.as_of);
            return Err(ApiError::invalid("beyond_end", detail));
        }
        let model = fold_run(reading, &engine, id, Seq(seq))?;
        let view: &dyn View = &model;
        let run = view.run(id)?.ok_or_else(|| ApiError::not_found("run"))?;
        let row = view.graph(id)?.ok_or_else(|| ApiError::not_found("run"))?;
        let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
        let as_of = i64::try_from(seq).unwrap_or(i64::MAX);
        RunDetail::new(as_of, &run, graph, view, &*reading.view())
    });
    Ok(Answer(detail.await?))
}

/// The events of a run up to and including `last`, folded.
fn fold_run(reading: &Reading, engine: &Handle, run: RunId, last: Seq) -> Result<Model, ApiError> {
    let ledger = engine.ledger(reading.tenant())?;
    let packs = reading.view();
    let mut model = Model::default();
    let mut after: Option<[u8; 8]> = None;
    loop {
        let page = Page {
            after: after.as_ref().map(|tail| tail.as_slice()),
            direction: Direction::Forward,
            limit: limits::STREAM_SCAN_EVENTS_MAX as usize,
        };
        let found = reading.snapshot().events_of_run(reading.tenant(), run, page)?;
        for seq in found.iter().take_while(|seq| **seq <= last) {
            take(&mut model, &*packs, &decode(&ledger.event(*seq)?)?)?;
        }
        match found.last() {
            Some(end) if *end <= last && found.len() == page.limit => after = Some(end.0.to_be_bytes()),
            Some(_) | None => return Ok(model),
        }
    }
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
        let running = running_ms(&rows(reading, &engine, id, graph)?, graph, now);
        let path = critical_path(graph, &running);
        let view = reading.view();
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        let mut edges = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let standing = Standing::of(&*view, &*view, id, (index as u32, node))?;
            nodes.push(Node {
                critical: path.contains(&(index as u32)),
                job_id: standing.job().map(|job| job.id),
                name: node.name.clone(),
                status: standing.status,
                jobs: standing.node.jobs,
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
