//! Granting leases: whose turn it is, and the claims that wait for work.
//!
//! Promises: tenants in turn, one job each; a waiting claim is served in the batch that made its work ready. It must never
//! grant what `decide` refuses.

use tokio::sync::oneshot;

use super::{Dropped, Owed, Writer};
use crate::domain::command::{Command, Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::{TenantName, Timestamp};
use crate::engine::request::{Answer, Claim, Reach, SubmitError};
use crate::engine::trial::Trial;
use crate::limits;

/// A claim that waits for work.
pub(super) struct Waiting {
    pub(super) tenant: TenantName,
    pub(super) claim: Claim,
    pub(super) deadline_ms: u64,
    pub(super) reply: oneshot::Sender<Result<Answer, SubmitError>>,
}

impl Writer {
    /// Claims that wait are served in the same batch that made their work ready.
    pub(super) fn run_waiting(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        owed: &mut Vec<Owed>,
    ) -> Result<(), Dropped> {
        let now_ms = self.clock.monotonic_ms();
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            if waiting.reply.is_closed() {
                continue;
            }
            let jobs = self.grant(trial, at, &waiting.tenant, &waiting.claim)?;
            if jobs.is_empty() && waiting.deadline_ms > now_ms {
                self.waiting.push_back(waiting);
            } else {
                owed.push((
                    waiting.reply,
                    Answer {
                        results: Vec::new(),
                        jobs,
                    },
                ));
            }
        }
        Ok(())
    }

    pub(super) fn grant(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        claim: &Claim,
    ) -> Result<Vec<Leased>, Dropped> {
        let mut granted = Vec::new();
        let mut turns = match claim.reach {
            Reach::OneTenant => vec![tenant.clone()],
            Reach::EveryTenant => self.active.ready.tenants_after(self.last_served.as_ref()),
        };
        // One job of each tenant in turn, until none has any or the claim is full.
        while !turns.is_empty() {
            let mut left = Vec::new();
            for tenant in turns {
                if granted.len() >= claim.max || trial.bytes >= limits::BATCH_GATHER_BYTES_MAX {
                    return Ok(granted);
                }
                if let Some(leased) = self.grant_one(trial, at, &tenant, claim)? {
                    granted.push(leased);
                    self.last_served = Some(tenant.clone());
                    left.push(tenant);
                }
            }
            turns = left;
        }
        Ok(granted)
    }

    fn grant_one(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        claim: &Claim,
    ) -> Result<Option<Leased>, Dropped> {
        let actor = Actor::worker(&claim.worker);
        while let Some(job) = self.active.ready.next(tenant, &claim.wanted) {
            let command = Command::StartJob {
                job,
                worker: claim.worker.clone(),
                lease_ms: claim.lease_ms,
            };
            match self.decide(trial, at, tenant, &actor, &command)? {
                Ok(Reply::Leased(leased)) => return Ok(Some(*leased)),
                Ok(_) | Err(_) => {
                    // The ready order is derived: what cannot be started does not belong there.
                    tracing::warn!(%tenant, %job, "a job of the ready order could not be started");
                    self.active.ready.remove(tenant, job);
                }
            }
        }
        Ok(None)
    }
}
