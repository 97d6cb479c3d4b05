//! The file of a bundle, in parts where it is asked for in parts. Each look at it is noted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::Api;
use super::attempts::audited;
use super::auth::Caller;
use super::bundles::find;
use super::error::ApiError;
use super::ranges::{Content, not_modified};
use super::redaction::may_show;
use super::request::Id;
use crate::bundle::export;
use crate::domain::command::{BundleCommand, Command};
use crate::domain::payload::bundles::BundleDownloaded;
use crate::domain::{Digest, TenantName};
use crate::limits;

/// The file of a bundle; with `Range` a part of it, and with `If-Range` only of the same bytes. One that shows redacted fields
/// needs the scope `orch:admin` as well.
#[utoipa::path(get, path = "/api/v1/bundles/{id}/content", tag = "bundles",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only the bytes of this ETag")),
    responses((status = 200, body = Vec<u8>, content_type = "application/zstd"),
        (status = 206, description = "The range asked for"), (status = 304, description = "Not modified"),
        (status = 412, description = "`precondition_failed`"),
        (status = 416, description = "`range_not_satisfiable`")))]
pub async fn content(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<Digest>, ApiError>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let target = id.as_ref().ok().map(|Id(id)| id.to_string());
    let opened = open(&api, &caller, id, (&method, &headers)).await;
    audited(&api, &caller, "download", target, opened).await
}

async fn open(
    api: &Arc<Api>,
    caller: &Caller,
    id: Result<Id<Digest>, ApiError>,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response, ApiError> {
    let found = find(api, caller, id).await?;
    if found.shows_values() {
        may_show(caller)?;
    }
    let path = export::bundle_path(api.engine().dir(), found.id);
    let file = api.blocking(move |_| match File::open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ApiError::storage(&error)),
    });
    let file = file.await?.ok_or_else(|| ApiError::not_found("bundle"))?;
    let content = Content {
        tag: format!("\"{}\"", found.file_sha256.unwrap_or(found.id)),
        size: found.bytes,
        mime: "application/zstd".to_owned(),
        disposition: format!("attachment; filename=\"{}\"", found.name),
        cache: "private, no-cache",
    };
    if let Some(unchanged) = not_modified(headers, &content.tag)? {
        return Ok(unchanged);
    }
    if *method == Method::GET
        && let Some(from) = content.begins(headers)
    {
        let download = BundleDownloaded {
            from,
            tar_sha256: found.tar_sha256,
            tenant: found.tenant,
        };
        let command = Command::Bundle(Box::new(BundleCommand::RecordDownload(download)));
        api.engine()
            .submit(&TenantName::system(), &caller.actor(), command)
            .await?;
    }
    Ok(content.answer(headers, |first, end| body(Arc::new(file), first, end)))
}

/// The bytes `[first, end)`, read a piece at a time.
fn body(file: Arc<File>, first: u64, end: u64) -> Body {
    let pieces = stream::unfold(first, move |at| {
        let file = file.clone();
        async move {
            if at >= end {
                return None;
            }
            let want = usize::try_from(end - at).unwrap_or(usize::MAX);
            let mut piece = vec![0; want.min(limits::ARTIFACT_CHUNK_BYTES)];
            let read =
                tokio::task::spawn_blocking(move || file.read_at(&mut piece, at).map(|read| (read, piece)));
            match read.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                // Shorter than it was: the length already sent tells the reader that something is missing.
                Ok((0, _)) => Some((Err(io::Error::other("the bundle ends too early")), end)),
                Ok((read, mut piece)) => {
                    piece.truncate(read);
                    Some((Ok(Bytes::from(piece)), at + read as u64))
                }
                Err(error) => Some((Err(error), end)),
            }
        }
    });
    Body::from_stream(pieces)
}
