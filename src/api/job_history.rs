//! How a job came to stand where it stands: every transition, read from its events.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::request::Id;
use crate::domain::event::{Actor, Event, EventBody};
use crate::domain::job::JobStatus;
use crate::domain::{JobId, Seq, Timestamp};
use crate::limits;
use crate::store::{Direction, Page};

/// One transition.
#[derive(Debug, Serialize, ToSchema)]
pub struct Transition {
    /// Who caused it.
    #[schema(value_type = Object)]
    actor: Actor,
    #[schema(value_type = String)]
    at: Timestamp,
    attempt: u32,
    epoch: u64,
    /// Null for the first.
    from: Option<&'static str>,
    reason: Option<String>,
    #[schema(value_type = u64)]
    seq: Seq,
    to: &'static str,
}

/// All transitions of a job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    as_of: i64,
    items: Vec<Transition>,
}

/// Every transition of a job, oldest first.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/history", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = History)))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Id<JobId>, ApiError>,
) -> Result<Answer<History>, ApiError> {
    let Id(id) = id.map_err(|_| ApiError::not_found("job"))?;
    let engine = api.engine().clone();
    let history = api.read(caller.tenant()?, move |reading| {
        reading
            .view()
            .job(id)?
            .ok_or_else(|| ApiError::not_found("job"))?;
        let page = Page {
            after: None,
            direction: Direction::Forward,
            limit: limits::STREAM_SCAN_EVENTS_MAX as usize,
        };
        let found = reading.snapshot().events_of_job(reading.tenant(), id, page)?;
        let ledger = engine.ledger(reading.tenant())?;
        let mut told = Told::default();
        for seq in found {
            let event = Event::from_bytes(&ledger.event(seq)?)
                .map_err(|error| ApiError::internal(error.to_string()))?;
            told.take(&event);
        }
        Ok(History {
            as_of: reading.as_of,
            items: told.items,
        })
    });
    Ok(Answer(history.await?))
}

/// A history while it is told.
#[derive(Debug, Default)]
struct Told {
    items: Vec<Transition>,
    attempt: u32,
    epoch: u64,
}

impl Told {
    fn take(&mut self, event: &Event) {
        let (to, reason) = match &event.body {
            EventBody::JobCreated(created) => (created.status, None),
            EventBody::JobScheduled(scheduled) => (JobStatus::Scheduled, Some(scheduled.reason.clone())),
            EventBody::JobStarted(started) => {
                (self.attempt, self.epoch) = (started.attempt, started.epoch);
                (JobStatus::Running, None)
            }
            EventBody::JobCompleted(_) => (JobStatus::Completed, None),
            EventBody::JobFailed(failed) => (JobStatus::Failed, Some(failed.failure.message.clone())),
            EventBody::JobCancelled(cancelled) => (JobStatus::Cancelled, Some(cancelled.reason.clone())),
            EventBody::JobReleased(released) => (JobStatus::Scheduled, Some(released.reason.clone())),
            _ => return,
        };
        self.items.push(Transition {
            actor: event.actor.clone(),
            at: event.at,
            attempt: self.attempt,
            epoch: self.epoch,
            from: self.items.last().map(|last| last.to),
            reason,
            seq: event.seq,
            to: to.as_str(),
        });
    }
}
