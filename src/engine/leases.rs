//! Leases of running jobs and their deadlines, on the monotonic clock alone. Renewing costs neither flush nor event.

use std::collections::HashMap;

use super::recover::LOCAL_WORKER;
use crate::domain::command::LeaseEnd;
use crate::domain::job::Job;
use crate::domain::{JobId, TenantName, Timestamp};

/// A lease as it is timed.
#[derive(Debug, Clone)]
struct Held {
    epoch: u64,
    worker: String,
    lease_ms: u64,
    deadline_ms: u64,
    /// When the attempt has lasted as long as its job allows; none for the built-in runner, which sees to that itself
    /// and then has a log to report.
    ends_at: Option<Timestamp>,
    cancel_requested: bool,
}

/// All live leases.
#[derive(Debug)]
pub(super) struct Leases {
    held: HashMap<(TenantName, JobId), Held>,
    /// Before these nothing is over. Renewing only moves deadlines away, so both stay true until the next sweep.
    next_deadline_ms: u64,
    next_end: Timestamp,
}

impl Default for Leases {
    fn default() -> Self {
        Leases {
            held: HashMap::new(),
            next_deadline_ms: u64::MAX,
            next_end: Timestamp::from_ms(i64::MAX),
        }
    }
}

/// A lease that is over: whose, which epoch, and why.
pub(super) type Over = (TenantName, JobId, u64, LeaseEnd);

/// What a worker learns when it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// How much longer the lease now lasts.
    pub lease_ms: u64,
    /// The job was asked to stop.
    pub cancel_requested: bool,
}

/// A lease that cannot be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The job is not running.
    NotRunning,
    /// It runs under another epoch or worker.
    Stale,
}

impl Leases {
    /// A lease was granted, or taken up again at start: a full period from now.
    pub(super) fn insert(&mut self, tenant: &TenantName, job: &Job, now_ms: u64) {
        let Some(lease) = &job.lease else { return };
        let ends_at = job
            .started_at
            .filter(|_| lease.worker != LOCAL_WORKER)
            .map(|at| at.plus_ms(job.spec.timeout_ms));
        self.next_deadline_ms = self.next_deadline_ms.min(now_ms + lease.lease_ms);
        self.next_end = ends_at.map_or(self.next_end, |ends_at| self.next_end.min(ends_at));
        let held = Held {
            ends_at,
            epoch: job.epoch,
            worker: lease.worker.clone(),
            lease_ms: lease.lease_ms,
            deadline_ms: now_ms + lease.lease_ms,
            cancel_requested: job.cancel_requested.is_some(),
        };
        self.held.insert((tenant.clone(), job.id), held);
    }

    /// The lease ended. False when there was none.
    pub(super) fn remove(&mut self, tenant: &TenantName, job: JobId) -> bool {
        self.held.remove(&(tenant.clone(), job)).is_some()
    }

    /// The job was asked to stop: its worker learns with the next renewal.
    pub(super) fn request_cancel(&mut self, tenant: &TenantName, job: JobId) {
        if let Some(held) = self.held.get_mut(&(tenant.clone(), job)) {
            held.cancel_requested = true;
        }
    }

    /// One more period from now.
    pub(super) fn renew(
        &mut self,
        tenant: &TenantName,
        job: JobId,
        epoch: u64,
        worker: &str,
        now_ms: u64,
    ) -> Result<Renewed, Lost> {
        let held = self
            .held
            .get_mut(&(tenant.clone(), job))
            .ok_or(Lost::NotRunning)?;
        if held.epoch != epoch || held.worker != worker {
            return Err(Lost::Stale);
        }
        held.deadline_ms = now_ms + held.lease_ms;
        Ok(Renewed {
            lease_ms: held.lease_ms,
            cancel_requested: held.cancel_requested,
        })
    }

    /// Leases over at `now_ms`, and attempts over at `now`, in a stable order, at most `limit`.
    pub(super) fn over(&mut self, now_ms: u64, now: Timestamp, limit: usize) -> Vec<Over> {
        if now_ms < self.next_deadline_ms && now < self.next_end {
            return Vec::new();
        }
        let mut found: Vec<Over> = Vec::new();
        let (mut next_deadline_ms, mut next_end) = (u64::MAX, Timestamp::from_ms(i64::MAX));
        for ((tenant, job), held) in &self.held {
            next_deadline_ms = next_deadline_ms.min(held.deadline_ms);
            next_end = held.ends_at.map_or(next_end, |ends_at| next_end.min(ends_at));
            let cause = if held.deadline_ms <= now_ms {
                LeaseEnd::Expired
            } else if held.ends_at.is_some_and(|ends_at| ends_at <= now) {
                LeaseEnd::TimedOut
            } else {
                continue;
            };
            found.push((tenant.clone(), *job, held.epoch, cause));
        }
        (self.next_deadline_ms, self.next_end) = (next_deadline_ms, next_end);
        found.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
        found.truncate(limit);
        found
    }

    /// Milliseconds until something may be over.
    pub(super) fn idle_ms(&self, now_ms: u64, now: Timestamp) -> u64 {
        let deadline = self.next_deadline_ms.saturating_sub(now_ms);
        deadline.min(self.next_end.since_ms(now))
    }

    /// Number of running jobs.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}
