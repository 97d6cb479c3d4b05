//! Doing a run again, in whole or in part: the preview, and the new run.

use std::sync::Arc;

use axum::Json as Answer;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use super::idempotency::Keyed;
use super::preview::Asker;
use super::request::Id;
use super::runs::graph_of;
use crate::domain::command::{Choice, Command, ReplayRun};
use crate::domain::decide::closure;
use crate::domain::rejection::Code;
use crate::domain::standing::Standing;
use crate::domain::{RunId, StepName};

/// What to do again. Whatever needs a chosen job is done again too; the rest keeps its completed jobs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"failed": true, "dryRun": true}))]
pub struct Replay {
    /// True: nothing is done, the answer tells what would be.
    #[serde(default)]
    dry_run: bool,
    /// True: what did not complete.
    #[serde(default)]
    failed: bool,
    /// These jobs.
    #[schema(value_type = Option<Vec<String>>)]
    steps: Option<Vec<StepName>>,
}

/// What would be done again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Closure {
    as_of: i64,
    /// How many jobs.
    count: usize,
    /// Jobs whose completed work is kept.
    #[schema(value_type = Vec<String>)]
    reused: Vec<StepName>,
    /// Jobs that would be done again.
    #[schema(value_type = Vec<String>)]
    steps: Vec<StepName>,
}

/// Previews or makes the replay of a run that is found under `place`.
pub async fn replay_at(
    api: &Arc<Api>,
    caller: &Caller,
    place: &str,
    id: Result<Id<RunId>, ApiError>,
    asked: Keyed<Replay>,
) -> Result<Response, ApiError> {
    let Id(run) = id.map_err(|_| ApiError::not_found("run"))?;
    let idempotency = asked
        .key(api, (caller, &format!("{place}/{run}/replay")), None)
        .await?;
    let choice = match (&asked.body.steps, asked.body.failed) {
        (Some(steps), false) => Choice::Named(steps.clone()),
        (None, true) => Choice::NotCompleted,
        (Some(_), true) | (None, false) => {
            let detail = "either `steps` or `failed` says what to do again";
            return Err(ApiError::field("invalid_field", "/steps", detail));
        }
    };
    if asked.body.dry_run {
        return Ok(Answer(preview(api, caller, run, choice).await?).into_response());
    }
    let command = Command::ReplayRun(Box::new(ReplayRun {
        choice,
        idempotency,
        run,
    }));
    api.make_run(caller, place, command).await
}

/// Refuses what would be too large to be done; everything else is told when it is done.
async fn preview(api: &Arc<Api>, caller: &Caller, run: RunId, choice: Choice) -> Result<Closure, ApiError> {
    let asker = Asker::new(api, caller.actor());
    let read = api.read(caller.tenant()?, move |reading| {
        let row = graph_of(reading, run)?;
        let graph = row.as_graph().ok_or_else(|| ApiError::not_found("run"))?;
        let view = reading.view();
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for place in (0..).zip(&graph.nodes) {
            steps.push(Standing::of(&*view, &*view, run, place)?);
        }
        let again = closure(graph, &steps, &choice)?;
        let idempotency = None;
        let command = Command::ReplayRun(Box::new(ReplayRun {
            choice,
            idempotency,
            run,
        }));
        let reply = asker.reply(reading, &command)?;
        if let Some(refused) = reply.err().filter(|refused| refused.code == Code::TooLarge) {
            return Err(refused.into());
        }
        let names = |wanted: bool| {
            let nodes = graph.nodes.iter().zip(&again);
            let chosen = nodes.filter(move |(_, again)| **again == wanted);
            chosen.map(|(node, _)| node.name.clone()).collect::<Vec<_>>()
        };
        let steps = names(true);
        Ok(Closure {
            as_of: reading.as_of,
            count: steps.len(),
            reused: names(false),
            steps,
        })
    });
    read.await
}
