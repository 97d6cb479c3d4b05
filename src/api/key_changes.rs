//! Replacing and revoking the enclave's own keys.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::attempts::to_its_end;
use super::auth::Caller;
use super::error::ApiError;
use super::jobs::reason_of;
use super::request::{Id, Json};
use crate::bundle::roots::{self, RootsError};
use crate::domain::command::{ChangeTrust, Command};
use crate::domain::payload::trust::KeyRevoked;
use crate::domain::trust::LedgerSize;
use crate::domain::{Digest, TenantName};
use crate::engine::{CommandError, RotationError};
use crate::trust::{OwnRole, TrustError};

/// The role in a path.
#[derive(Debug, Clone, Copy)]
pub struct RoleInPath(OwnRole);

impl FromStr for RoleInPath {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        OwnRole::from_name(text).map(RoleInPath).ok_or(())
    }
}

/// A key that was replaced.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// Id of the key before.
    #[schema(value_type = String)]
    from: Digest,
    /// Which one of its role that was, from 1.
    number: usize,
    /// `log`, `export` or `orders`.
    role: &'static str,
    /// Id of the key that signs now.
    #[schema(value_type = String)]
    to: Digest,
}

/// Puts a new key in the place of the present one. Bundles are refused to those who go by a root of trust until the next
/// root names the new key.
#[utoipa::path(post, path = "/api/v1/keys/{role}/rotate", tag = "trust", params(("role" = String, Path)),
    responses((status = 200, body = Rotated)))]
pub async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    role: Result<Id<RoleInPath>, ApiError>,
) -> Result<Answer<Rotated>, ApiError> {
    let role = named(role)?;
    to_its_end(async move {
        let retired = api
            .blocking(move |api| Ok(api.engine().rotate_key(role)?))
            .await?;
        api.engine().record_rotations(&caller.actor()).await?;
        Ok(Answer(Rotated {
            from: retired.from.id().digest(),
            number: retired.number,
            role: role.as_str(),
            to: retired.to.id().digest(),
        }))
    })
    .await
}

/// Which key to revoke, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRevocation {
    /// Id of a key that was replaced.
    #[schema(value_type = String)]
    key_id: Digest,
    /// Recorded with it.
    reason: Option<String>,
}

/// A key that is revoked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Each ledger, and the size below which the key counts; nowhere else does it.
    #[schema(value_type = Vec<Object>)]
    below: Vec<LedgerSize>,
    /// Its id.
    #[schema(value_type = String)]
    key_id: Digest,
    /// `log`, `export` or `orders`.
    role: &'static str,
}

/// Revokes a key that was replaced: it counts for what it signed until then, and no further. The next root of trust has to
/// say so; until it is accepted nobody else knows.
#[utoipa::path(post, path = "/api/v1/keys/{role}/revoke", tag = "trust", params(("role" = String, Path)),
    request_body = NewRevocation, responses((status = 200, body = Revoked)))]
pub async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    role: Result<Id<RoleInPath>, ApiError>,
    Json(new): Json<NewRevocation>,
) -> Result<Answer<Revoked>, ApiError> {
    let role = named(role)?;
    let (key, reason) = (new.key_id, reason_of(new.reason, &headers));
    to_its_end(async move { revoke_key(&api, &caller, (role, key), reason).await }).await
}

async fn revoke_key(
    api: &Arc<Api>,
    caller: &Caller,
    (role, key): (OwnRole, Digest),
    reason: String,
) -> Result<Answer<Revoked>, ApiError> {
    let (engine, actor) = (api.engine(), caller.actor());
    let below = api.blocking(move |api| Ok(sizes_of(api, role, key)?)).await?;
    let revoked = KeyRevoked {
        below: below.clone(),
        enclave: engine.keys().enclave().to_string(),
        key,
        reason,
        role: role.as_str().to_owned(),
    };
    if engine.keys().current(role).public().id().digest() == key {
        let error = RootsError::KeyInUse(role.as_str());
        return Err(roots::note_refusal(engine, &actor, "revoke", None, error)
            .await
            .into());
    }
    let command = Command::ChangeTrust(Box::new(ChangeTrust::RevokeKey(revoked)));
    if let Err(error) = engine.submit(&TenantName::system(), &actor, command).await {
        let error = RootsError::Command(error);
        return Err(roots::note_refusal(engine, &actor, "revoke", None, error)
            .await
            .into());
    }
    Ok(Answer(Revoked {
        below,
        key_id: key,
        role: role.as_str(),
    }))
}

/// Where the key stops to count: behind what it can have signed when it was replaced. Of a revoked one, as it was revoked.
fn sizes_of(api: &Api, role: OwnRole, key: Digest) -> Result<Vec<LedgerSize>, RootsError> {
    let engine = api.engine();
    let held = roots::held(engine, engine.keys().enclave().as_str())?;
    let of_key = held
        .retired
        .iter()
        .find(|one| one.id == key && one.role == role.as_str());
    let Some(retired) = of_key else {
        return Ok(Vec::new());
    };
    if let Some(seq) = retired.revoked {
        return Ok(roots::revocation(engine, seq)?.below);
    }
    let mut sizes = roots::rotation(engine, retired.seq)?.sizes;
    for one in &mut sizes {
        one.size += 1;
    }
    Ok(sizes)
}

fn named(role: Result<Id<RoleInPath>, ApiError>) -> Result<OwnRole, ApiError> {
    let Id(RoleInPath(role)) = role.map_err(|_| ApiError::not_found("role of a key"))?;
    Ok(role)
}

impl From<RotationError> for ApiError {
    fn from(error: RotationError) -> Self {
        let detail = error.to_string();
        match error {
            RotationError::Keys(TrustError::Io { source, .. }) => ApiError::storage(&source),
            RotationError::Keys(TrustError::RotationFailed) => ApiError::conflict("rotation_failed", detail),
            RotationError::Keys(TrustError::TooManyKeys(_)) => ApiError::conflict("limit_reached", detail),
            RotationError::Keys(_) => ApiError::internal(detail),
            RotationError::Ledger(error) => error.into(),
            RotationError::NotSigned => ApiError::stopping(),
            RotationError::NotRecorded(CommandError::Failed(error)) => error.into(),
            RotationError::NotRecorded(CommandError::Rejected(_)) => ApiError::internal(detail),
        }
    }
}
