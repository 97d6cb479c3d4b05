//! Leases of running jobs and their deadlines, on the monotonic clock alone. Renewing costs neither flush nor event.

use std::collections::HashMap;

use crate::domain::job::Job;
use crate::domain::{JobId, TenantName};

/// A lease as it is timed.
#[derive(Debug, Clone)]
struct Held {
    epoch: u64,
    worker: String,
    lease_ms: u64,
    deadline_ms: u64,
    cancel_requested: bool,
}

/// All live leases.
#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<(TenantName, JobId), Held>);

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
        let held = Held {
            epoch: job.epoch,
            worker: lease.worker.clone(),
            lease_ms: lease.lease_ms,
            deadline_ms: now_ms + lease.lease_ms,
            cancel_requested: job.cancel_requested.is_some(),
        };
        self.0.insert((tenant.clone(), job.id), held);
    }

    /// The lease ended. False when there was none.
    pub(super) fn remove(&mut self, tenant: &TenantName, job: JobId) -> bool {
        self.0.remove(&(tenant.clone(), job)).is_some()
    }

    /// The job was asked to stop: its worker learns with the next renewal.
    pub(super) fn request_cancel(&mut self, tenant: &TenantName, job: JobId) {
        if let Some(held) = self.0.get_mut(&(tenant.clone(), job)) {
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
        let held = self.0.get_mut(&(tenant.clone(), job)).ok_or(Lost::NotRunning)?;
        if held.epoch != epoch || held.worker != worker {
            return Err(Lost::Stale);
        }
        held.deadline_ms = now_ms + held.lease_ms;
        Ok(Renewed {
            lease_ms: held.lease_ms,
            cancel_requested: held.cancel_requested,
        })
    }

    /// Leases over at `now_ms`, in a stable order, at most `limit`.
    pub(super) fn expired(&self, now_ms: u64, limit: usize) -> Vec<(TenantName, JobId, u64)> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|(_, held)| held.deadline_ms <= now_ms)
            .map(|((tenant, job), held)| (tenant.clone(), *job, held.epoch))
            .collect();
        found.sort();
        found.truncate(limit);
        found
    }

    /// Number of running jobs.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
