//! What a request carries, read with bounds: JSON bodies, query parameters, ids in the path.
//!
//! Unknown fields and parameters are errors that name the spot; duplicate keys are refused wherever they stand.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::error::{ApiError, FieldError};
use crate::domain::canonical::Intake;
use crate::domain::decide;
use crate::limits;

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read_body(request, limits::BODY_BYTES_MAX).await?;
        parse_json(&bytes).map(Json)
    }
}

/// A JSON body that may be missing.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read_body(request, limits::BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(OptionalJson(T::default()));
        }
        parse_json(&bytes).map(OptionalJson)
    }
}

/// How long a peer may take to send a body; laid into each request.
#[derive(Debug, Clone, Copy)]
pub struct BodyPatience(pub Duration);

/// Reads a body of at most `bytes_max` bytes, within the time that a body has.
pub async fn read_body(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    let patience = request.extensions().get::<BodyPatience>().copied();
    let patience = patience.unwrap_or(BodyPatience(Duration::from_millis(limits::BODY_READ_MS_MAX)));
    let read = Limited::new(request.into_body(), bytes_max).collect();
    match tokio::time::timeout(patience.0, read).await {
        Err(_) => Err(ApiError::body_timeout()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(bytes_max)),
        Ok(Err(error)) => Err(ApiError::malformed(
            "body_broken",
            format!("the body could not be read: {error}"),
        )),
    }
}

/// Reads a JSON text into a shape.
///
/// # Errors
/// What is not JSON or has a key twice, with line, column and pointer; what does not fit the shape, with its pointer.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    parse_whole(bytes).map(|(shape, _)| shape)
}

/// The same, and the text as it was read.
///
/// # Errors
/// As [`parse_json`].
pub fn parse_whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Intake), ApiError> {
    let whole = Intake::parse(bytes)?;
    Ok((parse_shape(bytes)?, whole))
}

fn parse_shape<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde reads a struct from an array as well; a body of ours never is one.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::field("invalid_field", "", "a JSON object is expected"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer_of(error.path());
        let inner = error.into_inner();
        let text = inner.to_string();
        let detail = text.split(" at line ").next().unwrap_or_default();
        let (code, pointer) = match quoted_after(detail, "missing field ") {
            Some(field) => ("missing_field", format!("{pointer}/{field}")),
            None if detail.starts_with("unknown field") => ("unknown_field", pointer),
            None => ("invalid_field", pointer),
        };
        ApiError::invalid(code, detail).with_errors(vec![FieldError {
            column: u32::try_from(inner.column()).ok(),
            detail: detail.to_owned(),
            line: u32::try_from(inner.line()).ok(),
            pointer,
        }])
    })
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                let key: String = key.chars().take(limits::LABEL_BYTES_MAX).collect();
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// The name in backticks that follows `words`.
fn quoted_after<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    text.strip_prefix(words)?.strip_prefix('`')?.split('`').next()
}

/// The parameters of a query. Each is taken by name; what is left over at the end is an error.
#[derive(Debug, Clone)]
pub struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::read(&parts.uri)
    }
}

impl Query {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|query| Query(query.0))
            .map_err(|error| ApiError::malformed("invalid_query", error.body_text()))
    }

    /// Looks whether a route that takes these parameters is asked for no others.
    ///
    /// # Errors
    /// A parameter that is none of them; a query that cannot be read.
    pub fn check(uri: &Uri, names: &BTreeSet<String>) -> Result<(), ApiError> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(());
        }
        let query = Query::read(uri)?;
        let unknown = query.0.iter().find(|(name, _)| !names.contains(name));
        unknown.map_or(Ok(()), |(name, _)| Err(unknown_parameter(name)))
    }

    /// All values of a parameter, at most [`limits::CLAIM_NAMES_MAX`].
    pub fn all(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let mut found = Vec::new();
        self.0.retain_mut(|(key, value)| {
            let is_it = key == name;
            if is_it {
                found.push(std::mem::take(value));
            }
            !is_it
        });
        if found.len() > limits::CLAIM_NAMES_MAX {
            let detail = format!("at most {} values", limits::CLAIM_NAMES_MAX);
            return Err(bad_parameter(name, detail));
        }
        Ok(found)
    }

    /// The value of a parameter that may be given once.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut found = self.all(name)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(bad_parameter(name, "given more than once")),
        }
    }

    /// The same, read as something else.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        self.text(name)?
            .map(|text| {
                text.parse()
                    .map_err(|error: T::Err| bad_parameter(name, error.to_string()))
            })
            .transpose()
    }

    /// A number within bounds.
    pub fn number(&mut self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ApiError> {
        let found = self.parsed::<u64>(name)?;
        match found {
            Some(number) if !(min..=max).contains(&number) => Err(bad_parameter(
                name,
                format!("{number} is not within {min} to {max}"),
            )),
            other => Ok(other),
        }
    }

    /// A sequence, a size, an epoch: what the description calls an `int64`.
    pub fn count(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        self.number(name, 0, limits::COUNT_MAX)
    }

    /// The number of an attempt, which the description calls an `int32`.
    pub fn attempt(&mut self) -> Result<Option<u32>, ApiError> {
        let found = self.number("attempt", 0, limits::ATTEMPT_MAX)?;
        Ok(found.and_then(|attempt| u32::try_from(attempt).ok()))
    }

    /// The size of a page.
    pub fn limit(&mut self) -> Result<usize, ApiError> {
        let limit = self.number("limit", 1, limits::PAGE_ITEMS_MAX as u64)?;
        Ok(limit.map_or(limits::PAGE_ITEMS_DEFAULT, |limit| limit as usize))
    }

    /// The query as text with other values for one parameter, and without those of `names`.
    pub fn with(&self, names: &[&str], (name, value): (&str, &str)) -> String {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = kept.chain([(name, value)]);
        let texts: Vec<_> = pairs
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
            .collect();
        texts.join("&")
    }

    /// Ends the reading. The door refused what is not described; here the handler shows that it took what is.
    ///
    /// # Errors
    /// A parameter that nobody took.
    pub fn finish(self) -> Result<(), ApiError> {
        let left = self.0.first();
        left.map_or(Ok(()), |(name, _)| Err(unknown_parameter(name)))
    }
}

/// A part of a path or query with everything escaped that could end it (RFC 3986).
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unknown_parameter(name: &str) -> ApiError {
    let detail = format!("there is no parameter {name:?} here");
    ApiError::field("unknown_parameter", format!("/query/{name}"), detail)
}

/// A parameter that cannot be what it is.
pub fn bad_parameter(name: &str, detail: impl Into<String>) -> ApiError {
    ApiError::field("invalid_parameter", format!("/query/{name}"), detail)
}

/// The first part of the path that varies. What cannot be such an id does not exist.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        part(path_parts(parts, state).await.0).map(Id)
    }
}

/// The first two parts of the path that vary.
#[derive(Debug)]
pub struct Ids<A, B>(pub A, pub B);

impl<S: Send + Sync, A: FromStr, B: FromStr> FromRequestParts<S> for Ids<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (first, second) = path_parts(parts, state).await;
        Ok(Ids(part(first)?, part(second)?))
    }
}

async fn path_parts<S: Send + Sync>(parts: &mut Parts, state: &S) -> (Option<String>, Option<String>) {
    let Ok(params) = RawPathParams::from_request_parts(parts, state).await else {
        return (None, None);
    };
    let mut texts = params.iter().map(|(_, text)| text.to_owned());
    (texts.next(), texts.next())
}

fn part<T: FromStr>(text: Option<String>) -> Result<T, ApiError> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ApiError::not_found("resource"))
}

/// The media type of the body, without parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// A header as text.
pub fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Names of workers, correlation ids and the like: what is recorded as a label.
///
/// # Errors
/// Too long, empty, or a character outside the set.
pub fn check_label(pointer: &str, text: &str) -> Result<(), ApiError> {
    Ok(decide::check_label(pointer, text)?)
}

/// A number within bounds.
///
/// # Errors
/// Outside: says so with the bounds.
pub fn check_range(pointer: &str, value: u64, min: u64, max: u64) -> Result<(), ApiError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let detail = format!("{value} is not within {min} to {max}");
    Err(ApiError::field("invalid_field", pointer, detail))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code, reason = "only its shape matters")]
        items: Vec<Inner>,
        payload: Option<Box<RawValue>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code, reason = "only its shape matters")]
        max_count: u8,
    }

    #[test]
    fn a_wrong_field_is_named_by_its_pointer() {
        for (body, code, pointer) in [
            (r#"{"items":[],"extra":1}"#, "unknown_field", "/extra"),
            (
                r#"{"items":[{"maxCount":1},{"maxCount":1,"b":2}]}"#,
                "unknown_field",
                "/items/1/b",
            ),
            (
                r#"{"items":[{"maxCount":"x"}]}"#,
                "invalid_field",
                "/items/0/maxCount",
            ),
            (r#"{"items":[{}]}"#, "missing_field", "/items/0/maxCount"),
            (
                r#"{"items":[],"payload":{"a":1,"b":{"c":1,"c":2}}}"#,
                "json_duplicate_key",
                "/payload/b/c",
            ),
            (r#"{"items":["#, "json_unexpected_end", "/items/0"),
            (r#"[]"#, "invalid_field", ""),
        ] {
            let error = parse_json::<Outer>(body.as_bytes()).unwrap_err();
            let problem = serde_json::to_value(error.problem("t")).unwrap();
            assert_eq!(problem["code"], code, "{body}: {problem}");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        }
    }

    #[test]
    fn a_payload_keeps_its_exact_text() {
        let text = r#"{ "cvss" : 9.80, "big":12345678901234567890 }"#;
        let body = format!(r#"{{"items":[],"payload":{text}}}"#);
        let outer: Outer = parse_json(body.as_bytes()).unwrap();
        assert_eq!(outer.payload.unwrap().get(), text);
    }
}
