//! Bundles on their way in: held, waiting for persons, rejected by them, or refused and in quarantine.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::attempts::{audited, to_its_end};
use super::auth::Caller;
use super::bundles::keys_of;
use super::change::{Change, Thing};
use super::error::{ApiError, created, json, no_content};
use super::jobs::Reason;
use super::request::{Id, Query};
use super::uploads::{Place, Turn, Upload};
use crate::bundle::desk::Taken;
use crate::bundle::import::{self, ImportError};
use crate::bundle::quarantine::Quarantined;
use crate::domain::command::Verdict;
use crate::domain::import_request::{ImportApproval, ImportRequest, ImportStatus};
use crate::domain::rejection::Code;
use crate::domain::token::Import;
use crate::domain::{Digest, TenantName, Timestamp};
use crate::engine::CommandError;
use crate::trust::PublicKey;

impl Thing for Digest {
    const NAME: &str = "import";
}

/// A bundle that a request brings: in its body, or as an upload that is whole.
#[derive(Debug)]
pub enum Brought {
    /// In its body.
    Body(Upload),
    /// As an upload, with the turn at it.
    Upload(Place, Turn),
}

impl Brought {
    /// Receives the body, or finds the upload that `?upload=` names.
    pub async fn take(
        api: &Arc<Api>,
        caller: &Caller,
        mut query: Query,
        request: Request,
    ) -> Result<Self, ApiError> {
        let upload: Option<Digest> = query.parsed("upload")?;
        query.finish()?;
        let Some(sha256) = upload else {
            return Upload::receive(api, request.into_body()).await.map(Brought::Body);
        };
        let place = Place::new(api, caller, sha256);
        let turn = api.uploads.take(place.owned)?;
        if !tokio::fs::try_exists(&place.whole).await.unwrap_or(false) {
            let detail = format!("{sha256} was not uploaded, or not all of it");
            return Err(ApiError::field("upload_incomplete", "/query/upload", detail));
        }
        Ok(Brought::Upload(place, turn))
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        match self {
            Brought::Body(upload) => upload.0.clone(),
            Brought::Upload(place, _) => place.whole.clone(),
        }
    }

    /// It is judged: an upload goes. One that could not be judged stays, to be tried again.
    fn judged<T>(self, outcome: &Result<T, ImportError>) {
        let is_judged = match outcome {
            Ok(_) | Err(ImportError::Refused(_)) => true,
            Err(ImportError::Command(CommandError::Rejected(why))) => why.code == Code::OwnBundle,
            Err(_) => false,
        };
        if let Brought::Upload(place, _turn) = self
            && is_judged
        {
            place.remove();
        }
    }
}

/// Verifies a bundle, sent as it is or uploaded before, and takes it in as a read-only tenant; where the appliance asks for
/// approvals, it waits for them first. Keys given are pinned for its origin.
#[utoipa::path(post, path = "/api/v1/bundles/import", tag = "bundles",
    params(("upload" = Option<String>, Query, description = "SHA-256 of an upload; there is no body then")),
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 201, description = "Imported", body = Object),
        (status = 200, description = "It was here already", body = Object),
        (status = 202, description = "Persons are asked", body = ImportView),
        (status = 409, description = "`not_continuous`, `pin_conflict`"),
        (status = 422, description = "`bundle_refused` with the `report`; it is in quarantine. `bundle_of_own_enclave`; it is not")))]
pub async fn take_in(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    to_its_end(async move {
        let taken = taken_in(&api, &caller, query, request).await;
        audited(&api, &caller, "import", None, taken).await
    })
    .await
}

async fn taken_in(
    api: &Arc<Api>,
    caller: &Caller,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let given = keys_of(request.headers())?;
    let brought = Brought::take(api, caller, query, request).await?;
    let outcome = api.desk.import(&caller.actor(), &brought.path(), given).await;
    brought.judged(&outcome);
    Ok(match outcome? {
        Taken::Imported(imported) if imported.already => json(StatusCode::OK, &imported),
        Taken::Imported(imported) => created(format!("/api/v1/imports/{}", imported.tar_sha256), &imported),
        Taken::Waiting { request, .. } => {
            let place = format!("/api/v1/imports/{}", request.tar_sha256);
            let view = ImportView::of_request(&request)?;
            let answer = json(StatusCode::ACCEPTED, &view);
            ([(header::LOCATION, place)], answer).into_response()
        }
    })
}

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImportState {
    /// Its ledger is held here.
    Held,
    /// Persons are asked.
    Waiting,
    /// A person said no.
    Rejected,
    /// Its ledger went on without it.
    Superseded,
    /// It was found bad, and is in quarantine.
    Refused,
}

/// An import; which members there are depends on where it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportView {
    /// How many persons have to approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<u32>,
    /// Who has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    approved: Option<Vec<ImportApproval>>,
    /// The bundles that a ledger held consists of, in order: first event, size, SHA-256 of the tar.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    bundles: Option<Vec<(u64, u64, Digest)>>,
    /// Length of the file in quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Exit code of the verification that refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    /// SHA-256 of the export key that would be pinned with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    export_key_id: Option<String>,
    /// First event.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    /// SHA-256 of the tar; of the file, for one in quarantine; of the last bundle, for a ledger held.
    #[schema(value_type = String)]
    id: Digest,
    /// When the last bundle was imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    imported_at: Option<Timestamp>,
    /// What a refusal comes to: `fork`, `tampered`, `incomplete`, `untrusted`, `malformed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// SHA-256 of the log key that would be pinned with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_key_id: Option<String>,
    /// Origin of the ledger; of one in quarantine what it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Why it was refused or rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was refused or rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    refused_at: Option<Timestamp>,
    /// Who rejected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_by: Option<String>,
    /// When persons were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    requested_at: Option<Timestamp>,
    /// Who brought it; does not count among those who approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    /// Root at `size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    root: Option<Digest>,
    /// One more than the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Where it stands.
    status: ImportState,
    /// The read-only tenant that it is, or is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantName>,
}

impl ImportView {
    fn new(id: Digest, status: ImportState) -> Self {
        ImportView {
            approvals: None,
            approved: None,
            bundles: None,
            bytes: None,
            exit_code: None,
            export_key_id: None,
            first: None,
            id,
            imported_at: None,
            kind: None,
            log_key_id: None,
            origin: None,
            reason: None,
            refused_at: None,
            rejected_by: None,
            requested_at: None,
            requested_by: None,
            root: None,
            size: None,
            status,
            tenant: None,
        }
    }

    fn of_held(held: Import) -> Option<Self> {
        let last = held.bundles.last()?.2;
        Some(ImportView {
            first: Some(0),
            imported_at: Some(held.imported_at),
            origin: Some(held.origin),
            root: Some(held.root),
            size: Some(held.size),
            tenant: Some(held.tenant),
            bundles: Some(held.bundles),
            ..ImportView::new(last, ImportState::Held)
        })
    }

    /// One that persons are, or were, asked about.
    pub fn of_request(request: &ImportRequest) -> Result<Self, ApiError> {
        let id = |pem: Option<&String>| {
            let key = pem.map(|pem| PublicKey::from_pem(pem)).transpose();
            key.map(|key| key.map(|key| key.id().to_string()))
                .map_err(|error| ApiError::internal(error.to_string()))
        };
        let rejected = request.rejected.as_ref();
        let status = match request.status {
            ImportStatus::Waiting => ImportState::Waiting,
            ImportStatus::Imported => ImportState::Held,
            ImportStatus::Rejected => ImportState::Rejected,
            ImportStatus::Superseded => ImportState::Superseded,
        };
        Ok(ImportView {
            approvals: Some(request.approvals),
            approved: Some(request.approved.clone()),
            export_key_id: id(request.export_key.as_ref())?,
            first: Some(request.first),
            log_key_id: id(request.log_key.as_ref())?,
            origin: Some(request.origin.clone()),
            reason: rejected.map(|said| said.reason.clone()),
            refused_at: rejected.map(|said| said.at),
            rejected_by: rejected.map(|said| said.person.clone()),
            requested_at: Some(request.requested_at),
            requested_by: Some(request.requested_by.clone()),
            root: Some(request.root),
            size: Some(request.size),
            tenant: Some(request.tenant.clone()),
            ..ImportView::new(request.tar_sha256, status)
        })
    }

    fn of_refused(refused: Quarantined) -> Self {
        ImportView {
            bytes: Some(refused.bytes),
            exit_code: Some(refused.exit_code),
            first: refused.first,
            kind: Some(refused.kind),
            origin: refused.origin,
            reason: Some(refused.detail),
            refused_at: Some(refused.at),
            requested_by: Some(refused.by),
            size: refused.size,
            ..ImportView::new(refused.sha256, ImportState::Refused)
        }
    }
}

/// Imports.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imports {
    /// The foreign ledgers held here, then what waits or was rejected, then what is in quarantine, oldest first.
    items: Vec<ImportView>,
}

/// What is held of foreign ledgers, what waits for persons or was rejected by one, and what is in quarantine.
#[utoipa::path(get, path = "/api/v1/imports", tag = "bundles", responses((status = 200, body = Imports)))]
pub async fn list(State(api): State<Arc<Api>>, _caller: Caller) -> Result<Answer<Imports>, ApiError> {
    let items = api.blocking(|api| {
        let held = import::imports(api.engine())?;
        let mut items: Vec<ImportView> = held.into_iter().filter_map(ImportView::of_held).collect();
        for request in import::requests(api.engine())? {
            if request.status != ImportStatus::Imported {
                items.push(ImportView::of_request(&request)?);
            }
        }
        let refused = api.desk.quarantine().list()?;
        items.extend(refused.into_iter().map(ImportView::of_refused));
        Ok(items)
    });
    Ok(Answer(Imports { items: items.await? }))
}

/// One import: by the SHA-256 of its tar, or of the file in quarantine.
#[utoipa::path(get, path = "/api/v1/imports/{id}", tag = "bundles", params(("id" = String, Path)),
    responses((status = 200, body = ImportView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    id: Result<Id<Digest>, ApiError>,
) -> Result<Answer<ImportView>, ApiError> {
    let missing = || ApiError::not_found("import");
    let Id(id) = id.map_err(|_| missing())?;
    let found = api.blocking(move |api| {
        let requests = import::requests(api.engine())?;
        if let Some(request) = requests.iter().find(|request| request.tar_sha256 == id) {
            return ImportView::of_request(request).map(Some);
        }
        let holds = |held: &Import| held.bundles.iter().any(|bundle| bundle.2 == id);
        if let Some(held) = import::imports(api.engine())?.into_iter().find(holds) {
            return Ok(ImportView::of_held(held).map(|view| ImportView { id, ..view }));
        }
        let refused = api.desk.quarantine().list()?;
        let refused = refused.into_iter().find(|refused| refused.sha256 == id);
        Ok(refused.map(ImportView::of_refused))
    });
    found.await?.map(Answer).ok_or_else(missing)
}

/// Approves an import. Whoever brought the bundle does not count, nor does who approved before. The last approval that is
/// needed takes the bundle in.
#[utoipa::path(post, path = "/api/v1/imports/{id}/approve", tag = "bundles", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = ImportView),
        (status = 409, description = "`self_approval`, `already_approved`, `illegal_transition`, `not_continuous`"),
        (status = 422, description = "`bundle_refused` with the `report`: by what is known now it is not good")))]
pub async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    change: Result<Change<Digest>, ApiError>,
) -> Result<Answer<ImportView>, ApiError> {
    to_its_end(async move { decide(&api, &caller, change, Verdict::Approve).await }).await
}

/// Rejects an import: the bundle is not taken in, and would have to be brought anew.
#[utoipa::path(post, path = "/api/v1/imports/{id}/reject", tag = "bundles", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = ImportView),
        (status = 409, description = "`illegal_transition`")))]
pub async fn reject(
    State(api): State<Arc<Api>>,
    caller: Caller,
    change: Result<Change<Digest>, ApiError>,
) -> Result<Answer<ImportView>, ApiError> {
    to_its_end(async move { decide(&api, &caller, change, Verdict::Reject).await }).await
}

async fn decide(
    api: &Arc<Api>,
    caller: &Caller,
    change: Result<Change<Digest>, ApiError>,
    verdict: Verdict,
) -> Result<Answer<ImportView>, ApiError> {
    let action = match verdict {
        Verdict::Approve => "approve",
        Verdict::Reject => "reject",
    };
    let target = change.as_ref().ok().map(|change| change.id.to_string());
    let decided = async {
        let Change { id, reason, .. } = change?;
        if reason.trim().is_empty() {
            return Err(ApiError::field(
                "reason_required",
                "/reason",
                "a reason is needed",
            ));
        }
        let request = api.desk.decide(&caller.actor(), id, verdict, reason).await?;
        ImportView::of_request(&request).map(Answer)
    };
    let decided = decided.await;
    audited(api, caller, action, target, decided).await
}

/// Discards a refused bundle from quarantine.
#[utoipa::path(delete, path = "/api/v1/imports/{id}", tag = "bundles", params(("id" = String, Path)),
    responses((status = 204, description = "Gone"),
        (status = 404, description = "Nothing of this digest is in quarantine")))]
pub async fn discard(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<Digest>, ApiError>,
) -> Result<Response, ApiError> {
    let target = id.as_ref().ok().map(|Id(id)| id.to_string());
    to_its_end(async move {
        let discarded = async {
            let Id(id) = id.map_err(|_| ApiError::not_found("import"))?;
            if api.desk.discard(&caller.actor(), id, "by request").await? {
                return Ok(no_content().into_response());
            }
            Err(ApiError::not_found("import"))
        };
        let discarded = discarded.await;
        audited(&api, &caller, "discard", target, discarded).await
    })
    .await
}
