//! Events of the ledger: listed and read one by one, with the proof that one is in it.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::cloud_events::{self, CloudEventShape};
use super::error::ApiError;
use super::event_range::{Lies, TimeRange};
use super::ledger::base64_hashes;
use super::negotiate::{JSON, choose, varied};
use super::reading::Reading;
use super::request::{Id, Query, bad_parameter};
use crate::domain::event::{Actor, Subject};
use crate::domain::{Digest, Seq, TenantName, leaf_hash};
use crate::ledger::TenantLedger;
use crate::limits;
use crate::store::{Direction, Page};
use crate::stream::{Cursor, EventHead, Filter, StreamError, Watched};

/// Some events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The last event of the ledger; −1 before the first.
    as_of: i64,
    /// The exact canonical bytes that were hashed.
    #[schema(value_type = Vec<EventShape>)]
    items: Vec<Box<RawValue>>,
    /// Given back as `cursor`, it brings what follows; null at the end of the ledger.
    next_cursor: Option<String>,
}

/// Events, oldest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "ledger",
    params(("after" = Option<String>, Query, pattern = "^(-1|[0-9]+)([.](-1|[0-9]+))?$",
            description = "Exclusive: the number of an event, -1 for before the first, or the id of a message of a stream"),
        ("from" = Option<String>, Query, description = "Not before this time (RFC 3339)"),
        ("to" = Option<String>, Query, description = "Before this time; not earlier than `from`"),
        ("type" = Option<String>, Query, description = "Glob; repeatable"),
        ("correlationId" = Option<String>, Query), ("project" = Option<String>, Query),
        ("job" = Option<String>, Query), ("run" = Option<String>, Query),
        ("limit" = Option<u64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, content((EventPage = "application/json"),
        (Vec<CloudEventShape> = "application/cloudevents-batch+json")), headers(("Link" = String,
            description = "With a batch: the next page, as rel=next"))),
        (status = 406, description = "`not_acceptable`: neither of these types")))]
pub async fn list(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, query: Query) -> Response {
    varied(listed(&api, &caller, &headers, query).await)
}

async fn listed(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let kind = choose(headers, &[JSON, cloud_events::BATCH])?;
    let shown = query.clone();
    let tenant = caller.tenant()?;
    let job = query.parsed("job")?.map(Watched::Job);
    let run = query.parsed("run")?.map(Watched::Run);
    if job.is_some() && run.is_some() {
        return Err(bad_parameter("run", "either a job or a run"));
    }
    let filter = Filter {
        types: query.all("type")?,
        correlation_id: query.text("correlationId")?,
        project: query.text("project")?,
        watched: job.or(run),
    };
    let range = TimeRange::take(&mut query)?;
    if kind == JSON {
        let page = page(api, tenant, Sought::new(filter, range), query).await?;
        return Ok(Answer(page).into_response());
    }
    let sought = Sought {
        source: Some(api.source(tenant)),
        ..Sought::new(filter, range)
    };
    let page = page(api, tenant, sought, query).await?;
    let mut response = ([(header::CONTENT_TYPE, kind)], Answer(page.items)).into_response();
    if let Some(cursor) = page.next_cursor {
        response
            .headers_mut()
            .insert(header::LINK, next_link(&shown, &cursor)?);
    }
    Ok(response)
}

/// Events about one thing, which must be there.
pub async fn events_about(
    api: &Api,
    tenant: &TenantName,
    watched: Watched,
    query: Query,
) -> Result<EventPage, ApiError> {
    let there = api.read(tenant, move |reading| {
        let view = reading.view();
        match watched {
            Watched::Job(job) => Ok(view.job(job)?.map(drop).ok_or_else(|| ApiError::not_found("job"))),
            Watched::Run(run) => Ok(view.run(run)?.map(drop).ok_or_else(|| ApiError::not_found("run"))),
        }
    });
    there.await??;
    let filter = Filter {
        watched: Some(watched),
        ..Filter::default()
    };
    page(api, tenant, Sought::new(filter, TimeRange::default()), query).await
}

/// The same list from its next page on, relative to where it was asked for (RFC 8288).
fn next_link(asked: &Query, cursor: &str) -> Result<HeaderValue, ApiError> {
    let query = asked.with(&["after", "cursor"], ("cursor", cursor));
    HeaderValue::from_str(&format!("<?{query}>; rel=\"next\""))
        .map_err(|_| ApiError::internal("a link cannot be written"))
}

/// Which events a list is to hold, and as what.
struct Sought {
    filter: Filter,
    range: TimeRange,
    /// As CloudEvents with this source; none is as they are.
    source: Option<String>,
}

impl Sought {
    fn new(filter: Filter, range: TimeRange) -> Self {
        Sought {
            filter,
            range,
            source: None,
        }
    }
}

async fn page(
    api: &Api,
    tenant: &TenantName,
    sought: Sought,
    mut query: Query,
) -> Result<EventPage, ApiError> {
    let limit = query.limit()?;
    let cursor: Option<Cursor> = query.parsed("cursor")?;
    let after: Option<Cursor> = query.parsed("after")?;
    query.finish()?;
    let from = cursor.or(after).unwrap_or(Cursor::START).next.0;
    let engine = api.engine().clone();
    let read = api.read(tenant, move |reading| {
        let end = u64::try_from(reading.as_of + 1).unwrap_or(0);
        if from > end {
            return Err(StreamError::BeyondEnd { end }.into());
        }
        let ledger = engine.ledger(reading.tenant())?;
        let mut found = Found {
            limit,
            items: Vec::new(),
            bytes: 0,
            looked_at: 0,
            next: sought.range.begin((from, end), |seq| ledger.event(Seq(seq)))?,
            end,
            sought,
        };
        if found.sought.filter.is_indexed() {
            found.follow(&ledger, reading)?;
        } else {
            found.scan(&ledger)?;
        }
        let more = found.next < found.end;
        Ok(EventPage {
            as_of: reading.as_of,
            items: found.items,
            next_cursor: more.then(|| {
                Cursor {
                    next: Seq(found.next),
                    pos: 0,
                }
                .seq()
                .to_string()
            }),
        })
    });
    read.await
}

/// Events while they are looked for.
struct Found {
    sought: Sought,
    limit: usize,
    items: Vec<Box<RawValue>>,
    bytes: usize,
    /// Bytes of events, whether they passed or not.
    looked_at: usize,
    /// The first event not yet looked at.
    next: u64,
    /// Where the looking ends: with the ledger, or with what lies in time.
    end: u64,
}

impl Found {
    fn scan(&mut self, ledger: &TenantLedger) -> Result<(), ApiError> {
        let to = self.end.min(self.next + limits::STREAM_SCAN_EVENTS_MAX);
        if self.next >= to {
            return Ok(());
        }
        let mut failed = None;
        let from = Seq(self.next);
        ledger.scan(from, Seq(to), &mut |seq, bytes| match self.take(seq, bytes) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn follow(&mut self, ledger: &TenantLedger, reading: &Reading) -> Result<(), ApiError> {
        let tail = self.next.checked_sub(1).map(u64::to_be_bytes);
        let page = Page {
            after: tail.as_ref().map(|tail| tail.as_slice()),
            direction: Direction::Forward,
            limit: limits::STREAM_SCAN_EVENTS_MAX as usize,
        };
        let found = self
            .sought
            .filter
            .candidates(reading.snapshot(), reading.tenant(), page)?;
        let is_all = found.len() < page.limit;
        for seq in found {
            if !self.take(seq, &ledger.event(seq)?)? {
                return Ok(());
            }
        }
        if is_all {
            self.next = self.end;
        }
        Ok(())
    }

    /// Takes an event where it passes. False when the page is full, enough was looked at, or nothing that follows lies in
    /// time.
    fn take(&mut self, seq: Seq, bytes: &[u8]) -> Result<bool, ApiError> {
        let is_full = self.items.len() >= self.limit || self.bytes >= limits::LOG_PAGE_BYTES_MAX;
        if is_full || self.looked_at >= limits::STREAM_SCAN_BYTES_MAX {
            return Ok(false);
        }
        self.looked_at += bytes.len();
        match self.sought.range.place(bytes) {
            Lies::Within => {}
            Lies::Before => {
                self.next = seq.0 + 1;
                return Ok(true);
            }
            Lies::Behind => {
                self.end = self.next;
                return Ok(false);
            }
        }
        let broken = |_| ApiError::internal("an event of the ledger cannot be read");
        let text = std::str::from_utf8(bytes).map_err(|_| ApiError::internal("an event is not UTF-8"))?;
        let head: EventHead<'_> = serde_json::from_str(text).map_err(broken)?;
        if self.sought.filter.admits_head(&head) {
            let text = match &self.sought.source {
                None => text.to_owned(),
                Some(source) => cloud_event(bytes, &leaf_hash(bytes), source)?,
            };
            self.bytes += text.len();
            self.items.push(RawValue::from_string(text).map_err(broken)?);
        }
        self.next = seq.0 + 1;
        Ok(true)
    }
}

fn cloud_event(bytes: &[u8], hash: &Digest, source: &str) -> Result<String, ApiError> {
    let body = cloud_events::structured(bytes, hash, source);
    let text = body.map(String::from_utf8);
    text.map_err(|_| ApiError::internal("an event of the ledger cannot be read"))?
        .map_err(|_| ApiError::internal("an event is not UTF-8"))
}

/// An event and the proof that it is in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProvenEvent {
    #[schema(value_type = EventShape)]
    event: Box<RawValue>,
    /// SHA-256 of a zero byte and the event's exact bytes.
    #[schema(value_type = String)]
    hash: Digest,
    /// Hashes from the leaf's sibling up, base64.
    hashes: Vec<String>,
    index: u64,
    /// Size of the tree that the proof is for.
    size: u64,
}

/// An event as it lies in the ledger: canonical JSON (RFC 8785). Answers carry its exact bytes; this describes them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventShape {
    /// Who caused it.
    #[schema(value_type = Object, example = json!({"id": "alex", "kind": "person"}))]
    actor: Actor,
    /// Ledger time, RFC 3339.
    at: String,
    correlation_id: Option<String>,
    /// By type and version.
    payload: serde_json::Value,
    project: Option<String>,
    schema: String,
    /// Its place in the tenant's ledger, from 0.
    seq: u64,
    /// What it is about.
    #[schema(value_type = Object)]
    subject: Subject,
    tenant: String,
    #[schema(example = "job.completed")]
    r#type: String,
    version: u32,
}

/// What is answered without a proof, and with one.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for the description alone")]
enum OneEvent {
    Bare(Box<EventShape>),
    Proven(ProvenEvent),
}

/// One event: its exact canonical bytes, a CloudEvent around them, or with `proof=1` the event and its proof.
#[utoipa::path(get, path = "/api/v1/events/{seq}", tag = "ledger",
    params(("seq" = u64, Path), ("proof" = Option<u8>, Query), ("size" = Option<u64>, Query)),
    responses((status = 200, content((OneEvent = "application/json"), (CloudEventShape = "application/cloudevents+json"))),
        (status = 406, description = "`not_acceptable`: neither of these types; with a proof there is JSON alone")))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    seq: Result<Id<u64>, ApiError>,
    headers: HeaderMap,
    query: Query,
) -> Response {
    varied(read_one(&api, &caller, seq, &headers, query).await)
}

async fn read_one(
    api: &Arc<Api>,
    caller: &Caller,
    seq: Result<Id<u64>, ApiError>,
    headers: &HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let Id(seq) = seq.map_err(|_| ApiError::not_found("event"))?;
    let with_proof = query.number("proof", 0, 1)? == Some(1);
    let size = query.count("size")?;
    query.finish()?;
    let offers: &[_] = if with_proof {
        &[JSON]
    } else {
        &[JSON, cloud_events::STRUCTURED]
    };
    let kind = choose(headers, offers)?;
    let tenant = caller.tenant()?.clone();
    api.blocking(move |api| {
        let ledger = api.engine().ledger(&tenant)?;
        if seq >= ledger.size() {
            return Err(ApiError::not_found("event"));
        }
        let bytes = ledger.checked_event(Seq(seq))?;
        let kind = [(header::CONTENT_TYPE, kind)];
        if with_proof {
            let size = size.unwrap_or_else(|| ledger.size());
            return Ok(Answer(prove(&ledger, Seq(seq), size, &bytes)?).into_response());
        }
        if kind[0].1 == JSON {
            return Ok((kind, bytes).into_response());
        }
        let event = cloud_event(&bytes, &leaf_hash(&bytes), &api.source(&tenant))?;
        Ok((kind, event).into_response())
    })
    .await
}

fn prove(ledger: &TenantLedger, seq: Seq, size: u64, bytes: &[u8]) -> Result<ProvenEvent, ApiError> {
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| ApiError::internal("an event is not UTF-8"))?;
    Ok(ProvenEvent {
        hash: ledger.leaf(seq)?,
        hashes: base64_hashes(&ledger.inclusion_proof(seq, size)?),
        index: seq.0,
        size,
        event: RawValue::from_string(text).map_err(|_| ApiError::internal("an event is not JSON"))?,
    })
}
