//! Doing a run again, in whole or in part: what is chosen and what depends on it; the rest keeps its completed jobs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Draft;
use super::bounds::check_idempotency;
use crate::domain::canonical::Payload;
use crate::domain::command::{Choice, GraphJob, ReplayRun, Reply};
use crate::domain::dead_letter::Resolution;
use crate::domain::job::{Job, JobStatus};
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
        if matches!(request.choice, Choice::Letters(_)) && !self.has_open_letter(graph, &again)? {
            let detail = "none of these dead letters is open";
            return Err(Rejection::new(Code::IllegalTransition, detail).into());
        }
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

    fn has_open_letter(&self, graph: &RunGraph, again: &[bool]) -> Result<bool, Refusal> {
        for (node, _) in graph.nodes.iter().zip(again).filter(|(_, again)| **again) {
            let letter = self.read(|view| view.dead_letter(node.job))?;
            if letter.is_some_and(|letter| letter.resolved.is_none()) {
                return Ok(true);
            }
        }
        Ok(false)
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
            spec: Arc::new(job.spec.again()),
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
    let mut queue: VecDeque<usize> = chosen(graph, jobs, choice)?.into();
    if queue.is_empty() {
        return Err(Rejection::field(
            Code::InvalidField,
            "/steps",
            "there is nothing to do again",
        ));
    }
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

/// The nodes of a choice, each once.
fn chosen(graph: &RunGraph, jobs: &[Job], choice: &Choice) -> Result<Vec<usize>, Rejection> {
    let names = match choice {
        Choice::NotCompleted => {
            let open = |index: &usize| jobs[*index].status != JobStatus::Completed;
            return Ok((0..graph.nodes.len()).filter(open).collect());
        }
        Choice::Named(names) | Choice::Letters(names) => names,
    };
    if names.len() > limits::RUN_JOBS_MAX {
        let detail = format!("at most {} jobs", limits::RUN_JOBS_MAX);
        return Err(Rejection::field(Code::TooLarge, "/steps", detail));
    }
    let places: BTreeMap<&StepName, usize> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (&node.name, index))
        .collect();
    let mut found = BTreeSet::new();
    for name in names {
        let place = places.get(name).ok_or_else(|| {
            Rejection::field(Code::InvalidField, "/steps", format!("the run has no job {name}"))
        })?;
        found.insert(*place);
    }
    Ok(found.into_iter().collect())
}
