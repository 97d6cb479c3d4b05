//! What calls under a lease ask of the engine without a trip to the writer: fences, progress, the registry of workers.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::Handle;
use super::leases::{LeaseNow, LeaseOver, Lost, Named, Progress};
use super::workers::WorkerNow;
use crate::domain::{JobId, TenantName};
use crate::limits;

impl Handle {
    /// The lease that a call names.
    ///
    /// # Errors
    /// [`Lost`] when it is not the one at work.
    pub fn lease(&self, named: Named<'_>) -> Result<LeaseNow, Lost> {
        self.shared.leases.lock().look(named)
    }

    /// The lease under which output is about to be written.
    ///
    /// # Errors
    /// [`Lost`] when it is not the one at work, or its end was reported.
    pub fn take_output(&self, named: Named<'_>) -> Result<LeaseNow, Lost> {
        self.shared.leases.lock().take_output(named)
    }

    /// The lease whose end is about to be reported: from now on it takes no output.
    ///
    /// # Errors
    /// [`Lost`] when its end is recorded already, or it is another's.
    pub fn close_output(&self, named: Named<'_>) -> Result<LeaseNow, Lost> {
        self.shared.leases.lock().close_output(named)
    }

    /// Counts a step or an own event that is about to be reported.
    ///
    /// # Errors
    /// [`Lost`] when the lease is not the one at work, or [`limits::LEASE_REPORTS_MAX`] were reported under it.
    pub fn count_report(&self, named: Named<'_>) -> Result<(), Lost> {
        self.shared.leases.lock().count_report(named)
    }

    /// Keeps the latest progress of an attempt. No event, no flush.
    ///
    /// # Errors
    /// [`Lost`] when the lease is not the one at work.
    pub fn set_progress(&self, named: Named<'_>, progress: Progress) -> Result<(), Lost> {
        self.shared.leases.lock().set_progress(named, progress)
    }

    /// The latest progress of a job at work.
    pub fn progress(&self, tenant: &TenantName, job: JobId) -> Option<Progress> {
        self.shared.leases.lock().progress(tenant, job)
    }

    /// Leases that have run out and may have output: whoever takes them closes it and records their end. There is one
    /// taker; a later one takes the place of the earlier. What is not ended in [`limits::LEASE_CLOSE_MS_MAX`] is
    /// recorded without its output.
    pub fn lease_ends(&self) -> mpsc::Receiver<LeaseOver> {
        let (sender, receiver) = mpsc::channel(limits::LEASE_ENDS_MAX);
        *self
            .shared
            .ends
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(sender);
        receiver
    }

    /// The workers of a tenant as memory knows them, by name.
    pub fn workers(&self, tenant: &TenantName) -> HashMap<String, WorkerNow> {
        let now_ms = self.shared.clock.monotonic_ms();
        self.shared.workers.lock().now(tenant, now_ms)
    }

    /// How many jobs each worker of a tenant runs.
    pub fn running(&self, tenant: &TenantName) -> HashMap<String, usize> {
        self.shared.leases.lock().running(tenant)
    }
}
