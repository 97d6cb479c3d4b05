//! What the events of a job change: the job itself, its payload, its artifacts, and the counts of its run.
//!
//! Promises: a job moves only along the table of its states, and only under the epoch of its lease. It must never
//! change a job that has ended, except to note a late report.

use super::{ApplyError, Fold};
use crate::domain::event::ActorKind;
use crate::domain::idempotency::{Idempotency, IdempotencyRow};
use crate::domain::job::{Job, JobStatus, Lease, PastLease};
use crate::domain::payload::{
    ArtifactCreated, JobCancelRequested, JobCancelled, JobCompleted, JobCreated, JobFailed, JobLateReport,
    JobReleased, JobScheduled, JobStarted,
};
use crate::domain::report::AiArtifactCreated;
use crate::domain::run::{GraphNode, RunNode};
use crate::domain::state::{ArtifactRow, Key, PayloadRow, Row};
use crate::domain::{Digest, JobId};

impl Fold<'_> {
    pub(super) fn job_created(&mut self, payload: &JobCreated) -> Result<(), ApplyError> {
        let id = self.job_id()?;
        self.refuse_existing(&Key::Job(id))?;
        self.check_node(id, payload.node)?;
        self.check_kept_with(payload.disclosures)?;
        let row = PayloadRow {
            disclosures: payload.disclosures,
            payload: payload.payload.clone(),
            payload_text: payload.payload_text.clone(),
        };
        let payload_sha256 = match (&row.payload, &row.payload_text) {
            (Some(text), None) => Digest::of(text.as_str().as_bytes()),
            (None, Some(text)) => Digest::of(text.as_bytes()),
            _ => return Err(self.illegal("a job has exactly one payload")),
        };
        let ready_seq = match payload.status {
            JobStatus::Scheduled if payload.spec.hold => {
                return Err(self.illegal("a held job begins pending"));
            }
            JobStatus::Scheduled => Some(self.event.seq),
            JobStatus::Pending => None,
            _ => return Err(self.illegal("a job begins pending or scheduled")),
        };
        let job = Job {
            artifacts: Vec::new(),
            attempt: 0,
            cancel_requested: None,
            correlation_id: self.event.correlation_id.clone(),
            created_at: self.event.at,
            ended_at: None,
            epoch: 0,
            exit_code: None,
            failure: None,
            failures: 0,
            held: payload.spec.hold,
            id,
            late_report_epoch: None,
            lease: None,
            logs: None,
            name: self.event.subject.step.clone(),
            next_attempt_at: None,
            node: payload.node,
            output: None,
            past_lease: None,
            payload_sha256,
            ready_seq,
            reason: None,
            replay_of: payload.replay_of,
            run: self.event.subject.run,
            seq: self.event.seq,
            spec: payload.spec.clone(),
            started_at: None,
            status: payload.status,
            uploaded: Vec::new(),
        };
        self.changes.put(Key::Payload(id), Row::Payload(row));
        self.keep_request(payload.idempotency.as_ref())?;
        self.put_job(job)
    }

    /// A job of a run stands where the graph says; so a run never counts more jobs than its graph has.
    fn check_node(&self, id: JobId, node: Option<u32>) -> Result<(), ApplyError> {
        let (run, index) = match (self.event.subject.run, node) {
            (None, None) => return Ok(()),
            (Some(run), Some(index)) => (run, index),
            _ => return Err(self.illegal("a job has a run and a place in it, or neither")),
        };
        let row = self.with(|view| view.graph(run))?;
        let graph = row.as_ref().and_then(|row| row.as_graph());
        let place = graph.and_then(|graph| graph.nodes.get(index as usize));
        let node = self.with(|view| view.node(run, index))?.unwrap_or_default();
        let name = self.event.subject.step.as_ref();
        match place {
            Some(place) if place.reused || node.end.is_some() || place.later && node.open_needs > 0 => {
                Err(self.illegal("no job comes into being there"))
            }
            Some(place) if node.jobs.is_empty() && place.job == id && Some(&place.name) == name => Ok(()),
            Some(place) if self.is_mapped_job(place, &node, id) => Ok(()),
            _ => Err(self.illegal("the graph of the run has another job there")),
        }
    }

    /// The job stands for an item of a mapped step, under its name.
    fn is_mapped_job(&self, place: &GraphNode, node: &RunNode, id: JobId) -> bool {
        let Some(item) = node.jobs.iter().position(|job| *job == id) else {
            return false;
        };
        let name = self.event.subject.step.as_ref();
        name.is_some_and(|name| name.as_str() == format!("{}[{item}]", place.name))
    }

    pub(super) fn job_scheduled(&mut self, payload: &JobScheduled) -> Result<(), ApplyError> {
        let mut job = self.job_in(&[JobStatus::Pending, JobStatus::Failed])?;
        // A run has counted its failed job: only one that stands alone is tried afresh.
        let may_be_afresh = job.is_terminal() && job.run.is_none();
        if job.is_terminal() != payload.afresh || payload.afresh && !may_be_afresh {
            return Err(self.illegal("only what has failed for good, outside any run, is tried afresh"));
        }
        self.move_to(&mut job, JobStatus::Scheduled)?;
        if payload.afresh {
            job.failures = 0;
            job.ended_at = None;
        }
        job.held = false;
        job.next_attempt_at = None;
        job.ready_seq = Some(self.event.seq);
        self.put_job(job)
    }

    pub(super) fn job_hold_ended(&mut self) -> Result<(), ApplyError> {
        let mut job = self.job_in(&[JobStatus::Pending])?;
        if !job.held {
            return Err(self.illegal("the job is not held"));
        }
        job.held = false;
        self.put_job(job)
    }

    pub(super) fn job_replayed(&mut self) -> Result<(), ApplyError> {
        let job = self.job()?;
        if !job.is_terminal() {
            return Err(self.illegal("the job has not ended"));
        }
        self.put_job(job)
    }

    pub(super) fn job_started(&mut self, payload: &JobStarted) -> Result<(), ApplyError> {
        let mut job = self.job_in(&[JobStatus::Scheduled])?;
        if payload.epoch <= job.epoch || payload.attempt != job.attempt + 1 {
            return Err(self.illegal("the epoch does not rise, or the attempt is not the next one"));
        }
        self.move_to(&mut job, JobStatus::Running)?;
        job.attempt = payload.attempt;
        job.epoch = payload.epoch;
        job.lease = Some(Lease {
            lease_ms: payload.lease_ms,
            worker: payload.worker.clone(),
        });
        job.started_at = Some(self.event.at);
        job.ready_seq = None;
        job.ended_at = None;
        if let Some(bound) = &job.spec.concurrency {
            let mut in_use = self.with(|view| view.key_use(&bound.key))?.unwrap_or_default();
            if !in_use.admits(bound.limit) {
                return Err(self.illegal("too many jobs of the concurrency key are running"));
            }
            in_use.enter(bound.limit);
            self.changes
                .put(Key::Concurrency(bound.key.clone()), Row::Concurrency(in_use));
        }
        job.uploaded.clear();
        if job.run.is_some() && self.run_row()?.paused.is_some() {
            return Err(self.illegal("the run is paused"));
        }
        self.count(|counts| counts.running += 1)?;
        self.worker_leased(&payload.worker)?;
        self.put_job(job)
    }

    pub(super) fn job_completed(&mut self, payload: &JobCompleted) -> Result<(), ApplyError> {
        let mut job = self.leased(payload.epoch)?;
        self.move_to(&mut job, JobStatus::Completed)?;
        self.leave_key(&job)?;
        end_lease(&mut job, Some(JobStatus::Completed));
        job.cancel_requested = None;
        job.failure = None;
        job.ended_at = Some(self.event.at);
        job.exit_code = payload.exit_code;
        job.logs = payload.logs.clone();
        job.output = payload.output.clone();
        job.artifacts.clone_from(&payload.artifacts);
        job.uploaded.clear();
        let main = u32::from(!job.spec.always);
        self.count(|counts| {
            counts.running -= 1;
            counts.completed += 1;
            counts.completed_main += main;
        })?;
        self.close_node(&job)?;
        self.put_job(job)
    }

    pub(super) fn job_failed(&mut self, payload: &JobFailed) -> Result<(), ApplyError> {
        let mut job = self.leased(payload.epoch)?;
        if payload.failures != job.failures + 1 {
            return Err(self.illegal("failures do not count up by one"));
        }
        self.move_to(&mut job, JobStatus::Failed)?;
        self.leave_key(&job)?;
        end_lease(&mut job, self.by_worker(JobStatus::Failed));
        job.cancel_requested = None;
        job.failures = payload.failures;
        job.failure = Some(payload.failure.clone());
        job.exit_code = payload.exit_code;
        job.logs = payload.logs.clone();
        job.artifacts.clone_from(&payload.artifacts);
        job.uploaded.clear();
        job.next_attempt_at = payload.next_attempt_at;
        let terminal = payload.next_attempt_at.is_none();
        self.count(|counts| {
            counts.running -= 1;
            counts.failed += u32::from(terminal);
        })?;
        if terminal {
            job.ended_at = Some(self.event.at);
            self.close_node(&job)?;
        }
        self.put_job(job)
    }

    pub(super) fn job_cancelled(&mut self, payload: &JobCancelled) -> Result<(), ApplyError> {
        let mut job = self.job()?;
        if job.is_terminal() {
            return Err(self.illegal("the job has ended"));
        }
        let was_running = u32::from(job.status == JobStatus::Running);
        self.move_to(&mut job, JobStatus::Cancelled)?;
        job.held = false;
        end_lease(&mut job, self.by_worker(JobStatus::Cancelled));
        job.ready_seq = None;
        job.cancel_requested = None;
        job.next_attempt_at = None;
        job.ended_at = Some(self.event.at);
        job.reason = Some(payload.reason.clone());
        if was_running == 1 {
            self.leave_key(&job)?;
            job.exit_code = payload.exit_code;
            job.logs = payload.logs.clone();
            job.artifacts.clone_from(&payload.artifacts);
            job.uploaded.clear();
        }
        self.count(|counts| {
            counts.running -= was_running;
            counts.cancelled += 1;
        })?;
        self.close_node(&job)?;
        self.put_job(job)
    }

    pub(super) fn job_cancel_requested(&mut self, payload: &JobCancelRequested) -> Result<(), ApplyError> {
        let mut job = self.job_in(&[JobStatus::Running])?;
        job.cancel_requested = Some(payload.reason.clone());
        self.put_job(job)
    }

    pub(super) fn job_released(&mut self, payload: &JobReleased) -> Result<(), ApplyError> {
        let mut job = self.leased(payload.epoch)?;
        self.move_to(&mut job, JobStatus::Scheduled)?;
        self.leave_key(&job)?;
        end_lease(&mut job, None);
        job.uploaded.clear();
        job.ready_seq = Some(self.event.seq);
        self.count(|counts| counts.running -= 1)?;
        self.put_job(job)
    }

    pub(super) fn job_late_report(&mut self, payload: &JobLateReport) -> Result<(), ApplyError> {
        let mut job = self.job()?;
        let live = job.status == JobStatus::Running && payload.epoch == job.epoch;
        if live
            || payload.epoch > job.epoch
            || job.late_report_epoch.is_some_and(|noted| noted >= payload.epoch)
        {
            return Err(self.illegal("this epoch is not late, or was noted before"));
        }
        job.late_report_epoch = Some(payload.epoch);
        self.put_job(job)
    }

    pub(super) fn step(&mut self, epoch: u64) -> Result<(), ApplyError> {
        self.leased(epoch)?;
        self.touch_run()
    }

    pub(super) fn artifact_created(&mut self, payload: &ArtifactCreated) -> Result<(), ApplyError> {
        let artifact = &payload.artifact;
        let mut job = self.job_in(&[JobStatus::Running])?;
        if job.attempt != payload.attempt {
            return Err(self.illegal("it is not of the attempt at work"));
        }
        if job.uploaded.iter().any(|known| known.name == artifact.name) {
            return Err(self.illegal("the attempt has an artifact of this name"));
        }
        job.uploaded.push(artifact.clone());
        // The same content comes back under other names: what was recorded first stays.
        if self.with(|view| view.artifact(artifact.sha256))?.is_none() {
            let row = ArtifactRow {
                mime: artifact.mime.clone(),
                size: artifact.size,
            };
            self.changes
                .put(Key::Artifact(artifact.sha256), Row::Artifact(row));
        }
        self.put_job(job)
    }

    /// Something that a worker told of the attempt at work.
    pub(super) fn report(&mut self, attempt: u32, epoch: u64) -> Result<(), ApplyError> {
        if self.leased(epoch)?.attempt != attempt {
            return Err(self.illegal("it is not of the attempt at work"));
        }
        self.touch_run()
    }

    /// A job that was running gives its place under its concurrency key back.
    fn leave_key(&mut self, job: &Job) -> Result<(), ApplyError> {
        let Some(bound) = &job.spec.concurrency else {
            return Ok(());
        };
        let key = Key::Concurrency(bound.key.clone());
        match self.with(|view| view.key_use(&bound.key))? {
            None => Err(self.illegal("no job of the concurrency key is running")),
            Some(mut in_use) => {
                if !in_use.leave(bound.limit) {
                    return Err(self.illegal("no job of the concurrency key runs under this limit"));
                }
                if in_use.running.is_empty() {
                    self.changes.remove(key);
                } else {
                    self.changes.put(key, Row::Concurrency(in_use));
                }
                Ok(())
            }
        }
    }

    /// Remembers what a request made first.
    pub(super) fn keep_request(&mut self, given: Option<&Idempotency>) -> Result<(), ApplyError> {
        let Some(given) = given else { return Ok(()) };
        let key = Key::Idempotency(given.route.clone(), given.key.clone());
        self.refuse_existing(&key)?;
        let row = IdempotencyRow {
            body: given.body,
            seq: self.event.seq,
        };
        self.changes.put(key, Row::Idempotency(row));
        Ok(())
    }

    pub(super) fn ai_artifact_created(&mut self, payload: &AiArtifactCreated) -> Result<(), ApplyError> {
        let job = self.leased(payload.epoch)?;
        let mut known = job.uploaded.iter();
        if !known.any(|artifact| artifact.name == payload.name && artifact.sha256 == payload.sha256) {
            return Err(self.illegal("the attempt has no such artifact"));
        }
        self.report(payload.attempt, payload.epoch)
    }

    /// What was reported, when a worker did it and not the engine for it.
    fn by_worker(&self, reported: JobStatus) -> Option<JobStatus> {
        (self.event.actor.kind == ActorKind::Worker).then_some(reported)
    }

    fn leased(&self, epoch: u64) -> Result<Job, ApplyError> {
        let job = self.job_in(&[JobStatus::Running])?;
        if job.epoch == epoch {
            Ok(job)
        } else {
            Err(self.illegal("the epoch is not that of the lease"))
        }
    }

    fn job_in(&self, states: &[JobStatus]) -> Result<Job, ApplyError> {
        let job = self.job()?;
        if states.contains(&job.status) {
            Ok(job)
        } else {
            Err(self.illegal(format!("the job is {}", job.status.as_str())))
        }
    }

    pub(super) fn job(&self) -> Result<Job, ApplyError> {
        let id = self.job_id()?;
        let job = self
            .with(|view| view.job(id))?
            .ok_or_else(|| self.illegal("no such job"))?;
        // The counts of a run stay right only if each event of a job names the job's own run.
        if job.run != self.event.subject.run {
            return Err(self.illegal("it names another run than its job's"));
        }
        Ok(job)
    }

    fn move_to(&self, job: &mut Job, next: JobStatus) -> Result<(), ApplyError> {
        if !job.status.may_become(next) {
            return Err(self.illegal(format!(
                "{} may not become {}",
                job.status.as_str(),
                next.as_str()
            )));
        }
        job.status = next;
        Ok(())
    }

    pub(super) fn put_job(&mut self, mut job: Job) -> Result<(), ApplyError> {
        job.seq = self.event.seq;
        self.changes.put(Key::Job(job.id), Row::Job(job));
        self.touch_run()
    }
}

/// The lease at work, where there is one, is over.
fn end_lease(job: &mut Job, reported: Option<JobStatus>) {
    if let Some(lease) = job.lease.take() {
        job.past_lease = Some(PastLease {
            epoch: job.epoch,
            reported,
            worker: lease.worker,
        });
    }
}
