//! The public keys of this enclave: what an auditor pins.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use crate::trust::{NoteKey, OwnRole, PublicKey};

/// One public key, in the forms that tools take.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// SHA-256 of the SPKI, in hex.
    id: String,
    /// SPKI PEM.
    pem: String,
    /// C2SP verifier key line; its name is the enclave, where no ledger is meant.
    vkey: String,
}

/// The keys of this enclave.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeysView {
    /// 16 hex digits that every origin of this enclave begins with.
    enclave: String,
    /// Signs bundles.
    export: KeyView,
    /// Signs checkpoints.
    log: KeyView,
    /// Signs work orders.
    orders: KeyView,
    /// Those that were replaced: what they signed before is still checked with them.
    retired: Vec<RetiredKeyView>,
}

/// A public key that was replaced.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetiredKeyView {
    #[serde(flatten)]
    key: KeyView,
    /// Which one of its role, from 1.
    number: usize,
    /// `log`, `export` or `orders`.
    role: &'static str,
}

/// The public keys of this enclave.
#[utoipa::path(get, path = "/api/v1/keys", tag = "administration", responses((status = 200, body = KeysView)))]
pub async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Answer<KeysView>, ApiError> {
    let keys = api.engine().keys();
    let enclave = keys.enclave();
    let tenant = caller.tenant()?;
    let name = api
        .engine()
        .origin(tenant)
        .map_or_else(|| format!("fastness/{enclave}"), |origin| origin.to_string());
    // Checkpoints are signed under the name of their ledger; the others sign by no name.
    let name_of = |role: OwnRole| match role {
        OwnRole::Log => name.clone(),
        OwnRole::Export | OwnRole::Orders => format!("fastness/{enclave}/{}", role.as_str()),
    };
    let mut retired = Vec::new();
    for role in OwnRole::ALL {
        for (number, key) in (1..).zip(keys.retired(role)) {
            retired.push(RetiredKeyView {
                key: view(&name_of(role), key)?,
                number,
                role: role.as_str(),
            });
        }
    }
    let current = |role: OwnRole| view(&name_of(role), keys.current(role).public());
    Ok(Answer(KeysView {
        export: current(OwnRole::Export)?,
        log: current(OwnRole::Log)?,
        orders: current(OwnRole::Orders)?,
        retired,
        enclave: enclave.to_string(),
    }))
}

fn view(name: &str, key: PublicKey) -> Result<KeyView, ApiError> {
    let failed = |error: crate::trust::TrustError| ApiError::internal(error.to_string());
    Ok(KeyView {
        id: key.id().to_string(),
        pem: key.to_pem().map_err(failed)?,
        vkey: NoteKey::new(name, key).map_err(failed)?.to_string(),
    })
}
