//! Tenants: made and listed by whoever runs the appliance.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, created};
use super::reading::{Asked, List, list_rows};
use super::request::{Json, Query};
use crate::domain::command::Command;
use crate::domain::state::Kind;
use crate::domain::token::Tenant;
use crate::domain::{Seq, TenantName, Timestamp};

/// A tenant to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// `[a-z0-9][a-z0-9-]{0,62}`.
    #[schema(value_type = String, example = "acme")]
    name: TenantName,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    /// When it was created.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// Its name.
    #[schema(value_type = String, example = "acme")]
    name: TenantName,
    /// The event that created it, in the ledger `system`.
    #[schema(value_type = u64)]
    seq: Seq,
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        TenantView {
            created_at: tenant.created_at,
            name: tenant.name.clone(),
            seq: tenant.seq,
        }
    }
}

/// Makes a tenant.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "administration", request_body = NewTenant,
    responses((status = 201, body = TenantView)))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewTenant>,
) -> Result<Response, ApiError> {
    if new.name.is_foreign() {
        let detail = "a tenant is named [a-z0-9][a-z0-9-]{0,62}";
        return Err(ApiError::field("invalid_field", "/name", detail));
    }
    let command = Command::CreateTenant {
        name: new.name.clone(),
    };
    let system = TenantName::system();
    let receipt = api.engine().submit(&system, &caller.actor(), command).await?;
    let name = new.name.clone();
    let made = api
        .read(&system, move |reading| Ok(reading.view().tenant(&name)?))
        .await?;
    let view = made.as_ref().map_or(
        TenantView {
            created_at: receipt.at,
            name: new.name.clone(),
            seq: receipt.as_of,
        },
        TenantView::from,
    );
    Ok(created(format!("/api/v1/tenants/{}", new.name), &view))
}

/// All tenants, newest name last in the alphabet first.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "administration",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<TenantView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    mut query: Query,
) -> Result<Answer<List<TenantView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let system = TenantName::system();
    let list = api.read(&system, move |reading| {
        list_rows(reading, Kind::Tenant, &asked, |row| {
            Ok(row.as_tenant().map(TenantView::from))
        })
    });
    Ok(Answer(list.await?))
}
