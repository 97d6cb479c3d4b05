//! Doing a run again, in whole or in part: what is chosen and what depends on it; the rest keeps its completed jobs.

use std::collections::VecDeque;

use super::Draft;
use super::bounds::check_idempotency;
use crate::domain::canonical::Payload;
use crate::domain::command::{Choice, GraphJob, ReplayRun, Reply};
use crate::domain::dead_letter::Resolution;
use crate::domain::job::{Job, JobSpec, JobStatus};
use crate::domain::payload::RunCreated;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{GraphNode, RunGraph};
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
        let mut jobs = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            jobs.push(self.job_row(node.job)?);
        }
        let again = closure(graph, &jobs, &request.choice)?;
        let mut nodes: Vec<GraphNode> = Vec::with_capacity(graph.nodes.len());
        for (index, node) in graph.nodes.iter().enumerate() {
            nodes.push(GraphNode {
                job: if again[index] { self.draw_job() } else { node.job },
                reused: !again[index],
                ..node.clone()
            });
        }
        let mut made = Vec::with_capacity(jobs.len());
        for (node, job) in graph.nodes.iter().zip(&jobs) {
            made.push(self.job_again(node, job)?);
        }
        for (index, job) in jobs.iter().enumerate() {
            if again[index] {
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

/// Which nodes are done again: the chosen ones, those that did not complete, those marked `always`, and whatever needs
/// one of them.
///
/// # Errors
/// A name that is not there; a choice that leaves nothing to do.
pub fn closure(graph: &RunGraph, jobs: &[Job], choice: &Choice) -> Result<Vec<bool>, Rejection> {
    let mut again = vec![false; graph.nodes.len()];
    let mut queue = VecDeque::new();
    let is_chosen = |index: usize| match choice {
        Choice::Named(names) => names.contains(&graph.nodes[index].name),
        Choice::NotCompleted => jobs[index].status != JobStatus::Completed,
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
    queue.extend(
        (0..graph.nodes.len())
            .filter(|index| jobs[*index].status != JobStatus::Completed || jobs[*index].spec.always),
    );
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
