//! Trust as the interface tells and changes it: roots of trust, ours and those of others, and pins. Handlers judge nothing:
//! what leads to what is for `bundle::roots`, and each refusal is an event.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::attempts::to_its_end;
use super::auth::Caller;
use super::error::{ApiError, no_content};
use super::request::Json;
use crate::bundle::import;
use crate::bundle::roots::{self, Offer, RootsError};
use crate::domain::command::Command;
use crate::domain::payload::TrustPinned;
use crate::domain::state::Kind;
use crate::domain::token::Pin;
use crate::domain::trust::{LedgerSize, Trust};
use crate::domain::{Digest, TenantName};
use crate::engine::{CommandError, Handle};
use crate::ledger::Origin;
use crate::limits;
use crate::trust::{Fingerprint, OwnRole, PublicKey};

/// A key of this enclave, present or replaced.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnKey {
    /// Up to where it counts, where it is revoked; in other ledgers never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    below: Option<Vec<LedgerSize>>,
    /// Whether it signs now.
    current: bool,
    /// SHA-256 of its SPKI, in hex.
    id: String,
    /// SPKI PEM.
    pem: String,
    /// `log`, `export` or `orders`.
    role: &'static str,
}

/// What is held of one enclave.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveTrust {
    /// The envelopes of its roots of trust, in order.
    documents: Vec<String>,
    /// Its 16 hex digits.
    enclave: String,
    /// Fingerprint of the newest root, in groups of four hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// Its roots, who vouched for the first, its replaced keys.
    #[schema(value_type = Object)]
    held: Trust,
    /// Version of the newest root; 0 for none.
    version: u64,
}

/// What is trusted here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustView {
    /// Other enclaves.
    foreign: Vec<EnclaveTrust>,
    /// The keys of this enclave.
    keys: Vec<OwnKey>,
    /// This enclave.
    own: EnclaveTrust,
    /// Keys of foreign ledgers that were pinned by hand.
    #[schema(value_type = Vec<Object>)]
    pins: Vec<Pin>,
}

/// Our own roots of trust, what is held of other enclaves, and pins.
#[utoipa::path(get, path = "/api/v1/trust", tag = "trust", responses((status = 200, body = TrustView)))]
pub async fn read(State(api): State<Arc<Api>>, _caller: Caller) -> Result<Answer<TrustView>, ApiError> {
    let view = api.blocking(|api| Ok(view(api.engine())?));
    Ok(Answer(view.await?))
}

/// Roots of trust to take in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRoots {
    /// The exact text of each envelope, in the order of versions.
    documents: Vec<String>,
    /// What people compared; once a root of the enclave is pinned it must be that one.
    fingerprint: Option<String>,
    /// Trust the newest of them without anybody's word. It is recorded that way.
    #[serde(default)]
    first_use: bool,
    /// A ledger of the other enclave; without it they are our own.
    #[schema(example = "fastness/0123456789abcdef/default")]
    origin: Option<String>,
}

/// Takes in roots of trust: the next of our own, or those of another enclave to which a pinned root leads.
#[utoipa::path(post, path = "/api/v1/trust/roots", tag = "trust", request_body = NewRoots,
    responses((status = 200, description = "What is held of the enclave now", body = EnclaveTrust),
        (status = 429, description = "`limit_reached`: keys of 10,000 ledgers, or roots of as many enclaves, are known")))]
pub async fn accept(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewRoots>,
) -> Result<Answer<EnclaveTrust>, ApiError> {
    if new.documents.is_empty() || new.documents.len() as u64 > limits::ROOT_VERSIONS_MAX {
        let detail = format!("1 to {} documents", limits::ROOT_VERSIONS_MAX);
        return Err(ApiError::field("invalid_field", "/documents", detail));
    }
    let offer = Offer {
        documents: new.documents.into_iter().map(String::into_bytes).collect(),
        origin: new.origin.as_deref().map(origin).transpose()?,
        fingerprint: new.fingerprint.as_deref().map(fingerprint).transpose()?,
        first_use: new.first_use,
    };
    to_its_end(async move {
        if let Some(named) = &offer.origin {
            check_room(&api, Further::Root(named.clone())).await?;
        }
        let trust = roots::accept(api.engine(), &caller.actor(), offer).await?;
        let view = api.blocking(move |api| Ok(enclave_view(api.engine(), trust)?));
        Ok(Answer(view.await?))
    })
    .await
}

/// What people compared: both keys of a foreign ledger, or the fingerprint of a root of trust of its enclave.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPin {
    /// SPKI PEM of the key that signs its bundles.
    export_key: Option<String>,
    /// 64 hex digits, in groups or not.
    fingerprint: Option<String>,
    /// SPKI PEM of the key that signs its checkpoints.
    log_key: Option<String>,
    /// The origin, as its checkpoints name it.
    #[schema(example = "fastness/0123456789abcdef/default")]
    origin: String,
    /// Let the keys take the place of those that are pinned. It is recorded that way. A root of trust is never replaced.
    #[serde(default)]
    replace: bool,
}

/// Pins the keys of a foreign origin, or a root of trust of its enclave. Others than those already pinned are refused, unless
/// keys are to be replaced.
#[utoipa::path(post, path = "/api/v1/trust/pins", tag = "trust", request_body = NewPin,
    responses((status = 204, description = "Pinned"),
        (status = 429, description = "`limit_reached`: keys of 10,000 ledgers, or roots of as many enclaves, are known")))]
pub async fn pin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(pin): Json<NewPin>,
) -> Result<Response, ApiError> {
    to_its_end(async move { pin_one(&api, &caller, pin).await }).await
}

async fn pin_one(api: &Arc<Api>, caller: &Caller, pin: NewPin) -> Result<Response, ApiError> {
    let named = origin(&pin.origin)?;
    match (pin.log_key, pin.export_key, pin.fingerprint) {
        (Some(log), Some(export), None) => {
            let pinned = TrustPinned {
                export_key: pem(&export, "/exportKey")?,
                log_key: pem(&log, "/logKey")?,
                origin: pin.origin,
                replace: pin.replace,
            };
            check_room(api, Further::Keys(named)).await?;
            pin_keys(api, caller, pinned).await?;
        }
        (None, None, Some(text)) => {
            let fingerprint = fingerprint(&text)?;
            check_room(api, Further::Root(named.clone())).await?;
            roots::pin(api.engine(), &caller.actor(), &named, fingerprint).await?;
        }
        _ => {
            let detail = "both keys of the ledger, or the fingerprint of a root of trust";
            return Err(ApiError::invalid("key_missing", detail));
        }
    }
    Ok(no_content().into_response())
}

async fn pin_keys(api: &Arc<Api>, caller: &Caller, pinned: TrustPinned) -> Result<(), ApiError> {
    let (engine, actor) = (api.engine(), caller.actor());
    let command = Command::PinTrust(Box::new(pinned));
    match engine.submit(&TenantName::system(), &actor, command).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = RootsError::Command(error);
            Err(roots::note_refusal(engine, &actor, "pin", None, error)
                .await
                .into())
        }
    }
}

/// What is to be trusted, and takes room where nothing of its kind is trusted yet.
#[derive(Debug)]
enum Further {
    /// Keys of a ledger, which count each by itself.
    Keys(Origin),
    /// A root of trust of the enclave of a ledger, which counts for all of its ledgers.
    Root(Origin),
}

impl Further {
    /// Whether it takes the place of what is there, or comes beside it without making more of them.
    fn is_known(&self, pins: &[Pin], held: &[Trust]) -> bool {
        match self {
            Further::Keys(origin) => {
                let origin = origin.to_string();
                pins.iter().any(|pin| pin.origin == origin)
            }
            Further::Root(origin) => {
                let enclave = origin.enclave();
                let is_of = |pin: &Pin| {
                    let of = pin.origin.parse::<Origin>();
                    of.is_ok_and(|of| of.enclave() == enclave)
                };
                held.iter().any(|held| held.enclave == enclave.as_str()) || pins.iter().any(is_of)
            }
        }
    }
}

/// Refuses trust in a further ledger or enclave beside as many as may be known: all of them are told at once.
async fn check_room(api: &Arc<Api>, further: Further) -> Result<(), ApiError> {
    let check = api.blocking(move |api| {
        let (pins, held) = trusted(api.engine())?;
        let is_known = further.is_known(&pins, &held);
        if !is_known && pins.len().max(held.len()) >= limits::IMPORTS_MAX {
            let detail = format!(
                "keys of {} ledgers are known, as many as may be",
                limits::IMPORTS_MAX
            );
            return Err(ApiError::too_many(detail));
        }
        Ok(())
    });
    check.await
}

fn pem(key: &str, pointer: &str) -> Result<String, ApiError> {
    let key = PublicKey::from_pem(key)
        .map_err(|error| ApiError::field("invalid_field", pointer, error.to_string()))?;
    key.to_pem()
        .map_err(|error| ApiError::internal(error.to_string()))
}

fn origin(text: &str) -> Result<Origin, ApiError> {
    let known = import::foreign_tenant(text, &TenantName::system()).is_some();
    let parsed = text.parse().ok().filter(|_| known);
    parsed.ok_or_else(|| ApiError::field("invalid_field", "/origin", "it is not the origin of a ledger"))
}

fn fingerprint(text: &str) -> Result<Fingerprint, ApiError> {
    text.parse().map_err(|error: crate::trust::RootError| {
        ApiError::field("invalid_field", "/fingerprint", error.to_string())
    })
}

/// All pins, and what is held of all enclaves.
fn trusted(engine: &Handle) -> Result<(Vec<Pin>, Vec<Trust>), RootsError> {
    let snapshot = engine.read().map_err(CommandError::from)?;
    let (mut pins, mut held) = (Vec::new(), Vec::new());
    for kind in [Kind::Pin, Kind::Trust] {
        for row in snapshot.every_row(&TenantName::system(), kind)? {
            let (_, row) = row?;
            pins.extend(row.as_pin().cloned());
            held.extend(row.as_trust().cloned());
        }
    }
    Ok((pins, held))
}

fn view(engine: &Handle) -> Result<TrustView, RootsError> {
    let (pins, held) = trusted(engine)?;
    let enclave = engine.keys().enclave().to_string();
    let (own, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| held.enclave == enclave);
    let own = own.into_iter().next().unwrap_or_else(|| Trust::none(&enclave));
    Ok(TrustView {
        foreign: others
            .into_iter()
            .map(|held| enclave_view(engine, held))
            .collect::<Result<_, _>>()?,
        keys: own_keys(engine, &own)?,
        own: enclave_view(engine, own)?,
        pins,
    })
}

fn own_keys(engine: &Handle, own: &Trust) -> Result<Vec<OwnKey>, RootsError> {
    let mut keys = Vec::new();
    for role in OwnRole::ALL {
        let mut of_role = engine.keys().retired(role);
        let replaced = of_role.len();
        of_role.push(engine.keys().current(role).public());
        for (place, key) in of_role.iter().enumerate() {
            let id = key.id().digest();
            let is_it =
                |held: &&crate::domain::trust::RetiredKey| held.id == id && held.role == role.as_str();
            let revoked = own.retired.iter().find(is_it).and_then(|held| held.revoked);
            let below = match revoked {
                Some(seq) => Some(roots::revocation(engine, seq)?.below),
                None => None,
            };
            keys.push(OwnKey {
                below,
                current: place == replaced,
                id: id.to_string(),
                pem: key.to_pem().unwrap_or_default(),
                role: role.as_str(),
            });
        }
    }
    Ok(keys)
}

fn enclave_view(engine: &Handle, held: Trust) -> Result<EnclaveTrust, RootsError> {
    let documents = roots::documents(engine, &held)?;
    let newest: Option<Digest> = held.roots.last().map(|root| root.fingerprint);
    Ok(EnclaveTrust {
        documents: documents
            .into_iter()
            .map(|document| String::from_utf8_lossy(&document).into_owned())
            .collect(),
        enclave: held.enclave.clone(),
        fingerprint: newest.map(|digest| Fingerprint::from_digest(digest).to_string()),
        version: held.version(),
        held,
    })
}

impl From<RootsError> for ApiError {
    fn from(error: RootsError) -> Self {
        let detail = error.to_string();
        match error {
            RootsError::Root(error) => ApiError::invalid(error.code(), detail),
            RootsError::NotPinned(_) => ApiError::invalid("root_not_pinned", detail),
            RootsError::Own(_) => ApiError::invalid("root_of_own_enclave", detail),
            RootsError::KeyInUse(_) => ApiError::conflict("key_in_use", detail),
            RootsError::PinConflict(_) => ApiError::conflict("pin_conflict", detail),
            RootsError::Outdated { .. } => ApiError::conflict("root_outdated", detail),
            RootsError::Event(_) => ApiError::internal(detail),
            RootsError::Command(error) => error.into(),
            RootsError::Ledger(error) => error.into(),
            RootsError::Store(error) => error.into(),
        }
    }
}
