//! Granting leases: whose turn it is, and the claims that wait for work.
//!
//! Promises: tenants in turn, one job each; a waiting claim is served in the batch that made its work ready. It must never
//! grant what `decide` refuses.

use tokio::sync::oneshot;

use super::{Dropped, Owed, Writer};
use crate::domain::command::{Command, Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::{JobId, TenantName, Timestamp};
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
        let version = self.active.ready.version();
        let is_new = std::mem::replace(&mut self.tried_at_version, version) != version;
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            if waiting.reply.is_closed() {
                continue;
            }
            let jobs = if is_new {
                self.grant(trial, at, &waiting.tenant, &waiting.claim)?
            } else {
                Vec::new()
            };
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

    /// One job of each tenant in turn, until none has any that fits, or the claim is full. Each tenant has the same share
    /// and each job costs the same, so a turn each is what deficit round robin comes to.
    pub(super) fn grant(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        claim: &Claim,
    ) -> Result<Vec<Leased>, Dropped> {
        let mut granted = Vec::new();
        while granted.len() < claim.max && trial.bytes < limits::BATCH_GATHER_BYTES_MAX {
            let next = match claim.reach {
                Reach::OneTenant => self
                    .active
                    .ready
                    .next(tenant, &claim.wanted)
                    .map(|job| (tenant.clone(), job)),
                Reach::EveryTenant => {
                    self.active
                        .ready
                        .next_in_turn(self.last_served.as_ref(), &claim.wanted, |_| true)
                }
            };
            let Some((tenant, job)) = next else { break };
            if let Some(leased) = self.start(trial, at, &tenant, job, claim)? {
                granted.push(leased);
            }
            if claim.reach == Reach::EveryTenant {
                self.last_served = Some(tenant);
            }
        }
        Ok(granted)
    }

    fn start(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        job: JobId,
        claim: &Claim,
    ) -> Result<Option<Leased>, Dropped> {
        let actor = Actor::worker(&claim.worker);
        let command = Command::StartJob {
            job,
            worker: claim.worker.clone(),
            lease_ms: claim.lease_ms,
        };
        match self.decide(trial, at, tenant, &actor, &command)? {
            Ok(Reply::Leased(leased)) => Ok(Some(*leased)),
            other => {
                // The ready order is derived: what cannot be started does not belong there.
                debug_assert!(false, "{job} of the ready order could not be started: {other:?}");
                tracing::error!(%tenant, %job, ?other, "a job of the ready order could not be started");
                self.active.ready.remove(tenant, job);
                Ok(None)
            }
        }
    }
}
