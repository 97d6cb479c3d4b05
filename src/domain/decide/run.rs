//! Decisions about packs and runs: register, start, settle what waits, cancel, end.

use std::sync::Arc;

use super::bounds::{check_correlation, check_idempotency, check_text, clip};
use super::redaction::step_payload;
use super::{Draft, Labels};
use crate::domain::canonical::{Payload, Value};
use crate::domain::command::{GraphJob, PackNovelty, RegisterPack, Reply, StartRun};
use crate::domain::event::{EventBody, Subject};
use crate::domain::job::{Job, JobSpec, JobStatus};
use crate::domain::pack::{StepSpec, resolve_inputs};
use crate::domain::payload::{PackRegistered, RunCancelRequested, RunCreated, RunEnded};
use crate::domain::redaction::Sensitive;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{PackReference, Run, RunGraph, RunStatus};
use crate::domain::{Digest, OrderId, PackName, RunId, StepName};
use crate::limits;

/// The type of every job made from a pack step, and the queue that the local runner serves.
pub const STEP_JOB_TYPE: &str = "pack.step";
/// Why a job was cancelled, when its run was by request.
const RUN_CANCELLED: &str = "run_cancelled";
/// The queue of pack steps.
pub const STEP_QUEUE: &str = "local";

impl Draft<'_> {
    pub(super) fn register_pack(&mut self, request: &RegisterPack) -> Result<Reply, Refusal> {
        self.register_pack_as(&request.spec.name, request)
    }

    pub(super) fn register_pack_as(
        &mut self,
        name: &PackName,
        request: &RegisterPack,
    ) -> Result<Reply, Refusal> {
        check_text("/source", &request.source, limits::PACK_BYTES_MAX)?;
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

    pub(super) fn start_run(&mut self, request: &StartRun) -> Result<Reply, Refusal> {
        check_correlation(request.correlation_id.as_deref())?;
        check_idempotency(request.idempotency.as_ref())?;
        if let Some(before) = self.known_request(request.idempotency.as_ref())? {
            return Ok(before);
        }
        let run = self.draw_run();
        self.start_run_of(run, request, None)
    }

    /// Makes a run of a pack, under an id that was drawn.
    pub(super) fn start_run_of(
        &mut self,
        run: RunId,
        request: &StartRun,
        order_id: Option<OrderId>,
    ) -> Result<Reply, Refusal> {
        let name = &request.pack;
        let latest = self
            .read(|view| view.pack_head(name))?
            .ok_or_else(|| Rejection::not_found("pack"))?;
        let pack = self.read(|view| view.pack(name, request.version.unwrap_or(latest)))?;
        let pack = pack.ok_or_else(|| Rejection::not_found("pack version"))?;
        let inputs = resolve_inputs(&pack.spec, &request.inputs)?;
        if order_id.is_none() {
            self.check_secrets(&pack.spec)?;
        }
        let inputs = self.redact_inputs(&pack.spec, inputs)?;
        let jobs = pack.spec.steps.iter().map(|step| GraphJob {
            name: step.id.clone(),
            needs: step.needs.clone(),
            payload: if step.is_dynamic() {
                Payload::of(&Value::Null)
            } else {
                step_payload(&pack.spec.task(step, &inputs.plain), &inputs.env_sd)
            },
            sensitive: Sensitive::again(inputs.kept_with),
            spec: Arc::new(step_spec(step)),
        });
        let jobs: Vec<GraphJob> = jobs.collect();
        let mut graph = self.draw_graph(&jobs)?;
        for (node, step) in graph.iter_mut().zip(&pack.spec.steps) {
            node.later = step.is_dynamic();
        }
        let created = RunCreated {
            disclosures: inputs.kept_with,
            env_sd: inputs.env_sd,
            graph,
            idempotency: request.idempotency.clone(),
            inputs: inputs.recorded,
            max_parallel: pack.spec.max_parallel,
            order_id,
            pack: Some(PackReference {
                name: name.clone(),
                plan_hash: pack.plan_hash,
                version: pack.version,
            }),
            replay_of: None,
            timeout_ms: pack.spec.timeout_ms,
        };
        self.create_run(run, created, jobs, request.correlation_id.as_deref())
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
        let row = self.run_row(run)?;
        let node = self.read(|view| view.node(run, index))?;
        // Of a mapped step the last job to end ends it.
        if node.is_none_or(|node| node.open_jobs == 0) {
            self.follow(&row, graph, vec![index])?;
        }
        self.end_run(run)
    }

    pub(super) fn end_run(&mut self, id: RunId) -> Result<(), Refusal> {
        let run = self.run_row(id)?;
        if run.status.is_terminal() {
            return Ok(());
        }
        if run.counts.ended() < run.counts.total {
            return self.rest(&run);
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
        self.emit_run(&run, body)?;
        self.report_order(run.order_id)
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
        self.end_pause(run, if timed_out { reason } else { "cancelled" })?;
        self.emit_run(run, EventBody::RunCancelRequested(requested))?;
        // The run keeps the reason: repeated for each of its jobs it could be more than a batch holds.
        let reason = if timed_out { reason } else { RUN_CANCELLED };
        let row = self
            .read(|view| view.graph(run.id))?
            .ok_or_else(|| Rejection::not_found("run"))?;
        let Some(graph) = row.as_graph() else {
            return Ok(());
        };
        for index in 0..graph.nodes.len() as u32 {
            self.stop_node(run, graph, index, reason)?;
        }
        // What is marked `always` and waits for nothing any more still runs.
        for (index, place) in (0..).zip(&graph.nodes) {
            let standing = self.standing(run, graph, index)?;
            if place.later && !standing.is_worked_out() && standing.node.open_needs == 0 {
                if self.work_out(run, graph, index)? {
                    self.follow(run, graph, vec![index])?;
                }
            } else if let Some(job) = standing.job()
                && job.status == JobStatus::Pending
                && self.is_eligible(job)?
            {
                self.schedule(job, "needs_met")?;
            }
        }
        self.end_run(run.id)
    }

    fn stop_node(&mut self, run: &Run, graph: &RunGraph, index: u32, reason: &str) -> Result<(), Refusal> {
        let standing = self.standing(run, graph, index)?;
        if !standing.is_worked_out() || standing.asks() {
            if !self.step_of(run, index)?.always {
                self.cancel_step(run, graph, index, reason)?;
            }
            return Ok(());
        }
        for job in &standing.jobs {
            if job.is_terminal() || job.spec.always {
                continue;
            }
            if job.status == JobStatus::Running {
                self.stop(job, reason)?;
            } else {
                self.cancel_alone(job, reason)?;
            }
        }
        Ok(())
    }

    pub(super) fn emit_run(&mut self, run: &Run, body: EventBody) -> Result<(), Refusal> {
        self.emit_in_run(run, None, body)
    }

    /// An event of a run, or of one of its steps.
    pub(super) fn emit_in_run(
        &mut self,
        run: &Run,
        step: Option<StepName>,
        body: EventBody,
    ) -> Result<(), Refusal> {
        let subject = Subject {
            run: Some(run.id),
            step,
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

    pub(super) fn reply_run(&self, id: RunId) -> Result<Reply, Refusal> {
        Ok(Reply::Run(Box::new(self.run_row(id)?)))
    }
}

/// The job of a pack's step.
pub(super) fn step_spec(step: &StepSpec) -> JobSpec {
    JobSpec {
        always: step.always,
        queue: STEP_QUEUE.to_owned(),
        retries: step.retries.clone(),
        timeout_ms: step.timeout_ms,
        ..JobSpec::of_type(STEP_JOB_TYPE)
    }
}
