//! Content by digest, with ranges. Given only to a tenant whose ledger names the digest.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Id, header_text};
use crate::domain::Digest;
use crate::limits;
use crate::output::BlobReader;

/// The content of an artifact.
#[utoipa::path(get, path = "/api/v1/artifacts/{sha256}", tag = "pack runs", params(("sha256" = String, Path)),
    responses((status = 200, description = "All of it", body = Vec<u8>, content_type = "*/*"),
        (status = 206, description = "The range asked for"), (status = 304, description = "Not modified")))]
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
    if header_text(&headers, "if-none-match").is_some_and(|given| names(given, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let reader = api
        .blocking(move |api| Ok(api.output().blobs().reader(&digest)?))
        .await?;
    let size = reader.blob().bytes;
    let is_same = header_text(&headers, "if-range").is_none_or(|given| given == tag);
    let asked = header_text(&headers, "range").filter(|_| is_same);
    let range = match asked.map(|text| read_range(text, size)) {
        Some(Range::Within(first, last)) => Some((first, last)),
        Some(Range::Outside) => {
            let mut answer = ApiError::range_not_satisfiable(size).into_response();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                answer.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(answer);
        }
        // What cannot be understood is left aside (RFC 9110, 14.2).
        Some(Range::Other) | None => None,
    };
    let (first, end) = range.map_or((0, size), |(first, last)| (first, last + 1));
    let mut answer = Response::new(body(reader, first, end));
    let fields = [
        (header::CONTENT_TYPE, row.mime),
        (header::ETAG, tag),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_LENGTH, (end - first).to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable".to_owned(),
        ),
        (
            header::VARY,
            "Authorization, Cookie, X-Fastness-Tenant".to_owned(),
        ),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    if let Some((first, last)) = range {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}")) {
            answer.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(answer)
}

/// Whether a list of entity tags names this one.
fn names(list: &str, tag: &str) -> bool {
    list.split(',')
        .map(|item| item.trim().trim_start_matches("W/"))
        .any(|item| item == tag || item == "*")
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// First and last byte.
    Within(u64, u64),
    /// Valid, but not within the content.
    Outside,
    /// Several ranges, another unit, or no range at all.
    Other,
}

fn read_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Other;
    };
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u64>())
    };
    match (first, last) {
        ("", suffix) => match number(suffix) {
            Some(Ok(0)) => Range::Outside,
            Some(Ok(_)) if size == 0 => Range::Outside,
            Some(Ok(length)) => Range::Within(size.saturating_sub(length), size - 1),
            _ => Range::Other,
        },
        (first, last) => match (number(first), last.is_empty(), number(last)) {
            (Some(Ok(first)), _, _) if first >= size => Range::Outside,
            (Some(Ok(first)), true, _) => Range::Within(first, size - 1),
            (Some(Ok(first)), false, Some(Ok(last))) if last >= first => {
                Range::Within(first, last.min(size - 1))
            }
            _ => Range::Other,
        },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (text, size, expected) in [
            ("bytes=0-4", 10, Range::Within(0, 4)),
            ("bytes=5-", 10, Range::Within(5, 9)),
            ("bytes=-3", 10, Range::Within(7, 9)),
            ("bytes=-30", 10, Range::Within(0, 9)),
            ("bytes=0-99", 10, Range::Within(0, 9)),
            ("bytes=10-", 10, Range::Outside),
            ("bytes=-0", 10, Range::Outside),
            ("bytes=0-", 0, Range::Outside),
            ("bytes=4-2", 10, Range::Other),
            ("bytes=0-1,3-4", 10, Range::Other),
            ("lines=0-1", 10, Range::Other),
            ("bytes=a-b", 10, Range::Other),
        ] {
            assert_eq!(read_range(text, size), expected, "{text} of {size}");
        }
    }
}
