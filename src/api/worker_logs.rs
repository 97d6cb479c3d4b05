//! Logs: chunks come up from workers, lines go down to whoever reads a job.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::logs::{LineView, position_of, send_lines};
use super::request::{Id, Query, bad_parameter, read_body};
use super::worker_calls::{Holder, stale};
use crate::domain::{JobId, Timestamp};
use crate::limits;
use crate::output::{Chunk, LineFilter, Received, RunScope, Stream};
use crate::stream::Lines;

/// Where the next chunk of a stream goes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogReceived {
    /// Its offset.
    expected_offset: u64,
    /// The log was cut at its bound: what comes now is dropped.
    truncated: bool,
}

/// Adds raw bytes to the log of an attempt. A chunk that is there already is accepted without change.
#[utoipa::path(post, path = "/api/v1/workers/jobs/{id}/logs", tag = "workers", params(("id" = String, Path),
        ("worker" = String, Query), ("epoch" = u64, Query),
        ("stream" = String, Query, description = "`stdout` or `stderr`"),
        ("offset" = u64, Query, description = "Where these bytes stand in the stream")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "At most 1 MiB"),
    responses((status = 200, body = LogReceived),
        (status = 409, description = "`wrong_offset` with `expectedOffset`, `log_closed`, or `stale_epoch`")))]
pub async fn receive(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    mut query: Query,
    request: Request,
) -> Result<Answer<LogReceived>, ApiError> {
    let (epoch, worker) = lease_parameters(&mut query)?;
    let stream = match required(query.text("stream")?, "stream")?.as_str() {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return Err(bad_parameter("stream", "it is stdout or stderr")),
    };
    let offset = required(query.count("offset")?, "offset")?;
    query.finish()?;
    let holder = Holder::new(&caller, id, epoch, worker)?;
    // Taken before the body, so that a lease that is over costs nothing; asked again under the lock of the log.
    let lease = match api.engine().take_output(holder.named()) {
        Ok(lease) => lease,
        Err(lost) => return Err(holder.refusal(&api, lost).await),
    };
    let bytes = read_body(request, limits::LOG_CHUNK_BYTES_MAX).await?;
    let received = api.blocking(move |api| {
        let chunk = Chunk {
            stream,
            offset,
            bytes: &bytes,
        };
        let stands = || api.engine().take_output(holder.named()).is_ok();
        let at = Timestamp::from_ms(api.now_ms());
        Ok(api.inbox.append(&holder.attempt(&lease), chunk, at, stands)?)
    });
    match received.await? {
        Received::Kept { expected, is_cut } => Ok(Answer(LogReceived {
            expected_offset: expected,
            truncated: is_cut,
        })),
        Received::WrongOffset { expected } => Err(wrong_offset(expected)),
        Received::Closed => Err(ApiError::conflict(
            "log_closed",
            "the end of the attempt was reported",
        )),
        Received::Fenced => Err(stale()),
    }
}

/// What is sent does not begin where it should.
pub fn wrong_offset(expected: u64) -> ApiError {
    ApiError::conflict("wrong_offset", format!("the next bytes begin at {expected}"))
        .with_extra("expectedOffset", expected.into())
}

/// `epoch` and `worker`, where they stand in the query.
pub fn lease_parameters(query: &mut Query) -> Result<(u64, String), ApiError> {
    let epoch = required(query.count("epoch")?, "epoch")?;
    let worker = required(query.text("worker")?, "worker")?;
    Ok((epoch, worker))
}

/// A parameter that must be there.
pub fn required<T>(found: Option<T>, name: &str) -> Result<T, ApiError> {
    found.ok_or_else(|| ApiError::field("missing_parameter", format!("/query/{name}"), "it is needed"))
}

/// The lines of a job, alone or in a run. `Accept: text/plain` gives them bare.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/logs", tag = "jobs", params(("id" = String, Path),
        ("attempt" = Option<u32>, Query),
        ("after" = Option<String>, Query, description = "Position; exclusive"), ("limit" = Option<u64>, Query, minimum = 1)),
    responses((status = 200, content((LineView = "application/x-ndjson"), (String = "text/plain")))))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("job"))?;
    let filter = LineFilter {
        step: None,
        job: Some(id),
        attempt: query.attempt()?,
    };
    let limit = query.number("limit", 1, limits::COUNT_MAX)?;
    let after = query.text("after")?;
    query.finish()?;
    let pos = position_of(after.as_deref())?;
    let tenant = caller.tenant()?.clone();
    let job = api.read(&tenant, move |reading| {
        let job = reading.view().job(id)?;
        job.ok_or_else(|| ApiError::not_found("job"))
    });
    let scope = RunScope::of_job(tenant.clone(), job.await?.run, id);
    let lines = api
        .blocking(move |api| Ok(Lines::open(api.output(), scope, filter, Some(pos))?))
        .await?;
    Ok(send_lines(lines, &headers, limit))
}
