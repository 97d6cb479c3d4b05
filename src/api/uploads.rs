//! Bundles on their way in: whole in one request, or in ranges that can be gone on with after a break.
//!
//! ```text
//! DIR/uploads/<16 hex>         a body on its way, gone with its request
//! DIR/uploads/<sha256>.part    what came of an upload in ranges; its length is where the next range begins
//! DIR/uploads/<sha256>.whole   all of it, checked against its digest
//! ```
//! Promises: memory is bounded by one piece; nothing is looked at before all of it is there and has its digest; one sender
//! of an upload at a time. What stands still for a day is removed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use utoipa::ToSchema;

use super::Api;
use super::attempts::to_its_end;
use super::auth::Caller;
use super::error::{ApiError, json};
use super::request::{BodyPatience, Id};
use super::worker_artifacts::Span;
use super::worker_logs::wrong_offset;
use crate::bundle::import::digest_of;
use crate::domain::Digest;
use crate::limits;

/// One upload begins at a time: they are counted first.
static BEGINNING: Mutex<()> = Mutex::new(());

/// Uploads that a request has in hand.
#[derive(Debug, Default)]
pub struct Uploads(Arc<Mutex<BTreeSet<Digest>>>);

/// The turn at one upload.
#[derive(Debug)]
pub struct Turn {
    all: Arc<Mutex<BTreeSet<Digest>>>,
    sha256: Digest,
}

impl Uploads {
    /// The turn at an upload.
    ///
    /// # Errors
    /// Another request has it.
    pub fn take(&self, sha256: Digest) -> Result<Turn, ApiError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.insert(sha256) {
            let detail = "another request sends or reads this upload right now";
            return Err(ApiError::conflict("upload_in_use", detail));
        }
        Ok(Turn {
            all: self.0.clone(),
            sha256,
        })
    }

    fn is_taken(&self, sha256: &Digest) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(sha256)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.sha256);
    }
}

/// How far an upload is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadView {
    /// Where the next range begins.
    #[schema(minimum = 0)]
    expected_offset: u64,
    /// SHA-256 of all of it.
    #[schema(value_type = String)]
    sha256: Digest,
    /// True when it can be verified or imported.
    whole: bool,
}

/// Receives a bundle, whole or a range of it, under the SHA-256 of the whole file. A range goes on where the last ended.
#[utoipa::path(put, path = "/api/v1/uploads/{sha256}", tag = "bundles",
    params(("sha256" = String, Path, description = "Digest of the whole file"),
        ("content-range" = Option<String>, Header, description = "`bytes 0-1048575/4194304`: a range of it")),
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 201, description = "All of it is there", body = UploadView),
        (status = 200, description = "It was there already", body = UploadView),
        (status = 202, description = "The range is kept; more is expected", body = UploadView),
        (status = 409, description = "`wrong_offset` with `expectedOffset`, or `upload_in_use`"),
        (status = 422, description = "`digest_mismatch`"), (status = 507, description = "`storage_full`")))]
pub async fn receive(
    State(api): State<Arc<Api>>,
    caller: Caller,
    sha256: Result<Id<Digest>, ApiError>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let Id(sha256) =
        sha256.map_err(|_| ApiError::field("invalid_field", "/path/sha256", "64 lower-case hex digits"))?;
    let span = Span::of(&headers, limits::BUNDLE_BYTES_MAX)?;
    to_its_end(async move { take_range(&api, Place::new(&api, &caller, sha256), span, request).await }).await
}

async fn take_range(
    api: &Arc<Api>,
    place: Place,
    span: Span,
    request: Request,
) -> Result<Response, ApiError> {
    let _turn = api.uploads.take(place.owned)?;
    let from = span.from.unwrap_or(0);
    let begun = place.clone();
    let is_there = api.blocking(move |api| begun.begin(api, from)).await?;
    if is_there {
        return Ok(json(StatusCode::OK, &place.whole_view(span.total)));
    }
    let patience = request.extensions().get::<BodyPatience>().copied();
    let file = tokio::fs::OpenOptions::new().append(true).open(&place.part).await;
    let mut file = file.map_err(|error| ApiError::storage(&error))?;
    let poured = pour(request.into_body(), &mut file, span.end - from, patience).await;
    let flushed = file.flush().await.map_err(|error| ApiError::storage(&error));
    let received = poured.and(flushed);
    if received
        .as_ref()
        .is_err_and(|error| error.code() == "storage_full")
    {
        // A full disk gets its room back; else what came before it broke off stays.
        place.remove();
    }
    received?;
    let ended = place.clone();
    api.blocking(move |_| ended.end(span.end, span.total)).await
}

/// How far an upload is.
#[utoipa::path(get, path = "/api/v1/uploads/{sha256}", tag = "bundles", params(("sha256" = String, Path)),
    responses((status = 200, body = UploadView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    sha256: Result<Id<Digest>, ApiError>,
) -> Result<axum::Json<UploadView>, ApiError> {
    let missing = || ApiError::not_found("upload");
    let Id(sha256) = sha256.map_err(|_| missing())?;
    let place = Place::new(&api, &caller, sha256);
    let view = api.blocking(move |_| {
        let whole = length(&place.whole)?.map(|bytes| place.whole_view(bytes));
        let part = length(&place.part)?.map(|bytes| place.part_view(bytes));
        Ok(whole.or(part))
    });
    view.await?.map(axum::Json).ok_or_else(missing)
}

/// Gives an upload up.
#[utoipa::path(delete, path = "/api/v1/uploads/{sha256}", tag = "bundles", params(("sha256" = String, Path)),
    responses((status = 204, description = "Gone")))]
pub async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    sha256: Result<Id<Digest>, ApiError>,
) -> Result<Response, ApiError> {
    let Id(sha256) = sha256.map_err(|_| ApiError::not_found("upload"))?;
    let place = Place::new(&api, &caller, sha256);
    let _turn = api.uploads.take(place.owned)?;
    if !place.remove() {
        return Err(ApiError::not_found("upload"));
    }
    Ok(super::error::no_content().into_response())
}

/// Where an upload lies: under a name of its own for each person, so that it is its owner's alone.
#[derive(Debug, Clone)]
pub struct Place {
    /// Digest of person and file.
    pub owned: Digest,
    sha256: Digest,
    part: PathBuf,
    /// All of it.
    pub whole: PathBuf,
}

impl Place {
    /// The place of an upload of this person with this digest.
    pub fn new(api: &Api, caller: &Caller, sha256: Digest) -> Self {
        let dir = folder(api);
        let owned = Digest::of(format!("{sha256} {}", caller.actor().id).as_bytes());
        Place {
            owned,
            sha256,
            part: dir.join(format!("{owned}.part")),
            whole: dir.join(format!("{owned}.whole")),
        }
    }

    /// Looks whether bytes from `from` on are what is missing. True when nothing is.
    fn begin(&self, api: &Api, from: u64) -> Result<bool, ApiError> {
        let dir = folder(api);
        let failed = |error: io::Error| ApiError::storage(&error);
        api.engine().disk().create_dir_all(&dir).map_err(failed)?;
        if length(&self.whole)?.is_some() {
            return Ok(true);
        }
        let _turn = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
        let received = length(&self.part)?;
        if from > 0 && received != Some(from) {
            return Err(wrong_offset(received.unwrap_or(0)));
        }
        if received.is_none() {
            let left = collect(&dir, api)?;
            if left >= limits::BUNDLE_UPLOADS_MAX {
                let detail = format!("{left} uploads are on their way; no more may be");
                return Err(ApiError::too_many(detail));
            }
        }
        if from == 0 {
            fs::File::create(&self.part).map_err(failed)?;
        }
        Ok(false)
    }

    /// After a range: keeps on waiting, or checks what is whole.
    fn end(&self, end: u64, total: u64) -> Result<Response, ApiError> {
        if end < total {
            return Ok(json(StatusCode::ACCEPTED, &self.part_view(end)));
        }
        let failed = |error: io::Error| ApiError::storage(&error);
        if digest_of(&self.part).map_err(failed)? != self.sha256 {
            remove(&self.part);
            return Err(ApiError::invalid(
                "digest_mismatch",
                "the bytes received have another digest than was said; they are thrown away",
            ));
        }
        let file = fs::File::open(&self.part).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&self.part, &self.whole).map_err(failed)?;
        Ok(json(StatusCode::CREATED, &self.whole_view(total)))
    }

    /// Removes it. False when nothing is there.
    pub fn remove(&self) -> bool {
        let mut found = false;
        for path in [&self.part, &self.whole] {
            found |= path.exists();
            if path.exists() {
                remove(path);
            }
        }
        found
    }

    fn part_view(&self, expected_offset: u64) -> UploadView {
        UploadView {
            expected_offset,
            sha256: self.sha256,
            whole: false,
        }
    }

    fn whole_view(&self, bytes: u64) -> UploadView {
        UploadView {
            whole: true,
            ..self.part_view(bytes)
        }
    }
}

fn folder(api: &Api) -> PathBuf {
    api.engine().dir().join("uploads")
}

fn length(path: &Path) -> Result<Option<u64>, ApiError> {
    match fs::metadata(path) {
        Ok(facts) => Ok(Some(facts.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ApiError::storage(&error)),
    }
}

/// Removes what has stood still too long. How many uploads in ranges are left.
fn collect(dir: &Path, api: &Api) -> Result<usize, ApiError> {
    let failed = |error: io::Error| ApiError::storage(&error);
    let mut left = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let stem = path.file_stem().and_then(|name| name.to_str());
        let Some(sha256) = stem.and_then(|name| name.parse::<Digest>().ok()) else {
            continue;
        };
        let changed_ms = fs::metadata(&path).map_or(i64::MAX, |facts| facts.mtime().saturating_mul(1_000));
        let idle_ms = api.now_ms().saturating_sub(changed_ms);
        let is_stale = u64::try_from(idle_ms).is_ok_and(|idle| idle > limits::BUNDLE_UPLOAD_IDLE_MS_MAX);
        if is_stale && !api.uploads.is_taken(&sha256) {
            tracing::info!(path = %path.display(), "an upload that stood still is removed");
            remove(&path);
        } else {
            left += 1;
        }
    }
    Ok(left)
}

/// Removes bodies of requests that an earlier process has left, and uploads that have stood still.
pub fn tidy(api: &Api) {
    let dir = folder(api);
    let Ok(names) = api.engine().disk().list(&dir) else {
        return;
    };
    for name in names {
        if name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            remove(&dir.join(name));
        }
    }
    if dir.exists()
        && let Err(error) = collect(&dir, api)
    {
        tracing::warn!(code = error.code(), "uploads could not be looked through");
    }
}

/// A body on disk, removed with its owner.
#[derive(Debug)]
pub struct Upload(pub PathBuf);

impl Upload {
    /// Receives a body of at most [`limits::BUNDLE_BYTES_MAX`]; one that stands still is given up.
    pub async fn receive(api: &Arc<Api>, body: Body) -> Result<Self, ApiError> {
        let dir = folder(api);
        let failed = |error: io::Error| ApiError::storage(&error);
        api.engine().disk().create_dir_all(&dir).map_err(failed)?;
        let upload = Upload(dir.join(format!("{:016x}", api.engine().clock().entropy())));
        let mut file = tokio::fs::File::create_new(&upload.0).await.map_err(failed)?;
        pour_up_to(body, &mut file, limits::BUNDLE_BYTES_MAX, None).await?;
        file.flush().await.map_err(failed)?;
        Ok(upload)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Writes exactly `bytes` bytes of a body. What came before it broke off is written.
async fn pour(
    body: Body,
    file: &mut tokio::fs::File,
    bytes: u64,
    patience: Option<BodyPatience>,
) -> Result<(), ApiError> {
    let received = pour_up_to(body, file, bytes, patience).await.map_err(|error| {
        if error.code() == "too_large" {
            ApiError::malformed("range_mismatch", "the body is longer than was said")
        } else {
            error
        }
    })?;
    if received < bytes {
        let detail = format!("the body is shorter than was said: {received} of {bytes} bytes came");
        return Err(ApiError::malformed("range_mismatch", detail));
    }
    Ok(())
}

/// Writes a body of at most `bytes_max` bytes. How many came.
async fn pour_up_to(
    body: Body,
    file: &mut tokio::fs::File,
    bytes_max: u64,
    patience: Option<BodyPatience>,
) -> Result<u64, ApiError> {
    let mut pieces = body.into_data_stream();
    let mut received: u64 = 0;
    let patience = patience.map_or(Duration::from_millis(limits::BODY_READ_MS_MAX), |patience| {
        patience.0
    });
    loop {
        let piece = tokio::time::timeout(patience, pieces.next()).await;
        let piece = match piece.map_err(|_| ApiError::body_timeout())? {
            None => return Ok(received),
            Some(piece) => piece.map_err(|error| {
                ApiError::malformed("body_broken", format!("the body could not be read: {error}"))
            })?,
        };
        received += piece.len() as u64;
        if received > bytes_max {
            return Err(ApiError::body_too_large(
                usize::try_from(bytes_max).unwrap_or(usize::MAX),
            ));
        }
        file.write_all(&piece)
            .await
            .map_err(|error| ApiError::storage(&error))?;
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an upload was left behind");
    }
}
