//! Bundles: a range of the ledger leaves, a foreign one comes in. Bodies and contents are streamed through files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, created};
use super::request::{Id, Json, OptionalJson, header_text};
use crate::bundle::export::{self, ExportAsk, ExportError, Exported, With};
use crate::bundle::import::{self, ImportError, Imported, Keys};
use crate::bundle::{Options, Report, verify};
use crate::domain::command::Command;
use crate::domain::payload::{BundleExported, BundleVerified, TrustPinned};
use crate::domain::{Digest, TenantName};
use crate::limits;
use crate::trust::PublicKey;

/// Carries a foreign log key, as base64 of its SPKI PEM.
pub const LOG_KEY_HEADER: &str = "x-fastness-log-key";
/// Carries a foreign export key, as base64 of its SPKI PEM.
pub const EXPORT_KEY_HEADER: &str = "x-fastness-export-key";

/// What to export.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportBody {
    /// First event; the first of the ledger when not given.
    from: Option<u64>,
    /// One more than the last; the ledger's size when not given.
    to: Option<u64>,
    /// What is shown of redacted fields: `operational` shows nothing and is the default, `full` all, any other name what that
    /// policy names. All but the default need the scope `orch:admin` as well.
    #[schema(example = "operational")]
    redaction: Option<String>,
    /// `artifacts`, `logs`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    with: Vec<With>,
}

/// Bundles exported by this tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Bundles {
    /// By id.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Exported>,
}

/// Writes a signed bundle of a range of the tenant's ledger. Equal ranges give equal bytes.
#[utoipa::path(post, path = "/api/v1/bundles/export", tag = "bundles", request_body = ExportBody,
    responses((status = 201, description = "The bundle, to be fetched at /bundles/{id}/content", body = Object)))]
pub async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    OptionalJson(body): OptionalJson<ExportBody>,
) -> Result<Response, ApiError> {
    let mut with = body.with;
    with.sort_unstable();
    with.dedup();
    let tenant = caller.tenant()?.clone();
    let showing = api.showing(&caller, body.redaction).await?;
    let ask = ExportAsk {
        tenant,
        from: body.from.unwrap_or(0),
        to: body.to,
        with: with.clone(),
        showing,
    };
    let exported = api
        .blocking(move |api| Ok(export::export(api.engine(), api.output(), &ask)?))
        .await?;
    let recorded = BundleExported {
        first: exported.first,
        origin: exported.origin.clone(),
        redaction: exported.redaction.clone(),
        root: exported.root,
        size: exported.size,
        tar_sha256: exported.tar_sha256,
        with: with.iter().map(|with| with.as_str().to_owned()).collect(),
    };
    let command = Command::RecordExport(Box::new(recorded));
    api.engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    let location = format!("/api/v1/bundles/{}", exported.id);
    Ok(created(location, &exported))
}

/// The bundles that this tenant exported and that are still here.
#[utoipa::path(get, path = "/api/v1/bundles", tag = "bundles", responses((status = 200, body = Bundles)))]
pub async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Answer<Bundles>, ApiError> {
    let tenant = caller.tenant()?.clone();
    let items = api.blocking(move |api| bundles_of(api, &tenant)).await?;
    Ok(Answer(Bundles { items }))
}

/// What is known of one bundle.
#[utoipa::path(get, path = "/api/v1/bundles/{id}", tag = "bundles", params(("id" = String, Path)),
    responses((status = 200, body = Object)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<Digest>, ApiError>,
) -> Result<Answer<Exported>, ApiError> {
    Ok(Answer(find(&api, &caller, id).await?))
}

/// The file of a bundle.
#[utoipa::path(get, path = "/api/v1/bundles/{id}/content", tag = "bundles", params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/zstd")))]
pub async fn content(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<Digest>, ApiError>,
) -> Result<Response, ApiError> {
    let found = find(&api, &caller, id).await?;
    let path = export::bundle_path(api.engine().dir(), found.id);
    let file = tokio::fs::File::open(&path)
        .await
        .map_err(|_| ApiError::not_found("bundle"))?;
    let headers = [
        (header::CONTENT_TYPE, "application/zstd".to_owned()),
        (header::CONTENT_LENGTH, found.bytes.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", found.name),
        ),
    ];
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; limits::ARTIFACT_CHUNK_BYTES];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok::<_, std::io::Error>(Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Verifies a bundle, sent as it is, with the keys given or pinned. Nothing is taken in.
#[utoipa::path(post, path = "/api/v1/bundles/verify", tag = "bundles",
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 200, description = "The checklist", body = Object)))]
pub async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Answer<Report>, ApiError> {
    let given = keys_of(request.headers())?;
    let upload = Upload::receive(&api, request.into_body()).await?;
    let path = upload.0.clone();
    let (report, origin, sha256) = api
        .blocking(move |api| {
            let failed = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
            let sha256 = import::digest_of(&path).map_err(|error| failed(&error))?;
            let look = verify(&import::opener(&path), Options::none()).map_err(|error| failed(&error))?;
            let origin = look.statement.map(|statement| statement.predicate.origin);
            let keys = match (given, &origin) {
                (Some(keys), _) => Some(keys),
                (None, Some(origin)) => import::pinned(api.engine(), origin)?,
                (None, None) => None,
            };
            let options = Options {
                log_key: keys.as_ref().map(|keys| keys.log),
                export_key: keys.map(|keys| keys.export),
                ..Options::none()
            };
            let outcome = verify(&import::opener(&path), options).map_err(|error| failed(&error))?;
            Ok((outcome.report, origin, sha256))
        })
        .await?;
    let exit_code = i32::from(report.exit_code);
    let command = Command::RecordVerification(Box::new(BundleVerified {
        exit_code,
        origin,
        sha256,
    }));
    api.engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    Ok(Answer(report))
}

/// Verifies a bundle, sent as it is, and takes it in as a read-only tenant. Keys given are pinned for its origin.
#[utoipa::path(post, path = "/api/v1/bundles/import", tag = "bundles",
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 201, description = "Imported", body = Object),
        (status = 200, description = "It was here already", body = Object)))]
pub async fn take_in(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let given = keys_of(request.headers())?;
    let upload = Upload::receive(&api, request.into_body()).await?;
    let imported: Imported = import::import(api.engine(), &caller.actor(), &upload.0, given)
        .await
        .map_err(refused)?;
    if imported.already {
        return Ok(Answer(imported).into_response());
    }
    Ok(created("/api/v1/imports".to_owned(), &imported))
}

/// A foreign ledger held here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imports {
    /// By tenant.
    #[schema(value_type = Vec<Object>)]
    items: Vec<crate::domain::token::Import>,
}

/// The foreign ledgers held here.
#[utoipa::path(get, path = "/api/v1/imports", tag = "bundles", responses((status = 200, body = Imports)))]
pub async fn imports(State(api): State<Arc<Api>>, _caller: Caller) -> Result<Answer<Imports>, ApiError> {
    let items = api.blocking(|api| Ok(import::imports(api.engine())?)).await?;
    Ok(Answer(Imports { items }))
}

/// Keys of a foreign origin, as people compared them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPin {
    /// SPKI PEM of the key that signs its bundles.
    export_key: String,
    /// SPKI PEM of the key that signs its checkpoints.
    log_key: String,
    /// The origin, as its checkpoints name it.
    #[schema(example = "fastness/0123456789abcdef/default")]
    origin: String,
}

/// Pins the keys of a foreign origin. Others than those already pinned are refused.
#[utoipa::path(post, path = "/api/v1/trust/pins", tag = "bundles", request_body = NewPin,
    responses((status = 204, description = "Pinned")))]
pub async fn pin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(pin): Json<NewPin>,
) -> Result<Response, ApiError> {
    let text = |key: &str, pointer: &str| {
        let key = PublicKey::from_pem(key)
            .map_err(|error| ApiError::field("invalid_field", pointer, error.to_string()))?;
        key.to_pem()
            .map_err(|error| ApiError::internal(error.to_string()))
    };
    if import::foreign_tenant(&pin.origin, &TenantName::system()).is_none() {
        return Err(ApiError::field(
            "invalid_field",
            "/origin",
            "it is not the origin of a ledger",
        ));
    }
    let pinned = TrustPinned {
        export_key: text(&pin.export_key, "/exportKey")?,
        log_key: text(&pin.log_key, "/logKey")?,
        origin: pin.origin,
    };
    let command = Command::PinTrust(Box::new(pinned));
    api.engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    Ok(super::error::no_content().into_response())
}

async fn find(
    api: &Arc<Api>,
    caller: &Caller,
    id: Result<Id<Digest>, ApiError>,
) -> Result<Exported, ApiError> {
    let missing = || ApiError::not_found("bundle");
    let Id(id) = id.map_err(|_| missing())?;
    let tenant = caller.tenant()?.clone();
    let all = api.blocking(move |api| bundles_of(api, &tenant)).await?;
    all.into_iter().find(|bundle| bundle.id == id).ok_or_else(missing)
}

fn bundles_of(api: &Api, tenant: &TenantName) -> Result<Vec<Exported>, ApiError> {
    export::list(api.engine(), tenant).map_err(|error| ApiError::internal(error.to_string()))
}

fn keys_of(headers: &HeaderMap) -> Result<Option<Keys>, ApiError> {
    let key = |name: &str| {
        let Some(text) = header_text(headers, name) else {
            return Ok(None);
        };
        let bad = || {
            ApiError::field(
                "invalid_field",
                format!("/header/{name}"),
                "base64 of an SPKI PEM",
            )
        };
        let bytes = STANDARD.decode(text).map_err(|_| bad())?;
        let pem = String::from_utf8(bytes).map_err(|_| bad())?;
        PublicKey::from_pem(&pem).map(Some).map_err(|_| bad())
    };
    match (key(LOG_KEY_HEADER)?, key(EXPORT_KEY_HEADER)?) {
        (Some(log), Some(export)) => Ok(Some(Keys { log, export })),
        (None, None) => Ok(None),
        _ => Err(ApiError::invalid(
            "key_missing",
            "both keys of an origin are needed, or neither",
        )),
    }
}

fn refused(error: ImportError) -> ApiError {
    match error {
        ImportError::Refused(report) => {
            let detail = ImportError::Refused(report.clone()).to_string();
            let report = serde_json::to_value(&*report).unwrap_or_default();
            ApiError::invalid("bundle_refused", detail).with_extra("report", report)
        }
        other => other.into(),
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Range { .. } => ApiError::invalid("range_invalid", error.to_string()),
            ExportError::RangeTooLarge { .. } => ApiError::invalid("range_too_large", error.to_string()),
            ExportError::Foreign(_) => ApiError::conflict("foreign_read_only", error.to_string()),
            ExportError::Ledger(error) => error.into(),
            ExportError::Checkpoint(error) => error.into(),
            ExportError::Store(error) => error.into(),
            ExportError::Disk(_, error) => ApiError::storage(&error),
            ExportError::NoPolicy(_) => ApiError::field("unknown_policy", "/redaction", error.to_string()),
            ExportError::Disclosures(error) => error.into(),
            ExportError::Missing(_) | ExportError::Fold(..) | ExportError::Write(_) => {
                ApiError::internal(error.to_string())
            }
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Refused(_) => ApiError::invalid("bundle_refused", error.to_string()),
            ImportError::Origin(_) => ApiError::invalid("origin_invalid", error.to_string()),
            ImportError::Command(error) => error.into(),
            ImportError::Ledger(error) => error.into(),
            ImportError::Store(error) => error.into(),
            ImportError::Disk(_, error) => ApiError::storage(&error),
            ImportError::Verify(_)
            | ImportError::Fold(_)
            | ImportError::Key(_)
            | ImportError::Stored(..)
            | ImportError::Replay(_) => ApiError::internal(error.to_string()),
        }
    }
}

/// A body on disk, removed with its owner.
struct Upload(PathBuf);

impl Upload {
    /// Receives a body of at most [`limits::BUNDLE_BYTES_MAX`]; one that stands still is given up.
    async fn receive(api: &Arc<Api>, body: Body) -> Result<Self, ApiError> {
        let dir = api.engine().dir().join("uploads");
        let failed = |error: std::io::Error| ApiError::storage(&error);
        api.engine().disk().create_dir_all(&dir).map_err(failed)?;
        let upload = Upload(dir.join(format!("{:016x}", api.engine().clock().entropy())));
        let mut file = tokio::fs::File::create_new(&upload.0).await.map_err(failed)?;
        let mut pieces = body.into_data_stream();
        let mut received: u64 = 0;
        let patience = Duration::from_millis(limits::BODY_READ_MS_MAX);
        loop {
            let piece = tokio::time::timeout(patience, pieces.next()).await;
            let piece = match piece.map_err(|_| ApiError::body_timeout())? {
                None => break,
                Some(piece) => piece.map_err(|error| {
                    ApiError::malformed("body_broken", format!("the body could not be read: {error}"))
                })?,
            };
            received += piece.len() as u64;
            if received > limits::BUNDLE_BYTES_MAX {
                return Err(ApiError::body_too_large(
                    usize::try_from(limits::BUNDLE_BYTES_MAX).unwrap_or(usize::MAX),
                ));
            }
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok(upload)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an upload was left behind");
    }
}
