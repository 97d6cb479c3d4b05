//! Decisions about single jobs outside a lease: submit, schedule, wake, retry, replay, cancel.

use std::sync::Arc;

use super::bounds::{check_idempotency, check_submit, clip};
use super::{Draft, Labels};
use crate::domain::canonical::Payload;
use crate::domain::command::{Reply, SubmitJob};
use crate::domain::dead_letter::Resolution;
use crate::domain::event::{EventBody, Subject};
use crate::domain::idempotency::Idempotency;
use crate::domain::job::{Artifact, AttemptLogs, Job, JobStatus};
use crate::domain::payload::{
    JobCancelRequested, JobCancelled, JobCreated, JobHoldEnded, JobReplayed, JobScheduled,
};
use crate::domain::redaction::Sensitive;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::{JobId, RunId, StepName};

/// How a running job ended, besides the job itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) exit_code: Option<i32>,
    pub(super) logs: Option<AttemptLogs>,
}

impl Ended {
    /// Of an attempt whose worker said nothing of its end: what it had sent by then.
    pub(super) fn unreported(job: &Job, logs: Option<&AttemptLogs>) -> Self {
        Ended {
            artifacts: job.uploaded.clone(),
            exit_code: None,
            logs: logs.cloned(),
        }
    }
}

/// Where a new job stands in its run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) run: RunId,
    pub(super) node: u32,
    pub(super) name: &'a StepName,
    /// It needs jobs that have not ended.
    pub(super) waits: bool,
}

impl Draft<'_> {
    pub(super) fn submit_job(&mut self, request: &SubmitJob) -> Result<Reply, Refusal> {
        check_submit(request)?;
        if let Some(before) = self.known_request(request.idempotency.as_ref())? {
            return Ok(before);
        }
        let id = self.draw_job();
        self.create_job(request, id, None)?;
        self.reply_job(id)
    }

    /// Records a new job; `place` is where it stands in its run, and what it is called there.
    pub(super) fn create_job(
        &mut self,
        request: &SubmitJob,
        id: JobId,
        place: Option<Place<'_>>,
    ) -> Result<(), Refusal> {
        let spec = &request.spec;
        let is_due = spec.not_before.is_none_or(|time| time <= self.stamp.at);
        let is_free = place.is_none_or(|place| !place.waits);
        let status = if is_due && is_free && !spec.hold {
            JobStatus::Scheduled
        } else {
            JobStatus::Pending
        };
        let (payload, disclosures) = self.redacted(request)?;
        let (payload, payload_text) = match payload {
            // A recorded `null` reads back as nothing recorded.
            Payload::Json(text) if text.is_null() => (None, Some("null".to_owned())),
            Payload::Json(text) => (Some(text), None),
            Payload::Text(text) => (None, Some(text)),
        };
        let subject = Subject {
            job: Some(id),
            job_type: Some(spec.job_type.clone()),
            run: place.map(|place| place.run),
            step: place.map(|place| place.name.clone()),
            worker: None,
        };
        let labels = Labels {
            correlation_id: request.correlation_id.clone(),
            project: spec.project.clone(),
        };
        let created = JobCreated {
            disclosures,
            idempotency: request.idempotency.clone(),
            node: place.map(|place| place.node),
            payload,
            payload_text,
            replay_of: request.replay_of,
            spec: spec.clone(),
            status,
        };
        self.emit(EventBody::JobCreated(Box::new(created)), subject, labels)?;
        Ok(())
    }

    /// The answer of an earlier request with this key: the same request gets it again, another one is refused.
    pub(super) fn known_request(&self, key: Option<&Idempotency>) -> Result<Option<Reply>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        match self.read(|view| view.idempotency(&key.route, &key.key))? {
            None => Ok(None),
            Some(row) if row.body == key.body => Ok(Some(Reply::Before(row.seq))),
            Some(_) => {
                let detail = format!("the key {:?} came before, with another request", key.key);
                Err(Rejection::new(Code::IdempotencyConflict, detail).into())
            }
        }
    }

    pub(super) fn wake_job(&mut self, id: JobId) -> Result<Reply, Refusal> {
        let job = self.job_row(id)?;
        let reason = match job.status {
            JobStatus::Failed if job.next_attempt_at.is_some_and(|due| due <= self.stamp.at) => "retry",
            JobStatus::Pending if self.is_eligible(&job)? => "not_before",
            _ => return Err(illegal(&job, "woken")),
        };
        self.schedule(&job, reason)?;
        self.reply_job(id)
    }

    /// Nothing of its own holds a pending job back any more.
    pub(super) fn is_eligible(&self, job: &Job) -> Result<bool, Refusal> {
        Ok(!job.held && self.waits_for_nothing_but_a_person(job)?)
    }

    fn waits_for_nothing_but_a_person(&self, job: &Job) -> Result<bool, Refusal> {
        if job.spec.not_before.is_some_and(|due| due > self.stamp.at) {
            return Ok(false);
        }
        let (Some(run), Some(index)) = (job.run, job.node) else {
            return Ok(true);
        };
        let node = self.read(|view| view.node(run, index))?;
        Ok(node.is_some_and(|node| node.open_needs == 0))
    }

    pub(super) fn schedule(&mut self, job: &Job, reason: &str) -> Result<(), Refusal> {
        let scheduled = JobScheduled {
            afresh: false,
            reason: reason.to_owned(),
        };
        self.emit_job(job, EventBody::JobScheduled(scheduled))
    }

    /// Lets a held job go on. It may still wait for a time or for other jobs.
    pub(super) fn schedule_job(&mut self, id: JobId, reason: &str) -> Result<Reply, Refusal> {
        let job = self.job_row(id)?;
        if job.status != JobStatus::Pending || !job.held {
            return Err(Rejection::new(Code::IllegalTransition, "only a held job can be scheduled").into());
        }
        let reason = clip(reason);
        if self.waits_for_nothing_but_a_person(&job)? {
            self.schedule(&job, &reason)?;
        } else {
            self.emit_job(&job, EventBody::JobHoldEnded(JobHoldEnded { reason }))?;
        }
        self.reply_job(id)
    }

    /// The same job once more, its failures counted from 0.
    pub(super) fn retry_job(&mut self, id: JobId, reason: &str) -> Result<Reply, Refusal> {
        let job = self.job_row(id)?;
        if job.status != JobStatus::Failed || !job.is_terminal() {
            return Err(illegal(&job, "retried"));
        }
        refuse_in_run(&job)?;
        self.check_payload_kept(id)?;
        let reason = clip(reason);
        self.resolve_open_letter(&job, Resolution::Retried, &reason)?;
        let scheduled = JobScheduled { afresh: true, reason };
        self.emit_job(&job, EventBody::JobScheduled(scheduled))?;
        self.reply_job(id)
    }

    /// A new job that does the work of one that has ended.
    pub(super) fn replay_job(
        &mut self,
        id: JobId,
        reason: &str,
        idempotency: Option<&Idempotency>,
    ) -> Result<Reply, Refusal> {
        check_idempotency(idempotency)?;
        if let Some(before) = self.known_request(idempotency)? {
            return Ok(before);
        }
        let job = self.job_row(id)?;
        if !job.is_terminal() {
            return Err(illegal(&job, "replayed"));
        }
        refuse_in_run(&job)?;
        let row = self.check_payload_kept(id)?;
        let payload = match (row.payload, row.payload_text) {
            (Some(text), _) => Payload::Json(text),
            (None, text) => Payload::Text(text.unwrap_or_else(|| "null".to_owned())),
        };
        let request = SubmitJob {
            correlation_id: job.correlation_id.clone(),
            idempotency: idempotency.cloned(),
            payload,
            replay_of: Some(id),
            sensitive: Sensitive::again(row.disclosures),
            spec: Arc::new(job.spec.again()),
        };
        let replay = self.draw_job();
        self.create_job(&request, replay, None)?;
        let reason = clip(reason);
        self.resolve_open_letter(&job, Resolution::Replayed, &reason)?;
        self.emit_job(&job, EventBody::JobReplayed(JobReplayed { reason, replay }))?;
        self.reply_job(replay)
    }

    pub(super) fn cancel_job(&mut self, id: JobId, reason: &str) -> Result<Reply, Refusal> {
        let job = self.job_row(id)?;
        if job.is_terminal() {
            return Err(illegal(&job, "cancelled"));
        }
        self.stop(&job, &clip(reason))?;
        self.reply_job(id)
    }

    /// Cancels what has not started; asks what runs. A repeat is a no-op.
    pub(super) fn stop(&mut self, job: &Job, reason: &str) -> Result<(), Refusal> {
        if job.status != JobStatus::Running {
            return self.cancel(job, reason, Ended::default());
        }
        if job.cancel_requested.is_none() {
            let requested = JobCancelRequested {
                reason: reason.to_owned(),
            };
            self.emit_job(job, EventBody::JobCancelRequested(requested))?;
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, job: &Job, reason: &str, ended: Ended) -> Result<(), Refusal> {
        self.emit_cancelled(job, reason, ended)?;
        self.settle(job)
    }

    /// Ends a job as cancelled without looking at what waits for it.
    pub(super) fn cancel_alone(&mut self, job: &Job, reason: &str) -> Result<(), Refusal> {
        self.emit_cancelled(job, reason, Ended::default())
    }

    fn emit_cancelled(&mut self, job: &Job, reason: &str, ended: Ended) -> Result<(), Refusal> {
        let cancelled = JobCancelled {
            artifacts: ended.artifacts,
            exit_code: ended.exit_code,
            logs: ended.logs,
            reason: reason.to_owned(),
        };
        self.emit_job(job, EventBody::JobCancelled(Box::new(cancelled)))
    }

    pub(super) fn emit_job(&mut self, job: &Job, body: EventBody) -> Result<(), Refusal> {
        let worker = match &body {
            EventBody::JobStarted(started) => Some(started.worker.clone()),
            _ => job.lease.as_ref().map(|lease| lease.worker.clone()),
        };
        let subject = Subject {
            job: Some(job.id),
            job_type: Some(job.spec.job_type.clone()),
            run: job.run,
            step: job.name.clone(),
            worker,
        };
        self.emit(body, subject, labels_of(job))?;
        Ok(())
    }

    pub(super) fn job_row(&self, id: JobId) -> Result<Job, Refusal> {
        Ok(self
            .read(|view| view.job(id))?
            .ok_or_else(|| Rejection::not_found("job"))?)
    }

    pub(super) fn reply_job(&self, id: JobId) -> Result<Reply, Refusal> {
        Ok(Reply::Job(Box::new(self.job_row(id)?)))
    }
}

pub(super) fn labels_of(job: &Job) -> Labels {
    Labels {
        correlation_id: job.correlation_id.clone(),
        project: job.spec.project.clone(),
    }
}

pub(super) fn illegal(job: &Job, wish: &str) -> Refusal {
    let detail = format!("a job that is {} cannot be {wish}", job.status.as_str());
    Rejection::new(Code::IllegalTransition, detail).into()
}

/// A job of a run is done again with what depends on it, by a replay of the run.
fn refuse_in_run(job: &Job) -> Result<(), Refusal> {
    let Some(run) = job.run else { return Ok(()) };
    let detail = format!("the job belongs to the run {run}; replay the run, or a part of it");
    Err(Rejection::new(Code::InRun, detail).into())
}
