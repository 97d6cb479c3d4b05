//! What persons say at the gates of a run.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Ids, OptionalJson};
use super::run_view::RunView;
use crate::domain::command::{Command, DecideGate, Reply, Verdict};
use crate::domain::{Digest, RunId, StepName};

/// What a person says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Said {
    /// What was looked at, as the run shows it: refused with `gate_changed` when the gate asks about something else.
    #[schema(value_type = Option<String>)]
    binding: Option<Digest>,
    /// Why; at most 2,048 bytes.
    #[serde(default)]
    #[schema(required = true, min_length = 1)]
    reason: String,
}

/// Approves at a gate. The person who started the run does not count, nor does one who approved before.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/gates/{step}/approve", tag = "pack runs",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Said,
    responses((status = 200, body = RunView)))]
pub async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    place: Result<Ids<RunId, StepName>, ApiError>,
    OptionalJson(said): OptionalJson<Said>,
) -> Result<Answer<RunView>, ApiError> {
    decide(&api, &caller, place, said, Verdict::Approve).await
}

/// Rejects at a gate: it fails, and what needs it is cancelled.
#[utoipa::path(post, path = "/api/v1/pack-runs/{id}/gates/{step}/reject", tag = "pack runs",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Said,
    responses((status = 200, body = RunView)))]
pub async fn reject(
    State(api): State<Arc<Api>>,
    caller: Caller,
    place: Result<Ids<RunId, StepName>, ApiError>,
    OptionalJson(said): OptionalJson<Said>,
) -> Result<Answer<RunView>, ApiError> {
    decide(&api, &caller, place, said, Verdict::Reject).await
}

async fn decide(
    api: &Api,
    caller: &Caller,
    place: Result<Ids<RunId, StepName>, ApiError>,
    said: Said,
    verdict: Verdict,
) -> Result<Answer<RunView>, ApiError> {
    let Ids(run, step) = place.map_err(|_| ApiError::not_found("gate"))?;
    if said.reason.trim().is_empty() {
        return Err(ApiError::field(
            "reason_required",
            "/reason",
            "a reason is needed",
        ));
    }
    let command = Command::DecideGate(Box::new(DecideGate {
        binding: said.binding,
        reason: said.reason,
        run,
        step,
        verdict,
    }));
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    match receipt.reply {
        Reply::Run(run) => Ok(Answer(RunView::new(&run))),
        _ => Err(ApiError::internal("the writer answered something else")),
    }
}
