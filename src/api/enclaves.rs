//! Foreign enclaves: what is held of their ledgers, and whose keys are believed for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use crate::bundle::import;
use crate::domain::state::Kind;
use crate::domain::{Digest, TenantName, Timestamp};
use crate::trust::PublicKey;

/// A foreign enclave that is known here: something of it is held, or its keys are pinned.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveView {
    /// 16 hex digits: the beginning of the SHA-256 of its first log key.
    id: String,
    /// When a bundle of it was last imported.
    #[schema(value_type = Option<String>)]
    last_import_at: Option<Timestamp>,
    /// Its ledgers, by tenant.
    ledgers: Vec<LedgerView>,
}

/// One ledger of a foreign enclave. Size and root are the highest seen: nothing older or other is taken in.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerView {
    /// Bundles that it came in.
    bundles: usize,
    /// SHA-256 of the pinned key that signs its bundles.
    export_key_id: Option<String>,
    /// When the last of them was imported.
    #[schema(value_type = Option<String>)]
    imported_at: Option<Timestamp>,
    /// SHA-256 of the pinned key that signs its checkpoints.
    log_key_id: Option<String>,
    /// As its checkpoints name it.
    origin: String,
    /// Root at `size`.
    #[schema(value_type = Option<String>)]
    root: Option<Digest>,
    /// Events held; 0 where keys are pinned and nothing is held.
    size: u64,
    /// The read-only tenant, once something is held.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantName>,
}

/// Foreign enclaves.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enclaves {
    /// By id.
    items: Vec<EnclaveView>,
}

/// The foreign enclaves known here: their ledgers, with the highest size and root, the last import, and the keys pinned.
#[utoipa::path(get, path = "/api/v1/enclaves", tag = "bundles", responses((status = 200, body = Enclaves)))]
pub async fn list(State(api): State<Arc<Api>>, _caller: Caller) -> Result<Answer<Enclaves>, ApiError> {
    let ledgers = api.blocking(ledgers);
    let mut enclaves: BTreeMap<String, EnclaveView> = BTreeMap::new();
    for ledger in ledgers.await? {
        let Some(id) = ledger.origin.split('/').nth(1) else {
            continue;
        };
        let enclave = enclaves.entry(id.to_owned()).or_default();
        id.clone_into(&mut enclave.id);
        enclave.last_import_at = enclave.last_import_at.max(ledger.imported_at);
        enclave.ledgers.push(ledger);
    }
    Ok(Answer(Enclaves {
        items: enclaves.into_values().collect(),
    }))
}

/// By origin: what is held, and what is pinned.
fn ledgers(api: &Api) -> Result<Vec<LedgerView>, ApiError> {
    let mut ledgers: BTreeMap<String, LedgerView> = BTreeMap::new();
    for held in import::imports(api.engine())? {
        let view = LedgerView {
            bundles: held.bundles.len(),
            imported_at: Some(held.imported_at),
            origin: held.origin.clone(),
            root: Some(held.root),
            size: held.size,
            tenant: Some(held.tenant),
            ..LedgerView::default()
        };
        ledgers.insert(held.origin, view);
    }
    let id = |pem: &str| {
        PublicKey::from_pem(pem)
            .map(|key| key.id().to_string())
            .map_err(|error| ApiError::internal(error.to_string()))
    };
    for row in import::rows(api.engine(), Kind::Pin)? {
        let Some(pin) = row.as_pin() else { continue };
        let view = ledgers.entry(pin.origin.clone()).or_default();
        view.origin.clone_from(&pin.origin);
        view.log_key_id = Some(id(&pin.log_key)?);
        view.export_key_id = Some(id(&pin.export_key)?);
    }
    Ok(ledgers.into_values().collect())
}
