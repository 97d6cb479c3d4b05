//! Which of the media types that a route can answer with a client wants (RFC 9110, 12.5.1).
//!
//! The most specific range that names a type gives its weight; parameters other than `q` are not looked at. The highest
//! weight wins, of equal ones the first that is offered. A comma within a quoted parameter ends a range
//! all the same. A range that cannot be read names nothing.

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

/// Says to caches that the answer depends on what was accepted, refusals included.
pub fn varied(answer: Result<Response, ApiError>) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Thousandths: how much a client wants a type; 0 is not at all.
fn weight(accept: &[&str], offer: &str) -> u16 {
    let ranges = accept.iter().flat_map(|text| text.split(','));
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
    let mut parts = text.split(';');
    let name = parts.next()?.trim();
    let mut weight = 1_000;
    for part in parts {
        if let Some((key, value)) = part.split_once('=')
            && key.trim().eq_ignore_ascii_case("q")
        {
            weight = read_weight(value.trim())?;
        }
    }
    Some((name, weight))
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
}
