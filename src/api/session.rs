//! The console's sign-in: a token is shown once, a cookie stands for it from then on.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Caller, TENANT_HEADER, valid_token};
use super::error::ApiError;
use super::request::{Json, header_text};
use super::sessions::SessionKey;
use crate::domain::TenantName;
use crate::domain::token::Token;
use crate::limits;

/// What signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The token's secret.
    token: String,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Sent as `X-Fastness-Csrf` with everything that changes something.
    csrf_token: String,
    /// The person behind the token.
    person: String,
    /// What it allows.
    #[schema(example = json!(["orch:read", "orch:submit"]))]
    scopes: Vec<&'static str>,
    /// The tenant of requests that name none; null where the token has several.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// All its tenants.
    #[schema(value_type = Vec<String>)]
    tenants: Vec<TenantName>,
}

impl SessionView {
    fn new(token: &Token, csrf_token: String, headers: &HeaderMap) -> Self {
        let asked = header_text(headers, TENANT_HEADER);
        let chosen = match token.tenants.as_slice() {
            [only] => Some(only.clone()),
            several => several
                .iter()
                .find(|tenant| Some(tenant.as_str()) == asked)
                .cloned(),
        };
        SessionView {
            csrf_token,
            person: token.person.clone(),
            scopes: token.scopes.iter().map(|scope| scope.as_str()).collect(),
            tenant: chosen,
            tenants: token.tenants.clone(),
        }
    }
}

/// Signs in.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", request_body = SignIn,
    responses((status = 200, body = SessionView)))]
pub async fn begin(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Json(sign_in): Json<SignIn>,
) -> Result<Response, ApiError> {
    let token = valid_token(&api, sign_in.token.trim())?;
    let (key, session) = api.sessions.begin(api.engine().clock().as_ref(), token.id);
    let view = SessionView::new(&token, session.csrf, &headers);
    let cookie = cookie(&api, key.as_str(), limits::SESSION_MS_MAX / 1_000);
    Ok(([cookie], Answer(view)).into_response())
}

/// Who is signed in; 401 when nobody is.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses((status = 200, body = SessionView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Answer<SessionView>, ApiError> {
    let (_, session) = current(&api, &caller)?;
    Ok(Answer(SessionView::new(&caller.token, session.csrf, &headers)))
}

/// Signs out. Streams of the session end within a second.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session",
    responses((status = 204, description = "Signed out")))]
pub async fn end(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    let (key, _) = current(&api, &caller)?;
    api.sessions.end(&key);
    api.revocations.send_modify(|count| *count += 1);
    Ok(([cookie(&api, "", 0)], super::error::no_content()).into_response())
}

fn current(api: &Api, caller: &Caller) -> Result<(SessionKey, super::sessions::Session), ApiError> {
    let none = || ApiError::unauthenticated("there is no session");
    let key = caller.session.clone().ok_or_else(none)?;
    let session = api.sessions.find(&key, api.now_ms()).ok_or_else(none)?;
    Ok((key, session))
}

fn cookie(api: &Api, value: &str, seconds: i64) -> (HeaderName, String) {
    let name = api.cookie_name();
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    (header::SET_COOKIE, text)
}
