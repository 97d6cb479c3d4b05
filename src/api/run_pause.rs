//! Pausing and resuming runs.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;

use super::Api;
use super::auth::Caller;
use super::change::Change;
use super::error::ApiError;
use super::jobs::Reason;
use super::run_view::RunView;
use crate::domain::RunId;
use crate::domain::command::Command;

/// Pauses a run: nothing more of it starts; what runs goes on, and so does its time.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/pause", tag = "pack runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView)))]
pub async fn pause_pack_run(
    state: State<Arc<Api>>,
    change: Change<RunId>,
) -> Result<Answer<RunView>, ApiError> {
    pause(state, change).await
}

/// Lets a paused run go on.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/resume", tag = "pack runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView)))]
pub async fn resume_pack_run(
    state: State<Arc<Api>>,
    change: Change<RunId>,
) -> Result<Answer<RunView>, ApiError> {
    resume(state, change).await
}

/// Pauses a run: nothing more of it starts; what runs goes on, and so does its time.
#[utoipa::path(post, path = "/api/v1/runs/{id}/pause", tag = "runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView)))]
pub async fn pause(State(api): State<Arc<Api>>, change: Change<RunId>) -> Result<Answer<RunView>, ApiError> {
    let Change { caller, id, reason } = change;
    act(&api, &caller, Command::PauseRun { run: id, reason }).await
}

/// Lets a paused run go on.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = RunView)))]
pub async fn resume(State(api): State<Arc<Api>>, change: Change<RunId>) -> Result<Answer<RunView>, ApiError> {
    let Change { caller, id, reason } = change;
    act(&api, &caller, Command::ResumeRun { run: id, reason }).await
}

async fn act(api: &Arc<Api>, caller: &Caller, command: Command) -> Result<Answer<RunView>, ApiError> {
    let tenant = caller.tenant()?;
    let receipt = api.engine().submit(tenant, &caller.actor(), command).await?;
    let (run, _) = api.run_told(tenant, receipt).await?;
    Ok(Answer(RunView::new(&run)))
}
