//! Tokens: made, listed and revoked by whoever runs the appliance. A secret is shown once and kept nowhere.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, created, no_content};
use super::jobs::reason_of;
use super::reading::{Asked, List, list_rows};
use super::request::{Id, Json, Query};
use crate::domain::command::{Command, CreateToken, Reply};
use crate::domain::state::Kind;
use crate::domain::token::{Scope, Token};
use crate::domain::{Digest, TenantName, Timestamp, TokenId};
use crate::limits;

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// End of its validity.
    #[schema(value_type = Option<String>, example = "2027-01-31T12:00:00.000Z")]
    expires_at: Option<Timestamp>,
    /// For people.
    #[schema(example = "ci")]
    name: String,
    /// The person behind it.
    #[schema(example = "alex")]
    person: String,
    /// What it allows.
    #[schema(value_type = Vec<String>, example = json!(["orch:read"]))]
    scopes: Vec<Scope>,
    /// For which tenants.
    #[schema(value_type = Vec<String>, example = json!(["default"]))]
    tenants: Vec<TenantName>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// When it was made.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// End of its validity.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// Public id.
    #[schema(value_type = String)]
    id: TokenId,
    /// For people.
    name: String,
    /// The person behind it.
    person: String,
    /// When it was revoked.
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Timestamp>,
    /// What it allows.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// For which tenants.
    #[schema(value_type = Vec<String>)]
    tenants: Vec<TenantName>,
    /// The secret; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl TokenView {
    fn new(token: &Token, secret: Option<String>) -> Self {
        TokenView {
            created_at: token.created_at,
            expires_at: token.expires_at,
            id: token.id,
            name: token.name.clone(),
            person: token.person.clone(),
            revoked_at: token.revoked_at,
            scopes: token.scopes.clone(),
            tenants: token.tenants.clone(),
            token: secret,
        }
    }
}

/// Makes a token.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "administration", request_body = NewToken,
    responses((status = 201, body = TokenView)))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(mut new): Json<NewToken>,
) -> Result<Response, ApiError> {
    for (pointer, text) in [("/name", &new.name), ("/person", &new.person)] {
        let good = (1..=limits::LABEL_BYTES_MAX).contains(&text.len())
            && !text.chars().any(|character| character.is_control());
        if !good {
            let detail = format!(
                "1 to {} bytes without control characters",
                limits::LABEL_BYTES_MAX
            );
            return Err(ApiError::field("invalid_field", pointer, detail));
        }
    }
    new.scopes.sort_unstable();
    new.scopes.dedup();
    new.tenants.sort_unstable();
    new.tenants.dedup();
    if new.tenants.is_empty() || new.tenants.len() > limits::CLAIM_NAMES_MAX {
        let detail = format!("1 to {} tenants", limits::CLAIM_NAMES_MAX);
        return Err(ApiError::field("invalid_field", "/tenants", detail));
    }
    let mut bytes = [0; 32];
    api.engine().clock().fill_random(&mut bytes);
    let secret = format!("fst_{}", URL_SAFE_NO_PAD.encode(bytes));
    let command = Command::CreateToken(Box::new(CreateToken {
        expires_at: new.expires_at,
        name: new.name,
        person: new.person,
        scopes: new.scopes,
        secret_sha256: Digest::of(secret.as_bytes()),
        tenants: new.tenants,
    }));
    let receipt = api
        .engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    let Reply::Token(token) = receipt.reply else {
        return Err(ApiError::internal("the writer answered something else"));
    };
    let view = TokenView::new(&token, Some(secret));
    Ok(created(format!("/api/v1/tokens/{}", token.id), &view))
}

/// All tokens, newest first.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "administration",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<TokenView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    mut query: Query,
) -> Result<Answer<List<TokenView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let system = TenantName::system();
    let list = api.read(&system, move |reading| {
        list_rows(reading, Kind::Token, &asked, |row| {
            Ok(row.as_token().map(|token| TokenView::new(token, None)))
        })
    });
    Ok(Answer(list.await?))
}

/// Revokes a token; its streams end within a second. Again is no error.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked")))]
pub async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<TokenId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let reason = reason_of(None, &headers);
    let command = Command::RevokeToken { id, reason };
    api.engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    Ok(no_content().into_response())
}
