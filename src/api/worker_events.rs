//! A worker's own events: what models and tools did, and whatever else it names `x.` and something.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Id, Json, parse_json};
use super::worker_calls::{Holder, Recorded, record};
use crate::domain::canonical::Payload;
use crate::domain::command::Command;
use crate::domain::report::{AiArtifactCreated, AiTokensUsed, AiToolCalled, Report, XReported};
use crate::domain::{ArtifactName, Digest, JobId, ReportName};
use crate::limits;

/// An event of the worker's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"worker": "w-1", "epoch": 1, "type": "ai.tokens_used",
    "payload": {"model": "m-2", "inputTokens": 812, "outputTokens": 64}}))]
pub struct ReportBody {
    /// The lease.
    epoch: u64,
    /// By the type; of an own one any JSON of at most 64 KiB.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// `ai.tool_called`, `ai.tokens_used`, `ai.artifact_created`, or `x.` and `[a-z0-9_.]`.
    #[serde(rename = "type")]
    report_type: String,
    /// Who holds the lease.
    worker: String,
}

/// A tool was called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolCalled {
    duration_ms: Option<u64>,
    /// The call did not succeed.
    #[serde(default)]
    failed: bool,
    /// Digest of what it was given.
    #[schema(value_type = Option<String>)]
    input_sha256: Option<Digest>,
    /// The model that called it.
    model: Option<String>,
    /// Digest of what it gave back.
    #[schema(value_type = Option<String>)]
    output_sha256: Option<Digest>,
    tool: String,
}

/// A model was used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokensUsed {
    /// Of the tokens read, so many came out of a cache.
    cached_tokens: Option<u64>,
    /// Tokens read.
    input_tokens: u64,
    model: String,
    /// Tokens written.
    output_tokens: u64,
}

/// A model made an artifact, which was uploaded before.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactMade {
    model: Option<String>,
    /// As it was uploaded.
    #[schema(value_type = String)]
    name: ArtifactName,
    #[schema(value_type = String)]
    sha256: Digest,
    tool: Option<String>,
}

/// Records an event of the worker's own.
#[utoipa::path(post, path = "/api/v1/workers/jobs/{id}/events", tag = "workers", params(("id" = String, Path)),
    request_body = ReportBody, responses((status = 200, body = Recorded),
        (status = 429, description = "`limit_reached`: 1,000 steps and events were reported under this lease")))]
pub async fn report(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    Json(body): Json<ReportBody>,
) -> Result<Answer<Recorded>, ApiError> {
    let holder = Holder::new(&caller, id, body.epoch, body.worker)?;
    let report = report_of(&body.report_type, body.payload.as_deref(), body.epoch)?;
    let command = Command::RecordReport {
        job: holder.job,
        epoch: holder.epoch,
        report: Box::new(report),
    };
    record(&api, &holder, command).await
}

fn report_of(name: &str, payload: Option<&RawValue>, epoch: u64) -> Result<Report, ApiError> {
    let text = payload.map_or("{}", RawValue::get);
    // What it is an attempt of is known where it is decided.
    let attempt = 0;
    Ok(match name {
        "ai.tool_called" => {
            let called: ToolCalled = typed(text)?;
            Report::ToolCalled(AiToolCalled {
                attempt,
                duration_ms: called.duration_ms,
                epoch,
                failed: called.failed,
                input_sha256: called.input_sha256,
                model: called.model,
                output_sha256: called.output_sha256,
                tool: called.tool,
            })
        }
        "ai.tokens_used" => {
            let used: TokensUsed = typed(text)?;
            Report::TokensUsed(AiTokensUsed {
                attempt,
                cached_tokens: used.cached_tokens,
                epoch,
                input_tokens: used.input_tokens,
                model: used.model,
                output_tokens: used.output_tokens,
            })
        }
        "ai.artifact_created" => {
            let made: ArtifactMade = typed(text)?;
            Report::ArtifactCreated(AiArtifactCreated {
                attempt,
                epoch,
                model: made.model,
                name: made.name,
                sha256: made.sha256,
                tool: made.tool,
            })
        }
        own => Report::Own(own_report(own, payload, epoch)?),
    })
}

fn typed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    parse_json(text.as_bytes()).map_err(|error| error.below("/payload"))
}

fn own_report(name: &str, payload: Option<&RawValue>, epoch: u64) -> Result<XReported, ApiError> {
    let name: ReportName = name.parse().map_err(|error: crate::domain::NameError| {
        let detail = format!("{error}; or ai.tool_called, ai.tokens_used, ai.artifact_created");
        ApiError::field("invalid_field", "/type", detail)
    })?;
    let text = payload.map_or("null", RawValue::get);
    if text.len() > limits::REPORT_BYTES_MAX * 2 {
        return Err(ApiError::body_too_large(limits::REPORT_BYTES_MAX));
    }
    let (payload, payload_text) = match Payload::parse(text.as_bytes())? {
        Payload::Json(text) if text.is_null() => (None, None),
        Payload::Json(text) => (Some(text), None),
        Payload::Text(text) => (None, Some(text)),
    };
    Ok(XReported {
        attempt: 0,
        epoch,
        name,
        payload,
        payload_text,
    })
}
