//! Errors as answers: the only place where a refusal or a failure becomes a status (RFC 9457).
//!
//! A handler returns an [`ApiError`]; the body is written by [`finish`], which knows the trace id. Codes are public and
//! stable. A foreign thing and one that never was give the same answer.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::canonical::CanonicalError;
use crate::domain::rejection::{Code, Rejection, RejectionKind};
use crate::domain::state::Unavailable;
use crate::engine::{CheckpointError, CommandError, SubmitError};
use crate::ledger::LedgerError;
use crate::output::OutputError;
use crate::store::StoreError;

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Column in characters, from 1, where the request has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// Line, from 1, where the request has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// JSON pointer into the body; `/query/<name>` for a query parameter.
    pub pointer: String,
}

/// The body of every error (`application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Stable code.
    #[schema(example = "not_found")]
    code: String,
    /// For people.
    detail: String,
    /// Bad fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The status of the answer.
    status: u16,
    /// The code in words.
    title: String,
    /// Finds the request in the log.
    trace_id: String,
    /// Names the code as a URN.
    #[serde(rename = "type")]
    problem_type: String,
}

impl Problem {
    /// For people.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// A refusal or failure on its way out.
#[derive(Debug, Clone)]
pub struct ApiError(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    code: String,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u32>,
    /// Read from the projection: the caller reports it.
    damage: Option<String>,
    /// A member of this kind of problem alone.
    extra: Option<(&'static str, serde_json::Value)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        ApiError(Box::new(Parts {
            status,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            damage: None,
            extra: None,
        }))
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// No or no valid token.
    pub fn unauthenticated(detail: &str) -> Self {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// A valid token that may not.
    pub fn forbidden(code: &str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// No such thing for this caller.
    pub fn not_found(what: &str) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    /// The request does not hold together.
    pub fn invalid(code: &str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// One field does not hold together.
    pub fn field(code: &str, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = FieldError {
            column: None,
            detail: detail.clone(),
            line: None,
            pointer: pointer.into(),
        };
        ApiError::invalid(code, detail).with_errors(vec![error])
    }

    /// Adds the bad fields.
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Puts `prefix` before each pointer: the request was part of a larger one.
    pub fn below(mut self, prefix: &str) -> Self {
        for error in &mut self.0.errors {
            error.pointer.insert_str(0, prefix);
        }
        self
    }

    /// It exists, but does not stand where the request needs it.
    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::CONFLICT, code, detail)
    }

    /// As many as there may be.
    pub fn too_many(detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", detail)
    }

    /// The request does not follow the protocol.
    pub fn malformed(code: &str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The body is larger than it may be.
    pub fn body_too_large(bytes_max: usize) -> Self {
        let detail = format!("a body has at most {bytes_max} bytes here");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// The path and query are longer than they may be.
    pub fn uri_too_long(bytes_max: usize) -> Self {
        let detail = format!("path and query have at most {bytes_max} bytes");
        ApiError::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail)
    }

    /// The header fields are larger than they may be.
    pub fn headers_too_large(bytes_max: usize) -> Self {
        let detail = format!("header fields have at most {bytes_max} bytes");
        ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            detail,
        )
    }

    /// The body did not come in time.
    pub fn body_timeout() -> Self {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not come in time",
        )
    }

    /// A body of a type that is not read here.
    pub fn unsupported_media_type(expected: &str) -> Self {
        ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("the body must be {expected}"),
        )
    }

    /// The path exists, but not with this method.
    pub fn method_not_allowed() -> Self {
        ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not have this method",
        )
    }

    /// A Host that is not ours.
    pub fn host_not_allowed() -> Self {
        ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_not_allowed",
            "the Host header names neither this host's loopback nor the listen address",
        )
    }

    /// A range that does not lie within the content.
    pub fn range_not_satisfiable(size: u64) -> Self {
        ApiError::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "range_not_satisfiable",
            format!("the content has {size} bytes"),
        )
    }

    /// The disk refused; a full one says so.
    pub fn storage(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "storage_full",
                "the disk is full, or what may be kept of this is",
            ),
            _ => ApiError::internal(format!("the disk refused: {error}")),
        }
    }

    /// Adds a member of this kind of problem alone.
    #[must_use]
    pub fn with_extra(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.0.extra = Some((name, value));
        self
    }

    /// Our own mistake.
    pub fn internal(detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The server is ending, because it was asked to.
    pub fn stopping() -> Self {
        ApiError::ending("the server is stopping")
    }

    fn ending(detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail).retry_after(1)
    }

    /// The status it will have.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Damage that was met on the way, to be reported to the engine.
    pub fn damage(&self) -> Option<StoreError> {
        self.0.damage.clone().map(StoreError::Damaged)
    }

    /// The body.
    pub fn problem(&self, trace_id: &str) -> Problem {
        let title = self.0.code.replace('_', " ");
        Problem {
            problem_type: format!("urn:fastness:problem:{}", self.0.code),
            code: self.0.code.clone(),
            detail: self.0.detail.clone(),
            errors: self.0.errors.clone(),
            status: self.0.status.as_u16(),
            title,
            trace_id: trace_id.to_owned(),
        }
    }
}

/// Writes the body of an error, now that the trace id is known.
pub fn finish(response: Response, trace_id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let Some(error) = parts.extensions.remove::<ApiError>() else {
        return Response::from_parts(parts, body);
    };
    // The router counted the empty body that stood here.
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut problem = serde_json::to_value(error.problem(trace_id)).unwrap_or_default();
    if let (Some((name, value)), Some(members)) = (error.0.extra, problem.as_object_mut()) {
        members.insert(name.to_owned(), value);
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    Response::from_parts(parts, Body::from(body))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = match (rejection.code, rejection.code.kind()) {
            (Code::LimitReached, _) => StatusCode::TOO_MANY_REQUESTS,
            (_, RejectionKind::NotFound) if rejection.pointer.is_some() => StatusCode::UNPROCESSABLE_ENTITY,
            (_, RejectionKind::NotFound) => StatusCode::NOT_FOUND,
            (_, RejectionKind::Conflict) => StatusCode::CONFLICT,
            (_, RejectionKind::Invalid) => StatusCode::UNPROCESSABLE_ENTITY,
            (_, RejectionKind::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let error = ApiError::new(status, rejection.code.as_str(), rejection.detail.clone());
        match rejection.pointer {
            None => error,
            Some(pointer) => error.with_errors(vec![FieldError {
                column: None,
                detail: rejection.detail,
                line: None,
                pointer,
            }]),
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let unavailable =
            |code: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string());
        match &error {
            SubmitError::Busy => unavailable("busy").retry_after(1),
            SubmitError::Rebuilding => unavailable("projection_rebuilding").retry_after(1),
            SubmitError::OutcomeUnknown(_) => unavailable("outcome_unknown"),
            SubmitError::Stopped => ApiError::stopping(),
            SubmitError::Ended(why) => ApiError::ending(format!("the server ends by itself: {why}")),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Rejected(rejection) => rejection.into(),
            CommandError::Failed(failed) => failed.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let mut answer = ApiError::from(SubmitError::Rebuilding);
        answer.0.damage = Some(error.to_string());
        answer
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        StoreError::Damaged(error.0).into()
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::BeyondEnd { .. } => ApiError::invalid("beyond_end", error.to_string()),
            LedgerError::Pruned { .. } => ApiError::new(StatusCode::GONE, "pruned", error.to_string()),
            LedgerError::Damaged { .. } => {
                tracing::error!(%error, "a read found the ledger damaged");
                ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ledger_damaged",
                    "this part of the ledger is damaged",
                )
            }
            LedgerError::Io { .. }
            | LedgerError::NotContiguous { .. }
            | LedgerError::EventTooLarge { .. }
            | LedgerError::Archiving { .. }
            | LedgerError::Stopped { .. }
            | LedgerError::Proof(_) => {
                tracing::error!(%error, "the ledger failed");
                ApiError::internal("the ledger cannot be read")
            }
        }
    }
}

impl From<CheckpointError> for ApiError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Ledger(ledger) => ledger.into(),
            other => ApiError::invalid("no_checkpoint", other.to_string()),
        }
    }
}

impl From<OutputError> for ApiError {
    fn from(error: OutputError) -> Self {
        match &error {
            OutputError::Missing { .. } => ApiError::not_found("content"),
            OutputError::Disk { cause, .. }
                if matches!(
                    cause.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                ) =>
            {
                ApiError::storage(cause)
            }
            OutputError::Damaged { .. }
            | OutputError::Disk { .. }
            | OutputError::TooLarge { .. }
            | OutputError::Broken { .. }
            | OutputError::InUse { .. }
            | OutputError::Ended { .. } => {
                tracing::error!(%error, "output cannot be read");
                ApiError::internal("the stored output cannot be read")
            }
        }
    }
}

impl From<CanonicalError> for ApiError {
    fn from(error: CanonicalError) -> Self {
        ApiError::invalid(error.kind.code(), error.kind.to_string()).with_errors(vec![FieldError {
            column: u32::try_from(error.column).ok(),
            detail: error.kind.to_string(),
            line: u32::try_from(error.line).ok(),
            pointer: error.pointer,
        }])
    }
}

/// The thing is done and there is nothing to say.
pub const fn no_content() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Most answers fit into this, so that their buffer never grows.
const ANSWER_BYTES: usize = 2_048;

/// A body of JSON.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        return ApiError::internal(error.to_string()).into_response();
    }
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}

/// A new thing, at this place.
pub fn created<T: Serialize>(location: String, body: &T) -> Response {
    let mut response = json(StatusCode::CREATED, body);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The request was taken, and its end is still to come.
pub fn accepted<T: Serialize>(body: &T) -> Response {
    json(StatusCode::ACCEPTED, body)
}
