//! Content that can be fetched in parts and gone on with (RFC 9110, 13 and 14): entity tags, `Range`, `If-Range`.
//!
//! Promises: a range is given only of the very bytes that the caller has the beginning of; what cannot be understood is
//! left aside, and all of it is given.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::negotiate::parts;
use super::preconditions::check_if_match;
use super::request::header_text;

/// What a content is, besides its bytes.
#[derive(Debug)]
pub struct Content {
    /// Strong entity tag, in quotes: other bytes have another one.
    pub tag: String,
    /// Bytes.
    pub size: u64,
    /// Media type.
    pub mime: String,
    /// How it is to be kept.
    pub disposition: String,
    /// Whether and how long others may keep it.
    pub cache: &'static str,
}

/// The answer for a caller who has it already.
///
/// # Errors
/// 412: an `If-Match` that names something else, which is looked at first.
pub fn not_modified(headers: &HeaderMap, tag: &str) -> Result<Option<Response>, ApiError> {
    check_if_match(headers, Some(tag))?;
    let has_it = header_text(headers, "if-none-match").is_some_and(|given| names(given, tag));
    let unchanged = || (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.to_owned())]).into_response();
    Ok(has_it.then(unchanged))
}

impl Content {
    /// The first byte that a request asks for; none where it asks for what is not there.
    pub fn begins(&self, headers: &HeaderMap) -> Option<u64> {
        match self.asked(headers) {
            Some(Range::Within(first, _)) => Some(first),
            Some(Range::Outside) => None,
            Some(Range::Other) | None => Some(0),
        }
    }

    fn asked(&self, headers: &HeaderMap) -> Option<Range> {
        let is_same = header_text(headers, "if-range").is_none_or(|given| given == self.tag);
        let asked = header_text(headers, "range").filter(|_| is_same);
        asked.map(|text| read_range(text, self.size))
    }

    /// All of it or the part asked for; `body` gives the bytes `[first, end)`.
    pub fn answer(self, headers: &HeaderMap, body: impl FnOnce(u64, u64) -> Body) -> Response {
        let size = self.size;
        let range = match self.asked(headers) {
            Some(Range::Within(first, last)) => Some((first, last)),
            Some(Range::Outside) => {
                let mut answer = ApiError::range_not_satisfiable(size).into_response();
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    answer.headers_mut().insert(header::CONTENT_RANGE, value);
                }
                return answer;
            }
            // What cannot be understood is left aside (RFC 9110, 14.2).
            Some(Range::Other) | None => None,
        };
        let (first, end) = range.map_or((0, size), |(first, last)| (first, last + 1));
        let mut answer = Response::new(body(first, end));
        let mut fields = vec![
            (header::CONTENT_TYPE, self.mime),
            (header::ETAG, self.tag),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (header::CONTENT_LENGTH, (end - first).to_string()),
            (header::CONTENT_DISPOSITION, self.disposition),
            (header::CACHE_CONTROL, self.cache.to_owned()),
            (
                header::VARY,
                "Authorization, Cookie, X-Fastness-Tenant".to_owned(),
            ),
        ];
        if let Some((first, last)) = range {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            fields.push((header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")));
        }
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_str(&value) {
                answer.headers_mut().insert(name, value);
            }
        }
        answer
    }
}

/// Whether a list of entity tags names this one.
fn names(list: &str, tag: &str) -> bool {
    parts(list, ',')
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
