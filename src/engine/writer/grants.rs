//! Granting leases: whose turn it is, and the claims that wait for work.
//!
//! Promises: tenants in turn, one job each; a waiting claim is served in the batch that made its work ready, in order of
//! arrival; nothing is granted to a caller that is known to have gone. It must never grant what `decide` refuses.

use std::collections::BTreeSet;

use super::waiting::{Number, Waiting};
use super::{Dropped, Owed, Writer};
use crate::domain::command::{Command, Leased, Reply};
use crate::domain::event::Actor;
use crate::domain::rejection::{Code, Rejection};
use crate::domain::report::WorkerRegistered;
use crate::domain::{JobId, TenantName, Timestamp};
use crate::engine::LOCAL_WORKER;
use crate::engine::request::{Answer, Claim, Claimed, Reach};
use crate::engine::trial::Trial;
use crate::engine::workers::Standing;
use crate::limits;

impl Writer {
    /// The claim of a request: served, or waiting. Its answer is the last one owed.
    pub(super) fn run_claim(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        tenant: TenantName,
        claim: Claim,
        owed: &mut Vec<Owed>,
    ) -> Result<(), Dropped> {
        let Some((reply, answer)) = owed.last() else {
            return Ok(());
        };
        if reply.is_closed() {
            return Ok(());
        }
        let may_wait = answer.results.is_empty() && claim.wait_ms > 0;
        let (claimed, jobs) = self.claim(trial, at, &tenant, &claim)?;
        let waits = may_wait && jobs.is_empty() && claimed == Claimed::Served;
        let room = if waits {
            self.waiting.make_room(&tenant, &claim.reach)
        } else {
            Ok(())
        };
        if let (true, Ok(())) = (waits, &room) {
            let Some((reply, _)) = owed.pop() else {
                return Ok(());
            };
            let deadline_ms = self.clock.monotonic_ms() + claim.wait_ms;
            let number = self.waiting.push(Waiting {
                tenant,
                claim,
                deadline_ms,
                reply,
            });
            if is_full(trial) {
                self.waiting.try_again(number);
            }
        } else if let Some((_, answer)) = owed.last_mut() {
            answer.jobs = jobs;
            answer.claimed = room.map_or_else(Claimed::Refused, |()| claimed);
        }
        Ok(())
    }

    /// Claims that wait are served in the same batch that made their work ready.
    pub(super) fn run_waiting(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        owed: &mut Vec<Owed>,
    ) -> Result<(), Dropped> {
        while !is_full(trial)
            && let Some(number) = self.waiting.take_again()
        {
            self.try_waiting(trial, at, number, owed)?;
        }
        loop {
            let fresh = self.active.ready.take_fresh();
            if fresh.is_empty() || self.waiting.is_empty() {
                break;
            }
            let mut turns = self.waiting.turns(&fresh);
            while !is_full(trial)
                && let Some(turn) = turns.next()
            {
                let (tenant, class) = &fresh[turn.class];
                if self.active.ready.has(tenant, class) {
                    self.waiting.line_up(&mut turns, turn);
                    self.try_waiting(trial, at, turn.number, owed)?;
                }
            }
            if is_full(trial) {
                self.active.ready.put_back_fresh(fresh);
                break;
            }
        }
        let now_ms = self.clock.monotonic_ms();
        while let Some(waiting) = self.waiting.take_due(now_ms) {
            owed.push((waiting.reply, Answer::default()));
        }
        Ok(())
    }

    /// The turn of a claim that waits. One whose caller has gone is dropped before anything is granted to it, one whose
    /// token is over is answered with nothing.
    fn try_waiting(
        &mut self,
        trial: &mut Trial,
        at: Timestamp,
        number: Number,
        owed: &mut Vec<Owed>,
    ) -> Result<(), Dropped> {
        let Some(waiting) = self.waiting.take(number) else {
            return Ok(());
        };
        if waiting.reply.is_closed() {
            return Ok(());
        }
        let token = waiting.claim.token.as_ref();
        if token.is_some_and(|secret| !self.shared.auth.is_alive(secret, at)) {
            owed.push((waiting.reply, Answer::default()));
            return Ok(());
        }
        let (claimed, jobs) = match self.claim(trial, at, &waiting.tenant, &waiting.claim) {
            Ok(claimed) => claimed,
            Err(dropped) => {
                self.waiting.put(number, waiting);
                return Err(dropped);
            }
        };
        if jobs.is_empty() && claimed == Claimed::Served {
            self.waiting.put(number, waiting);
            if is_full(trial) {
                self.waiting.try_again(number);
            }
        } else {
            let results = Vec::new();
            owed.push((
                waiting.reply,
                Answer {
                    results,
                    jobs,
                    claimed,
                },
            ));
        }
        Ok(())
    }

    /// Whether claims that wait are to be tried in a batch of their own.
    pub(super) fn is_behind(&self) -> bool {
        self.waiting.is_behind() || (self.active.ready.has_fresh() && !self.waiting.is_empty())
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
            if is_full(trial) {
                // The batch is full, not the order empty: whoever waits is tried again.
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
            // Its values were erased: the attempt failed for good where it would have begun.
            Ok(Reply::Job(_)) => Ok(None),
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

/// Whether a batch takes nothing more by itself.
fn is_full(trial: &Trial) -> bool {
    trial.bytes >= limits::BATCH_GATHER_BYTES_MAX
}

#[cfg(test)]
mod tests;
