//! Server-sent events: the wire form, when a stream must end, and the stream of events of a tenant, job or run.

use std::io::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use tokio::time::Interval;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::hold::{Held, Hold, heartbeat};
use super::request::{Query, bad_parameter};
use crate::domain::{Seq, TenantName, Timestamp};
use crate::limits;
use crate::stream::{Cursor, StreamError, Subscription, Watched};

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Ledger(error) => error.into(),
            StreamError::Store(error) => error.into(),
            StreamError::Engine(error) => error.into(),
            StreamError::BeyondEnd { .. } | StreamError::BeyondLines { .. } => {
                ApiError::field("beyond_end", "/query/after", error.to_string())
            }
            StreamError::Output(error) => error.into(),
            StreamError::CutShort => ApiError::stopping(),
        }
    }
}

/// Writes an event: its exact canonical bytes are the data. They hold no line feed.
pub fn encode_event(seq: Seq, type_name: &str, event: &[u8], out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(out, "id: {seq}\nevent: {type_name}\ndata: ");
    out.extend_from_slice(event);
    out.extend_from_slice(b"\n\n");
}

/// Writes a message of our own.
pub fn encode_message(id: Option<&str>, name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    let _ = write!(out, "event: {name}\ndata: ");
    // Our own shapes always can be written.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}

/// Data of `heartbeat`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Heartbeat {
    as_of: i64,
    at: Timestamp,
}

/// Data of `gap`.
#[derive(Debug, Serialize)]
pub struct Gap {
    pub from: u64,
    /// `events` or `lines`.
    pub of: &'static str,
    pub to: u64,
}

/// Data of `end`.
#[derive(Debug, Serialize)]
pub struct End {
    pub seq: Seq,
    pub status: &'static str,
}

/// What goes for every stream: who reads it, its heartbeat, and when it must end.
#[derive(Debug)]
pub struct Guard {
    api: Arc<Api>,
    tenant: TenantName,
    hold: Hold,
    heart: Interval,
}

/// What a guard has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A heartbeat is due.
    Beat,
    /// The stream must end.
    Over,
}

impl Guard {
    /// Takes the heartbeat's interval out of the query.
    ///
    /// # Errors
    /// An interval out of its bounds.
    pub fn new(api: &Arc<Api>, caller: &Caller, query: &mut Query) -> Result<Self, ApiError> {
        Ok(Guard {
            api: api.clone(),
            tenant: caller.tenant()?.clone(),
            hold: Hold::new(api, caller),
            heart: heartbeat(query)?,
        })
    }

    /// Waits until there is something to say. Dropping the future loses nothing.
    pub async fn signal(&mut self) -> Signal {
        tokio::select! {
            _ = self.hold.over() => Signal::Over,
            _ = self.heart.tick() => Signal::Beat,
        }
    }

    /// A heartbeat at this place.
    pub fn beat(&self, id: &str, as_of: i64) -> Bytes {
        let mut out = Vec::new();
        let at = Timestamp::from_ms(self.api.now_ms());
        encode_message(Some(id), "heartbeat", &Heartbeat { as_of, at }, &mut out);
        out.into()
    }

    /// How what is watched ended, once all its events up to `as_of` were sent.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn end_of(&self, watched: Watched, as_of: i64) -> Result<Option<End>, ApiError> {
        let passed = move |seq: Seq| i64::try_from(seq.0).is_ok_and(|seq| seq <= as_of);
        let end = self.api.read(&self.tenant, move |reading| {
            let view = reading.view();
            Ok(match watched {
                Watched::Job(job) => view
                    .job(job)?
                    .filter(|job| job.is_terminal() && passed(job.seq))
                    .map(|job| End {
                        seq: job.seq,
                        status: job.status.as_str(),
                    }),
                Watched::Run(run) => view
                    .run(run)?
                    .filter(|run| run.status.is_terminal() && passed(run.seq))
                    .map(|run| End {
                        seq: run.seq,
                        status: run.status.as_str(),
                    }),
            })
        });
        end.await
    }
}

/// Where a stream starts: after `Last-Event-ID`, else after `?after=`; none is now.
///
/// # Errors
/// What is no cursor.
pub fn start_of(headers: &HeaderMap, query: &mut Query) -> Result<Option<Cursor>, ApiError> {
    let asked: Option<Cursor> = query.parsed("after")?;
    match last_event_id(headers)? {
        None => Ok(asked),
        Some(id) => id.parse().map(Some).map_err(|_| not_an_id()),
    }
}

/// What a client that comes back says it has; an empty one says nothing.
///
/// # Errors
/// What no message has as its id, in any stream.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let id = headers.get("last-event-id").map(|id| id.to_str()).transpose();
    let id = id.map_err(|_| not_an_id())?;
    Ok(id.filter(|id| !id.is_empty()))
}

fn not_an_id() -> ApiError {
    bad_parameter("after", "Last-Event-ID is not the id of a message")
}

/// The first bytes of every stream: how soon to come back.
pub fn greeting() -> Bytes {
    format!("retry: {}\n\n", limits::STREAM_RETRY_MS).into()
}

/// An answer whose body goes on, as long as the hold lasts.
pub fn answer(
    hold: Hold,
    stream: impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Extension(Held::new(hold)), Body::from_stream(stream)).into_response()
}

/// The events of a tenant, job or run, while they are sent.
#[derive(Debug)]
pub struct Tail {
    guard: Guard,
    events: Subscription,
    watched: Option<Watched>,
    is_greeted: bool,
    is_over: bool,
}

impl Tail {
    /// A stream of what a subscription brings, ending with what is watched.
    pub fn new(guard: Guard, events: Subscription, watched: Option<Watched>) -> Self {
        Tail {
            guard,
            events,
            watched,
            is_greeted: false,
            is_over: false,
        }
    }

    /// As a body.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
        futures_util::stream::unfold(self, |mut tail| async {
            let bytes = tail.step().await?;
            Some((Ok(bytes), tail))
        })
    }

    /// What is sent next; none at the end.
    async fn step(&mut self) -> Option<Bytes> {
        if !self.is_greeted {
            self.is_greeted = true;
            return Some(greeting());
        }
        while !self.is_over {
            tokio::select! {
                signal = self.guard.signal() => match signal {
                    Signal::Over => return None,
                    Signal::Beat => {
                        let as_of = self.events.as_of();
                        return Some(self.guard.beat(&as_of.to_string(), as_of));
                    }
                },
                chunk = self.events.next() => {
                    let bytes = self.take(chunk).await?;
                    if !bytes.is_empty() {
                        return Some(bytes);
                    }
                }
            }
        }
        None
    }

    async fn take(
        &mut self,
        chunk: Result<crate::stream::Chunk, crate::stream::StreamError>,
    ) -> Option<Bytes> {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                // The reader comes back and starts after what it has.
                tracing::warn!(%error, "a stream was cut short");
                return None;
            }
        };
        self.is_over = chunk.is_end;
        let mut before = Vec::new();
        if let Some((from, to)) = chunk.gap {
            let gap = Gap {
                from,
                of: "events",
                to,
            };
            encode_message(Some(&to.to_string()), "gap", &gap, &mut before);
        }
        let mut after = Vec::new();
        if let Some(watched) = self.watched {
            match self.guard.end_of(watched, self.events.as_of()).await {
                Ok(Some(end)) => {
                    encode_message(None, "end", &end, &mut after);
                    self.is_over = true;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(code = error.code(), "a stream was cut short");
                    return None;
                }
            }
        }
        if before.is_empty() && after.is_empty() {
            return Some(chunk.wire);
        }
        Some([before.as_slice(), &chunk.wire, &after].concat().into())
    }
}
