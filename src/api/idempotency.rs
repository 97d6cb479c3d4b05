//! `Idempotency-Key`: the same request, sent twice, is done once, and answered twice alike.
//!
//! The key comes with the header, or as `idempotencyKey` in the body; it is recorded with what the request makes. The
//! first answer is not stored: it is told anew from the events that the request made, which say the same for ever.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::Api;
use super::auth::Caller;
use super::binding::Binding;
use super::error::ApiError;
use super::request::{parse_whole, read_body};
use crate::domain::apply::apply;
use crate::domain::canonical::Intake;
use crate::domain::event::{Event, EventBody};
use crate::domain::idempotency::Idempotency;
use crate::domain::job::Job;
use crate::domain::run::Run;
use crate::domain::state::{Changes, Model, View, WithPacks};
use crate::domain::{Seq, TenantName};
use crate::limits;

const HEADER: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A JSON body, and the key of the header.
#[derive(Debug)]
pub struct Keyed<T> {
    /// The body.
    pub body: T,
    /// The same, as it was read.
    pub whole: Intake,
    header: Option<String>,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Keyed<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let header = header_key(request.headers())?;
        let text = read_body(request, limits::BODY_BYTES_MAX).await?;
        // Where every field may be missing, so may the whole body.
        let (body, whole) = parse_whole(&text).or_else(|error| match text.is_empty() {
            true => parse_whole(b"{}").map_err(|_| error),
            false => Err(error),
        })?;
        Ok(Keyed { body, whole, header })
    }
}

impl<T> Keyed<T> {
    /// The key of a caller's request for a route, when it has one.
    ///
    /// # Errors
    /// Keys in header and body.
    pub async fn key(
        &self,
        api: &Arc<Api>,
        (caller, route): (&Caller, &str),
        in_body: Option<&str>,
    ) -> Result<Option<Idempotency>, ApiError> {
        if self.header.is_some() && in_body.is_some() {
            let detail = "the key is in the header or in the body, not in both";
            return Err(ApiError::field("invalid_field", "/idempotencyKey", detail));
        }
        let key = self.header.as_deref().or(in_body);
        let Some(key) = key else { return Ok(None) };
        let binding = Binding::find(api, caller, Some(&self.whole)).await?;
        Ok(Some(binding.bind(route, key, &self.whole)))
    }
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let text = headers.get(HEADER).map(|value| value.to_str()).transpose();
    let text = text.map_err(|_| ApiError::field("invalid_field", "/idempotencyKey", "visible ASCII"))?;
    Ok(text.map(str::to_owned))
}

/// Refuses the header where it would mean nothing.
///
/// # Errors
/// On a route that makes nothing, or takes the keys of its items.
pub fn check_header(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.contains_key(HEADER) {
        return Ok(());
    }
    let rest = path.strip_prefix("/api/v1/").unwrap_or_default();
    let takes = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["jobs" | "runs" | "pack-runs" | "work-orders"] => true,
        ["jobs" | "runs" | "pack-runs", id, "replay"] => *id != "batch",
        _ => false,
    };
    if takes && *method == Method::POST {
        return Ok(());
    }
    let detail =
        "this route takes no Idempotency-Key; items of a batch carry idempotencyKey; nothing was done";
    Err(ApiError::invalid("idempotency_not_supported", detail))
}

/// Says that the answer is that of an earlier request.
pub fn mark(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

impl Api {
    /// The job as the request made it whose first event is `seq`.
    pub(super) async fn job_before(self: &Arc<Api>, tenant: &TenantName, seq: Seq) -> Result<Job, ApiError> {
        let tenant = tenant.clone();
        self.blocking(move |api| {
            let event = decode(&api.engine().ledger(&tenant)?.event(seq)?)?;
            let id = event.subject.job;
            let mut model = Model::default();
            take(&mut model, &Model::default(), &event)?;
            let view: &dyn View = &model;
            let job = id.map(|id| view.job(id)).transpose()?.flatten();
            job.ok_or_else(|| ApiError::internal("the first event of a request made no job"))
        })
        .await
    }

    /// The run as the request made it whose first event is `seq`.
    pub(super) async fn run_before(self: &Arc<Api>, tenant: &TenantName, seq: Seq) -> Result<Run, ApiError> {
        let tenant = tenant.clone();
        self.blocking(move |api| {
            let ledger = api.engine().ledger(&tenant)?;
            let snapshot = api.engine().read()?;
            let packs = snapshot.view(&tenant);
            let (mut model, mut first, mut failed) = (Model::default(), None::<Event>, None);
            ledger.scan(seq, Seq(ledger.size()), &mut |_, bytes| {
                let event = match decode(bytes) {
                    Ok(event) => event,
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                };
                // All that one command makes stands together, by one actor at one time; nobody else knows the run before
                // it is answered, but for workers.
                let is_of_it = match &first {
                    None => matches!(event.body, EventBody::RunCreated(_)),
                    Some(first) => {
                        (event.subject.run, event.at) == (first.subject.run, first.at)
                            && event.actor == first.actor
                    }
                };
                if !is_of_it {
                    return ControlFlow::Break(());
                }
                if let Err(error) = take(&mut model, &packs, &event) {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                first.get_or_insert(event);
                ControlFlow::Continue(())
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            let view: &dyn View = &model;
            let run = first.and_then(|first| first.subject.run);
            let run = run.map(|run| view.run(run)).transpose()?.flatten();
            run.ok_or_else(|| ApiError::internal("the first event of a request made no run"))
        })
        .await
    }
}

/// An event of our own.
pub fn decode(bytes: &[u8]) -> Result<Event, ApiError> {
    Event::from_bytes(bytes).map_err(|error| ApiError::internal(error.to_string()))
}

/// Folds an event of our own into the model of a run or job, with packs from elsewhere.
pub fn take(model: &mut Model, packs: &dyn View, event: &Event) -> Result<(), ApiError> {
    let mut changes = Changes::default();
    apply(&WithPacks { model, packs }, &mut changes, event)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    model.absorb(changes);
    Ok(())
}
