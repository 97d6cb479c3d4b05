//! Decisions about packs and runs: register, start, settle what waits, cancel, end.

use std::collections::{BTreeMap, VecDeque};

use super::bounds::{check_text, clip};
use super::{Draft, Labels};
use crate::domain::canonical::Value;
use crate::domain::command::{PackNovelty, RegisterPack, Reply};
use crate::domain::event::{EventBody, Subject};
use crate::domain::job::{Job, JobSpec, JobStatus};
use crate::domain::pack::{PackSpec, StepSpec, resolve_inputs};
use crate::domain::payload::{
    JobCreated, JobScheduled, PackRegistered, RunCancelRequested, RunCreated, RunEnded,
};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{GraphNode, PackReference, Run, RunGraph, RunStatus};
use crate::domain::{Digest, PackName, RunId};
use crate::limits;

/// The type of every job made from a pack step, and the queue that the local runner serves.
pub const STEP_JOB_TYPE: &str = "pack.step";
/// The queue of pack steps.
pub const STEP_QUEUE: &str = "local";

impl Draft<'_> {
    pub(super) fn register_pack(&mut self, request: &RegisterPack) -> Result<Reply, Refusal> {
        check_text("/source", &request.source, limits::PACK_BYTES_MAX)?;
        let name = &request.spec.name;
        let source_sha256 = Digest::of(request.source.as_bytes());
        if let Some(version) = self.read(|view| view.pack_with_bytes(name, source_sha256))? {
            return self.reply_pack(name, version, PackNovelty::Existing);
        }
        let version = self.read(|view| view.pack_head(name))?.unwrap_or(0) + 1;
        let registered = PackRegistered {
            name: name.clone(),
            plan_hash: request.plan_hash,
            source: request.source.clone(),
            source_sha256,
            spec: request.spec.clone(),
            version,
        };
        self.record(EventBody::PackRegistered(Box::new(registered)))?;
        self.reply_pack(name, version, PackNovelty::Created)
    }

    fn reply_pack(&self, name: &PackName, version: u32, novelty: PackNovelty) -> Result<Reply, Refusal> {
        let pack = self.read(|view| view.pack(name, version))?;
        Ok(Reply::Pack(
            pack.ok_or_else(|| Rejection::not_found("pack"))?,
            novelty,
        ))
    }

    pub(super) fn start_run(
        &mut self,
        name: &PackName,
        version: Option<u32>,
        given: &BTreeMap<String, Value>,
        correlation_id: Option<&str>,
    ) -> Result<Reply, Refusal> {
        if let Some(correlation_id) = correlation_id {
            check_text("/correlationId", correlation_id, limits::LABEL_BYTES_MAX)?;
        }
        let latest = self
            .read(|view| view.pack_head(name))?
            .ok_or_else(|| Rejection::not_found("pack"))?;
        let pack = self.read(|view| view.pack(name, version.unwrap_or(latest)))?;
        let pack = pack.ok_or_else(|| Rejection::not_found("pack version"))?;
        let inputs = resolve_inputs(&pack.spec, given)?;
        let index = self.draw_index();
        let run = RunId::derive(self.stamp.at, self.stamp.entropy, index);
        let graph = self.draw_graph(&pack.spec)?;
        let labels = Labels {
            correlation_id: correlation_id.map(str::to_owned),
            project: None,
        };
        let created = RunCreated {
            graph: graph.clone(),
            inputs: inputs.clone(),
            max_parallel: pack.spec.max_parallel,
            pack: Some(PackReference {
                name: name.clone(),
                plan_hash: pack.plan_hash,
                version: pack.version,
            }),
            timeout_ms: pack.spec.timeout_ms,
        };
        let subject = Subject {
            run: Some(run),
            ..Subject::default()
        };
        self.emit(EventBody::RunCreated(Box::new(created)), subject, labels.clone())?;
        for (index, (node, step)) in graph.iter().zip(&pack.spec.steps).enumerate() {
            self.create_step_job(run, (index as u32, node), (&pack.spec, step), &inputs, &labels)?;
        }
        self.reply_run(run)
    }

    fn draw_graph(&mut self, spec: &PackSpec) -> Result<Vec<GraphNode>, Refusal> {
        let places: BTreeMap<_, u32> = spec
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| (&step.id, index as u32))
            .collect();
        let mut nodes = Vec::with_capacity(spec.steps.len());
        for step in &spec.steps {
            let mut needs: Vec<u32> = step
                .needs
                .iter()
                .filter_map(|need| places.get(need).copied())
                .collect();
            needs.sort_unstable();
            if needs.len() != step.needs.len() {
                let detail = format!("step {} needs a step that is not there", step.id);
                return Err(Rejection::new(Code::InvalidField, detail).into());
            }
            nodes.push(GraphNode {
                job: self.draw_job(),
                name: step.id.clone(),
                needs,
            });
        }
        if nodes.is_empty() || nodes.len() > limits::RUN_JOBS_MAX {
            let detail = format!("a run has 1 to {} jobs", limits::RUN_JOBS_MAX);
            return Err(Rejection::new(Code::TooLarge, detail).into());
        }
        if let Err(left) = RunGraph::new(nodes.clone()).order() {
            let names: Vec<&str> = left
                .iter()
                .map(|index| nodes[*index as usize].name.as_str())
                .collect();
            return Err(Rejection::new(Code::Cycle, format!("a cycle among {}", names.join(", "))).into());
        }
        Ok(nodes)
    }

    fn create_step_job(
        &mut self,
        run: RunId,
        (index, node): (u32, &GraphNode),
        (spec, step): (&PackSpec, &StepSpec),
        inputs: &BTreeMap<String, Value>,
        labels: &Labels,
    ) -> Result<(), Refusal> {
        let ready = node.needs.is_empty();
        let created = JobCreated {
            node: Some(index),
            payload: Some(spec.task(step, inputs).value()),
            payload_text: None,
            spec: JobSpec {
                always: step.always,
                labels: BTreeMap::new(),
                not_before: None,
                priority: limits::PRIORITY_DEFAULT,
                project: None,
                queue: STEP_QUEUE.to_owned(),
                retries: step.retries.clone(),
                timeout_ms: step.timeout_ms,
                job_type: STEP_JOB_TYPE.to_owned(),
            },
            status: if ready {
                JobStatus::Scheduled
            } else {
                JobStatus::Pending
            },
        };
        let subject = Subject {
            job: Some(node.job),
            job_type: Some(STEP_JOB_TYPE.to_owned()),
            run: Some(run),
            step: Some(node.name.clone()),
            worker: None,
        };
        self.emit(EventBody::JobCreated(Box::new(created)), subject, labels.clone())?;
        Ok(())
    }

    /// What follows from a job that has just ended: its dependents become eligible or can no longer succeed, and the
    /// run may be over.
    pub(super) fn settle(&mut self, ended: &Job) -> Result<(), Refusal> {
        let (Some(run), Some(index)) = (ended.run, ended.node) else {
            return Ok(());
        };
        let row = self
            .read(|view| view.graph(run))?
            .ok_or_else(|| Rejection::not_found("run"))?;
        let Some(graph) = row.as_graph() else {
            return Ok(());
        };
        let mut ends = VecDeque::from([index]);
        while let Some(index) = ends.pop_front() {
            let good = self.job_row(graph.nodes[index as usize].job)?.status == JobStatus::Completed;
            for dependent in &graph.dependents[index as usize] {
                let job = self.job_row(graph.nodes[*dependent as usize].job)?;
                if job.status != JobStatus::Pending {
                    continue;
                }
                let open = self
                    .read(|view| view.node(run, *dependent))?
                    .is_none_or(|node| node.open_needs > 0);
                if !good && !job.spec.always {
                    self.cancel_alone(&job, "upstream_failed")?;
                    ends.push_back(*dependent);
                } else if !open {
                    let scheduled = JobScheduled {
                        reason: "needs_met".to_owned(),
                    };
                    self.emit_job(&job, EventBody::JobScheduled(scheduled))?;
                }
            }
        }
        self.end_run(run)
    }

    fn end_run(&mut self, id: RunId) -> Result<(), Refusal> {
        let run = self.run_row(id)?;
        if run.status.is_terminal() || run.counts.ended() < run.counts.total {
            return Ok(());
        }
        let ended = RunEnded { counts: run.counts };
        let body = match run.outcome() {
            RunStatus::Completed => EventBody::RunCompleted(ended),
            RunStatus::PartiallyFailed => EventBody::RunPartiallyFailed(ended),
            RunStatus::Cancelled => EventBody::RunCancelled(ended),
            RunStatus::Failed | RunStatus::Pending | RunStatus::Running | RunStatus::Waiting => {
                EventBody::RunFailed(ended)
            }
        };
        self.emit_run(&run, body)
    }

    pub(super) fn cancel_run(&mut self, id: RunId, reason: &str) -> Result<Reply, Refusal> {
        let run = self.run_row(id)?;
        if run.status.is_terminal() {
            let detail = format!("a run that is {} cannot be cancelled", run.status.as_str());
            return Err(Rejection::new(Code::IllegalTransition, detail).into());
        }
        if run.cancel_requested.is_none() {
            self.stop_run(&run, &clip(reason), false)?;
        }
        self.reply_run(id)
    }

    pub(super) fn time_out_run(&mut self, id: RunId) -> Result<Reply, Refusal> {
        let run = self.run_row(id)?;
        let due = run.timeout_ms.map(|ms| run.created_at.plus_ms(ms));
        if run.status.is_terminal() || run.timed_out || due.is_none_or(|due| due > self.stamp.at) {
            let detail = "the run has ended, or still has time";
            return Err(Rejection::new(Code::IllegalTransition, detail).into());
        }
        self.stop_run(&run, "run_timeout", true)?;
        self.reply_run(id)
    }

    fn stop_run(&mut self, run: &Run, reason: &str, timed_out: bool) -> Result<(), Refusal> {
        let requested = RunCancelRequested {
            reason: reason.to_owned(),
            timed_out,
        };
        self.emit_run(run, EventBody::RunCancelRequested(requested))?;
        let row = self
            .read(|view| view.graph(run.id))?
            .ok_or_else(|| Rejection::not_found("run"))?;
        let Some(graph) = row.as_graph() else {
            return Ok(());
        };
        for node in &graph.nodes {
            let job = self.job_row(node.job)?;
            if job.is_terminal() || job.spec.always {
                continue;
            }
            if job.status == JobStatus::Running {
                self.stop(&job, reason)?;
            } else {
                self.cancel_alone(&job, reason)?;
            }
        }
        // What is marked `always` and waits for nothing any more still runs.
        for (index, node) in graph.nodes.iter().enumerate() {
            let job = self.job_row(node.job)?;
            let place = self.read(|view| view.node(run.id, index as u32))?;
            if job.status == JobStatus::Pending && place.is_some_and(|place| place.open_needs == 0) {
                let scheduled = JobScheduled {
                    reason: "needs_met".to_owned(),
                };
                self.emit_job(&job, EventBody::JobScheduled(scheduled))?;
            }
        }
        self.end_run(run.id)
    }

    fn emit_run(&mut self, run: &Run, body: EventBody) -> Result<(), Refusal> {
        let subject = Subject {
            run: Some(run.id),
            ..Subject::default()
        };
        let labels = Labels {
            correlation_id: run.correlation_id.clone(),
            project: None,
        };
        self.emit(body, subject, labels)?;
        Ok(())
    }

    pub(super) fn run_row(&self, id: RunId) -> Result<Run, Refusal> {
        Ok(self
            .read(|view| view.run(id))?
            .ok_or_else(|| Rejection::not_found("run"))?)
    }

    fn reply_run(&self, id: RunId) -> Result<Reply, Refusal> {
        Ok(Reply::Run(Box::new(self.run_row(id)?)))
    }
}
