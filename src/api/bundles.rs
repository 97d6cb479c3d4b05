//! Bundles: a range of the ledger leaves, and any bundle is verified. Those that come in are told of in `imports`.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::Api;
use super::attempts::{audited, to_its_end};
use super::auth::Caller;
use super::error::{ApiError, created};
use super::imports::Brought;
use super::request::{Id, OptionalJson, Query, header_text};
use crate::bundle::export::{self, ExportAsk, ExportError, Exported, With};
use crate::bundle::import::{self, ImportError, Keys};
use crate::bundle::kept;
use crate::bundle::reemit::{Wanted, reemit};
use crate::bundle::vouched::{self, Resolved};
use crate::bundle::{Options, Report, peek, verify};
use crate::domain::command::Command;
use crate::domain::payload::{BundleExported, BundleVerified};
use crate::domain::{Digest, TenantName};
use crate::limits;
use crate::trust::PublicKey;

/// Carries a foreign log key, as base64 of its SPKI PEM.
pub const LOG_KEY_HEADER: &str = "x-fastness-log-key";
/// Carries a foreign export key, as base64 of its SPKI PEM.
pub const EXPORT_KEY_HEADER: &str = "x-fastness-export-key";

/// Whoever verifies a bundle holds one: each may take what the largest manifest takes.
static VERIFYING: Semaphore = Semaphore::const_new(limits::BUNDLE_VERIFICATIONS_MAX);

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

/// Writes a signed bundle of a range of the tenant's ledger; equal ranges give equal bytes. Of an imported ledger one of the
/// bundles that it came in is given again, byte for byte; that needs the scope `orch:read` too.
#[utoipa::path(post, path = "/api/v1/bundles/export", tag = "bundles", request_body = ExportBody,
    responses((status = 201, description = "The bundle, to be fetched at /bundles/{id}/content", body = Object),
        (status = 422, description = "`range_invalid`, `range_too_large`, or `range_not_stored` with what is `stored`")))]
pub async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    body: Result<OptionalJson<ExportBody>, ApiError>,
) -> Result<Response, ApiError> {
    let target = caller.tenant()?.to_string();
    to_its_end(async move {
        let exported = exported(&api, &caller, body).await;
        audited(&api, &caller, "export", Some(target), exported).await
    })
    .await
}

async fn exported(
    api: &Arc<Api>,
    caller: &Caller,
    body: Result<OptionalJson<ExportBody>, ApiError>,
) -> Result<Response, ApiError> {
    let OptionalJson(body) = body?;
    let mut with = body.with;
    with.sort_unstable();
    with.dedup();
    let names = with.iter().map(|with| with.as_str().to_owned()).collect();
    let tenant = caller.tenant()?.clone();
    let ready = if tenant.is_foreign() {
        if body.redaction.is_some() {
            let detail = "an imported ledger is given as it came: nothing else can be shown of it";
            return Err(ApiError::field("invalid_field", "/redaction", detail));
        }
        let wanted = Wanted {
            tenant,
            from: body.from,
            to: body.to,
            with,
        };
        api.blocking(move |api| Ok(reemit(api.engine(), &wanted)?))
            .await?
    } else {
        let showing = api.showing(caller, body.redaction).await?;
        let ask = ExportAsk {
            tenant,
            from: body.from.unwrap_or(0),
            to: body.to,
            with,
            showing,
        };
        api.blocking(move |api| {
            let ready = export::export(api.engine(), api.output(), &ask)?;
            ready.check(api.engine())?;
            Ok(ready)
        })
        .await?
    };
    let exported = ready.exported();
    let recorded = BundleExported {
        first: exported.first,
        missing: (!exported.missing.is_empty()).then_some(exported.missing.len() as u64),
        origin: exported.origin.clone(),
        redaction: exported.redaction.clone(),
        root: exported.root,
        size: exported.size,
        tar_sha256: exported.tar_sha256,
        with: names,
    };
    // Before anybody can fetch it: nothing leaves that was not recorded.
    let command = Command::RecordExport(Box::new(recorded));
    api.engine()
        .submit(&TenantName::system(), &caller.actor(), command)
        .await?;
    let exported = api.blocking(move |api| Ok(ready.keep(api.engine())?)).await?;
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

/// Verifies a bundle, sent as it is or uploaded before, with the keys given or pinned, which are believed as far as an import
/// would believe them. Nothing is taken in.
#[utoipa::path(post, path = "/api/v1/bundles/verify", tag = "bundles",
    params(("upload" = Option<String>, Query, description = "SHA-256 of an upload; there is no body then")),
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 200, description = "The checklist", body = Object)))]
pub async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Answer<Report>, ApiError> {
    to_its_end(async move {
        let checked = checked(&api, &caller, query, request).await;
        audited(&api, &caller, "verify", None, checked).await
    })
    .await
}

async fn checked(
    api: &Arc<Api>,
    caller: &Caller,
    query: Query,
    request: Request,
) -> Result<Answer<Report>, ApiError> {
    let given = keys_of(request.headers())?;
    let brought = Brought::take(api, caller, query, request).await?;
    let path = brought.path();
    let stopping = |_| ApiError::internal("the server is stopping");
    let _turn = VERIFYING.acquire().await.map_err(stopping)?;
    let (report, origin, sha256) = api
        .blocking(move |api| {
            let failed = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
            let sha256 = import::digest_of(&path).map_err(|error| failed(&error))?;
            let look = peek(&import::opener(&path)).map_err(|error| failed(&error))?;
            let origin = look.map(|statement| statement.predicate.origin);
            let mut resolved = match &origin {
                Some(origin) => vouched::resolve(api.engine(), origin, given.as_ref())?,
                None => Resolved::given(given),
            };
            let options = Options {
                log_key: resolved.keys.as_ref().map(|keys| keys.log),
                export_key: resolved.keys.as_ref().map(|keys| keys.export),
                anchor: resolved.anchor.take().map(|(anchor, _)| anchor),
                require_signature: true,
                ..Options::none()
            };
            let mut outcome = verify(&import::opener(&path), options).map_err(|error| failed(&error))?;
            resolved.note_stranger(&mut outcome.report);
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

/// The bundle of the caller's tenant with this id.
pub async fn find(
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
    kept::list(api.engine(), tenant).map_err(|error| ApiError::internal(error.to_string()))
}

/// The keys that a request brings: both of an origin, or none.
pub fn keys_of(headers: &HeaderMap) -> Result<Option<Keys>, ApiError> {
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

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Range { .. } => ApiError::invalid("range_invalid", error.to_string()),
            ExportError::RangeTooLarge { .. } => ApiError::invalid("range_too_large", error.to_string()),
            ExportError::Foreign(_) => ApiError::conflict("foreign_read_only", error.to_string()),
            ExportError::WithForeign => ApiError::field("invalid_field", "/with", error.to_string()),
            ExportError::NotStored { ref stored, .. } => {
                let stored = serde_json::to_value(stored).unwrap_or_default();
                ApiError::invalid("range_not_stored", error.to_string()).with_extra("stored", stored)
            }
            ExportError::Import(error) => (*error).into(),
            ExportError::Ledger(error) => error.into(),
            ExportError::Checkpoint(error) => error.into(),
            ExportError::Store(error) => error.into(),
            ExportError::Output(error) => error.into(),
            ExportError::Disk(_, error) => ApiError::storage(&error),
            ExportError::Roots(error) => error.into(),
            ExportError::NoPolicy(_) => ApiError::field("unknown_policy", "/redaction", error.to_string()),
            ExportError::Disclosures(error) => error.into(),
            ExportError::ErasedMeanwhile => ApiError::conflict("erased_meanwhile", error.to_string()),
            ExportError::Missing(_) => ApiError::disclosure_missing(error.to_string()),
            ExportError::Fold(..) | ExportError::Write(_) => ApiError::internal(error.to_string()),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Refused(ref report) => {
                let report = serde_json::to_value(&**report).unwrap_or_default();
                ApiError::invalid("bundle_refused", error.to_string()).with_extra("report", report)
            }
            ImportError::Overlap { .. } => ApiError::conflict("not_continuous", error.to_string()),
            ImportError::TooManyWaiting(_) | ImportError::TooMany(_) => ApiError::too_many(error.to_string()),
            ImportError::Stopping => ApiError::stopping(),
            ImportError::Origin(_) => ApiError::invalid("origin_invalid", error.to_string()),
            ImportError::Command(error) => error.into(),
            ImportError::Ledger(error) => error.into(),
            ImportError::Store(error) => error.into(),
            ImportError::Roots(error) => error.into(),
            ImportError::Disk(_, error) => ApiError::storage(&error),
            ImportError::Verify(_) | ImportError::Fold(_) | ImportError::Key(_) | ImportError::Stored(..) => {
                ApiError::internal(error.to_string())
            }
        }
    }
}
