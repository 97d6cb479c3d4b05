//! Pack runs: start, list, read with every step, cancel, replay; their artifacts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::change::Change;
use super::error::{ApiError, accepted, created};
use super::idempotency::{Keyed, mark};
use super::job_view::ArtifactView;
use super::jobs::Reason;
use super::reading::{Asked, List, Reading, list_rows};
use super::request::{Id, Query, check_label};
use super::run_replay::{Closure, Replay, replay_at};
use super::run_view::{RunDetail, RunView};
use super::runs::{detail_of, graph_of, run_status};
use crate::domain::canonical::Value;
use crate::domain::command::{Command, Reply, StartRun};
use crate::domain::run::Run;
use crate::domain::standing::Standing;
use crate::domain::state::Kind;
use crate::domain::{PackName, RunId, TenantName};
use crate::engine::Receipt;

/// A run to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"pack": "host-inventory", "inputs": {"root": "/usr/bin"}}))]
pub struct NewRun {
    /// Ties what belongs together.
    correlation_id: Option<String>,
    /// The key under which this is not done twice; the header `Idempotency-Key` says the same.
    idempotency_key: Option<String>,
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

impl Api {
    /// The run that an answer tells of, and whether an earlier request made it.
    pub(super) async fn run_told(
        self: &Arc<Api>,
        tenant: &TenantName,
        receipt: Receipt,
    ) -> Result<(Run, bool), ApiError> {
        match receipt.reply {
            Reply::Run(run) => Ok((*run, false)),
            Reply::Before(seq) => Ok((self.run_before(tenant, seq).await?, true)),
            _ => Err(ApiError::internal("the writer answered something else")),
        }
    }

    /// Makes a run; `place` is where such runs are found.
    pub(super) async fn make_run(
        self: &Arc<Api>,
        caller: &Caller,
        place: &str,
        command: Command,
    ) -> Result<Response, ApiError> {
        let tenant = caller.tenant()?;
        let receipt = self.engine().submit(tenant, &caller.actor(), command).await?;
        let (run, is_old) = self.run_told(tenant, receipt).await?;
        let view = RunView::new(&run);
        let response = created(format!("/api/v1/{place}/{}", view.id), &view);
        Ok(if is_old { mark(response) } else { response })
    }

    /// Cancels a run.
    pub(super) async fn cancel_run(self: &Arc<Api>, change: Change<RunId>) -> Result<Response, ApiError> {
        let (tenant, actor) = (change.caller.tenant()?, change.caller.actor());
        let (run, reason) = (change.id, change.reason);
        let command = Command::CancelRun { run, reason };
        let receipt = self.engine().submit(tenant, &actor, command).await?;
        let (run, _) = self.run_told(tenant, receipt).await?;
        let view = RunView::new(&run);
        Ok(if view.status.is_terminal() {
            Answer(view).into_response()
        } else {
            accepted(&view)
        })
    }
}

/// Starts a run of a pack.
#[utoipa::path(post, path = "/api/v1/pack-runs", tag = "pack runs", request_body = NewRun,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request again is answered as before")),
    responses((status = 201, body = RunView)))]
pub async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    new: Keyed<NewRun>,
) -> Result<Response, ApiError> {
    let idempotency = new
        .key(&api, (&caller, "pack-runs"), new.body.idempotency_key.as_deref())
        .await?;
    let new = new.body;
    if let Some(correlation_id) = &new.correlation_id {
        check_label("/correlationId", correlation_id)?;
    }
    let command = Command::StartRun(Box::new(StartRun {
        correlation_id: new.correlation_id,
        idempotency,
        inputs: new.inputs,
        pack: new.pack,
        version: new.version,
    }));
    api.make_run(&caller, "pack-runs", command).await
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
    let status = run_status(&mut query)?;
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
            Ok(wanted.then(|| RunView::new(run)))
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
        detail_of(reading, &run)
    });
    Ok(Answer(detail.await?))
}

/// Cancels a run: what has not started ends at once, what runs is asked to stop, `always` steps still run.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/cancel", tag = "pack runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView),
        (status = 202, description = "Some steps run, and were asked to stop", body = RunView)))]
pub async fn cancel(State(api): State<Arc<Api>>, change: Change<RunId>) -> Result<Response, ApiError> {
    api.cancel_run(change).await
}

/// Does a pack run, or a part of it, again as a new run; `dryRun` only tells what that would be.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/replay", tag = "pack runs",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Replay,
    responses((status = 200, description = "What would be done again", body = Closure),
        (status = 201, body = RunView)))]
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
    asked: Keyed<Replay>,
) -> Result<Response, ApiError> {
    replay_at(&api, &caller, "pack-runs", id, asked).await
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
        for (index, node) in (0..).zip(&graph.nodes) {
            for job in Standing::of(&*view, &*view, id, (index, node))?.jobs {
                let name = job.name.as_ref().unwrap_or(&node.name);
                let found = job.artifacts.iter();
                items.extend(found.map(|artifact| ArtifactView::new(artifact, Some(name))));
            }
        }
        Ok(Artifacts {
            as_of: reading.as_of,
            items,
        })
    });
    Ok(Answer(read.await?))
}
