//! `apply(state, event)`: what an event changes. Total and deterministic over legal histories, and refuses an event
//! that no legal history contains. The same function serves the writer, recovery, replay and export.

use super::event::{Event, EventBody};
use super::job::{Job, JobStatus, Lease};
use super::payload::{
    BundleImported, JobCancelled, JobCompleted, JobCreated, JobFailed, JobStarted, PackRegistered,
    RunCreated, RunEnded,
};
use super::run::{Run, RunCounts, RunGraph, RunNode, RunStatus};
use super::state::{ArtifactRow, Changes, Key, Layered, Pack, PayloadRow, Row, Unavailable, View};
use super::token::{Import, Pin, Tenant, Token};
use super::{Digest, JobId, RunId, Seq};

/// Why an event was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// No legal history contains it here.
    #[error("event {seq} ({type_name}) is illegal here: {detail}")]
    Illegal {
        /// Which event.
        seq: Seq,
        /// Its type.
        type_name: &'static str,
        /// What does not fit.
        detail: String,
    },
    /// The rows it needs cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Folds one event into `changes`, which lie over `below`.
///
/// # Errors
/// [`ApplyError::Illegal`] when the event does not fit the state; `changes` are then to be thrown away.
pub fn apply(below: &dyn View, changes: &mut Changes, event: &Event) -> Result<(), ApplyError> {
    let mut fold = Fold {
        below,
        changes,
        event,
    };
    fold.run()
}

struct Fold<'a> {
    below: &'a dyn View,
    changes: &'a mut Changes,
    event: &'a Event,
}

impl Fold<'_> {
    fn run(&mut self) -> Result<(), ApplyError> {
        match &self.event.body {
            EventBody::JobCreated(payload) => self.job_created(payload)?,
            EventBody::JobScheduled(_) => self.job_scheduled()?,
            EventBody::JobStarted(payload) => self.job_started(payload)?,
            EventBody::JobCompleted(payload) => self.job_completed(payload)?,
            EventBody::JobFailed(payload) => self.job_failed(payload)?,
            EventBody::JobCancelled(payload) => self.job_cancelled(payload)?,
            EventBody::JobCancelRequested(payload) => {
                let mut job = self.job_in(&[JobStatus::Running])?;
                job.cancel_requested = Some(payload.reason.clone());
                self.put_job(job)?;
            }
            EventBody::JobReleased(payload) => {
                let mut job = self.leased(payload.epoch)?;
                self.move_to(&mut job, JobStatus::Scheduled)?;
                job.lease = None;
                job.ready_seq = Some(self.event.seq);
                self.count(|counts| counts.running -= 1)?;
                self.put_job(job)?;
            }
            EventBody::JobLateReport(payload) => {
                let mut job = self.job()?;
                if payload.epoch > job.epoch
                    || job.late_report_epoch.is_some_and(|noted| noted >= payload.epoch)
                {
                    return Err(self.illegal("this epoch is not late, or was noted before"));
                }
                job.late_report_epoch = Some(payload.epoch);
                self.put_job(job)?;
            }
            EventBody::StepStarted(payload) => self.step(payload.epoch)?,
            EventBody::StepCompleted(payload) | EventBody::StepFailed(payload) => self.step(payload.epoch)?,
            EventBody::ArtifactCreated(payload) => {
                let artifact = &payload.artifact;
                let row = ArtifactRow {
                    mime: artifact.mime.clone(),
                    size: artifact.size,
                };
                self.changes
                    .put(Key::Artifact(artifact.sha256), Row::Artifact(row));
                self.touch_run()?;
            }
            EventBody::RunCreated(payload) => self.run_created(payload)?,
            EventBody::RunStarted(_) => {
                let mut run = self.run_in(RunStatus::Running)?;
                run.status = RunStatus::Running;
                run.started_at = Some(self.event.at);
                self.put_run(run);
            }
            EventBody::RunCancelRequested(payload) => {
                let mut run = self.run_row()?;
                if run.status.is_terminal() {
                    return Err(self.illegal("the run has ended"));
                }
                if payload.timed_out {
                    run.timed_out = true;
                } else {
                    run.cancel_requested = Some(payload.reason.clone());
                }
                self.put_run(run);
            }
            EventBody::RunCompleted(payload) => self.run_ended(payload, RunStatus::Completed)?,
            EventBody::RunPartiallyFailed(payload) => self.run_ended(payload, RunStatus::PartiallyFailed)?,
            EventBody::RunFailed(payload) => self.run_ended(payload, RunStatus::Failed)?,
            EventBody::RunCancelled(payload) => self.run_ended(payload, RunStatus::Cancelled)?,
            EventBody::PackRegistered(payload) => self.pack_registered(payload)?,
            EventBody::TenantCreated(payload) => {
                let key = Key::Tenant(payload.name.clone());
                self.refuse_existing(&key)?;
                let (created_at, seq) = (self.event.at, self.event.seq);
                self.changes.put(
                    key,
                    Row::Tenant(Tenant {
                        created_at,
                        name: payload.name.clone(),
                        seq,
                    }),
                );
            }
            EventBody::TokenCreated(payload) => {
                let key = Key::Token(payload.id);
                self.refuse_existing(&key)?;
                let token = Token {
                    created_at: self.event.at,
                    expires_at: payload.expires_at,
                    id: payload.id,
                    name: payload.name.clone(),
                    person: payload.person.clone(),
                    revoked_at: None,
                    scopes: payload.scopes.clone(),
                    secret_sha256: payload.secret_sha256,
                    tenants: payload.tenants.clone(),
                };
                self.changes.put(key, Row::Token(token));
            }
            EventBody::TokenRevoked(payload) => {
                let found = self.with(|view| view.token(payload.id))?;
                let mut token = found.ok_or_else(|| self.illegal("no such token"))?;
                token.revoked_at = Some(self.event.at);
                self.changes.put(Key::Token(payload.id), Row::Token(token));
            }
            EventBody::TrustPinned(payload) => {
                let pin = Pin {
                    export_key: payload.export_key.clone(),
                    log_key: payload.log_key.clone(),
                    origin: payload.origin.clone(),
                };
                self.changes.put(Key::Pin(payload.origin.clone()), Row::Pin(pin));
            }
            EventBody::BundleImported(payload) => self.bundle_imported(payload)?,
            EventBody::LedgerOpened(_) if self.event.seq != Seq(0) => {
                return Err(self.illegal("a ledger is opened by its first event"));
            }
            EventBody::LedgerOpened(_)
            | EventBody::BundleExported(_)
            | EventBody::BundleVerified(_)
            | EventBody::BundleRefused(_)
            | EventBody::ClockStep(_) => {}
        }
        Ok(())
    }

    fn job_created(&mut self, payload: &JobCreated) -> Result<(), ApplyError> {
        let id = self.job_id()?;
        self.refuse_existing(&Key::Job(id))?;
        self.check_node(id, payload.node)?;
        let row = PayloadRow {
            payload: payload.payload.clone(),
            payload_text: payload.payload_text.clone(),
        };
        let payload_sha256 = match (&row.payload, &row.payload_text) {
            (Some(value), None) => Digest::of(&super::canonical::to_canonical(value)),
            (None, Some(text)) => Digest::of(text.as_bytes()),
            _ => return Err(self.illegal("a job has exactly one payload")),
        };
        let ready_seq = match payload.status {
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
            id,
            late_report_epoch: None,
            lease: None,
            logs: None,
            name: self.event.subject.step.clone(),
            next_attempt_at: None,
            node: payload.node,
            output: None,
            payload_sha256,
            ready_seq,
            reason: None,
            run: self.event.subject.run,
            seq: self.event.seq,
            spec: payload.spec.clone(),
            started_at: None,
            status: payload.status,
        };
        self.changes.put(Key::Payload(id), Row::Payload(row));
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
        match graph.and_then(|graph| graph.nodes.get(index as usize)) {
            Some(place) if place.job == id && Some(&place.name) == self.event.subject.step.as_ref() => Ok(()),
            _ => Err(self.illegal("the graph of the run has another job there")),
        }
    }

    fn job_scheduled(&mut self) -> Result<(), ApplyError> {
        let mut job = self.job_in(&[JobStatus::Pending, JobStatus::Failed])?;
        if job.is_terminal() {
            return Err(self.illegal("the job has ended"));
        }
        self.move_to(&mut job, JobStatus::Scheduled)?;
        job.next_attempt_at = None;
        job.ready_seq = Some(self.event.seq);
        self.put_job(job)
    }

    fn job_started(&mut self, payload: &JobStarted) -> Result<(), ApplyError> {
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
        self.count(|counts| counts.running += 1)?;
        self.put_job(job)
    }

    fn job_completed(&mut self, payload: &JobCompleted) -> Result<(), ApplyError> {
        let mut job = self.leased(payload.epoch)?;
        self.move_to(&mut job, JobStatus::Completed)?;
        job.lease = None;
        job.cancel_requested = None;
        job.failure = None;
        job.ended_at = Some(self.event.at);
        job.exit_code = payload.exit_code;
        job.logs = payload.logs.clone();
        job.output = payload.output.clone();
        job.artifacts.clone_from(&payload.artifacts);
        let main = u32::from(!job.spec.always);
        self.count(|counts| {
            counts.running -= 1;
            counts.completed += 1;
            counts.completed_main += main;
        })?;
        self.close_node(&job)?;
        self.put_job(job)
    }

    fn job_failed(&mut self, payload: &JobFailed) -> Result<(), ApplyError> {
        let mut job = self.leased(payload.epoch)?;
        if payload.failures != job.failures + 1 {
            return Err(self.illegal("failures do not count up by one"));
        }
        self.move_to(&mut job, JobStatus::Failed)?;
        job.lease = None;
        job.cancel_requested = None;
        job.failures = payload.failures;
        job.failure = Some(payload.failure.clone());
        job.exit_code = payload.exit_code;
        job.logs = payload.logs.clone();
        job.artifacts.clone_from(&payload.artifacts);
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

    fn job_cancelled(&mut self, payload: &JobCancelled) -> Result<(), ApplyError> {
        let mut job = self.job()?;
        if job.is_terminal() {
            return Err(self.illegal("the job has ended"));
        }
        let was_running = u32::from(job.status == JobStatus::Running);
        self.move_to(&mut job, JobStatus::Cancelled)?;
        job.lease = None;
        job.ready_seq = None;
        job.cancel_requested = None;
        job.next_attempt_at = None;
        job.ended_at = Some(self.event.at);
        job.reason = Some(payload.reason.clone());
        if was_running == 1 {
            job.exit_code = payload.exit_code;
            job.logs = payload.logs.clone();
        }
        self.count(|counts| {
            counts.running -= was_running;
            counts.cancelled += 1;
        })?;
        self.close_node(&job)?;
        self.put_job(job)
    }

    fn step(&mut self, epoch: u64) -> Result<(), ApplyError> {
        self.leased(epoch)?;
        self.touch_run()
    }

    fn run_created(&mut self, payload: &RunCreated) -> Result<(), ApplyError> {
        let id = self.run_id()?;
        self.refuse_existing(&Key::Run(id))?;
        let total = payload.graph.len() as u32;
        if payload
            .graph
            .iter()
            .flat_map(|node| &node.needs)
            .any(|need| *need >= total)
        {
            return Err(self.illegal("a need points outside the graph"));
        }
        let graph = RunGraph::new(payload.graph.clone());
        if graph.order().is_err() {
            return Err(self.illegal("the graph has a cycle"));
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            let row = RunNode {
                open_needs: node.needs.len() as u32,
            };
            self.changes.put(Key::Node(id, index as u32), Row::Node(row));
        }
        self.changes.put(Key::Graph(id), Row::Graph(graph));
        self.put_run(Run {
            cancel_requested: None,
            correlation_id: self.event.correlation_id.clone(),
            counts: RunCounts {
                total,
                ..RunCounts::default()
            },
            created_at: self.event.at,
            ended_at: None,
            id,
            inputs: payload.inputs.clone(),
            max_parallel: payload.max_parallel,
            pack: payload.pack.clone(),
            seq: self.event.seq,
            started_at: None,
            status: RunStatus::Pending,
            timed_out: false,
            timeout_ms: payload.timeout_ms,
        });
        Ok(())
    }

    fn run_ended(&mut self, payload: &RunEnded, status: RunStatus) -> Result<(), ApplyError> {
        let mut run = self.run_in(status)?;
        if run.counts != payload.counts || run.counts.ended() != run.counts.total || run.outcome() != status {
            return Err(self.illegal("the counts of the run call for another end"));
        }
        run.status = status;
        run.ended_at = Some(self.event.at);
        self.put_run(run);
        Ok(())
    }

    fn pack_registered(&mut self, payload: &PackRegistered) -> Result<(), ApplyError> {
        let (name, version) = (&payload.name, payload.version);
        let latest = self.with(|view| view.pack_head(name))?.unwrap_or(0);
        if version != latest + 1 {
            return Err(self.illegal("versions of a pack have no gaps"));
        }
        if Digest::of(payload.source.as_bytes()) != payload.source_sha256 {
            return Err(self.illegal("the source does not have the recorded digest"));
        }
        let pack = Pack {
            created_at: self.event.at,
            name: name.clone(),
            plan_hash: payload.plan_hash,
            seq: self.event.seq,
            source_sha256: payload.source_sha256,
            spec: payload.spec.clone(),
            version,
        };
        self.changes
            .put(Key::Pack(name.clone(), version), Row::Pack(Box::new(pack)));
        self.changes
            .put(Key::PackHead(name.clone()), Row::PackHead(version));
        self.changes.put(
            Key::PackSource(name.clone(), version),
            Row::PackSource(payload.source.clone()),
        );
        self.changes.put(
            Key::PackBytes(name.clone(), payload.source_sha256),
            Row::PackBytes(version),
        );
        Ok(())
    }

    fn bundle_imported(&mut self, payload: &BundleImported) -> Result<(), ApplyError> {
        let held = self.with(|view| view.import(&payload.tenant))?;
        let mut bundles = held
            .as_ref()
            .map(|import| import.bundles.clone())
            .unwrap_or_default();
        if payload.first != held.map_or(0, |import| import.size) || payload.size < payload.first {
            return Err(self.illegal("the bundle does not continue what is held"));
        }
        bundles.push((payload.first, payload.size, payload.tar_sha256));
        let import = Import {
            bundles,
            imported_at: self.event.at,
            origin: payload.origin.clone(),
            root: payload.root,
            size: payload.size,
            tenant: payload.tenant.clone(),
        };
        self.changes
            .put(Key::Import(payload.tenant.clone()), Row::Import(import));
        Ok(())
    }

    /// An ended job opens its dependents by one need each.
    fn close_node(&mut self, job: &Job) -> Result<(), ApplyError> {
        let (Some(run), Some(index)) = (job.run, job.node) else {
            return Ok(());
        };
        let Some(row) = self.with(|view| view.graph(run))? else {
            return Err(self.illegal("the run has no graph"));
        };
        let dependents = row
            .as_graph()
            .and_then(|graph| graph.dependents.get(index as usize));
        let Some(dependents) = dependents else {
            return Err(self.illegal("the node is not in the graph"));
        };
        for dependent in dependents {
            let node = self.with(|view| view.node(run, *dependent))?;
            match node.and_then(|node| node.open_needs.checked_sub(1)) {
                Some(open_needs) => {
                    self.changes
                        .put(Key::Node(run, *dependent), Row::Node(RunNode { open_needs }));
                }
                None => return Err(self.illegal("a need ended twice")),
            }
        }
        Ok(())
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

    fn job(&self) -> Result<Job, ApplyError> {
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

    fn put_job(&mut self, mut job: Job) -> Result<(), ApplyError> {
        job.seq = self.event.seq;
        self.changes.put(Key::Job(job.id), Row::Job(job));
        self.touch_run()
    }

    fn run_in(&self, next: RunStatus) -> Result<Run, ApplyError> {
        let run = self.run_row()?;
        if run.status.may_become(next) {
            Ok(run)
        } else {
            Err(self.illegal(format!(
                "{} may not become {}",
                run.status.as_str(),
                next.as_str()
            )))
        }
    }

    fn run_row(&self) -> Result<Run, ApplyError> {
        let id = self.run_id()?;
        self.with(|view| view.run(id))?
            .ok_or_else(|| self.illegal("no such run"))
    }

    fn put_run(&mut self, mut run: Run) {
        run.seq = self.event.seq;
        self.changes.put(Key::Run(run.id), Row::Run(run));
    }

    fn touch_run(&mut self) -> Result<(), ApplyError> {
        self.count(|_| {})
    }

    fn count(&mut self, change: impl FnOnce(&mut RunCounts)) -> Result<(), ApplyError> {
        if self.event.subject.run.is_none() {
            return Ok(());
        }
        let mut run = self.run_row()?;
        change(&mut run.counts);
        self.put_run(run);
        Ok(())
    }

    fn job_id(&self) -> Result<JobId, ApplyError> {
        self.event
            .subject
            .job
            .ok_or_else(|| self.illegal("it names no job"))
    }

    fn run_id(&self) -> Result<RunId, ApplyError> {
        self.event
            .subject
            .run
            .ok_or_else(|| self.illegal("it names no run"))
    }

    fn refuse_existing(&self, key: &Key) -> Result<(), ApplyError> {
        match self.with(|view| view.get(key))? {
            None => Ok(()),
            Some(_) => Err(self.illegal("it exists already")),
        }
    }

    fn with<T>(&self, read: impl FnOnce(&dyn View) -> Result<T, Unavailable>) -> Result<T, ApplyError> {
        Ok(read(&Layered {
            below: self.below,
            changes: self.changes,
        })?)
    }

    fn illegal(&self, detail: impl Into<String>) -> ApplyError {
        ApplyError::Illegal {
            seq: self.event.seq,
            type_name: self.event.body.type_name(),
            detail: detail.into(),
        }
    }
}
