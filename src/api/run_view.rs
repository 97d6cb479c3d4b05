//! A run as it is shown, with its steps; now, or as it was.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::job_view::{ErrorView, Waiting, waiting};
use crate::domain::canonical::Value;
use crate::domain::job::JobStatus;
use crate::domain::run::{Run, RunGraph, RunStatus};
use crate::domain::state::View;
use crate::domain::{Digest, JobId, PackName, RunId, StepName, Timestamp};

/// A pack version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackOfRun {
    #[schema(value_type = String)]
    name: PackName,
    #[schema(value_type = String)]
    plan_hash: Digest,
    version: u32,
}

/// How far a run is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    done: u32,
    total: u32,
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    correlation_id: Option<String>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    ended_at: Option<Timestamp>,
    /// A pack run's id is the run's id.
    #[schema(value_type = String)]
    pub id: RunId,
    #[schema(value_type = Object)]
    inputs: BTreeMap<String, Value>,
    /// Null for a run of jobs that no pack defines.
    pack: Option<PackOfRun>,
    progress: Progress,
    /// The run whose work it does again, in whole or in part.
    #[schema(value_type = Option<String>)]
    replay_of: Option<RunId>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    /// Where it stands.
    #[schema(value_type = String, example = "running")]
    pub status: RunStatus,
}

impl RunView {
    /// A run without its steps.
    pub fn new(run: &Run) -> Self {
        RunView {
            correlation_id: run.correlation_id.clone(),
            created_at: run.created_at,
            ended_at: run.ended_at,
            id: run.id,
            inputs: run.inputs.clone(),
            pack: run.pack.as_ref().map(|pack| PackOfRun {
                name: pack.name.clone(),
                plan_hash: pack.plan_hash,
                version: pack.version,
            }),
            progress: Progress {
                done: run.counts.ended(),
                total: run.counts.total,
            },
            replay_of: run.replay_of,
            started_at: run.started_at,
            status: run.status,
        }
    }
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    attempt: u32,
    #[schema(value_type = Option<String>)]
    ended_at: Option<Timestamp>,
    error: Option<ErrorView>,
    exit_code: Option<i32>,
    #[schema(value_type = String)]
    id: StepName,
    index: u32,
    #[schema(value_type = String)]
    job_id: JobId,
    /// Steps that must end first.
    #[schema(value_type = Vec<String>)]
    needs: Vec<StepName>,
    /// The job is that of an earlier run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reused: bool,
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    #[schema(value_type = String)]
    status: JobStatus,
    /// Why it does not run yet; null when it runs or has ended.
    waiting: Option<Waiting>,
}

/// A run with its steps.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDetail {
    /// The last event at which this is true: a stream from here on misses nothing.
    as_of: i64,
    /// Why cancelling was asked for.
    cancel_requested: Option<String>,
    #[serde(flatten)]
    run: RunView,
    steps: Vec<StepView>,
}

impl RunDetail {
    /// A run as `view` tells it. Jobs that it took over from an earlier run are looked up in `earlier`.
    pub fn new(
        as_of: i64,
        run: &Run,
        graph: &RunGraph,
        view: &dyn View,
        earlier: &dyn View,
    ) -> Result<Self, ApiError> {
        Ok(RunDetail {
            as_of,
            cancel_requested: run.cancel_requested.clone(),
            run: RunView::new(run),
            steps: steps(run, graph, view, earlier)?,
        })
    }
}

fn steps(
    run: &Run,
    graph: &RunGraph,
    view: &dyn View,
    earlier: &dyn View,
) -> Result<Vec<StepView>, ApiError> {
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let from = if node.reused { earlier } else { view };
        let Some(job) = from.job(node.job)? else { continue };
        let open = view.node(run.id, index as u32)?.map_or(0, |node| node.open_needs);
        let needs = node.needs.iter();
        steps.push(StepView {
            attempt: job.attempt,
            ended_at: job.ended_at,
            error: job
                .failure
                .as_ref()
                .filter(|_| job.status == JobStatus::Failed)
                .map(ErrorView::from),
            exit_code: job.exit_code,
            id: node.name.clone(),
            index: index as u32,
            job_id: node.job,
            needs: needs
                .map(|need| graph.nodes[*need as usize].name.clone())
                .collect(),
            reused: node.reused,
            started_at: job.started_at,
            status: job.status,
            waiting: waiting(&job, Some(run), Some((open, node.needs.len() as u32))),
        });
    }
    Ok(steps)
}
