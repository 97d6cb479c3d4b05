//! Packs: register a version, list, read, and the source as it was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{ApiError, FieldError, created};
use super::reading::{Asked, List, list_rows};
use super::request::{Id, Ids, Query, media_type, read_body};
use crate::domain::canonical::Value;
use crate::domain::command::{Command, PackNovelty, RegisterPack, Reply};
use crate::domain::pack::{InputType, PackErrors, PackSpec, plan_hash};
use crate::domain::state::{Kind, Pack};
use crate::domain::{Digest, PackName, Timestamp};
use crate::limits;

/// What became of a registration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// False when a version with these bytes was there.
    created: bool,
    #[schema(value_type = String, example = "host-inventory")]
    name: PackName,
    #[schema(value_type = String)]
    plan_hash: Digest,
    version: u32,
}

/// Registers a pack. The same bytes again give the version that has them.
#[utoipa::path(post, path = "/api/v1/packs", tag = "packs",
    request_body(content((Object = "application/yaml"), (Object = "application/json"))),
    responses((status = 201, description = "A new version", body = Registered),
        (status = 200, description = "The version was there", body = Registered)))]
pub async fn register(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    match media_type(request.headers()).as_deref() {
        Some("application/yaml" | "application/x-yaml" | "text/yaml" | "application/json") => {}
        _ => {
            return Err(ApiError::unsupported_media_type(
                "application/yaml or application/json",
            ));
        }
    }
    let source = read_body(request, limits::PACK_BYTES_MAX).await?;
    let parsed = api.blocking(move |_| {
        let spec = PackSpec::parse(&source).map_err(|errors| invalid(&errors))?;
        let source = String::from_utf8(source.into())
            .map_err(|_| ApiError::invalid("pack_invalid", "the source is not UTF-8"))?;
        let plan_hash = plan_hash(&spec);
        Ok(RegisterPack {
            plan_hash,
            source,
            spec,
        })
    });
    let command = Command::RegisterPack(Box::new(parsed.await?));
    let receipt = api
        .engine()
        .submit(caller.tenant()?, &caller.actor(), command)
        .await?;
    let Reply::Pack(pack, novelty) = receipt.reply else {
        return Err(ApiError::internal("the writer answered something else"));
    };
    let is_new = novelty == PackNovelty::Created;
    let place = format!("/api/v1/packs/{}/versions/{}", pack.name, pack.version);
    let registered = Registered {
        created: is_new,
        name: pack.name,
        plan_hash: pack.plan_hash,
        version: pack.version,
    };
    Ok(if is_new {
        created(place, &registered)
    } else {
        Answer(registered).into_response()
    })
}

/// Everything found wrong in a source.
fn invalid(errors: &PackErrors) -> ApiError {
    let fields = errors.all().iter().map(|error| FieldError {
        column: Some(error.column),
        detail: error.message.clone(),
        line: Some(error.line),
        pointer: error.pointer.clone(),
    });
    let detail = errors.all().first().map_or_else(String::new, ToString::to_string);
    ApiError::invalid("pack_invalid", detail).with_errors(fields.collect())
}

/// A pack version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackView {
    /// The last event at which this is true; only where one is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<i64>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// For people; empty where the pack has none.
    description: String,
    /// What a run can be given.
    inputs: BTreeMap<String, InputView>,
    #[schema(value_type = String, example = "host-inventory")]
    name: PackName,
    #[schema(value_type = String)]
    plan_hash: Digest,
    /// SHA-256 of the source.
    #[schema(value_type = String)]
    source_sha256: Digest,
    /// The normalised definition; only where one is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    spec: Option<PackSpec>,
    version: u32,
}

/// A declared input.
#[derive(Debug, Serialize, ToSchema)]
pub struct InputView {
    /// Taken when a run is given none; without it the input must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    default: Option<Value>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// `string`, `int`, `bool`, `list`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "string")]
    input_type: InputType,
}

impl PackView {
    fn new(pack: &Pack) -> Self {
        let inputs = pack.spec.inputs.iter().map(|(name, input)| {
            let view = InputView {
                default: input.default.clone(),
                description: input.description.clone(),
                input_type: input.input_type,
            };
            (name.clone(), view)
        });
        PackView {
            as_of: None,
            created_at: pack.created_at,
            description: pack.spec.description.clone().unwrap_or_default(),
            inputs: inputs.collect(),
            name: pack.name.clone(),
            plan_hash: pack.plan_hash,
            source_sha256: pack.source_sha256,
            spec: None,
            version: pack.version,
        }
    }
}

/// The latest version of each pack.
#[utoipa::path(get, path = "/api/v1/packs", tag = "packs",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<PackView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<PackView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| {
        let view = reading.view();
        // Of a pack's versions only the latest one is kept: each is followed by its head, which names it.
        list_rows(reading, Kind::Pack, &asked, |row| {
            let Some(pack) = row.as_pack() else {
                return Ok(None);
            };
            let latest = view.pack_head(&pack.name)?;
            Ok((latest == Some(pack.version)).then(|| PackView::new(pack)))
        })
    });
    Ok(Answer(list.await?))
}

/// A pack and its versions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackVersions {
    as_of: i64,
    /// The latest version.
    latest: PackView,
    /// All versions, newest first; at most 500.
    versions: Vec<PackView>,
}

/// A pack with its versions.
#[utoipa::path(get, path = "/api/v1/packs/{name}", tag = "packs", params(("name" = String, Path)),
    responses((status = 200, body = PackVersions)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<PackName>, ApiError>,
) -> Result<Answer<PackVersions>, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("pack"))?;
    let read = api.read(caller.tenant()?, move |reading| {
        let view = reading.view();
        let missing = || ApiError::not_found("pack");
        let head = view.pack_head(&name)?.ok_or_else(missing)?;
        let latest = view.pack(&name, head)?.ok_or_else(missing)?;
        let mut versions = Vec::new();
        for version in (1..=head).rev().take(limits::PAGE_ITEMS_MAX) {
            versions.extend(view.pack(&name, version)?.map(|pack| PackView::new(&pack)));
        }
        Ok(PackVersions {
            as_of: reading.as_of,
            latest: PackView::new(&latest),
            versions,
        })
    });
    Ok(Answer(read.await?))
}

/// One version, with its normalised definition.
#[utoipa::path(get, path = "/api/v1/packs/{name}/versions/{version}", tag = "packs",
    params(("name" = String, Path), ("version" = u32, Path)), responses((status = 200, body = PackView)))]
pub async fn read_version(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Result<Ids<PackName, u32>, ApiError>,
) -> Result<Answer<PackView>, ApiError> {
    let Ids(name, version) = ids.map_err(|_| ApiError::not_found("pack version"))?;
    let read = api.read(caller.tenant()?, move |reading| {
        let pack = reading
            .view()
            .pack(&name, version)?
            .ok_or_else(|| ApiError::not_found("pack version"))?;
        Ok(PackView {
            as_of: Some(reading.as_of),
            spec: Some(pack.spec.clone()),
            ..PackView::new(&pack)
        })
    });
    Ok(Answer(read.await?))
}

/// The source of a version, byte for byte.
#[utoipa::path(get, path = "/api/v1/packs/{name}/versions/{version}/source", tag = "packs",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, content((Object = "application/yaml"), (Object = "application/json")))))]
pub async fn read_source(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ids: Result<Ids<PackName, u32>, ApiError>,
) -> Result<Response, ApiError> {
    let Ids(name, version) = ids.map_err(|_| ApiError::not_found("pack version"))?;
    let source = api.read(caller.tenant()?, move |reading| {
        let source = reading.view().pack_source(&name, version)?;
        source.ok_or_else(|| ApiError::not_found("pack version"))
    });
    let source = source.await?;
    // The bytes say what they are: JSON is told by reading it, everything else is YAML.
    let is_json = source.trim_start().starts_with('{')
        && serde_json::from_str::<serde::de::IgnoredAny>(&source).is_ok();
    let media_type = if is_json {
        "application/json"
    } else {
        "application/yaml"
    };
    Ok(([(header::CONTENT_TYPE, media_type)], source).into_response())
}
