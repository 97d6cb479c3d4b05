//! Webhooks of a tenant: made, changed, read, rotated, paused, resumed, deleted.
//!
//! What would send asks first whether anything may leave; a refusal is recorded.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::auth::Caller;
use super::change::{Change, Thing};
use super::error::{ApiError, created, json, no_content};
use super::jobs::{Reason, reason_of};
use super::preconditions::{Meant, check_if_match};
use super::reading::{Asked, List, list_rows};
use super::request::{Id, Json, OptionalJson, Query, check_range};
use super::webhook_view::{DeliveryView, GivenFilters, NewWebhook, Rotation, WebhookSettings, WebhookView};
use crate::domain::command::{ChangeWebhook, PutWebhook, Reply, WebhookChange};
use crate::domain::state::Kind;
use crate::domain::webhook::{SignatureKind, Webhook, WebhookFilters, WebhookKey};
use crate::domain::{Seq, TenantName, Timestamp, WebhookName};
use crate::egress::Mode;
use crate::limits;
use crate::secrets::SecretError;
use crate::webhooks::{Address, SigningKey, WebhookError};

impl Thing for WebhookName {
    const NAME: &str = "webhook";
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Full | WebhookError::Testing => ApiError::too_many(error.to_string()),
            WebhookError::Key => ApiError::conflict("webhook_key_missing", error.to_string()),
            WebhookError::Address(error) => ApiError::field(error.code(), "/url", error.to_string()),
            WebhookError::Secret(SecretError::Disk { cause, .. }) => ApiError::storage(&cause),
            WebhookError::Secret(error) => {
                tracing::error!(%error, "a webhook's key could not be kept");
                ApiError::internal("the key could not be kept")
            }
            WebhookError::Ledger(error) => error.into(),
            WebhookError::Store(error) => error.into(),
            WebhookError::Engine(error) => error.into(),
        }
    }
}

/// A secret that a request brings or has drawn.
struct NewKey {
    key: WebhookKey,
    /// To be shown this once: it was drawn here.
    shown: Option<String>,
}

impl Api {
    /// A webhook as it stands.
    pub(super) async fn webhook(
        &self,
        tenant: &TenantName,
        name: &WebhookName,
    ) -> Result<Option<Webhook>, ApiError> {
        let name = name.clone();
        self.read(tenant, move |reading| Ok(reading.view().webhook(&name)?))
            .await
    }

    /// A webhook that a request is for, and which change of it alone may be meant.
    pub(super) async fn meant(
        &self,
        tenant: &TenantName,
        name: &WebhookName,
        headers: &HeaderMap,
    ) -> Result<(Webhook, Option<Seq>), ApiError> {
        let webhook = self.webhook(tenant, name).await?;
        let webhook = webhook.ok_or_else(|| ApiError::not_found("webhook"))?;
        let expected = match check_if_match(headers, Some(&tag_of(&webhook)))? {
            Meant::Any => None,
            Meant::This => Some(webhook.seq),
        };
        Ok((webhook, expected))
    }

    /// Lets through what would send, unless nothing may leave.
    pub(super) async fn check_unsealed(
        &self,
        caller: &Caller,
        name: &WebhookName,
        operation: &'static str,
    ) -> Result<(), ApiError> {
        match self.context.outlet.mode() {
            Mode::Open => Ok(()),
            Mode::Sealed => Err(self.refuse_sealed(caller, name, operation).await?),
        }
    }

    /// Records that something was refused because nothing may leave.
    pub(super) async fn refuse_sealed(
        &self,
        caller: &Caller,
        name: &WebhookName,
        operation: &'static str,
    ) -> Result<ApiError, ApiError> {
        let change = change_of(name, None, WebhookChange::Refuse { operation });
        let (tenant, actor) = (caller.tenant()?, caller.actor());
        self.webhooks().change(tenant, &actor, change).await?;
        let detail = "the appliance is sealed: no webhook sends anything";
        Ok(ApiError::conflict("sealed_mode", detail))
    }

    fn view_webhook(&self, tenant: &TenantName, webhook: &Webhook) -> Result<WebhookView, ApiError> {
        let blocked = match self.context.outlet.mode() {
            Mode::Open => None,
            Mode::Sealed => Some("sealed_mode"),
        };
        let delivery = if tenant.is_foreign() {
            None
        } else {
            let size = self.engine().ledger(tenant)?.size();
            let progress = self.webhooks().progress(tenant, webhook);
            Some(DeliveryView::new(progress, size, blocked))
        };
        let now = Timestamp::from_ms(self.now_ms());
        Ok(WebhookView::new(webhook, delivery, now))
    }

    async fn change_webhook(&self, caller: &Caller, change: ChangeWebhook) -> Result<WebhookView, ApiError> {
        let tenant = caller.tenant()?;
        let receipt = self.webhooks().change(tenant, &caller.actor(), change).await?;
        let Reply::Webhook { now: Some(now), .. } = receipt.reply else {
            return Err(ApiError::internal("the writer answered something else"));
        };
        self.view_webhook(tenant, &now)
    }

    /// Reads or draws a secret and writes its file.
    async fn take_key(
        self: &Arc<Self>,
        tenant: &TenantName,
        secret: Option<&str>,
        signature: Option<SignatureKind>,
    ) -> Result<NewKey, ApiError> {
        let clock = self.engine().clock();
        let wrong = |detail: String| ApiError::field("invalid_field", "/secret", detail);
        let key = match secret {
            Some(text) => SigningKey::read(text),
            None => SigningKey::draw(signature.unwrap_or(SignatureKind::HmacSha256), &mut |bytes| {
                clock.fill_random(bytes);
            }),
        };
        let key = key.map_err(|error| wrong(error.to_string()))?;
        if signature.is_some_and(|signature| signature != key.kind()) {
            return Err(wrong(
                "the secret signs otherwise than `signature` says".to_owned(),
            ));
        }
        let shown = secret.is_none().then(|| key.secret().to_owned());
        let tenant = tenant.clone();
        let kept = self.blocking(move |api| Ok(api.webhooks().keep_key(&tenant, &key)?));
        Ok(NewKey {
            key: kept.await?,
            shown,
        })
    }
}

/// Makes a webhook.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "administration", request_body = NewWebhook,
    responses((status = 201, body = WebhookView)))]
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json(new): Json<NewWebhook>,
) -> Result<Response, ApiError> {
    let (name, settings) = new.split();
    let drawn = || format!("wh-{:016x}", api.engine().clock().entropy()).parse();
    let name: WebhookName = match name {
        Some(name) => name,
        None => drawn().map_err(|_| ApiError::internal("no name could be drawn"))?,
    };
    if api.webhook(caller.tenant()?, &name).await?.is_some() {
        let detail = format!("webhook {name} exists");
        return Err(ApiError::conflict("name_taken", detail));
    }
    to_the_end(put(api, caller, name, (settings, None))).await
}

/// Makes a webhook, or changes one; its cursor stays, and its secret where none is given.
#[utoipa::path(put, path = "/api/v1/webhooks/{name}", tag = "administration",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header,
        description = "Only what stands as this ETag says; * for what is there at all")),
    request_body = WebhookSettings,
    responses((status = 201, description = "It is new", body = WebhookView), (status = 200, body = WebhookView)))]
pub async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<WebhookName>, ApiError>,
    headers: HeaderMap,
    Json(settings): Json<WebhookSettings>,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| {
        let detail = "a webhook is named [a-z0-9][a-z0-9-]{0,62}";
        ApiError::field("invalid_field", "", detail)
    })?;
    let before = api.webhook(caller.tenant()?, &name).await?;
    let tag = before.as_ref().map(tag_of);
    check_if_match(&headers, tag.as_deref())?;
    to_the_end(put(api, caller, name, (settings, before))).await
}

/// Goes on when the client has hung up: a key that was written is named or removed, and a place is held as long as it is
/// needed.
async fn to_the_end(
    change: impl Future<Output = Result<Response, ApiError>> + Send + 'static,
) -> Result<Response, ApiError> {
    let done = tokio::spawn(change).await;
    done.map_err(|_| ApiError::internal("the change of a webhook was cut short"))?
}

async fn put(
    api: Arc<Api>,
    caller: Caller,
    name: WebhookName,
    (settings, before): (WebhookSettings, Option<Webhook>),
) -> Result<Response, ApiError> {
    let tenant = own_tenant(&caller)?;
    settings.url.parse::<Address>().map_err(WebhookError::from)?;
    let filters = filters_of(&settings.filters)?;
    let next = next_of(&settings, before.as_ref())?;
    let overlap_ms = overlap_of(settings.overlap_ms)?;
    let operation = if before.is_some() { "change" } else { "create" };
    api.check_unsealed(&caller, &name, operation).await?;
    let place = match before {
        Some(_) => None,
        None => Some(api.webhooks().reserve(&tenant, &name)?),
    };
    let secret = settings.secret.as_deref();
    let has_other_kind = |before: &Webhook| settings.signature.is_some_and(|kind| kind != before.key.kind);
    let new_key = if secret.is_some() || before.as_ref().is_none_or(has_other_kind) {
        Some(api.take_key(&tenant, secret, settings.signature).await?)
    } else {
        None
    };
    let (key, shown) = new_key.map_or((None, None), |new| (Some(new.key), new.shown));
    let put = PutWebhook {
        expected: before.as_ref().map(|webhook| webhook.seq),
        filters,
        key,
        next,
        overlap_ms,
        types: settings.types,
        url: settings.url,
    };
    let change = change_of(&name, None, WebhookChange::Put(put));
    let view = api.change_webhook(&caller, change).await?;
    drop(place);
    let view = view.with_secret(shown);
    let response = match before {
        None => created(format!("/api/v1/webhooks/{name}"), &view),
        Some(_) => json(StatusCode::OK, &view),
    };
    Ok(tagged(&view, response))
}

/// The tenant, which must be one of ours.
fn own_tenant(caller: &Caller) -> Result<TenantName, ApiError> {
    let tenant = caller.tenant()?.clone();
    if tenant.is_foreign() {
        let detail = "an imported ledger can only be read";
        return Err(ApiError::conflict("foreign_read_only", detail));
    }
    Ok(tenant)
}

/// Events after which a webhook may begin.
fn next_of(settings: &WebhookSettings, before: Option<&Webhook>) -> Result<Option<Seq>, ApiError> {
    let Some(after) = settings.after else {
        return Ok(None);
    };
    let wrong = |detail: &str| ApiError::field("invalid_field", "/after", detail);
    if before.is_some() {
        return Err(wrong("a webhook keeps its cursor"));
    }
    let next = after.checked_add(1).and_then(|next| u64::try_from(next).ok());
    next.map(|next| Some(Seq(next)))
        .ok_or_else(|| wrong("the sequence of an event, or -1"))
}

fn overlap_of(asked: Option<u64>) -> Result<u64, ApiError> {
    let overlap_ms = asked.unwrap_or(limits::WEBHOOK_OVERLAP_MS_DEFAULT);
    check_range("/overlapMs", overlap_ms, 0, limits::WEBHOOK_OVERLAP_MS_MAX)?;
    Ok(overlap_ms)
}

fn filters_of(given: &GivenFilters) -> Result<WebhookFilters, ApiError> {
    if given.run.is_some() && given.pack_run.is_some() {
        let detail = "one of job, run, packRun";
        return Err(ApiError::field("invalid_field", "/filters/packRun", detail));
    }
    Ok(WebhookFilters {
        correlation_id: given.correlation_id.clone(),
        job: given.job,
        project: given.project.clone(),
        run: given.run.or(given.pack_run),
    })
}

/// Names the last change, as an entity tag.
fn tag_of(webhook: &Webhook) -> String {
    format!("\"{}\"", webhook.seq)
}

fn change_of(name: &WebhookName, expected: Option<Seq>, change: WebhookChange) -> ChangeWebhook {
    ChangeWebhook {
        expected,
        name: name.clone(),
        change,
    }
}

fn tagged(view: &WebhookView, mut response: Response) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&view.tag()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The webhooks of a tenant, the last of the alphabet first.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "administration",
    params(("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<WebhookView>)))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<List<WebhookView>>, ApiError> {
    let asked = Asked::take(&mut query)?;
    query.finish()?;
    let tenant = caller.tenant()?;
    let list = api.read(tenant, move |reading| {
        list_rows(reading, Kind::Webhook, &asked, |row| {
            Ok(row.as_webhook().cloned())
        })
    });
    let List {
        as_of,
        items,
        next_cursor,
    } = list.await?;
    let items = items.iter().map(|webhook| api.view_webhook(tenant, webhook));
    Ok(Answer(List {
        as_of,
        items: items.collect::<Result<_, _>>()?,
        next_cursor,
    }))
}

/// One webhook: its settings, and how its delivery stands.
#[utoipa::path(get, path = "/api/v1/webhooks/{name}", tag = "administration", params(("name" = String, Path)),
    responses((status = 200, body = WebhookView)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<WebhookName>, ApiError>,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("webhook"))?;
    let tenant = caller.tenant()?;
    let webhook = api.webhook(tenant, &name).await?;
    let webhook = webhook.ok_or_else(|| ApiError::not_found("webhook"))?;
    let view = api.view_webhook(tenant, &webhook)?;
    Ok(tagged(&view, json(StatusCode::OK, &view)))
}

/// Gives a webhook another secret; the one before signs too for a while.
#[utoipa::path(post, path = "/api/v1/webhooks/{name}/rotate", tag = "administration",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header,
        description = "Only what stands as this ETag says; * for what is there at all")),
    request_body = Rotation, responses((status = 200, body = WebhookView)))]
pub async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<WebhookName>, ApiError>,
    headers: HeaderMap,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("webhook"))?;
    to_the_end(replace_key(api, caller, name, (headers, rotation))).await
}

async fn replace_key(
    api: Arc<Api>,
    caller: Caller,
    name: WebhookName,
    (headers, rotation): (HeaderMap, Rotation),
) -> Result<Response, ApiError> {
    let tenant = own_tenant(&caller)?;
    let overlap_ms = overlap_of(rotation.overlap_ms)?;
    let before = api.webhook(&tenant, &name).await?;
    let before = before.ok_or_else(|| ApiError::not_found("webhook"))?;
    check_if_match(&headers, Some(&tag_of(&before)))?;
    api.check_unsealed(&caller, &name, "rotate").await?;
    let secret = rotation.secret.as_deref();
    let signature = match secret {
        Some(_) => rotation.signature,
        None => Some(rotation.signature.unwrap_or(before.key.kind)),
    };
    let NewKey { key, shown } = api.take_key(&tenant, secret, signature).await?;
    let put = PutWebhook {
        expected: Some(before.seq),
        filters: before.filters,
        key: Some(key),
        next: None,
        overlap_ms,
        types: before.types,
        url: before.url,
    };
    let change = change_of(&name, None, WebhookChange::Put(put));
    let view = api.change_webhook(&caller, change).await?;
    let view = view.with_secret(shown);
    Ok(tagged(&view, json(StatusCode::OK, &view)))
}

/// Stops a webhook. It keeps its cursor.
#[utoipa::path(post, path = "/api/v1/webhooks/{name}/pause", tag = "administration",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header,
        description = "Only what stands as this ETag says; * for what is there at all")),
    request_body = Reason, responses((status = 200, body = WebhookView)))]
pub async fn pause(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    change: Change<WebhookName>,
) -> Result<Response, ApiError> {
    let Change { caller, id, reason } = change;
    let tenant = caller.tenant()?;
    let (webhook, expected) = api.meant(tenant, &id, &headers).await?;
    let next = Seq(api.webhooks().progress(tenant, &webhook).next);
    let change = change_of(
        &id,
        expected,
        WebhookChange::Pause {
            next,
            opened: webhook.opened,
            reason,
        },
    );
    let view = api.change_webhook(&caller, change).await?;
    Ok(tagged(&view, json(StatusCode::OK, &view)))
}

/// Lets a paused or dead webhook go on at its cursor, without a gap.
#[utoipa::path(post, path = "/api/v1/webhooks/{name}/resume", tag = "administration",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header,
        description = "Only what stands as this ETag says; * for what is there at all")),
    request_body = Reason, responses((status = 200, body = WebhookView)))]
pub async fn resume(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    change: Change<WebhookName>,
) -> Result<Response, ApiError> {
    let Change { caller, id, reason } = change;
    let (_, expected) = api.meant(caller.tenant()?, &id, &headers).await?;
    api.check_unsealed(&caller, &id, "resume").await?;
    let change = change_of(&id, expected, WebhookChange::Resume { reason });
    let view = api.change_webhook(&caller, change).await?;
    Ok(tagged(&view, json(StatusCode::OK, &view)))
}

/// Ends a webhook: its cursor and its secret are removed, and what is on its way is cut off.
#[utoipa::path(delete, path = "/api/v1/webhooks/{name}", tag = "administration",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header,
        description = "Only what stands as this ETag says; * for what is there at all")),
    responses((status = 204, description = "Deleted")))]
pub async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    name: Result<Id<WebhookName>, ApiError>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Id(name) = name.map_err(|_| ApiError::not_found("webhook"))?;
    let (tenant, actor) = (caller.tenant()?, caller.actor());
    let (_, expected) = api.meant(tenant, &name, &headers).await?;
    let reason = reason_of(None, &headers);
    let change = change_of(&name, expected, WebhookChange::Delete { reason });
    api.webhooks().change(tenant, &actor, change).await?;
    Ok(no_content().into_response())
}
