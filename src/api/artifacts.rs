//! Content by digest, with ranges. Given only to a tenant whose ledger names the digest.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::ranges::{Content, not_modified};
use super::request::Id;
use crate::domain::Digest;
use crate::limits;
use crate::output::BlobReader;

/// The content of an artifact.
#[utoipa::path(get, path = "/api/v1/artifacts/{sha256}", tag = "pack runs",
    params(("sha256" = String, Path), ("If-Match" = Option<String>, Header, description = "Only the bytes of this ETag")),
    responses((status = 200, description = "All of it", body = Vec<u8>, content_type = "*/*"),
        (status = 206, description = "The range asked for"), (status = 304, description = "Not modified"),
        (status = 412, description = "`precondition_failed`")))]
pub async fn content(
    State(api): State<Arc<Api>>,
    caller: Caller,
    sha256: Result<Id<String>, ApiError>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("artifact");
    let Id(text) = sha256.map_err(|_| missing())?;
    let bare = text.strip_prefix("sha256:").unwrap_or(&text);
    let digest: Digest = bare.parse().map_err(|_| missing())?;
    let row = api.read(caller.tenant()?, move |reading| {
        Ok(reading.view().artifact(digest)?)
    });
    let row = row.await?.ok_or_else(missing)?;
    let tag = format!("\"{digest}\"");
    if let Some(unchanged) = not_modified(&headers, &tag)? {
        return Ok(unchanged);
    }
    let reader = api
        .blocking(move |api| Ok(api.output().blobs().reader(&digest)?))
        .await?;
    let content = Content {
        tag,
        size: reader.blob().bytes,
        mime: row.mime,
        disposition: "attachment".to_owned(),
        cache: "private, max-age=31536000, immutable",
    };
    Ok(content.answer(&headers, |first, end| body(reader, first, end)))
}

/// The bytes `[first, end)`, read a piece at a time.
fn body(reader: BlobReader, first: u64, end: u64) -> Body {
    let pieces = stream::unfold((reader, first), move |(reader, at)| async move {
        if at >= end {
            return None;
        }
        let want = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(limits::ARTIFACT_CHUNK_BYTES);
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; want];
            let count = reader.read_at(&mut buffer, at)?;
            buffer.truncate(count);
            Ok::<_, crate::output::OutputError>((reader, buffer))
        });
        let failed = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
        match read.await {
            Ok(Ok((reader, buffer))) if buffer.is_empty() => {
                // Shorter than it was: the length already sent tells the reader that something is missing.
                Some((Err(failed(&"the content ends too early")), (reader, end)))
            }
            Ok(Ok((reader, buffer))) => {
                let next = at + buffer.len() as u64;
                Some((Ok(Bytes::from(buffer)), (reader, next)))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "an artifact cannot be read");
                None
            }
            Err(_) => None,
        }
    });
    Body::from_stream(pieces)
}
