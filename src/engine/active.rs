//! What the hot path needs of active work, in memory: ready order, leases, timers. Derived from events, rebuilt at start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::leases::Leases;
use super::ready::Ready;
use crate::domain::event::{Event, EventBody};
use crate::domain::job::{Job, JobStatus};
use crate::domain::run::{Run, RunStatus};
use crate::domain::state::{Key, Row, Unavailable};
use crate::domain::{JobId, RunId, TenantName, Timestamp};
use crate::store::{Direction, Page, Snapshot, StoreError};

/// Jobs read from the projection at a time while rebuilding.
const REBUILD_PAGE_ITEMS: usize = 1_000;

/// What becomes due at a ledger time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A retry, or `notBefore`.
    Wake(JobId),
    /// The longest time of a run.
    RunTimeout(RunId),
}

/// Ready order and timers are the writer's own; leases are shared with the renewals of workers.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) ready: Ready,
    timers: BTreeSet<(Timestamp, TenantName, Timer)>,
}

/// Leases, shared. The lock is held for one look-up, or for one sweep of running jobs.
#[derive(Debug, Default)]
pub(super) struct SharedLeases(Mutex<Leases>);

impl SharedLeases {
    pub(super) fn lock(&self) -> MutexGuard<'_, Leases> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Active {
    /// Follows one event; `row` reads the state behind it.
    pub(super) fn observe(
        &mut self,
        event: &Event,
        leases: &SharedLeases,
        now_ms: u64,
        row: impl Fn(&Key) -> Result<Option<Arc<Row>>, Unavailable>,
    ) -> Result<(), Unavailable> {
        let tenant = &event.tenant;
        match (&event.body, event.subject.run) {
            (EventBody::RunPaused(_), Some(run)) => {
                self.ready.pause_run(tenant, run, &jobs_of(run, row)?);
                return Ok(());
            }
            (EventBody::RunResumed(_), Some(run)) => {
                self.ready.resume_run(tenant, run);
                return Ok(());
            }
            _ => {}
        }
        if let EventBody::RunCreated(_) = &event.body {
            if let Some(run) = event
                .subject
                .run
                .map(|run| row(&Key::Run(run)))
                .transpose()?
                .flatten()
                && let Some(run) = run.as_run()
            {
                self.take_run(tenant, run);
            }
            return Ok(());
        }
        if let (EventBody::RunCompleted(_) | EventBody::RunPartiallyFailed(_), Some(run))
        | (EventBody::RunFailed(_) | EventBody::RunCancelled(_), Some(run)) =
            (&event.body, event.subject.run)
        {
            self.ready.close_run(tenant, run);
            if let Some(row) = row(&Key::Run(run))?
                && let Some(due) = row.as_run().and_then(run_due)
            {
                self.timers.remove(&(due, tenant.clone(), Timer::RunTimeout(run)));
            }
        }
        let Some(id) = event.subject.job else {
            return Ok(());
        };
        match &event.body {
            EventBody::JobCreated(_) | EventBody::JobScheduled(_) => {}
            EventBody::JobStarted(_) => {}
            EventBody::JobCompleted(_)
            | EventBody::JobFailed(_)
            | EventBody::JobCancelled(_)
            | EventBody::JobReleased(_) => {
                self.ready.remove(tenant, id);
                self.ready.ended(tenant, id);
                leases.lock().remove(tenant, id);
            }
            EventBody::JobCancelRequested(_) => {
                leases.lock().request_cancel(tenant, id);
                return Ok(());
            }
            _ => return Ok(()),
        }
        if let Some(row) = row(&Key::Job(id))?
            && let Some(job) = row.as_job()
        {
            self.take_job(tenant, job, leases, now_ms);
        }
        Ok(())
    }

    fn take_job(&mut self, tenant: &TenantName, job: &Job, leases: &SharedLeases, now_ms: u64) {
        match job.status {
            JobStatus::Scheduled => self.ready.insert(tenant, job),
            JobStatus::Running => {
                self.ready.started(tenant, job);
                leases.lock().insert(tenant, job, now_ms);
            }
            JobStatus::Pending => {
                if let Some(due) = job.spec.not_before {
                    self.timers.insert((due, tenant.clone(), Timer::Wake(job.id)));
                }
            }
            JobStatus::Failed => {
                if let Some(due) = job.next_attempt_at {
                    self.timers.insert((due, tenant.clone(), Timer::Wake(job.id)));
                }
            }
            JobStatus::Completed => {}
            JobStatus::Cancelled => {
                // Its time may be far away, and would be kept until then.
                if let Some(due) = job.spec.not_before {
                    self.timers.remove(&(due, tenant.clone(), Timer::Wake(job.id)));
                }
            }
        }
    }

    fn take_run(&mut self, tenant: &TenantName, run: &Run) {
        self.ready.open_run(tenant, run);
        if run.paused.is_some() {
            self.ready.pause_run(tenant, run.id, &[]);
        }
        if let Some(due) = run_due(run) {
            self.timers
                .insert((due, tenant.clone(), Timer::RunTimeout(run.id)));
        }
    }

    /// Takes out what is due, at most `limit`.
    pub(super) fn due(&mut self, now: Timestamp, limit: usize) -> Vec<(TenantName, Timer)> {
        let mut found = Vec::new();
        while found.len() < limit && self.timers.first().is_some_and(|(due, _, _)| *due <= now) {
            if let Some((_, tenant, timer)) = self.timers.pop_first() {
                found.push((tenant, timer));
            }
        }
        found
    }

    /// When the next timer is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _, _)| *due)
    }

    /// Builds everything anew from the projection. Returns the running jobs, whose leases begin a full new period.
    pub(super) fn rebuild(
        snapshot: &Snapshot,
        tenants: &[TenantName],
        leases: &SharedLeases,
        now_ms: u64,
    ) -> Result<(Self, BTreeMap<TenantName, Vec<Job>>), StoreError> {
        let mut active = Active::default();
        let mut running = BTreeMap::new();
        *leases.lock() = Leases::default();
        for tenant in tenants {
            for status in [RunStatus::Pending, RunStatus::Running, RunStatus::Waiting] {
                each_run(snapshot, tenant, status, |run| active.take_run(tenant, run))?;
            }
            let mut held = Vec::new();
            for status in [
                JobStatus::Pending,
                JobStatus::Scheduled,
                JobStatus::Running,
                JobStatus::Failed,
            ] {
                each_job(snapshot, tenant, status, |job| {
                    active.take_job(tenant, job, leases, now_ms);
                    if job.status == JobStatus::Running {
                        held.push(job.clone());
                    }
                })?;
            }
            running.insert(tenant.clone(), held);
        }
        Ok((active, running))
    }
}

/// The jobs of a run as far as they are known, those of mapped steps included.
fn jobs_of(
    run: RunId,
    row: impl Fn(&Key) -> Result<Option<Arc<Row>>, Unavailable>,
) -> Result<Vec<JobId>, Unavailable> {
    let mut jobs = Vec::new();
    let graph = row(&Key::Graph(run))?;
    let nodes = graph
        .as_deref()
        .and_then(Row::as_graph)
        .map_or(&[][..], |graph| &graph.nodes);
    for (index, node) in (0..).zip(nodes) {
        jobs.push(node.job);
        if node.later
            && let Some(row) = row(&Key::Node(run, index))?
            && let Row::Node(node) = &*row
        {
            jobs.extend(&node.jobs);
        }
    }
    Ok(jobs)
}

fn run_due(run: &Run) -> Option<Timestamp> {
    run.timeout_ms
        .map(|timeout_ms| run.created_at.plus_ms(timeout_ms))
}

fn each_job(
    snapshot: &Snapshot,
    tenant: &TenantName,
    status: JobStatus,
    mut visit: impl FnMut(&Job),
) -> Result<(), StoreError> {
    let mut after: Option<JobId> = None;
    loop {
        let page = Page {
            after: after.as_ref().map(|id| id.as_bytes().as_slice()),
            direction: Direction::Forward,
            limit: REBUILD_PAGE_ITEMS,
        };
        let ids = snapshot.open_jobs_by_status(tenant, status, page)?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = Some(*last);
        for id in ids {
            let view = snapshot.view(tenant);
            let row = crate::domain::state::View::get(&view, &Key::Job(id));
            match row.map_err(|error| StoreError::Damaged(error.0))? {
                Some(row) => row.as_job().into_iter().for_each(&mut visit),
                None => return Err(StoreError::Damaged(format!("job {id} is listed and not there"))),
            }
        }
    }
}

fn each_run(
    snapshot: &Snapshot,
    tenant: &TenantName,
    status: RunStatus,
    mut visit: impl FnMut(&Run),
) -> Result<(), StoreError> {
    let mut after: Option<RunId> = None;
    loop {
        let page = Page {
            after: after.as_ref().map(|id| id.as_bytes().as_slice()),
            direction: Direction::Forward,
            limit: REBUILD_PAGE_ITEMS,
        };
        let ids = snapshot.runs_by_status(tenant, status, page)?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = Some(*last);
        for id in ids {
            let view = snapshot.view(tenant);
            let row = crate::domain::state::View::get(&view, &Key::Run(id));
            match row.map_err(|error| StoreError::Damaged(error.0))? {
                Some(row) => row.as_run().into_iter().for_each(&mut visit),
                None => return Err(StoreError::Damaged(format!("run {id} is listed and not there"))),
            }
        }
    }
}
