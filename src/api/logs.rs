//! The lines that a run's steps wrote, in their one order: as NDJSON, as plain text, or followed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::hold::{Hold, heartbeat_ms};
use super::negotiate::names;
use super::pack_runs::pack_run;
use super::request::{Id, Query, bad_parameter};
use super::run_stream::{RunTail, Sending};
use super::sse::{Guard, answer, last_event_id};
use crate::domain::{RunId, StepName, Timestamp};
use crate::limits;
use crate::output::{Line, LineFilter, LineKind, OutputError, RunScope};
use crate::stream::{Cursor, Data, Filter, Form, LineItem, Lines, StreamError, Subscription, Watched};

/// One line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineView {
    #[schema(value_type = String)]
    at: Timestamp,
    attempt: u32,
    /// Without its line feed; bytes that are not UTF-8 are replaced.
    line: String,
    /// One total order per run.
    pos: u64,
    #[schema(value_type = Option<String>)]
    step: Option<StepName>,
    /// `stdout` or `stderr`.
    stream: &'static str,
    /// The output was cut here; the line says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl LineView {
    /// A line as it is given and sent.
    pub fn new(line: &Line) -> Self {
        LineView {
            at: line.at,
            attempt: line.attempt,
            line: line.text.clone(),
            pos: line.pos,
            step: line.step.clone(),
            stream: line.stream.as_str(),
            truncated: line.kind == LineKind::Truncated,
        }
    }
}

/// The lines of a pack run. `Accept: text/plain` gives them bare; `follow=true` sends them as they come, until the run ends.
#[utoipa::path(get, path = "/api/v1/pack-runs/{id}/logs", tag = "pack runs", params(("id" = String, Path),
        ("step" = Option<String>, Query), ("attempt" = Option<u32>, Query),
        ("after" = Option<String>, Query, description = "Position; exclusive"),
        ("limit" = Option<u64>, Query, minimum = 1), ("follow" = Option<bool>, Query),
        ("heartbeatMs" = Option<u64>, Query)),
    responses((status = 200, content((LineView = "application/x-ndjson"), (String = "text/plain"),
        (String = "text/event-stream")))))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<RunId>, ApiError>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let Id(run) = id.map_err(|_| ApiError::not_found("run"))?;
    let tenant = caller.tenant()?.clone();
    api.read(&tenant, move |reading| pack_run(reading, run)).await?;
    let filter = LineFilter {
        step: query.parsed("step")?,
        job: None,
        attempt: query.attempt()?,
    };
    let follow = query.parsed::<bool>("follow")?.unwrap_or(false);
    let limit = query.number("limit", 1, limits::COUNT_MAX)?;
    let after = query.text("after")?;
    let resumed = if follow { last_event_id(&headers)? } else { None };
    let pos = position_of(resumed.or(after.as_deref()))?;
    let scope = RunScope {
        tenant: tenant.clone(),
        run,
    };
    if follow {
        let guard = Guard::new(&api, &caller, &mut query)?;
        query.finish()?;
        let (events, lines) = api
            .blocking(move |api| {
                let watched = Filter {
                    watched: Some(Watched::Run(run)),
                    ..Filter::default()
                };
                let source = (api.engine(), &*api.hub);
                let events =
                    Subscription::open(source, &tenant, watched, Form::Events(Data::Envelope), None)?;
                let lines = Lines::open(api.output(), scope, filter, Some(pos))?;
                Ok((events, lines))
            })
            .await?;
        let tail = RunTail::new(guard, events, lines, run, Sending::Lines);
        return Ok(answer(Hold::new(&api, &caller), tail.into_stream()));
    }
    // Known to the route, so no mistake, although nothing beats here.
    heartbeat_ms(&mut query)?;
    query.finish()?;
    let lines = api
        .blocking(move |api| Ok(Lines::open(api.output(), scope, filter, Some(pos))?))
        .await?;
    Ok(send_lines(lines, &headers, limit))
}

/// Behind which position reading begins: that of a run's stream has both halves, that of a log stands alone.
pub fn position_of(text: Option<&str>) -> Result<u64, ApiError> {
    let read = text.map_or(Ok(0), Cursor::position);
    read.map_err(|_| bad_parameter("after", "not a position"))
}

/// Sends lines as NDJSON or, where that is asked for, as plain text.
pub fn send_lines(lines: Lines, headers: &HeaderMap, limit: Option<u64>) -> Response {
    let is_plain = names(headers, "text/plain");
    let media_type = if is_plain {
        "text/plain; charset=utf-8"
    } else {
        "application/x-ndjson"
    };
    let pages = Pages {
        lines,
        is_plain,
        left: limit.unwrap_or(u64::MAX),
        is_end: false,
    };
    ([(header::CONTENT_TYPE, media_type)], pages.into_body()).into_response()
}

/// A log while it is sent, a page at a time.
struct Pages {
    lines: Lines,
    is_plain: bool,
    left: u64,
    is_end: bool,
}

impl Pages {
    /// Ends in an error when a page cannot be read, or when all pages were read and a file was damaged or gone: the connection
    /// is cut, so nobody takes what came for the whole.
    fn into_body(self) -> Body {
        let stream = futures_util::stream::unfold(self, |mut pages| async {
            let step = pages.step().await.transpose()?;
            if let Err(error) = &step {
                tracing::error!(%error, "a log cannot be read to its end; its answer is cut short");
                pages.is_end = true;
                // An error ends the connection at once; what came before it is written out first.
                tokio::task::yield_now().await;
            }
            Some((step, pages))
        });
        Body::from_stream(stream)
    }

    async fn step(&mut self) -> Result<Option<Bytes>, StreamError> {
        while !self.is_end {
            let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
            let batch = self.lines.read_at_most(limit).await?;
            let mut out = Vec::new();
            for item in &batch.items {
                // What is lost shows by the positions of the lines around it.
                let LineItem::Line(line) = item else { continue };
                self.left = self.left.saturating_sub(1);
                self.write(line, &mut out);
            }
            self.is_end = !batch.is_more || self.left == 0;
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        // All that can be read was sent first.
        match self.lines.take_damaged() {
            Some(path) => Err(StreamError::Output(OutputError::Damaged {
                path,
                detail: "lines of it are missing",
            })),
            None => Ok(None),
        }
    }

    fn write(&self, line: &Line, out: &mut Vec<u8>) {
        if self.is_plain {
            out.extend_from_slice(line.text.as_bytes());
        } else {
            // Our own shape always can be written.
            let _ = serde_json::to_writer(&mut *out, &LineView::new(line));
        }
        out.push(b'\n');
    }
}
