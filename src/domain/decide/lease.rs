//! Decisions about leases: grant, report, expire, time out, release. Every report names the epoch of its lease.

use super::Draft;
use super::bounds::{check_artifacts, check_range, check_report, check_text, clip};
use super::job::{Ended, illegal, labels_of};
use crate::domain::canonical::Value;
use crate::domain::command::{CompleteJob, LeaseEnd, Leased, Outcome, Reply};
use crate::domain::event::{ActorKind, EventBody, Subject};
use crate::domain::job::{Artifact, AttemptLogs, Failure, FailureClass, Job, JobStatus};
use crate::domain::payload::{
    ArtifactCreated, JobCompleted, JobFailed, JobLateReport, JobReleased, JobStarted, RunStarted, StepEnded,
    StepStarted,
};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::standing::Standing;
use crate::domain::{JobId, StepName};
use crate::limits;

impl Draft<'_> {
    pub(super) fn start_job(&mut self, id: JobId, worker: &str, lease_ms: u64) -> Result<Reply, Refusal> {
        check_text("/worker", worker, limits::LABEL_BYTES_MAX)?;
        check_range("/leaseMs", lease_ms, limits::LEASE_MS_MIN, limits::LEASE_MS_MAX)?;
        let job = self.job_row(id)?;
        if job.status != JobStatus::Scheduled {
            return Err(illegal(&job, "started"));
        }
        if let Some(bound) = &job.spec.concurrency {
            let in_use = self.read(|view| view.key_use(&bound.key))?.unwrap_or_default();
            if !in_use.admits(bound.limit) {
                let detail = format!("{} jobs of the key {:?} are running", in_use.total(), bound.key);
                return Err(Rejection::new(Code::KeyFull, detail).into());
            }
        }
        if let Some(run) = job.run {
            let run = self.run_row(run)?;
            if run.paused.is_some() {
                return Err(Rejection::new(Code::RunPaused, "the run is paused").into());
            }
            if run.max_parallel.is_some_and(|most| run.counts.running >= most) {
                let detail = format!("{} jobs of the run are running", run.counts.running);
                return Err(Rejection::new(Code::RunFull, detail).into());
            }
            if run.started_at.is_none() {
                let subject = Subject {
                    run: Some(run.id),
                    ..Subject::default()
                };
                self.emit(EventBody::RunStarted(RunStarted {}), subject, labels_of(&job))?;
            }
        }
        let started = JobStarted {
            attempt: job.attempt + 1,
            epoch: job.epoch + 1,
            lease_ms,
            worker: worker.to_owned(),
        };
        self.emit_job(&job, EventBody::JobStarted(started))?;
        let payload = self.payload_row(id)?;
        let needs = self.needed_artifacts(&job)?;
        let job = self.job_row(id)?;
        if let Some(failure) = self.nothing_to_disclose(payload.disclosures)? {
            self.fail(&job, failure, 0, Ended::default())?;
            return self.reply_job(id);
        }
        Ok(Reply::Leased(Box::new(Leased {
            job,
            needs,
            payload,
            tenant: self.stamp.tenant.clone(),
        })))
    }

    fn needed_artifacts(&self, job: &Job) -> Result<Vec<(StepName, Artifact)>, Refusal> {
        let (Some(run), Some(index)) = (job.run, job.node) else {
            return Ok(Vec::new());
        };
        let Some(row) = self.read(|view| view.graph(run))? else {
            return Ok(Vec::new());
        };
        let Some(graph) = row.as_graph() else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for need in graph
            .nodes
            .get(index as usize)
            .map_or(&[][..], |node| &node.needs)
        {
            let Some(node) = graph.nodes.get(*need as usize) else {
                continue;
            };
            let place = (*need, node);
            let needed = self.read(|view| Standing::of(view, view, run, place))?;
            for job in needed.jobs {
                let name = job.name.unwrap_or_else(|| node.name.clone());
                found.extend(job.artifacts.into_iter().map(|artifact| (name.clone(), artifact)));
            }
        }
        Ok(found)
    }

    pub(super) fn start_step(&mut self, id: JobId, epoch: u64, step: &StepName) -> Result<Reply, Refusal> {
        let job = self.leased(id, epoch)?;
        let started = StepStarted {
            attempt: job.attempt,
            detail: None,
            epoch,
            id: step.clone(),
        };
        self.emit_job(&job, EventBody::StepStarted(started))?;
        Ok(Reply::Done)
    }

    pub(super) fn complete_job(&mut self, report: &CompleteJob) -> Result<Reply, Refusal> {
        let job = self.job_row(report.job)?;
        if job.epoch != report.epoch || job.status != JobStatus::Running {
            return self.after_the_end(&job, report);
        }
        self.check_holder(&job)?;
        check_report(report)?;
        check_artifacts(&job, &report.artifacts)?;
        for artifact in &report.artifacts {
            let created = ArtifactCreated {
                artifact: artifact.clone(),
                attempt: job.attempt,
            };
            self.emit_job(&job, EventBody::ArtifactCreated(created))?;
        }
        if let Some(step) = &report.step {
            let ended = StepEnded {
                attempt: job.attempt,
                detail: None,
                epoch: report.epoch,
                exit_code: report.exit_code,
                id: step.clone(),
            };
            let body = match report.outcome {
                Outcome::Completed(_) => EventBody::StepCompleted(ended),
                Outcome::Failed(..) | Outcome::Cancelled => EventBody::StepFailed(ended),
            };
            self.emit_job(&job, body)?;
        }
        let ended = Ended {
            artifacts: self.job_row(report.job)?.uploaded,
            exit_code: report.exit_code,
            logs: report.logs.clone(),
        };
        match &report.outcome {
            Outcome::Completed(output) => {
                let completed = JobCompleted {
                    artifacts: ended.artifacts,
                    attempt: job.attempt,
                    epoch: job.epoch,
                    exit_code: ended.exit_code,
                    logs: ended.logs,
                    output: output.clone().filter(|output| *output != Value::Null),
                };
                self.emit_job(&job, EventBody::JobCompleted(Box::new(completed)))?;
                self.settle(&job)?;
            }
            Outcome::Failed(failure, retry_after_ms) => {
                self.fail(&job, failure.clone(), *retry_after_ms, ended)?;
            }
            Outcome::Cancelled => {
                let reason = job
                    .cancel_requested
                    .clone()
                    .unwrap_or_else(|| "worker".to_owned());
                self.cancel(&job, &reason, ended)?;
            }
        }
        self.reply_job(report.job)
    }

    /// A report of the last lease that ended. From its holder, and the same as what was recorded: it was sent again, and
    /// is answered as it was then. From its holder, and anything else: it is noted once, and never applied.
    fn after_the_end(&mut self, job: &Job, report: &CompleteJob) -> Result<Reply, Refusal> {
        let past = job.past_lease.as_ref();
        let past = past.filter(|past| past.epoch == report.epoch && self.may_be(&past.worker));
        let noted = job.late_report_epoch.is_some_and(|epoch| epoch >= report.epoch);
        match past.map(|past| past.reported) {
            Some(Some(status)) if is_same(job, status, report) => {
                return Ok(Reply::Reported(status));
            }
            Some(_) if !noted => {}
            _ => return Err(stale(job, report.epoch)),
        }
        let late = JobLateReport {
            epoch: report.epoch,
            outcome: report.outcome.as_str().to_owned(),
        };
        self.emit_job(job, EventBody::JobLateReport(late))?;
        Ok(Reply::Late)
    }

    pub(super) fn expire_lease(
        &mut self,
        (id, epoch): (JobId, u64),
        cause: LeaseEnd,
        logs: Option<&AttemptLogs>,
    ) -> Result<Reply, Refusal> {
        let job = self.leased(id, epoch)?;
        let holder = job.lease.as_ref().map_or("", |lease| &lease.worker);
        let (class, message) = match cause {
            LeaseEnd::Expired => (
                FailureClass::LeaseExpired,
                format!("worker {holder} did not renew its lease"),
            ),
            LeaseEnd::TimedOut => {
                let due = job.started_at.map(|at| at.plus_ms(job.spec.timeout_ms));
                if due.is_none_or(|due| due > self.stamp.at) {
                    return Err(illegal(&job, "timed out: it still has time"));
                }
                let message = format!("it ran longer than {} ms", job.spec.timeout_ms);
                (FailureClass::Timeout, message)
            }
            LeaseEnd::WorkerLost => (
                FailureClass::WorkerLost,
                format!("worker {holder} ended with the process that ran it"),
            ),
        };
        if let Some(reason) = job.cancel_requested.clone() {
            self.cancel(&job, &reason, Ended::unreported(&job, logs))?;
        } else {
            let failure = Failure {
                class,
                code: None,
                message,
                retryable: true,
            };
            self.fail(&job, failure, 0, Ended::unreported(&job, logs))?;
        }
        self.reply_job(id)
    }

    pub(super) fn release_job(
        &mut self,
        (id, epoch): (JobId, u64),
        reason: &str,
        logs: Option<&AttemptLogs>,
    ) -> Result<Reply, Refusal> {
        let job = self.leased(id, epoch)?;
        if let Some(requested) = job.cancel_requested.clone() {
            self.cancel(&job, &requested, Ended::unreported(&job, logs))?;
        } else {
            let released = JobReleased {
                artifacts: job.uploaded.clone(),
                epoch,
                logs: logs.cloned(),
                reason: clip(reason),
            };
            self.emit_job(&job, EventBody::JobReleased(released))?;
        }
        self.reply_job(id)
    }

    fn fail(&mut self, job: &Job, failure: Failure, floor_ms: u64, ended: Ended) -> Result<(), Refusal> {
        let failures = job.failures + 1;
        let policy = &job.spec.retries;
        let again = failure.retryable && failures <= policy.max && job.cancel_requested.is_none();
        let delay_ms = again.then(|| policy.delay_ms(failures, self.stamp.entropy, floor_ms));
        let failed = JobFailed {
            artifacts: ended.artifacts,
            attempt: job.attempt,
            delay_ms,
            epoch: job.epoch,
            exit_code: ended.exit_code,
            failure: as_recorded(failure),
            failures,
            logs: ended.logs,
            next_attempt_at: delay_ms.map(|delay| self.stamp.at.plus_ms(delay)),
        };
        let failure = failed.failure.clone();
        self.emit_job(job, EventBody::JobFailed(Box::new(failed)))?;
        if again {
            return Ok(());
        }
        self.open_letter(job, &failure)?;
        self.settle(job)
    }

    pub(super) fn leased(&self, id: JobId, epoch: u64) -> Result<Job, Refusal> {
        let job = self.job_row(id)?;
        if job.status != JobStatus::Running || job.epoch != epoch {
            return Err(stale(&job, epoch));
        }
        self.check_holder(&job)?;
        Ok(job)
    }

    /// A worker speaks for its own leases alone.
    fn check_holder(&self, job: &Job) -> Result<(), Refusal> {
        match &job.lease {
            Some(lease) if !self.may_be(&lease.worker) => {
                let detail = format!("epoch {} belongs to another worker", job.epoch);
                Err(Rejection::new(Code::StaleEpoch, detail).into())
            }
            _ => Ok(()),
        }
    }

    fn may_be(&self, worker: &str) -> bool {
        let actor = &self.stamp.actor;
        actor.kind != ActorKind::Worker || actor.id == worker
    }
}

/// Whether a report says what was recorded: how the attempt ended and with which exit code; of success, what it gave back;
/// of failure, the error. The wish for a later retry is not recorded as such and is not compared.
fn is_same(job: &Job, recorded: JobStatus, report: &CompleteJob) -> bool {
    recorded.as_str() == report.outcome.as_str()
        && job.exit_code == report.exit_code
        && match &report.outcome {
            Outcome::Completed(output) => {
                let output = output.as_ref().filter(|output| **output != Value::Null);
                output == job.output.as_ref()
            }
            Outcome::Failed(failure, _) => job.failure.as_ref() == Some(&as_recorded(failure.clone())),
            Outcome::Cancelled => true,
        }
}

/// A failure as its event tells it.
fn as_recorded(failure: Failure) -> Failure {
    Failure {
        message: clip(&failure.message),
        ..failure
    }
}

/// Whether a lease of the job had this epoch; they count up from 1.
pub fn was_granted(job: &Job, epoch: u64) -> bool {
    (1..=job.epoch).contains(&epoch)
}

fn stale(job: &Job, epoch: u64) -> Refusal {
    let (latest, status) = (job.epoch, job.status.as_str());
    let detail = match was_granted(job, epoch) {
        true => format!("epoch {epoch} is over; the latest is {latest} and the job is {status}"),
        false => format!("epoch {epoch} was never granted; the latest is {latest} and the job is {status}"),
    };
    Rejection::new(Code::StaleEpoch, detail).into()
}
