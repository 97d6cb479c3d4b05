//! Doing a run again, in whole or in part: what is chosen and what depends on it; the rest keeps its completed jobs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Draft;
use super::bounds::check_idempotency;
use super::run::STEP_JOB_TYPE;
use crate::domain::JobId;
use crate::domain::canonical::{Payload, Value};
use crate::domain::command::{Choice, GraphJob, ReplayRun, Reply};
use crate::domain::event::EventBody;
use crate::domain::job::{Job, JobSpec, JobStatus};
use crate::domain::payload::{DeadLettersReplayed, RunCreated};
use crate::domain::redaction::Sensitive;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{GraphNode, RunGraph};
use crate::domain::standing::Standing;
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
        self.check_kept(old.disclosures)?;
        if old.pack.is_some() {
            self.check_secrets(&self.pack_of(&old)?.spec)?;
        }
        let row = self.read(|view| view.graph(old.id))?;
        let row = row.ok_or_else(|| Rejection::not_found("run"))?;
        let graph = row.as_graph().ok_or_else(|| Rejection::not_found("run"))?;
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for index in 0..graph.nodes.len() as u32 {
            steps.push(self.standing(&old, graph, index)?);
        }
        let again = closure(graph, &steps, &request.choice)?;
        let letters = self.open_letters(&steps, &again)?;
        let told = letters_told(&request.choice, &letters, &again)?;
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
        if !letters.is_empty() {
            let replayed = DeadLettersReplayed { jobs: letters };
            self.emit_run(&old, EventBody::DeadLettersReplayed(replayed))?;
        }
        let created = RunCreated {
            disclosures: old.disclosures,
            env_sd: old.env_sd.clone(),
            graph: nodes,
            idempotency: request.idempotency.clone(),
            inputs: old.inputs.clone(),
            max_parallel: old.max_parallel,
            order_id: None,
            pack: old.pack.clone(),
            replay_of: Some(old.id),
            timeout_ms: old.timeout_ms,
        };
        let run = self.draw_run();
        let made = self.create_run(run, created, made, old.correlation_id.as_deref())?;
        Ok(match (told, made) {
            (Some((letters, again)), Reply::Run(run)) => Reply::LettersReplayed {
                run: run.id,
                letters,
                again,
            },
            (_, made) => made,
        })
    }

    /// The jobs of what is done again that have an open dead letter.
    fn open_letters(&self, steps: &[Standing], again: &[bool]) -> Result<Vec<JobId>, Refusal> {
        let mut found = Vec::new();
        for (step, _) in steps.iter().zip(again).filter(|(_, again)| **again) {
            for job in &step.jobs {
                let letter = self.read(|view| view.dead_letter(job.id))?;
                if letter.is_some_and(|letter| letter.resolved.is_none()) {
                    found.push(job.id);
                }
            }
        }
        Ok(found)
    }

    fn job_again(&self, node: &GraphNode, job: &Job) -> Result<GraphJob, Refusal> {
        let id: JobId = node.job;
        let row = self.payload_row(id)?;
        let payload = match (row.payload, row.payload_text) {
            (Some(text), _) => Payload::Json(text),
            (None, text) => Payload::Text(text.unwrap_or_else(|| "null".to_owned())),
        };
        Ok(GraphJob {
            name: node.name.clone(),
            // The new graph has its edges already.
            needs: Vec::new(),
            payload,
            sensitive: Sensitive::again(row.disclosures),
            spec: Arc::new(job.spec.again()),
        })
    }
}

/// What is answered to whoever chose letters: those that are resolved, and how many jobs of the run are done again.
///
/// # Errors
/// When somebody else has seen to all of the chosen ones.
fn letters_told(
    choice: &Choice,
    open: &[JobId],
    again: &[bool],
) -> Result<Option<(Vec<JobId>, u64)>, Rejection> {
    let Choice::Letters(chosen) = choice else {
        return Ok(None);
    };
    let resolved: BTreeSet<&JobId> = open.iter().collect();
    if !chosen.iter().any(|letter| resolved.contains(letter)) {
        let detail = "none of these dead letters is open";
        return Err(Rejection::new(Code::IllegalTransition, detail));
    }
    let again = again.iter().filter(|again| **again).count() as u64;
    Ok(Some((open.to_vec(), again)))
}

/// What it comes to is worked out anew.
fn later_again(node: &GraphNode) -> GraphJob {
    GraphJob {
        name: node.name.clone(),
        needs: Vec::new(),
        payload: Payload::of(&Value::Null),
        sensitive: Sensitive::default(),
        spec: Arc::new(JobSpec::of_type(STEP_JOB_TYPE)),
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
    let mut queue: VecDeque<usize> = chosen(graph, steps, choice)?.into();
    if queue.is_empty() {
        return Err(Rejection::field(
            Code::InvalidField,
            "/steps",
            "there is nothing to do again",
        ));
    }
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

/// The nodes of a choice, each once.
fn chosen(graph: &RunGraph, steps: &[Standing], choice: &Choice) -> Result<Vec<usize>, Rejection> {
    let names = match choice {
        Choice::NotCompleted => {
            let open = |index: &usize| !steps[*index].status.is_good();
            return Ok((0..graph.nodes.len()).filter(open).collect());
        }
        Choice::Letters(letters) => {
            let letters: BTreeSet<&JobId> = letters.iter().collect();
            let is_chosen = |index: &usize| steps[*index].jobs.iter().any(|job| letters.contains(&job.id));
            return Ok((0..graph.nodes.len()).filter(is_chosen).collect());
        }
        Choice::Named(names) => names,
    };
    if names.len() > limits::RUN_JOBS_MAX {
        let detail = format!("at most {} jobs", limits::RUN_JOBS_MAX);
        return Err(Rejection::field(Code::TooLarge, "/steps", detail));
    }
    let places: BTreeMap<&str, usize> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.name.as_str(), index))
        .collect();
    let mut found = BTreeSet::new();
    for name in names {
        let place = places.get(name.as_str()).ok_or_else(|| {
            Rejection::field(Code::InvalidField, "/steps", format!("the run has no job {name}"))
        })?;
        found.insert(*place);
    }
    Ok(found.into_iter().collect())
}
