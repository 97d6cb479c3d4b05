//! Whether the server lives, whether it can serve, and which version it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;
use crate::domain::TenantName;

/// How it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`: what is not, is an error.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Which program.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// `fastness`.
    name: &'static str,
    /// Semantic version.
    version: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
pub async fn livez() -> Json<Health> {
    OK
}

/// The server can take requests: the projection can be read and the writer is not gone.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health)))]
pub async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, ApiError> {
    ready(&api).await
}

/// As `/readyz`.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub async fn healthz(State(api): State<Arc<Api>>) -> Result<Json<Health>, ApiError> {
    ready(&api).await
}

async fn ready(api: &Api) -> Result<Json<Health>, ApiError> {
    if *api.stopping.borrow() {
        return Err(ApiError::stopping());
    }
    api.read(&TenantName::system(), |_| Ok(())).await?;
    Ok(OK)
}

/// The program's version.
#[utoipa::path(get, path = "/version", tag = "discovery", responses((status = 200, body = Version)))]
pub async fn version(State(api): State<Arc<Api>>) -> Json<Version> {
    Json(Version {
        name: "fastness",
        version: api.context.version,
    })
}
