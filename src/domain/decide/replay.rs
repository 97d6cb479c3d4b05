//! Doing a run again, in whole or in part: what is chosen and what depends on it; the rest keeps its completed jobs.

use std::collections::VecDeque;

use super::Draft;
use super::bounds::check_idempotency;
use super::run::STEP_JOB_TYPE;
use crate::domain::canonical::{Payload, Value};
use crate::domain::command::{Choice, GraphJob, ReplayRun, Reply};
use crate::domain::dead_letter::Resolution;
use crate::domain::job::{Job, JobSpec, JobStatus};
use crate::domain::payload::RunCreated;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{GraphNode, RunGraph};
use crate::domain::standing::Standing;
use crate::domain::{JobId, StepName};
use crate::limits;

impl Draft<'_> {
    pub(super) fn replay_run(&mut self, request: &ReplayRun) -> Result<Reply, Refusal> {
        check_idempotency(request.idempotency.as_ref())?;
        if let Some(before) = self.known_request(request.idempotency.as_ref())? {
            return Ok(before);
        }
        let old = self.run_row(request.run)?;
        if !old.status.is_terminal() {
            let detail = format!("a run that is {} cannot be replayed", old.status.as_str());
            return Err(Rejection::new(Code::IllegalTransition, detail).into());
        }
        let row = self.read(|view| view.graph(old.id))?;
        let row = row.ok_or_else(|| Rejection::not_found("run"))?;
        let graph = row.as_graph().ok_or_else(|| Rejection::not_found("run"))?;
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for index in 0..graph.nodes.len() as u32 {
            steps.push(self.standing(&old, graph, index)?);
        }
        let again = closure(graph, &steps, &request.choice)?;
        let mut nodes: Vec<GraphNode> = Vec::with_capacity(graph.nodes.len());
        for (index, node) in graph.nodes.iter().enumerate() {
            nodes.push(GraphNode {
                job: if again[index] { self.draw_job() } else { node.job },
                reused: !again[index],
                ..node.clone()
            });
        }
        let mut made = Vec::with_capacity(steps.len());
        for (node, step) in graph.nodes.iter().zip(&steps) {
            made.push(match step.job().filter(|_| !node.later) {
                Some(job) => self.job_again(node, job)?,
                None => later_again(node),
            });
        }
        for (index, step) in steps.iter().enumerate() {
            for job in step.jobs.iter().filter(|_| again[index]) {
                self.resolve_open_letter(job, Resolution::Replayed, "the run is replayed")?;
            }
        }
        let created = RunCreated {
            graph: nodes,
            idempotency: request.idempotency.clone(),
            inputs: old.inputs.clone(),
            max_parallel: old.max_parallel,
            pack: old.pack.clone(),
            replay_of: Some(old.id),
            timeout_ms: old.timeout_ms,
        };
        self.create_run(created, made, old.correlation_id.as_deref())
    }

    fn job_again(&self, node: &GraphNode, job: &Job) -> Result<GraphJob, Refusal> {
        let id: JobId = node.job;
        let row = self.read(|view| view.payload(id))?;
        let row = row.ok_or_else(|| Rejection::not_found("payload"))?;
        let payload = match (row.payload, row.payload_text) {
            (Some(value), _) => Payload::Json(value),
            (None, text) => Payload::Text(text.unwrap_or_else(|| "null".to_owned())),
        };
        Ok(GraphJob {
            name: node.name.clone(),
            // The new graph has its edges already.
            needs: Vec::new(),
            payload,
            spec: JobSpec {
                hold: false,
                not_before: None,
                ..job.spec.clone()
            },
        })
    }
}

/// What it comes to is worked out anew.
fn later_again(node: &GraphNode) -> GraphJob {
    GraphJob {
        name: node.name.clone(),
        needs: Vec::new(),
        payload: Payload::Json(Value::Null),
        spec: JobSpec::of_type(STEP_JOB_TYPE),
    }
}

/// A completed job can be kept. What was skipped or mapped is worked out again: what it came to then need not hold now.
fn is_kept(step: &Standing) -> bool {
    let job = step.job();
    job.is_some_and(|job| job.status == JobStatus::Completed && !job.spec.always)
}

/// Which nodes are done again: the chosen ones, those that did not complete, those that were skipped or mapped, those marked `always`, and whatever needs
/// one of them.
///
/// # Errors
/// A name that is not there; a choice that leaves nothing to do.
pub fn closure(graph: &RunGraph, steps: &[Standing], choice: &Choice) -> Result<Vec<bool>, Rejection> {
    let mut again = vec![false; graph.nodes.len()];
    let mut queue = VecDeque::new();
    let is_chosen = |index: usize| match choice {
        Choice::Named(names) => names.contains(&graph.nodes[index].name),
        Choice::NotCompleted => !steps[index].status.is_good(),
    };
    if let Choice::Named(names) = choice {
        let known = |name: &StepName| graph.nodes.iter().any(|node| node.name == *name);
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            let detail = format!("the run has no job {unknown}");
            return Err(Rejection::field(Code::InvalidField, "/steps", detail));
        }
    }
    let chosen: Vec<usize> = (0..graph.nodes.len()).filter(|index| is_chosen(*index)).collect();
    if chosen.is_empty() || chosen.len() > limits::RUN_JOBS_MAX {
        return Err(Rejection::field(
            Code::InvalidField,
            "/steps",
            "there is nothing to do again",
        ));
    }
    queue.extend(chosen);
    // What did not complete has nothing that could be reused, and what is marked `always` runs in each run.
    queue.extend((0..graph.nodes.len()).filter(|index| !is_kept(&steps[*index])));
    while let Some(index) = queue.pop_front() {
        if std::mem::replace(&mut again[index], true) {
            continue;
        }
        queue.extend(
            graph.dependents[index]
                .iter()
                .map(|dependent| *dependent as usize),
        );
    }
    Ok(again)
}
