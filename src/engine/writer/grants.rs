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
use crate::domain::{JobId, TenantName, Timestamp};
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
        let version = self.active.ready.version();
        let is_new = std::mem::replace(&mut self.tried_at_version, version) != version;
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            if waiting.reply.is_closed() {
                continue;
            }
            let (claimed, jobs) = if is_new {
                self.claim(trial, at, &waiting.tenant, &waiting.claim)?
            } else {
                (Claimed::Served, Vec::new())
            };
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

    /// Takes a claim, from those tenants that it may have work of.
    pub(super) fn claim(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: &TenantName,
        claim: &Claim,
    ) -> Result<(Claimed, Vec<Leased>), Dropped> {
        let asked: BTreeSet<TenantName> = match &claim.reach {
            Reach::OneTenant => BTreeSet::from([tenant.clone()]),
            Reach::Tenants(tenants) => tenants.iter().cloned().collect(),
            Reach::EveryTenant => {
                return Ok((Claimed::Served, self.grant(trial, at, claim, |_| true)?));
            }
        };
        let mut admitted = BTreeSet::new();
        for tenant in asked {
            let claimed = if claim.worker == LOCAL_WORKER {
                Claimed::Served
            } else {
                self.admit(trial, at, &tenant, claim)?
            };
            match claimed {
                Claimed::Served => {
                    admitted.insert(tenant);
                }
                Claimed::Drain => {}
                refused @ Claimed::Refused(_) => return Ok((refused, Vec::new())),
            }
        }
        if admitted.is_empty() {
            return Ok((Claimed::Drain, Vec::new()));
        }
        let granted = self.grant(trial, at, claim, |tenant| admitted.contains(tenant))?;
        Ok((Claimed::Served, granted))
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
                    labels: claim.wanted.labels.clone(),
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

    /// One job of each tenant in turn, until none has any that fits, or the claim is full. Each tenant has the same share
    /// and each job costs the same, so a turn each is what deficit round robin comes to.
    fn grant(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        claim: &Claim,
        allowed: impl Fn(&TenantName) -> bool,
    ) -> Result<Vec<Leased>, Dropped> {
        let mut granted = Vec::new();
        let mut bytes = 0;
        while granted.len() < claim.max && bytes < limits::CLAIM_BYTES_MAX {
            if trial.bytes >= limits::BATCH_GATHER_BYTES_MAX {
                // The batch is full, not the order empty: whoever waits is tried again.
                self.tried_at_version = u64::MAX;
                break;
            }
            let last = self.last_served.as_ref();
            let next = self.active.ready.next_in_turn(last, &claim.wanted, &allowed);
            let Some((tenant, job)) = next else { break };
            let started = self.start(trial, at, &tenant, job, claim)?;
            bytes += started.as_ref().map_or(0, |leased| leased.payload.weight());
            granted.extend(started);
            self.last_served = Some(tenant);
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
