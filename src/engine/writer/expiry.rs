//! Leases that ran out, and workers of which nothing is left.
//!
//! Promises: from the moment a lease is found over, nothing under it is accepted but its own end. It must never record an
//! end without the output that was sent, as long as there is somebody to close it.

use std::collections::BTreeSet;

use super::{Dropped, Writer};
use crate::domain::Timestamp;
use crate::domain::command::{Command, LeaseEnd};
use crate::engine::trial::Trial;
use crate::limits;

impl Writer {
    pub(super) fn run_expired(&mut self, trial: &mut Trial, at: Timestamp) -> Result<(), Dropped> {
        let expired = self
            .shared
            .leases
            .lock()
            .over(self.clock.monotonic_ms(), at, limits::DUE_ITEMS_MAX);
        let mut workers = BTreeSet::new();
        for over in expired {
            if over.cause == LeaseEnd::Expired {
                workers.insert((over.tenant.clone(), over.worker.clone()));
            }
            if over.is_first && over.lease.has_output && self.shared.hand_over(&over) {
                continue;
            }
            let command = Command::ExpireLease {
                job: over.job,
                epoch: over.epoch,
                cause: over.cause,
                logs: None,
            };
            self.make_room(trial)?;
            let _ = self.system(trial, at, &over.tenant, "leases", &command)?;
        }
        let gone = self.shared.leases.lock().without_lease(workers);
        for (tenant, name) in gone {
            if self.shared.workers.lock().can_be_lost(&tenant, &name) {
                self.make_room(trial)?;
                let command = Command::LoseWorker { name };
                let _ = self.system(trial, at, &tenant, "leases", &command)?;
            }
        }
        Ok(())
    }
}
