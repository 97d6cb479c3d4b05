//! A run as it is shown, with its steps; now, or as it was.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::job_view::{ErrorView, Waiting, waiting};
use crate::domain::canonical::Value;
use crate::domain::job::{Job, JobStatus};
use crate::domain::run::{AskedGate, GraphNode, Run, RunGraph, RunStatus};
use crate::domain::standing::{Standing, StepStatus};
use crate::domain::state::View;
use crate::domain::{Digest, JobId, OrderId, PackName, RunId, StepName, Timestamp};

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
    /// The work order that asks for it; only where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    order_id: Option<OrderId>,
    /// Null for a run of jobs that no pack defines.
    pack: Option<PackOfRun>,
    /// Why it is paused, while it is.
    pause_reason: Option<String>,
    /// Nothing more of it starts until it is resumed.
    paused: bool,
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
            order_id: run.order_id,
            pack: run.pack.as_ref().map(|pack| PackOfRun {
                name: pack.name.clone(),
                plan_hash: pack.plan_hash,
                version: pack.version,
            }),
            pause_reason: run.paused.clone(),
            paused: run.paused.is_some(),
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

/// A gate that asks persons.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateView {
    /// Those who approved, in order.
    approvals: Vec<ApprovalView>,
    /// How many different persons have to; the one who started the run does not count.
    approvers: u32,
    /// SHA-256 of what is approved: the plan, the inputs, and what the steps before came to.
    #[schema(value_type = String)]
    binding: Digest,
}

/// What one person said.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApprovalView {
    #[schema(value_type = String)]
    at: Timestamp,
    person: String,
    reason: String,
}

impl GateView {
    fn new(gate: &AskedGate) -> Self {
        let approvals = gate.approvals.iter().map(|approval| ApprovalView {
            at: approval.at,
            person: approval.person.clone(),
            reason: approval.reason.clone(),
        });
        GateView {
            approvals: approvals.collect(),
            approvers: gate.approvers,
            binding: gate.binding,
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
    /// Whom a gate asks, and what they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<GateView>,
    #[schema(value_type = String)]
    id: StepName,
    index: u32,
    /// Null while it is not known what does the step, and where nothing does.
    #[schema(value_type = Option<String>)]
    job_id: Option<JobId>,
    /// Steps that must end first.
    #[schema(value_type = Vec<String>)]
    needs: Vec<StepName>,
    /// Why it ended, where no job says so: `condition`, `empty_map`, `upstream_failed`, or what was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The job is that of an earlier run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reused: bool,
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    #[schema(value_type = String)]
    status: StepStatus,
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
        let standing = Standing::of(view, earlier, run.id, (index as u32, node))?;
        let needs = node.needs.iter();
        let needs: Vec<StepName> = needs
            .map(|need| graph.nodes[*need as usize].name.clone())
            .collect();
        let place = (index as u32, node, needs);
        if standing.jobs.is_empty() {
            steps.push(without_job(&standing, place));
            continue;
        }
        for job in &standing.jobs {
            steps.push(with_job(job, run, &standing, place.clone()));
        }
    }
    Ok(steps)
}

type Place<'g> = (u32, &'g GraphNode, Vec<StepName>);

/// A step that was not worked out yet, or ended without a job.
fn without_job(standing: &Standing, (index, node, needs): Place<'_>) -> StepView {
    let row = &standing.node;
    let failed = standing.status == StepStatus::Failed;
    StepView {
        attempt: 0,
        ended_at: row.ended_at,
        error: row
            .reason
            .as_deref()
            .filter(|_| failed)
            .map(ErrorView::of_expression),
        exit_code: None,
        gate: row.gate.as_ref().map(GateView::new),
        id: node.name.clone(),
        index,
        job_id: None,
        reason: row.reason.clone().filter(|_| !failed),
        reused: node.reused,
        started_at: row.gate.as_ref().map(|gate| gate.started_at),
        status: standing.status,
        waiting: (!standing.has_ended() && row.gate.is_none()).then_some(Waiting::Needs {
            open: row.open_needs,
            total: needs.len() as u32,
        }),
        needs,
    }
}

/// A step that a job does, or one job of a mapped step.
fn with_job(job: &Job, run: &Run, standing: &Standing, (index, node, needs): Place<'_>) -> StepView {
    StepView {
        attempt: job.attempt,
        ended_at: job.ended_at,
        error: job
            .failure
            .as_ref()
            .filter(|_| job.status == JobStatus::Failed)
            .map(ErrorView::from),
        exit_code: job.exit_code,
        gate: None,
        id: job.name.clone().unwrap_or_else(|| node.name.clone()),
        index,
        job_id: Some(job.id),
        reason: job.reason.clone(),
        reused: node.reused,
        started_at: job.started_at,
        status: StepStatus::from(job.status),
        waiting: waiting(
            job,
            Some(run),
            Some((standing.node.open_needs, needs.len() as u32)),
        ),
        needs,
    }
}
