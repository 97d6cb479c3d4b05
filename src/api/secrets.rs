//! Secrets of a tenant: set, listed by name, deleted. A value goes in and never comes out again.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, created, no_content};
use super::jobs::reason_of;
use super::reading::{Asked, List, list_rows};
use super::request::{Id, Query, media_type, read_body};
use crate::domain::command::{Command, Reply};
use crate::domain::secret::Secret;
use crate::domain::state::Kind;
use crate::domain::{SecretName, SecretVersion, Seq, TenantName, Timestamp};
use crate::limits;
use crate::secrets::{SecretError, SecretValue};

/// A secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// Its name.
    #[schema(value_type = String, example = "SCAN_TOKEN")]
    name: SecretName,
    /// The event that set the present value.
    #[schema(value_type = u64)]
    seq: Seq,
    /// When that was.
    #[schema(value_type = String)]
    set_at: Timestamp,
    /// Who did it.
    set_by: String,
}

impl From<&Secret> for SecretView {
    fn from(secret: &Secret) -> Self {
        SecretView {
            name: secret.name.clone(),
            seq: secret.seq,
            set_at: secret.set_at,
            set_by: secret.set_by.clone(),
        }
    }
}

/// Sets a secret to the body, byte for byte: 1 to 65,536 of them. Steps that begin later get the new value.
#[utoipa::path(put, path = "/api/v1/secrets/{name}", tag = "administration", params(("name" = String, Path)),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 201, description = "It is new", body = SecretView),
        (status = 200, description = "It had another value before", body = SecretView)))]
pub async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<SecretName>, ApiError>,
    request: Request,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| bad_name())?;
    let tenant = caller.tenant()?.clone();
    if tenant.is_foreign() {
        let detail = "an imported ledger can only be read";
        return Err(ApiError::conflict("foreign_read_only", detail));
    }
    if media_type(request.headers()).as_deref() != Some("application/octet-stream") {
        return Err(ApiError::unsupported_media_type("application/octet-stream"));
    }
    let bytes = read_body(request, limits::SECRET_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Err(ApiError::field("invalid_field", "", "a secret is not empty"));
    }
    let clock = api.engine().clock();
    let version = SecretVersion::derive(Timestamp::from_ms(clock.wall_ms()), clock.entropy(), 0);
    let (value, place) = (SecretValue::new(bytes.into()), (tenant.clone(), name.clone()));
    let kept = api.blocking(move |api| {
        let kept = api.secrets().put(&place.0, &place.1, version, &value);
        kept.map_err(|error| refused(&error))
    });
    kept.await?;
    let command = Command::SetSecret {
        name: name.clone(),
        version,
    };
    // When the outcome is not known the file stays: the next start knows whether the ledger names it.
    let receipt = api.engine().submit(&tenant, &caller.actor(), command).await?;
    let Reply::Secret {
        now: Some(now),
        before,
    } = receipt.reply
    else {
        return Err(ApiError::internal("the writer answered something else"));
    };
    let view = SecretView::from(&*now);
    let Some(before) = before else {
        return Ok(created(format!("/api/v1/secrets/{name}"), &view));
    };
    forget(&api, tenant, *before).await;
    Ok(Answer(view).into_response())
}

/// The secrets of a tenant, the last of the alphabet first; never their values.
#[utoipa::path(get, path = "/api/v1/secrets", tag = "administration",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<SecretView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<SecretView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        list_rows(reading, Kind::Secret, &asked, |row| {
            Ok(row.as_secret().map(SecretView::from))
        })
    });
    Ok(Answer(list.await?))
}

/// One secret; never its value.
#[utoipa::path(get, path = "/api/v1/secrets/{name}", tag = "administration", params(("name" = String, Path)),
    responses((status = 200, body = SecretView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<SecretName>, ApiError>,
) -> Result<Answer<SecretView>, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("secret"))?;
    let read = api.read(caller.tenant()?, move |reading| {
        let secret = reading.view().secret(&name)?;
        let secret = secret.ok_or_else(|| ApiError::not_found("secret"))?;
        Ok(SecretView::from(&secret))
    });
    Ok(Answer(read.await?))
}

/// Deletes a secret. Steps that name it fail from now on, and runs of packs that name it are refused.
#[utoipa::path(delete, path = "/api/v1/secrets/{name}", tag = "administration", params(("name" = String, Path)),
    responses((status = 204, description = "Deleted")))]
pub async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<SecretName>, ApiError>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("secret"))?;
    let tenant = caller.tenant()?.clone();
    let reason = reason_of(None, &headers);
    let command = Command::DeleteSecret { name, reason };
    let receipt = api.engine().submit(&tenant, &caller.actor(), command).await?;
    if let Reply::Secret {
        before: Some(before), ..
    } = receipt.reply
    {
        forget(&api, tenant, *before).await;
    }
    Ok(no_content().into_response())
}

/// Removes a value that counts no more; what stays behind is removed at the next start.
async fn forget(api: &Arc<Api>, tenant: TenantName, old: Secret) {
    let removed = api.blocking(move |api| {
        let removed = api.secrets().remove(&tenant, &old.name, old.version);
        removed.map_err(|error| refused(&error))
    });
    if removed.await.is_err() {
        tracing::warn!("the old value of a secret was left behind");
    }
}

fn bad_name() -> ApiError {
    ApiError::field(
        "invalid_field",
        "",
        "a secret is named [A-Za-z_][A-Za-z0-9_]{0,62}",
    )
}

fn refused(error: &SecretError) -> ApiError {
    match error {
        SecretError::Full => ApiError::conflict("limit_reached", error.to_string()),
        SecretError::Odd { .. } | SecretError::Disk { .. } => {
            tracing::error!(%error, "a secret could not be kept");
            ApiError::internal("the value could not be kept")
        }
    }
}
