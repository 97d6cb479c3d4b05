//! The streams: of a tenant, a job, a run, a pack run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::hold::Hold;
use super::pack_runs::pack_run;
use super::request::{Id, Query, bad_parameter};
use super::run_stream::{RunTail, Sending};
use super::sse::{Guard, Tail, answer, start_of};
use crate::domain::{JobId, RunId};
use crate::output::{LineFilter, RunScope};
use crate::stream::{Data, Filter, Form, Lines, Subscription, Watched};

/// Filters of a stream, where the path does not watch one thing already.
fn filter(query: &mut Query, watched: Option<Watched>) -> Result<Filter, ApiError> {
    Ok(Filter {
        types: query.all("type")?,
        correlation_id: query.text("correlationId")?,
        project: query.text("project")?,
        watched,
    })
}

/// What is sent of each event.
fn data_form(query: &mut Query) -> Result<Data, ApiError> {
    match query.text("format")?.as_deref() {
        None | Some("envelope") => Ok(Data::Envelope),
        Some("cloudevents") => Ok(Data::CloudEvent),
        Some(_) => Err(bad_parameter("format", "one of envelope, cloudevents")),
    }
}

async fn follow(
    api: &Arc<Api>,
    caller: &Caller,
    headers: &HeaderMap,
    mut query: Query,
    watched: Option<Watched>,
) -> Result<Response, ApiError> {
    let guard = Guard::new(api, caller, &mut query)?;
    let start = start_of(headers, &mut query)?;
    let asked = match watched {
        Some(watched) => Some(watched),
        None => {
            let job = query.parsed("job")?.map(Watched::Job);
            let run = query.parsed("run")?.map(Watched::Run);
            let pack_run = query.parsed("packRun")?.map(Watched::Run);
            Watched::one_of([job, run, pack_run]).map_err(|error| bad_parameter("job", error.to_string()))?
        }
    };
    let filter = filter(&mut query, asked)?;
    let form = Form::Wire(data_form(&mut query)?);
    query.finish()?;
    let tenant = caller.tenant()?.clone();
    let next = start.map(|cursor| cursor.next);
    let events = api
        .blocking(move |api| {
            let source = (api.engine(), &*api.hub);
            Ok(Subscription::open(source, &tenant, filter, form, next)?)
        })
        .await?;
    let tail = Tail::new(guard, events, watched);
    Ok(answer(Hold::new(api, caller), tail.into_stream()))
}

/// Everything of the tenant, as it is committed.
#[utoipa::path(get, path = "/api/v1/stream", tag = "streams",
    params(("after" = Option<String>, Query), ("Last-Event-ID" = Option<String>, Header),
        ("heartbeatMs" = Option<u64>, Query), ("type" = Option<String>, Query, description = "Glob; repeatable"),
        ("correlationId" = Option<String>, Query), ("project" = Option<String>, Query),
        ("job" = Option<String>, Query), ("run" = Option<String>, Query), ("packRun" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "`envelope`, the canonical bytes, or `cloudevents`")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn tenant(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    follow(&api, &caller, &headers, query, None).await
}

/// The events of a job, until it has ended.
#[utoipa::path(get, path = "/api/v1/stream/jobs/{id}", tag = "streams", params(("id" = String, Path),
        ("after" = Option<String>, Query), ("Last-Event-ID" = Option<String>, Header),
        ("heartbeatMs" = Option<u64>, Query), ("type" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "`envelope` or `cloudevents`")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn job(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("job"))?;
    let there = api.read(caller.tenant()?, move |reading| {
        reading.view().job(id)?.ok_or_else(|| ApiError::not_found("job"))
    });
    there.await?;
    follow(&api, &caller, &headers, query, Some(Watched::Job(id))).await
}

/// The events of a run, until it has ended.
#[utoipa::path(get, path = "/api/v1/stream/runs/{id}", tag = "streams", params(("id" = String, Path),
        ("after" = Option<String>, Query), ("Last-Event-ID" = Option<String>, Header),
        ("heartbeatMs" = Option<u64>, Query), ("type" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "`envelope` or `cloudevents`")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn run(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let there = api.read(caller.tenant()?, move |reading| {
        reading.view().run(id)?.ok_or_else(|| ApiError::not_found("run"))
    });
    there.await?;
    follow(&api, &caller, &headers, query, Some(Watched::Run(id))).await
}

/// The events and output lines of a pack run, until it has ended.
#[utoipa::path(get, path = "/api/v1/stream/pack-runs/{id}", tag = "streams", params(("id" = String, Path),
        ("after" = Option<String>, Query), ("Last-Event-ID" = Option<String>, Header),
        ("heartbeatMs" = Option<u64>, Query), ("type" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "`envelope` or `cloudevents`")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn pack_run_stream(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("run"))?;
    let tenant = caller.tenant()?.clone();
    api.read(&tenant, move |reading| pack_run(reading, id)).await?;
    let guard = Guard::new(&api, &caller, &mut query)?;
    let start = start_of(&headers, &mut query)?;
    let filter = filter(&mut query, Some(Watched::Run(id)))?;
    let form = Form::Events(data_form(&mut query)?);
    query.finish()?;
    let (events, lines) = api
        .blocking(move |api| {
            let scope = RunScope {
                tenant: tenant.clone(),
                run: id,
            };
            // Events first: lines of an attempt that ends in between are then still ahead of its end.
            let next = start.map(|cursor| cursor.next);
            let events = Subscription::open((api.engine(), &*api.hub), &tenant, filter, form, next)?;
            let pos = start.map(|cursor| cursor.pos);
            let lines = Lines::open(api.output(), scope, LineFilter::default(), pos)?;
            Ok((events, lines))
        })
        .await?;
    let tail = RunTail::new(guard, events, lines, id, Sending::Everything);
    Ok(answer(Hold::new(&api, &caller), tail.into_stream()))
}
