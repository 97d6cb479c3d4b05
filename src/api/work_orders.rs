//! Work orders: issued here and carried away, or taken in here, approved, started; and what came back of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::attempts::to_its_end;
use super::auth::Caller;
use super::change::Change;
use super::error::{ApiError, created, no_content};
use super::idempotency::{Keyed, mark};
use super::reading::{Asked, List, Reading, list_rows, write_hex};
use super::request::{Id, Json, OptionalJson, Query, header_text, read_body};
use super::work_order_view::{GivenPack, NewWorkOrder, NotStarted, TakenView, WorkOrderView};
use crate::bundle::order::Given;
use crate::bundle::order::evidence::{evidence, witnesses};
use crate::bundle::order::intake::{self, IntakeError};
use crate::bundle::order::issue;
use crate::bundle::order::letters;
use crate::bundle::order::write::{NewOrder, NewRun};
use crate::domain::order::{IssuedOrder, OrderState, ReceivedOrder};
use crate::domain::payload::orders::OrdersKeyPinned;
use crate::domain::state::Kind;
use crate::domain::token::{Import, Scope};
use crate::domain::{Digest, EnclaveName, OrderId, TenantName};
use crate::engine::CommandError;
use crate::limits;
use crate::trust::PublicKey;

/// Carries a hub's orders key, as base64 of its SPKI PEM.
pub const ORDERS_KEY_HEADER: &str = "x-fastness-orders-key";

/// Issues a work order, signed with this hub's orders key, to be carried to the enclaves that it is for.
#[utoipa::path(post, path = "/api/v1/work-orders", tag = "work orders", request_body = NewWorkOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request again is answered as before")),
    responses((status = 201, description = "The order, to be fetched at /work-orders/{id}/content", body = WorkOrderView)))]
pub async fn issue(
    State(api): State<Arc<Api>>,
    caller: Caller,
    new: Keyed<NewWorkOrder>,
) -> Result<Response, ApiError> {
    let idempotency = new
        .key(
            &api,
            (&caller, "work-orders"),
            new.body.idempotency_key.as_deref(),
        )
        .await?;
    let tenant = caller.tenant()?.clone();
    let order = asked_for(&api, &tenant, new.body).await?;
    let issuing = async move {
        let whose = tenant.clone();
        let prepared = api
            .blocking(move |api| Ok(issue::prepare(api.engine(), &whose, &order, idempotency)?))
            .await?;
        Ok(issue::issue(api.engine(), &tenant, &caller.actor(), prepared).await?)
    };
    let issued = to_its_end(issuing).await?;
    let view = WorkOrderView::new(Some((issued.order, Vec::new())), None);
    let view = view.ok_or_else(|| ApiError::not_found("work order"))?;
    let response = created(format!("/api/v1/work-orders/{}", view.id()), &view);
    Ok(if issued.is_old { mark(response) } else { response })
}

/// What was asked for, with the bytes of packs that are registered here.
async fn asked_for(api: &Api, tenant: &TenantName, new: NewWorkOrder) -> Result<NewOrder, ApiError> {
    let (packs, runs) = (new.packs, new.runs);
    let packs = api
        .read(tenant, move |reading| {
            let sources = packs
                .into_iter()
                .enumerate()
                .map(|(index, pack)| source_of(reading, index, pack));
            sources.collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let mut asked = Vec::with_capacity(runs.len());
    for (index, run) in runs.into_iter().enumerate() {
        let bad = |detail: String| ApiError::field("invalid_field", format!("/runs/{index}/name"), detail);
        let name = match run.name {
            Some(name) => name,
            None => run
                .pack
                .as_str()
                .parse()
                .map_err(|error: crate::domain::NameError| bad(error.to_string()))?,
        };
        asked.push(NewRun {
            inputs: run.inputs,
            name,
            pack: run.pack,
        });
    }
    Ok(NewOrder {
        enclaves: new.enclaves,
        expires_at: new.expires_at,
        packs,
        persons: new.persons,
        runs: asked,
    })
}

fn source_of(reading: &Reading, index: usize, pack: GivenPack) -> Result<String, ApiError> {
    let at = format!("/packs/{index}");
    match (pack.source, pack.name) {
        (Some(source), None) if pack.version.is_none() => Ok(source),
        (None, Some(name)) => {
            let view = reading.view();
            let version = match pack.version {
                Some(version) => Some(version),
                None => view.pack_head(&name)?,
            };
            let source = version
                .map(|version| view.pack_source(&name, version))
                .transpose()?;
            let missing = || ApiError::field("not_found", at, format!("no such version of the pack {name}"));
            source.flatten().ok_or_else(missing)
        }
        _ => Err(ApiError::field(
            "invalid_field",
            at,
            "a pack is given by its source, or by its name and version",
        )),
    }
}

/// All work orders of the tenant, those issued and those taken in, newest first.
#[utoipa::path(get, path = "/api/v1/work-orders", tag = "work orders",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<WorkOrderView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<WorkOrderView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let list = api.read(caller.tenant()?, move |reading| merged(reading, &asked));
    Ok(Answer(list.await?))
}

/// Both kinds have the same tails of keys, so one cursor serves for both.
fn merged(reading: &Reading, asked: &Asked) -> Result<List<WorkOrderView>, ApiError> {
    let issued = list_rows(reading, Kind::IssuedOrder, asked, |row| {
        Ok(row.as_issued_order().cloned())
    })?;
    let received = list_rows(reading, Kind::ReceivedOrder, asked, |row| {
        Ok(row.as_received_order().cloned())
    })?;
    let goes_on = issued.next_cursor.is_some() || received.next_cursor.is_some();
    let mut found: BTreeMap<OrderId, (Option<IssuedOrder>, Option<ReceivedOrder>)> = BTreeMap::new();
    for order in issued.items {
        let both = found.entry(order.id).or_default();
        both.0 = Some(order);
    }
    for order in received.items {
        let both = found.entry(order.id).or_default();
        both.1 = Some(order);
    }
    let total = found.len();
    let witnesses = witnesses(reading.snapshot())?;
    let mut items = Vec::with_capacity(asked.limit.min(total));
    for (_, (issued, received)) in found.into_iter().rev().take(asked.limit) {
        items.extend(view_of(reading, &witnesses, issued, received)?);
    }
    let last = items.last().map(WorkOrderView::id);
    let next_cursor = last.filter(|_| goes_on || total > items.len());
    Ok(List {
        as_of: reading.as_of,
        items,
        next_cursor: next_cursor.map(|id| write_hex(id.as_bytes())),
    })
}

fn view_of(
    reading: &Reading,
    witnesses: &[Import],
    issued: Option<IssuedOrder>,
    received: Option<ReceivedOrder>,
) -> Result<Option<WorkOrderView>, ApiError> {
    let issued = match issued {
        None => None,
        Some(issued) => {
            let evidence = evidence(reading.snapshot(), witnesses, &issued)?;
            Some((issued, evidence))
        }
    };
    Ok(WorkOrderView::new(issued, received))
}

/// How far a work order is: at the hub with the evidence that came back, at the enclave as it stands.
#[utoipa::path(get, path = "/api/v1/work-orders/{id}", tag = "work orders", params(("id" = String, Path)),
    responses((status = 200, body = WorkOrderView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<OrderId>, ApiError>,
) -> Result<Answer<WorkOrderView>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("work order"))?;
    Ok(Answer(told(&api, caller.tenant()?, id).await?))
}

async fn told(api: &Api, tenant: &TenantName, id: OrderId) -> Result<WorkOrderView, ApiError> {
    let view = api.read(tenant, move |reading| {
        let view = reading.view();
        let witnesses = witnesses(reading.snapshot())?;
        let found = view_of(
            reading,
            &witnesses,
            view.issued_order(id)?,
            view.received_order(id)?,
        )?;
        Ok(found.map(|found| found.at(reading.as_of)))
    });
    view.await?.ok_or_else(|| ApiError::not_found("work order"))
}

/// The file of a work order that was issued here.
#[utoipa::path(get, path = "/api/v1/work-orders/{id}/content", tag = "work orders", params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/zstd")))]
pub async fn content(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<OrderId>, ApiError>,
) -> Result<Response, ApiError> {
    let order = issued(&api, &caller, id).await?;
    let name = issue::order_name(order.id);
    letter(&api, order.tar_sha256, name).await
}

/// The file of the cancellation of a work order that was issued here: carried like the order.
#[utoipa::path(get, path = "/api/v1/work-orders/{id}/cancellation", tag = "work orders", params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/zstd")))]
pub async fn cancellation(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<OrderId>, ApiError>,
) -> Result<Response, ApiError> {
    let order = issued(&api, &caller, id).await?;
    let name = issue::cancellation_name(order.id);
    let stopped = order.recalled.and_then(|recalled| recalled.tar_sha256);
    let stopped = stopped.ok_or_else(|| ApiError::not_found("cancellation of this work order"))?;
    letter(&api, stopped, name).await
}

async fn issued(
    api: &Arc<Api>,
    caller: &Caller,
    id: Result<Id<OrderId>, ApiError>,
) -> Result<IssuedOrder, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("work order"))?;
    let order = api.read(caller.tenant()?, move |reading| {
        Ok(reading.view().issued_order(id)?)
    });
    order.await?.ok_or_else(|| ApiError::not_found("work order"))
}

async fn letter(api: &Arc<Api>, tar_sha256: Digest, name: String) -> Result<Response, ApiError> {
    let bytes = api
        .blocking(move |api| {
            letters::read_letter(api.engine(), tar_sha256).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => ApiError::not_found("file of this work order"),
                _ => ApiError::storage(&error),
            })
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zstd".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((headers, bytes).into_response())
}

/// Verifies a work order, or the cancellation of one, sent as it is, and takes it in. A key given is pinned for its hub,
/// with the scope `orch:admin` and where nothing else says who signs there; else it must be the one that counts. With
/// `start` its runs are made at once, where nothing stands in the way.
#[utoipa::path(post, path = "/api/v1/work-orders/import", tag = "work orders",
    params(("start" = Option<bool>, Query)),
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    responses((status = 201, description = "Taken in", body = TakenView),
        (status = 200, description = "It was here already", body = TakenView)))]
pub async fn take_in(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let start = query.parsed::<bool>("start")?.unwrap_or(false);
    query.finish()?;
    let key = header_text(request.headers(), ORDERS_KEY_HEADER).map(read_key);
    let key = key.transpose()?;
    let file = read_body(request, limits::ORDER_FILE_BYTES_MAX).await?;
    to_its_end(async move { take(&api, &caller, &file, key, start).await }).await
}

async fn take(
    api: &Arc<Api>,
    caller: &Caller,
    file: &Bytes,
    key: Option<PublicKey>,
    start: bool,
) -> Result<Response, ApiError> {
    let (tenant, actor) = (caller.tenant()?, caller.actor());
    let approvers = api.context.order_approvers;
    let given = key.map(|key| {
        if caller.token.scopes.contains(&Scope::Admin) {
            Given::Pin(key)
        } else {
            Given::Expect(key)
        }
    });
    let here = (api.engine(), api.desk.quarantine());
    let taken = intake::take_in(here, (tenant, &actor), file, given, approvers).await?;
    let mut not_started = None;
    if start && taken.order.state == OrderState::Imported {
        if let Err(error) = may_start(caller) {
            not_started = Some(error);
        } else if let Err(error) = intake::start(api.engine(), (tenant, &actor), taken.order.id).await {
            not_started = Some(why_not(error)?);
        }
    }
    let view = TakenView {
        already: taken.already,
        cancellation: taken.is_cancellation,
        not_started,
        order: told(api, tenant, taken.order.id).await?,
        report: taken.report,
    };
    if taken.already {
        return Ok(Answer(view).into_response());
    }
    let place = format!("/api/v1/work-orders/{}", view.order.id());
    Ok(created(place, &view))
}

/// Starting is a right of its own.
fn may_start(caller: &Caller) -> Result<(), NotStarted> {
    if caller.token.scopes.contains(&Scope::Submit) {
        return Ok(());
    }
    Err(NotStarted {
        code: "scope_required".to_owned(),
        detail: "starting a work order needs orch:submit".to_owned(),
    })
}

/// What stands in the way of a start, where it is no failure.
fn why_not(error: IntakeError) -> Result<NotStarted, ApiError> {
    match error {
        IntakeError::Command(CommandError::Rejected(rejection)) => Ok(NotStarted {
            code: rejection.code.as_str().to_owned(),
            detail: rejection.detail,
        }),
        other => Err(other.into()),
    }
}

fn read_key(text: &str) -> Result<PublicKey, ApiError> {
    let pem = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let key = pem.and_then(|pem| PublicKey::from_pem(&pem).ok());
    key.ok_or_else(|| {
        ApiError::field(
            "invalid_field",
            format!("/header/{ORDERS_KEY_HEADER}"),
            "base64 of an SPKI PEM",
        )
    })
}

/// What a person says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// SHA-256 of the archive that was looked at, as the order shows it: refused with `order_fork` when it is another.
    #[schema(value_type = Option<String>)]
    binding: Option<Digest>,
    /// Why; at most 2,048 bytes.
    #[serde(default)]
    #[schema(required = true, min_length = 1)]
    reason: String,
}

/// Approves that a work order starts. Whoever took it in does not count, nor does one who approved before.
#[utoipa::path(post, path = "/api/v1/work-orders/{id}/approve", tag = "work orders",
    params(("id" = String, Path)), request_body = Approval, responses((status = 200, body = WorkOrderView)))]
pub async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<OrderId>, ApiError>,
    OptionalJson(said): OptionalJson<Approval>,
) -> Result<Answer<WorkOrderView>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("work order"))?;
    if said.reason.trim().is_empty() {
        return Err(ApiError::field(
            "reason_required",
            "/reason",
            "a reason is needed",
        ));
    }
    let (tenant, actor) = (caller.tenant()?, caller.actor());
    let what = (id, said.binding);
    intake::approve(api.engine(), (tenant, &actor), what, said.reason).await?;
    Ok(Answer(told(&api, tenant, id).await?))
}

/// Registers the packs of a work order under `order/<hub>/…` and makes its runs: all of them, or none.
#[utoipa::path(post, path = "/api/v1/work-orders/{id}/start", tag = "work orders", params(("id" = String, Path)),
    responses((status = 200, body = WorkOrderView)))]
pub async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<OrderId>, ApiError>,
) -> Result<Answer<WorkOrderView>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("work order"))?;
    let (tenant, actor) = (caller.tenant()?, caller.actor());
    intake::start(api.engine(), (tenant, &actor), id).await?;
    Ok(Answer(told(&api, tenant, id).await?))
}

/// Cancels a work order. Taken in here, it does not start, or its runs stop; issued here, a cancellation is signed, which has
/// to be carried too.
#[utoipa::path(post, path = "/api/v1/work-orders/{id}/cancel", tag = "work orders", params(("id" = String, Path)),
    request_body = crate::api::jobs::Reason, responses((status = 200, body = WorkOrderView)))]
pub async fn cancel(
    State(api): State<Arc<Api>>,
    change: Change<OrderId>,
) -> Result<Answer<WorkOrderView>, ApiError> {
    to_its_end(async move {
        let (tenant, actor) = (change.caller.tenant()?, change.caller.actor());
        let id = change.id;
        let engine = api.engine();
        let is_issued = issue::issued_order(engine, tenant, id)?.is_some();
        if is_issued {
            issue::recall(engine, tenant, &actor, id, &change.reason).await?;
        }
        if !is_issued || intake::received(engine, tenant, id)?.is_some() {
            intake::cancel(engine, (tenant, &actor), id, change.reason).await?;
        }
        Ok(Answer(told(&api, tenant, id).await?))
    })
    .await
}

/// The key of a hub, as people compared it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewOrdersPin {
    /// The hub, by its 16 hex digits.
    #[schema(value_type = String, example = "0123456789abcdef")]
    hub: EnclaveName,
    /// SPKI PEM of the key that signs its work orders.
    orders_key: String,
    /// Let it take the place of the one that is pinned. It is recorded that way.
    #[serde(default)]
    replace: bool,
}

/// Pins the key that signs the work orders of a hub. Another than the one already pinned is refused,
/// unless that is to be replaced.
#[utoipa::path(post, path = "/api/v1/trust/orders-pins", tag = "work orders", request_body = NewOrdersPin,
    responses((status = 204, description = "Pinned")))]
pub async fn pin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(pin): Json<NewOrdersPin>,
) -> Result<Response, ApiError> {
    let key = PublicKey::from_pem(&pin.orders_key)
        .map_err(|error| ApiError::field("invalid_field", "/ordersKey", error.to_string()))?;
    let pinned = OrdersKeyPinned {
        hub: pin.hub,
        orders_key: key
            .to_pem()
            .map_err(|error| ApiError::internal(error.to_string()))?,
        replace: pin.replace,
    };
    to_its_end(async move {
        intake::pin(api.engine(), &caller.actor(), pinned).await?;
        Ok(no_content().into_response())
    })
    .await
}
