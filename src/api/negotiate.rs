//! Which of the media types that a route can answer with a client wants (RFC 9110, 12.5.1).
//!
//! The most specific range that names a type gives its weight; what parameters other than `q` say is not looked at. The
//! highest weight wins, of equal ones the first that is offered. A range that cannot be read names nothing.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// What every route offers first.
pub const JSON: &str = "application/json";

/// The type to answer with. Without an `Accept` it is the first.
///
/// # Errors
/// None of those offered will do.
pub fn choose(headers: &HeaderMap, offers: &[&'static str]) -> Result<&'static str, ApiError> {
    let fields: Vec<_> = headers.get_all(header::ACCEPT).iter().collect();
    let texts: Vec<&str> = fields.iter().filter_map(|field| field.to_str().ok()).collect();
    let is_silent = fields
        .iter()
        .all(|field| field.as_bytes().trim_ascii().is_empty());
    let weighed = offers.iter().map(|offer| {
        let weight = if is_silent { 1_000 } else { weight(&texts, offer) };
        (*offer, weight)
    });
    let mut best = None;
    for (offer, weight) in weighed {
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((offer, weight));
        }
    }
    best.map(|(offer, _)| offer).ok_or_else(|| {
        let detail = format!("answers are {} here", offers.join(" or "));
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
    })
}

/// Whether a client names a type itself, and wants it.
pub fn names(headers: &HeaderMap, kind: &str) -> bool {
    let fields = headers.get_all(header::ACCEPT).iter();
    let texts = fields.filter_map(|field| field.to_str().ok());
    let mut ranges = texts.flat_map(|text| parts(text, ',')).filter_map(read_range);
    ranges.any(|(name, weight)| weight > 0 && name.eq_ignore_ascii_case(kind))
}

/// The parts of a header field between separators; one within a quoted string separates nothing (RFC 9110, 5.6.4).
pub fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return !is_quoted && character == separator,
        }
        false
    })
}

/// Says to caches that the answer depends on what was accepted, refusals included.
pub fn varied(answer: Result<Response, ApiError>) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Thousandths: how much a client wants a type; 0 is not at all.
fn weight(accept: &[&str], offer: &str) -> u16 {
    let ranges = accept.iter().flat_map(|text| parts(text, ','));
    let found = ranges.filter_map(|range| {
        let (name, weight) = read_range(range)?;
        Some((specificity(name, offer)?, weight))
    });
    // Of equally specific ones the kindest.
    found.max().map_or(0, |(_, weight)| weight)
}

/// How closely a range names a type; none when it does not.
fn specificity(range: &str, offer: &str) -> Option<u8> {
    let (kind, _) = offer.split_once('/')?;
    if range.eq_ignore_ascii_case(offer) {
        return Some(2);
    }
    match range.split_once('/')? {
        ("*", "*") => Some(0),
        (named, "*") if named.eq_ignore_ascii_case(kind) => Some(1),
        _ => None,
    }
}

/// A media range and its weight.
fn read_range(text: &str) -> Option<(&str, u16)> {
    let mut parts = parts(text, ';').map(str::trim);
    let name = parts.next()?;
    let mut weight = 1_000;
    for part in parts.filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        if key.eq_ignore_ascii_case("q") {
            weight = read_weight(value)?;
        } else if !is_token(key) || !(is_token(value) || is_quoted(value)) {
            return None;
        }
    }
    Some((name, weight))
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

/// Whether it is one quoted string, from its first quote to its last.
fn is_quoted(text: &str) -> bool {
    let within = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let mut is_escaped = false;
    let is_whole = within.is_some_and(|within| {
        within.chars().all(|character| {
            let ends = character == '"' && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            !ends
        })
    });
    is_whole && !is_escaped
}

/// `0`, `0.875`, `1`, `1.000`: at most three digits behind the point.
fn read_weight(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{rest:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_with_the_highest_weight_is_chosen_or_none() {
        const OTHER: &str = "application/cloudevents+json";
        for (accept, expected) in [
            (&[][..], Some(JSON)),
            (&[""], Some(JSON)),
            (&["*/*"], Some(JSON)),
            (&["application/*;q=0.2"], Some(JSON)),
            (&[OTHER], Some(OTHER)),
            (&["Application/CloudEvents+JSON; charset=utf-8"], Some(OTHER)),
            (
                &["application/json;q=0.5, application/cloudevents+json"],
                Some(OTHER),
            ),
            (
                &["application/json;q=0.5", "application/cloudevents+json;q=0.6"],
                Some(OTHER),
            ),
            (&["application/cloudevents+json, application/json"], Some(JSON)),
            (&["application/cloudevents+json;q=0.499, */*;q=0.5"], Some(JSON)),
            (&["application/json;q=0, */*;q=0.1"], Some(OTHER)),
            (&["application/json; q=0.000"], None),
            (&["*/*;q=0"], None),
            (&["text/html"], None),
            (&["text/*, image/png"], None),
            (&["*/json"], None),
            (&["application"], None),
            (&[",;,/,*"], None),
            (&["application/json;q=1.1"], None),
            (&["application/json;q=0.1234"], None),
            (&["application/json;q=-1, application/json;q="], None),
            (&["application/json;Q=1."], Some(JSON)),
            (
                &["application/json;x=\"a\";q=0.3, application/cloudevents+json;q=0.2"],
                Some(JSON),
            ),
            // Separators within a quoted string are none, nor is a quote that is escaped its end.
            (&["text/html;x=\", application/json, \""], None),
            (&["application/json;x=\";q=0;\";q=1"], Some(JSON)),
            (
                &[
                    "application/json;x=\"a, b\";q=0.1, application/cloudevents+json;x=\"\\\", */*;q=1\";q=0.2",
                ],
                Some(OTHER),
            ),
            (&["text/html;x=\"\\\\\", application/json"], Some(JSON)),
            (&["application/json;;q=0.5 ; "], Some(JSON)),
            // What is no parameter is none of a range that can be read.
            (&["application/json;x=\"a"], None),
            (&["application/json;x=\"a\\\""], None),
            (&["application/json;x=\"a\"b"], None),
            (&["application/json;x=a b"], None),
            (&["application/json;x y=a"], None),
            (&["application/json;x"], None),
            (&["application/json;q=\"1\""], None),
        ] {
            let mut headers = HeaderMap::new();
            for field in accept {
                headers.append(header::ACCEPT, HeaderValue::from_str(field).unwrap());
            }
            let found = choose(&headers, &[JSON, OTHER]);
            assert_eq!(found.as_ref().ok().copied(), expected, "{accept:?}");
            if let Err(error) = found {
                assert_eq!((error.status().as_u16(), error.code()), (406, "not_acceptable"));
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(
            choose(&headers, &[JSON]).is_err(),
            "what is no text names nothing"
        );
    }

    #[test]
    fn a_type_is_named_where_it_stands_itself_and_is_wanted() {
        for (accept, is_named) in [
            ("text/plain", true),
            ("application/json, Text/Plain;q=0.1", true),
            ("text/plain;charset=utf-8", true),
            ("text/*, */*", false),
            ("text/plain;q=0", false),
            ("application/json;x=\", text/plain\"", false),
            ("text/plain-not", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(names(&headers, "text/plain"), is_named, "{accept}");
        }
    }
}
