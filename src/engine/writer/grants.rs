//! Granting leases: whose turn it is, and the claims that wait for work.
//!
//! Promises: tenants in turn, one job each; a waiting claim is served in the batch that made its work ready. It must never
//! grant what `decide` refuses.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::{Dropped, Owed, Writer};
use crate::domain::command::{Command, Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::rejection::{Code, Rejection};
use crate::domain::report::WorkerRegistered;
use crate::domain::{TenantName, Timestamp};
use crate::engine::LOCAL_WORKER;
use crate::engine::request::{Answer, Claim, Claimed, Reach, SubmitError};
use crate::engine::trial::Trial;
use crate::engine::workers::Standing;
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
            let (claimed, jobs) = self.claim(trial, at, &waiting.tenant, &waiting.claim)?;
            if jobs.is_empty() && claimed == Claimed::Served && waiting.deadline_ms > now_ms {
                self.waiting.push_back(waiting);
            } else {
                owed.push((
                    waiting.reply,
                    Answer {
                        results: Vec::new(),
                        jobs,
                        claimed,
                    },
                ));
            }
        }
        Ok(())
    }

    /// Takes a claim, from which tenants it may.
    pub(super) fn claim(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        claim: &Claim,
    ) -> Result<(Claimed, Vec<Leased>), Dropped> {
        let asked = match &claim.reach {
            Reach::OneTenant => vec![tenant.clone()],
            Reach::Tenants(tenants) => {
                let named: BTreeSet<&TenantName> = tenants.iter().collect();
                let (behind, before): (Vec<_>, Vec<_>) = named
                    .into_iter()
                    .partition(|tenant| self.last_served.as_ref().is_none_or(|last| *tenant > last));
                behind.into_iter().chain(before).cloned().collect()
            }
            Reach::EveryTenant => self.active.ready.tenants_after(self.last_served.as_ref()),
        };
        let is_built_in = claim.reach == Reach::EveryTenant || claim.worker == LOCAL_WORKER;
        let mut turns = Vec::with_capacity(asked.len());
        for tenant in &asked {
            let claimed = if is_built_in {
                Claimed::Served
            } else {
                self.admit(trial, at, tenant, claim)?
            };
            match claimed {
                Claimed::Served => turns.push(tenant.clone()),
                Claimed::Drain => {}
                refused @ Claimed::Refused(_) => return Ok((refused, Vec::new())),
            }
        }
        if turns.is_empty() && !asked.is_empty() {
            return Ok((Claimed::Drain, Vec::new()));
        }
        Ok((Claimed::Served, self.grant(trial, at, turns, claim)?))
    }

    /// Whether a worker may have work of a tenant. One that is seen for the first time is registered.
    fn admit(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        claim: &Claim,
    ) -> Result<Claimed, Dropped> {
        let running = || self.shared.leases.lock().running(tenant);
        let standing = self
            .shared
            .workers
            .lock()
            .standing(tenant, &claim.worker, running);
        let claimed = match standing {
            Standing::Known => Claimed::Served,
            Standing::Draining => Claimed::Drain,
            Standing::Full => {
                let detail = format!("{} workers hold leases or are drained", limits::WORKERS_MAX);
                return Ok(Claimed::Refused(Rejection::new(Code::LimitReached, detail)));
            }
            Standing::New(replaces) => {
                let command = Command::RegisterWorker(Box::new(WorkerRegistered {
                    labels: claim.labels.clone(),
                    name: claim.worker.clone(),
                    queues: claim.wanted.queues.clone(),
                    replaces,
                    types: claim.wanted.types.clone(),
                }));
                self.make_room(trial)?;
                let actor = Actor::worker(&claim.worker);
                match self.decide(trial, at, tenant, &actor, &command)? {
                    Ok(_) => Claimed::Served,
                    Err(rejection) => return Ok(Claimed::Refused(rejection)),
                }
            }
        };
        let now_ms = self.clock.monotonic_ms();
        self.shared.workers.lock().claimed(tenant, claim, now_ms);
        Ok(claimed)
    }

    fn grant(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        mut turns: Vec<TenantName>,
        claim: &Claim,
    ) -> Result<Vec<Leased>, Dropped> {
        let mut granted = Vec::new();
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
