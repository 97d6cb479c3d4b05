//! Artifacts of attempts at work: streamed to disk, checked against their digest, then recorded.
//!
//! Promises: memory is bounded by one piece; a success is certain to survive power loss.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::StreamExt;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::job_view::ArtifactView;
use super::request::{BodyPatience, Id, Ids, Query, header_text};
use super::worker_calls::{Holder, stale};
use super::worker_logs::{lease_parameters, required, wrong_offset};
use crate::domain::command::{Command, Reply};
use crate::domain::job::Artifact;
use crate::domain::{ArtifactName, Digest, JobId};
use crate::limits;
use crate::output::{OutputError, Receiving, UploadAsk, UploadRefused, mime};

/// Stores an artifact of an attempt, whole or a range of it. The same content again is accepted without change.
#[utoipa::path(put, path = "/api/v1/workers/jobs/{id}/artifacts/{name}", tag = "workers",
    params(("id" = String, Path), ("name" = String, Path), ("worker" = String, Query), ("epoch" = u64, Query),
        ("sha256" = String, Query, description = "Digest of the whole content"),
        ("content-range" = Option<String>, Header, description = "`bytes 0-1048575/4194304`: a range of it")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "At most 4 GiB"),
    responses((status = 201, description = "Recorded", body = ArtifactView),
        (status = 200, description = "It was there already", body = ArtifactView),
        (status = 202, description = "The range is kept; more is expected"),
        (status = 409, description = "`wrong_offset` with `expectedOffset`, `upload_in_use`, `name_taken`, or `stale_epoch`"),
        (status = 422, description = "`digest_mismatch`")))]
pub async fn receive(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Result<Ids<JobId, String>, ApiError>,
    mut query: Query,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let Ids(job, name) = ids.map_err(|_| ApiError::not_found("job"))?;
    let name: ArtifactName = name.parse().map_err(|error: crate::domain::NameError| {
        ApiError::field("invalid_field", "/path/name", error.to_string())
    })?;
    let (epoch, worker) = lease_parameters(&mut query)?;
    let sha256 = required(query.text("sha256")?, "sha256")?;
    let sha256: Digest = sha256
        .strip_prefix("sha256:")
        .unwrap_or(&sha256)
        .parse()
        .map_err(|_| super::request::bad_parameter("sha256", "64 hex digits"))?;
    query.finish()?;
    let holder = Holder::new(&caller, Ok(Id(job)), epoch, worker)?;
    let lease = match api.engine().take_output(holder.named()) {
        Ok(lease) => lease,
        Err(lost) => return Err(holder.refusal(&api, lost).await),
    };
    let range = Span::of(&headers, limits::ARTIFACT_BYTES_MAX)?;
    let asked = UploadAsk {
        name: name.clone(),
        sha256,
        total: range.total,
        from: range.from,
    };
    let key = holder.attempt(&lease).key;
    let place = key.clone();
    let receiving = api
        .blocking(move |api| api.inbox.receive(&place, asked).map_err(ApiError::from))
        .await?;
    let patience = request.extensions().get::<BodyPatience>().copied();
    let patience = patience.map_or(Duration::from_millis(limits::BODY_READ_MS_MAX), |patience| {
        patience.0
    });
    let receiving = take_in(
        &api,
        &holder,
        receiving,
        request.into_body(),
        (range.end, patience),
    )
    .await?;
    if receiving.bytes() < range.total {
        let expected = serde_json::json!({"expectedOffset": receiving.bytes()});
        return Ok((StatusCode::ACCEPTED, axum::Json(expected)).into_response());
    }
    let blob = api.blocking(move |_| Ok(receiving.finish()?)).await;
    api.inbox.received(&key, &name);
    let blob = blob?.ok_or_else(|| {
        ApiError::invalid(
            "digest_mismatch",
            "the bytes received have another digest than was said",
        )
    })?;
    let artifact = Artifact {
        mime: mime(name.as_str()).to_owned(),
        name,
        sha256: blob.sha256,
        size: blob.bytes,
    };
    record(&api, &holder, artifact).await
}

async fn record(api: &Api, holder: &Holder, artifact: Artifact) -> Result<Response, ApiError> {
    let view = ArtifactView::new(&artifact, None);
    let command = Command::AddArtifact {
        job: holder.job,
        epoch: holder.epoch,
        artifact: Box::new(artifact),
    };
    let receipt = api
        .engine()
        .submit(&holder.tenant, &holder.actor(), command)
        .await?;
    let status = match receipt.reply {
        Reply::Job(_) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, axum::Json(view)).into_response())
}

/// Takes the body in, a piece at a time, up to where the range ends. What came before it broke off stays.
async fn take_in(
    api: &Arc<Api>,
    holder: &Holder,
    receiving: Receiving,
    body: Body,
    (end, patience): (u64, Duration),
) -> Result<Receiving, ApiError> {
    let mut receiving = receiving;
    let mut pieces = body.into_data_stream();
    let mut gathered = BytesMut::new();
    let mut left = end.saturating_sub(receiving.bytes());
    let mut broken = None;
    while broken.is_none() {
        match tokio::time::timeout(patience, pieces.next()).await {
            Err(_) => broken = Some(ApiError::body_timeout()),
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                let detail = format!("the body could not be read: {error}");
                broken = Some(ApiError::malformed("body_broken", detail));
            }
            Ok(Some(Ok(piece))) if piece.len() as u64 > left => {
                broken = Some(ApiError::malformed(
                    "range_mismatch",
                    "the body is longer than was said",
                ));
            }
            Ok(Some(Ok(piece))) => {
                left -= piece.len() as u64;
                gathered.extend_from_slice(&piece);
            }
        }
        if gathered.len() >= limits::ARTIFACT_CHUNK_BYTES {
            receiving = write(api, holder, receiving, std::mem::take(&mut gathered)).await?;
        }
    }
    let receiving = write(api, holder, receiving, gathered).await?;
    match broken {
        Some(error) => Err(error),
        None if left > 0 => Err(ApiError::malformed(
            "range_mismatch",
            "the body is shorter than was said",
        )),
        None => Ok(receiving),
    }
}

async fn write(
    api: &Arc<Api>,
    holder: &Holder,
    receiving: Receiving,
    bytes: BytesMut,
) -> Result<Receiving, ApiError> {
    // A worker that has lost its lease does not fill the disk.
    if api.engine().take_output(holder.named()).is_err() {
        return Err(stale());
    }
    if bytes.is_empty() {
        return Ok(receiving);
    }
    api.blocking(move |_| {
        receiving.write(&bytes)?;
        Ok(receiving)
    })
    .await
}

/// Which part of the content a request brings.
#[derive(Debug, PartialEq, Eq)]
pub struct Span {
    /// None: all of it.
    pub from: Option<u64>,
    /// Behind its last byte.
    pub end: u64,
    /// Bytes of the whole content.
    pub total: u64,
}

impl Span {
    /// Which part a request brings, of a content of at most `bytes_max` bytes.
    pub fn of(headers: &HeaderMap, bytes_max: u64) -> Result<Self, ApiError> {
        let span = match header_text(headers, "content-range") {
            Some(text) => read_span(text).ok_or_else(|| {
                let detail = "it is `bytes first-last/total`, within the total";
                ApiError::field("invalid_field", "/header/content-range", detail)
            })?,
            None => {
                let length = header_text(headers, "content-length").and_then(|text| text.parse().ok());
                let total = length.ok_or_else(|| {
                    ApiError::malformed(
                        "length_required",
                        "the length or a range of the content is needed",
                    )
                })?;
                Span {
                    from: None,
                    end: total,
                    total,
                }
            }
        };
        if span.total > bytes_max {
            let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            return Err(ApiError::body_too_large(most));
        }
        Ok(span)
    }
}

fn read_span(text: &str) -> Option<Span> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last, total) = (number(first)?, number(last)?, number(total)?);
    (first <= last && last < total).then(|| Span {
        from: Some(first),
        end: last + 1,
        total,
    })
}

impl From<UploadRefused> for ApiError {
    fn from(refused: UploadRefused) -> Self {
        match refused {
            UploadRefused::Busy => ApiError::conflict("upload_in_use", refused.to_string()),
            UploadRefused::WrongOffset { expected } => wrong_offset(expected),
            UploadRefused::TooMany | UploadRefused::TooManyOfTenant => {
                ApiError::too_many(refused.to_string())
            }
            UploadRefused::Output(OutputError::TooLarge { bytes_max }) => {
                ApiError::body_too_large(usize::try_from(bytes_max).unwrap_or(usize::MAX))
            }
            UploadRefused::Output(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_within_its_total() {
        let span = |from, end, total| {
            Some(Span {
                from: Some(from),
                end,
                total,
            })
        };
        for (text, expected) in [
            ("bytes 0-9/10", span(0, 10, 10)),
            ("bytes 5-7/10", span(5, 8, 10)),
            ("bytes 5-10/10", None),
            ("bytes 7-5/10", None),
            ("bytes */10", None),
            ("bytes 0-9/*", None),
            ("bytes +0-9/10", None),
            ("lines 0-9/10", None),
            ("bytes 0-9", None),
        ] {
            assert_eq!(read_span(text), expected, "{text}");
        }
    }
}
